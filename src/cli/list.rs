//! `envctl list`

use std::collections::BTreeMap;

use envctl_model::record::Phase;
use jiff::Timestamp;
use schemars::JsonSchema;
use serde::Serialize;

use crate::config::Base;
use crate::flows::Store;
use crate::flows::local::machine;
use crate::ui::{Failure, Format, ago, print, print_json, table};

/// One row of `list --json`.
#[derive(Debug, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub(super) struct Row {
    /// The environment.
    name: String,
    /// Its stack's project.
    project: String,
    /// Who made it.
    owner: String,
    /// Its target.
    target: String,
    /// Where its last `up` or `down` stands.
    phase: Phase,
    /// When it was made (RFC 3339).
    created: String,
    /// When it may be removed (RFC 3339); nothing: never.
    expires: Option<String>,
    /// Whether that time has come.
    expired: bool,
    /// Containers that run now; nothing: the Engine did not answer.
    running: Option<usize>,
    /// Where it answers.
    urls: Vec<String>,
}

pub(super) async fn run(base: &Base, format: Format) -> Result<(), Failure> {
    let records = Store::new(base.state_dir.value.clone()).records()?;
    let running = if records.is_empty() { None } else { running(base).await };
    let now = Timestamp::now();
    let mut rows = Vec::new();
    let mut unreadable = Vec::new();
    for (name, record) in records {
        match record {
            Ok(record) => rows.push(Row {
                running: running.as_ref().map(|r| r.get(&record.identity).copied().unwrap_or(0)),
                expired: record.expires.is_some_and(|at| at <= now),
                created: record.created.to_string(),
                expires: record.expires.map(|at| at.to_string()),
                name,
                project: record.project,
                owner: record.owner,
                target: record.target,
                phase: record.phase,
                urls: record.urls,
            }),
            Err(failure) => unreadable.push(failure),
        }
    }
    if format == Format::Json {
        print_json(&rows)?;
    } else if rows.is_empty() && unreadable.is_empty() {
        print("there are no environments; `envctl up` makes one");
    } else {
        print(&table(
            &["NAME", "TARGET", "PHASE", "RUNNING", "AGE", "EXPIRES", "URL"],
            rows.into_iter().map(|row| {
                let at = |text: &str| text.parse::<Timestamp>().unwrap_or(now);
                let expires = match &row.expires {
                    None => "never".to_owned(),
                    Some(when) if row.expired => format!("{} ago", ago(at(when), now)),
                    Some(when) => format!("in {}", ago(now, at(when))),
                };
                let running = row.running.map_or_else(|| "?".to_owned(), |n| n.to_string());
                let age = ago(at(&row.created), now);
                vec![row.name, row.target, row.phase.to_string(), running, age, expires, row.urls.join(" ")]
            }),
        ));
    }
    match unreadable.into_iter().next() {
        Some(failure) => Err(failure),
        None => Ok(()),
    }
}

/// Running containers by identity; `None` where no Engine answers, which is no reason not to list.
async fn running(base: &Base) -> Option<BTreeMap<String, usize>> {
    let reader = machine::look(base).await.ok()?;
    envctl_local::lookup::running(&reader).await.ok()
}
