//! Environment variables of a container.

use std::collections::BTreeMap;

use envctl_model::finding::Severity;

use crate::cursor::{Cursor, Remark};
use crate::downward::Downward;
use crate::expand::expand;
use crate::store::{Reference, Source, Store};

/// The variables of a container.
#[derive(Debug, Clone)]
pub(crate) struct Variables<'l> {
    /// What the pod declares.
    pub(crate) declared: BTreeMap<String, String>,
    /// The Services' variables, which the declared ones override.
    pub(crate) links: &'l BTreeMap<String, String>,
}

impl Variables<'_> {
    pub(crate) fn get(&self, name: &str) -> Option<&str> {
        self.declared.get(name).or_else(|| self.links.get(name)).map(String::as_str)
    }

    fn insert(&mut self, name: String, value: String) {
        self.declared.insert(name, value);
    }
}

/// Reads the variables of a container.
pub(crate) fn variables<'a, 'l>(
    container: &Cursor<'a>,
    downward: &Downward<'_, 'a>,
    store: &Store<'a>,
    links: &'l BTreeMap<String, String>,
) -> Variables<'l> {
    let mut variables = Variables { declared: BTreeMap::new(), links };
    let namespace = &downward.pod.namespace;
    for from in container.get("envFrom").items() {
        let prefix = from.get("prefix").string().unwrap_or_default();
        for (field, source) in [("configMapRef", Source::ConfigMap), ("secretRef", Source::Secret)] {
            let at = from.get(field);
            if !at.present() {
                continue;
            }
            for (key, content) in
                store.find(source, namespace, &Reference::read(&at, "name")).into_iter().flatten()
            {
                let name = format!("{prefix}{key}");
                if name.contains('=') || name.is_empty() {
                    at.remark(Remark::dropped(
                        Severity::Minor,
                        "variable-name",
                        format!("`{name}` cannot name a variable"),
                    ));
                } else if let Some(value) = text(content, &at, key) {
                    variables.insert(name, value);
                }
            }
        }
    }
    variables.declared.extend(downward.pod.environment.iter().cloned());
    for entry in container.get("env").items() {
        let name = entry.get("name").required();
        if name.is_empty() || name.contains('=') {
            entry.get("name").invalid(name, "a variable's name");
            continue;
        }
        if let Some(value) = value(&entry, name, container, downward, store, &variables) {
            variables.insert(name.to_owned(), value);
        }
    }
    variables
}

fn value<'a>(
    entry: &Cursor<'a>,
    name: &str,
    container: &Cursor<'a>,
    downward: &Downward<'_, 'a>,
    store: &Store<'a>,
    earlier: &Variables<'_>,
) -> Option<String> {
    let from = entry.get("valueFrom");
    if !from.present() {
        return Some(expand(entry.get("value").string().unwrap_or_default(), |name| earlier.get(name)));
    }
    if entry.get("value").string().is_some_and(|value| !value.is_empty()) {
        from.invalid(name, "a variable with either `value` or `valueFrom`");
    }
    for (field, source) in [("configMapKeyRef", Source::ConfigMap), ("secretKeyRef", Source::Secret)] {
        let at = from.get(field);
        if at.present() {
            let key = at.get("key").required();
            let reference = Reference::read(&at, "name");
            let optional = reference.optional;
            let content = store.value(source, &downward.pod.namespace, &reference, key);
            return match content {
                Some(content) => text(content, &at, key),
                // An optional variable is absent. A required one was reported; empty stands for it.
                None => (!optional).then(String::new),
            };
        }
    }
    let (field, resource) = (from.get("fieldRef"), from.get("resourceFieldRef"));
    if field.present() {
        downward.field(&field)
    } else if resource.present() {
        downward.resource(&resource, Some(container))
    } else {
        from.remark(
            Remark::dropped(
                Severity::Critical,
                "variable-source",
                format!("the source of `{name}` is not known here"),
            )
            .fix("write the value into this target's values"),
        );
        None
    }
}

fn text(content: &[u8], at: &Cursor<'_>, key: &str) -> Option<String> {
    match std::str::from_utf8(content) {
        // Linux ends a variable at NUL; Docker would refuse it.
        Ok(text) if !text.contains('\0') => Some(text.to_owned()),
        _ => {
            at.remark(Remark::dropped(
                Severity::Major,
                "binary-variable",
                format!("`{key}` is not text: it cannot be a variable"),
            ));
            None
        }
    }
}
