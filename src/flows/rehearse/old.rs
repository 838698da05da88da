//! The old side: machines on the Engine, and what can be done with them.

use std::net::SocketAddr;

use envctl_local::machines::{Fingerprint, Machine as OldMachine, Machines, Tool as Running};
use envctl_model::cutover::plan::Tool;
use envctl_rehearse::director::Trouble;
use futures_util::future::try_join_all;

use crate::flows::moving::PATIENCE;
use crate::ui::Failure;

/// The old side.
#[derive(Debug, Clone)]
pub(super) struct Old {
    /// Its machines.
    pub(super) machines: Machines,
    /// The port on which each answers; for services and endpoints.
    pub(super) port: Option<u16>,
}

impl Old {
    /// All machines.
    pub(super) async fn list(&self) -> Result<Vec<OldMachine>, Trouble> {
        self.machines.list().await.map_err(|e| Trouble(format!("the old side cannot be looked at: {e}")))
    }

    /// What the machines are made of.
    pub(super) async fn fingerprint(&self) -> Result<Fingerprint, Trouble> {
        self.machines.fingerprint().await.map_err(|e| Trouble(format!("the old side: {e}")))
    }

    /// The network of the machines.
    pub(super) async fn network(&self) -> Result<String, Trouble> {
        let first = self.list().await?.into_iter().find_map(|machine| machine.addresses.into_keys().next());
        first.ok_or_else(|| Trouble("the old side's machines are on no network".to_owned()))
    }

    /// Where the machines that run answer.
    pub(super) async fn addresses(&self) -> Result<Vec<SocketAddr>, Trouble> {
        let Some(port) = self.port else { return Ok(Vec::new()) };
        let running = self.list().await?.into_iter().filter(|machine| machine.is_running);
        let first = |machine: OldMachine| machine.addresses.into_values().next();
        Ok(running.filter_map(first).map(|ip| SocketAddr::new(ip, port)).collect())
    }

    /// Starts one of the plan's tools beside the machines.
    pub(super) async fn tool(&self, name: &str, tool: &Tool) -> Result<Running, Trouble> {
        let started = self.machines.tool(name, &tool.service, &tool.command).await;
        started.map_err(|e| Trouble(format!("the tool `{name}` of the old side does not start: {e}")))
    }

    /// Runs one of the plan's tools to its end, where its service runs.
    pub(super) async fn run(&self, tool: &Tool) -> Result<(), Trouble> {
        self.machines.run(&tool.service, &tool.command).await.map_err(|e| Trouble(e.to_string()))
    }

    /// Has so many machines run: the first ones are started, the others are asked to end, as their Compose file says.
    pub(super) async fn keep(&self, count: usize) -> Result<(), Trouble> {
        let all = self.list().await?;
        let (on, off) = all.split_at(count.min(all.len()));
        let starting = on.iter().filter(|machine| !machine.is_ready).map(|machine| async {
            let started = self.machines.start(&machine.instance, PATIENCE).await;
            started.map_err(|e| Trouble(format!("{} of the old side does not start: {e}", machine.instance)))
        });
        let stopping = off.iter().filter(|machine| machine.is_running).map(|machine| async {
            let stopped = self.machines.stop(&machine.instance, None).await;
            stopped.map_err(|e| Trouble(format!("{} of the old side does not stop: {e}", machine.instance)))
        });
        try_join_all(starting).await?;
        try_join_all(stopping).await?;
        self.verify(count).await
    }

    /// Reads back that exactly so many machines run.
    async fn verify(&self, count: usize) -> Result<(), Trouble> {
        let all = self.list().await?;
        let count = count.min(all.len());
        let running = all.iter().filter(|machine| machine.is_running).count();
        if running == count {
            return Ok(());
        }
        Err(Trouble(format!("{running} of {} machines of the old side run, and {count} should", all.len())))
    }
}

/// What went wrong with a side, before or after a director is there to be told.
pub(crate) fn failed(Trouble(text): Trouble) -> Failure {
    Failure::Failed(text)
}
