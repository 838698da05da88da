//! `envctl extend`

use jiff::Timestamp;

use crate::config::Base;
use crate::flows::{extend, locate};
use crate::ui::{Failure, Format, ago, print, print_json};

/// Flags.
#[derive(Debug, clap::Args)]
pub(super) struct Arguments {
    /// How long it lives from now on: 90m, 24h, 7d, never [default: the stack file's]
    ttl: Option<String>,
}

pub(super) async fn run(base: &Base, arguments: Arguments, format: Format) -> Result<(), Failure> {
    let name = locate::name(base)?;
    let ttl = match arguments.ttl {
        Some(ttl) => ttl,
        None => base.settings(&base.stack()?)?.ttl.value,
    };
    let expires = extend::extend(base, &name, &ttl).await?;
    if format == Format::Json {
        let expires = expires.map(|at| at.to_string());
        return print_json(&serde_json::json!({"environment": name.as_str(), "expires": expires}));
    }
    match expires {
        Some(at) => print(&format!("{name} expires in {} ({at})", ago(Timestamp::now(), at))),
        None => print(&format!("{name} never expires")),
    }
    Ok(())
}
