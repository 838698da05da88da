//! Which kinds an API server has: what one of Kubernetes 1.35 answered, and what charts add.

use std::collections::BTreeMap;

use serde_json::{Value, json};

/// `group/version: kind plural, ...`; a `*` marks kinds that live outside of namespaces.
const RECORDED: &str = "\
v1: Binding bindings, ConfigMap configmaps, Endpoints endpoints, Event events, LimitRange limitranges, *Namespace namespaces, *Node nodes, PersistentVolumeClaim persistentvolumeclaims, *PersistentVolume persistentvolumes, Pod pods, PodTemplate podtemplates, ReplicationController replicationcontrollers, ResourceQuota resourcequotas, Secret secrets, ServiceAccount serviceaccounts, Service services
admissionregistration.k8s.io/v1: *MutatingWebhookConfiguration mutatingwebhookconfigurations, *ValidatingAdmissionPolicy validatingadmissionpolicies, *ValidatingAdmissionPolicyBinding validatingadmissionpolicybindings, *ValidatingWebhookConfiguration validatingwebhookconfigurations
apiextensions.k8s.io/v1: *CustomResourceDefinition customresourcedefinitions
apiregistration.k8s.io/v1: *APIService apiservices
apps/v1: ControllerRevision controllerrevisions, DaemonSet daemonsets, Deployment deployments, ReplicaSet replicasets, StatefulSet statefulsets
authentication.k8s.io/v1: *SelfSubjectReview selfsubjectreviews, *TokenReview tokenreviews
authorization.k8s.io/v1: LocalSubjectAccessReview localsubjectaccessreviews, *SelfSubjectAccessReview selfsubjectaccessreviews, *SelfSubjectRulesReview selfsubjectrulesreviews, *SubjectAccessReview subjectaccessreviews
autoscaling/v2: HorizontalPodAutoscaler horizontalpodautoscalers
autoscaling/v1: HorizontalPodAutoscaler horizontalpodautoscalers
batch/v1: CronJob cronjobs, Job jobs
certificates.k8s.io/v1: *CertificateSigningRequest certificatesigningrequests
coordination.k8s.io/v1: Lease leases
discovery.k8s.io/v1: EndpointSlice endpointslices
events.k8s.io/v1: Event events
flowcontrol.apiserver.k8s.io/v1: *FlowSchema flowschemas, *PriorityLevelConfiguration prioritylevelconfigurations
networking.k8s.io/v1: *IngressClass ingressclasses, Ingress ingresses, *IPAddress ipaddresses, NetworkPolicy networkpolicies, *ServiceCIDR servicecidrs
node.k8s.io/v1: *RuntimeClass runtimeclasses
policy/v1: PodDisruptionBudget poddisruptionbudgets
rbac.authorization.k8s.io/v1: *ClusterRoleBinding clusterrolebindings, *ClusterRole clusterroles, RoleBinding rolebindings, Role roles
resource.k8s.io/v1: *DeviceClass deviceclasses, ResourceClaim resourceclaims, ResourceClaimTemplate resourceclaimtemplates, *ResourceSlice resourceslices
scheduling.k8s.io/v1: *PriorityClass priorityclasses
storage.k8s.io/v1: *CSIDriver csidrivers, *CSINode csinodes, CSIStorageCapacity csistoragecapacities, *StorageClass storageclasses, *VolumeAttachment volumeattachments, *VolumeAttributesClass volumeattributesclasses
";

/// A kind of a group and version.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Kind {
    /// `v1`, `apps/v1`.
    pub(super) api_version: String,
    /// `Deployment`.
    pub(super) kind: String,
}

/// How a kind is reached.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Resource {
    pub(super) kind: String,
    pub(super) plural: String,
    pub(super) namespaced: bool,
}

/// All kinds, by group and version in the order of preference.
#[derive(Debug)]
pub(super) struct Discovery {
    versions: Vec<(String, Vec<Resource>)>,
}

/// The group of `apps/v1`; the core group has none.
pub(super) fn group(api_version: &str) -> &str {
    api_version.split_once('/').map_or("", |(group, _)| group)
}

impl Discovery {
    pub(super) fn recorded() -> Self {
        let resource = |entry: &str| {
            let (kind, plural) = entry.split_once(' ')?;
            let kind_name = kind.trim_start_matches('*').to_owned();
            let namespaced = !kind.starts_with('*');
            Some(Resource { kind: kind_name, plural: plural.to_owned(), namespaced })
        };
        let version = |line: &str| {
            let (version, entries) = line.split_once(": ")?;
            Some((version.to_owned(), entries.split(", ").filter_map(resource).collect()))
        };
        Self { versions: RECORDED.lines().filter_map(version).collect() }
    }

    /// Adds a group and version without kinds, for charts that only ask whether it is there.
    pub(super) fn add_version(&mut self, api_version: &str) -> &mut Vec<Resource> {
        let found = self.versions.iter().position(|(name, _)| name == api_version);
        let at = found.unwrap_or_else(|| {
            self.versions.push((api_version.to_owned(), Vec::new()));
            self.versions.len() - 1
        });
        &mut self.versions[at].1
    }

    /// Adds a kind, and says whether it was not there.
    pub(super) fn add(&mut self, kind: &Kind) -> bool {
        let resources = self.add_version(&kind.api_version);
        if resources.iter().any(|resource| resource.kind == kind.kind) {
            return false;
        }
        // A kind that does live outside of namespaces is merely looked for in one, and not found.
        let plural = format!("{}s", kind.kind.to_lowercase());
        resources.push(Resource { kind: kind.kind.clone(), plural, namespaced: true });
        true
    }

    pub(super) fn resources(&self, api_version: &str) -> Option<&[Resource]> {
        let (_, resources) = self.versions.iter().find(|(name, _)| name == api_version)?;
        Some(resources)
    }

    /// The answer to `/api`.
    pub(super) fn core(&self) -> Value {
        json!({"kind": "APIVersions", "versions": ["v1"]})
    }

    /// The answer to `/apis`.
    pub(super) fn groups(&self) -> Value {
        let mut groups: BTreeMap<&str, Vec<Value>> = BTreeMap::new();
        for (api_version, _) in &self.versions {
            if let Some((group, version)) = api_version.split_once('/') {
                let one = json!({"groupVersion": api_version, "version": version});
                groups.entry(group).or_default().push(one);
            }
        }
        let group = |(name, versions): (&str, Vec<Value>)| json!({"name": name, "preferredVersion": versions.first(), "versions": versions});
        let groups: Vec<Value> = groups.into_iter().map(group).collect();
        json!({"kind": "APIGroupList", "apiVersion": "v1", "groups": groups})
    }

    /// The answer to `/api/v1` and `/apis/GROUP/VERSION`.
    pub(super) fn list(&self, api_version: &str) -> Option<Value> {
        let resource = |resource: &Resource| {
            json!({
                "name": resource.plural,
                "singularName": resource.kind.to_lowercase(),
                "namespaced": resource.namespaced,
                "kind": resource.kind,
                "verbs": ["create", "delete", "get", "list", "patch", "update", "watch"],
            })
        };
        let resources: Vec<Value> = self.resources(api_version)?.iter().map(resource).collect();
        Some(json!({
            "kind": "APIResourceList",
            "apiVersion": "v1",
            "groupVersion": api_version,
            "resources": resources,
        }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_recorded_line_is_read() {
        let discovery = Discovery::recorded();
        assert_eq!(discovery.versions.len(), RECORDED.lines().count());
        let ingress = discovery.resources("networking.k8s.io/v1").unwrap();
        assert_eq!(ingress.len(), 5);
        assert!(discovery.versions.iter().all(|(_, resources)| !resources.is_empty()));
    }

    #[test]
    fn the_first_version_of_a_group_is_preferred() {
        let groups = Discovery::recorded().groups();
        let autoscaling = groups["groups"].as_array().unwrap().iter();
        let autoscaling = autoscaling.clone().find(|group| group["name"] == "autoscaling").unwrap();
        assert_eq!(autoscaling["preferredVersion"]["version"], "v2");
        assert_eq!(autoscaling["versions"].as_array().unwrap().len(), 2);
    }
}
