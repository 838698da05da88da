//! Classes that objects name: without them nobody acts on the objects.

use k8s_openapi::api::networking::v1::IngressClass;
use k8s_openapi::api::storage::v1::StorageClass;
use kube::Api;
use kube::Resource;
use kube::api::ListParams;
use serde::de::DeserializeOwned;
use serde_json::Value;

use crate::client::ClusterReader;
use crate::error::ClusterError;

/// The annotation of a class that is taken where none is named.
const DEFAULT_INGRESS: &str = "ingressclass.kubernetes.io/is-default-class";

/// What is wrong with the classes that objects name.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Classes {
    /// Objects whose class does not exist: they would never work.
    pub missing: Vec<String>,
    /// Objects on which perhaps nobody acts.
    pub doubtful: Vec<String>,
}

/// Compares the classes that objects name with those of the cluster. What we may not list is not judged.
///
/// # Errors
/// When the cluster does not answer.
pub async fn compare(reader: &ClusterReader, objects: &[Value]) -> Result<Classes, ClusterError> {
    let (ingress, storage) = tokio::join!(list::<IngressClass>(reader), list::<StorageClass>(reader));
    let (ingress, storage) = (ingress?, storage?);
    let mut found = Classes::default();
    for object in objects {
        let name = object["metadata"]["name"].as_str().unwrap_or_default();
        let template = |template: &Value| template["spec"]["storageClassName"].as_str().map(str::to_owned);
        match object["kind"].as_str() {
            Some("Ingress") => {
                let Some(classes) = &ingress else { continue };
                let old = &object["metadata"]["annotations"]["kubernetes.io/ingress.class"];
                match (object["spec"]["ingressClassName"].as_str(), old.as_str()) {
                    (Some(class), _) if !classes.iter().any(|c| c.name == class) => {
                        found.missing.push(format!(
                            "Ingress/{name} is of class `{class}`, and the cluster has {}",
                            names(classes, "no ingress class")
                        ));
                    }
                    (None, None) if !classes.iter().any(|c| c.is_default) => {
                        found.doubtful.push(format!(
                            "Ingress/{name} names no class, and none of the cluster's is the default ({}): perhaps nobody serves it",
                            names(classes, "it has none")
                        ));
                    }
                    _ => {}
                }
            }
            Some("PersistentVolumeClaim") => {
                found.missing.extend(storage_missing(
                    "PersistentVolumeClaim",
                    name,
                    template(object),
                    storage.as_deref(),
                ));
            }
            Some("StatefulSet") => {
                let claims = object["spec"]["volumeClaimTemplates"].as_array().into_iter().flatten();
                for claim in claims {
                    found.missing.extend(storage_missing(
                        "StatefulSet",
                        name,
                        template(claim),
                        storage.as_deref(),
                    ));
                }
            }
            _ => {}
        }
    }
    Ok(found)
}

#[derive(Debug)]
struct Class {
    name: String,
    is_default: bool,
}

fn names(classes: &[Class], none: &str) -> String {
    let names: Vec<_> = classes.iter().map(|class| class.name.as_str()).collect();
    if names.is_empty() { none.to_owned() } else { names.join(", ") }
}

fn storage_missing(
    kind: &str,
    name: &str,
    class: Option<String>,
    classes: Option<&[Class]>,
) -> Option<String> {
    let (class, classes) = (class.filter(|class| !class.is_empty())?, classes?);
    (!classes.iter().any(|c| c.name == class)).then(|| {
        format!(
            "{kind}/{name} wants storage of class `{class}`, and the cluster has {}",
            names(classes, "no storage class")
        )
    })
}

async fn list<K>(reader: &ClusterReader) -> Result<Option<Vec<Class>>, ClusterError>
where
    K: Resource<Scope = k8s_openapi::ClusterResourceScope, DynamicType = ()>
        + Clone
        + std::fmt::Debug
        + DeserializeOwned,
{
    let api: Api<K> = Api::all(reader.client());
    let doing = format!("to list its {}", K::plural(&()));
    match api.list_metadata(&ListParams::default()).await.map_err(reader.failed(&doing)) {
        Err(error) if error.is_forbidden() => Ok(None),
        Err(error) => Err(error),
        Ok(list) => Ok(Some(
            list.items
                .into_iter()
                .filter_map(|meta| {
                    let annotations = meta.metadata.annotations.unwrap_or_default();
                    let is_default = annotations.get(DEFAULT_INGRESS).is_some_and(|v| v == "true");
                    Some(Class { name: meta.metadata.name?, is_default })
                })
                .collect(),
        )),
    }
}
