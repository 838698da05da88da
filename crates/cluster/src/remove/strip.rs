//! Giving up what a finalizer protects, for one object that the user named.

use kube::api::{Patch, PatchParams};
use serde_json::json;

use crate::error::ClusterError;
use crate::guard::VerifiedCluster;
use crate::objects::Kinds;

/// Takes the finalizers off one object, named as `Ingress/web` or, where several groups have such a kind,
/// `Ingress.networking.k8s.io/web`: what its controller would have removed outside of the cluster stays
/// there. The finalizers that it had; none where there is no such object.
///
/// # Errors
/// [`ClusterError::Refused`] where it is not named well, or a webhook is in the way; when the cluster
/// refuses or does not answer.
pub async fn strip_finalizers(
    cluster: &VerifiedCluster,
    namespace: &str,
    object: &str,
) -> Result<Vec<String>, ClusterError> {
    let Some((kind, name)) =
        object.split_once('/').filter(|(kind, name)| !kind.is_empty() && !name.is_empty())
    else {
        return Err(ClusterError::Refused {
            message: format!("`{object}` names no object"),
            hint: "name it as KIND/NAME, such as Ingress/web".to_owned(),
        });
    };
    let kinds = Kinds::discover(cluster.reader()).await?;
    let apis = kinds.named(cluster.reader(), namespace, kind);
    if apis.is_empty() {
        return Err(ClusterError::Refused {
            message: format!("the cluster knows no kind `{kind}` that lives in namespaces"),
            hint: "name the object as KIND/NAME, such as Ingress/web".to_owned(),
        });
    }
    let mut found = Vec::new();
    for (group, api) in apis {
        let failed = cluster.failed(&format!("to show {object}"));
        if let Some(meta) = api.get_metadata_opt(name).await.map_err(failed)? {
            found.push((group, api, meta.metadata.finalizers.unwrap_or_default()));
        }
    }
    if let [(first, ..), (second, ..), ..] = found.as_slice() {
        return Err(ClusterError::Refused {
            message: format!("`{object}` may be one of group {first} or of {second}"),
            hint: format!("name its group, too: {kind}.{first}/{name}"),
        });
    }
    let Some((_, api, finalizers)) = found.pop() else { return Ok(Vec::new()) };
    let patch = Patch::Merge(json!({"metadata": {"finalizers": null}}));
    let patched = api.patch_metadata(name, &PatchParams::default(), &patch).await;
    match patched.map_err(cluster.failed(&format!("to take the finalizers off {object}"))) {
        Err(error) if error.is_not_found() => Ok(Vec::new()),
        Err(ClusterError::Api { message, .. }) if message.contains("failed calling webhook") => {
            // A controller checks its objects by a webhook of its own: while it is dead they cannot change.
            let webhook = message.split('"').nth(1).unwrap_or_default();
            Err(ClusterError::Refused {
                message: format!(
                    "the finalizers of {object} cannot be taken off: every change of it is checked by the admission webhook `{webhook}`, which does not answer"
                ),
                hint: format!(
                    "start the controller that serves it; if that is gone for good, the platform engineer removes what it left: \
                     the webhook configuration that has `{webhook}` (kubectl get validatingwebhookconfigurations,mutatingwebhookconfigurations)"
                ),
            })
        }
        Err(error) => Err(error),
        Ok(_) => Ok(finalizers),
    }
}
