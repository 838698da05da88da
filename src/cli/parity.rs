//! `envctl parity`

use std::collections::BTreeMap;

use envctl_model::finding::{Fate, Finding, Severity};
use envctl_model::stack::TargetKind;
use schemars::JsonSchema;
use serde::Serialize;

use super::up::Chart;
use crate::config::Base;
use crate::flows::local::up;
use crate::ui::{Failure, Format, print, print_json, table};

/// Flags.
#[derive(Debug, clap::Args)]
pub(super) struct Arguments {
    #[command(flatten)]
    chart: Chart,
    /// Exit with 4 if a finding is at least this severe
    #[arg(long, value_enum, value_name = "SEVERITY")]
    fail_on: Option<Level>,
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

/// What `parity --json` prints.
#[derive(Debug, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub(super) struct Report {
    /// Objects that were looked at.
    objects: usize,
    /// Findings, worst first.
    findings: Vec<Finding>,
}

pub(super) async fn run(base: &Base, arguments: Arguments, format: Format) -> Result<(), Failure> {
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
    let mut findings = translation.findings;
    findings.sort_by(|a, b| (b.severity, a.fate, a).cmp(&(a.severity, b.fate, b)));
    let worst = findings.iter().map(|f| f.severity).max();
    let report = Report { objects: translation.objects, findings };
    if format == Format::Json {
        print_json(&report)?;
    } else {
        print(&text(&report));
    }
    match (arguments.fail_on.map(Severity::from), worst) {
        (Some(limit), Some(worst)) if worst >= limit => {
            Err(Failure::Gate(format!("there are findings of severity {} or worse", word(limit))))
        }
        _ => Ok(()),
    }
}

fn word(severity: Severity) -> &'static str {
    match severity {
        Severity::Info => "info",
        Severity::Minor => "minor",
        Severity::Major => "major",
        Severity::Critical => "critical",
    }
}

fn text(report: &Report) -> String {
    let mut counts: BTreeMap<Fate, usize> = BTreeMap::new();
    for finding in &report.findings {
        *counts.entry(finding.fate).or_default() += 1;
    }
    let name = |fate: Fate| match fate {
        Fate::Dropped => "dropped",
        Fate::Approximated => "approximated",
        Fate::Meaningless => "meaningless here",
        Fate::Carried => "carried",
    };
    let counts: Vec<_> = counts.into_iter().map(|(fate, n)| format!("{n} {}", name(fate))).collect();
    let summary = if counts.is_empty() { "no findings".to_owned() } else { counts.join(", ") };
    let rows = report.findings.iter().map(|f| {
        let place = if f.path.is_empty() { f.object.clone() } else { format!("{} {}", f.object, f.path) };
        let message = match &f.fix {
            Some(fix) => format!("{} ({fix})", f.message),
            None => f.message.clone(),
        };
        vec![word(f.severity).to_owned(), name(f.fate).to_owned(), f.code.clone(), place, message]
    });
    if report.findings.is_empty() {
        return format!("{} objects: {summary}", report.objects);
    }
    let table = table(&["SEVERITY", "FATE", "CODE", "WHERE", "WHAT"], rows);
    format!("{} objects; findings: {summary}\n{table}", report.objects)
}
