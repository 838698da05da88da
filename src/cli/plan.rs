//! `envctl plan`

use super::up::Chart;
use crate::config::Base;
use crate::flows::plan::{self, Drift};
use crate::ui::{Failure, Format, print, print_json, table};

/// Flags.
#[derive(Debug, clap::Args)]
pub(super) struct Arguments {
    #[command(flatten)]
    chart: Chart,
}

pub(super) async fn run(base: &Base, arguments: Arguments, format: Format) -> Result<(), Failure> {
    let report = plan::plan(base, &arguments.chart.options()).await?;
    if format == Format::Json {
        return print_json(&report);
    }
    for warning in &report.warnings {
        print(&format!("warning: {warning}"));
    }
    print(&table(
        &["STEP", "WHAT", "AFTER", "MAY CREATE"],
        report.steps.into_iter().map(|step| {
            let things = match step.things.as_slice() {
                [] => String::new(),
                [one] => one.clone(),
                many => format!("{} things", many.len()),
            };
            vec![step.id, step.subject, step.after.join(", "), things]
        }),
    ));
    if !report.left_out.is_empty() {
        print(&format!("\nleft out (--only): {}", report.left_out.join(", ")));
    }
    if !report.drift.is_empty() {
        print("\nchanged since the last `up`, which the next one sets back:");
    }
    for drift in &report.drift {
        print(&drifted(drift));
    }
    Ok(())
}

fn drifted(drift: &Drift) -> String {
    if drift.differences.is_empty() {
        return format!("  {} is gone", drift.object);
    }
    let none = || "nothing".to_owned();
    let lines: Vec<_> = drift
        .differences
        .iter()
        .map(|d| {
            let (now, delivered) =
                (d.now.clone().unwrap_or_else(none), d.delivered.clone().unwrap_or_else(none));
            format!("  {} {}: {delivered} -> {now}", drift.object, d.path)
        })
        .collect();
    lines.join("\n")
}
