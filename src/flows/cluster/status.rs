//! What of an environment runs in its namespace.

use envctl_cluster::ClusterReader;
use envctl_cluster::live::pods;
use envctl_model::record::Record;

use super::target::explain;
use crate::flows::status::{ContainerReport, PodReport};
use crate::ui::Failure;

/// Its pods.
pub(crate) async fn pods(reader: &ClusterReader, record: &Record) -> Result<Vec<PodReport>, Failure> {
    let pods = pods::all(reader, record.name.as_str()).await.map_err(|e| explain(&e))?;
    let container = |c: pods::LiveContainer| ContainerReport {
        name: c.name,
        state: c.state,
        exit_code: c.exit_code.map(i64::from),
    };
    Ok(pods
        .into_iter()
        .map(|pod| PodReport {
            ready: pod.ready && !pod.ending,
            completed: pod.completed,
            restarts: pod.restarts,
            containers: pod.containers.into_iter().map(container).collect(),
            name: pod.name,
            workload: pod.workload,
        })
        .collect())
}
