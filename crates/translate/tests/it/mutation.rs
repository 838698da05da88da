//! No leaf is silent: of the corpus' objects, each kind of leaf is changed somewhere, and then what
//! runs is something else, or a finding speaks of it.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;

use envctl_translate::{MissingReferences, Object, parse, translate};
use serde_json::Value;

use crate::corpus::corpus;
use crate::support::{OLD_ENGINE, input};

/// Leaves that are read and may change nothing, and why. `*` is any key or index, and at the
/// beginning any kind; what begins with a dot is the end of a path.
const WITHOUT_EFFECT: &[(&str, &str)] = &[
    ("*.apiVersion", "versions of an API group are not told apart"),
    ("*.metadata.annotations.*", "annotations are meant for controllers"),
    ("*.metadata.labels.*", "what is selected is pods, and those have the labels of their template"),
    ("*.spec.selector.matchLabels.*", "each pod knows its workload"),
    ("*.spec.template.metadata.name", "controllers ignore it, too"),
    ("Secret.type", "a type promises keys; those that are used are looked at"),
    (".serviceAccountName", "there is no API server that would know the account"),
    (".fieldRef.apiVersion", "there is one version"),
    (".optional", "matters where the object is missing"),
    (".runAsNonRoot", "is compared with the user: root is refused"),
    (".volumeMounts.*.readOnly", "volumes with given content are read-only in any case"),
];

/// So many places of a kind of leaf are tried.
const PLACES: usize = 6;

/// Values that mean something to one field or another.
const WORDS: &[&str] = &[
    "Always",
    "Never",
    "OnFailure",
    "None",
    "Default",
    "ClusterIP",
    "NodePort",
    "ClientIP",
    "UDP",
    "Memory",
    "Parallel",
    "Block",
    "Unconfined",
    "HTTPS",
    "Indexed",
    "Bidirectional",
];

#[derive(Debug)]
struct Leaf {
    file: usize,
    object: usize,
    pointer: String,
    /// As findings write it.
    path: String,
}

/// All leaves of a value.
fn leaves(value: &Value, pointer: &str, path: &str, found: &mut Vec<(String, String)>) {
    match value {
        Value::Null => {}
        Value::Array(items) => {
            for (index, item) in items.iter().enumerate() {
                leaves(item, &format!("{pointer}/{index}"), &format!("{path}[{index}]"), found);
            }
        }
        Value::Object(fields) => {
            for (key, field) in fields {
                let escaped = key.replace('~', "~0").replace('/', "~1");
                let next = match key.contains(['.', '/']) {
                    true => format!("{path}['{key}']"),
                    false if path.is_empty() => key.clone(),
                    false => format!("{path}.{key}"),
                };
                leaves(field, &format!("{pointer}/{escaped}"), &next, found);
            }
        }
        _ => found.push((pointer.to_owned(), path.to_owned())),
    }
}

/// What kind of leaf it is: indices, and keys that people choose, are `*`.
fn kind_of(kind: &str, pointer: &str) -> String {
    const CHOSEN: [&str; 9] = [
        "labels",
        "annotations",
        "data",
        "stringData",
        "binaryData",
        "matchLabels",
        "selector",
        "limits",
        "requests",
    ];
    let mut text = kind.to_owned();
    let mut before = "";
    for step in pointer.split('/').skip(1) {
        let chosen = CHOSEN.contains(&before) && step != "matchLabels";
        let shown = if chosen || step.bytes().all(|byte| byte.is_ascii_digit()) { "*" } else { step };
        let _ = write!(text, ".{shown}");
        before = step;
    }
    text
}

fn is_without_effect(kind: &str) -> bool {
    let is = |own: &str, step: &str| own == "*" || own == step;
    WITHOUT_EFFECT.iter().any(|(pattern, _)| match pattern.strip_prefix('.') {
        Some(end) => {
            let (mut own, mut steps) = (end.rsplit('.'), kind.rsplit('.'));
            own.all(|own| steps.next().is_some_and(|step| is(own, step)))
        }
        None => {
            let (own, steps): (Vec<_>, Vec<_>) = (pattern.split('.').collect(), kind.split('.').collect());
            own.len() == steps.len() && own.iter().zip(&steps).all(|(own, step)| is(own, step))
        }
    })
}

/// Everything that a translation says: what would run, and what is reported.
fn outcome(objects: Vec<Object>) -> (String, BTreeSet<(String, String)>) {
    let mut input = input(objects, OLD_ENGINE);
    input.missing_references = MissingReferences::Placeholder;
    match translate(&input) {
        Err(errors) => (format!("{errors:?}"), BTreeSet::new()),
        Ok(done) => {
            let text = format!(
                "{} {:?} {:?} {:?} {:?}",
                done.compose, done.host_files, done.pods, done.urls, done.findings
            );
            (text, done.findings.into_iter().map(|finding| (finding.object, finding.path)).collect())
        }
    }
}

fn covers(finding: &str, leaf: &str) -> bool {
    leaf.strip_prefix(finding)
        .is_some_and(|rest| finding.is_empty() || rest.is_empty() || rest.starts_with(['.', '[']))
}

/// Other values of the same type; `seen` are those that the corpus has in such places.
fn others(value: &Value, seen: &BTreeSet<String>) -> Vec<Value> {
    match value {
        Value::Bool(set) => vec![Value::Bool(!set)],
        Value::Number(number) => {
            number.as_i64().map_or(Vec::new(), |n| vec![(n + 1).into(), (n * 2 + 7).into()])
        }
        Value::String(text) => {
            let seen = seen.iter().map(String::as_str).take(4);
            let all = seen.chain(WORDS.iter().copied()).filter(|other| *other != text);
            std::iter::once(format!("{text}x")).chain(all.map(str::to_owned)).map(Value::String).collect()
        }
        _ => Vec::new(),
    }
}

#[test]
fn a_leaf_that_is_changed_changes_what_runs_or_is_a_finding() {
    let mut corpus = corpus();
    // Small charts are quick.
    corpus.sort_by_key(|(_, objects)| objects.len());
    let mut places: BTreeMap<String, Vec<Leaf>> = BTreeMap::new();
    let mut seen: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for (file, (_, objects)) in corpus.iter().enumerate() {
        for (object, body) in objects.iter().enumerate().map(|(index, object)| (index, &object.body)) {
            let mut found = Vec::new();
            leaves(body, "", "", &mut found);
            for (pointer, path) in found {
                let kind = kind_of(&objects[object].kind, &pointer);
                if let Some(text) = body.pointer(&pointer).and_then(Value::as_str) {
                    seen.entry(kind.clone()).or_default().insert(text.to_owned());
                }
                places.entry(kind).or_default().push(Leaf { file, object, pointer, path });
            }
        }
    }
    let outcomes: Vec<_> = corpus.iter().map(|(_, objects)| outcome(objects.clone())).collect();
    let is_told = |leaf: &Leaf| {
        let id = corpus[leaf.file].1[leaf.object].id();
        outcomes[leaf.file].1.iter().any(|(object, path)| *object == id && covers(path, &leaf.path))
    };
    let matters = |leaf: &Leaf, seen: &BTreeSet<String>| {
        let objects = &corpus[leaf.file].1;
        let value = objects[leaf.object].body.pointer(&leaf.pointer).unwrap();
        others(value, seen).into_iter().any(|other| {
            let mut body = objects[leaf.object].body.clone();
            *body.pointer_mut(&leaf.pointer).unwrap() = other;
            // Some leaves are what an object is known by.
            let Ok(mut read) = parse(&body.to_string(), "changed") else { return true };
            let mut changed = objects.clone();
            changed[leaf.object] = read.remove(0);
            outcome(changed).0 != outcomes[leaf.file].0
        })
    };
    let silent: Vec<_> = places
        .iter()
        .filter(|(kind, _)| !is_without_effect(kind))
        .filter(|(kind, leaves)| {
            !leaves
                .iter()
                .take(PLACES)
                .any(|leaf| is_told(leaf) || matters(leaf, &seen.get(*kind).cloned().unwrap_or_default()))
        })
        .map(|(kind, leaves)| format!("{kind}: {} {}", corpus[leaves[0].file].0, leaves[0].path))
        .collect();
    assert!(silent.is_empty(), "{} of {}: {silent:#?}", silent.len(), places.len());
}
