//! A port of this machine that leads to a pod.

use std::collections::BTreeMap;

use envctl_model::selection::{means, select};
use k8s_openapi::api::core::v1::{Pod, Service};
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use kube::Api;
use kube::api::ListParams;
use tokio::io::{AsyncRead, AsyncWrite};

use super::pods::{self, LivePod};
use crate::client::ClusterReader;
use crate::error::ClusterError;

/// A port of a pod.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PodPort {
    /// The pod.
    pub pod: String,
    /// Its port.
    pub port: u16,
}

/// Which pod and which of its ports a word and a port mean: those of a Service, else a component's own.
///
/// # Errors
/// [`ClusterError::NoSuch`] when they mean none, with what there is; when the cluster does not answer.
pub async fn resolve(
    reader: &ClusterReader,
    namespace: &str,
    word: &str,
    port: u16,
) -> Result<PodPort, ClusterError> {
    let services: Api<Service> = Api::namespaced(reader.client(), namespace);
    let api: Api<Pod> = Api::namespaced(reader.client(), namespace);
    let list = services.list(&ListParams::default()).await.map_err(reader.failed("to list Services"))?;
    let service = list.items.into_iter().find(|service| {
        let name = service.metadata.name.as_deref().unwrap_or_default();
        means(word, &format!("Service/{name}")) && selector(service).is_some()
    });
    if let Some(service) = service {
        let wanted = selector(&service).unwrap_or_default();
        let target = target_port(&service, word, port)?;
        let params = ListParams::default().labels(&wanted);
        let pods = api.list(&params).await.map_err(reader.failed("to list pods"))?;
        let running = |pod: &&Pod| {
            pod.metadata.deletion_timestamp.is_none()
                && pod.status.as_ref().is_some_and(|s| s.phase.as_deref() == Some("Running"))
        };
        let ready = |pod: &Pod| {
            let conditions = pod.status.as_ref().and_then(|s| s.conditions.as_ref());
            conditions.into_iter().flatten().any(|c| c.type_ == "Ready" && c.status == "True")
        };
        let mut pods: Vec<_> = pods.items.iter().filter(running).collect();
        pods.sort_by_key(|pod| !ready(pod));
        let found = pods.iter().find_map(|pod| {
            let port = container_port(pod, &target)?;
            Some(PodPort { pod: pod.metadata.name.clone()?, port })
        });
        return found.ok_or_else(|| ClusterError::NoSuch {
            message: format!("no pod of Service {word} is running"),
            hint: "`envctl status` shows what its pods wait for".to_owned(),
        });
    }
    let all = pods::all(reader, namespace).await?;
    let refused = |message: String| ClusterError::NoSuch {
        message,
        hint: "name a Service or a component; `envctl status` shows them".to_owned(),
    };
    let chosen = select(&all, LivePod::names, word).map_err(|e| refused(e.to_string()))?;
    let pod = chosen
        .into_iter()
        .filter(|pod| !pod.ending && pod.containers.iter().any(pods::LiveContainer::is_running))
        .min_by_key(|pod| (!pod.ready, &pod.name))
        .ok_or_else(|| refused(format!("no pod of {word} is running")))?;
    Ok(PodPort { pod: pod.name.clone(), port })
}

fn selector(service: &Service) -> Option<String> {
    let selector: &BTreeMap<String, String> = service.spec.as_ref()?.selector.as_ref()?;
    (!selector.is_empty())
        .then(|| selector.iter().map(|(k, v)| format!("{k}={v}")).collect::<Vec<_>>().join(","))
}

/// Where a Service leads what comes to a port of it.
fn target_port(service: &Service, word: &str, port: u16) -> Result<IntOrString, ClusterError> {
    let ports = service.spec.iter().flat_map(|spec| spec.ports.iter().flatten());
    let found = ports.clone().find(|p| p.port == i32::from(port));
    found.map(|p| p.target_port.clone().unwrap_or(IntOrString::Int(p.port))).ok_or_else(|| {
        let known: Vec<_> = ports.map(|p| p.port.to_string()).collect();
        ClusterError::NoSuch {
            message: format!("Service {word} has no port {port}"),
            hint: format!("its ports: {}", known.join(", ")),
        }
    })
}

fn container_port(pod: &Pod, target: &IntOrString) -> Option<u16> {
    let name = match target {
        IntOrString::Int(port) => return u16::try_from(*port).ok(),
        IntOrString::String(name) => name,
    };
    let containers = pod.spec.iter().flat_map(|spec| &spec.containers);
    let ports = containers.flat_map(|c| c.ports.iter().flatten());
    let port = ports.clone().find(|p| p.name.as_ref() == Some(name))?.container_port;
    u16::try_from(port).ok()
}

/// Carries one connection to a port of a pod, until either side ends it.
///
/// # Errors
/// When the cluster refuses or does not answer, or nothing listens there.
pub async fn carry(
    reader: &ClusterReader,
    namespace: &str,
    to: &PodPort,
    mut connection: impl AsyncRead + AsyncWrite + Unpin,
) -> Result<(), ClusterError> {
    let api: Api<Pod> = Api::namespaced(reader.streaming(), namespace);
    let doing = format!("to forward to port {} of {}", to.port, to.pod);
    let mut forwarder = api.portforward(&to.pod, &[to.port]).await.map_err(reader.failed(&doing))?;
    let unreadable = |message: String| ClusterError::Unreadable { doing: doing.clone(), message };
    let failed = forwarder.take_error(to.port);
    let Some(mut stream) = forwarder.take_stream(to.port) else {
        return Err(unreadable("there is no such stream".to_owned()));
    };
    // That one side went away is how connections end.
    let _ = tokio::io::copy_bidirectional(&mut connection, &mut stream).await;
    drop(stream);
    let said = match failed {
        Some(failed) => failed.await,
        None => None,
    };
    forwarder.abort();
    match said {
        Some(message) => Err(unreadable(message)),
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_port_of_a_service_is_one_of_its_pods() {
        let service: Service = serde_json::from_value(json!({"spec": {"selector": {"app": "api"}, "ports": [
            {"port": 80, "targetPort": "http"}, {"port": 90}]}}))
        .unwrap();
        let pod: Pod = serde_json::from_value(json!({"spec": {"containers": [
            {"name": "a", "ports": [{"name": "http", "containerPort": 8080}]}]}}))
        .unwrap();
        let port = |port| container_port(&pod, &target_port(&service, "api", port).unwrap());
        assert_eq!((port(80), port(90)), (Some(8080), Some(90)));
        let error = target_port(&service, "api", 1).unwrap_err();
        assert_eq!(error.to_string(), "Service api has no port 1");
        assert_eq!(error.hint().unwrap(), "its ports: 80, 90");
    }
}
