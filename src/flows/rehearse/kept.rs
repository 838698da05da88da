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
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use envctl_local::machines::Fingerprint;
use envctl_rehearse::evidence::Digest;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::flows::held;

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
    /// What is delivered to the new side, in one digest; none before it is.
    #[serde(default)]
    pub(super) delivered: Option<Digest>,
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

impl held::Kept for Kept {
    const VERB: &'static str = "rehearse";
    const NOUN: &'static str = "rehearsal";
    const DIRECTORY: &'static str = "rehearsals";

    fn name(&self) -> &str {
        &self.name
    }

    fn plan(&self) -> &Path {
        &self.plan
    }
}

/// The directory of a rehearsal, held by this process alone.
pub(super) type Held = held::Held<Kept>;
