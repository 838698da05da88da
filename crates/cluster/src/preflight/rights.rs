//! Whether we may do exactly what the plan does.

use std::collections::BTreeSet;

use futures_util::StreamExt;
use futures_util::stream;
use k8s_openapi::api::authorization::v1::{
    ResourceAttributes, SelfSubjectAccessReview, SelfSubjectAccessReviewSpec,
};
use k8s_openapi::api::rbac::v1::{ClusterRole, PolicyRule};
use kube::Api;
use kube::api::PostParams;
use serde_json::Value;

use crate::client::ClusterReader;
use crate::error::ClusterError;
use crate::marks::{ENVIRONMENT_ROLE, SYSTEM_NAMESPACE};
use crate::objects::{Kinds, Known};

/// How many requests are on their way at once.
const AT_ONCE: usize = 16;

/// One right.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
struct Right {
    verb: &'static str,
    group: String,
    resource: String,
    namespace: Option<String>,
    name: Option<&'static str>,
}

impl Right {
    fn new(verb: &'static str, group: &str, resource: &str, namespace: Option<&str>) -> Self {
        Self {
            verb,
            group: group.to_owned(),
            resource: resource.to_owned(),
            namespace: namespace.map(str::to_owned),
            name: None,
        }
    }
}

impl std::fmt::Display for Right {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} {}", self.verb, self.resource)?;
        if !self.group.is_empty() {
            write!(f, ".{}", self.group)?;
        }
        if let Some(name) = self.name {
            write!(f, " {name}")?;
        }
        match &self.namespace {
            Some(namespace) => write!(f, " in namespace {namespace}"),
            None => Ok(()),
        }
    }
}

/// By what somebody becomes the owner of a namespace.
fn of_owner(namespace: &str) -> [Right; 2] {
    let rbac = "rbac.authorization.k8s.io";
    [
        Right::new("create", rbac, "rolebindings", Some(namespace)),
        Right { name: Some(ENVIRONMENT_ROLE), ..Right::new("bind", rbac, "clusterroles", None) },
    ]
}

/// What `up` does beside the chart: the namespace and its guardrails, record, lock and key.
fn of_up(namespace: &str, namespace_is_there: bool) -> Vec<Right> {
    let inside = Some(namespace);
    let system = Some(SYSTEM_NAMESPACE);
    let mut rights = Vec::new();
    if !namespace_is_there {
        rights.push(Right::new("create", "", "namespaces", None));
        rights.extend(of_owner(namespace));
        for resource in ["resourcequotas", "limitranges"] {
            rights.push(Right::new("create", "", resource, inside));
        }
        rights.push(Right::new("create", "networking.k8s.io", "networkpolicies", inside));
    }
    for verb in ["get", "create", "update", "delete"] {
        rights.push(Right::new(verb, "", "configmaps", system));
        rights.push(Right::new(verb, "coordination.k8s.io", "leases", system));
        rights.push(Right::new(verb, "", "secrets", system));
    }
    rights
}

/// What Helm does with each kind of object, and envctl to watch them.
const OF_OBJECTS: [&str; 4] = ["create", "get", "patch", "delete"];

/// What is watched until all of it is ready.
const WATCHED: [(&str, &str); 11] = [
    ("", "pods"),
    ("apps", "deployments"),
    ("apps", "replicasets"),
    ("apps", "statefulsets"),
    ("apps", "daemonsets"),
    ("batch", "jobs"),
    ("", "persistentvolumeclaims"),
    ("", "services"),
    ("networking.k8s.io", "ingresses"),
    ("discovery.k8s.io", "endpointslices"),
    ("", "events"),
];

/// The rights that are missing for bringing `objects` up, in words.
///
/// # Errors
/// When the cluster does not answer, or has not been prepared.
pub async fn missing(
    reader: &ClusterReader,
    kinds: &Kinds,
    namespace: &str,
    namespace_is_there: bool,
    objects: &[Value],
) -> Result<Vec<String>, ClusterError> {
    let mut general: BTreeSet<Right> = of_up(namespace, namespace_is_there).into_iter().collect();
    let mut inside = BTreeSet::new();
    for object in objects {
        match (kinds.known(object), kinds.resource(object)) {
            (Known::ClusterWide { group, plural }, _) => {
                general.extend(OF_OBJECTS.map(|verb| Right::new(verb, &group, &plural, None)));
            }
            (Known::Namespaced, Some((group, plural))) => {
                inside.extend(OF_OBJECTS.map(|verb| Right::new(verb, &group, &plural, Some(namespace))));
            }
            _ => {}
        }
    }
    for (group, resource) in WATCHED {
        inside.extend(["list", "watch"].map(|verb| Right::new(verb, group, resource, Some(namespace))));
    }
    // The pods' logs are read, and Helm keeps its releases.
    inside.extend(["get"].map(|verb| Right::new(verb, "", "pods", Some(namespace))));
    inside.extend(
        ["get", "list", "create", "update", "delete"]
            .map(|verb| Right::new(verb, "", "secrets", Some(namespace))),
    );
    let missing = denied(reader, general.into_iter().chain(inside.iter().cloned())).await?;
    let (inside, general): (Vec<_>, Vec<_>) = missing.into_iter().partition(|right| inside.contains(right));
    // Before the namespace is there, its owner's rights are those that the role will give; and also if an earlier run died
    // before it had bound the role: this one does.
    let inside = if inside.is_empty()
        || (namespace_is_there && !denied(reader, of_owner(namespace).into_iter()).await?.is_empty())
    {
        inside
    } else {
        let rules = rules(reader).await?;
        inside.into_iter().filter(|right| !rules.as_ref().is_some_and(|rules| covers(rules, right))).collect()
    };
    Ok(general.iter().chain(&inside).map(ToString::to_string).collect())
}

async fn denied(
    reader: &ClusterReader,
    rights: impl Iterator<Item = Right>,
) -> Result<Vec<Right>, ClusterError> {
    let asked = stream::iter(rights.map(|right| async move {
        let api: Api<SelfSubjectAccessReview> = Api::all(reader.client());
        let review = SelfSubjectAccessReview {
            spec: SelfSubjectAccessReviewSpec {
                resource_attributes: Some(ResourceAttributes {
                    group: Some(right.group.clone()),
                    resource: Some(right.resource.clone()),
                    verb: Some(right.verb.to_owned()),
                    namespace: right.namespace.clone(),
                    name: right.name.map(str::to_owned),
                    ..ResourceAttributes::default()
                }),
                ..SelfSubjectAccessReviewSpec::default()
            },
            ..SelfSubjectAccessReview::default()
        };
        let answer = api.create(&PostParams::default(), &review).await;
        let answer = answer.map_err(reader.failed("to say what we may do"))?;
        Ok((!answer.status.is_some_and(|status| status.allowed)).then_some(right))
    }));
    let answers: Vec<Result<Option<Right>, ClusterError>> = asked.buffered(AT_ONCE).collect().await;
    let mut denied = Vec::new();
    for answer in answers {
        denied.extend(answer?);
    }
    Ok(denied)
}

/// The rules of the role that an owner gets; `None` where we may not see it.
async fn rules(reader: &ClusterReader) -> Result<Option<Vec<PolicyRule>>, ClusterError> {
    let api: Api<ClusterRole> = Api::all(reader.client());
    match api.get(ENVIRONMENT_ROLE).await.map_err(reader.failed("to show a role")) {
        Ok(role) => Ok(Some(role.rules.unwrap_or_default())),
        Err(error) if error.is_forbidden() => Ok(None),
        Err(error) => Err(crate::records::prepared(error)),
    }
}

/// Whether rules give a right. <https://kubernetes.io/docs/reference/access-authn-authz/rbac/#referring-to-resources>
fn covers(rules: &[PolicyRule], right: &Right) -> bool {
    let has = |list: &Option<Vec<String>>, wanted: &str| {
        list.iter().flatten().any(|entry| entry == "*" || entry == wanted)
    };
    rules.iter().any(|rule| {
        rule.resource_names.as_ref().is_none_or(Vec::is_empty)
            && rule.verbs.iter().any(|verb| verb == "*" || verb == right.verb)
            && has(&rule.api_groups, &right.group)
            && has(&rule.resources, &right.resource)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rule_gives_what_it_names_and_nothing_else() {
        let rule = |groups: &[&str], resources: &[&str], verbs: &[&str]| PolicyRule {
            api_groups: Some(groups.iter().map(|s| (*s).to_owned()).collect()),
            resources: Some(resources.iter().map(|s| (*s).to_owned()).collect()),
            verbs: verbs.iter().map(|s| (*s).to_owned()).collect(),
            ..PolicyRule::default()
        };
        let rules = [rule(&["apps"], &["deployments"], &["create", "get"]), rule(&["batch"], &["*"], &["*"])];
        let right = |verb, group: &str, resource: &str| Right::new(verb, group, resource, Some("ns"));
        assert!(covers(&rules, &right("create", "apps", "deployments")));
        assert!(!covers(&rules, &right("delete", "apps", "deployments")));
        assert!(!covers(&rules, &right("create", "", "deployments")));
        assert!(covers(&rules, &right("delete", "batch", "cronjobs")));
        assert_eq!(
            right("create", "monitoring.coreos.com", "servicemonitors").to_string(),
            "create servicemonitors.monitoring.coreos.com in namespace ns"
        );
    }
}
