//! What is not as it was delivered: somebody changed it by hand, or removed it.

use futures_util::StreamExt as _;
use futures_util::stream;
use kube::Api;
use kube::api::{DynamicObject, Patch, PatchParams};
use serde_json::{Value, json};

use crate::error::ClusterError;
use crate::guard::VerifiedCluster;
use crate::objects::{AT_ONCE, Kinds};

/// An object that is not as it was delivered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Drift {
    /// `Deployment/api`.
    pub object: String,
    /// How it differs; nothing: it is gone.
    pub differences: Vec<Difference>,
}

/// A field that differs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Difference {
    /// Where: `spec.replicas`.
    pub path: String,
    /// Its value in the cluster; nothing: it has none. Hidden for a Secret.
    pub live: Option<String>,
    /// Its value as it was delivered.
    pub delivered: Option<String>,
}

/// Has the API server say, without keeping anything, what delivering the `objects` of an environment's
/// release again would change.
///
/// # Errors
/// When the cluster refuses or does not answer.
pub async fn find(
    cluster: &VerifiedCluster,
    kinds: &Kinds,
    namespace: &str,
    objects: &[Value],
) -> Result<Vec<Drift>, ClusterError> {
    let found = stream::iter(objects.iter().map(|object| of_one(cluster, kinds, namespace, object)))
        .buffered(AT_ONCE)
        .collect::<Vec<_>>()
        .await;
    let found: Result<Vec<_>, _> = found.into_iter().collect();
    Ok(found?.into_iter().flatten().collect())
}

async fn of_one(
    cluster: &VerifiedCluster,
    kinds: &Kinds,
    namespace: &str,
    object: &Value,
) -> Result<Option<Drift>, ClusterError> {
    let (Some(api), Some(name)) =
        (kinds.api(cluster.reader(), object, namespace), object["metadata"]["name"].as_str())
    else {
        return Ok(None);
    };
    let kind = object["kind"].as_str().unwrap_or_default();
    let label = format!("{kind}/{name}");
    let doing = format!("to compare {label}");
    let api: Api<DynamicObject> = api;
    let Some(live) = api.get_opt(name).await.map_err(cluster.failed(&doing))? else {
        return Ok(Some(Drift { object: label, differences: Vec::new() }));
    };
    let params = PatchParams { dry_run: true, ..PatchParams::apply("helm").force() };
    let again = api.patch(name, &params, &Patch::Apply(adopted(object, namespace))).await;
    let again = match again.map_err(cluster.failed(&doing)) {
        Ok(again) => again,
        // What can no longer be delivered as it was is preflight's to explain.
        Err(ClusterError::Api { status: 400..500, .. }) => return Ok(None),
        Err(error) => return Err(error),
    };
    let mut differences = differences(&content(&live), &content(&again));
    if kind == "Secret" {
        for difference in &mut differences {
            difference.live = difference.live.take().map(|_| "(hidden)".to_owned());
            difference.delivered = difference.delivered.take().map(|_| "(hidden)".to_owned());
        }
    }
    Ok((!differences.is_empty()).then_some(Drift { object: label, differences }))
}

/// An object with the marks that Helm puts on what it delivers; release and namespace have the
/// environment's name.
fn adopted(object: &Value, environment: &str) -> Value {
    let mut object = object.clone();
    for (field, mark, value) in [
        ("annotations", "meta.helm.sh/release-name", environment),
        ("annotations", "meta.helm.sh/release-namespace", environment),
        ("labels", "app.kubernetes.io/managed-by", "Helm"),
    ] {
        if object["metadata"][field].is_null() {
            object["metadata"][field] = json!({});
        }
        object["metadata"][field][mark] = value.into();
    }
    object
}

/// An object without what the API server keeps account of by itself.
fn content(object: &DynamicObject) -> Value {
    let mut value = serde_json::to_value(object).unwrap_or_default();
    if let Some(fields) = value.as_object_mut() {
        fields.remove("status");
    }
    if let Some(meta) = value["metadata"].as_object_mut() {
        for kept in ["managedFields", "resourceVersion", "generation", "uid", "creationTimestamp"] {
            meta.remove(kept);
        }
    }
    value
}

/// The fields in which two objects differ, by path.
fn differences(live: &Value, delivered: &Value) -> Vec<Difference> {
    let mut found = Vec::new();
    compare("", live, delivered, &mut found);
    found.sort_by(|a, b| a.path.cmp(&b.path));
    found
}

fn compare(path: &str, live: &Value, delivered: &Value, into: &mut Vec<Difference>) {
    let below = |key: &str| if path.is_empty() { key.to_owned() } else { format!("{path}.{key}") };
    match (live, delivered) {
        (Value::Object(live), Value::Object(delivered)) => {
            let added = delivered.keys().filter(|key| !live.contains_key(*key));
            for key in live.keys().chain(added) {
                let none = &Value::Null;
                compare(&below(key), live.get(key).unwrap_or(none), delivered.get(key).unwrap_or(none), into);
            }
        }
        (Value::Array(live), Value::Array(delivered)) if live.len() == delivered.len() => {
            for (n, (live, delivered)) in live.iter().zip(delivered).enumerate() {
                // Lists of Kubernetes are mostly of things that have names.
                let place = live["name"].as_str().map_or_else(|| n.to_string(), str::to_owned);
                compare(&format!("{path}[{place}]"), live, delivered, into);
            }
        }
        (live, delivered) if live == delivered => {}
        (live, delivered) => {
            let shown = |value: &Value| match value {
                Value::Null => None,
                Value::String(text) => Some(text.clone()),
                other => Some(other.to_string()),
            };
            into.push(Difference { path: path.to_owned(), live: shown(live), delivered: shown(delivered) });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_that_differ_are_named() {
        let live =
            json!({"spec": {"replicas": 5, "containers": [{"name": "api", "image": "a:2"}], "extra": "x"}});
        let delivered =
            json!({"spec": {"replicas": 2, "containers": [{"name": "api", "image": "a:1"}], "more": true}});
        let found = differences(&live, &delivered);
        let found: Vec<_> =
            found.iter().map(|d| (d.path.as_str(), d.live.as_deref(), d.delivered.as_deref())).collect();
        assert_eq!(
            found,
            [
                ("spec.containers[api].image", Some("a:2"), Some("a:1")),
                ("spec.extra", Some("x"), None),
                ("spec.more", None, Some("true")),
                ("spec.replicas", Some("5"), Some("2")),
            ]
        );
    }
}
