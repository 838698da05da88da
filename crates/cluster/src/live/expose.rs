//! A way in for a router outside of the cluster: a port of every node that leads to the pods of a workload, and for
//! nobody but the router.

use std::collections::BTreeMap;
use std::net::IpAddr;

use envctl_model::selection::select;
use k8s_openapi::api::core::v1::{Node, Service, ServicePort, ServiceSpec};
use k8s_openapi::api::networking::v1::{
    IPBlock, NetworkPolicy, NetworkPolicyIngressRule, NetworkPolicyPeer, NetworkPolicySpec,
};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector;
use kube::Api;
use kube::api::{DeleteParams, ListParams, ObjectMeta, Patch, PatchParams};

use super::workloads::{self, Workload};
use crate::client::ClusterReader;
use crate::error::ClusterError;
use crate::guard::VerifiedCluster;
use crate::guardrails;
use crate::marks;
use crate::watching::until_gone;

/// The name of the Service and of the NetworkPolicy, one each in a namespace.
pub const NAME: &str = "envctl-router";

/// Where a router finds a workload.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Exposed {
    /// The Service with the pods' endpoints: [`NAME`].
    pub service: String,
    /// The addresses of nodes. On one without a pod of the workload connections fail: it passes none on, so that pods
    /// see the router's own address.
    pub nodes: Vec<IpAddr>,
    /// The port of the nodes for each port of the workload's own Services.
    pub ports: BTreeMap<u16, u16>,
}

/// Opens a way in to the pods of a workload (`Deployment/api`) for these addresses, as pods see them. Done again it
/// replaces what it did before.
///
/// # Errors
/// [`ClusterError::NoSuch`] where there is no such workload, or no Service that leads to it;
/// [`ClusterError::Refused`] where the platform does not let the addresses in; when the cluster refuses or does not
/// answer.
pub async fn expose(
    cluster: &VerifiedCluster,
    namespace: &str,
    workload: &str,
    router: &[IpAddr],
) -> Result<Exposed, ClusterError> {
    let reader = cluster.reader();
    let all = workloads::all(reader, namespace).await?;
    let found = select(&all, Workload::names, workload).map_err(|error| ClusterError::NoSuch {
        message: error.to_string(),
        hint: "name a workload of the chart as KIND/NAME".to_owned(),
    })?;
    let metadata = found.first().and_then(|found| found.template.metadata.clone());
    let labels = metadata.and_then(|metadata| metadata.labels).unwrap_or_default();
    let services: Api<Service> = Api::namespaced(cluster.client(), namespace);
    let listed = services.list(&ListParams::default()).await.map_err(cluster.failed("to list Services"))?;
    let wanted = service(namespace, &listed.items, &labels).ok_or_else(|| ClusterError::NoSuch {
        message: format!("no Service of {namespace} leads to the pods of {workload}"),
        hint: "give the chart a Service whose selector they match: a router needs to know the port"
            .to_owned(),
    })?;
    let selector = wanted.spec.as_ref().and_then(|spec| spec.selector.clone()).unwrap_or_default();
    if is_isolated(reader, namespace).await? {
        let policies: Api<NetworkPolicy> = Api::namespaced(cluster.client(), namespace);
        let params = PatchParams::apply(marks::FIELD_MANAGER).force();
        let wanted = policy(namespace, &selector, router);
        let applied = policies.patch(NAME, &params, &Patch::Apply(&wanted)).await;
        applied.map_err(cluster.failed("to let the router in")).map_err(|error| explained(error, router))?;
    }
    let params = PatchParams::apply(marks::FIELD_MANAGER).force();
    let applied = services.patch(NAME, &params, &Patch::Apply(&wanted)).await;
    let applied = applied.map_err(cluster.failed("to open a port for the router"))?;
    Ok(Exposed { service: NAME.to_owned(), nodes: nodes(reader).await?, ports: ports(&applied) })
}

/// Closes the way in, and waits until it is gone.
///
/// # Errors
/// When the cluster refuses or does not answer. That there is none is no error.
pub async fn close(cluster: &VerifiedCluster, namespace: &str) -> Result<(), ClusterError> {
    let services: Api<Service> = Api::namespaced(cluster.client(), namespace);
    let policies: Api<NetworkPolicy> = Api::namespaced(cluster.client(), namespace);
    let params = DeleteParams::default();
    let service = services.delete(NAME, &params).await.map_err(cluster.failed("to close the router's port"));
    let policy = policies.delete(NAME, &params).await.map_err(cluster.failed("to keep the router out again"));
    for closed in [service.map(drop), policy.map(drop)] {
        match closed {
            Err(error) if !error.is_not_found() => return Err(error),
            _ => {}
        }
    }
    let streaming = cluster.reader().streaming();
    until_gone(Api::<Service>::namespaced(streaming.clone(), namespace), NAME).await;
    until_gone(Api::<NetworkPolicy>::namespaced(streaming, namespace), NAME).await;
    Ok(())
}

/// Whether pods of the namespace take connections from few only. Where they do not, a policy of ours would be the one
/// that shuts others out.
async fn is_isolated(reader: &ClusterReader, namespace: &str) -> Result<bool, ClusterError> {
    let api: Api<NetworkPolicy> = Api::namespaced(reader.client(), namespace);
    let found = api.get_opt(guardrails::NAME).await;
    Ok(found.map_err(reader.failed("to show who may connect"))?.is_some())
}

/// The addresses of nodes, as other nodes reach them.
///
/// # Errors
/// When the cluster refuses or does not answer.
pub async fn nodes(reader: &ClusterReader) -> Result<Vec<IpAddr>, ClusterError> {
    let api: Api<Node> = Api::all(reader.client());
    let nodes = api.list(&ListParams::default()).await.map_err(reader.failed("to list its nodes"))?;
    let addresses =
        nodes.items.into_iter().flat_map(|node| node.status.and_then(|s| s.addresses).unwrap_or_default());
    let internal = addresses.filter(|address| address.type_ == "InternalIP");
    Ok(internal.filter_map(|address| address.address.parse().ok()).collect())
}

/// A Service beside those that lead to pods with these labels, with all their TCP ports. None where there are none.
fn service(namespace: &str, there: &[Service], labels: &BTreeMap<String, String>) -> Option<Service> {
    let leads = |service: &&Service| {
        let selector = service.spec.as_ref().and_then(|spec| spec.selector.as_ref());
        let is_met =
            |s: &BTreeMap<String, String>| s.iter().all(|(key, value)| labels.get(key) == Some(value));
        service.metadata.name.as_deref() != Some(NAME) && selector.is_some_and(|s| !s.is_empty() && is_met(s))
    };
    let mut selector = None;
    let mut ports: BTreeMap<i32, ServicePort> = BTreeMap::new();
    for spec in there.iter().filter(leads).filter_map(|service| service.spec.as_ref()) {
        selector = selector.or_else(|| spec.selector.clone());
        for port in
            spec.ports.iter().flatten().filter(|port| port.protocol.as_deref().is_none_or(|p| p == "TCP"))
        {
            ports.entry(port.port).or_insert_with(|| ServicePort {
                name: Some(format!("port-{}", port.port)),
                port: port.port,
                protocol: Some("TCP".to_owned()),
                target_port: port.target_port.clone(),
                ..ServicePort::default()
            });
        }
    }
    let selector = selector.filter(|_| !ports.is_empty())?;
    Some(Service {
        metadata: meta(namespace),
        spec: Some(ServiceSpec {
            type_: Some("NodePort".to_owned()),
            // Else pods see a node's address instead of the router's, which no policy could tell from others'.
            external_traffic_policy: Some("Local".to_owned()),
            selector: Some(selector),
            ports: Some(ports.into_values().collect()),
            ..ServiceSpec::default()
        }),
        ..Service::default()
    })
}

fn policy(namespace: &str, selector: &BTreeMap<String, String>, router: &[IpAddr]) -> NetworkPolicy {
    let from = router.iter().map(|address| NetworkPolicyPeer {
        ip_block: Some(IPBlock { cidr: alone(*address), except: None }),
        ..NetworkPolicyPeer::default()
    });
    let from: Vec<_> = from.collect();
    // A rule that names nobody lets everybody in.
    let rules = (!from.is_empty()).then_some(NetworkPolicyIngressRule { from: Some(from), ports: None });
    NetworkPolicy {
        metadata: meta(namespace),
        spec: Some(NetworkPolicySpec {
            pod_selector: Some(LabelSelector {
                match_labels: Some(selector.clone()),
                ..LabelSelector::default()
            }),
            policy_types: Some(vec!["Ingress".to_owned()]),
            ingress: Some(rules.into_iter().collect()),
            egress: None,
        }),
    }
}

fn meta(namespace: &str) -> ObjectMeta {
    ObjectMeta {
        name: Some(NAME.to_owned()),
        namespace: Some(namespace.to_owned()),
        labels: Some(marks::labels_in(namespace)),
        ..ObjectMeta::default()
    }
}

fn ports(service: &Service) -> BTreeMap<u16, u16> {
    let ports = service.spec.iter().flat_map(|spec| spec.ports.iter().flatten());
    ports
        .filter_map(|port| Some((u16::try_from(port.port).ok()?, u16::try_from(port.node_port?).ok()?)))
        .collect()
}

/// The network that has this address alone.
fn alone(address: IpAddr) -> String {
    format!("{address}/{}", if address.is_ipv4() { 32 } else { 128 })
}

/// The platform's policy names a ConfigMap; what to put there is known here.
fn explained(error: ClusterError, router: &[IpAddr]) -> ClusterError {
    match error {
        ClusterError::Api { message, .. } if message.contains("allowIngressFrom") => {
            let networks: Vec<_> = router.iter().map(|address| alone(*address)).collect();
            ClusterError::Refused {
                message: format!(
                    "the platform keeps the router of the rehearsal out: {} is in none of its networks",
                    networks.join(", ")
                ),
                hint: format!(
                    "the platform engineer adds it to allowIngressFrom of the ConfigMap envctl-platform in {}, \
                     a line each",
                    marks::SYSTEM_NAMESPACE
                ),
            }
        }
        error => error,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn there(specs: &[Value]) -> Vec<Service> {
        let one = |(index, spec): (usize, &Value)| {
            serde_json::from_value(json!({"metadata": {"name": format!("s{index}")}, "spec": spec})).unwrap()
        };
        specs.iter().enumerate().map(one).collect()
    }

    #[test]
    fn all_services_that_lead_to_the_pods_count_and_no_others() {
        let labels =
            BTreeMap::from([("app", "api"), ("tier", "back")].map(|(k, v)| (k.to_owned(), v.to_owned())));
        let services = there(&[
            json!({"selector": {"app": "api"}, "ports": [{"port": 80, "targetPort": "http"}, {"port": 53, "protocol": "UDP"}]}),
            json!({"selector": {"app": "api", "tier": "back"}, "ports": [{"port": 9000, "targetPort": 9001}]}),
            json!({"selector": {"app": "worker"}, "ports": [{"port": 81}]}),
            json!({"ports": [{"port": 82}]}),
        ]);
        let made = serde_json::to_value(service("ns", &services, &labels).unwrap()).unwrap();
        assert_eq!(made["spec"]["selector"], json!({"app": "api"}));
        assert_eq!(
            (&made["spec"]["type"], &made["spec"]["externalTrafficPolicy"]),
            (&json!("NodePort"), &json!("Local"))
        );
        assert_eq!(
            made["spec"]["ports"],
            json!([{"name": "port-80", "port": 80, "protocol": "TCP", "targetPort": "http"},
                {"name": "port-9000", "port": 9000, "protocol": "TCP", "targetPort": 9001}])
        );
        assert!(service("ns", &services[2..], &labels).is_none());
    }

    #[test]
    fn only_the_router_is_let_in() {
        let selector = BTreeMap::from([("app".to_owned(), "api".to_owned())]);
        let made = serde_json::to_value(policy("ns", &selector, &["198.18.0.1".parse().unwrap()])).unwrap();
        assert_eq!(made["spec"]["ingress"], json!([{"from": [{"ipBlock": {"cidr": "198.18.0.1/32"}}]}]));
        assert_eq!(made["spec"]["podSelector"]["matchLabels"], json!({"app": "api"}));
        assert_eq!(made["metadata"]["labels"]["envctl.dev/environment"], "ns");
        let nobody = serde_json::to_value(policy("ns", &selector, &[])).unwrap();
        assert!(nobody["spec"]["ingress"].as_array().is_none_or(Vec::is_empty), "{nobody}");
    }

    #[test]
    fn a_platform_that_keeps_the_router_out_is_told_what_to_add() {
        let error = ClusterError::Api {
            doing: String::new(),
            status: 403,
            reason: "Forbidden".to_owned(),
            message: "networks that are not in allowIngressFrom of the ConfigMap envctl-platform".to_owned(),
        };
        let error = explained(error, &["198.18.0.1".parse().unwrap()]);
        assert!(error.to_string().contains("198.18.0.1/32 is in none of its networks"), "{error}");
        assert!(error.hint().unwrap().contains("adds it to allowIngressFrom"));
    }
}
