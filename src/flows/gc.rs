//! The garbage collector: removes environments whose time has come.

use std::time::Duration;

use envctl_model::Event;
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
use crate::ui::{Failure, Format};

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

    /// Removes all that has expired. One that somebody else removes or extends at that moment is left to
    /// them.
    pub(crate) async fn collect(&self, base: &Base, format: Format) -> Result<Collected, Failure> {
        let interrupts = Interrupts::listen()?;
        let mut collected = Collected::default();
        for (place, found) in self.found.iter().filter(|(_, found)| found.expired) {
            let name = EnvironmentName::from_text(&found.name).map_err(Failure::failed)?;
            let screen = Screen::new(format);
            let removed = match place {
                Whereabouts::Local => local::down::remove(base, &name, &interrupts, &screen).await,
                Whereabouts::Cluster(destination) => {
                    let options = Options { timeout: PATIENCE, strip: Vec::new(), only: Some(Expired) };
                    cluster::down::remove(base, destination, &name, &options, &interrupts, &screen).await
                }
            };
            if let Err(Failure::Failed(text) | Failure::Refused(text)) = &removed {
                screen.show(Event::Warning { message: format!("environment `{name}`: {text}") });
            }
            screen.finish().await;
            match removed {
                Ok(()) => collected.removed += 1,
                Err(Failure::Interrupted) => return Err(Failure::Interrupted),
                Err(failure) => collected.kept.push((found.name.clone(), failure)),
            }
        }
        Ok(collected)
    }
}

/// How long one environment is waited for.
const PATIENCE: Duration = Duration::from_secs(300);

fn on_engine(base: &Base) -> Result<Vec<Record>, Failure> {
    let records = Store::new(base.state_dir.value.clone()).records()?;
    Ok(records.into_iter().filter_map(|(_, record)| record.ok()).collect())
}

async fn in_cluster(destination: &Destination) -> Result<Vec<Record>, Failure> {
    let (reader, _) = destination.look().await?;
    let stored = envctl_cluster::records::all(&reader).await.map_err(|e| explain(&e))?;
    Ok(stored.into_iter().filter_map(|stored| stored.record.ok()).collect())
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
