//! What rendered objects say of workloads: components, images, hosts, and Secrets that nobody makes.

use std::collections::{BTreeMap, BTreeSet};

use envctl_model::stack::ComponentKind;
use envctl_translate::Object;
use serde_json::Value;

use crate::flows::component;

/// An image of a container.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Image {
    /// As the container has it.
    pub(super) reference: String,
    /// Whose container it is.
    pub(super) component: String,
    /// Whether the container is an init container.
    pub(super) is_init: bool,
}

impl Image {
    /// Without tag and digest.
    pub(super) fn repository(&self) -> &str {
        let name = self.reference.split_once('@').map_or(self.reference.as_str(), |(name, _)| name);
        // A colon before a slash is a port.
        match name.rsplit_once(':') {
            Some((repository, tag)) if !tag.contains('/') => repository,
            _ => name,
        }
    }

    /// Whether a text may be the image, its repository, or that without the registry.
    pub(super) fn may_come_from(&self, text: &str) -> bool {
        let repository = self.repository();
        text == self.reference
            || repository
                .strip_suffix(text)
                .is_some_and(|registry| registry.is_empty() || registry.ends_with('/'))
    }
}

/// What charts put in front of their names: the release, and their own.
#[derive(Debug, Clone, Copy)]
pub(super) struct Prefixes<'p> {
    /// The release.
    pub(super) release: &'p str,
    /// The chart.
    pub(super) chart: &'p str,
}

impl Prefixes<'_> {
    /// A name without them.
    fn off<'n>(&self, name: &'n str) -> &'n str {
        let off =
            |name: &'n str, prefix: &str| name.strip_prefix(prefix).and_then(|rest| rest.strip_prefix('-'));
        let name = off(name, self.release).unwrap_or(name);
        off(name, self.chart).unwrap_or(name)
    }
}

/// The pod's template of whatever makes pods.
fn template(object: &Object) -> Option<&Value> {
    Some(component::pod(object)).filter(|template| template["spec"]["containers"].is_array())
}

/// Workloads that stay, and what each is: what a Service leads to answers requests.
pub(super) fn components(objects: &[Object], prefixes: Prefixes<'_>) -> BTreeMap<String, ComponentKind> {
    let selectors: Vec<_> = objects
        .iter()
        .filter(|object| object.kind == "Service")
        .map(|service| &service.body["spec"]["selector"])
        .collect();
    let kind = |object: &Object| match object.kind.as_str() {
        "CronJob" => Some(ComponentKind::Schedule),
        "Deployment" | "StatefulSet" | "DaemonSet" | "ReplicaSet" | "Rollout" | "Pod" => {
            template(object)?;
            let is_served = selectors.iter().any(|selector| component::selects(selector, object));
            Some(if is_served { ComponentKind::Service } else { ComponentKind::Worker })
        }
        _ => None,
    };
    // What Helm runs at certain moments only is no component.
    let stays = objects.iter().filter(|object| !component::is_hook(object));
    stays.filter_map(|object| Some((prefixes.off(&object.name).to_owned(), kind(object)?))).collect()
}

/// The Services.
pub(super) fn services(objects: &[Object], prefixes: Prefixes<'_>) -> BTreeSet<String> {
    let services = objects.iter().filter(|object| object.kind == "Service");
    services.map(|service| prefixes.off(&service.name).to_owned()).collect()
}

/// The images of all containers, in the order of the objects.
pub(super) fn images(objects: &[Object], prefixes: Prefixes<'_>) -> Vec<Image> {
    let mut images = Vec::new();
    for object in objects {
        let Some(template) = template(object) else { continue };
        for (list, is_init) in [("containers", false), ("initContainers", true)] {
            for container in template["spec"][list].as_array().into_iter().flatten() {
                let reference = container["image"].as_str().unwrap_or_default().to_owned();
                images.push(Image { reference, component: prefixes.off(&object.name).to_owned(), is_init });
            }
        }
    }
    images
}

/// The kinds without a namespace that charts have.
const CLUSTER_WIDE: [&str; 9] = [
    "APIService",
    "ClusterRole",
    "ClusterRoleBinding",
    "IngressClass",
    "MutatingWebhookConfiguration",
    "PersistentVolume",
    "PriorityClass",
    "StorageClass",
    "ValidatingWebhookConfiguration",
];

/// Whether some belong to the whole cluster: they need a name that no other environment has.
pub(super) fn are_cluster_wide(objects: &[Object]) -> bool {
    objects.iter().any(|object| CLUSTER_WIDE.contains(&object.kind.as_str()))
}

/// Whether there is any Ingress.
pub(super) fn has_ingress(objects: &[Object]) -> bool {
    objects.iter().any(|object| object.kind == "Ingress")
}

/// The hosts of Ingress rules, each once, with the Service that the first path leads to. That of a rule
/// without one is empty.
pub(super) fn hosts(objects: &[Object], prefixes: Prefixes<'_>) -> Vec<(String, String)> {
    let mut hosts: Vec<(String, String)> = Vec::new();
    for ingress in objects.iter().filter(|object| object.kind == "Ingress") {
        for rule in ingress.body["spec"]["rules"].as_array().into_iter().flatten() {
            let host = rule["host"].as_str().unwrap_or_default();
            let service = rule.pointer("/http/paths/0/backend/service/name").and_then(Value::as_str);
            if !hosts.iter().any(|(known, _)| known == host) {
                hosts.push((host.to_owned(), prefixes.off(service.unwrap_or_default()).to_owned()));
            }
        }
    }
    hosts
}

/// The Secrets that pods cannot start without and that are not among the objects, with the keys that
/// are read of each.
pub(super) fn missing_secrets(objects: &[Object]) -> BTreeMap<String, BTreeSet<String>> {
    let mut secrets: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for spec in objects.iter().filter_map(template).map(|template| &template["spec"]) {
        read_secrets(spec, &mut secrets);
    }
    let made = |name: &str| objects.iter().any(|object| object.kind == "Secret" && object.name == name);
    secrets.retain(|name, _| !made(name));
    secrets
}

/// Wherever a pod's spec refers to a Secret.
fn read_secrets(value: &Value, secrets: &mut BTreeMap<String, BTreeSet<String>>) {
    match value {
        Value::Object(map) => {
            for (key, inner) in map {
                let name = match key.as_str() {
                    "secretKeyRef" | "secretRef" => &inner["name"],
                    "secret" => inner.get("secretName").unwrap_or(&inner["name"]),
                    // These are for the registry, and optional.
                    "imagePullSecrets" => continue,
                    _ => &Value::Null,
                };
                match name.as_str() {
                    Some(name) if inner["optional"] != true => {
                        let keys = secrets.entry(name.to_owned()).or_default();
                        keys.extend(inner["key"].as_str().map(str::to_owned));
                        let items = inner["items"].as_array().into_iter().flatten();
                        keys.extend(items.filter_map(|item| item["key"].as_str().map(str::to_owned)));
                    }
                    _ => read_secrets(inner, secrets),
                }
            }
        }
        Value::Array(list) => list.iter().for_each(|inner| read_secrets(inner, secrets)),
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const OBJECTS: &str = "
apiVersion: apps/v1
kind: Deployment
metadata: {name: zz-web}
spec:
  template:
    metadata: {labels: {app: web, tier: front}}
    spec:
      imagePullSecrets: [{name: registry}]
      initContainers: [{name: wait, image: 'busybox:1'}]
      containers:
        - name: web
          image: 'registry:5000/shop/web:1'
          envFrom: [{secretRef: {name: given}}, {secretRef: {name: maybe, optional: true}}]
          env: [{name: A, valueFrom: {secretKeyRef: {name: db, key: password}}}]
      volumes: [{name: tls, secret: {secretName: made}}, {name: all, projected: {sources: [{secret: {name: db, items: [{key: user, path: u}]}}]}}]
---
{apiVersion: v1, kind: Service, metadata: {name: zz-web}, spec: {selector: {app: web}}}
---
{apiVersion: v1, kind: Service, metadata: {name: external}, spec: {type: ExternalName}}
---
{apiVersion: v1, kind: Secret, metadata: {name: made}}
---
apiVersion: apps/v1
kind: Deployment
metadata: {name: mailer}
spec: {template: {metadata: {labels: {app: mailer}}, spec: {containers: [{image: 'shop/web@sha256:1'}]}}}
---
apiVersion: batch/v1
kind: CronJob
metadata: {name: digest}
spec: {jobTemplate: {spec: {template: {spec: {containers: [{image: x}]}}}}}
---
apiVersion: v1
kind: Pod
metadata: {name: zz-test, annotations: {helm.sh/hook: test}}
spec: {containers: [{image: curl}]}
---
apiVersion: networking.k8s.io/v1
kind: Ingress
metadata: {name: zz}
spec:
  rules:
    - {host: www.example.com, http: {paths: [{backend: {service: {name: zz-web}}}]}}
    - {http: {paths: [{backend: {service: {name: zz-web}}}]}}
";

    const PREFIXES: Prefixes<'_> = Prefixes { release: "zz", chart: "shop" };

    #[test]
    fn workloads_say_what_they_are() {
        let objects = envctl_translate::parse(OBJECTS, "test").unwrap();
        let expected = [
            ("digest", ComponentKind::Schedule),
            ("mailer", ComponentKind::Worker),
            ("web", ComponentKind::Service),
        ];
        assert_eq!(
            components(&objects, PREFIXES),
            expected.map(|(name, kind)| (name.to_owned(), kind)).into()
        );
        assert_eq!(services(&objects, PREFIXES), ["external", "web"].map(str::to_owned).into());
        assert_eq!(
            ["zz-shop-web", "shop-web", "zz-shop", "shop"].map(|name| PREFIXES.off(name)),
            ["web", "web", "shop", "shop"]
        );
        let hosts = hosts(&objects, PREFIXES);
        assert_eq!(hosts, [("www.example.com".into(), "web".into()), (String::new(), "web".into())]);
    }

    #[test]
    fn images_are_taken_apart() {
        let images = images(&envctl_translate::parse(OBJECTS, "test").unwrap(), PREFIXES);
        let repositories: Vec<_> = images.iter().map(Image::repository).collect();
        assert_eq!(repositories, ["registry:5000/shop/web", "busybox", "shop/web", "x", "curl"]);
        assert!(images[1].is_init && images[1].component == "web");
        for (text, may) in
            [("shop/web", true), ("web", true), ("eb", false), ("registry:5000/shop/web:1", true)]
        {
            assert_eq!(images[0].may_come_from(text), may, "{text}");
        }
    }

    #[test]
    fn secrets_that_nobody_makes_are_named_with_their_keys() {
        let missing = missing_secrets(&envctl_translate::parse(OBJECTS, "test").unwrap());
        let keys = |keys: &[&str]| keys.iter().map(|key| (*key).to_owned()).collect::<BTreeSet<_>>();
        assert_eq!(missing, [("db".into(), keys(&["password", "user"])), ("given".into(), keys(&[]))].into());
    }
}
