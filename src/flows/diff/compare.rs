//! What two sides would run differently, by component. Pure.

use std::collections::{BTreeMap, BTreeSet};

use envctl_model::stack::Component;
use envctl_translate::Object;
use schemars::JsonSchema;
use serde::Serialize;

use super::facets::{Facets, Key, Said, Topic, facets};
use crate::flows::chart::HIDDEN;
use crate::flows::component;

/// A component, or an object that is of none.
#[derive(Debug, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Group {
    /// `api`; `ConfigMap/shared` for an object that is of no component.
    pub(crate) name: String,
    /// What differs; with `--all` also what does not.
    pub(crate) entries: Vec<Entry>,
    /// How much of it is equal.
    pub(crate) equal: usize,
}

/// Something that both sides say, or one of them.
#[derive(Debug, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Entry {
    /// What it is about.
    pub(crate) topic: Topic,
    /// The object: `Deployment/api`.
    pub(crate) object: String,
    /// Which of several: `web MESSAGE` for a variable of the container `web`.
    pub(crate) what: String,
    /// The first side's value; nothing: it has none. Values of Secrets are hidden.
    pub(crate) a: Option<String>,
    /// The second side's.
    pub(crate) b: Option<String>,
    /// Whether they are equal.
    pub(crate) equal: bool,
}

impl Group {
    /// Whether something in it differs.
    pub(crate) fn differs(&self) -> bool {
        self.entries.iter().any(|entry| !entry.equal)
    }
}

/// How much is said.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Extent {
    /// What differs.
    Folded,
    /// All.
    All,
}

/// Compares the objects of two sides.
pub(super) fn compare(
    components: &BTreeMap<String, Component>,
    a: &[Object],
    b: &[Object],
    extent: Extent,
) -> Vec<Group> {
    let names = [a, b].map(|objects| objects.iter().map(Object::id).collect::<BTreeSet<_>>());
    let of = groups(components, [a, b]);
    let (a, b) = (facets(a), facets(b));
    let mut groups: BTreeMap<String, Group> = BTreeMap::new();
    let mut add = |entry: Entry| {
        let name = of.get(&entry.object).unwrap_or(&entry.object);
        let group = groups.entry(name.clone()).or_insert_with(|| Group {
            name: name.clone(),
            entries: Vec::new(),
            equal: 0,
        });
        group.equal += usize::from(entry.equal);
        if !entry.equal || extent == Extent::All {
            group.entries.push(entry);
        }
    };
    for object in names[0].symmetric_difference(&names[1]) {
        let is_of = |side: &BTreeSet<String>| side.contains(object).then(|| "there".to_owned());
        let (a, b) = (is_of(&names[0]), is_of(&names[1]));
        add(Entry { topic: Topic::Object, object: object.clone(), what: String::new(), a, b, equal: false });
    }
    let keys: BTreeSet<&Key> = a.said.keys().chain(b.said.keys()).collect();
    for key in keys {
        let is_alone = names[0].contains(&key.object) != names[1].contains(&key.object);
        if is_alone && extent == Extent::Folded || is_told_by_variables(key, [&a, &b]) {
            continue;
        }
        let (a, b) = (a.said.get(key), b.said.get(key));
        let Key { object, topic, what } = key.clone();
        add(Entry { topic, object, what, a: a.map(shown), b: b.map(shown), equal: a == b });
    }
    let mut groups: Vec<_> = groups.into_values().collect();
    for group in &mut groups {
        group.entries.sort_by(|a, b| (a.topic, &a.object, &a.what).cmp(&(b.topic, &b.object, &b.what)));
    }
    groups
}

fn shown(said: &Said) -> String {
    match said {
        Said::Plain(text) => text.clone(),
        Said::Secret(_) => HIDDEN.to_owned(),
    }
}

/// Whether a key of a ConfigMap or Secret is told of as a variable of those that take it.
fn is_told_by_variables(key: &Key, sides: [&Facets; 2]) -> bool {
    let taken = (key.object.clone(), key.what.clone());
    key.topic == Topic::Data && sides.iter().any(|side| side.in_variables.contains(&taken))
}

/// To which component each object belongs, as far as it does: a workload by its name or label, a Service by the pods it
/// leads to, an Ingress by its Services, if all are of one, anything else by its label, or because one component alone mounts it.
fn groups(components: &BTreeMap<String, Component>, sides: [&[Object]; 2]) -> BTreeMap<String, String> {
    let mut of: BTreeMap<String, String> = BTreeMap::new();
    let objects = || sides.into_iter().flatten();
    let workloads = || objects().filter(|object| component::is_workload(object));
    for workload in workloads() {
        let component = component::of(components, workload);
        of.extend(component.map(|component| (workload.id(), component.to_owned())));
    }
    for service in objects().filter(|object| object.kind == "Service") {
        let behind =
            workloads().find(|workload| component::selects(&service.body["spec"]["selector"], workload));
        let component = behind.and_then(|workload| of.get(&workload.id()).cloned());
        of.extend(component.map(|component| (service.id(), component)));
    }
    for ingress in objects().filter(|object| object.kind == "Ingress") {
        let rules = ingress.body["spec"]["rules"].as_array().into_iter().flatten();
        let paths = rules.flat_map(|rule| rule["http"]["paths"].as_array().into_iter().flatten());
        let services = paths.filter_map(|path| path["backend"]["service"]["name"].as_str());
        let mut behind: BTreeSet<_> =
            services.map(|name| of.get(&format!("Service/{name}")).cloned()).collect();
        // One that leads to several is of none.
        if behind.len() == 1
            && let Some(Some(component)) = behind.pop_first()
        {
            of.insert(ingress.id(), component);
        }
    }
    let mut users: BTreeMap<String, BTreeSet<&str>> = BTreeMap::new();
    for workload in workloads() {
        let Some(component) = of.get(&workload.id()) else { continue };
        for volume in component::pod(workload)["spec"]["volumes"].as_array().into_iter().flatten() {
            let sources = [
                ("ConfigMap", &volume["configMap"]["name"]),
                ("Secret", &volume["secret"]["secretName"]),
                ("PersistentVolumeClaim", &volume["persistentVolumeClaim"]["claimName"]),
            ];
            for (kind, name) in sources.into_iter().filter_map(|(kind, name)| Some((kind, name.as_str()?))) {
                users.entry(format!("{kind}/{name}")).or_default().insert(component);
            }
        }
    }
    let mut others = BTreeMap::new();
    for object in objects().filter(|object| !of.contains_key(&object.id())) {
        let label = object.body["metadata"]["labels"]["app.kubernetes.io/component"].as_str();
        let label = label.filter(|label| components.contains_key(*label));
        let alone = users.get(&object.id()).filter(|users| users.len() == 1).and_then(|users| users.first());
        if let Some(component) = label.or(alone.copied()) {
            others.insert(object.id(), component.to_owned());
        }
    }
    of.extend(others);
    of
}

#[cfg(test)]
mod tests {
    use envctl_model::stack::ComponentKind;

    use super::*;
    use crate::flows::chart::parse;

    const A: &str = "
apiVersion: apps/v1
kind: Deployment
metadata: {name: shop-web}
spec:
  selector: {matchLabels: {app: web}}
  template:
    metadata: {labels: {app: web}, annotations: {checksum/config: '1'}}
    spec:
      containers:
      - name: web
        image: web:1
        args: [serve]
        env:
        - {name: PLAIN, value: same}
        - {name: MESSAGE, valueFrom: {configMapKeyRef: {name: config, key: message}}}
        - {name: PASSWORD, valueFrom: {secretKeyRef: {name: drawn, key: password}}}
        - {name: POD, valueFrom: {fieldRef: {fieldPath: metadata.name}}}
        envFrom: [{secretRef: {name: elsewhere}}]
        resources: {limits: {memory: 1Gi}}
        readinessProbe: {httpGet: {path: /ready, port: 80}}
        ports: [{containerPort: 80}]
        volumeMounts: [{name: files, mountPath: /etc/web, readOnly: true}]
      volumes: [{name: files, configMap: {name: files}}]
---
apiVersion: v1
kind: ConfigMap
metadata: {name: config}
data: {message: hello, unused: x}
---
apiVersion: v1
kind: ConfigMap
metadata: {name: files}
data: {a.conf: 'one'}
---
apiVersion: v1
kind: Secret
metadata: {name: drawn}
stringData: {password: topsecret1, other: kept}
---
apiVersion: v1
kind: Service
metadata: {name: web}
spec: {selector: {app: web}, ports: [{port: 80, targetPort: 8000}]}
---
apiVersion: networking.k8s.io/v1
kind: Ingress
metadata: {name: web}
spec: {rules: [{host: web.localhost, http: {paths: [{path: /, backend: {service: {name: web, port: {number: 80}}}}]}}]}
";

    fn compared(a: &str, b: &str, extent: Extent) -> Vec<Group> {
        let component = Component { kind: ComponentKind::Service, criticality: None, enabled_by: None };
        let components = [("web".to_owned(), component)].into();
        compare(&components, &parse(a, "a").unwrap(), &parse(b, "b").unwrap(), extent)
    }

    fn lines(a: &str, b: &str) -> Vec<String> {
        let groups = compared(a, b, Extent::Folded);
        let lines = groups.iter().flat_map(|group| {
            group.entries.iter().map(move |e| {
                let value = |v: &Option<String>| v.as_deref().unwrap_or("-").to_owned();
                let what = format!("{:?} {} {}", e.topic, e.object, e.what);
                format!("{}: {}: {} -> {}", group.name, what.trim(), value(&e.a), value(&e.b))
            })
        });
        lines.collect()
    }

    #[test]
    fn each_kind_of_difference_is_told_in_its_words_under_its_component() {
        let changed = |from: &str, to: &str| lines(A, &A.replace(from, to));
        let web = |line: &str| vec![format!("web: {line}")];
        assert_eq!(
            changed("image: web:1", "image: web:2"),
            web("Image Deployment/shop-web web: web:1 -> web:2")
        );
        assert_eq!(
            changed("spec:\n  selector", "spec:\n  replicas: 3\n  selector"),
            web("Replicas Deployment/shop-web: 1 -> 3")
        );
        assert_eq!(
            changed("spec:\n  selector", "spec:\n  replicas: 1\n  selector"),
            [""; 0],
            "1 is the default"
        );
        assert_eq!(
            changed("[serve]", "[serve, -v]"),
            web("Command Deployment/shop-web web args: serve -> serve -v")
        );
        assert_eq!(
            changed("message: hello", "message: bye"),
            web("Env Deployment/shop-web web MESSAGE: hello -> bye"),
            "and not once more as the ConfigMap's"
        );
        assert_eq!(
            changed("metadata.name}", "status.podIP}"),
            web(
                "Env Deployment/shop-web web POD: fieldRef.fieldPath metadata.name -> fieldRef.fieldPath status.podIP"
            )
        );
        assert_eq!(
            changed("memory: 1Gi", "memory: 2Gi"),
            web("Resources Deployment/shop-web web limits.memory: 1Gi -> 2Gi")
        );
        assert_eq!(
            changed("path: /ready", "path: /up"),
            web("Probe Deployment/shop-web web readinessProbe.httpGet.path: /ready -> /up")
        );
        assert_eq!(
            changed("configMap: {name: files}", "emptyDir: {}"),
            web("Volume Deployment/shop-web web /etc/web: configMap files, read-only -> emptyDir, read-only")
        );
        assert_eq!(
            changed("a.conf: 'one'", "a.conf: 'two'"),
            web("Data ConfigMap/files a.conf: one -> two"),
            "it is the component's that alone mounts it"
        );
        assert_eq!(
            changed("targetPort: 8000", "targetPort: 9000"),
            web("Port Service/web 80: to 8000/TCP -> to 9000/TCP")
        );
        assert_eq!(
            changed("web.localhost", "web.example.com"),
            web("Host Ingress/web / to web:80: web.localhost -> web.example.com")
        );
        assert_eq!(
            changed("      volumes:", "      serviceAccountName: web\n      volumes:"),
            web("Field Deployment/shop-web pod serviceAccountName: - -> web"),
            "what has no word of its own is told by its path"
        );
        assert_eq!(changed("checksum/config: '1'", "checksum/config: '2'"), [""; 0]);
        assert_eq!(
            changed("unused: x", "unused: z"),
            ["ConfigMap/config: Data ConfigMap/config unused: x -> z"]
        );
    }

    #[test]
    fn an_ingress_that_leads_to_several_is_under_its_own_name() {
        let path = "{path: /api, backend: {service: {name: api, port: {name: http}}}}";
        let shared = A.replace("paths: [", &format!("paths: [{path}, "));
        assert_eq!(
            lines(&shared, &shared.replace("web.localhost", "web.example.com")),
            [
                "Ingress/web: Host Ingress/web / to web:80: web.localhost -> web.example.com",
                "Ingress/web: Host Ingress/web /api to api:http: web.localhost -> web.example.com",
            ]
        );
    }

    #[test]
    fn values_of_secrets_are_compared_and_never_shown() {
        assert_eq!(
            lines(A, &A.replace("topsecret1", "topsecret2").replace("other: kept", "other: changed")),
            [
                "Secret/drawn: Data Secret/drawn other: (hidden) -> (hidden)",
                "web: Env Deployment/shop-web web PASSWORD: (hidden) -> (hidden)",
            ]
        );
        let encoded = A.replace("stringData: {password: topsecret1", "data: {password: dG9wc2VjcmV0MQ==");
        let other = |line: &String| line.contains("other");
        let differs: Vec<_> = lines(A, &encoded).into_iter().filter(|line| !other(line)).collect();
        assert_eq!(differs, [""; 0], "however they are written");
    }

    #[test]
    fn what_one_side_has_alone_is_one_line_until_it_is_unfolded() {
        let (more, _) = A.split_once("---\napiVersion: v1\nkind: Service").unwrap();
        assert_eq!(
            lines(more, A),
            ["web: Object Ingress/web: - -> there", "web: Object Service/web: - -> there"]
        );
        assert_eq!(lines(A, A), [""; 0]);
        let folded = compared(more, A, Extent::Folded);
        let all = compared(more, A, Extent::All);
        let count = |groups: &[Group]| groups.iter().map(|g| g.entries.len()).sum::<usize>();
        assert!(count(&folded) == 2 && count(&all) > 20, "{all:#?}");
        assert!(folded.iter().map(|g| g.equal).sum::<usize>() > 10);
    }
}
