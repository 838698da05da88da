//! `envctl diff`

use std::path::PathBuf;

use console::style;
use similar::{ChangeTag, TextDiff};

use crate::config::Base;
use crate::flows::diff::{self, Entry, Extent, Group, Report, Side, Topic};
use crate::ui::{Failure, Format, print, print_json};

/// Flags.
#[derive(Debug, clap::Args)]
pub(super) struct Arguments {
    /// A target of the stack
    a: String,
    /// The target to compare it with [default: the same, with other values]
    b: Option<String>,
    /// A values file for A, on top of its own
    #[arg(long, value_name = "FILE")]
    values_a: Vec<PathBuf>,
    /// A values file for B, on top of its own
    #[arg(long, visible_alias = "values", value_name = "FILE")]
    values_b: Vec<PathBuf>,
    /// Set a chart value of A, as Helm's --set does
    #[arg(long, value_name = "KEY=VALUE")]
    set_a: Vec<String>,
    /// Set a chart value of B
    #[arg(long, visible_alias = "set", value_name = "KEY=VALUE")]
    set_b: Vec<String>,
    /// Show also what is equal, and long values whole
    #[arg(long)]
    all: bool,
    /// Exit with 4 if something differs
    #[arg(long)]
    exit_code: bool,
}

pub(super) async fn run(base: &Base, arguments: Arguments, format: Format) -> Result<(), Failure> {
    let Arguments { a, b, values_a, values_b, set_a, set_b, all, exit_code } = arguments;
    let a = Side { target: a, values: values_a, set: set_a };
    let b = Side { target: b.unwrap_or_else(|| a.target.clone()), values: values_b, set: set_b };
    if a == b {
        return Err(Failure::Usage(format!(
            "there is nothing to compare `{}` with: name a second target, or other values for the same one\n  \
             such as `envctl diff {0} --values FILE` or `--set KEY=VALUE`",
            a.target
        )));
    }
    let extent = if all { Extent::All } else { Extent::Folded };
    let report = diff::diff(base, a, b, extent).await?;
    if format == Format::Json {
        print_json(&report)?;
    } else {
        print(&text(&report, extent));
    }
    if exit_code && report.differs {
        let (a, b) = (name(&report.a), name(&report.b));
        return Err(Failure::Gate(format!("`{a}` and `{b}` would not run the same")));
    }
    Ok(())
}

/// A side as one would type it.
fn name(side: &Side) -> String {
    let values = side.values.iter().map(|file| format!(" --values {}", file.display()));
    let set = side.set.iter().map(|set| format!(" --set {set}"));
    std::iter::once(side.target.clone()).chain(values).chain(set).collect()
}

fn text(report: &Report, extent: Extent) -> String {
    let mut lines = vec![
        format!("{} {}", style("-").red(), style(name(&report.a)).red()),
        format!("{} {}", style("+").green(), style(name(&report.b)).green()),
    ];
    for group in report.groups.iter().filter(|group| group.differs() || extent == Extent::All) {
        lines.push(String::new());
        lines.extend(group_lines(group, extent));
    }
    let equal: Vec<_> =
        report.groups.iter().filter(|group| !group.differs()).map(|group| group.name.as_str()).collect();
    lines.push(String::new());
    lines.push(match (equal.as_slice(), report.differs) {
        (_, false) => "no differences".to_owned(),
        ([], true) => "nothing else is equal as a whole".to_owned(),
        (equal, true) => format!("equal: {}", equal.join(", ")),
    });
    lines.join("\n")
}

fn group_lines(group: &Group, extent: Extent) -> Vec<String> {
    let equal = match (group.equal, extent) {
        (0, _) | (_, Extent::All) => String::new(),
        (equal, Extent::Folded) => style(format!("  ({equal} equal)")).dim().to_string(),
    };
    let mut lines = vec![format!("{}{equal}", style(&group.name).bold())];
    let labels: Vec<String> = group.entries.iter().map(|entry| label(entry, &group.name)).collect();
    let width = labels.iter().map(|label| console::measure_text_width(label)).max().unwrap_or(0).min(LABEL);
    for (entry, label) in group.entries.iter().zip(labels) {
        lines.extend(entry_lines(entry, &format!("{label:width$}"), extent));
    }
    lines
}

/// The widest column of labels.
const LABEL: usize = 44;
/// The widest value on a line, unless all is shown.
const VALUE: usize = 60;
/// How many lines of a text are shown, unless all are.
const LINES: usize = 12;

fn label(entry: &Entry, group: &str) -> String {
    let topic = match entry.topic {
        Topic::Object => return entry.object.clone(),
        Topic::Replicas => "replicas",
        Topic::Schedule => "schedule",
        Topic::Image => "image",
        Topic::Command => "command",
        Topic::Env => "env",
        Topic::Resources => "resources",
        Topic::Probe => "probe",
        Topic::Volume => "volume",
        Topic::Port => "port",
        Topic::Host => "host",
        Topic::Data => "data",
        Topic::Field => "field",
    };
    // Most is of the workload, whose name the component has.
    let is_workload = entry.object.split_once('/').is_some_and(|(_, name)| name.ends_with(group))
        && !matches!(entry.topic, Topic::Port | Topic::Host | Topic::Data | Topic::Field);
    let object = if is_workload || entry.object == group { "" } else { &entry.object };
    [topic, object, &entry.what].into_iter().filter(|part| !part.is_empty()).collect::<Vec<_>>().join(" ")
}

fn entry_lines(entry: &Entry, label: &str, extent: Extent) -> Vec<String> {
    let Entry { topic, a, b, equal, .. } = entry;
    if *topic == Topic::Object {
        let side =
            if a.is_some() { style("only in the first").red() } else { style("only in the second").green() };
        return vec![format!("  {label}  {side}")];
    }
    if *equal {
        let value = a.as_deref().unwrap_or_default().replace('\n', "\\n");
        return vec![format!("  {} {}", style(format!("{label} ")).dim(), style(value).dim())];
    }
    match (a, b) {
        (Some(a), Some(b)) if a == b => vec![format!("  {label}  {}", style("differs").yellow())],
        (Some(a), Some(b)) if a.contains('\n') || b.contains('\n') => {
            let mut lines = vec![format!("  {}", label.trim_end())];
            lines.extend(changed_lines(a, b, extent));
            lines
        }
        (a, b) => {
            let [a, b] = cut([a.as_deref(), b.as_deref()], extent);
            vec![format!("  {label}  {} -> {}", style(a).red(), style(b).green())]
        }
    }
}

/// Both values on one line: where they are long, from where they begin to differ.
fn cut(values: [Option<&str>; 2], extent: Extent) -> [String; 2] {
    let common = match values {
        [Some(a), Some(b)] => a.chars().zip(b.chars()).take_while(|(a, b)| a == b).count(),
        _ => 0,
    };
    let is_long = values.iter().flatten().any(|value| value.chars().count() > VALUE);
    let skip = if is_long { common.saturating_sub(VALUE / 4) } else { 0 };
    values.map(|value| {
        let Some(value) = value else { return "(none)".to_owned() };
        if value.is_empty() {
            return "\"\"".to_owned();
        }
        let value = value.replace('\n', "\\n");
        if extent == Extent::All || !is_long {
            return value;
        }
        let rest: String = value.chars().skip(skip).take(VALUE).collect();
        let before = if skip > 0 { "…" } else { "" };
        let after = if value.chars().count() > skip + VALUE { "…" } else { "" };
        format!("{before}{rest}{after}")
    })
}

/// The lines of two texts that differ, with one around them.
fn changed_lines(a: &str, b: &str, extent: Extent) -> Vec<String> {
    let diff = TextDiff::from_lines(a, b);
    let mut lines = Vec::new();
    for group in diff.grouped_ops(1) {
        for change in group.iter().flat_map(|op| diff.iter_changes(op)) {
            let line = change.value().trim_end_matches('\n');
            lines.push(match change.tag() {
                ChangeTag::Delete => format!("    {}", style(format!("- {line}")).red()),
                ChangeTag::Insert => format!("    {}", style(format!("+ {line}")).green()),
                ChangeTag::Equal => format!("    {}", style(format!("  {line}")).dim()),
            });
        }
    }
    if extent == Extent::Folded && lines.len() > LINES {
        let more = lines.len() - LINES;
        lines.truncate(LINES);
        lines.push(format!("    {}", style(format!("… {more} more lines (--all)")).dim()));
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(topic: Topic, object: &str, what: &str, a: Option<&str>, b: Option<&str>) -> Entry {
        let (a, b) = (a.map(str::to_owned), b.map(str::to_owned));
        let equal = a == b && a.as_deref() != Some("(hidden)");
        Entry { topic, object: object.to_owned(), what: what.to_owned(), a, b, equal }
    }

    fn report(entries: Vec<Entry>) -> Report {
        let side = |target: &str| Side { target: target.to_owned(), values: vec![], set: vec![] };
        let web = Group { name: "web".to_owned(), entries, equal: 7 };
        let mail = Group { name: "mail".to_owned(), entries: vec![], equal: 3 };
        Report { a: side("local"), b: side("dev"), differs: true, groups: vec![web, mail] }
    }

    fn shown(entries: Vec<Entry>, extent: Extent) -> String {
        console::strip_ansi_codes(&text(&report(entries), extent)).into_owned()
    }

    #[test]
    fn what_differs_is_aligned_and_what_is_equal_is_named() {
        let entries = vec![
            entry(Topic::Object, "HorizontalPodAutoscaler/web", "", None, Some("there")),
            entry(Topic::Replicas, "Deployment/shop-web", "", Some("1"), Some("3")),
            entry(Topic::Env, "Deployment/shop-web", "web PASSWORD", Some("(hidden)"), Some("(hidden)")),
            entry(Topic::Env, "Deployment/shop-web", "web X", Some("a"), Some("")),
            entry(Topic::Host, "Ingress/web", "/ to web:80", Some("a"), None),
        ];
        let expected = [
            "- local",
            "+ dev",
            "",
            "web  (7 equal)",
            "  HorizontalPodAutoscaler/web   only in the second",
            "  replicas                      1 -> 3",
            "  env web PASSWORD              differs",
            "  env web X                     a -> \"\"",
            "  host Ingress/web / to web:80  a -> (none)",
            "",
            "equal: mail",
        ];
        assert_eq!(shown(entries, Extent::Folded), expected.join("\n"));
    }

    #[test]
    fn long_values_are_cut_around_where_they_differ_and_texts_line_by_line() {
        let long = |end: &str| format!("{}{end}{}", "a".repeat(70), "z".repeat(70));
        let of = |extent| {
            let entry = entry(Topic::Env, "Deployment/web", "web X", Some(&long("1")), Some(&long("2")));
            shown(vec![entry], extent)
        };
        let folded = of(Extent::Folded);
        assert!(folded.contains(&format!("…{}1{}…", "a".repeat(15), "z".repeat(44))), "{folded}");
        assert!(of(Extent::All).contains(&long("2")));

        let lines = |change: &str| (0..40).map(|n| format!("{n}{change}\n")).collect::<String>();
        let of = |a: &str, b: &str, extent| {
            shown(vec![entry(Topic::Data, "ConfigMap/web", "x.conf", Some(a), Some(b))], extent)
        };
        let one = of("a\nb\nc\nd\n", "a\nb\nC\nd\n", Extent::Folded);
        assert!(one.contains("data ConfigMap/web x.conf\n      b\n    - c\n    + C\n      d\n"), "{one}");
        let many = of(&lines(""), &lines("!"), Extent::Folded);
        assert!(many.contains("… 68 more lines (--all)"), "{many}");
        assert!(of(&lines(""), &lines("!"), Extent::All).contains("+ 39!"));
    }
}
