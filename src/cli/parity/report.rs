//! The parity report: the sums first, then each component's findings, the worst first.

use std::cmp::Reverse;

use envctl_model::finding::{Fate, Finding, Severity};
use envctl_model::selection;
use schemars::JsonSchema;
use serde::Serialize;

use crate::ui::table;

/// What `parity --json` prints.
#[derive(Debug, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub(in crate::cli) struct Report {
    /// Objects that were looked at.
    objects: usize,
    /// How their fields fare.
    fates: Fates,
    /// How much the findings matter.
    severities: Severities,
    /// Findings, worst first.
    findings: Vec<Reported>,
}

/// How many fields fare how.
#[derive(Debug, Default, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
struct Fates {
    /// Plain values that no finding is about.
    carried: usize,
    /// Findings about what is done differently here.
    approximated: usize,
    /// Findings about what is not done here.
    dropped: usize,
    /// Findings about what has no meaning here.
    meaningless: usize,
}

/// How many findings matter how much.
#[derive(Debug, Default, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
struct Severities {
    /// The application may not work, or the machine is exposed.
    critical: usize,
    /// A defect can hide, or be caused.
    major: usize,
    /// Few applications notice.
    minor: usize,
    /// Worth knowing at most.
    info: usize,
}

/// A finding, and whose it is.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
struct Reported {
    /// The component of the stack file whose object it is about.
    #[serde(skip_serializing_if = "Option::is_none")]
    component: Option<String>,
    #[serde(flatten)]
    finding: Finding,
}

impl Severities {
    fn of<'f>(findings: impl IntoIterator<Item = &'f Reported>) -> Self {
        let mut sums = Self::default();
        for reported in findings {
            match reported.finding.severity {
                Severity::Critical => sums.critical += 1,
                Severity::Major => sums.major += 1,
                Severity::Minor => sums.minor += 1,
                Severity::Info => sums.info += 1,
            }
        }
        sums
    }

    /// `1 critical, 2 info`
    fn text(&self) -> String {
        let sums = [
            (self.critical, Severity::Critical),
            (self.major, Severity::Major),
            (self.minor, Severity::Minor),
            (self.info, Severity::Info),
        ];
        let sums = sums.into_iter().filter(|(count, _)| *count > 0);
        sums.map(|(count, severity)| format!("{count} {}", severity_word(severity)))
            .collect::<Vec<_>>()
            .join(", ")
    }
}

impl Report {
    /// Of the findings about a stack with these components.
    pub(super) fn new(objects: usize, carried: usize, findings: Vec<Finding>, components: &[&str]) -> Self {
        let mut fates = Fates { carried, ..Fates::default() };
        for finding in &findings {
            match finding.fate {
                Fate::Carried => fates.carried += 1,
                Fate::Approximated => fates.approximated += 1,
                Fate::Dropped => fates.dropped += 1,
                Fate::Meaningless => fates.meaningless += 1,
            }
        }
        let owner = |finding: &Finding| {
            // `api-admin` is not the `admin` of a release `api`, where there is a component of that name.
            let own = components.iter().filter(|component| selection::means(component, &finding.object));
            own.max_by_key(|component| component.len()).map(|component| (*component).to_owned())
        };
        let mut findings: Vec<_> =
            findings.into_iter().map(|finding| Reported { component: owner(&finding), finding }).collect();
        findings.sort_by(|a, b| {
            (Reverse(a.finding.severity), a.finding.fate, a).cmp(&(
                Reverse(b.finding.severity),
                b.finding.fate,
                b,
            ))
        });
        Self { objects, fates, severities: Severities::of(&findings), findings }
    }

    /// The worst that was found.
    pub(super) fn worst(&self) -> Option<Severity> {
        self.findings.first().map(|reported| reported.finding.severity)
    }

    /// For people.
    pub(super) fn text(&self) -> String {
        let Fates { carried, approximated, dropped, meaningless } = self.fates;
        let mut text = format!(
            "{} objects: {carried} fields carried, {approximated} approximated, {dropped} dropped, \
             {meaningless} meaningless here",
            self.objects
        );
        let Some(first) = self.findings.first() else { return text };
        text.push_str(&format!("\nfindings: {}\n", self.severities.text()));
        for (component, findings) in self.by_component() {
            let name = component.unwrap_or("of no component");
            text.push_str(&format!("\n{name}: {}\n", Severities::of(findings.iter().copied()).text()));
            let rows = findings.into_iter().map(|reported| row(&reported.finding));
            text.push_str(&table(&["SEVERITY", "FATE", "CODE", "WHERE", "WHAT"], rows));
            text.push('\n');
        }
        text.push_str(&format!("\nwhat a code means: envctl parity --explain {}", first.finding.code));
        text
    }

    /// Each component's findings; that with the worst comes first, and what is no component's last.
    fn by_component(&self) -> Vec<(Option<&str>, Vec<&Reported>)> {
        let mut parts: Vec<(Option<&str>, Vec<&Reported>)> = Vec::new();
        for reported in &self.findings {
            let component = reported.component.as_deref();
            match parts.iter_mut().find(|(known, _)| *known == component) {
                Some((_, findings)) => findings.push(reported),
                None => parts.push((component, vec![reported])),
            }
        }
        // They stand in the order of their worst findings already.
        parts.sort_by_key(|(component, _)| component.is_none());
        parts
    }
}

fn row(finding: &Finding) -> Vec<String> {
    let place = match finding.path.as_str() {
        "" => finding.object.clone(),
        path => format!("{} {path}", finding.object),
    };
    let message = match &finding.fix {
        Some(fix) => format!("{} ({fix})", finding.message),
        None => finding.message.clone(),
    };
    let fate = match finding.fate {
        Fate::Dropped => "dropped",
        Fate::Approximated => "approximated",
        Fate::Meaningless => "meaningless here",
        Fate::Carried => "carried",
    };
    vec![severity_word(finding.severity).to_owned(), fate.to_owned(), finding.code.clone(), place, message]
}

pub(super) fn severity_word(severity: Severity) -> &'static str {
    match severity {
        Severity::Info => "info",
        Severity::Minor => "minor",
        Severity::Major => "major",
        Severity::Critical => "critical",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn finding(severity: Severity, fate: Fate, code: &str, object: &str) -> Finding {
        Finding {
            severity,
            fate,
            code: code.to_owned(),
            object: object.to_owned(),
            path: String::new(),
            message: "differs".to_owned(),
            fix: None,
        }
    }

    #[test]
    fn sums_come_first_then_components_and_the_worst_of_them_first() {
        let findings = vec![
            finding(Severity::Info, Fate::Meaningless, "rbac", "Role/shop"),
            finding(Severity::Major, Fate::Dropped, "network-policy", "NetworkPolicy/shop"),
            finding(Severity::Info, Fate::Approximated, "empty-dir", "Deployment/shop-web"),
            finding(Severity::Minor, Fate::Dropped, "deadline", "Job/shop-jobs"),
            finding(Severity::Info, Fate::Approximated, "update-strategy", "Deployment/shop-web"),
        ];
        let report = Report::new(7, 99, findings, &["web", "jobs"]);
        assert_eq!(report.worst(), Some(Severity::Major));
        insta::assert_snapshot!(report.text(), @r"
        7 objects: 99 fields carried, 2 approximated, 2 dropped, 1 meaningless here
        findings: 1 major, 1 minor, 3 info

        jobs: 1 minor
        SEVERITY  FATE     CODE      WHERE          WHAT
        minor     dropped  deadline  Job/shop-jobs  differs

        web: 2 info
        SEVERITY  FATE          CODE             WHERE                WHAT
        info      approximated  empty-dir        Deployment/shop-web  differs
        info      approximated  update-strategy  Deployment/shop-web  differs

        of no component: 1 major, 1 info
        SEVERITY  FATE              CODE            WHERE               WHAT
        major     dropped           network-policy  NetworkPolicy/shop  differs
        info      meaningless here  rbac            Role/shop           differs

        what a code means: envctl parity --explain network-policy
        ");
    }

    #[test]
    fn a_stack_that_is_carried_as_a_whole_says_so() {
        let report = Report::new(3, 20, Vec::new(), &["web"]);
        assert_eq!(
            report.text(),
            "3 objects: 20 fields carried, 0 approximated, 0 dropped, 0 meaningless here"
        );
        assert_eq!(report.worst(), None);
    }
}
