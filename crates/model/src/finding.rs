//! Findings: what the local target carries, approximates, drops, or has no use for.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// How a field of a Kubernetes object fares locally.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub enum Fate {
    /// Dropped: the cluster does it, the local target does not.
    Dropped,
    /// Approximated: done differently; the message says how.
    Approximated,
    /// Meaningless locally (scheduling on one node, for instance).
    Meaningless,
    /// Carried over exactly. Listed only where it is worth saying.
    Carried,
}

/// How much a finding matters, worst first in reports.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub enum Severity {
    /// Worth knowing at most.
    Info,
    /// Behaviour differs in a way few applications notice.
    Minor,
    /// Behaviour differs in a way that can hide a defect or cause one.
    Major,
    /// The application may not work, or the machine is exposed.
    Critical,
}

/// One line of the parity report.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Finding {
    /// How much it matters.
    pub severity: Severity,
    /// How the field fares.
    pub fate: Fate,
    /// A stable code, such as `network-policy`.
    pub code: String,
    /// The object: `Deployment/api`.
    pub object: String,
    /// JSON path inside the object (`spec.template.spec.containers[0].lifecycle`); empty for the
    /// whole object.
    pub path: String,
    /// What differs, in one sentence.
    pub message: String,
    /// What to do about it, if anything.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub fix: Option<String>,
}
