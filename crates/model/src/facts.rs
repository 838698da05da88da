//! Facts: what envctl knows about an environment, and the strict templates that use them.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex};

use minijinja::value::{Object, Value};
use minijinja::{Environment, UndefinedBehavior};

use crate::host::Hosts;

/// One fact. Sensitive ones are never shown.
#[derive(Clone, PartialEq, Eq)]
pub struct Fact {
    value: serde_json::Value,
    sensitive: bool,
}

impl std::fmt::Debug for Fact {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        if self.sensitive { f.write_str("(sensitive)") } else { self.value.fmt(f) }
    }
}

/// All facts of an environment, by dotted name: `env.name`, `terraform.database_host`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Facts {
    facts: BTreeMap<String, Fact>,
    hosts: Option<Hosts>,
}

/// What a template came to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rendered {
    /// A template that is one expression and nothing else keeps the fact's type.
    pub value: serde_json::Value,
    /// Whether a sensitive fact went into it.
    pub sensitive: bool,
}

/// A template that cannot be rendered.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TemplateError {
    /// It names a fact that does not exist.
    #[error("there is no fact `{name}`{}\nfacts of this environment: {}", suggestion(.name, .known), .known.join(", "))]
    Unknown {
        /// What was named.
        name: String,
        /// What exists.
        known: Vec<String>,
    },
    /// It is no template.
    #[error("not a template: {0}")]
    Syntax(String),
}

fn suggestion(name: &str, known: &[String]) -> String {
    crate::spelling::closest(name, known.iter().map(String::as_str))
        .map_or(String::new(), |k| format!("; did you mean `{k}`?"))
}

impl Facts {
    /// No facts.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a fact.
    pub fn set(&mut self, name: impl Into<String>, value: impl Into<serde_json::Value>) {
        self.facts.insert(name.into(), Fact { value: value.into(), sensitive: false });
    }

    /// Adds a fact that is never shown.
    pub fn set_sensitive(&mut self, name: impl Into<String>, value: impl Into<serde_json::Value>) {
        self.facts.insert(name.into(), Fact { value: value.into(), sensitive: true });
    }

    /// Makes every `host.NAME` a fact.
    pub fn set_hosts(&mut self, hosts: Hosts) {
        self.hosts = Some(hosts);
    }

    /// The names of all facts.
    #[must_use]
    pub fn names(&self) -> Vec<String> {
        let mut names: Vec<_> = self.facts.keys().cloned().collect();
        if self.hosts.is_some() {
            names.push("host.NAME".to_owned());
        }
        names
    }

    fn get(&self, name: &str) -> Option<Fact> {
        if let Some(fact) = self.facts.get(name) {
            return Some(fact.clone());
        }
        let host = name.strip_prefix("host.")?;
        let hosts = self.hosts.as_ref()?;
        Some(Fact { value: hosts.of(host).into(), sensitive: false })
    }

    fn is_prefix(&self, name: &str) -> bool {
        let prefix = format!("{name}.");
        self.facts.keys().any(|k| k.starts_with(&prefix)) || (name == "host" && self.hosts.is_some())
    }

    /// Renders a template such as `http://{{ host.web }}:{{ router.port }}`.
    ///
    /// # Errors
    /// When it names a fact that does not exist, or is no template.
    pub fn render(&self, template: &str) -> Result<Rendered, TemplateError> {
        if !template.contains("{{") && !template.contains("{%") {
            return Ok(Rendered { value: template.into(), sensitive: false });
        }
        let reads = Arc::new(Mutex::new(Reads::default()));
        let shared = Arc::new(self.clone());
        let mut environment = Environment::new();
        environment.set_undefined_behavior(UndefinedBehavior::Strict);
        for root in shared.roots() {
            let node = Node { facts: shared.clone(), name: root.clone(), reads: reads.clone() };
            environment.add_global(root, Value::from_object(node));
        }
        let known_roots = shared.roots();
        let result = single_expression(template).map_or_else(
            || environment.render_str(template, ()).map(serde_json::Value::from),
            |expression| {
                let value = environment.compile_expression(expression)?.eval(())?;
                if value.is_undefined() {
                    return Err(minijinja::Error::new(minijinja::ErrorKind::UndefinedError, "undefined"));
                }
                serde_json::to_value(&value)
                    .map_err(|e| minijinja::Error::new(minijinja::ErrorKind::BadSerialization, e.to_string()))
            },
        );
        let reads = reads.lock().unwrap_or_else(std::sync::PoisonError::into_inner).clone();
        if let Some(name) = reads.missing.first() {
            return Err(TemplateError::Unknown { name: name.clone(), known: self.names() });
        }
        match result {
            Ok(value) => Ok(Rendered { value, sensitive: reads.sensitive }),
            Err(error) if error.kind() == minijinja::ErrorKind::UndefinedError => {
                let name = undeclared(&environment, template, &known_roots)
                    .unwrap_or_else(|| template.trim().to_owned());
                Err(TemplateError::Unknown { name, known: self.names() })
            }
            Err(error) => Err(TemplateError::Syntax(error.to_string())),
        }
    }

    fn roots(&self) -> BTreeSet<String> {
        self.facts
            .keys()
            .filter_map(|k| k.split('.').next().map(str::to_owned))
            .chain(self.hosts.as_ref().map(|_| "host".to_owned()))
            .collect()
    }
}

/// The dotted name at whose root nothing is known, such as `gti.sha`.
fn undeclared(environment: &Environment<'_>, template: &str, roots: &BTreeSet<String>) -> Option<String> {
    let parsed = environment.template_from_str(template).ok()?;
    let mut names: Vec<_> = parsed.undeclared_variables(true).into_iter().collect();
    names.sort();
    names.into_iter().find(|n| n.split('.').next().is_some_and(|root| !roots.contains(root)))
}

/// `{{ expression }}` and nothing around it.
fn single_expression(template: &str) -> Option<&str> {
    let inner = template.trim().strip_prefix("{{")?.strip_suffix("}}")?;
    (!inner.contains("{{") && !inner.contains("}}")).then_some(inner.trim())
}

#[derive(Debug, Default, Clone)]
struct Reads {
    sensitive: bool,
    missing: Vec<String>,
}

/// A part of a dotted name, as minijinja sees it. It notes what was read and what was missing.
#[derive(Debug)]
struct Node {
    facts: Arc<Facts>,
    name: String,
    reads: Arc<Mutex<Reads>>,
}

impl Object for Node {
    fn get_value(self: &Arc<Self>, key: &Value) -> Option<Value> {
        let name = format!("{}.{}", self.name, key.as_str()?);
        let mut reads = self.reads.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        if let Some(fact) = self.facts.get(&name) {
            reads.sensitive |= fact.sensitive;
            return Some(Value::from(minijinja::value::Serde(&fact.value)));
        }
        if self.facts.is_prefix(&name) {
            return Some(Value::from_object(Self {
                facts: self.facts.clone(),
                name,
                reads: self.reads.clone(),
            }));
        }
        reads.missing.push(name);
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn facts() -> Facts {
        let mut facts = Facts::new();
        facts.set("env.name", "album-aki");
        facts.set("router.port", 8080);
        facts.set("image.my-app.tag", "envctl-1");
        facts.set_sensitive("terraform.password", "hunter2");
        facts.set_hosts(Hosts::new("album-aki", "localhost"));
        facts
    }

    #[test]
    fn a_lone_expression_keeps_its_type_and_text_around_it_makes_text() {
        assert_eq!(facts().render("{{ router.port }}").unwrap().value, serde_json::json!(8080));
        assert_eq!(
            facts().render("http://{{ host.web }}:{{ router.port }}/").unwrap().value,
            serde_json::json!("http://web.album-aki.localhost:8080/")
        );
        assert_eq!(facts().render("{{ image['my-app'].tag }}").unwrap().value, serde_json::json!("envctl-1"));
        assert_eq!(facts().render("plain").unwrap().value, serde_json::json!("plain"));
    }

    #[test]
    fn sensitivity_is_carried() {
        assert!(facts().render("x-{{ terraform.password }}").unwrap().sensitive);
        assert!(!facts().render("{{ env.name }}").unwrap().sensitive);
        assert!(!format!("{:?}", facts()).contains("hunter2"));
    }

    #[test]
    fn an_unknown_fact_is_an_error_with_a_suggestion_and_the_list() {
        let error = facts().render("{{ env.nmae }}").unwrap_err().to_string();
        assert_eq!(
            error,
            "there is no fact `env.nmae`; did you mean `env.name`?\n\
             facts of this environment: env.name, image.my-app.tag, router.port, terraform.password, host.NAME"
        );
        assert!(facts().render("{{ evn.name }}").unwrap_err().to_string().contains("`evn.name`"));
        assert!(facts().render("a {{ evn.name }}").unwrap_err().to_string().contains("`evn.name`"));
        assert!(facts().render("{{ env.name").unwrap_err().to_string().starts_with("not a template"));
    }
}
