//! The guarded namespace of an environment: made, found again, and removed with proof.

use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::NamespaceResourceScope;
use k8s_openapi::api::authorization::v1::{
    ResourceAttributes, SelfSubjectAccessReview, SelfSubjectAccessReviewSpec,
};
use k8s_openapi::api::core::v1::Namespace;
use k8s_openapi::api::networking::v1::NetworkPolicy;
use k8s_openapi::api::rbac::v1::{RoleBinding, RoleRef, Subject};
use kube::api::{ObjectMeta, Patch, PatchParams, PostParams};
use kube::{Api, Resource};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::json;

use crate::client::ClusterReader;
use crate::error::ClusterError;
use crate::guard::VerifiedCluster;
use crate::guardrails::{Guards, NAME};
use crate::marks::{self, EXPIRES, IDENTITY, OWNER};

/// RBAC is eventually consistent: rights that were just given arrive within this time.
const RIGHTS: Duration = Duration::from_secs(10);

/// A namespace as it was found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Found {
    /// There is none of this name.
    Missing,
    /// It is the environment's.
    Ours {
        /// Its UID: what is removed must still have it.
        uid: String,
        /// It is being removed.
        terminating: bool,
    },
    /// It is somebody else's, or nobody's of ours.
    NotOurs {
        /// To whom it belongs, in words.
        whose: String,
    },
}

/// Looks a namespace up.
///
/// # Errors
/// When the cluster does not answer.
pub async fn find(reader: &ClusterReader, name: &str, identity: &str) -> Result<Found, ClusterError> {
    let api: Api<Namespace> = Api::all(reader.client());
    let found = api.get_opt(name).await.map_err(reader.failed("to show a namespace"))?;
    Ok(found.map_or(Found::Missing, |namespace| judge(&namespace, identity)))
}

fn judge(namespace: &Namespace, identity: &str) -> Found {
    let meta = &namespace.metadata;
    let annotation = |key: &str| meta.annotations.as_ref().and_then(|a| a.get(key)).map(String::as_str);
    if annotation(IDENTITY) == Some(identity) {
        return Found::Ours {
            uid: meta.uid.clone().unwrap_or_default(),
            terminating: meta.deletion_timestamp.is_some(),
        };
    }
    let whose = match annotation(OWNER) {
        Some(owner) => format!("it is an environment of {owner}"),
        None => "envctl did not make it".to_owned(),
    };
    Found::NotOurs { whose }
}

/// What came of making the namespace.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ensured {
    /// Its UID.
    pub uid: String,
    /// Whether it was made by this call.
    pub created: bool,
    /// Guardrails that are not as the stack file wants them now, and that the platform does not let us
    /// change.
    pub stale: Vec<String>,
}

/// Makes the namespace with all its guardrails, or completes one that an earlier run began.
///
/// # Errors
/// [`ClusterError::Refused`] for a namespace of somebody else or one that is being removed; when the
/// cluster refuses or does not answer.
pub async fn ensure(
    cluster: &VerifiedCluster,
    guards: &Guards,
    identity: &str,
) -> Result<Ensured, ClusterError> {
    let api: Api<Namespace> = Api::all(cluster.client());
    let name = guards.namespace.metadata.name.clone().unwrap_or_default();
    let created =
        match api.create(&params(), &guards.namespace).await.map_err(cluster.failed("to make a namespace")) {
            Ok(_) => true,
            Err(error) if error.is_conflict() => false,
            Err(error) => return Err(error),
        };
    let uid = match find(cluster.reader(), &name, identity).await? {
        Found::Ours { uid, terminating: false } => uid,
        Found::Ours { terminating: true, .. } => {
            return Err(ClusterError::Refused {
                message: format!("namespace `{name}` is still being removed"),
                hint: "type `envctl down` to see what holds it, then `envctl up` again".to_owned(),
            });
        }
        Found::NotOurs { whose } => {
            return Err(ClusterError::Refused {
                message: format!("namespace `{name}` exists already: {whose}"),
                hint: "choose another name with --name".to_owned(),
            });
        }
        Found::Missing => {
            return Err(ClusterError::Refused {
                message: format!("namespace `{name}` was removed while it was being made"),
                hint: "somebody works against you; type the same command again".to_owned(),
            });
        }
    };
    let mut stale = if created { Vec::new() } else { stale_security(cluster, &guards.namespace).await? };
    // The binding first: the platform lets only an owner make the others, and it is what makes one.
    stale.extend(ensure_one(cluster, &name, &guards.binding).await?);
    let policy = async {
        match &guards.policy {
            Some(policy) => ensure_one(cluster, &name, policy).await,
            // Nobody asked for it any more, and it may not be removed: it says who made it.
            None => {
                let api: Api<NetworkPolicy> = Api::namespaced(cluster.client(), &name);
                let found = api.get_metadata_opt(NAME).await;
                let found = found.map_err(cluster.failed("to show a guardrail"))?;
                Ok(found.map(|_| format!("NetworkPolicy {NAME}")))
            }
        }
    };
    let (quota, limits, policy) = tokio::join!(
        ensure_one(cluster, &name, &guards.quota),
        ensure_one(cluster, &name, &guards.limits),
        policy,
    );
    stale.extend([quota?, limits?, policy?].into_iter().flatten());
    await_rights(cluster.reader(), &name).await?;
    Ok(Ensured { uid, created, stale })
}

/// Labels of Pod Security that are not as they should be: nobody but the platform may change them.
async fn stale_security(cluster: &VerifiedCluster, wanted: &Namespace) -> Result<Vec<String>, ClusterError> {
    let api: Api<Namespace> = Api::all(cluster.client());
    let name = wanted.metadata.name.as_deref().unwrap_or_default();
    let found = api.get_metadata_opt(name).await.map_err(cluster.failed("to show a namespace"))?;
    let found = found.and_then(|found| found.metadata.labels).unwrap_or_default();
    let wanted = wanted.metadata.labels.iter().flatten();
    let differs = wanted.filter(|(key, value)| {
        key.starts_with("pod-security.kubernetes.io/") && found.get(*key) != Some(value)
    });
    Ok(differs.map(|(key, _)| format!("the label {key}")).collect())
}

fn params() -> PostParams {
    PostParams { field_manager: Some(marks::FIELD_MANAGER.to_owned()), ..PostParams::default() }
}

/// Makes one guardrail, or brings it up to date. `Some`: it differs, and may not be changed.
async fn ensure_one<K>(
    cluster: &VerifiedCluster,
    namespace: &str,
    wanted: &K,
) -> Result<Option<String>, ClusterError>
where
    K: Resource<Scope = NamespaceResourceScope, DynamicType = ()>
        + Clone
        + std::fmt::Debug
        + Serialize
        + DeserializeOwned,
{
    let api: Api<K> = Api::namespaced(cluster.client(), namespace);
    let name = wanted.meta().name.clone().unwrap_or_default();
    let what = format!("{} {name}", K::kind(&()));
    match api.create(&params(), wanted).await.map_err(cluster.failed(&format!("to make {what}"))) {
        Ok(_) => return Ok(None),
        Err(error) if !error.is_conflict() => return Err(error),
        Err(_) => {}
    }
    let found = api.get(&name).await.map_err(cluster.failed(&format!("to show {what}")))?;
    if covers(&as_json(&found), &as_json(wanted)) {
        return Ok(None);
    }
    let patch = PatchParams::apply(marks::FIELD_MANAGER).force();
    match api
        .patch(&name, &patch, &Patch::Apply(wanted))
        .await
        .map_err(cluster.failed(&format!("to change {what}")))
    {
        Ok(_) => Ok(None),
        Err(error) if error.is_forbidden() || matches!(error, ClusterError::Api { status: 422, .. }) => {
            Ok(Some(what))
        }
        Err(error) => Err(error),
    }
}

fn as_json(object: &impl Serialize) -> serde_json::Value {
    // What serialises to JSON for the API server does so here.
    serde_json::to_value(object).unwrap_or_default()
}

/// Whether `found` has all that `wanted` says: the API server adds defaults and its own fields.
fn covers(found: &serde_json::Value, wanted: &serde_json::Value) -> bool {
    match (found, wanted) {
        (serde_json::Value::Object(found), serde_json::Value::Object(wanted)) => {
            wanted.iter().all(|(key, value)| found.get(key).is_some_and(|found| covers(found, value)))
        }
        (serde_json::Value::Array(found), serde_json::Value::Array(wanted)) => {
            found.len() == wanted.len()
                && found.iter().zip(wanted).all(|(found, wanted)| covers(found, wanted))
        }
        (found, wanted) => found == wanted,
    }
}

/// Waits until the rights that the binding gives have arrived, or are known again.
///
/// # Errors
/// When they do not come, and when the cluster does not answer.
pub async fn await_rights(reader: &ClusterReader, namespace: &str) -> Result<(), ClusterError> {
    let reviews: Api<SelfSubjectAccessReview> = Api::all(reader.client());
    let review = SelfSubjectAccessReview {
        spec: SelfSubjectAccessReviewSpec {
            resource_attributes: Some(ResourceAttributes {
                namespace: Some(namespace.to_owned()),
                verb: Some("create".to_owned()),
                resource: Some("secrets".to_owned()),
                ..ResourceAttributes::default()
            }),
            ..SelfSubjectAccessReviewSpec::default()
        },
        ..SelfSubjectAccessReview::default()
    };
    let arrived = async {
        let mut pause = Duration::from_millis(20);
        loop {
            let answer = reviews.create(&PostParams::default(), &review).await;
            let answer = answer.map_err(reader.failed("to say what we may do"))?;
            if answer.status.is_some_and(|status| status.allowed) {
                return Ok(());
            }
            // Nothing announces that rights have arrived.
            tokio::time::sleep(pause).await;
            pause = (pause * 2).min(Duration::from_secs(1));
        }
    };
    tokio::time::timeout(RIGHTS, arrived).await.unwrap_or_else(|_| {
        Err(ClusterError::Refused {
            message: format!("we may not create Secrets in the namespace `{namespace}`, although it is ours"),
            hint: format!(
                "does the ClusterRole `{}` of `envctl init --platform` still give that right?",
                marks::ENVIRONMENT_ROLE
            ),
        })
    })
}

/// Takes the rights of an owner in an environment of somebody else: what the garbage collector may do, and
/// developers may not.
///
/// # Errors
/// When the cluster refuses or does not answer.
pub async fn enter(cluster: &VerifiedCluster, name: &str) -> Result<(), ClusterError> {
    let api: Api<RoleBinding> = Api::namespaced(cluster.client(), name);
    let binding = RoleBinding {
        metadata: ObjectMeta { name: Some(COLLECTOR.to_owned()), ..ObjectMeta::default() },
        role_ref: RoleRef {
            api_group: "rbac.authorization.k8s.io".to_owned(),
            kind: "ClusterRole".to_owned(),
            name: marks::ENVIRONMENT_ROLE.to_owned(),
        },
        subjects: Some(vec![Subject {
            api_group: Some("rbac.authorization.k8s.io".to_owned()),
            kind: "User".to_owned(),
            name: cluster.facts().username.clone(),
            namespace: None,
        }]),
    };
    let params = PostParams { field_manager: Some(marks::FIELD_MANAGER.to_owned()), ..PostParams::default() };
    match api.create(&params, &binding).await.map_err(cluster.failed("to enter an environment")) {
        Err(error) if !error.is_conflict() => return Err(error),
        _ => {}
    }
    await_rights(cluster.reader(), name).await
}

/// The binding by which the garbage collector enters.
const COLLECTOR: &str = "envctl-gc";

/// When an environment's namespace says that it may be removed. Its owner cannot write more into it than the
/// platform's policies allow, as into the record. `None`: it says nothing, or there is none.
///
/// # Errors
/// When the cluster does not answer.
pub async fn expires(reader: &ClusterReader, name: &str) -> Result<Option<Timestamp>, ClusterError> {
    let api: Api<Namespace> = Api::all(reader.client());
    let found = api.get_metadata_opt(name).await.map_err(reader.failed("to show a namespace"))?;
    Ok(found.and_then(|found| marks::expires(&found.metadata)))
}

/// Writes a new expiry onto the namespace; `None` is never.
///
/// # Errors
/// When the cluster refuses or does not answer.
pub async fn extend(
    cluster: &VerifiedCluster,
    name: &str,
    expires: Option<Timestamp>,
) -> Result<(), ClusterError> {
    let api: Api<Namespace> = Api::all(cluster.client());
    let patch = json!({"metadata": {"annotations": {EXPIRES: marks::expiry(expires)}}});
    let params =
        PatchParams { field_manager: Some(marks::FIELD_MANAGER.to_owned()), ..PatchParams::default() };
    api.patch(name, &params, &Patch::Merge(patch))
        .await
        .map_err(cluster.failed("to extend an environment"))?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::covers;
    use serde_json::json;

    #[test]
    fn what_the_api_server_adds_is_no_difference() {
        let wanted = json!({"spec": {"hard": {"cpu": "8"}}});
        assert!(covers(&json!({"spec": {"hard": {"cpu": "8"}, "scopes": []}, "status": {}}), &wanted));
        assert!(!covers(&json!({"spec": {"hard": {"cpu": "80"}}}), &wanted));
        assert!(!covers(&json!({"spec": {}}), &wanted));
        assert!(!covers(&json!([1, 2]), &json!([1])));
    }
}
