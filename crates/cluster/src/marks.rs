//! What marks an object as envctl's, in one place: the policies of the platform read the same names.

use std::collections::BTreeMap;

use envctl_model::record::Record;
use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;

/// The namespace of records, locks and keys.
pub const SYSTEM_NAMESPACE: &str = "envctl-system";
/// The ClusterRole that an environment's owner gets in its namespace.
pub const ENVIRONMENT_ROLE: &str = "envctl-environment";
/// The well-known label that says who manages an object.
pub const MANAGED_BY: &str = "app.kubernetes.io/managed-by";
/// Its value.
pub const ENVCTL: &str = "envctl";
/// Label: the environment's name.
pub const ENVIRONMENT: &str = "envctl.dev/environment";
/// Label: the stack's project.
pub const PROJECT: &str = "envctl.dev/project";
/// Annotation: the environment's identity. Ownership is decided by it alone: names can be reused.
pub const IDENTITY: &str = "envctl.dev/identity";
/// Annotation: the user of the cluster to whom the environment belongs.
pub const OWNER: &str = "envctl.dev/owner";
/// Annotation: when the environment may be removed, RFC 3339, or `never`.
pub const EXPIRES: &str = "envctl.dev/expires";
/// The field manager of what we write.
pub const FIELD_MANAGER: &str = "envctl";

/// The labels of an environment's objects.
#[must_use]
pub fn labels(record: &Record) -> BTreeMap<String, String> {
    pairs([(MANAGED_BY, ENVCTL), (ENVIRONMENT, record.name.as_str()), (PROJECT, &record.project)])
}

/// The labels of what is made in an environment's namespace beside what the environment is made of.
pub(crate) fn labels_in(namespace: &str) -> BTreeMap<String, String> {
    pairs([(MANAGED_BY, ENVCTL), (ENVIRONMENT, namespace)])
}

/// The annotations of an environment's objects.
#[must_use]
pub fn annotations(record: &Record) -> BTreeMap<String, String> {
    let expires = expiry(record.expires);
    pairs([(IDENTITY, record.identity.as_str()), (OWNER, &record.owner), (EXPIRES, &expires)])
}

/// The value of [`EXPIRES`].
pub(crate) fn expiry(expires: Option<Timestamp>) -> String {
    expires.map_or_else(|| "never".to_owned(), |at| at.to_string())
}

/// When an object says that its environment may be removed.
pub(crate) fn expires(meta: &ObjectMeta) -> Option<Timestamp> {
    meta.annotations.as_ref()?.get(EXPIRES)?.parse().ok()
}

/// The earlier of two times at which an environment may be removed; `None` is never.
#[must_use]
pub fn earlier(one: Option<Timestamp>, other: Option<Timestamp>) -> Option<Timestamp> {
    one.into_iter().chain(other).min()
}

fn pairs<const N: usize>(pairs: [(&str, &str); N]) -> BTreeMap<String, String> {
    pairs.into_iter().map(|(key, value)| (key.to_owned(), value.to_owned())).collect()
}

/// The selector of everything that envctl manages.
#[must_use]
pub fn selector() -> String {
    format!("{MANAGED_BY}={ENVCTL}")
}
