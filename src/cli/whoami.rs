//! `envctl whoami`

use envctl_cluster::{Check, Examined, Verdict};
use jiff::Timestamp;
use schemars::JsonSchema;
use serde::Serialize;

use crate::config::Base;
use crate::flows::locate::{self, Whereabouts};
use crate::ui::{Failure, Format, ago, print, print_json, table};

/// What `whoami --json` prints.
#[derive(Debug, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub(super) struct Report {
    /// The environment that would be acted on.
    environment: String,
    /// As whom: profile and role.
    signed_in_by: String,
    /// The cluster that is wanted: account, region, name.
    wanted: String,
    /// What was compared, in order; it stops at the first thing that is not as expected.
    checks: Vec<Check>,
    /// In which groups the cluster has us.
    groups: Vec<String>,
    /// When the credentials end (RFC 3339); nothing: never, or nobody says.
    credentials_expire: Option<String>,
    /// Why the examination stopped early.
    error: Option<String>,
}

pub(super) async fn run(base: &Base, format: Format) -> Result<(), Failure> {
    let name = locate::name(base)?;
    let Whereabouts::Cluster(destination) = locate::whereabouts(base, &name)? else {
        return Err(Failure::Usage(format!(
            "environment `{name}` is of the local target, where the Docker Engine is all there is to it\n  \
             name a target of kind `eks` with --target, or a cluster with --cluster"
        )));
    };
    let examined = destination.examine().await;
    let expected = &destination.expected;
    let report = Report {
        environment: name.to_string(),
        signed_in_by: destination.by.describe(),
        wanted: format!("{} in {} of account {}", expected.cluster, expected.region, expected.account),
        checks: examined.checks.clone(),
        groups: examined.facts().map(|facts| facts.groups.clone()).unwrap_or_default(),
        credentials_expire: examined.credentials().and_then(|(at, _)| at).map(|at| at.to_string()),
        error: examined.error().map(ToString::to_string),
    };
    if format == Format::Json {
        print_json(&report)?;
    } else {
        show(&report, &examined);
    }
    match examined.error() {
        Some(error) => Err(crate::flows::cluster::target::explain(error)),
        None => Ok(()),
    }
}

fn show(report: &Report, examined: &Examined) {
    print(&format!(
        "environment {} · cluster {} · signed in by {}",
        report.environment, report.wanted, report.signed_in_by
    ));
    print(&table(
        &["WHAT", "FOUND", "", "WHY"],
        report.checks.iter().map(|check| {
            let verdict = match check.verdict {
                Verdict::Ok => "ok",
                Verdict::Warning => "warning",
                Verdict::Refused => "refused",
            };
            vec![check.what.to_owned(), check.found.clone(), verdict.to_owned(), check.why.clone()]
        }),
    ));
    if !report.groups.is_empty() {
        print(&format!("groups: {}", report.groups.join(", ")));
    }
    match examined.credentials() {
        Some((Some(at), _)) => print(&format!("credentials end in {}", ago(Timestamp::now(), at))),
        Some((None, true)) => print("credentials are temporary, and nobody says when they end"),
        Some((None, false)) => print("credentials do not end"),
        None => {}
    }
}
