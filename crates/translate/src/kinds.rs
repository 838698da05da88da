//! What becomes of an object, by its kind.

use envctl_model::finding::{Fate, Severity};

use crate::certificate;
use crate::codes;
use crate::cron_job;
use crate::cursor::Remark;
use crate::input::Warden;
use crate::objects::Object;

/// What a kind is here.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Workload(Workload),
    ConfigMap,
    Secret,
    Service,
    Endpoints,
    EndpointSlice,
    Ingress,
    HttpRoute,
    Gateway,
    LimitRange,
    Claim,
    Certificate,
    /// Nothing here acts on it; the finding for the whole object.
    Unsupported(Remark),
}

/// Kinds that make pods.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Workload {
    // StatefulSets and Pods come first: their pods' names are fixed by the API.
    StatefulSet,
    Pod,
    Deployment,
    ReplicaSet,
    DaemonSet,
    Job,
    CronJob,
}

impl Kind {
    pub(crate) fn of(object: &Object, warden: &Warden) -> Self {
        match (object.group(), object.kind.as_str()) {
            ("batch", "CronJob") => match warden {
                Warden::At { .. } => Self::Workload(Workload::CronJob),
                Warden::Off(why) => Self::Unsupported(cron_job::not_scheduled(why)),
            },
            ("apps", "StatefulSet") => Self::Workload(Workload::StatefulSet),
            ("", "Pod") => Self::Workload(Workload::Pod),
            ("apps", "Deployment") => Self::Workload(Workload::Deployment),
            // The workload that it refers to instead is carried itself.
            ("argoproj.io", "Rollout") if object.body["spec"]["template"].is_object() => {
                Self::Workload(Workload::Deployment)
            }
            ("cert-manager.io", "Certificate") if certificate::is_issued(object) => Self::Certificate,
            ("apps", "ReplicaSet") => Self::Workload(Workload::ReplicaSet),
            ("apps", "DaemonSet") => Self::Workload(Workload::DaemonSet),
            ("batch", "Job") => Self::Workload(Workload::Job),
            ("", "ConfigMap") => Self::ConfigMap,
            ("", "Secret") => Self::Secret,
            ("", "Service") => Self::Service,
            ("", "Endpoints") => Self::Endpoints,
            ("discovery.k8s.io", "EndpointSlice") => Self::EndpointSlice,
            ("networking.k8s.io", "Ingress") => Self::Ingress,
            ("gateway.networking.k8s.io", "HTTPRoute") => Self::HttpRoute,
            ("gateway.networking.k8s.io", "Gateway") => Self::Gateway,
            ("", "LimitRange") => Self::LimitRange,
            ("", "PersistentVolumeClaim") => Self::Claim,
            (group, kind) => Self::Unsupported(unsupported(group, kind)),
        }
    }
}

const UNKNOWN: &str = "unknown-kind";

fn unsupported(group: &str, kind: &str) -> Remark {
    for row in UNSUPPORTED {
        if (row.group == "*" || row.group == group) && (row.kind == "*" || row.kind == kind) {
            let remark = Remark::new(row.fate, row.severity, row.code, row.message);
            return if row.fix.is_empty() { remark } else { remark.fix(row.fix) };
        }
    }
    Remark::dropped(
        Major,
        UNKNOWN,
        format!("nothing acts on {kind} ({}) here", if group.is_empty() { "v1" } else { group }),
    )
    .fix("switch it off in this target's values, or put what its controller would make into the backing services")
}

struct Row {
    group: &'static str,
    kind: &'static str,
    fate: Fate,
    severity: Severity,
    code: &'static str,
    message: &'static str,
    fix: &'static str,
}

const fn row(
    group: &'static str,
    kind: &'static str,
    fate: Fate,
    severity: Severity,
    code: &'static str,
    message: &'static str,
    fix: &'static str,
) -> Row {
    assert!(codes::is_known(code), "codes.rs has to explain the code");
    Row { group, kind, fate, severity, code, message, fix }
}

use Fate::{Dropped, Meaningless};
use Severity::{Critical, Info, Major, Minor};

const NO_API: &str = "there is no API server here: a pod that calls the Kubernetes API fails";

/// Kinds that are known and not carried; `*` is any.
#[rustfmt::skip]
const UNSUPPORTED: &[Row] = &[
    row("networking.k8s.io", "NetworkPolicy", Dropped, Major, "network-policy", "is not enforced: all pods of the environment reach each other and the outside", "test policies on a cluster target"),
    row("networking.k8s.io", "IngressClass", Meaningless, Info, "ingress-class", "one router serves every Ingress class", ""),
    row("autoscaling", "HorizontalPodAutoscaler", Meaningless, Minor, "autoscaling", "nothing scales here: the workload's `replicas` count", ""),
    row("autoscaling.k8s.io", "VerticalPodAutoscaler", Meaningless, Minor, "autoscaling", "nothing scales here: the requests as written count", ""),
    row("keda.sh", "*", Dropped, Minor, "autoscaling", "nothing scales here: the workload's `replicas` count", ""),
    row("policy", "PodDisruptionBudget", Meaningless, Info, "disruption-budget", "nothing is evicted here", ""),
    row("rbac.authorization.k8s.io", "*", Meaningless, Info, "rbac", NO_API, ""),
    row("", "ServiceAccount", Meaningless, Info, "service-account", NO_API, ""),
    row("", "Namespace", Meaningless, Info, "namespace", "the environment is the namespace", ""),
    row("", "ResourceQuota", Meaningless, Info, "resource-quota", "the machine is the quota", ""),
    row("", "PersistentVolume", Meaningless, Minor, "persistent-volume", "claims are Docker volumes here", ""),
    row("storage.k8s.io", "*", Meaningless, Info, "storage", "claims are Docker volumes here", ""),
    row("snapshot.storage.k8s.io", "*", Dropped, Minor, "storage", "no snapshots are taken", ""),
    row("scheduling.k8s.io", "*", Meaningless, Info, "scheduling", "there is one node", ""),
    row("node.k8s.io", "*", Meaningless, Info, "runtime-class", "Docker's runtime runs every container", ""),
    row("apiextensions.k8s.io", "*", Dropped, Minor, "custom-resource-definition", NO_API, ""),
    row("admissionregistration.k8s.io", "*", Dropped, Minor, "admission-webhook", NO_API, ""),
    row("apiregistration.k8s.io", "*", Dropped, Minor, "api-service", NO_API, ""),
    row("monitoring.coreos.com", "*", Dropped, Minor, "monitoring", "no Prometheus operator acts on it", ""),
    row("argoproj.io", "Rollout", Dropped, Minor, "update-strategy", "the workload that it refers to runs as it is", "set its `replicas` in this target's values"),
    row("argoproj.io", "AnalysisTemplate", Meaningless, Info, "update-strategy", "a change is carried out at once, without analysis", ""),
    row("argoproj.io", "ClusterAnalysisTemplate", Meaningless, Info, "update-strategy", "a change is carried out at once, without analysis", ""),
    row("cert-manager.io", "Issuer", Meaningless, Info, "certificate", "envctl's authority of this machine issues certificates", ""),
    row("cert-manager.io", "ClusterIssuer", Meaningless, Info, "certificate", "envctl's authority of this machine issues certificates", ""),
    row("cert-manager.io", "*", Dropped, Major, "certificate", "no certificate is issued", "let the chart make the Secret from values"),
    row("external-secrets.io", "*", Dropped, Critical, "external-secret", "the Secret it stands for is not made", "let the chart make the Secret from values"),
    row("bitnami.com", "SealedSecret", Dropped, Critical, "external-secret", "the Secret it stands for is not made", "let the chart make the Secret from values"),
    row("gateway.networking.k8s.io", "GatewayClass", Meaningless, Info, "gateway-api", "one router serves every Gateway", ""),
    row("gateway.networking.k8s.io", "ReferenceGrant", Meaningless, Info, "gateway-api", "references across namespaces are not checked", ""),
    row("gateway.networking.k8s.io", "*", Dropped, Major, "gateway-api", "is not routed here", "use an Ingress or an HTTPRoute in this target's values"),
];

#[cfg(test)]
pub(crate) fn codes() -> impl Iterator<Item = &'static str> {
    UNSUPPORTED.iter().map(|row| row.code).chain([UNKNOWN])
}
