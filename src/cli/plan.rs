//! `envctl plan`

use super::up::Chart;
use crate::config::Base;
use crate::flows::local::up;
use crate::ui::{Failure, Format, print, print_json, table};

/// Flags.
#[derive(Debug, clap::Args)]
pub(super) struct Arguments {
    #[command(flatten)]
    chart: Chart,
}

pub(super) async fn run(base: &Base, arguments: Arguments, format: Format) -> Result<(), Failure> {
    let project = base.stack()?;
    let settings = base.settings(&project)?;
    let options = arguments.chart.options();
    let plan = up::check(base, &project, &settings, &options).await?.plan()?;
    if format == Format::Json {
        return print_json(&plan);
    }
    print(&table(
        &["STEP", "WHAT", "AFTER", "MAY CREATE"],
        plan.steps.into_iter().map(|step| {
            let after: Vec<_> = step.after.into_iter().map(|a| a.0).collect();
            let things = match step.things.as_slice() {
                [] => String::new(),
                [one] => one.to_string(),
                many => format!("{} things", many.len()),
            };
            vec![step.id.0, step.subject, after.join(", "), things]
        }),
    ));
    Ok(())
}
