//! What is signed: the in-toto Statement, and its predicate.

use std::collections::BTreeMap;

use envctl_model::cutover::plan::Adapter;
use envctl_model::cutover::{FaultKind, GateKind};
use envctl_model::stack::{ComponentKind, TargetKind};
use jiff::Timestamp;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::canonical;
use super::digest::Digest;

/// The kind of predicate that a rehearsal is.
pub const PREDICATE_TYPE: &str = "https://envctl.dev/rehearsal/v1";

/// That of in-toto's Statement, version 1.
const STATEMENT_TYPE: &str = "https://in-toto.io/Statement/v1";

/// What was rehearsed, with what, and how it went.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Rehearsal {
    /// The component that moves.
    pub component: String,
    /// Its kind.
    pub kind: ComponentKind,
    /// The cutover plan: its file's name, and the digest of the file's bytes.
    pub plan: NamedDigest,
    /// The side that it leaves.
    pub old: OldIdentity,
    /// The side that it moves to.
    pub new: NewIdentity,
    /// The Terraform root, if there is one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub terraform: Option<TerraformIdentity>,
    /// The sources.
    pub git: GitIdentity,
    /// The programs that took part (envctl, helm, haproxy, ...), by name.
    pub tools: BTreeMap<String, Digest>,
    /// How the router was operated. Production has to use the same.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub router: Option<Adapter>,
    /// The seed of all that was drawn at random. A text, because many readers of JSON round large numbers.
    #[serde(with = "decimal")]
    #[schemars(with = "String")]
    pub seed: u64,
    /// The load.
    pub load: Load,
    /// The steps that were done, in order.
    pub steps: Vec<StepRecord>,
    /// The faults that were injected.
    pub faults: Vec<FaultRecord>,
    /// The rollbacks that were drilled.
    pub drills: Vec<DrillRecord>,
    /// What the rehearsal says nothing about, in words.
    pub not_exercised: Vec<String>,
    /// When it began.
    #[schemars(with = "String")]
    pub began: Timestamp,
    /// When it ended.
    #[schemars(with = "String")]
    pub ended: Timestamp,
    /// What came of it.
    pub verdict: Conclusion,
}

/// A file, by name and content.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct NamedDigest {
    /// Its path in the repository.
    pub name: String,
    /// The digest of its bytes.
    pub digest: Digest,
}

/// What the old side was. Machines have no digest; what is on them has.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct OldIdentity {
    /// The digest of the sorted list of host packages with their versions.
    pub packages: Digest,
    /// The revision of the code that it ran.
    pub revision: String,
}

/// What the new side was.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct NewIdentity {
    /// On what kind of target it ran. On `compose` the rehearsal is a draft.
    pub target: TargetKind,
    /// The images, by the names of the stack file.
    pub images: BTreeMap<String, Digest>,
    /// The digest of the chart's files.
    pub chart: Digest,
    /// The merged values, keyed, as [`super::Fingerprints::values`] says.
    pub values: Digest,
    /// The rendered objects without what may diverge, keyed, as [`super::Fingerprints::manifests`] says.
    pub manifests: BTreeMap<String, Digest>,
}

/// A Terraform root.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct TerraformIdentity {
    /// The digest of its files and settings.
    pub configuration: Digest,
    /// The digest of the saved plan that was applied; none if there was nothing to change.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub plan: Option<Digest>,
}

/// The sources.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct GitIdentity {
    /// The commit that was checked out.
    pub commit: String,
    /// Whether files differed from it.
    pub dirty: bool,
}

/// The load.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Load {
    /// Requests or jobs in 1,000 seconds: whole numbers have one way to be written. 0 for a schedule.
    pub per_thousand_seconds: u64,
    /// Requests answered, jobs ended, or runs ended.
    pub samples: PerSide,
}

/// A number of each side.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct PerSide {
    /// Of the old side.
    pub old: u64,
    /// Of the new side.
    pub new: u64,
}

/// A step that was done.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct StepRecord {
    /// Its name, such as `setWeight=50`.
    pub step: String,
    /// How long it took until it was judged, in milliseconds.
    pub took_ms: u64,
    /// What its gates said.
    pub gates: Vec<GateRecord>,
}

/// What a gate said.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct GateRecord {
    /// Which gate.
    pub gate: GateKind,
    /// What it said.
    pub outcome: GateOutcome,
}

/// What a gate can say.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub enum GateOutcome {
    /// What it asks for held.
    Passed,
    /// It did not hold.
    Failed,
    /// There was not enough to say. That does not pass.
    Inconclusive,
}

/// A fault that was injected.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct FaultRecord {
    /// What was broken.
    pub fault: FaultKind,
    /// After which step, by name.
    pub at: String,
    /// How many requests were permitted to fail, or jobs to be delivered twice.
    pub permitted_failures: u64,
    /// How many did.
    pub failures: u64,
    /// Within what time all was to be well again, in milliseconds.
    pub permitted_recovery_ms: u64,
    /// In what time it was. None if it never was.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub recovery_ms: Option<u64>,
}

/// A rollback that was drilled.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct DrillRecord {
    /// From which step, by name.
    pub from: String,
    /// From the middle of that step, not from its end.
    pub middle: bool,
    /// How long going back took, in milliseconds.
    pub took_ms: u64,
    /// How many requests, jobs or ticks were lost.
    pub lost: u64,
    /// How many were doubled.
    pub doubled: u64,
}

/// What came of a rehearsal.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub enum Conclusion {
    /// Every gate passed.
    Successful,
    /// A gate failed.
    Failed,
    /// A gate had not enough to say anything. That does not permit a cutover.
    Inconclusive,
}

impl Conclusion {
    /// In one word.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Successful => "successful",
            Self::Failed => "failed",
            Self::Inconclusive => "inconclusive",
        }
    }
}

impl Rehearsal {
    /// The new side ran where its kubelet and controllers are imitated: good to learn from, not to cut over by.
    #[must_use]
    pub fn is_draft(&self) -> bool {
        self.new.target == TargetKind::Compose
    }

    /// The bytes of the Statement, in their one canonical form.
    pub(super) fn statement(&self) -> Result<Vec<u8>, serde_json::Error> {
        let subject = |name: &str, digest: &Digest| json!({"name": name, "digest": {"sha256": digest.hex()}});
        let mut subjects = vec![subject(&self.plan.name, &self.plan.digest)];
        subjects
            .extend(self.new.images.iter().map(|(name, digest)| subject(&format!("image:{name}"), digest)));
        Ok(canonical::bytes(json!({
            "_type": STATEMENT_TYPE,
            "subject": subjects,
            "predicateType": PREDICATE_TYPE,
            "predicate": serde_json::to_value(self)?,
        })))
    }

    /// Reads a Statement, whether or not its bytes are in canonical form.
    pub(super) fn from_statement(bytes: &[u8]) -> Result<Self, String> {
        #[derive(Deserialize)]
        struct Wire {
            #[serde(rename = "predicateType")]
            predicate_type: String,
            predicate: Value,
        }
        let wire: Wire = serde_json::from_slice(bytes).map_err(|error| error.to_string())?;
        if wire.predicate_type != PREDICATE_TYPE {
            return Err(format!(
                "its predicate is of type `{}`, not `{PREDICATE_TYPE}`",
                wire.predicate_type
            ));
        }
        serde_json::from_value(wire.predicate).map_err(|error| error.to_string())
    }
}

mod decimal {
    use std::borrow::Cow;

    use serde::{Deserialize, Deserializer, Serializer};

    pub(super) fn serialize<S: Serializer>(number: &u64, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(number)
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<u64, D::Error> {
        Cow::<'_, str>::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
    }
}
