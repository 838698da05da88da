//! What happens, as one stream: the screen, `--json` and reports all read it, so they cannot
//! disagree.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::plan::StepId;
use crate::receipt::Receipt;

/// One thing that happened. With `--json` each is one line.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "event", rename_all = "camelCase", rename_all_fields = "camelCase")]
pub enum Event {
    /// A plan was made and is about to be executed.
    Planned {
        /// `up` or `down`.
        verb: String,
        /// The environment.
        environment: String,
        /// The target's name and kind.
        target: String,
        /// Number of steps.
        steps: usize,
        /// In words, such as `expires in 24 h`.
        expires: Option<String>,
    },
    /// A step began.
    StepStarted {
        /// Which.
        step: StepId,
        /// First column.
        topic: String,
        /// Second column.
        subject: String,
    },
    /// A step says what it is doing now.
    StepProgress {
        /// Which.
        step: StepId,
        /// In a few words.
        message: String,
    },
    /// A step is done.
    StepDone {
        /// Which.
        step: StepId,
        /// First column.
        topic: String,
        /// Second column.
        subject: String,
        /// What came of it: `5 to add, applied`.
        summary: String,
        /// How long it took.
        seconds: f64,
        /// `false` for steps whose success is not worth a line on the screen.
        show: bool,
    },
    /// A step failed, or cannot go on and somebody has to decide.
    StepFailed {
        /// Which.
        step: StepId,
        /// First column.
        topic: String,
        /// Second column.
        subject: String,
        /// Why, in full; several lines.
        error: String,
        /// How long it took.
        seconds: f64,
        /// *Stuck*: trying again will not help until somebody has acted.
        stuck: bool,
    },
    /// Something worth knowing that stops nothing.
    Warning {
        /// In words.
        message: String,
    },
    /// The environment is up.
    Ready {
        /// The environment.
        environment: String,
        /// Where it answers.
        urls: Vec<String>,
        /// Seconds since the start.
        seconds: f64,
    },
    /// Both sides of a rehearsal are there.
    Sandbox {
        /// The old side: `2 × api (compose: rehearsal/old.yaml)`.
        old: String,
        /// The new side: `2 × api (namespace rehearse-api-7f3)`.
        new: String,
        /// What both use.
        shared: Vec<String>,
    },
    /// What came of a rehearsal.
    Rehearsed {
        /// `successful`, `failed` or `inconclusive`. The last one never passes.
        verdict: String,
        /// Where and why, in full; several lines. Empty for a good one.
        why: String,
        /// The report, an HTML file.
        report: String,
        /// The signed evidence; none without a key.
        evidence: Option<String>,
        /// Seconds since the start.
        seconds: f64,
    },
    /// How far a cutover has come, when its process ends.
    CutOver {
        /// The component.
        component: String,
        /// `done`, `stopped` where the plan says, or `back`: the old side does all of the work again.
        state: String,
        /// What to do now.
        next: String,
        /// Seconds since the start.
        seconds: f64,
    },
    /// What `down` proved.
    Receipt(Receipt),
}
