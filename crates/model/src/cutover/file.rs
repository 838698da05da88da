//! A cutover plan as its file writes it: with places, and not yet checked.

use schemars::JsonSchema;
use serde::Deserialize;
use serde_yaml::Spanned;

use super::catalogue;
use super::plan::Divergence;
use super::production::ProductionText;
use super::step_file::{StepFile, steps_schema, words_schema};

/// A word, number or quantity, with its place. What it has to be is said when it is read.
pub(super) type Text = Spanned<String>;

#[derive(Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[schemars(title = "envctl cutover plan")]
pub(super) struct PlanText {
    /// `envctl/v1`.
    #[schemars(with = "String", extend("const" = "envctl/v1"))]
    pub(super) api_version: Text,
    /// `CutoverPlan`.
    #[schemars(with = "String", extend("const" = "CutoverPlan"))]
    pub(super) kind: Text,
    /// The component of the stack that moves. Its kind decides which steps, gates and faults make sense.
    #[schemars(with = "String")]
    pub(super) component: Text,
    /// The side that it leaves: machines, played by a Compose file.
    #[schemars(with = "OldText")]
    pub(super) old: Spanned<OldText>,
    /// The side that it moves to: the stack's chart on a target.
    pub(super) new: NewText,
    /// Services of `old.compose` that both sides use: databases, caches, queues. A service or worker needs one.
    #[serde(default)]
    #[schemars(with = "Vec<String>")]
    pub(super) shared: Vec<Text>,
    /// What sends requests to either side. For services and endpoints; HAProxy without a limit if left out.
    #[schemars(with = "Option<RouterText>")]
    pub(super) router: Option<RouterText>,
    /// Where sandbox and production may differ.
    #[serde(default)]
    #[schemars(with = "Vec<Divergence>")]
    pub(super) divergence: Vec<Spanned<Divergence>>,
    /// The load. For services and endpoints, which need it.
    pub(super) traffic: Option<TrafficText>,
    /// The jobs. For workers, which need it.
    pub(super) work: Option<WorkText>,
    /// The ticks. For schedules, which need it.
    pub(super) timetable: Option<TimetableText>,
    /// What users are promised. For services and endpoints; without it, gates on it cannot be judged.
    pub(super) slo: Option<SloText>,
    /// What is done, in order.
    #[schemars(schema_with = "steps_schema")]
    pub(super) steps: Vec<Spanned<StepFile>>,
    /// What is broken on purpose.
    #[serde(default)]
    pub(super) faults: Vec<FaultText>,
    /// How going back is tried.
    #[serde(default)]
    pub(super) rollback: RollbackText,
    /// Production, which only `envctl cutover` acts on. A rehearsal does not look at it.
    pub(super) production: Option<ProductionText>,
}

#[derive(Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[schemars(rename = "Old")]
pub(super) struct OldText {
    /// The Compose file, relative to the plan.
    #[schemars(with = "String")]
    pub(super) compose: Text,
    /// Its service that is the component; of the component's name if left out.
    #[schemars(with = "Option<String>")]
    pub(super) service: Option<Text>,
    /// The port on which the service answers. Services and endpoints need it.
    #[schemars(with = "Option<u16>")]
    pub(super) port: Option<Text>,
    /// How many instances there are; 2 if left out.
    #[schemars(with = "Option<u16>")]
    pub(super) instances: Option<Text>,
    /// How the machines are identified in the evidence: they have no image digest, so that their packages and
    /// code revision are fingerprinted. This is the only way, and the default.
    #[serde(rename = "identity")]
    pub(super) _identity: Option<Identity>,
}

#[derive(Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub(super) enum Identity {
    /// Packages and code revision.
    Fingerprint,
}

#[derive(Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[schemars(rename = "New")]
pub(super) struct NewText {
    /// A target of the stack file: of kind `eks`, or of kind `compose` for a draft.
    #[schemars(with = "String")]
    pub(super) target: Text,
    /// Values files on top of those of the target, relative to the plan.
    #[serde(default)]
    #[schemars(with = "Vec<String>")]
    pub(super) values: Vec<Text>,
}

#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[schemars(rename = "Router")]
pub(super) struct RouterText {
    /// How it is operated: `haproxy`, which is the default.
    #[schemars(with = "Option<super::plan::Adapter>")]
    pub(super) adapter: Option<Text>,
    /// Its limit of a request's body, such as `10m`; without one if left out.
    #[schemars(with = "Option<String>")]
    pub(super) max_body: Option<Text>,
    /// After how long without a byte it gives a connection up; `60s` if left out.
    #[schemars(with = "Option<String>")]
    pub(super) idle_timeout: Option<Text>,
}

#[derive(Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[schemars(rename = "Traffic")]
pub(super) struct TrafficText {
    /// Requests are sent when they are due, whether or not earlier ones were answered. The only model, and the
    /// default.
    #[serde(rename = "model")]
    pub(super) _model: Option<Model>,
    /// Requests over all clients, such as `200/s`; `50/s` if left out.
    #[schemars(with = "Option<String>")]
    pub(super) rate: Option<Text>,
    /// Kinds of clients, each with an equal part of the rate; all four if left out.
    #[schemars(with = "Option<Vec<super::plan::ClientKind>>")]
    pub(super) clients: Option<Vec<Text>>,
    /// The file with the requests, relative to the plan.
    #[schemars(with = "String")]
    pub(super) mix: Text,
}

#[derive(Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub(super) enum Model {
    /// Open: a slow answer does not hold the next request back.
    Open,
}

#[derive(Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[schemars(rename = "Work")]
pub(super) struct WorkText {
    /// Jobs, such as `20/s`, which is the default.
    #[schemars(with = "Option<String>")]
    pub(super) rate: Option<Text>,
    /// Kinds of jobs.
    pub(super) jobs: Vec<JobText>,
    /// Reads one JSON line a job on its standard input, puts it into the queue, and answers with one line.
    pub(super) enqueue: ToolText,
    /// Prints a JSON line for everything that happened to a job, and goes on as more happens.
    pub(super) ledger: ToolText,
    /// How many jobs may wait; what arrives in 30 s if left out.
    #[schemars(with = "Option<u64>")]
    pub(super) backlog: Option<Text>,
}

#[derive(Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[schemars(rename = "Job")]
pub(super) struct JobText {
    /// Its name, which `enqueue` is told.
    #[schemars(with = "String")]
    pub(super) class: Text,
    /// Its part of all jobs, relative to the others; 1 if left out.
    #[schemars(with = "Option<u32>")]
    pub(super) weight: Option<Text>,
    /// The longest that one takes, such as `9s`.
    #[schemars(with = "String")]
    pub(super) longest: Text,
}

#[derive(Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[schemars(rename = "Command")]
pub(super) struct ToolText {
    /// The service of `old.compose` in which it runs.
    #[schemars(with = "String")]
    pub(super) service: Text,
    /// A program and its arguments.
    pub(super) command: Vec<String>,
}

#[derive(Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[schemars(rename = "Timetable")]
pub(super) struct TimetableText {
    /// The entries of the old side's crontab.
    pub(super) entries: Vec<EntryText>,
    /// The crontab's time zone, such as `Asia/Tokyo`.
    #[schemars(with = "String")]
    pub(super) time_zone: Text,
    /// Prints a JSON line for each start and end of a run, and goes on as more happens.
    pub(super) ledger: ToolText,
    /// How late a run may start, at most; `10s` if left out.
    #[schemars(with = "Option<String>")]
    pub(super) tolerance: Option<Text>,
    /// Takes the entries out of the old side's crontab.
    pub(super) disarm: ToolText,
    /// Puts them back.
    pub(super) arm: ToolText,
}

#[derive(Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[schemars(rename = "Entry")]
pub(super) struct EntryText {
    /// The name under which its runs stand in the ledger, and its CronJob's on the new side.
    #[schemars(with = "String")]
    pub(super) name: Text,
    /// Five fields, as in crontab(5).
    #[schemars(with = "String")]
    pub(super) schedule: Text,
}

#[derive(Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[schemars(rename = "Slo")]
pub(super) struct SloText {
    /// The part of requests that are answered well; `99.9%` if left out.
    #[schemars(with = "Option<String>")]
    pub(super) availability: Option<Text>,
    /// What 99 of 100 requests are faster than, such as `400ms`. The gate `latencySLO` needs it.
    #[schemars(with = "Option<String>")]
    pub(super) p99: Option<Text>,
}

#[derive(Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[schemars(rename = "Fault")]
pub(super) struct FaultText {
    /// After which step, by its name, such as `setWeight=50`.
    #[schemars(with = "String")]
    pub(super) at: Text,
    /// What is broken.
    #[schemars(schema_with = "faults_schema")]
    pub(super) inject: Text,
    /// The command that breaks it, where it is outside of a sandbox's hands: `dbFailover`, `longTransaction` and
    /// `queueRedelivery` need one. The fault is over when it has ended.
    #[schemars(with = "Option<ToolText>")]
    pub(super) with: Option<Spanned<ToolText>>,
    /// What it may cost.
    #[schemars(with = "PermitsText")]
    pub(super) permits: Option<PermitsText>,
}

#[derive(Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[schemars(rename = "Permits")]
pub(super) struct PermitsText {
    /// How many requests may fail, or jobs be delivered twice.
    #[schemars(with = "u64")]
    pub(super) failed_requests: Option<Text>,
    /// Within which time all must be well again, such as `5s`.
    #[schemars(with = "String")]
    pub(super) recovery: Option<Text>,
}

#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[schemars(rename = "Rollback")]
pub(super) struct RollbackText {
    /// From where it is tried: `everyStep`, which is the default, or `lastStep`.
    #[schemars(with = "Option<super::plan::Drill>")]
    pub(super) drill: Option<Text>,
    /// How long it may take, at most; `30s` if left out.
    #[schemars(with = "Option<String>")]
    pub(super) max_duration: Option<Text>,
    /// Also after the new side wrote to what is shared; so if left out.
    pub(super) after_writes: Option<bool>,
}

fn faults_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
    words_schema(catalogue::FAULTS.iter().map(|entry| entry.word))
}

/// The JSON Schema of a cutover plan.
#[must_use]
pub fn schema() -> schemars::Schema {
    schemars::schema_for!(PlanText)
}
