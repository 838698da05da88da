//! Records of environments, kept in the cluster: ConfigMaps in [`SYSTEM_NAMESPACE`], named like the
//! environment. Another machine needs nothing else to see and remove an environment.

use envctl_model::record::{Record, RecordError};
use k8s_openapi::api::core::v1::ConfigMap;
use kube::Api;
use kube::api::{DeleteParams, ListParams, ObjectMeta, PostParams, Preconditions};

use crate::client::ClusterReader;
use crate::error::ClusterError;
use crate::guard::VerifiedCluster;
use crate::marks::{self, IDENTITY, OWNER, SYSTEM_NAMESPACE};

const KEY: &str = "record.json";

/// A record as the cluster keeps it.
#[derive(Debug)]
pub struct Stored {
    /// The environment's name.
    pub name: String,
    /// The user of the cluster whose environment it is.
    pub owner: String,
    /// The record, or why it cannot be read.
    pub record: Result<Record, RecordError>,
    identity: String,
    version: Option<String>,
    uid: Option<String>,
}

fn api(client: kube::Client) -> Api<ConfigMap> {
    Api::namespaced(client, SYSTEM_NAMESPACE)
}

/// The record of an environment.
///
/// # Errors
/// When the cluster does not answer or has not been prepared.
pub async fn read(reader: &ClusterReader, name: &str) -> Result<Option<Stored>, ClusterError> {
    let found = api(reader.client()).get_opt(name).await.map_err(reader.failed("to show a record"))?;
    Ok(found.and_then(stored))
}

/// All records, by name.
///
/// # Errors
/// When the cluster does not answer or has not been prepared.
pub async fn all(reader: &ClusterReader) -> Result<Vec<Stored>, ClusterError> {
    let ours = ListParams::default().labels(&marks::selector());
    let list = api(reader.client()).list(&ours).await.map_err(reader.failed("to list records"))?;
    Ok(list.items.into_iter().filter_map(stored).collect())
}

fn stored(map: ConfigMap) -> Option<Stored> {
    let text = map.data?.remove(KEY)?;
    let mut annotations = map.metadata.annotations.unwrap_or_default();
    Some(Stored {
        name: map.metadata.name?,
        owner: annotations.remove(OWNER).unwrap_or_default(),
        record: Record::parse(&text),
        identity: annotations.remove(IDENTITY).unwrap_or_default(),
        version: map.metadata.resource_version,
        uid: map.metadata.uid,
    })
}

/// Writes a record. One of another environment under this name is not replaced.
///
/// # Errors
/// [`ClusterError::Refused`] for another environment's; when the cluster refuses or does not answer.
pub async fn save(cluster: &VerifiedCluster, record: &Record) -> Result<(), ClusterError> {
    let name = record.name.as_str();
    let text = serde_json::to_string(record).map_err(|e| ClusterError::Unreadable {
        doing: "writing the record".to_owned(),
        message: e.to_string(),
    })?;
    loop {
        let former = read(cluster.reader(), name).await?;
        if let Some(former) = &former
            && former.identity != record.identity
        {
            return Err(ClusterError::Refused {
                message: format!("environment `{name}` exists already and belongs to {}", former.owner),
                hint: "choose another name with --name".to_owned(),
            });
        }
        let map = ConfigMap {
            metadata: ObjectMeta {
                name: Some(name.to_owned()),
                labels: Some(marks::labels(record)),
                annotations: Some(marks::annotations(record)),
                resource_version: former.as_ref().and_then(|former| former.version.clone()),
                ..ObjectMeta::default()
            },
            data: Some([(KEY.to_owned(), text.clone())].into()),
            ..ConfigMap::default()
        };
        let api = api(cluster.client());
        let params =
            PostParams { field_manager: Some(marks::FIELD_MANAGER.to_owned()), ..PostParams::default() };
        let written = match former {
            None => api.create(&params, &map).await,
            Some(_) => api.replace(name, &params, &map).await,
        };
        match written.map_err(cluster.failed("to write a record")) {
            // Somebody else wrote in between: look again whose it is.
            Err(error) if error.is_conflict() => {}
            Err(error) => return Err(prepared(error)),
            Ok(_) => return Ok(()),
        }
    }
}

/// Removes the record of an environment that is gone. One of another environment stays.
///
/// # Errors
/// When the cluster refuses or does not answer.
pub async fn remove(cluster: &VerifiedCluster, name: &str, identity: &str) -> Result<(), ClusterError> {
    let Some(former) = read(cluster.reader(), name).await? else { return Ok(()) };
    if former.identity != identity {
        return Ok(());
    }
    let preconditions = Some(Preconditions { uid: former.uid, resource_version: None });
    let params = DeleteParams { preconditions, ..DeleteParams::default() };
    match api(cluster.client()).delete(name, &params).await.map_err(cluster.failed("to remove a record")) {
        Err(error) if !error.is_not_found() && !error.is_conflict() => Err(error),
        _ => Ok(()),
    }
}

/// Says what is missing where the whole namespace is.
pub(crate) fn prepared(error: ClusterError) -> ClusterError {
    match error {
        ClusterError::Api { status: 404, .. } => ClusterError::Refused {
            message: format!(
                "this cluster is not prepared for envctl: it has no namespace `{SYSTEM_NAMESPACE}`"
            ),
            hint: "the platform engineer applies once what `envctl init --platform` writes".to_owned(),
        },
        other => other,
    }
}
