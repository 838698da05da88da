//! Machines stopped, started, killed.

use std::time::Duration;

use bollard::query_parameters::{
    KillContainerOptionsBuilder, StartContainerOptions, StopContainerOptionsBuilder,
    WaitContainerOptionsBuilder,
};
use envctl_model::lifetime::State;
use futures_util::StreamExt as _;
use jiff::Timestamp;

use super::{Machines, MachinesError};
use crate::engine::EngineError;
use crate::state;

/// How a machine that was stopped ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stopped {
    /// When it was asked to, with this exit code.
    Ended {
        /// The code; not all programs that end well say 0.
        code: i64,
    },
    /// It did not end in time, and was killed.
    Killed,
}

impl Machines {
    /// Asks a machine to end (SIGTERM, unless the Compose file names another signal), and kills it when its grace is
    /// over: that of the Compose file, or another one. Grace is counted in whole seconds, of which a part of one is one.
    ///
    /// # Errors
    /// When there is no such machine, or the Engine does not answer.
    pub async fn stop(&self, instance: &str, grace: Option<Duration>) -> Result<Stopped, MachinesError> {
        let machine = self.machine(instance).await?;
        let options = grace.map(|grace| {
            let seconds = grace.as_secs() + u64::from(grace.subsec_nanos() > 0);
            StopContainerOptionsBuilder::default().t(i32::try_from(seconds).unwrap_or(i32::MAX)).build()
        });
        let stopped = self.engine.docker().stop_container(&machine.id, options).await;
        stopped.map_err(self.engine.failed(&format!("stopping {instance}")))?;
        let found = state::container(self.reader(), &machine.id).await?;
        let code = found.and_then(|container| container.exit_code).unwrap_or_default();
        Ok(match State::of_exit(code) {
            State::Killed => Stopped::Killed,
            _ => Stopped::Ended { code },
        })
    }

    /// Starts a machine that was stopped or killed, and waits until it is ready.
    ///
    /// # Errors
    /// When there is no such machine, it ends again, or is not ready in time; when the Engine does not answer.
    pub async fn start(&self, instance: &str, within: Duration) -> Result<(), MachinesError> {
        let machine = self.machine(instance).await?;
        let since = Timestamp::now();
        let started = self.engine.docker().start_container(&machine.id, None::<StartContainerOptions>).await;
        started.map_err(self.engine.failed(&format!("starting {instance}")))?;
        self.ready(since, within, |name| name == instance).await
    }

    /// Kills a machine (SIGKILL), as when its power fails, and waits until it is gone. Nothing starts it again but
    /// [`Machines::start`].
    ///
    /// # Errors
    /// When there is no such machine, or it does not run; when the Engine does not answer.
    pub async fn kill(&self, instance: &str) -> Result<(), MachinesError> {
        let machine = self.machine(instance).await?;
        let docker = self.engine.docker();
        let options = KillContainerOptionsBuilder::default().signal("SIGKILL").build();
        let killed = docker.kill_container(&machine.id, Some(options)).await;
        killed.map_err(self.engine.failed(&format!("killing {instance}")))?;
        let options = WaitContainerOptionsBuilder::default().condition("not-running").build();
        let mut over = docker.wait_container(&machine.id, Some(options));
        match over.next().await {
            // That it did not end well is what was wanted.
            None | Some(Ok(_) | Err(bollard::errors::Error::DockerContainerWaitError { .. })) => Ok(()),
            Some(Err(error)) => {
                let failed: EngineError =
                    self.engine.failed(&format!("waiting for the end of {instance}"))(error);
                Err(failed.into())
            }
        }
    }
}
