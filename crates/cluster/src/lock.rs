//! One writer per environment: a Lease in [`SYSTEM_NAMESPACE`], by the rule of client-go's leader
//! election. A lease counts as abandoned when it was seen unchanged for its whole duration on our own
//! monotonic clock; what its holder's clock wrote into it is not compared with ours.

use std::time::{Duration, Instant};

use envctl_programs::process::start_time;
use k8s_openapi::api::coordination::v1::{Lease, LeaseSpec};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::MicroTime;
use kube::Api;
use kube::api::{DeleteParams, ObjectMeta, PostParams, Preconditions};
use serde::{Deserialize, Serialize};
use tokio::sync::watch;
use tokio::task::JoinHandle;

use crate::client::ClusterReader;
use crate::error::ClusterError;
use crate::guard::VerifiedCluster;
use crate::marks::{self, SYSTEM_NAMESPACE};
use crate::watching::until;

/// How long a lease lasts without being renewed.
const DURATION: Duration = Duration::from_secs(30);
/// How often it is renewed.
const RENEW: Duration = Duration::from_secs(5);
/// After this long without a renewal that succeeded we no longer act as its holder.
const DEADLINE: Duration = Duration::from_secs(25);
/// Annotation: who holds it, as JSON.
const HOLDER: &str = "envctl.dev/holder";

/// Who holds, or wants to hold, a lock.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Holder {
    /// The process.
    pub pid: u32,
    /// When that process started, in the system's own words: with pid and host it names one process.
    pub started: String,
    /// Among which processes it is one. Machines and containers may have the same name.
    #[serde(default)]
    pub space: Option<String>,
    /// The machine's name.
    pub host: String,
    /// The user of the machine.
    pub user: String,
    /// What it is doing: `envctl up`.
    pub command: String,
}

impl Holder {
    fn id(&self) -> String {
        format!("{}/{}/{}", self.host, self.pid, self.started)
    }

    /// Whether the process that `self` names is known to be dead. Only a process that `here`, who asks,
    /// would see can be known.
    fn is_dead(&self, here: &Self) -> bool {
        let is_visible = self.space.is_some() && self.space == here.space;
        is_visible && start_time(self.pid).as_deref() != Some(self.started.as_str())
    }
}

impl std::fmt::Display for Holder {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { pid, host, user, command, .. } = self;
        write!(f, "`{command}` of {user} on {host} (process {pid})")
    }
}

/// What came of asking for a lock.
#[derive(Debug)]
pub enum Acquired {
    /// It is ours.
    Lock(Box<Lock>),
    /// Somebody has it, and was seen to be alive.
    Held {
        /// Who, in words.
        by: String,
        /// The command that breaks it, for when its holder is known to be gone.
        break_command: String,
    },
}

/// A held lock, renewed in the background until it is released or dropped.
#[derive(Debug)]
pub struct Lock {
    name: String,
    id: String,
    cluster: VerifiedCluster,
    renewed: watch::Receiver<Renewed>,
    renewing: JoinHandle<()>,
}

#[derive(Debug, Clone)]
enum Renewed {
    /// When it last succeeded.
    At(Instant),
    /// Somebody else took it.
    Lost(String),
}

fn api(cluster: &VerifiedCluster) -> Api<Lease> {
    Api::namespaced(cluster.client(), SYSTEM_NAMESPACE)
}

fn now() -> MicroTime {
    MicroTime(k8s_openapi::jiff::Timestamp::now())
}

/// Takes the lock of an environment. A lease whose holder was a process of this machine and is dead is
/// taken over at once; any other is watched: a renewal shows that its holder lives, a whole duration
/// without one that it does not. `waiting` is told once that this takes a while.
///
/// # Errors
/// When the cluster refuses or does not answer.
pub async fn acquire(
    cluster: &VerifiedCluster,
    name: &str,
    holder: &Holder,
    waiting: impl FnOnce(&str),
) -> Result<Acquired, ClusterError> {
    let leases = api(cluster);
    let failed = cluster.failed("to lock an environment");
    let mut waiting = Some(waiting);
    loop {
        let Some(lease) = leases.get_opt(name).await.map_err(&failed)? else {
            let params = PostParams::default();
            match leases.create(&params, &mine(cluster, name, holder, None)).await.map_err(&failed) {
                Err(error) if error.is_conflict() => continue,
                Err(error) => return Err(crate::records::prepared(error)),
                Ok(_) => return Ok(Acquired::Lock(Box::new(Lock::keep(cluster, name, holder)))),
            }
        };
        let theirs = who(&lease);
        let holder_now = lease.spec.as_ref().and_then(|spec| spec.holder_identity.as_deref());
        let free = holder_now.is_none_or(str::is_empty);
        let dead = theirs.as_ref().is_some_and(|theirs| theirs.is_dead(holder));
        if !free && !dead {
            let by = theirs.as_ref().map_or_else(|| "somebody".to_owned(), ToString::to_string);
            if let Some(waiting) = waiting.take() {
                waiting(&format!("locked by {by}; watching for {} s whether it lives", DURATION.as_secs()));
            }
            match watch_holder(cluster, name, &lease).await? {
                Seen::Alive => {
                    let break_command = format!("kubectl -n {SYSTEM_NAMESPACE} delete lease {name}");
                    return Ok(Acquired::Held { by, break_command });
                }
                Seen::Changed => continue,
                Seen::Silent => {}
            }
        }
        // The version we looked at: whoever was faster has changed it.
        let next = mine(cluster, name, holder, lease.metadata.resource_version);
        match leases.replace(name, &PostParams::default(), &next).await.map_err(&failed) {
            Err(error) if error.is_conflict() || error.is_not_found() => {}
            Err(error) => return Err(error),
            Ok(_) => return Ok(Acquired::Lock(Box::new(Lock::keep(cluster, name, holder)))),
        }
    }
}

/// Whether somebody holds the lock of an environment, or died with it.
///
/// # Errors
/// When the cluster does not answer.
pub async fn exists(reader: &ClusterReader, name: &str) -> Result<bool, ClusterError> {
    let leases: Api<Lease> = Api::namespaced(reader.client(), SYSTEM_NAMESPACE);
    let found = leases.get_opt(name).await.map_err(reader.failed("to show a lock"))?;
    Ok(found.is_some())
}

fn mine(cluster: &VerifiedCluster, name: &str, holder: &Holder, version: Option<String>) -> Lease {
    let owner = (marks::OWNER.to_owned(), cluster.facts().username.clone());
    let text = serde_json::json!(holder).to_string();
    Lease {
        metadata: ObjectMeta {
            name: Some(name.to_owned()),
            labels: Some([(marks::MANAGED_BY.to_owned(), marks::ENVCTL.to_owned())].into()),
            annotations: Some([owner, (HOLDER.to_owned(), text)].into()),
            resource_version: version,
            ..ObjectMeta::default()
        },
        spec: Some(LeaseSpec {
            holder_identity: Some(holder.id()),
            lease_duration_seconds: i32::try_from(DURATION.as_secs()).ok(),
            acquire_time: Some(now()),
            renew_time: Some(now()),
            ..LeaseSpec::default()
        }),
    }
}

fn who(lease: &Lease) -> Option<Holder> {
    serde_json::from_str(lease.metadata.annotations.as_ref()?.get(HOLDER)?).ok()
}

enum Seen {
    /// Renewed by the same holder.
    Alive,
    /// Released, or taken by another.
    Changed,
    /// Nothing happened for the lease's whole duration.
    Silent,
}

async fn watch_holder(cluster: &VerifiedCluster, name: &str, lease: &Lease) -> Result<Seen, ClusterError> {
    let leases: Api<Lease> = Api::namespaced(cluster.reader().streaming(), SYSTEM_NAMESPACE);
    let holder = |lease: &Lease| lease.spec.as_ref().and_then(|spec| spec.holder_identity.clone());
    let (before, version) = (holder(lease), lease.metadata.resource_version.clone());
    let seconds = lease.spec.as_ref().and_then(|spec| spec.lease_duration_seconds);
    let duration = seconds.and_then(|s| u64::try_from(s).ok()).map_or(DURATION, Duration::from_secs);
    // Whoever renews it changes its version. Silence of the API server is not the holder's.
    let is_other = |seen: &Lease| holder(seen) != before || seen.metadata.resource_version != version;
    match tokio::time::timeout(duration, until(leases, name, is_other)).await {
        Ok(Some(seen)) if holder(&seen) == before => Ok(Seen::Alive),
        Ok(_) => Ok(Seen::Changed),
        Err(_) => {
            // A last look: the silence may have been the watch's.
            let last = api(cluster).get_opt(name).await.map_err(cluster.failed("to show a lock"))?;
            let same = last.is_some_and(|last| last.metadata.resource_version == version);
            Ok(if same { Seen::Silent } else { Seen::Changed })
        }
    }
}

impl Lock {
    fn keep(cluster: &VerifiedCluster, name: &str, holder: &Holder) -> Self {
        let (renewal, renewed) = watch::channel(Renewed::At(Instant::now()));
        let id = holder.id();
        let task = renew(cluster.clone(), name.to_owned(), holder.clone(), renewal);
        let renewing = tokio::spawn(task);
        Self { name: name.to_owned(), id, cluster: cluster.clone(), renewed, renewing }
    }

    /// Whether the lock is still ours: by the last renewal, and by what the cluster says now.
    ///
    /// # Errors
    /// A sentence that says who took it, or that the cluster has been away for too long.
    pub async fn still_held(&self) -> Result<(), String> {
        let mut pause = Duration::from_millis(200);
        loop {
            match &*self.renewed.borrow() {
                Renewed::Lost(by) => return Err(taken(by)),
                Renewed::At(at) if at.elapsed() > DEADLINE => {
                    return Err(not_renewed());
                }
                Renewed::At(_) => {}
            }
            match api(&self.cluster).get_opt(&self.name).await {
                Ok(Some(lease)) => {
                    let holder = lease.spec.as_ref().and_then(|spec| spec.holder_identity.as_deref());
                    if holder == Some(&self.id) {
                        return Ok(());
                    }
                    return Err(taken(&who(&lease).map_or_else(|| "somebody".to_owned(), |h| h.to_string())));
                }
                Ok(None) => return Err(taken("somebody who broke it")),
                // Away for a moment: the deadline above ends this.
                Err(error) => {
                    let error = self.cluster.failed("to show a lock")(error);
                    if !error.is_passing() {
                        return Err(error.to_string());
                    }
                    tokio::time::sleep(pause).await;
                    pause = (pause * 2).min(Duration::from_secs(2));
                }
            }
        }
    }

    /// Waits until the lock is ours no more: somebody took it, or may have, since it could not be renewed.
    pub async fn lost(&self) -> String {
        let mut renewed = self.renewed.clone();
        loop {
            let until = match &*renewed.borrow_and_update() {
                Renewed::Lost(by) => return taken(by),
                Renewed::At(at) => *at + DEADLINE,
            };
            tokio::select! {
                // Nobody renews it any more: then it was released.
                changed = renewed.changed() => if changed.is_err() { std::future::pending().await },
                () = tokio::time::sleep_until(until.into()) => return not_renewed(),
            }
        }
    }

    /// Gives the lock back. One that is already gone, or somebody else's, is no error.
    ///
    /// # Errors
    /// When the cluster refuses or does not answer.
    pub async fn release(self) -> Result<(), ClusterError> {
        self.renewing.abort();
        let leases = api(&self.cluster);
        let failed = self.cluster.failed("to unlock an environment");
        loop {
            let Some(lease) = leases.get_opt(&self.name).await.map_err(&failed)? else { return Ok(()) };
            if lease.spec.as_ref().and_then(|spec| spec.holder_identity.as_deref()) != Some(&self.id) {
                return Ok(());
            }
            let preconditions = Some(Preconditions {
                uid: lease.metadata.uid,
                resource_version: lease.metadata.resource_version,
            });
            let params = DeleteParams { preconditions, ..DeleteParams::default() };
            match leases.delete(&self.name, &params).await.map_err(&failed) {
                // A renewal of ours was on its way when it was broken off, and came after the look; or
                // somebody took the lock. Another look tells.
                Err(error) if error.is_conflict() => {}
                Err(error) if !error.is_not_found() => return Err(error),
                _ => return Ok(()),
            }
        }
    }
}

impl Drop for Lock {
    fn drop(&mut self) {
        self.renewing.abort();
    }
}

fn not_renewed() -> String {
    format!(
        "the lock of this environment could not be renewed for {} s: the cluster does not answer; nothing more was done",
        DEADLINE.as_secs()
    )
}

fn taken(by: &str) -> String {
    format!("the lock of this environment was taken by {by}; nothing more was done")
}

async fn renew(cluster: VerifiedCluster, name: String, holder: Holder, renewal: watch::Sender<Renewed>) {
    let leases = api(&cluster);
    let mut clock = tokio::time::interval(RENEW);
    clock.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    clock.tick().await;
    loop {
        clock.tick().await;
        let renewed = async {
            let Some(mut lease) = leases.get_opt(&name).await? else { return Ok(Err("somebody".to_owned())) };
            match lease.spec.as_mut() {
                Some(spec) if spec.holder_identity.as_deref() == Some(&holder.id()) => {
                    spec.renew_time = Some(now());
                }
                _ => return Ok(Err(who(&lease).map_or_else(|| "somebody".to_owned(), |h| h.to_string()))),
            }
            leases.replace(&name, &PostParams::default(), &lease).await?;
            Ok::<_, kube::Error>(Ok(()))
        };
        match tokio::time::timeout(RENEW, renewed).await {
            Ok(Ok(Ok(()))) => {
                renewal.send_replace(Renewed::At(Instant::now()));
            }
            Ok(Ok(Err(by))) => {
                renewal.send_replace(Renewed::Lost(by));
                return;
            }
            // Tried again at the next tick; `still_held` knows how long it has been.
            Ok(Err(_)) | Err(_) => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use envctl_programs::process::process_space;

    #[test]
    fn only_a_process_that_can_be_seen_from_here_is_known_to_be_dead() {
        let pid = std::process::id();
        let here = Holder {
            pid,
            started: start_time(pid).unwrap(),
            space: process_space(),
            host: "devcontainer".to_owned(),
            user: "aki".to_owned(),
            command: "envctl up".to_owned(),
        };
        assert!(here.space.is_some());
        assert!(!here.is_dead(&here), "it runs");
        let dead = Holder { started: "before".to_owned(), ..here.clone() };
        assert!(dead.is_dead(&here), "another process had this number");
        for space in [None, Some("another boot or container".to_owned())] {
            let elsewhere = Holder { space, ..dead.clone() };
            assert!(!elsewhere.is_dead(&here), "of the same name, and not to be seen: {elsewhere:?}");
        }
    }
}
