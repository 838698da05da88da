//! What would keep a namespace from going for a while. It goes first: once a namespace is going, so are its
//! owner's rights in it, and who may not look cannot say what is in the way; and Kubernetes asks only every
//! few seconds whether what still ended has ended.

use std::time::Instant;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::Resource;
use kube::api::DynamicObject;

use super::blocked::{self, is_held};
use super::{Blocked, Removed, delete, wait_or_name};
use crate::error::ClusterError;
use crate::guard::VerifiedCluster;
use crate::objects::{Kinds, ObjectRef};
use crate::watching::{until, until_gone};

/// What an object carries that goes only after those it owns: a Deployment after its pods.
/// <https://kubernetes.io/docs/concepts/architecture/garbage-collection/#foreground-deletion>
const FOREGROUND: &str = "foregroundDeletion";

/// What lingers in a namespace.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Lingering {
    /// What controllers hold by finalizers.
    held: Vec<ObjectRef>,
    /// Owners that wait for their pods, and pods that are ending.
    ending: Vec<ObjectRef>,
}

impl Lingering {
    /// Those of some objects that linger.
    #[must_use]
    pub fn of(objects: &[(ObjectRef, ObjectMeta)]) -> Self {
        let those = |lingers: fn(&ObjectRef, &ObjectMeta) -> bool| {
            let of_them = objects.iter().filter(|(object, meta)| lingers(object, meta));
            of_them.map(|(object, _)| object.clone()).collect()
        };
        Self {
            held: those(|_, meta| is_held(meta)),
            ending: those(|object, meta| is_ending(object, meta) && !is_held(meta)),
        }
    }

    /// Whether nothing does.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.held.is_empty() && self.ending.is_empty()
    }

    /// Removes what controllers hold, and waits until they have let go and what is ending has ended. `tell`
    /// is told once, soon, what is in the way; the wait goes on until `deadline`.
    ///
    /// # Errors
    /// When the cluster refuses or does not answer.
    pub async fn remove(
        &self,
        cluster: &VerifiedCluster,
        namespace: &str,
        kinds: &Kinds,
        deadline: Instant,
        tell: impl Fn(&[Blocked]),
    ) -> Result<Removed, ClusterError> {
        let reader = cluster.reader();
        for object in &self.held {
            let Some(api) = kinds.of(reader.client(), object) else { continue };
            delete(cluster, &api, &object.name, &object.to_string()).await?;
        }
        let gone = async {
            for object in &self.held {
                if let Some(api) = kinds.of(reader.streaming(), object) {
                    until(api, &object.name, |object: &DynamicObject| !is_held(object.meta())).await;
                }
            }
            for object in &self.ending {
                let Some(api) = kinds.of(reader.streaming(), object) else { continue };
                if object.kind == "Pod" {
                    until_gone(api, &object.name).await;
                } else {
                    until(api, &object.name, |object: &DynamicObject| !waits_for_its_own(object.meta()))
                        .await;
                }
            }
        };
        wait_or_name(gone, || blocked::of_contents(reader, namespace), deadline, tell).await
    }
}

fn is_ending(object: &ObjectRef, meta: &ObjectMeta) -> bool {
    meta.deletion_timestamp.is_some() && (object.kind == "Pod" || waits_for_its_own(meta))
}

fn waits_for_its_own(meta: &ObjectMeta) -> bool {
    meta.finalizers.iter().flatten().any(|finalizer| finalizer == FOREGROUND)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn what_a_volume_claim_waits_for_goes_with_the_namespace() {
        let object = |kind: &str, going: bool, finalizers: &[&str]| {
            let mut meta = json!({"name": "x", "finalizers": finalizers});
            if going {
                meta["deletionTimestamp"] = json!("2026-01-01T00:00:00Z");
            }
            let (api_version, namespace) = ("v1".to_owned(), Some("album-aki".to_owned()));
            let reference = ObjectRef { api_version, kind: kind.to_owned(), namespace, name: "x".to_owned() };
            (reference, serde_json::from_value::<ObjectMeta>(meta).unwrap())
        };
        let objects = [
            object("Pod", false, &[]),
            object("Pod", true, &[]),
            object("Deployment", true, &[FOREGROUND]),
            // A pod that somebody made by hand may use it: it goes when the namespace does.
            object("PersistentVolumeClaim", true, &["kubernetes.io/pvc-protection"]),
            object("Backup", false, &["example.com/backup"]),
        ];
        let lingering = Lingering::of(&objects);
        let kinds = |of: &[ObjectRef]| of.iter().map(|o| o.kind.clone()).collect::<Vec<_>>();
        assert_eq!(kinds(&lingering.held), ["Backup"]);
        assert_eq!(kinds(&lingering.ending), ["Pod", "Deployment"]);
        assert!(Lingering::of(&objects[..1]).is_empty());
    }
}
