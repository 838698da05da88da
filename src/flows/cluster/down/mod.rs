//! `down` for the cluster target: remove, look everything up, write the receipt.

mod plan;
mod world;

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use envctl_cluster::namespace::{self, Found};
use envctl_cluster::terraform::archive;
use envctl_cluster::{ClusterReader, Intent, VerifiedCluster, records};
use envctl_model::name::EnvironmentName;
use envctl_model::record::{Phase, Place as Lives};
use envctl_model::{Event, Receipt};
use jiff::{SignedDuration, Timestamp};

use super::lock::Locked;
use super::target::{Destination, explain};
use crate::config::Base;
use crate::flows::Store;
use crate::flows::interrupts::Interrupts;
use crate::flows::run::{Run, Screen, open_journal};
use crate::ui::Failure;
use world::DownWorld;

/// How `down` was asked for.
#[derive(Debug, Clone, Default)]
pub(crate) struct Options {
    /// How long to wait for controllers and namespaces.
    pub(crate) timeout: Duration,
    /// Objects whose finalizers are taken off, as the user named them.
    pub(crate) strip: Vec<String>,
}

/// Removes an environment; what happens goes to `screen`.
pub(crate) async fn remove(
    base: &Base,
    destination: &Destination,
    name: &EnvironmentName,
    options: &Options,
    interrupts: &Interrupts,
    screen: &Screen,
) -> Result<(), Failure> {
    let store = Store::new(base.state_dir.value.clone());
    let home = store.cluster_home(&destination.key(), name);
    let until = SignedDuration::try_from(options.timeout).unwrap_or(SignedDuration::MAX);
    let until = Timestamp::now().saturating_add(until).unwrap_or(Timestamp::MAX);
    let intent = Intent { namespace: name.as_str(), workspace: name.as_str(), until };
    let examined = destination.examine().await;
    let cluster = examined.verify(&destination.protected, intent).map_err(|e| explain(&e))?;
    for warning in cluster.warnings() {
        screen.show(Event::Warning { message: warning.clone() });
    }
    let Some(stored) = records::read(cluster.reader(), name.as_str()).await.map_err(|e| explain(&e))? else {
        return nothing(cluster.reader(), name, screen).await;
    };
    refuse_others(&cluster, name, &stored.owner)?;
    let mut record = stored.record.map_err(Failure::failed)?;
    guard_record(&cluster, &record.place, name)?;
    home.create()?;
    let locked = Locked::acquire(base, &cluster, name.as_str(), "down", screen).await?;
    let result = async {
        let journal = open_journal(&home, screen, interrupts).await?;
        let things = journal.lock().unwrap_or_else(PoisonError::into_inner).things().clone();
        record.phase = Phase::Removing;
        records::save(&cluster, &record).await.map_err(|e| explain(&e))?;
        home.save_record(&record)?;
        let plan = plan::plan(&record).map_err(Failure::failed)?;
        screen.show(Event::Planned {
            verb: "down".to_owned(),
            environment: name.to_string(),
            target: format!("{} (eks {})", record.target, cluster.facts().cluster),
            steps: plan.steps.len(),
            expires: None,
        });
        let world = DownWorld {
            base,
            options,
            interrupts,
            cluster: &cluster,
            home: &home,
            record: &record,
            things,
            progress: Mutex::default(),
            receipt: Mutex::new(Receipt::new(name.as_str())),
        };
        let failpoint = base.variables.failpoint.as_deref();
        let run = Run { verb: "down", lock: &locked, journal, screen, interrupts, failpoint };
        run.execute(&world, &plan).await?;
        let receipt = world.finish();
        store.save_receipt(&receipt)?;
        // What was left is still to be found: the record says where.
        if receipt.left.is_empty() && !world.lost_sight(&receipt) {
            let archive = record.terraform.as_ref().and_then(|terraform| terraform.archive.as_ref());
            archive::remove(&cluster, &record, archive).await.map_err(|e| explain(&e))?;
            records::remove(&cluster, name.as_str(), &record.identity).await.map_err(|e| explain(&e))?;
            home.remove()?;
        }
        Ok::<_, Failure>(receipt)
    }
    .await;
    let released = locked.release().await;
    let receipt = result?;
    released?;
    let left = !receipt.left.is_empty();
    screen.show(Event::Receipt(receipt));
    if left { Err(Failure::Left) } else { Ok(()) }
}

fn refuse_others(cluster: &VerifiedCluster, name: &EnvironmentName, owner: &str) -> Result<(), Failure> {
    let me = &cluster.facts().username;
    if owner == me {
        return Ok(());
    }
    Err(Failure::Refused(format!(
        "environment `{name}` belongs to {owner}, and you are {me}\n  ask them, or wait until it expires"
    )))
}

/// The record was made on this very cluster, and what it protects is not this one.
fn guard_record(cluster: &VerifiedCluster, place: &Lives, name: &EnvironmentName) -> Result<(), Failure> {
    let Lives::Eks(place) = place else {
        return Err(Failure::Failed(format!("the record of environment `{name}` is not of a cluster")));
    };
    if place.cluster_uid != cluster.facts().uid {
        return Err(Failure::Refused(format!(
            "environment `{name}` was made on another cluster named `{}` (UID {}); this one has UID {}",
            place.cluster,
            place.cluster_uid,
            cluster.facts().uid
        )));
    }
    Ok(())
}

/// There is no record. A namespace may still carry the name: say so, and whose it is.
async fn nothing(reader: &ClusterReader, name: &EnvironmentName, screen: &Screen) -> Result<(), Failure> {
    match namespace::find(reader, name.as_str(), "").await.map_err(|e| explain(&e))? {
        Found::NotOurs { whose } => {
            return Err(Failure::Refused(format!(
                "there is no record of environment `{name}`, and the cluster has a namespace of that name: {whose}\n  \
                 if it is what is left of yours: kubectl delete namespace {name}"
            )));
        }
        Found::Missing | Found::Ours { .. } => {}
    }
    let mut message = format!("there is no environment `{name}` in this cluster; nothing was removed");
    let names: Vec<_> = records::all(reader).await.map_err(|e| explain(&e))?;
    if !names.is_empty() {
        let names: Vec<_> = names.iter().map(|stored| stored.name.as_str()).collect();
        message.push_str(&format!("\nenvironments: {}", names.join(", ")));
    }
    screen.show(Event::Warning { message });
    screen.show(Event::Receipt(Receipt::new(name.as_str())));
    Ok(())
}
