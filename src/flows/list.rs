//! All environments, of everybody, wherever this machine knows that some live.

use std::collections::BTreeMap;

use envctl_cluster::live::usage;
use envctl_cluster::records;
use envctl_model::record::{Phase, Record};
use jiff::Timestamp;
use schemars::JsonSchema;
use serde::Serialize;

use super::Store;
use super::cluster::target::{Destination, explain};
use super::local::machine;
use super::locate::{Whereabouts, places, unasked};
use crate::config::Base;
use crate::ui::Failure;

/// One row of `list --json`.
#[derive(Debug, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Row {
    /// The environment.
    pub(crate) name: String,
    /// Its stack's project.
    pub(crate) project: String,
    /// Who made it.
    pub(crate) owner: String,
    /// Its target.
    pub(crate) target: String,
    /// The cluster it lives in; nothing: this machine's Docker Engine.
    pub(crate) cluster: Option<String>,
    /// Where its last `up` or `down` stands.
    pub(crate) phase: Phase,
    /// Since when it sleeps (RFC 3339); nothing: it is awake.
    #[schemars(with = "Option<String>")]
    pub(crate) asleep: Option<Timestamp>,
    /// When it was made (RFC 3339).
    #[schemars(with = "String")]
    pub(crate) created: Timestamp,
    /// When it may be removed (RFC 3339); nothing: never.
    #[schemars(with = "Option<String>")]
    pub(crate) expires: Option<Timestamp>,
    /// Whether that time has come.
    pub(crate) expired: bool,
    /// Containers that run now, in a cluster pods; nothing: nobody answered, or it has no namespace.
    pub(crate) running: Option<usize>,
    /// In a cluster: the sum of what its containers request of CPU, such as `1500m`.
    pub(crate) cpu: Option<String>,
    /// Likewise of memory, such as `2Gi`.
    pub(crate) memory: Option<String>,
    /// Where it answers.
    pub(crate) urls: Vec<String>,
}

/// What was found, and what could not be read or asked.
#[derive(Debug, Default)]
pub(crate) struct Listed {
    /// Environments, by name.
    pub(crate) rows: Vec<Row>,
    /// What went wrong on the way.
    pub(crate) failures: Vec<Failure>,
}

/// Looks everywhere at once.
pub(crate) async fn list(base: &Base) -> Result<Listed, Failure> {
    let asked = places(base)?.into_iter().map(|place| async move {
        let listed = match &place {
            Whereabouts::Local => local(base).await,
            Whereabouts::Cluster(destination) => cluster(destination).await,
        };
        (place, listed)
    });
    let mut listed = Listed::default();
    for (place, one) in futures_util::future::join_all(asked).await {
        match one {
            Ok(one) => {
                listed.rows.extend(one.rows);
                listed.failures.extend(one.failures);
            }
            Err(failure) => listed.failures.extend(unasked(base, &place, failure).err()),
        }
    }
    listed.rows.sort_by(|a, b| (&a.name, &a.cluster).cmp(&(&b.name, &b.cluster)));
    Ok(listed)
}

async fn local(base: &Base) -> Result<Listed, Failure> {
    let records = Store::new(base.state_dir.value.clone()).records()?;
    let running = if records.is_empty() { None } else { running(base).await };
    let mut listed = Listed::default();
    for (_, record) in records {
        match record {
            Ok(record) => {
                let running = running.as_ref().map(|r| r.get(&record.identity).copied().unwrap_or(0));
                listed.rows.push(Row { running, ..row(record, None) });
            }
            Err(failure) => listed.failures.push(failure),
        }
    }
    Ok(listed)
}

/// Running containers by identity; `None` where no Engine answers, which is no reason not to list.
async fn running(base: &Base) -> Option<BTreeMap<String, usize>> {
    let reader = machine::look(base).await.ok()?;
    envctl_local::lookup::running(&reader).await.ok()
}

async fn cluster(destination: &Destination) -> Result<Listed, Failure> {
    let (reader, facts) = destination.look().await?;
    let (stored, usage) = tokio::join!(records::all(&reader), usage::all(&reader));
    let (stored, mut usage) = (stored.map_err(|e| explain(&e))?, usage.map_err(|e| explain(&e))?);
    let mut listed = Listed::default();
    for one in stored {
        match one.record {
            Ok(record) => {
                let usage = usage.remove(&one.name).filter(|usage| usage.identity == record.identity);
                let usage = usage.unwrap_or_default();
                listed.rows.push(Row {
                    running: usage.pods,
                    cpu: usage.cpu,
                    memory: usage.memory,
                    ..row(record, Some(facts.cluster.clone()))
                });
            }
            Err(error) => listed.failures.push(Failure::Failed(format!(
                "environment `{}` in cluster {}: {error}",
                one.name, facts.cluster
            ))),
        }
    }
    Ok(listed)
}

fn row(record: Record, cluster: Option<String>) -> Row {
    Row {
        name: record.name.to_string(),
        project: record.project,
        owner: record.owner,
        target: record.target,
        cluster,
        phase: record.phase,
        asleep: record.asleep.map(|asleep| asleep.since),
        created: record.created,
        expires: record.expires,
        expired: record.expires.is_some_and(|at| at <= Timestamp::now()),
        running: None,
        cpu: None,
        memory: None,
        urls: record.urls,
    }
}
