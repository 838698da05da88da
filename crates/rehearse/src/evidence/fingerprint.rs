//! Digests of what has secrets in it: keyed, so that nobody can guess a secret and see whether it fits.

use std::collections::{BTreeMap, BTreeSet};

use aws_lc_rs::hmac;
use envctl_model::cutover::plan::Divergence;
use serde_json::Value;

use super::canonical;
use super::digest::Digest;

/// Makes keyed digests (HMAC-SHA-256). Only who has the same key gets the same ones.
#[derive(Debug)]
pub struct Fingerprints(hmac::Key);

impl Fingerprints {
    /// With a key of 32 random bytes, which rehearsal and cutover share.
    #[must_use]
    pub fn new(key: &[u8; 32]) -> Self {
        Self(hmac::Key::new(hmac::HMAC_SHA256, key))
    }

    /// Of merged values. The order of their keys does not count.
    #[must_use]
    pub fn values(&self, values: &Value) -> Digest {
        self.digest(values.clone())
    }

    /// Of rendered objects, each by `Kind/name`, without the places that may diverge and without the namespace,
    /// which is another one in every environment.
    #[must_use]
    pub fn manifests(&self, objects: &[Value], divergence: &[Divergence]) -> BTreeMap<String, Digest> {
        let digest = |object: &Value| {
            let text = |pointer| object.pointer(pointer).and_then(Value::as_str).unwrap_or_default();
            let key = format!("{}/{}", text("/kind"), text("/metadata/name"));
            let mut rest = object.clone();
            remove(&mut rest, "metadata.namespace");
            for allowed in divergence.iter().filter(|allowed| allowed.object == key) {
                remove(&mut rest, &allowed.path);
            }
            (key, self.digest(rest))
        };
        objects.iter().map(digest).collect()
    }

    fn digest(&self, value: Value) -> Digest {
        let tag = hmac::sign(&self.0, &canonical::bytes(value));
        let mut bytes = [0; 32];
        bytes.copy_from_slice(tag.as_ref());
        Digest::from_bytes(bytes)
    }
}

/// The objects that are not alike, or only on one side.
pub(super) fn unlike(one: &BTreeMap<String, Digest>, other: &BTreeMap<String, Digest>) -> Vec<String> {
    let keys: BTreeSet<_> = one.keys().chain(other.keys()).collect();
    keys.into_iter().filter(|key| one.get(*key) != other.get(*key)).cloned().collect()
}

/// Takes away what a dotted path leads to. A key may have dots itself, as labels have.
fn remove(value: &mut Value, path: &str) {
    match value {
        Value::Object(map) => {
            if map.remove(path).is_some() {
                return;
            }
            for (at, _) in path.match_indices('.') {
                if let Some(inner) = map.get_mut(&path[..at]) {
                    remove(inner, &path[at + 1..]);
                }
            }
        }
        Value::Array(items) => {
            let (index, rest) = path.split_once('.').unwrap_or((path, ""));
            match index.parse().ok().and_then(|index: usize| items.get_mut(index)) {
                Some(item) if rest.is_empty() => *item = Value::Null,
                Some(item) => remove(item, rest),
                None => {}
            }
        }
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn allowed(object: &str, path: &str) -> Divergence {
        Divergence { object: object.to_owned(), path: path.to_owned(), reason: "size".to_owned() }
    }

    fn deployment(replicas: u32, image: &str, namespace: &str) -> Value {
        json!({"kind": "Deployment", "metadata": {"name": "api", "namespace": namespace, "labels": {"a.b/c": image}},
               "spec": {"replicas": replicas, "containers": [{"image": image}]}})
    }

    #[test]
    fn objects_that_differ_only_where_they_may_are_alike() {
        let fingerprints = Fingerprints::new(&[1; 32]);
        let divergence = [
            allowed("Deployment/api", "spec.replicas"),
            allowed("Deployment/api", "spec.containers.0.image"),
            allowed("Deployment/api", "metadata.labels.a.b/c"),
        ];
        let of = |object: Value| fingerprints.manifests(&[object], &divergence);
        assert_eq!(of(deployment(2, "a", "x")), of(deployment(6, "b", "y")));
        for (at, _) in divergence.iter().enumerate() {
            let fewer: Vec<_> =
                divergence.iter().enumerate().filter(|(i, _)| *i != at).map(|(_, d)| d.clone()).collect();
            let of = |object: Value| fingerprints.manifests(&[object], &fewer);
            let (one, other) = (of(deployment(2, "a", "x")), of(deployment(6, "b", "y")));
            assert_eq!(unlike(&one, &other), ["Deployment/api"], "without {:?}", divergence[at]);
        }
    }

    #[test]
    fn a_divergence_of_one_object_allows_none_of_another() {
        let fingerprints = Fingerprints::new(&[1; 32]);
        let of = |replicas| {
            fingerprints
                .manifests(&[deployment(replicas, "a", "x")], &[allowed("Deployment/web", "spec.replicas")])
        };
        assert_ne!(of(2), of(6));
    }

    #[test]
    fn an_object_on_one_side_only_is_named() {
        let fingerprints = Fingerprints::new(&[1; 32]);
        let one = fingerprints.manifests(&[deployment(1, "a", "x")], &[]);
        assert_eq!(unlike(&one, &BTreeMap::new()), ["Deployment/api"]);
        assert_eq!(unlike(&BTreeMap::new(), &one), ["Deployment/api"]);
    }

    #[test]
    fn values_are_the_same_in_any_order_and_only_under_one_key() {
        let (one, other) = (json!({"a": 1, "b": "secret"}), json!({"b": "secret", "a": 1}));
        let digest = Fingerprints::new(&[1; 32]).values(&one);
        assert_eq!(digest, Fingerprints::new(&[1; 32]).values(&other));
        assert_ne!(digest, Fingerprints::new(&[2; 32]).values(&one));
        assert_ne!(digest, Digest::of(one.to_string().as_bytes()), "whoever guesses the secret could see it");
    }
}
