//! What surrounds an environment in a shared cluster, as objects. Pure.
//!
//! A tenant makes these with its own rights, so they protect nobody by themselves: the policies of
//! `envctl init --platform` see to it that they are there and stay as they are.

use std::collections::BTreeMap;

use envctl_model::record::Record;
use envctl_model::stack::Guardrails;
use k8s_openapi::api::core::v1::{
    LimitRange, LimitRangeItem, LimitRangeSpec, Namespace, ResourceQuota, ResourceQuotaSpec,
};
use k8s_openapi::api::networking::v1::{
    IPBlock, NetworkPolicy, NetworkPolicyIngressRule, NetworkPolicyPeer, NetworkPolicySpec,
};
use k8s_openapi::api::rbac::v1::{RoleBinding, RoleRef, Subject};
use k8s_openapi::apimachinery::pkg::api::resource::Quantity;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector;
use kube::api::ObjectMeta;

use crate::marks::{self, ENVIRONMENT_ROLE};

/// The name of each guardrail in its namespace; the policies look for it.
pub const NAME: &str = "envctl";
/// The label of the Pod Security standard that is enforced.
/// <https://kubernetes.io/docs/concepts/security/pod-security-admission/>
pub const POD_SECURITY: &str = "pod-security.kubernetes.io/enforce";
/// The level where the stack file names none.
pub const DEFAULT_LEVEL: &str = "baseline";
/// How much an environment may use where the stack file says nothing.
const DEFAULT_QUOTA: [(&str, &str); 3] = [("cpu", "8"), ("memory", "16Gi"), ("pods", "60")];
/// What a container without requests is taken to need: under a quota, one without is refused.
const DEFAULT_REQUESTS: [(&str, &str); 2] = [("cpu", "50m"), ("memory", "128Mi")];

/// What a container without requests is taken to ask for: CPU and memory.
#[must_use]
pub fn default_requests() -> [&'static str; 2] {
    DEFAULT_REQUESTS.map(|(_, quantity)| quantity)
}

/// All guardrails of one environment.
#[derive(Debug, Clone, PartialEq)]
pub struct Guards {
    /// The namespace.
    pub namespace: Namespace,
    /// Its owner's rights in it.
    pub binding: RoleBinding,
    /// How much it may use.
    pub quota: ResourceQuota,
    /// What containers without requests ask for.
    pub limits: LimitRange,
    /// Who may connect.
    pub policy: Option<NetworkPolicy>,
}

impl Guards {
    /// The guardrails of an environment, whose record names the owner as the cluster knows them.
    #[must_use]
    pub fn of(record: &Record, guardrails: Option<&Guardrails>) -> Self {
        let none = Guardrails::default();
        let guardrails = guardrails.unwrap_or(&none);
        let meta = |name: &str| ObjectMeta {
            name: Some(name.to_owned()),
            namespace: Some(record.name.to_string()),
            labels: Some(marks::labels(record)),
            ..ObjectMeta::default()
        };
        let level = guardrails.pod_security.as_deref().unwrap_or(DEFAULT_LEVEL);
        let mut labels = marks::labels(record);
        labels.insert(POD_SECURITY.to_owned(), level.to_owned());
        let namespace = Namespace {
            metadata: ObjectMeta {
                name: Some(record.name.to_string()),
                labels: Some(labels),
                annotations: Some(marks::annotations(record)),
                ..ObjectMeta::default()
            },
            ..Namespace::default()
        };
        let binding = RoleBinding {
            metadata: meta(NAME),
            role_ref: RoleRef {
                api_group: "rbac.authorization.k8s.io".to_owned(),
                kind: "ClusterRole".to_owned(),
                name: ENVIRONMENT_ROLE.to_owned(),
            },
            subjects: Some(vec![Subject {
                api_group: Some("rbac.authorization.k8s.io".to_owned()),
                kind: "User".to_owned(),
                name: record.owner.clone(),
                namespace: None,
            }]),
        };
        let mut hard = quantities(DEFAULT_QUOTA.map(|(key, value)| (key, value.to_owned())));
        hard.extend(quantities(guardrails.quota.iter().map(|(key, value)| (key.as_str(), text(value)))));
        let quota = ResourceQuota {
            metadata: meta(NAME),
            spec: Some(ResourceQuotaSpec { hard: Some(hard), ..ResourceQuotaSpec::default() }),
            ..ResourceQuota::default()
        };
        let requests = DEFAULT_REQUESTS.map(|(key, value)| (key, value.to_owned()));
        let limits = LimitRange {
            metadata: meta(NAME),
            spec: Some(LimitRangeSpec {
                limits: vec![LimitRangeItem {
                    type_: "Container".to_owned(),
                    default_request: Some(quantities(requests)),
                    ..LimitRangeItem::default()
                }],
            }),
        };
        let isolate = guardrails.isolate_ingress.unwrap_or(true);
        let policy = isolate.then(|| NetworkPolicy {
            metadata: meta(NAME),
            spec: Some(isolation(&guardrails.allow_ingress_from)),
        });
        Self { namespace, binding, quota, limits, policy }
    }
}

/// Connections come from the namespace itself and from the allowed networks, and from nowhere else.
fn isolation(allowed: &[String]) -> NetworkPolicySpec {
    let own =
        NetworkPolicyPeer { pod_selector: Some(LabelSelector::default()), ..NetworkPolicyPeer::default() };
    let networks = allowed.iter().map(|cidr| NetworkPolicyPeer {
        ip_block: Some(IPBlock { cidr: cidr.clone(), except: None }),
        ..NetworkPolicyPeer::default()
    });
    NetworkPolicySpec {
        pod_selector: Some(LabelSelector::default()),
        policy_types: Some(vec!["Ingress".to_owned()]),
        ingress: Some(vec![NetworkPolicyIngressRule {
            from: Some(std::iter::once(own).chain(networks).collect()),
            ports: None,
        }]),
        egress: None,
    }
}

fn quantities<'a>(pairs: impl IntoIterator<Item = (&'a str, String)>) -> BTreeMap<String, Quantity> {
    pairs.into_iter().map(|(key, value)| (key.to_owned(), Quantity(value))).collect()
}

/// `8` and `"8"` are the same quantity.
fn text(value: &serde_json::Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
}
