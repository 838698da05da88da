//! `envctl parity`

mod explain;
mod report;

use envctl_model::finding::Severity;
use envctl_model::stack::TargetKind;

pub(super) use explain::Explanation;
pub(super) use report::Report;

use super::up::Chart;
use crate::config::Base;
use crate::flows::local::up;
use crate::ui::{Failure, Format, print, print_json};

/// Flags.
#[derive(Debug, clap::Args)]
pub(super) struct Arguments {
    #[command(flatten)]
    chart: Chart,
    /// Exit with 4 if a finding is at least this severe
    #[arg(long, value_enum, value_name = "SEVERITY")]
    fail_on: Option<Level>,
    /// Tell what a code means: what a cluster does, what happens here, what to do
    #[arg(long, value_name = "CODE", conflicts_with = "fail_on")]
    explain: Option<String>,
}

#[derive(Debug, Clone, Copy, clap::ValueEnum)]
enum Level {
    Info,
    Minor,
    Major,
    Critical,
}

impl From<Level> for Severity {
    fn from(level: Level) -> Self {
        match level {
            Level::Info => Self::Info,
            Level::Minor => Self::Minor,
            Level::Major => Self::Major,
            Level::Critical => Self::Critical,
        }
    }
}

pub(super) async fn run(base: &Base, arguments: Arguments, format: Format) -> Result<(), Failure> {
    if let Some(code) = &arguments.explain {
        return explain::run(code, format);
    }
    let project = base.stack()?;
    let settings = base.settings(&project)?;
    let options = arguments.chart.options();
    let target = &settings.target.value;
    if project.file.stack.targets[target].kind.value == TargetKind::Eks {
        return Err(Failure::Usage(format!(
            "`parity` tells how the local target differs from a cluster, and target `{target}` is one\n  \
             name a target of kind `compose` with --target"
        )));
    }
    let translation = up::check(base, &project, &settings, &options).await?.translation;
    let components = project.file.stack.components.keys().map(String::as_str);
    let report = Report::new(
        translation.objects,
        translation.carried,
        translation.findings,
        &components.collect::<Vec<_>>(),
    );
    if format == Format::Json {
        print_json(&report)?;
    } else {
        print(&report.text());
    }
    match (arguments.fail_on.map(Severity::from), report.worst()) {
        (Some(limit), Some(worst)) if worst >= limit => Err(Failure::Gate(format!(
            "there are findings of severity {} or worse",
            report::severity_word(limit)
        ))),
        _ => Ok(()),
    }
}
