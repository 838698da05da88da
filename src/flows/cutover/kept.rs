//! What is kept of a cutover.
//!
//! ```text
//! STATE/cutovers/NAME/cutover.json      what it is about
//!                     evidence.jsonl    the evidence that permits it
//!                     recording.jsonl   what was seen
//!                     journal.jsonl     intents and outcomes of its legs
//!                     judged.json       what was judged, and how
//!                     lock              held by the process that is at work on it
//! ```

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use envctl_rehearse::evidence::Digest;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::flows::held;

/// What is kept.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Kept {
    /// Its name.
    pub(super) name: String,
    /// Whose claim on the evidence is this one's.
    pub(super) identity: String,
    /// The plan's file.
    pub(super) plan: PathBuf,
    /// The plan's file, as it was when it began.
    pub(super) plan_digest: Digest,
    /// When it began.
    pub(super) began: Timestamp,
    /// Replicas of the component's workloads, as the chart wants them.
    pub(super) replicas: BTreeMap<String, i32>,
}

impl held::Kept for Kept {
    const VERB: &'static str = "cutover";
    const NOUN: &'static str = "cutover";
    const DIRECTORY: &'static str = "cutovers";

    fn name(&self) -> &str {
        &self.name
    }

    fn plan(&self) -> &Path {
        &self.plan
    }
}

/// The directory of a cutover, held by this process alone.
pub(super) type Held = held::Held<Kept>;
