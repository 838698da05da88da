//! Objects of any kind, by discovery: tried out on the API server before they are delivered, and found
//! again before and after they are removed.

use futures_util::StreamExt;
use futures_util::stream;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::Api;
use kube::api::{DynamicObject, ListParams, Patch, PatchParams, PostParams};
use kube::core::{GroupVersionKind, PartialObjectMeta, TypeMeta};
use kube::discovery::{ApiCapabilities, ApiResource, Discovery, Scope, verbs};
use serde_json::Value;

use crate::client::ClusterReader;
use crate::error::ClusterError;
use crate::guard::VerifiedCluster;

/// How many requests are on their way at once.
pub(crate) const AT_ONCE: usize = 16;

/// The kinds that a cluster knows.
pub struct Kinds(Discovery);

impl std::fmt::Debug for Kinds {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Kinds")
    }
}

/// One object, by what names it in a cluster.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct ObjectRef {
    /// Its group and version: `apps/v1`.
    pub api_version: String,
    /// Its kind.
    pub kind: String,
    /// Its namespace; none for what belongs to the whole cluster.
    pub namespace: Option<String>,
    /// Its name.
    pub name: String,
}

impl std::fmt::Display for ObjectRef {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}/{}", self.kind, self.name)
    }
}

/// What is known of a kind of object in a manifest.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Known {
    /// It lives in namespaces.
    Namespaced,
    /// It belongs to the whole cluster. Group and plural name, as rights are given for them.
    ClusterWide {
        /// The API group; empty for the core.
        group: String,
        /// The plural name: `clusterroles`.
        plural: String,
    },
    /// The cluster has no such kind.
    Unknown,
}

/// An object that the API server would not take as it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refusal {
    /// `Deployment/api`.
    pub object: String,
    /// Why, in the API server's words.
    pub message: String,
    /// What to do about it.
    pub advice: String,
}

impl Kinds {
    /// Asks the cluster.
    ///
    /// # Errors
    /// When it does not answer.
    pub async fn discover(reader: &ClusterReader) -> Result<Self, ClusterError> {
        let discovery = Discovery::new(reader.client());
        Ok(Self(discovery.run_aggregated().await.map_err(reader.failed("to say what it knows"))?))
    }

    fn resolve(&self, object: &Value) -> Option<(ApiResource, ApiCapabilities)> {
        let types = TypeMeta {
            api_version: object["apiVersion"].as_str()?.to_owned(),
            kind: object["kind"].as_str()?.to_owned(),
        };
        self.0.resolve_gvk(&GroupVersionKind::try_from(types).ok()?)
    }

    /// What is known of an object's kind.
    #[must_use]
    pub fn known(&self, object: &Value) -> Known {
        match self.resolve(object) {
            None => Known::Unknown,
            Some((_, capabilities)) if capabilities.scope == Scope::Namespaced => Known::Namespaced,
            Some((resource, _)) => Known::ClusterWide { group: resource.group, plural: resource.plural },
        }
    }

    /// The API group and the plural name of an object's kind.
    #[must_use]
    pub fn resource(&self, object: &Value) -> Option<(String, String)> {
        self.resolve(object).map(|(resource, _)| (resource.group, resource.plural))
    }

    pub(crate) fn api(
        &self,
        reader: &ClusterReader,
        object: &Value,
        namespace: &str,
    ) -> Option<Api<DynamicObject>> {
        let (resource, capabilities) = self.resolve(object)?;
        Some(match capabilities.scope {
            Scope::Cluster => Api::all_with(reader.client(), &resource),
            Scope::Namespaced => {
                let own = object["metadata"]["namespace"].as_str().unwrap_or(namespace);
                Api::namespaced_with(reader.client(), own, &resource)
            }
        })
    }

    /// Has the API server try each object without keeping it: schema, admission, quota, immutable
    /// fields. Objects of `release` may change; one that belongs to somebody else is a refusal.
    ///
    /// # Errors
    /// When the cluster does not answer.
    pub async fn try_out(
        &self,
        cluster: &VerifiedCluster,
        namespace: &str,
        release: &str,
        objects: &[Value],
    ) -> Result<Vec<Refusal>, ClusterError> {
        let tried = stream::iter(
            objects
                .iter()
                .cloned()
                .map(|object| async move { self.try_one(cluster, namespace, release, object).await }),
        );
        let refusals: Vec<_> = tried.buffered(AT_ONCE).collect().await;
        let refusals: Result<Vec<_>, _> = refusals.into_iter().collect();
        Ok(refusals?.into_iter().flatten().collect())
    }

    async fn try_one(
        &self,
        cluster: &VerifiedCluster,
        namespace: &str,
        release: &str,
        object: Value,
    ) -> Result<Option<Refusal>, ClusterError> {
        let kind = object["kind"].as_str().unwrap_or_default();
        let name = object["metadata"]["name"].as_str().unwrap_or_default();
        let label = format!("{kind}/{name}");
        let refusal =
            |message: String, advice: String| Ok(Some(Refusal { object: label.clone(), message, advice }));
        let Some(api) = self.api(cluster.reader(), &object, namespace) else {
            let api_version = object["apiVersion"].as_str().unwrap_or_default();
            return refusal(
                format!("the cluster knows no kind {kind} in {api_version}"),
                "have its CustomResourceDefinition installed, or switch it off in the values".to_owned(),
            );
        };
        let is_hook = object["metadata"]["annotations"]["helm.sh/hook"].is_string();
        let doing = format!("to try out {label}");
        let live = api.get_opt(name).await.map_err(cluster.failed(&doing))?;
        if let Some(owner) = live.as_ref().and_then(|live| stranger(live, release, namespace)) {
            return refusal(
                format!("it exists already and {owner}"),
                "give it another name in the values, or remove it by hand if nobody needs it".to_owned(),
            );
        }
        let tried: DynamicObject = match serde_json::from_value(object.clone()) {
            Ok(object) => object,
            Err(error) => return refusal(error.to_string(), "correct it in the chart".to_owned()),
        };
        let result = if live.is_none() {
            api.create(&PostParams { dry_run: true, ..PostParams::default() }, &tried).await
        } else if is_hook {
            // Helm removes it before it makes it again.
            return Ok(None);
        } else {
            let params = PatchParams { dry_run: true, ..PatchParams::apply("helm").force() };
            api.patch(name, &params, &Patch::Apply(&tried)).await
        };
        match result.map_err(cluster.failed(&doing)) {
            Ok(_) => Ok(None),
            // The first delivery makes it in between.
            Err(error) if error.is_conflict() => Ok(None),
            Err(ClusterError::Api { status, message, .. })
                if (400..500).contains(&status) && status != 401 =>
            {
                let advice = advice(status, &message, kind, name, namespace);
                refusal(message, advice)
            }
            // A webhook that is away is one of this object's, not of the cluster's.
            Err(ClusterError::Api { message, .. }) if message.contains("webhook") => {
                let advice =
                    "tell the platform engineer: nothing of this kind can be created while it is away";
                refusal(message, advice.to_owned())
            }
            Err(error) => Err(error),
        }
    }

    /// Everything in a namespace that can be listed and deleted, except what only reports (events) and
    /// what the cluster makes by itself in each; with what its metadata says.
    ///
    /// # Errors
    /// When the cluster does not answer. Kinds that we may not list are left out.
    pub async fn list(
        &self,
        reader: &ClusterReader,
        namespace: &str,
    ) -> Result<Vec<(ObjectRef, ObjectMeta)>, ClusterError> {
        let kinds = self.namespaced().filter(|(kind, can)| {
            can.supports_operation(verbs::LIST)
                && can.supports_operation(verbs::DELETE)
                && kind.kind != "Event"
        });
        let lists = stream::iter(kinds.map(|(kind, _)| async move {
            let api: Api<DynamicObject> = Api::namespaced_with(reader.client(), namespace, &kind);
            match api
                .list_metadata(&ListParams::default())
                .await
                .map_err(reader.failed("to list a namespace"))
            {
                Ok(list) => Ok(list.items.into_iter().filter_map(|meta| of_kind(&kind, meta)).collect()),
                Err(error) if error.is_forbidden() || error.is_not_found() => Ok(Vec::new()),
                // Not all that is discovered can be listed: an aggregated API whose server is away.
                Err(ClusterError::Api { status: 405 | 503, .. }) => Ok(Vec::new()),
                Err(error) => Err(error),
            }
        }));
        let lists: Vec<Result<Vec<(ObjectRef, ObjectMeta)>, ClusterError>> =
            lists.buffer_unordered(AT_ONCE).collect().await;
        let mut all = Vec::new();
        for list in lists {
            all.extend(list?);
        }
        all.retain(|(object, _)| {
            !matches!(
                (object.kind.as_str(), object.name.as_str()),
                ("ConfigMap", "kube-root-ca.crt") | ("ServiceAccount", "default")
            )
        });
        all.sort_by(|(one, _), (other, _)| one.cmp(other));
        Ok(all)
    }

    fn namespaced(&self) -> impl Iterator<Item = (ApiResource, ApiCapabilities)> + '_ {
        let all = self.0.groups().flat_map(kube::discovery::ApiGroup::recommended_resources);
        all.filter(|(_, can)| can.scope == Scope::Namespaced)
    }

    /// The kinds that `Ingress` or `Ingress.networking.k8s.io` may mean: their groups, and where their
    /// objects are.
    pub(crate) fn named(
        &self,
        reader: &ClusterReader,
        namespace: &str,
        kind: &str,
    ) -> Vec<(String, Api<DynamicObject>)> {
        let (name, group) = kind.split_once('.').map_or((kind, None), |(name, group)| (name, Some(group)));
        self.namespaced()
            .filter(|(resource, _)| resource.kind.eq_ignore_ascii_case(name))
            .filter(|(resource, _)| group.is_none_or(|group| resource.group == group))
            .map(|(resource, _)| {
                let api = Api::namespaced_with(reader.client(), namespace, &resource);
                (resource.group, api)
            })
            .collect()
    }

    /// Where objects like this one are; nowhere if the cluster knows no such kind.
    pub(crate) fn of(&self, client: kube::Client, object: &ObjectRef) -> Option<Api<DynamicObject>> {
        let value = serde_json::json!({"apiVersion": object.api_version, "kind": object.kind});
        let (resource, _) = self.resolve(&value)?;
        Some(match &object.namespace {
            Some(namespace) => Api::namespaced_with(client, namespace, &resource),
            None => Api::all_with(client, &resource),
        })
    }

    /// Whether an object that a release made is still there.
    ///
    /// # Errors
    /// When the cluster does not answer.
    pub async fn exists(
        &self,
        reader: &ClusterReader,
        object: &ObjectRef,
        release: &str,
        namespace: &str,
    ) -> Result<Presence, ClusterError> {
        let Some(api) = self.of(reader.client(), object) else { return Ok(Presence::KindUnknown) };
        let found = api.get_metadata_opt(&object.name).await;
        let found = found.map_err(reader.failed(&format!("to look {object} up")))?;
        let Some(found) = found else { return Ok(Presence::Missing) };
        let annotations = found.metadata.annotations;
        let annotation = |key: &str| annotations.as_ref().and_then(|a| a.get(key)).map(String::as_str);
        let is_ours = annotation("meta.helm.sh/release-name") == Some(release)
            && annotation("meta.helm.sh/release-namespace") == Some(namespace);
        Ok(if is_ours { Presence::OfRelease } else { Presence::NotMarked })
    }
}

/// What became of an object of a release.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Presence {
    /// There is none of this name.
    Missing,
    /// It is there.
    OfRelease,
    /// One of this name is there, and not marked as the release's.
    NotMarked,
    /// The cluster no longer knows the kind.
    KindUnknown,
}

fn of_kind(kind: &ApiResource, found: PartialObjectMeta<DynamicObject>) -> Option<(ObjectRef, ObjectMeta)> {
    let object = ObjectRef {
        api_version: kind.api_version.clone(),
        kind: kind.kind.clone(),
        namespace: found.metadata.namespace.clone(),
        name: found.metadata.name.clone()?,
    };
    Some((object, found.metadata))
}

/// To whom an object belongs that Helm would not take for the release's.
fn stranger(live: &DynamicObject, release: &str, namespace: &str) -> Option<String> {
    let annotations = live.metadata.annotations.as_ref();
    let annotation = |key: &str| annotations.and_then(|a| a.get(key)).map(String::as_str);
    let theirs = annotation("meta.helm.sh/release-name");
    let place = annotation("meta.helm.sh/release-namespace");
    match (theirs, place) {
        (Some(theirs), Some(place)) if theirs == release && place == namespace => None,
        (Some(theirs), place) => {
            Some(format!("belongs to the release `{theirs}` of namespace `{}`", place.unwrap_or("?")))
        }
        // Hooks carry no owner.
        (None, _) if live.metadata.annotations.as_ref().is_some_and(|a| a.contains_key("helm.sh/hook")) => {
            None
        }
        (None, _) => Some("no release of Helm made it".to_owned()),
    }
}

fn advice(status: u16, message: &str, kind: &str, name: &str, namespace: &str) -> String {
    if message.contains("field is immutable")
        || message.contains("are forbidden") && message.contains("updates to")
    {
        return format!(
            "this field cannot be changed on an object that exists: \
             remove it and type the same command again: kubectl -n {namespace} delete {} {name}",
            kind.to_lowercase()
        );
    }
    if message.contains("exceeded quota") {
        return "ask for less, or have `guardrails.quota` raised".to_owned();
    }
    if message.contains("violates PodSecurity") {
        return "correct the security context; the level is `guardrails.podSecurity` of the target"
            .to_owned();
    }
    if message.contains("denied the request") {
        return "its message says what it wants; the webhook's or policy's owner knows more".to_owned();
    }
    match status {
        403 => "`envctl whoami` shows who you are; the cluster's owner gives rights".to_owned(),
        _ => "correct it in the chart or the values".to_owned(),
    }
}
