//! What of an environment runs, and where it answers.

use envctl_model::record::Phase;
use jiff::Timestamp;
use schemars::JsonSchema;
use serde::Serialize;

use super::local::machine;
use super::subject::{Subject, find};
use super::{cluster, local};
use crate::config::Base;
use crate::ui::Failure;

/// What `status --json` prints.
#[derive(Debug, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Report {
    /// The environment.
    pub(crate) name: String,
    /// Where its last `up` or `down` stands.
    pub(crate) phase: Phase,
    /// Its target.
    pub(crate) target: String,
    /// Who made it.
    pub(crate) owner: String,
    /// When it may be removed (RFC 3339); nothing: never.
    #[schemars(with = "Option<String>")]
    pub(crate) expires: Option<Timestamp>,
    /// Since when it sleeps (RFC 3339); nothing: it is awake.
    #[schemars(with = "Option<String>")]
    pub(crate) asleep: Option<Timestamp>,
    /// Components that its last `up` left out (`--only`).
    pub(crate) left_out: Vec<String>,
    /// Components that run the working tree instead of their image (`--dev`).
    pub(crate) live: Vec<String>,
    /// Where it answers.
    pub(crate) urls: Vec<String>,
    /// Its pods.
    pub(crate) pods: Vec<PodReport>,
}

/// One pod of `status --json`.
#[derive(Debug, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct PodReport {
    /// Its name.
    pub(crate) name: String,
    /// Its workload: `Deployment/api`.
    pub(crate) workload: String,
    /// Whether all its containers run and its probes pass.
    pub(crate) ready: bool,
    /// Whether it ran to its end, well.
    pub(crate) completed: bool,
    /// How often its containers were restarted.
    pub(crate) restarts: u64,
    /// Its containers.
    pub(crate) containers: Vec<ContainerReport>,
}

/// One container of `status --json`.
#[derive(Debug, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct ContainerReport {
    /// Its name in the pod.
    pub(crate) name: String,
    /// Running, exited and so on; in a cluster also why it waits, such as `CrashLoopBackOff`.
    pub(crate) state: String,
    /// Its exit code, if it ended.
    pub(crate) exit_code: Option<i64>,
}

/// Looks.
pub(crate) async fn status(base: &Base) -> Result<Report, Failure> {
    let subject = find(base).await?;
    let pods = match &subject {
        Subject::Local(record) => local::status::pods(&machine::look(base).await?, record).await?,
        Subject::Cluster(within) => cluster::status::pods(&within.reader, &within.record).await?,
    };
    let record = subject.record();
    Ok(Report {
        name: record.name.to_string(),
        phase: record.phase,
        target: record.target.clone(),
        owner: record.owner.clone(),
        expires: record.expires,
        asleep: record.asleep.as_ref().map(|asleep| asleep.since),
        left_out: record.left_out.clone(),
        live: record.live.clone(),
        urls: record.urls.clone(),
        pods,
    })
}
