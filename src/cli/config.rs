//! `envctl config`

use crate::config::Base;
use crate::ui::{Failure, Format, print, print_json, table};

/// Flags.
#[derive(Debug, clap::Args)]
pub(super) struct Arguments {
    /// Say where each value came from
    #[arg(long)]
    show_origin: bool,
}

pub(super) fn run(base: &Base, arguments: Arguments, format: Format) -> Result<(), Failure> {
    let project = base.stack()?;
    let rows = base.settings(&project)?.shown(base);
    if format == Format::Json {
        return print_json(&rows);
    }
    print(&if arguments.show_origin {
        table(
            &["SETTING", "VALUE", "FROM"],
            rows.into_iter().map(|r| vec![r.setting.to_owned(), r.value, r.origin]),
        )
    } else {
        table(&["SETTING", "VALUE"], rows.into_iter().map(|r| vec![r.setting.to_owned(), r.value]))
    });
    Ok(())
}
