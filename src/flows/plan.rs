//! What `up` would do, wherever the environment is to live, and what somebody has changed since the last.

use envctl_cluster::live::drift;
use envctl_cluster::objects::Kinds;
use envctl_cluster::release;
use envctl_model::stack::TargetKind;
use schemars::JsonSchema;
use serde::Serialize;
use serde_json::Value;

use super::chart;
use super::cluster::target::explain;
use super::up::Options;
use super::{cluster, local};
use crate::config::Base;
use crate::ui::Failure;

/// What `plan --json` prints.
#[derive(Debug, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Report {
    /// The steps, in an order in which they can be done.
    pub(crate) steps: Vec<Step>,
    /// Components that are left out (`--only`).
    pub(crate) left_out: Vec<String>,
    /// In a cluster: objects that are not as the last `up` delivered them.
    pub(crate) drift: Vec<Drift>,
    /// What is worth knowing beforehand.
    pub(crate) warnings: Vec<String>,
}

/// A step of the plan.
#[derive(Debug, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Step {
    /// Its name.
    pub(crate) id: String,
    /// What it is about.
    pub(crate) subject: String,
    /// The steps that come before it.
    pub(crate) after: Vec<String>,
    /// What it may create.
    pub(crate) things: Vec<String>,
}

/// An object that is not as it was delivered.
#[derive(Debug, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Drift {
    /// `Deployment/api`.
    pub(crate) object: String,
    /// How it differs; empty: somebody removed it.
    pub(crate) differences: Vec<Difference>,
}

/// A field that differs. The values of Secrets are hidden.
#[derive(Debug, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Difference {
    /// Where: `spec.replicas`.
    pub(crate) path: String,
    /// Its value now; nothing: it has none.
    pub(crate) now: Option<String>,
    /// Its value as it was delivered.
    pub(crate) delivered: Option<String>,
}

/// Checks all that `up` checks, and compares.
pub(crate) async fn plan(base: &Base, options: &Options) -> Result<Report, Failure> {
    let project = base.stack()?;
    let settings = base.settings(&project)?;
    match project.file.stack.targets[&settings.target.value].kind.value {
        TargetKind::Compose => {
            let checked = local::up::check(base, &project, &settings, options).await?;
            let (plan, left_out) = (checked.plan()?, checked.part.left_out());
            Ok(Report { steps: steps(plan), left_out, drift: Vec::new(), warnings: checked.warnings })
        }
        TargetKind::Eks => {
            let checked = cluster::up::check(base, &project, &settings, options).await?;
            let plan = checked.plan(&settings, &project)?;
            let warnings = checked.cluster.warnings().iter().chain(&checked.warnings).cloned().collect();
            let (left_out, drift) = (checked.part.left_out(), drift_of(&checked).await?);
            Ok(Report { steps: steps(plan), left_out, drift, warnings })
        }
    }
}

fn steps<A>(plan: envctl_model::Plan<A>) -> Vec<Step> {
    let step = |step: envctl_model::Step<A>| Step {
        id: step.id.0,
        subject: step.subject,
        after: step.after.into_iter().map(|after| after.0).collect(),
        things: step.things.iter().map(ToString::to_string).collect(),
    };
    plan.steps.into_iter().map(step).collect()
}

/// What somebody has changed since Helm delivered it.
async fn drift_of(checked: &cluster::up::Checked) -> Result<Vec<Drift>, Failure> {
    let Some(record) = &checked.former else { return Ok(Vec::new()) };
    let (cluster, name) = (&checked.cluster, record.name.as_str());
    let manifest =
        release::manifest(cluster.reader(), name, name, &record.identity).await.map_err(|e| explain(&e))?;
    let Some(manifest) = manifest else { return Ok(Vec::new()) };
    let mut objects: Vec<Value> =
        chart::parse(&manifest, "the release of Helm")?.into_iter().map(|object| object.body).collect();
    if let Some(asleep) = &record.asleep {
        // That it sleeps is no drift.
        objects.retain(|object| {
            let (kind, name) = (object["kind"].as_str(), object["metadata"]["name"].as_str());
            let workload = format!("{}/{}", kind.unwrap_or_default(), name.unwrap_or_default());
            !asleep.replicas.contains_key(&workload) && kind != Some("CronJob")
        });
    }
    let kinds = Kinds::discover(cluster.reader()).await.map_err(|e| explain(&e))?;
    let found = drift::find(cluster, &kinds, name, &objects).await.map_err(|e| explain(&e))?;
    let difference = |d: drift::Difference| Difference { path: d.path, now: d.live, delivered: d.delivered };
    Ok(found
        .into_iter()
        .map(|one| Drift {
            object: one.object,
            differences: one.differences.into_iter().map(difference).collect(),
        })
        .collect())
}
