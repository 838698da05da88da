//! Whether the nodes have room: a warning only, since a cluster may grow.

use std::collections::BTreeMap;

use envctl_model::quantity::Quantity;
use k8s_openapi::api::core::v1::{Node, Pod};
use kube::Api;
use kube::api::ListParams;

use super::needs::{Requests, Workload};
use crate::client::ClusterReader;
use crate::error::ClusterError;

/// What is left on the nodes, beside the pods of `namespace`; `None` where we may not see it.
///
/// # Errors
/// When the cluster does not answer.
pub async fn left(reader: &ClusterReader, namespace: &str) -> Result<Option<Vec<Requests>>, ClusterError> {
    let nodes: Api<Node> = Api::all(reader.client());
    let pods: Api<Pod> = Api::all(reader.client());
    let running = ListParams::default().fields("status.phase!=Succeeded,status.phase!=Failed");
    let all = ListParams::default();
    let (nodes, pods) = tokio::join!(nodes.list(&all), pods.list(&running));
    let failed = reader.failed("to say what room it has");
    let (nodes, pods) = match (nodes.map_err(&failed), pods.map_err(&failed)) {
        (Ok(nodes), Ok(pods)) => (nodes.items, pods.items),
        (Err(error), _) | (_, Err(error)) if error.is_forbidden() => return Ok(None),
        (Err(error), _) | (_, Err(error)) => return Err(error),
    };
    let mut used: BTreeMap<String, Vec<Requests>> = BTreeMap::new();
    for pod in pods.iter().filter(|pod| pod.metadata.namespace.as_deref() != Some(namespace)) {
        let Some(spec) = &pod.spec else { continue };
        let Some(node) = spec.node_name.clone() else { continue };
        let of = |name: &str| {
            let containers = spec.containers.iter().filter_map(|c| c.resources.as_ref()?.requests.as_ref());
            containers.filter_map(|requests| Quantity::parse(&requests.get(name)?.0)).sum()
        };
        used.entry(node).or_default().push(Requests { cpu: of("cpu"), memory: of("memory") });
    }
    Ok(Some(
        nodes
            .into_iter()
            .filter(|node| node.spec.as_ref().and_then(|s| s.unschedulable) != Some(true))
            .filter_map(|node| {
                let allocatable = node.status?.allocatable?;
                let name = node.metadata.name?;
                let used = used.remove(&name).unwrap_or_default();
                let free = |key: &str, of: fn(&Requests) -> Quantity| {
                    let has = allocatable.get(key).and_then(|q| Quantity::parse(&q.0)).unwrap_or_default();
                    has.less(used.iter().map(of).sum())
                };
                Some(Requests { cpu: free("cpu", |r| r.cpu), memory: free("memory", |r| r.memory) })
            })
            .collect(),
    ))
}

/// What does not fit now, in words. A cluster that grows may make room.
#[must_use]
pub fn lacking(workloads: &[Workload], left: &[Requests]) -> Vec<String> {
    let mut lines = Vec::new();
    for (what, of, bytes) in [
        ("CPU", (|r: &Requests| r.cpu) as fn(&Requests) -> Quantity, false),
        ("memory", |r: &Requests| r.memory, true),
    ] {
        let largest = left.iter().map(of).max().unwrap_or_default();
        if let Some(workload) = workloads.iter().find(|w| w.pods > 0 && of(&w.each) > largest) {
            lines.push(format!(
                "a pod of {} asks for {} {what}, and no node has more than {} left",
                workload.name,
                of(&workload.each).show(bytes),
                largest.show(bytes)
            ));
            continue;
        }
        let lasting = workloads.iter().filter(|w| !w.passing);
        let needed: Quantity = lasting.map(|w| of(&w.each).times(w.pods)).sum();
        let total: Quantity = left.iter().map(of).sum();
        if needed > total {
            lines.push(format!(
                "it needs {} {what}, and all nodes together have {} left",
                needed.show(bytes),
                total.show(bytes)
            ));
        }
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pod_that_fits_nowhere_is_told_from_too_many_that_would() {
        let requests =
            |cpu: &str| Requests { cpu: Quantity::parse(cpu).unwrap(), memory: Quantity::default() };
        let workload = |pods: i128, cpu: &str| Workload {
            name: "Deployment/api".into(),
            pods,
            each: requests(cpu),
            passing: false,
        };
        let left = [requests("2"), requests("3")];
        assert_eq!(lacking(&[workload(1, "3")], &left), [""; 0]);
        assert_eq!(
            lacking(&[workload(1, "4")], &left),
            ["a pod of Deployment/api asks for 4 CPU, and no node has more than 3 left"]
        );
        assert_eq!(
            lacking(&[workload(6, "1")], &left),
            ["it needs 6 CPU, and all nodes together have 5 left"]
        );
    }
}
