//! The lock of an environment in the cluster.

use envctl_cluster::VerifiedCluster;
use envctl_cluster::lock::{self, Acquired, Holder};
use envctl_programs::process::{process_space, start_time};
use envctl_runner::Lock;

use super::target::explain;
use crate::config::Base;
use crate::flows::interrupts::Interrupts;
use crate::ui::Failure;

/// The only writer of an environment.
#[derive(Debug)]
pub(crate) struct Locked(lock::Lock);

impl Locked {
    /// Takes the lock. One whose holder has died is taken over.
    pub(crate) async fn acquire(
        base: &Base,
        cluster: &VerifiedCluster,
        name: &str,
        verb: &str,
        warn: impl Fn(String),
    ) -> Result<Self, Failure> {
        let pid = std::process::id();
        let started = start_time(pid)
            .ok_or_else(|| Failure::Failed("the system does not say when this process started".to_owned()))?;
        let host = rustix::system::uname().nodename().to_string_lossy().into_owned();
        let user = base.variables.user.clone();
        let space = process_space();
        let holder = Holder { pid, started, space, host, user, command: format!("envctl {verb}") };
        let waiting = |message: &str| warn(format!("environment `{name}` is {message}"));
        match lock::acquire(cluster, name, &holder, waiting).await.map_err(|e| explain(&e))? {
            Acquired::Lock(lock) => Ok(Self(*lock)),
            Acquired::Held { by, break_command } => Err(Failure::Taken(format!(
                "environment `{name}` is locked by {by}\n  wait for it; if you know that it is dead, break the lock with: {break_command}"
            ))),
        }
    }

    /// Works while the lock is ours. Whoever loses it in the middle of a step stops as if interrupted: by
    /// now somebody else may be at work.
    pub(crate) async fn hold<T>(
        &self,
        interrupts: &Interrupts,
        work: impl Future<Output = Result<T, Failure>>,
    ) -> Result<T, Failure> {
        let mut work = std::pin::pin!(work);
        tokio::select! {
            result = &mut work => result,
            reason = self.0.lost() => {
                interrupts.raise();
                work.await.map_err(|_| {
                    Failure::Refused(format!("{reason}\n  when it answers again, the same command goes on from here"))
                })
            }
        }
    }

    /// Gives the lock back.
    pub(crate) async fn release(self) -> Result<(), Failure> {
        self.0.release().await.map_err(|e| explain(&e))
    }
}

impl Lock for Locked {
    async fn still_held(&self) -> Result<(), String> {
        self.0.still_held().await
    }
}
