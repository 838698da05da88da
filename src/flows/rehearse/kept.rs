//! What is kept of a rehearsal, so that another process can see it, go on with it, and remove it.
//!
//! ```text
//! STATE/rehearsals/NAME/rehearsal.json    names of all that it makes
//!                       recording.jsonl   what was seen
//!                       journal.jsonl     intents and outcomes of its legs
//!                       judged.json       what was judged, and how
//!                       lock              held by the process that is at work on it
//!                       router/           the configuration of the router
//! ```

use std::collections::BTreeMap;
use std::fs::File;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use envctl_local::machines::Fingerprint;
use envctl_rehearse::director::Judged;
use envctl_rehearse::evidence::Digest;
use jiff::Timestamp;
use rustix::fs::{FlockOperation, flock};
use serde::{Deserialize, Serialize};

use crate::config::Base;
use crate::flows::{Home, Store};
use crate::ui::Failure;

const FILE: &str = "rehearsal.json";

const JUDGED: &str = "judged.json";

/// What is kept.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Kept {
    /// Its name: also that of the environment that is the new side.
    pub(super) name: String,
    /// Whose all is that it makes: the value of the label.
    pub(super) identity: String,
    /// The plan's file.
    pub(super) plan: PathBuf,
    /// The plan's file, as it was when it began.
    pub(super) plan_digest: Digest,
    /// The component.
    pub(super) component: String,
    /// The seed of everything that is drawn at random.
    pub(super) seed: u64,
    /// When it began.
    pub(super) began: Timestamp,
    /// Replicas of the component's workloads, as the chart wants them.
    pub(super) replicas: BTreeMap<String, i32>,
    /// What the old side is made of; none before it is up.
    pub(super) fingerprint: Option<Fingerprint>,
    /// Where the router listens; none before there is one.
    pub(super) ports: Option<Ports>,
    /// Where the new side is reached.
    pub(super) exposed: Option<SocketAddr>,
}

/// Where the router listens on loopback, and where we listen to it.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Ports {
    /// For requests.
    pub(super) requests: u16,
    /// For its runtime API.
    pub(super) runtime: u16,
    /// Where its log is taken, by UDP, at the gateway of the machines' network.
    pub(super) log: u16,
    /// Of a proxy before the new side, there too.
    pub(super) proxy: u16,
}

impl Kept {
    /// Whether its sandbox was made to the end. The way to the new side is the last thing that is made.
    pub(super) fn is_whole(&self, has_requests: bool) -> bool {
        self.fingerprint.is_some() && (!has_requests || self.exposed.is_some())
    }
}

/// The directory of a rehearsal, held by this process alone.
#[derive(Debug)]
pub(super) struct Held {
    /// What is kept.
    pub(super) kept: Kept,
    /// Where.
    pub(super) home: Home,
    // Released when the process ends, however that ends.
    _lock: File,
}

impl Held {
    /// Begins a rehearsal of that name.
    pub(super) fn begin(base: &Base, kept: Kept) -> Result<Self, Failure> {
        let home = store(base).rehearsal(&kept.name);
        home.create()?;
        let lock = lock(&home)?.ok_or_else(|| busy(&kept))?;
        let held = Self { kept, home, _lock: lock };
        held.save()?;
        Ok(held)
    }

    /// Takes over the rehearsal of a plan that a process left which died.
    pub(super) fn take_over(base: &Base, plan: &Path) -> Result<Self, Failure> {
        let mut found = Vec::new();
        for home in store(base).rehearsals()? {
            let Some(kept) = home.read_json::<Kept>(FILE)? else { continue };
            if kept.plan == plan {
                found.push((home, kept));
            }
        }
        if found.len() > 1 {
            let names: Vec<_> = found.iter().map(|(_, kept)| kept.name.clone()).collect();
            found.retain(|(_, kept)| base.flags.name.as_ref() == Some(&kept.name));
            if found.len() != 1 {
                return Err(Failure::Usage(format!(
                    "there are several rehearsals of {}\n  say which one with --name: {}",
                    plan.display(),
                    names.join(", ")
                )));
            }
        }
        let Some((home, kept)) = found.pop() else {
            return Err(Failure::Usage(format!(
                "no rehearsal of {} was left unfinished on this machine\n  begin one: envctl rehearse {}",
                plan.display(),
                plan.display()
            )));
        };
        let lock = lock(&home)?.ok_or_else(|| busy(&kept))?;
        Ok(Self { kept, home, _lock: lock })
    }

    /// Writes down all that was judged up to now.
    pub(super) fn keep(&self, judged: &[Judged]) -> Result<(), Failure> {
        self.home.write_json(JUDGED, &judged)
    }

    /// What was judged by the processes that were at work on it before.
    pub(super) fn judged(&self) -> Result<Vec<Judged>, Failure> {
        Ok(self.home.read_json(JUDGED)?.unwrap_or_default())
    }

    /// Writes down what is kept.
    pub(super) fn save(&self) -> Result<(), Failure> {
        self.home.write_json(FILE, &self.kept)
    }
}

fn store(base: &Base) -> Store {
    Store::new(base.state_dir.value.clone())
}

fn lock(home: &Home) -> Result<Option<File>, Failure> {
    let path = home.file("lock");
    let open = File::options().create(true).truncate(false).write(true).open(&path);
    let file = open.map_err(|e| Failure::Failed(format!("cannot write {}: {e}", path.display())))?;
    match flock(&file, FlockOperation::NonBlockingLockExclusive) {
        Ok(()) => Ok(Some(file)),
        Err(rustix::io::Errno::WOULDBLOCK) => Ok(None),
        Err(e) => Err(Failure::Failed(format!("cannot lock {}: {e}", path.display()))),
    }
}

fn busy(kept: &Kept) -> Failure {
    Failure::Taken(format!(
        "the rehearsal {} is at work, in another process of this machine\n  wait for its end, or interrupt it with Ctrl-C",
        kept.name
    ))
}
