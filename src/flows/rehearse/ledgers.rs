//! What ledgers tell: of which instance it is, and when.

use std::collections::BTreeMap;

use envctl_local::machines::Tool;
use envctl_model::cutover::Side;
use envctl_rehearse::director::Trouble;
use envctl_rehearse::ledger::{Ledger, LineError, Reading};
use envctl_rehearse::{Observation, Recorder};

use super::sandbox::Sandbox;
use crate::flows::moving::workloads::Pods;

/// Which instance has which host name: that is all a program knows of where it runs.
#[derive(Debug, Clone)]
pub(super) struct Hosts {
    /// Machines by their host names.
    old: BTreeMap<String, String>,
    /// Pods.
    new: Pods,
}

impl Hosts {
    /// The host names of a sandbox. Machines keep theirs over a restart.
    pub(super) async fn of(sandbox: &Sandbox) -> Result<Self, Trouble> {
        let machines = sandbox.old.list().await?.into_iter();
        Ok(Self {
            old: machines.map(|machine| (machine.host_name, machine.instance)).collect(),
            new: sandbox.new.host_names(),
        })
    }

    /// Side and name of the instance with this host name.
    fn whose(&self, host: &str) -> Option<(Side, String)> {
        if let Some(machine) = self.old.get(host) {
            return Some((Side::Old, machine.clone()));
        }
        self.new.have(host).then(|| (Side::New, host.to_owned()))
    }
}

/// Writes down what the ledger of jobs tells. Comes back only when it tells nothing more, with why.
pub(super) async fn jobs(tool: Tool, hosts: Hosts, recorder: Recorder) -> String {
    let clock = recorder.clone();
    let read =
        |reading: &mut Reading<'_>, line: &str| reading.job_line(line, clock.now(), |host| hosts.whose(host));
    follow(tool, &recorder, read).await
}

/// Writes down what the ledger of runs tells. Comes back only when it tells nothing more, with why.
pub(super) async fn runs(tool: Tool, hosts: Hosts, recorder: Recorder) -> String {
    let read = |reading: &mut Reading<'_>, line: &str| reading.run_line(line, |host| hosts.whose(host));
    follow(tool, &recorder, read).await
}

async fn follow(
    mut tool: Tool,
    recorder: &Recorder,
    mut read: impl FnMut(&mut Reading<'_>, &str) -> Result<Option<Observation>, LineError>,
) -> String {
    let mut ledger = recorder.read(Ledger::resume);
    let mut reading = ledger.reading();
    loop {
        let line = match tool.lines.next().await {
            Ok(Some(line)) => line,
            Ok(None) => return format!("it ended\n{}", tool.lines.complaints()),
            Err(error) => return error.to_string(),
        };
        match read(&mut reading, &line) {
            Ok(told) => recorder.see_all(told),
            Err(error) => return error.to_string(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_machine_is_known_by_its_host_name_and_a_pod_by_its_workload() {
        let old = BTreeMap::from([("0123456789ab".to_owned(), "rehearse-worker-1".to_owned())]);
        let hosts = Hosts { old, new: Pods::of(["worker"].into_iter()) };
        assert_eq!(hosts.whose("0123456789ab"), Some((Side::Old, "rehearse-worker-1".to_owned())));
        assert_eq!(hosts.whose("worker-7d4-x2x"), Some((Side::New, "worker-7d4-x2x".to_owned())));
        assert_eq!(hosts.whose("laptop"), None);
    }
}
