//! What objects say, field by field, in the words of those who read a difference. Pure.
//!
//! Everything is in it that an object says: what has no word of its own is a `field` by its path. So nothing that differs
//! is dropped in silence.

use std::collections::{BTreeMap, BTreeSet};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use envctl_translate::Object;
use schemars::JsonSchema;
use serde::Serialize;
use serde_json::{Map, Value};

use crate::flows::component;

/// What a facet is about, in the order in which they are shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) enum Topic {
    /// The whole object: one side has none.
    Object,
    /// How many pods.
    Replicas,
    /// When a CronJob runs.
    Schedule,
    /// A container's image.
    Image,
    /// What a container runs.
    Command,
    /// A variable.
    Env,
    /// Requests and limits.
    Resources,
    /// A probe.
    Probe,
    /// What is mounted.
    Volume,
    /// A port.
    Port,
    /// A host name of an Ingress.
    Host,
    /// A key of a ConfigMap or Secret.
    Data,
    /// Any other field.
    Field,
}

/// Which facet of which object.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Key {
    pub(super) object: String,
    pub(super) topic: Topic,
    /// `web MESSAGE`: which of several.
    pub(super) what: String,
}

/// What it says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Said {
    /// For everybody to see.
    Plain(String),
    /// A value of a Secret: it is compared, and never shown.
    Secret(String),
}

/// What objects say.
#[derive(Debug, Default)]
pub(super) struct Facets {
    pub(super) said: BTreeMap<Key, Said>,
    /// Keys of ConfigMaps and Secrets that variables take: these tell of them.
    pub(super) in_variables: BTreeSet<(String, String)>,
}

/// Reads objects.
pub(super) fn facets(objects: &[Object]) -> Facets {
    let mut reader = Reader { objects, facets: Facets::default() };
    for object in objects {
        reader.object(object);
    }
    reader.facets
}

struct Reader<'a> {
    objects: &'a [Object],
    facets: Facets,
}

impl Reader<'_> {
    fn object(&mut self, object: &Object) {
        let mut rest = object.body.clone();
        let id = object.id();
        for path in [&["apiVersion"][..], &["kind"], &["metadata", "name"], &["metadata", "namespace"]] {
            take(&mut rest, path);
        }
        match object.kind.as_str() {
            "ConfigMap" => {
                for section in ["data", "binaryData"] {
                    for (key, value) in map(take(&mut rest, &[section])) {
                        self.say(&id, Topic::Data, key, Said::Plain(text(&value)));
                    }
                }
            }
            "Secret" => {
                for (key, value) in secrets(&object.body) {
                    self.say(&id, Topic::Data, key, Said::Secret(value));
                }
                take(&mut rest, &["data"]);
                take(&mut rest, &["stringData"]);
            }
            "Service" => self.service(&id, &mut rest),
            "Ingress" => self.ingress(&id, &mut rest),
            _ if component::is_workload(object) => self.workload(&id, object, &mut rest),
            _ => {}
        }
        self.fields(&id, "", &rest);
    }

    fn say(&mut self, object: &str, topic: Topic, what: impl Into<String>, said: Said) {
        self.facets.said.insert(Key { object: object.to_owned(), topic, what: what.into() }, said);
    }

    fn plain(&mut self, object: &str, topic: Topic, what: impl Into<String>, value: impl Into<String>) {
        self.say(object, topic, what, Said::Plain(value.into()));
    }

    /// All leaves, each by its path.
    fn fields(&mut self, object: &str, prefix: &str, value: &Value) {
        self.leaves(object, Topic::Field, prefix, value);
    }

    fn leaves(&mut self, object: &str, topic: Topic, prefix: &str, value: &Value) {
        for (path, value) in leaves(value) {
            let dot = if prefix.is_empty() || path.is_empty() || prefix.ends_with(' ') { "" } else { "." };
            self.plain(object, topic, format!("{prefix}{dot}{path}"), value);
        }
    }

    fn service(&mut self, id: &str, rest: &mut Value) {
        for mut port in list(take(rest, &["spec", "ports"])) {
            let number = text(&take(&mut port, &["port"]));
            let target = take(&mut port, &["targetPort"]);
            let to = if target.is_null() { number.clone() } else { text(&target) };
            let protocol = take(&mut port, &["protocol"]).as_str().unwrap_or("TCP").to_owned();
            let mut value = format!("to {to}/{protocol}");
            let on_nodes = take(&mut port, &["nodePort"]);
            if !on_nodes.is_null() {
                value += &format!(", on nodes {}", text(&on_nodes));
            }
            // A Service may have a number for TCP and UDP.
            let what = if protocol == "TCP" { number } else { format!("{number}/{protocol}") };
            self.fields(id, &format!("port {what} "), &port);
            self.plain(id, Topic::Port, what, value);
        }
    }

    fn ingress(&mut self, id: &str, rest: &mut Value) {
        // By where they lead: environments differ in their hosts.
        let mut hosts: BTreeMap<String, Vec<String>> = BTreeMap::new();
        for rule in list(take(rest, &["spec", "rules"])) {
            let host = rule["host"].as_str().unwrap_or("*");
            for path in rule["http"]["paths"].as_array().into_iter().flatten() {
                let service = &path["backend"]["service"];
                let port = service["port"].as_object().and_then(|port| port.values().next());
                let at = path["path"].as_str().unwrap_or("/");
                let to = format!("{at} to {}:{}", text(&service["name"]), port.map(text).unwrap_or_default());
                if !path["pathType"].is_null() {
                    self.plain(id, Topic::Field, format!("pathType of {to}"), text(&path["pathType"]));
                }
                if !path["backend"]["resource"].is_null() {
                    self.fields(id, &format!("resource of {at}"), &path["backend"]["resource"]);
                }
                hosts.entry(to).or_default().push(host.to_owned());
            }
        }
        for tls in list(take(rest, &["spec", "tls"])) {
            let certificate = format!("TLS by {}", text(&tls["secretName"]));
            hosts.entry(certificate).or_default().extend(list(tls["hosts"].clone()).iter().map(text));
        }
        for (to, hosts) in hosts {
            self.plain(id, Topic::Host, to, hosts.join(", "));
        }
    }

    fn workload(&mut self, id: &str, object: &Object, rest: &mut Value) {
        if ["Deployment", "StatefulSet", "ReplicaSet", "Rollout"].contains(&object.kind.as_str()) {
            let replicas = take(rest, &["spec", "replicas"]);
            self.plain(
                id,
                Topic::Replicas,
                "",
                if replicas.is_null() { "1".to_owned() } else { text(&replicas) },
            );
        }
        if object.kind == "CronJob" {
            for field in ["schedule", "timeZone", "suspend"] {
                let value = take(rest, &["spec", field]);
                if !value.is_null() {
                    self.plain(id, Topic::Schedule, field, text(&value));
                }
            }
        }
        let at: &[&str] = match object.kind.as_str() {
            "Pod" => &["spec"],
            "CronJob" => &["spec", "jobTemplate", "spec", "template", "spec"],
            _ => &["spec", "template", "spec"],
        };
        // A checksum says nothing that its ConfigMap does not.
        let at_annotations: &[&str] = match object.kind.as_str() {
            "CronJob" => &["spec", "jobTemplate", "spec", "template", "metadata", "annotations"],
            _ => &["spec", "template", "metadata", "annotations"],
        };
        if let Some(annotations) = at_path(rest, at_annotations).and_then(Value::as_object_mut) {
            annotations.retain(|name, _| !name.starts_with("checksum/"));
            if annotations.is_empty() {
                take(rest, at_annotations);
            }
        }
        let mut pod = take(rest, at);
        let volumes = list(take(&mut pod, &["volumes"]));
        for field in ["initContainers", "containers"] {
            for container in list(take(&mut pod, &[field])) {
                self.container(id, container, &volumes);
            }
        }
        self.fields(id, "pod ", &pod);
    }

    fn container(&mut self, id: &str, mut container: Value, volumes: &[Value]) {
        let name = text(&take(&mut container, &["name"]));
        self.plain(id, Topic::Image, name.clone(), text(&take(&mut container, &["image"])));
        for field in ["command", "args", "workingDir"] {
            let value = take(&mut container, &[field]);
            if !value.is_null() {
                self.plain(id, Topic::Command, format!("{name} {field}"), words(&value));
            }
        }
        self.variables(id, &name, &mut container);
        self.leaves(id, Topic::Resources, &format!("{name} "), &take(&mut container, &["resources"]));
        for probe in ["startupProbe", "readinessProbe", "livenessProbe"] {
            self.leaves(id, Topic::Probe, &format!("{name} {probe}"), &take(&mut container, &[probe]));
        }
        for mount in list(take(&mut container, &["volumeMounts"])) {
            let value = mounted(&mount, volumes);
            self.plain(id, Topic::Volume, format!("{name} {}", text(&mount["mountPath"])), value);
        }
        for port in list(take(&mut container, &["ports"])) {
            let what = format!(
                "{name} {}/{}",
                text(&port["containerPort"]),
                port["protocol"].as_str().unwrap_or("TCP")
            );
            self.plain(id, Topic::Port, what, text(&port["name"]));
        }
        self.fields(id, &format!("{name} "), &container);
    }

    /// Variables as a container sees them: what comes from a ConfigMap or a Secret is its value there.
    fn variables(&mut self, id: &str, name: &str, container: &mut Value) {
        for source in list(take(container, &["envFrom"])) {
            let prefix = source["prefix"].as_str().unwrap_or_default();
            let (kind, at) = if source["secretRef"].is_null() {
                ("ConfigMap", &source["configMapRef"])
            } else {
                ("Secret", &source["secretRef"])
            };
            let of = text(&at["name"]);
            match self.entries(kind, &of) {
                Some(entries) => {
                    for (key, said) in entries {
                        self.say(id, Topic::Env, format!("{name} {prefix}{key}"), said);
                        self.facets.in_variables.insert((format!("{kind}/{of}"), key));
                    }
                }
                None => {
                    self.plain(id, Topic::Env, format!("{name} {prefix}*"), format!("all of {kind} {of}"))
                }
            }
        }
        for variable in list(take(container, &["env"])) {
            let what = format!("{name} {}", text(&variable["name"]));
            let from = &variable["valueFrom"];
            let reference = [("ConfigMap", &from["configMapKeyRef"]), ("Secret", &from["secretKeyRef"])];
            let said = match reference.into_iter().find(|(_, at)| !at.is_null()) {
                Some((kind, at)) => {
                    let (of, key) = (text(&at["name"]), text(&at["key"]));
                    let entry = self.entries(kind, &of).and_then(|entries| {
                        entries.into_iter().find(|(name, _)| *name == key).map(|(_, said)| said)
                    });
                    self.facets.in_variables.insert((format!("{kind}/{of}"), key.clone()));
                    entry.unwrap_or_else(|| Said::Plain(format!("{key} of {kind} {of}")))
                }
                None if from.is_null() => Said::Plain(text(&variable["value"])),
                None => {
                    let leaves = leaves(from);
                    let leaves: Vec<_> =
                        leaves.into_iter().map(|(path, value)| format!("{path} {value}")).collect();
                    Said::Plain(leaves.join(", "))
                }
            };
            self.say(id, Topic::Env, what, said);
        }
    }

    /// What a ConfigMap or Secret holds, if it is among the objects.
    fn entries(&self, kind: &str, name: &str) -> Option<Vec<(String, Said)>> {
        let object = self.objects.iter().find(|object| object.kind == kind && object.name == name)?;
        Some(match kind {
            "Secret" => {
                secrets(&object.body).into_iter().map(|(key, value)| (key, Said::Secret(value))).collect()
            }
            _ => {
                let data = object.body["data"].as_object().into_iter().flatten();
                data.map(|(key, value)| (key.clone(), Said::Plain(text(value)))).collect()
            }
        })
    }
}

/// The values of a Secret, however they are written.
fn secrets(secret: &Value) -> BTreeMap<String, String> {
    let section = |name: &str| secret[name].as_object().into_iter().flatten();
    let decoded = section("data").map(|(key, value)| {
        let encoded = text(value);
        let bytes = STANDARD.decode(&encoded).ok().and_then(|bytes| String::from_utf8(bytes).ok());
        (key.clone(), bytes.unwrap_or(encoded))
    });
    // What is in both is that of `stringData`.
    decoded.chain(section("stringData").map(|(key, value)| (key.clone(), text(value)))).collect()
}

/// `ConfigMap web, read-only`
fn mounted(mount: &Value, volumes: &[Value]) -> String {
    let volume = volumes.iter().find(|volume| volume["name"] == mount["name"]);
    let source = volume.and_then(|volume| {
        let (kind, source) = volume.as_object()?.iter().find(|(key, _)| *key != "name")?;
        let name =
            ["name", "secretName", "claimName", "path"].into_iter().find_map(|key| source[key].as_str());
        let mut more = source.clone();
        for key in ["name", "secretName", "claimName", "path"] {
            take(&mut more, &[key]);
        }
        let more: Vec<_> = leaves(&more).into_iter().map(|(path, value)| format!("{path} {value}")).collect();
        let all = std::iter::once(kind.clone()).chain(name.map(str::to_owned)).collect::<Vec<_>>().join(" ");
        Some(std::iter::once(all).chain(more).collect::<Vec<_>>().join(", "))
    });
    let mut said = source.unwrap_or_else(|| format!("claim {}", text(&mount["name"])));
    for (field, word) in [("subPath", "sub path "), ("subPathExpr", "sub path ")] {
        if let Some(path) = mount[field].as_str() {
            said += &format!(", {word}{path}");
        }
    }
    if mount["readOnly"] == true {
        said += ", read-only";
    }
    said
}

/// All that is no mapping and no list, by its path; empty ones, too, where they say something.
fn leaves(value: &Value) -> Vec<(String, String)> {
    fn collect(value: &Value, path: &str, found: &mut Vec<(String, String)>) {
        match value {
            Value::Object(fields) if !fields.is_empty() => {
                for (key, field) in fields {
                    let dot = if path.is_empty() { "" } else { "." };
                    let key = if key.contains('.') { format!("'{key}'") } else { key.clone() };
                    collect(field, &format!("{path}{dot}{key}"), found);
                }
            }
            Value::Array(items) if items.iter().any(|item| item.is_object() || item.is_array()) => {
                for (index, item) in items.iter().enumerate() {
                    // By name, so that one more in front does not change all others.
                    let name = item["name"].as_str().map_or_else(|| index.to_string(), str::to_owned);
                    collect(item, &format!("{path}[{name}]"), found);
                }
            }
            Value::Null => {}
            Value::Object(_) if path.is_empty() => {}
            leaf => found.push((path.to_owned(), words(leaf))),
        }
    }
    let mut found = Vec::new();
    collect(value, "", &mut found);
    found
}

/// A list of words as one would type it.
fn words(value: &Value) -> String {
    match value {
        Value::Array(items) => items.iter().map(text).collect::<Vec<_>>().join(" "),
        value => text(value),
    }
}

fn text(value: &Value) -> String {
    match value {
        Value::Null => String::new(),
        Value::String(text) => text.clone(),
        value => value.to_string(),
    }
}

fn list(value: Value) -> Vec<Value> {
    match value {
        Value::Array(items) => items,
        _ => Vec::new(),
    }
}

fn map(value: Value) -> Map<String, Value> {
    match value {
        Value::Object(fields) => fields,
        _ => Map::new(),
    }
}

fn at_path<'a>(value: &'a mut Value, path: &[&str]) -> Option<&'a mut Value> {
    path.iter().try_fold(value, |value, key| value.get_mut(*key))
}

/// Takes a field out, and what holds nothing else with it; null where there is none.
fn take(value: &mut Value, path: &[&str]) -> Value {
    let Some((last, parents)) = path.split_last() else { return Value::Null };
    let Some(fields) = at_path(value, parents).and_then(Value::as_object_mut) else { return Value::Null };
    let taken = fields.remove(*last).unwrap_or_default();
    if fields.is_empty() {
        take(value, parents);
    }
    taken
}
