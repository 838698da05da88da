//! A Helm release in an environment's namespace: how helm gets in, and what a killed helm left.

use std::io;
use std::path::{Path, PathBuf};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use envctl_programs::helm::Access;
use k8s_openapi::api::core::v1::Secret;
use kube::Api;
use kube::api::{DeleteParams, ListParams};
use serde::{Deserialize, Serialize};
use serde_json::json;

use crate::aws::{Frozen, TokenSource};
use crate::client::ClusterReader;
use crate::error::ClusterError;
use crate::guard::VerifiedCluster;
use crate::marks::IDENTITY;

/// What the credential plugin of helm's kubeconfig needs: the frozen credentials, and for which cluster.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Ticket {
    credentials: Frozen,
    cluster: String,
}

/// Writes a kubeconfig that leads to this cluster with the credentials that were checked. Helm asks
/// `plugin` for each token, since a hook may take longer than one lives.
///
/// # Errors
/// When the files cannot be written.
pub fn access(cluster: &VerifiedCluster, scratch: &Path, plugin: &Path) -> io::Result<Access> {
    envctl_programs::private::make_directory(scratch)?;
    let ticket = scratch.join("ticket.json");
    let facts = cluster.facts();
    let content = serde_json::to_vec(&Ticket {
        credentials: cluster.session().frozen.clone(),
        cluster: facts.cluster.clone(),
    })?;
    envctl_programs::private::write(&ticket, &content)?;
    let description = cluster.description();
    let config = json!({
        "apiVersion": "v1",
        "kind": "Config",
        "current-context": "envctl",
        "clusters": [{"name": "envctl", "cluster": {
            "server": description.endpoint,
            "certificate-authority-data": STANDARD.encode(&description.authority),
        }}],
        "contexts": [{"name": "envctl", "context": {"cluster": "envctl", "user": "envctl"}}],
        "users": [{"name": "envctl", "user": {"exec": {
            "apiVersion": "client.authentication.k8s.io/v1",
            "command": plugin,
            "args": [PLUGIN_VERB, ticket],
            "interactiveMode": "Never",
        }}}],
    });
    let kubeconfig = scratch.join("kubeconfig.json");
    envctl_programs::private::write(&kubeconfig, config.to_string().as_bytes())?;
    Ok(Access { kubeconfig, scratch: scratch.to_owned() })
}

/// The hidden verb by which this program is helm's credential plugin.
pub const PLUGIN_VERB: &str = "cluster-token";

/// What the credential plugin prints for a ticket.
/// <https://kubernetes.io/docs/reference/access-authn-authz/authentication/#client-go-credential-plugins>
///
/// # Errors
/// When the ticket cannot be read or the token not be signed.
pub fn plugin_answer(ticket: &PathBuf) -> Result<String, ClusterError> {
    let unreadable = |message: String| ClusterError::Unreadable {
        doing: format!("reading {}", ticket.display()),
        message,
    };
    let text = std::fs::read(ticket).map_err(|e| unreadable(e.to_string()))?;
    let Ticket { credentials, cluster } =
        serde_json::from_slice(&text).map_err(|e| unreadable(e.to_string()))?;
    let token = TokenSource::new(credentials, cluster).token()?;
    let answer = json!({
        "apiVersion": "client.authentication.k8s.io/v1",
        "kind": "ExecCredential",
        "status": {"token": token.value, "expirationTimestamp": token.expires.to_string()},
    });
    Ok(answer.to_string())
}

/// The newest revision of a release.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Revision {
    /// Its number.
    pub number: u32,
    /// `deployed`, `failed`, `pending-install`, ...
    pub status: String,
    /// Whether this environment made it.
    pub ours: bool,
    secret: String,
}

impl Revision {
    /// Whether helm would refuse to touch the release: one of its runs did not end.
    #[must_use]
    pub fn is_pending(&self) -> bool {
        self.status.starts_with("pending-")
    }
}

/// The newest revision of a release, if there is one.
///
/// # Errors
/// When the cluster does not answer.
pub async fn newest(
    reader: &ClusterReader,
    namespace: &str,
    release: &str,
    identity: &str,
) -> Result<Option<Revision>, ClusterError> {
    let api: Api<Secret> = Api::namespaced(reader.client(), namespace);
    let of_release = ListParams::default().labels(&format!("owner=helm,name={release}"));
    let failed = reader.failed("to list the revisions of a release");
    let revisions =
        api.list_metadata(&of_release).await.map_err(failed)?.items.into_iter().filter_map(|meta| {
            let labels = meta.metadata.labels?;
            Some(Revision {
                number: labels.get("version")?.parse().ok()?,
                status: labels.get("status").cloned().unwrap_or_default(),
                ours: labels.get(IDENTITY).is_some_and(|theirs| theirs == identity),
                secret: meta.metadata.name?,
            })
        });
    Ok(revisions.max_by_key(|revision| revision.number))
}

/// The manifest of the newest revision, as Helm delivered it; `None` where nothing was delivered.
/// Helm keeps it as gzipped JSON, in base64 twice: once its own, once the Secret's.
///
/// # Errors
/// When the cluster does not answer, or what Helm kept cannot be read.
pub async fn manifest(
    reader: &ClusterReader,
    namespace: &str,
    release: &str,
    identity: &str,
) -> Result<Option<String>, ClusterError> {
    let Some(revision) = newest(reader, namespace, release, identity).await? else { return Ok(None) };
    let api: Api<Secret> = Api::namespaced(reader.client(), namespace);
    let secret = api.get_opt(&revision.secret).await.map_err(reader.failed("to show a release"))?;
    let Some(kept) = secret.and_then(|secret| secret.data?.remove("release")) else { return Ok(None) };
    unpacked(&kept.0).map(Some).map_err(|message| ClusterError::Unreadable {
        doing: format!("the release {release} of Helm"),
        message,
    })
}

fn unpacked(kept: &[u8]) -> Result<String, String> {
    #[derive(Deserialize)]
    struct Release {
        #[serde(default)]
        manifest: String,
    }
    let packed = STANDARD.decode(kept).map_err(|e| e.to_string())?;
    let release: Release = serde_json::from_reader(flate2::read::GzDecoder::new(packed.as_slice()))
        .map_err(|e| e.to_string())?;
    Ok(release.manifest)
}

/// What came of looking for a revision that a killed helm left.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Recovered {
    /// There was none.
    Nothing,
    /// It was this environment's, and is forgotten: what it made is found again by the next one.
    Forgotten(Revision),
}

/// Forgets a revision that is `pending-*` because its helm was killed. Whoever calls holds the
/// environment's lock, so that no helm of ours is at work.
///
/// # Errors
/// [`ClusterError::Refused`] for a revision that somebody else began; when the cluster refuses or does
/// not answer.
pub async fn recover(
    cluster: &VerifiedCluster,
    namespace: &str,
    release: &str,
    identity: &str,
) -> Result<Recovered, ClusterError> {
    let newest = newest(cluster.reader(), namespace, release, identity).await?;
    let Some(revision) = newest.filter(Revision::is_pending) else { return Ok(Recovered::Nothing) };
    if !revision.ours {
        return Err(ClusterError::Refused {
            message: format!(
                "the release `{release}` is {} (revision {}), and envctl did not begin that: \
                 somebody's helm is at work in namespace `{namespace}`, or was killed there",
                revision.status, revision.number
            ),
            hint: format!(
                "wait for it; if it is dead: helm rollback {release} -n {namespace}, \
                 or for a first install: helm uninstall {release} -n {namespace}"
            ),
        });
    }
    let api: Api<Secret> = Api::namespaced(cluster.client(), namespace);
    let deleted = api.delete(&revision.secret, &DeleteParams::default()).await;
    match deleted.map_err(cluster.failed("to forget an unfinished revision")) {
        Err(error) if !error.is_not_found() => Err(error),
        _ => Ok(Recovered::Forgotten(revision)),
    }
}
