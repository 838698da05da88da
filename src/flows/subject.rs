//! The environment that a verb is about, with the right to look at it.

use envctl_cluster::ClusterReader;
use envctl_model::name::EnvironmentName;
use envctl_model::record::Record;

use super::Store;
use super::locate::{self, Whereabouts, cluster_record, whereabouts};
use crate::config::Base;
use crate::ui::Failure;

/// An environment, where it lives.
#[derive(Debug)]
pub(crate) enum Subject {
    /// On this machine's Docker Engine, which has not been asked yet.
    Local(Box<Record>),
    /// In a cluster.
    Cluster(Box<InCluster>),
}

/// An environment in a cluster.
#[derive(Debug)]
pub(crate) struct InCluster {
    /// Its record.
    pub(crate) record: Record,
    /// Looks.
    pub(crate) reader: ClusterReader,
}

impl Subject {
    /// Its record.
    pub(crate) fn record(&self) -> &Record {
        match self {
            Self::Local(record) => record,
            Self::Cluster(within) => &within.record,
        }
    }
}

/// Finds the environment that flags, variables, directory and stack file mean.
pub(crate) async fn find(base: &Base) -> Result<Subject, Failure> {
    let name = locate::name(base)?;
    Ok(match whereabouts(base, &name)? {
        Whereabouts::Local => Subject::Local(Box::new(local_record(base, &name)?)),
        Whereabouts::Cluster(destination) => {
            let (reader, _) = destination.look().await?;
            let record = cluster_record(&reader, &name).await?;
            Subject::Cluster(Box::new(InCluster { record, reader }))
        }
    })
}

/// The record of an environment on this machine.
pub(crate) fn local_record(base: &Base, name: &EnvironmentName) -> Result<Record, Failure> {
    let store = Store::new(base.state_dir.value.clone());
    if let Some(record) = store.home(name).record()? {
        return Ok(record);
    }
    let names: Vec<_> = store.records()?.into_iter().map(|(name, _)| name).collect();
    let known = if names.is_empty() {
        "there are none; `envctl up` makes one".to_owned()
    } else {
        format!("environments: {}", names.join(", "))
    };
    Err(Failure::Usage(format!("there is no environment `{name}`\n  {known}")))
}
