//! The garbage collector: removes environments whose time has come.

use std::time::Duration;

use envctl_cluster::live::usage;
use envctl_cluster::{marks, records};
use envctl_model::name::EnvironmentName;
use envctl_model::record::Record;
use jiff::{SignedDuration, Timestamp};
use schemars::JsonSchema;
use serde::Serialize;

use super::cluster::down::{Expired, Options};
use super::cluster::target::{Destination, explain};
use super::interrupts::Interrupts;
use super::locate::{Whereabouts, places, unasked};
use super::run::Screen;
use super::{Store, cluster, local};
use crate::config::Base;
use crate::ui::{Failure, Format, notice};

/// An environment that has expired, or is about to.
#[derive(Debug, Clone, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Found {
    /// The environment.
    pub(crate) name: String,
    /// Who made it.
    pub(crate) owner: String,
    /// The cluster it lives in; nothing: this machine's Docker Engine.
    pub(crate) cluster: Option<String>,
    /// When it may be removed (RFC 3339).
    #[schemars(with = "String")]
    pub(crate) expires: Timestamp,
    /// Whether that time has come.
    pub(crate) expired: bool,
}

/// Where the garbage collector has looked, and what it found there.
#[derive(Debug)]
pub(crate) struct Collector {
    found: Vec<(Whereabouts, Found)>,
    /// What could not be looked at.
    pub(crate) failures: Vec<Failure>,
}

/// How a collection went.
#[derive(Debug, Default)]
pub(crate) struct Collected {
    /// How many were removed.
    pub(crate) removed: usize,
    /// What was not, and why.
    pub(crate) kept: Vec<(String, Failure)>,
}

impl Collector {
    /// Looks for what has expired, or will within a time.
    pub(crate) async fn look(base: &Base, soon: SignedDuration) -> Result<Self, Failure> {
        let horizon = Timestamp::now().saturating_add(soon).unwrap_or(Timestamp::MAX);
        let asked = places(base)?.into_iter().map(|place| async move {
            let records = match &place {
                Whereabouts::Local => on_engine(base),
                Whereabouts::Cluster(destination) => in_cluster(destination).await,
            };
            (place, records)
        });
        let mut collector = Self { found: Vec::new(), failures: Vec::new() };
        for (place, records) in futures_util::future::join_all(asked).await {
            let cluster = match &place {
                Whereabouts::Local => None,
                Whereabouts::Cluster(destination) => Some(&destination.expected.cluster),
            };
            match records {
                Ok(records) => {
                    let due = records.iter().filter_map(|record| due(record, cluster, horizon));
                    collector.found.extend(due.map(|found| (place.clone(), found)));
                }
                Err(failure) => collector.failures.extend(unasked(base, &place, failure).err()),
            }
        }
        collector.found.sort_by(|(_, a), (_, b)| (a.expires, &a.name).cmp(&(b.expires, &b.name)));
        Ok(collector)
    }

    /// What was found, the oldest first.
    pub(crate) fn found(&self) -> Vec<Found> {
        self.found.iter().map(|(_, found)| found.clone()).collect()
    }

    /// Removes all that has expired, the oldest first; whatever does not go soon waits until all else is gone.
    /// One that somebody else removes or extends at that moment is left to them.
    pub(crate) async fn collect(&self, base: &Base, format: Format) -> Result<Collected, Failure> {
        let interrupts = Interrupts::listen()?;
        let mut collected = Collected::default();
        let mut due: Vec<_> = self.found.iter().filter(|(_, found)| found.expired).collect();
        for patience in [SOON, PATIENCE] {
            let mut stuck = Vec::new();
            for one in due {
                let (place, found) = one;
                let name = EnvironmentName::from_text(&found.name).map_err(Failure::failed)?;
                let screen = Screen::new(format);
                let removed = match place {
                    Whereabouts::Local => local::down::remove(base, &name, &interrupts, &screen).await,
                    Whereabouts::Cluster(destination) => {
                        let options = Options { only: Some(Expired), ..Options::within(patience) };
                        cluster::down::remove(base, destination, &name, &options, &interrupts, &screen).await
                    }
                };
                if let Err(Failure::Failed(text) | Failure::Refused(text) | Failure::Taken(text)) = &removed {
                    screen.warn(format!("environment `{name}`: {text}"));
                }
                screen.finish().await;
                match removed {
                    Ok(()) => collected.removed += 1,
                    Err(Failure::Interrupted) => return Err(Failure::Interrupted),
                    Err(Failure::Reported) if patience == SOON => stuck.push(one),
                    Err(failure) => collected.kept.push((found.name.clone(), failure)),
                }
            }
            due = stuck;
        }
        Ok(collected)
    }
}

/// How long one environment is waited for while others wait for their turn.
const SOON: Duration = Duration::from_secs(60);
/// How long one that did not go is waited for at the end.
const PATIENCE: Duration = Duration::from_secs(300);

fn on_engine(base: &Base) -> Result<Vec<Record>, Failure> {
    let records = Store::new(base.state_dir.value.clone()).records()?;
    Ok(records.into_iter().filter_map(|(_, record)| record.ok()).collect())
}

/// The records of a cluster, each with the earliest time that it or its namespace states. What nobody can
/// collect is told.
async fn in_cluster(destination: &Destination) -> Result<Vec<Record>, Failure> {
    let (reader, _) = destination.look().await?;
    let (stored, usage) = tokio::join!(records::all(&reader), usage::all(&reader));
    let (stored, mut usage) = (stored.map_err(|e| explain(&e))?, usage.map_err(|e| explain(&e))?);
    let mut all = Vec::new();
    for one in stored {
        let namespace = usage.remove(&one.name);
        match one.record {
            Ok(mut record) => {
                record.expires = marks::earlier(record.expires, namespace.and_then(|n| n.expires));
                all.push(record);
            }
            Err(error) => notice(&format!("warning: the record of environment `{}`: {error}", one.name)),
        }
    }
    for (name, namespace) in usage.into_iter().filter(|(_, namespace)| !namespace.ending) {
        notice(&format!(
            "warning: the namespace `{name}` is an environment of {} without a record, which nobody collects: \
             if it is nobody's any more, kubectl delete namespace {name}",
            namespace.owner
        ));
    }
    Ok(all)
}

fn due(record: &Record, cluster: Option<&String>, horizon: Timestamp) -> Option<Found> {
    let expires = record.expires.filter(|at| *at <= horizon)?;
    Some(Found {
        name: record.name.to_string(),
        owner: record.owner.clone(),
        cluster: cluster.cloned(),
        expires,
        expired: expires <= Timestamp::now(),
    })
}
