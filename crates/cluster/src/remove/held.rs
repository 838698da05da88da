//! Objects that controllers hold by finalizers. They go before their namespace does: once a namespace is
//! going, so are its owner's rights in it, and who may not look cannot say what is in the way.

use std::time::Instant;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::Resource;
use kube::api::{DeleteParams, DynamicObject};

use super::blocked::{self, is_held};
use super::{Blocked, Removed, wait_or_name};
use crate::error::ClusterError;
use crate::guard::VerifiedCluster;
use crate::objects::{Kinds, ObjectRef};
use crate::watching::until;

/// Those of some objects that carry finalizers of controllers.
#[must_use]
pub fn held(objects: &[(ObjectRef, ObjectMeta)]) -> Vec<ObjectRef> {
    objects.iter().filter(|(_, meta)| is_held(meta)).map(|(object, _)| object.clone()).collect()
}

/// Removes what [`held`] names and waits until controllers have let go. `tell` is told once, soon, what is
/// in the way; the wait goes on until `deadline`.
///
/// # Errors
/// When the cluster refuses or does not answer.
pub async fn remove_held(
    cluster: &VerifiedCluster,
    namespace: &str,
    kinds: &Kinds,
    objects: &[ObjectRef],
    deadline: Instant,
    tell: impl Fn(&[Blocked]),
) -> Result<Removed, ClusterError> {
    let reader = cluster.reader();
    for object in objects {
        let Some(api) = kinds.of(reader.client(), object) else { continue };
        let doing = format!("to remove {object}");
        match api.delete(&object.name, &DeleteParams::default()).await.map_err(cluster.failed(&doing)) {
            Err(error) if !error.is_not_found() => return Err(error),
            _ => {}
        }
    }
    let let_go = async {
        for object in objects {
            if let Some(api) = kinds.of(reader.streaming(), object) {
                until(api, &object.name, |object: &DynamicObject| !is_held(object.meta())).await;
            }
        }
    };
    wait_or_name(let_go, || blocked::of_objects(reader, namespace), deadline, tell).await
}
