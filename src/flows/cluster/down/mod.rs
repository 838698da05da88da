//! `down` for the cluster target: remove, look everything up, write the receipt.

mod plan;
mod world;

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use envctl_cluster::namespace::{self, Found};
use envctl_cluster::terraform::archive;
use envctl_cluster::{ClusterReader, VerifiedCluster, lock, marks, records};
use envctl_model::name::EnvironmentName;
use envctl_model::record::{Phase, Record};
use envctl_model::{Event, Receipt};
use envctl_runner::Failpoints;
use jiff::Timestamp;

use super::lock::Locked;
use super::owned::{refuse_others, refuse_protected_workspace, same_cluster, verified};
use super::target::{Destination, explain};
use crate::config::Base;
use crate::flows::interrupts::Interrupts;
use crate::flows::run::{Run, Screen, failpoints, open_journal, reach};
use crate::flows::terraform::Place;
use crate::flows::{Home, Store};
use crate::ui::Failure;
use world::DownWorld;

/// How `down` was asked for.
#[derive(Debug, Clone)]
pub(crate) struct Options {
    /// How long to wait for controllers and namespaces.
    pub(crate) timeout: Duration,
    /// Objects whose finalizers are taken off, as the user named them.
    pub(crate) strip: Vec<String>,
    /// Whether the chart's hooks run.
    pub(crate) hooks: bool,
    /// Only if it has expired, and then whoever owns it.
    pub(crate) only: Option<Expired>,
}

impl Options {
    /// As `down` without flags, but for this.
    pub(crate) fn within(timeout: Duration) -> Self {
        Self { timeout, strip: Vec::new(), hooks: true, only: None }
    }
}

/// That its time has come is what entitles the garbage collector.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Expired;

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
    let cluster = verified(destination, name, options.timeout).await?;
    for warning in cluster.warnings() {
        screen.warn(warning.clone());
    }
    let reader = cluster.reader();
    let stored = records::read(reader, name.as_str()).await.map_err(|e| explain(&e))?;
    let record = stored.map(|stored| stored.record.map_err(Failure::failed)).transpose()?;
    refuse_protected_workspace(destination, name, record.as_ref())?;
    if let Some(record) = record {
        may_remove(&cluster, &record, options).await?;
    } else if !home.exists() && !lock::exists(reader, name.as_str()).await.map_err(|e| explain(&e))? {
        return nothing(reader, name, screen).await;
    }
    let locked = Locked::acquire(base, &cluster, name.as_str(), "down", |w| screen.warn(w)).await?;
    let down = Down { base, cluster: &cluster, store: &store, home: &home, options, interrupts, screen };
    let result = locked.hold(interrupts, down.locked(name, &locked)).await;
    let released = locked.release().await;
    let receipt = result?;
    released?;
    let Some(receipt) = receipt else { return nothing(reader, name, screen).await };
    let left = !receipt.left.is_empty();
    screen.show(Event::Receipt(receipt));
    if left { Err(Failure::Left) } else { Ok(()) }
}

/// What all of `down` goes by, once the cluster is verified.
struct Down<'a> {
    base: &'a Base,
    cluster: &'a VerifiedCluster,
    store: &'a Store,
    home: &'a Home,
    options: &'a Options,
    interrupts: &'a Interrupts,
    screen: &'a Screen,
}

impl Down<'_> {
    /// Removes the environment; `None` where there is none, or none any more.
    async fn locked(&self, name: &EnvironmentName, locked: &Locked) -> Result<Option<Receipt>, Failure> {
        let Self { base, cluster, store, home, options, interrupts, screen } = *self;
        let failpoints = failpoints(&base.variables);
        reach(&failpoints, "down", "locked")?;
        // Read again under the lock: its owner may have extended it, or another `down` was first.
        let stored = records::read(cluster.reader(), name.as_str()).await.map_err(|e| explain(&e))?;
        let Some(stored) = stored else {
            self.forget_home(name).await?;
            return Ok(None);
        };
        let mut record = stored.record.map_err(Failure::failed)?;
        may_remove(cluster, &record, options).await?;
        home.create()?;
        let journal = open_journal(home, screen, interrupts).await?;
        let things = journal.lock().unwrap_or_else(PoisonError::into_inner).things().clone();
        record.phase = Phase::Removing;
        records::save(cluster, &record).await.map_err(|e| explain(&e))?;
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
            cluster,
            home,
            record: &record,
            things,
            progress: Mutex::default(),
            receipt: Mutex::new(Receipt::new(name.as_str())),
        };
        let run = Run {
            verb: "down",
            lock: locked,
            journal,
            screen,
            interrupts,
            failpoints: failpoints.clone(),
            home,
        };
        run.execute(&world, &plan).await?;
        reach(&failpoints, "down", "done")?;
        let receipt = world.finish(store.receipt(name)?.as_ref());
        store.save_receipt(&receipt)?;
        // What was left is still to be found: the record says where.
        if receipt.left.is_empty() && !world.lost_sight(&receipt) {
            self.forget(record, &failpoints).await?;
        }
        Ok(Some(receipt))
    }

    /// Removes what knows of an environment that is gone. Whoever dies on the way leaves what the next
    /// `down` needs to go on.
    async fn forget(&self, mut record: Record, failpoints: &Failpoints) -> Result<(), Failure> {
        let Self { cluster, home, .. } = *self;
        if let Some(terraform) = record.terraform.as_mut().filter(|terraform| terraform.claimed) {
            // So that nobody looks for the root, which goes next.
            terraform.claimed = false;
            records::save(cluster, &record).await.map_err(|e| explain(&e))?;
        }
        let archive = record.terraform.as_ref().and_then(|terraform| terraform.archive.as_ref());
        archive::remove(cluster, &record, archive).await.map_err(|e| explain(&e))?;
        reach(failpoints, "down", "unarchived")?;
        let name = record.name.as_str();
        records::remove(cluster, name, &record.identity).await.map_err(|e| explain(&e))?;
        reach(failpoints, "down", "forgotten")?;
        home.remove()?;
        reach(failpoints, "down", "finished")
    }

    /// Removes what this machine still has of an environment that was removed from elsewhere, or by a run
    /// that died at the very end.
    async fn forget_home(&self, name: &EnvironmentName) -> Result<(), Failure> {
        if !self.home.exists() {
            return Ok(());
        }
        // Not before programs of that run have ended.
        drop(open_journal(self.home, self.screen, self.interrupts).await?);
        if Place::of(self.home).holds_a_state() {
            let kept = self.home.file("terraform/root");
            let message = format!(
                "the cluster no longer knows `{name}`, and this machine has a Terraform state of it: {} stays",
                kept.display()
            );
            self.screen.warn(message);
            return Ok(());
        }
        self.home.remove()
    }
}

/// The environment is of this cluster, and ours or at its end.
async fn may_remove(cluster: &VerifiedCluster, record: &Record, options: &Options) -> Result<(), Failure> {
    same_cluster(cluster, record)?;
    match options.only {
        None => refuse_others(cluster, record),
        Some(Expired) => enter(cluster, record).await,
    }
}

/// Takes the rights that are needed in an expired environment of somebody else. The cluster gives them to
/// its garbage collector, and refuses them to developers.
async fn enter(cluster: &VerifiedCluster, record: &Record) -> Result<(), Failure> {
    has_expired(cluster.reader(), record).await?;
    if record.owner == cluster.facts().username {
        return Ok(());
    }
    match namespace::enter(cluster, record.name.as_str()).await {
        Err(error) if error.is_forbidden() => refuse_others(cluster, record),
        // It never had a namespace, or has none any more.
        Err(error) if error.is_not_found() => Ok(()),
        entered => entered.map_err(|e| explain(&e)),
    }
}

/// By its record or by its namespace, whichever says so first: the platform limits what both may say.
async fn has_expired(reader: &ClusterReader, record: &Record) -> Result<(), Failure> {
    let stated = namespace::expires(reader, record.name.as_str()).await.map_err(|e| explain(&e))?;
    if marks::earlier(record.expires, stated).is_some_and(|at| at <= Timestamp::now()) {
        return Ok(());
    }
    Err(Failure::Taken(format!("environment `{}` was extended meanwhile", record.name)))
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
