//! Fields that are known and not carried.

use envctl_model::finding::{Fate, Severity};

use crate::codes;
use crate::cursor::{Remark, Step};

use Fate::{Approximated, Dropped, Meaningless};
use Severity::{Info, Major, Minor};

/// Where the path of a row begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Scope {
    /// In a container.
    Container,
    /// In a pod's `spec`.
    PodSpec,
    /// At the root of one kind: the first element of the row's path.
    Kind,
    /// At the root of any object.
    Any,
}

struct Row {
    scope: Scope,
    path: &'static str,
    fate: Fate,
    severity: Severity,
    code: &'static str,
    message: &'static str,
}

const fn row(
    scope: Scope,
    path: &'static str,
    fate: Fate,
    severity: Severity,
    code: &'static str,
    message: &'static str,
) -> Row {
    assert!(codes::is_known(code), "codes.rs has to explain the code");
    Row { scope, path, fate, severity, code, message }
}

const ONE_NODE: &str = "there is one node";
const ANY_ACCESS: &str = "any number of pods may write to a Docker volume";
const RECREATED: &str = "changed pods are recreated at once";

/// `*` stands for any key or index.
#[rustfmt::skip]
const ROWS: &[Row] = &[
    row(Scope::Container, "terminationMessagePath", Dropped, Info, "termination-message", "the last log lines are shown instead"),
    row(Scope::Container, "terminationMessagePolicy", Meaningless, Info, "termination-message", "the last log lines are shown instead"),
    row(Scope::Container, "stdinOnce", Dropped, Info, "stdin-once", "standard input stays open"),
    row(Scope::Container, "resizePolicy", Meaningless, Info, "resize", "containers are recreated when their resources change"),
    row(Scope::Container, "restartPolicyRules", Dropped, Minor, "restart-rules", "the pod's restart policy applies"),
    row(Scope::Container, "ports.*.hostIP", Approximated, Info, "host-port", "host ports are published on 127.0.0.1"),
    row(Scope::Container, "securityContext.procMount", Dropped, Minor, "security-profile", "Docker's default applies"),
    row(Scope::Container, "securityContext.seLinuxOptions", Dropped, Minor, "security-profile", "Docker's label applies"),
    row(Scope::Container, "securityContext.windowsOptions", Meaningless, Info, "windows", "containers run on Linux"),
    row(Scope::Container, "volumeMounts.*.recursiveReadOnly", Dropped, Minor, "recursive-read-only", "mounts inside of the mount stay writable"),
    row(Scope::Container, "resources.claims", Dropped, Major, "resource-claim", "no devices are allocated"),
    row(Scope::Container, "startupProbe.terminationGracePeriodSeconds", Approximated, Info, "probe-grace-period", "the pod's grace period applies"),
    row(Scope::Container, "livenessProbe.terminationGracePeriodSeconds", Approximated, Info, "probe-grace-period", "the pod's grace period applies"),
    row(Scope::PodSpec, "affinity", Meaningless, Info, "scheduling", ONE_NODE),
    row(Scope::PodSpec, "nodeSelector", Meaningless, Info, "scheduling", ONE_NODE),
    row(Scope::PodSpec, "nodeName", Meaningless, Info, "scheduling", ONE_NODE),
    row(Scope::PodSpec, "tolerations", Meaningless, Info, "scheduling", ONE_NODE),
    row(Scope::PodSpec, "topologySpreadConstraints", Meaningless, Info, "scheduling", ONE_NODE),
    row(Scope::PodSpec, "schedulerName", Meaningless, Info, "scheduling", ONE_NODE),
    row(Scope::PodSpec, "schedulingGates", Dropped, Minor, "scheduling", "the pod starts at once"),
    row(Scope::PodSpec, "priorityClassName", Meaningless, Info, "scheduling", ONE_NODE),
    row(Scope::PodSpec, "priority", Meaningless, Info, "scheduling", ONE_NODE),
    row(Scope::PodSpec, "preemptionPolicy", Meaningless, Info, "scheduling", ONE_NODE),
    row(Scope::PodSpec, "runtimeClassName", Dropped, Minor, "runtime-class", "Docker's runtime runs the container"),
    row(Scope::PodSpec, "overhead", Meaningless, Info, "runtime-class", "Docker's runtime runs the container"),
    row(Scope::PodSpec, "os", Meaningless, Info, "windows", "containers run on Linux"),
    row(Scope::PodSpec, "hostUsers", Dropped, Minor, "user-namespace", "the Engine's user namespace applies"),
    row(Scope::PodSpec, "readinessGates", Dropped, Major, "readiness-gate", "probes alone decide on readiness"),
    row(Scope::PodSpec, "ephemeralContainers", Dropped, Minor, "ephemeral-container", "is not started: use `envctl exec`"),
    row(Scope::PodSpec, "imagePullSecrets", Approximated, Minor, "image-pull-secret", "the credentials of the local `docker login` are used"),
    row(Scope::PodSpec, "serviceAccount", Meaningless, Info, "service-account", "there is no API server here"),
    row(Scope::PodSpec, "activeDeadlineSeconds", Dropped, Minor, "deadline", "pods of this kind have no deadline"),
    row(Scope::PodSpec, "resources", Dropped, Minor, "pod-resources", "only the containers' own limits apply"),
    row(Scope::PodSpec, "resourceClaims", Dropped, Major, "resource-claim", "no devices are allocated"),
    row(Scope::PodSpec, "securityContext.seLinuxOptions", Dropped, Minor, "security-profile", "Docker's label applies"),
    row(Scope::PodSpec, "securityContext.windowsOptions", Meaningless, Info, "windows", "containers run on Linux"),
    row(Scope::PodSpec, "securityContext.supplementalGroupsPolicy", Dropped, Minor, "supplemental-groups", "groups of the image's user are kept"),
    row(Scope::PodSpec, "securityContext.fsGroupChangePolicy", Approximated, Info, "fs-group", "rights are set at every start of the pod"),
    row(Scope::PodSpec, "dnsConfig", Dropped, Minor, "dns", "Docker's own DNS settings apply"),
    row(Scope::Kind, "Deployment.spec.strategy", Approximated, Info, "update-strategy", RECREATED),
    row(Scope::Kind, "Deployment.spec.minReadySeconds", Dropped, Info, "update-strategy", RECREATED),
    row(Scope::Kind, "Deployment.spec.revisionHistoryLimit", Meaningless, Info, "update-strategy", RECREATED),
    row(Scope::Kind, "Deployment.spec.progressDeadlineSeconds", Approximated, Info, "update-strategy", "the timeout of `up` applies"),
    row(Scope::Kind, "Deployment.spec.paused", Dropped, Minor, "update-strategy", RECREATED),
    row(Scope::Kind, "Rollout.spec.strategy", Approximated, Info, "update-strategy", RECREATED),
    row(Scope::Kind, "Rollout.spec.minReadySeconds", Dropped, Info, "update-strategy", RECREATED),
    row(Scope::Kind, "Rollout.spec.revisionHistoryLimit", Meaningless, Info, "update-strategy", RECREATED),
    row(Scope::Kind, "Rollout.spec.progressDeadlineSeconds", Approximated, Info, "update-strategy", "the timeout of `up` applies"),
    row(Scope::Kind, "Rollout.spec.progressDeadlineAbort", Meaningless, Info, "update-strategy", RECREATED),
    row(Scope::Kind, "Rollout.spec.paused", Dropped, Minor, "update-strategy", RECREATED),
    row(Scope::Kind, "Rollout.spec.analysis", Meaningless, Info, "update-strategy", RECREATED),
    row(Scope::Kind, "Rollout.spec.rollbackWindow", Meaningless, Info, "update-strategy", RECREATED),
    row(Scope::Kind, "Rollout.spec.restartAt", Meaningless, Info, "update-strategy", RECREATED),
    row(Scope::Kind, "ReplicaSet.spec.minReadySeconds", Dropped, Info, "update-strategy", RECREATED),
    row(Scope::Kind, "StatefulSet.spec.updateStrategy", Approximated, Info, "update-strategy", RECREATED),
    row(Scope::Kind, "StatefulSet.spec.minReadySeconds", Dropped, Info, "update-strategy", RECREATED),
    row(Scope::Kind, "StatefulSet.spec.revisionHistoryLimit", Meaningless, Info, "update-strategy", RECREATED),
    row(Scope::Kind, "StatefulSet.spec.persistentVolumeClaimRetentionPolicy", Approximated, Info, "claim-retention", "volumes live until `down`"),
    row(Scope::PodSpec, "volumes.*.ephemeral.volumeClaimTemplate.metadata", Meaningless, Info, "storage", "claims are Docker volumes here"),
    row(Scope::PodSpec, "volumes.*.ephemeral.volumeClaimTemplate.spec.accessModes", Meaningless, Info, "storage", ANY_ACCESS),
    row(Scope::PodSpec, "volumes.*.ephemeral.volumeClaimTemplate.spec.storageClassName", Meaningless, Info, "storage", "claims are Docker volumes here"),
    row(Scope::PodSpec, "volumes.*.ephemeral.volumeClaimTemplate.spec.dataSource", Dropped, Major, "storage", "the volume starts empty"),
    row(Scope::Kind, "StatefulSet.spec.volumeClaimTemplates.*.spec.accessModes", Meaningless, Info, "storage", ANY_ACCESS),
    row(Scope::Kind, "StatefulSet.spec.volumeClaimTemplates.*.spec.storageClassName", Meaningless, Info, "storage", "claims are Docker volumes here"),
    row(Scope::Kind, "StatefulSet.spec.volumeClaimTemplates.*.spec.selector", Meaningless, Info, "storage", "claims are Docker volumes here"),
    row(Scope::Kind, "StatefulSet.spec.volumeClaimTemplates.*.spec.dataSource", Dropped, Major, "storage", "the volume starts empty"),
    row(Scope::Kind, "StatefulSet.spec.volumeClaimTemplates.*.metadata", Meaningless, Info, "storage", "claims are Docker volumes here"),
    row(Scope::Kind, "StatefulSet.spec.volumeClaimTemplates.*.apiVersion", Meaningless, Info, "storage", "claims are Docker volumes here"),
    row(Scope::Kind, "StatefulSet.spec.volumeClaimTemplates.*.kind", Meaningless, Info, "storage", "claims are Docker volumes here"),
    row(Scope::Kind, "StatefulSet.spec.volumeClaimTemplates.*.status", Meaningless, Info, "storage", "claims are Docker volumes here"),
    row(Scope::Kind, "DaemonSet.spec.updateStrategy", Approximated, Info, "update-strategy", RECREATED),
    row(Scope::Kind, "DaemonSet.spec.minReadySeconds", Dropped, Info, "update-strategy", RECREATED),
    row(Scope::Kind, "DaemonSet.spec.revisionHistoryLimit", Meaningless, Info, "update-strategy", RECREATED),
    row(Scope::Kind, "Job.spec.ttlSecondsAfterFinished", Meaningless, Info, "job-retention", "finished Jobs stay until `down`"),
    row(Scope::Kind, "Job.spec.podFailurePolicy", Dropped, Minor, "job-retry", "every failure counts alike"),
    row(Scope::Kind, "Job.spec.backoffLimitPerIndex", Dropped, Minor, "job-retry", "`backoffLimit` counts"),
    row(Scope::Kind, "Job.spec.maxFailedIndexes", Dropped, Minor, "job-retry", "`backoffLimit` counts"),
    row(Scope::Kind, "Job.spec.podReplacementPolicy", Meaningless, Info, "job-retry", "a failed container is started again in its pod"),
    row(Scope::Kind, "Job.spec.successPolicy", Dropped, Minor, "job-retry", "all completions are required"),
    row(Scope::Kind, "Job.spec.manualSelector", Meaningless, Info, "job-selector", "each pod knows its Job"),
    row(Scope::Kind, "PersistentVolumeClaim.spec.accessModes", Meaningless, Info, "storage", ANY_ACCESS),
    row(Scope::Kind, "PersistentVolumeClaim.spec.storageClassName", Meaningless, Info, "storage", "claims are Docker volumes here"),
    row(Scope::Kind, "PersistentVolumeClaim.spec.volumeName", Meaningless, Minor, "storage", "claims are Docker volumes here"),
    row(Scope::Kind, "PersistentVolumeClaim.spec.selector", Meaningless, Info, "storage", "claims are Docker volumes here"),
    row(Scope::Kind, "PersistentVolumeClaim.spec.dataSource", Dropped, Major, "storage", "the volume starts empty"),
    row(Scope::Kind, "PersistentVolumeClaim.spec.dataSourceRef", Dropped, Major, "storage", "the volume starts empty"),
    row(Scope::Kind, "Service.spec.externalTrafficPolicy", Meaningless, Info, "external-service", ONE_NODE),
    row(Scope::Kind, "Service.spec.internalTrafficPolicy", Meaningless, Info, "external-service", ONE_NODE),
    row(Scope::Kind, "Service.spec.trafficDistribution", Meaningless, Info, "external-service", ONE_NODE),
    row(Scope::Kind, "Service.spec.healthCheckNodePort", Meaningless, Info, "external-service", "there is no load balancer"),
    row(Scope::Kind, "Service.spec.loadBalancerIP", Dropped, Minor, "external-service", "there is no load balancer"),
    row(Scope::Kind, "Service.spec.loadBalancerClass", Dropped, Minor, "external-service", "there is no load balancer"),
    row(Scope::Kind, "Service.spec.loadBalancerSourceRanges", Dropped, Minor, "external-service", "there is no load balancer"),
    row(Scope::Kind, "Service.spec.allocateLoadBalancerNodePorts", Meaningless, Info, "external-service", "there is no load balancer"),
    row(Scope::Kind, "Service.spec.externalIPs", Dropped, Minor, "external-service", "the Service has its virtual address alone"),
    row(Scope::Kind, "Service.spec.clusterIPs", Approximated, Minor, "cluster-ip", "the Service gets another address here"),
    row(Scope::Kind, "Service.spec.ipFamilies", Approximated, Info, "ip-family", "IPv4 only"),
    row(Scope::Kind, "Service.spec.ipFamilyPolicy", Approximated, Info, "ip-family", "IPv4 only"),
    row(Scope::Kind, "Service.spec.ports.*.appProtocol", Meaningless, Info, "app-protocol", "connections are passed on as they are"),
    row(Scope::Kind, "Service.metadata.annotations.*", Dropped, Minor, "service-annotation", "no controller reads it here"),
    row(Scope::Kind, "Endpoints.subsets.*.notReadyAddresses", Meaningless, Info, "endpoints", "only ready addresses are used"),
    row(Scope::Kind, "EndpointSlice.endpoints", Approximated, Minor, "endpoints", "addresses are used, other details are not"),
    row(Scope::Kind, "Ingress.metadata.annotations.*", Dropped, Minor, "ingress-annotation", "the router does not know it"),
    row(Scope::Kind, "HTTPRoute.metadata.annotations.*", Dropped, Minor, "ingress-annotation", "the router does not know it"),
    row(Scope::Kind, "HTTPRoute.spec.rules.*.timeouts", Dropped, Minor, "gateway-api", "requests take as long as they take"),
    row(Scope::Kind, "HTTPRoute.spec.rules.*.retry", Dropped, Minor, "gateway-api", "the router repeats no request"),
    row(Scope::Kind, "HTTPRoute.spec.rules.*.sessionPersistence", Dropped, Minor, "gateway-api", "requests of one client reach all pods"),
    row(Scope::Kind, "HTTPRoute.spec.rules.*.backendRefs.*.filters", Dropped, Major, "gateway-api", "requests and answers are passed on unchanged"),
    row(Scope::Kind, "HTTPRoute.spec.rules.*.name", Meaningless, Info, "gateway-api", "nothing refers to it"),
    row(Scope::Kind, "Gateway.metadata.annotations.*", Dropped, Minor, "ingress-annotation", "the router does not know it"),
    row(Scope::Kind, "Gateway.spec.addresses", Dropped, Minor, "gateway-api", "the router has its own address"),
    row(Scope::Kind, "Gateway.spec.infrastructure", Meaningless, Info, "gateway-api", "one router serves every Gateway"),
    row(Scope::Kind, "Ingress.spec.ingressClassName", Meaningless, Info, "ingress-class", "one router serves every Ingress class"),
    row(Scope::Any, "metadata.finalizers", Meaningless, Info, "metadata", "nothing finalizes objects here"),
    row(Scope::Any, "metadata.ownerReferences", Meaningless, Info, "metadata", "nothing collects garbage here"),
    row(Scope::Any, "metadata.creationTimestamp", Meaningless, Info, "metadata", "the API server sets it"),
    row(Scope::Any, "metadata.generateName", Meaningless, Info, "metadata", "the name counts"),
    row(Scope::Any, "status", Meaningless, Info, "metadata", "controllers set it"),
];

/// The row for the beginning of a path, and its length.
pub(crate) fn find(scope: Scope, kind: &str, steps: &[Step<'_>]) -> Option<(usize, Remark)> {
    rows(scope, kind).find_map(|(row, path)| match compare(path, steps) {
        Match::Covers(length) => Some((length, Remark::new(row.fate, row.severity, row.code, row.message))),
        Match::Below | Match::Differs => None,
    })
}

/// Whether there are rows for fields below a path.
pub(crate) fn has_below(scope: Scope, kind: &str, steps: &[Step<'_>]) -> bool {
    rows(scope, kind).any(|(_, path)| compare(path, steps) == Match::Below)
}

const UNKNOWN: &str = "unknown-field";

/// What is said about any other field.
pub(crate) fn unknown() -> Remark {
    Remark::dropped(Major, UNKNOWN, "is not known here and has no effect")
}

#[cfg(test)]
pub(crate) fn codes() -> impl Iterator<Item = &'static str> {
    ROWS.iter().map(|row| row.code).chain([UNKNOWN])
}

/// The rows of a scope with their paths inside of it.
fn rows(scope: Scope, kind: &str) -> impl Iterator<Item = (&'static Row, &'static str)> {
    ROWS.iter().filter(move |row| row.scope == scope).filter_map(move |row| {
        if scope != Scope::Kind {
            return Some((row, row.path));
        }
        let (own, path) = row.path.split_once('.')?;
        (own == "*" || own == kind).then_some((row, path))
    })
}

#[derive(Debug, PartialEq, Eq)]
enum Match {
    /// The row is about this field or one that contains it, so many steps from the scope's root.
    Covers(usize),
    /// The row is about a field inside of this one.
    Below,
    Differs,
}

fn compare(row: &str, steps: &[Step<'_>]) -> Match {
    let mut length = 0;
    for own in row.split('.') {
        match steps.get(length) {
            None => return Match::Below,
            Some(Step::Key(key)) if own == "*" || *key == own => length += 1,
            Some(Step::Index(_)) if own == "*" => length += 1,
            Some(_) => return Match::Differs,
        }
    }
    Match::Covers(length)
}
