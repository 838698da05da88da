//! The right to change an environment in a cluster: the cluster is the right one, and the environment ours.

use std::time::Duration;

use envctl_cluster::{Intent, VerifiedCluster, records};
use envctl_model::name::EnvironmentName;
use envctl_model::record::{Phase, Place, Record};
use jiff::{SignedDuration, Timestamp};

use super::lock::Locked;
use super::target::{Destination, explain};
use crate::config::Base;
use crate::flows::Store;
use crate::flows::check::guard_names;
use crate::flows::locate::cluster_record;
use crate::ui::{Failure, notice};

/// Beside the time that is waited at most.
const MARGIN: SignedDuration = SignedDuration::from_mins(5);

/// Signs in to change something of `name`, which waits `within` this time.
pub(crate) async fn verified(
    destination: &Destination,
    name: &EnvironmentName,
    within: Duration,
) -> Result<VerifiedCluster, Failure> {
    let within = SignedDuration::try_from(within).unwrap_or(SignedDuration::MAX).saturating_add(MARGIN);
    let until = Timestamp::now().saturating_add(within).unwrap_or(Timestamp::MAX);
    let intent = Intent { namespace: name.as_str(), workspace: None, until };
    destination.examine().await.verify(&destination.protected, intent).map_err(|e| explain(&e))
}

/// Signs in to change something of an environment that is ours, and reads its record.
pub(crate) async fn owned(
    destination: &Destination,
    name: &EnvironmentName,
    within: Duration,
) -> Result<(VerifiedCluster, Record), Failure> {
    let cluster = verified(destination, name, within).await?;
    let record = cluster_record(cluster.reader(), name).await;
    refuse_protected_workspace(destination, name, record.as_ref().ok())?;
    let record = record?;
    refuse_others(&cluster, &record)?;
    same_cluster(&cluster, &record)?;
    Ok((cluster, record))
}

/// Changes something of an environment that is ours, as its only writer.
pub(crate) async fn change<T>(
    base: &Base,
    destination: &Destination,
    name: &EnvironmentName,
    verb: &str,
    change: impl AsyncFnOnce(&VerifiedCluster, Record) -> Result<T, Failure>,
) -> Result<T, Failure> {
    let (cluster, _) = owned(destination, name, WITHIN).await?;
    cluster.warnings().iter().for_each(|warning| warn(warning));
    let locked = Locked::acquire(base, &cluster, name.as_str(), verb, |w| warn(&w)).await?;
    let changed = async {
        // Read again under the lock.
        let record = cluster_record(cluster.reader(), name).await?;
        refuse_others(&cluster, &record)?;
        if record.phase == Phase::Removing {
            return Err(Failure::Refused(format!(
                "environment `{name}` is being removed: `envctl down` goes on with that"
            )));
        }
        change(&cluster, record).await
    }
    .await;
    let released = locked.release().await;
    let changed = changed?;
    released?;
    Ok(changed)
}

/// Standard output is what was asked for, and that of a command in a container.
fn warn(message: &str) {
    notice(&format!("warning: {message}"));
}

/// How long a change takes at most.
const WITHIN: Duration = Duration::from_secs(15 * 60);

/// Keeps a changed record in the cluster, and here if this machine has one of it.
pub(crate) async fn save(
    base: &Base,
    destination: &Destination,
    cluster: &VerifiedCluster,
    record: &Record,
) -> Result<(), Failure> {
    records::save(cluster, record).await.map_err(|e| explain(&e))?;
    let home = Store::new(base.state_dir.value.clone()).cluster_home(&destination.key(), &record.name);
    if home.exists() { home.save_record(record) } else { Ok(()) }
}

/// Environments of others are theirs.
pub(crate) fn refuse_others(cluster: &VerifiedCluster, record: &Record) -> Result<(), Failure> {
    let (me, owner) = (&cluster.facts().username, &record.owner);
    if owner == me {
        return Ok(());
    }
    Err(Failure::Taken(format!(
        "environment `{}` belongs to {owner}, and you are {me}\n  ask them, or wait until it expires",
        record.name
    )))
}

/// Only the record tells the workspace: the stack file may name it in any way.
pub(crate) fn refuse_protected_workspace(
    destination: &Destination,
    name: &EnvironmentName,
    record: Option<&Record>,
) -> Result<(), Failure> {
    let terraform = record.and_then(|record| record.terraform.as_ref());
    let workspace = terraform.map(|terraform| terraform.workspace.as_str());
    guard_names(&destination.protected, name.as_str(), workspace)
}

/// The record was made on this very cluster.
pub(crate) fn same_cluster(cluster: &VerifiedCluster, record: &Record) -> Result<(), Failure> {
    let Place::Eks(place) = &record.place else {
        return Err(Failure::Failed(format!(
            "the record of environment `{}` is not of a cluster",
            record.name
        )));
    };
    let facts = cluster.facts();
    if place.cluster_uid != facts.uid {
        return Err(Failure::Refused(format!(
            "environment `{}` was made on another cluster named `{}` (UID {}); this one has UID {}",
            record.name, place.cluster, place.cluster_uid, facts.uid
        )));
    }
    Ok(())
}
