//! The text of a stack file.

use envctl_model::stack::ComponentKind;
use minijinja::value::Serde;
use minijinja::{Environment, UndefinedBehavior};
use serde::Serialize;
use serde_json::Value;

use crate::ui::Failure;

/// What is filled in. All texts are YAML already.
#[derive(Debug, Default, Serialize)]
pub(super) struct Content {
    /// What somebody has to fill in or look at.
    pub(super) todos: Vec<String>,
    pub(super) project: String,
    pub(super) chart: String,
    pub(super) values: Option<String>,
    pub(super) builds: Vec<Named>,
    pub(super) dockerfiles_left: Vec<String>,
    pub(super) secrets: Vec<String>,
    pub(super) inputs: Vec<String>,
    /// Values that the chart requires and nobody sets.
    pub(super) missing: Vec<String>,
    pub(super) components: Vec<String>,
    pub(super) local: Local,
    pub(super) clusters: Vec<Cluster>,
    pub(super) production: Option<String>,
}

/// Something with a name.
#[derive(Debug, Serialize)]
pub(super) struct Named {
    pub(super) name: String,
    pub(super) fields: String,
}

/// The target of this machine.
#[derive(Debug, Default, Serialize)]
pub(super) struct Local {
    pub(super) values: Option<String>,
    pub(super) backing: Option<String>,
    pub(super) services: String,
    pub(super) left_out: Vec<String>,
    pub(super) terraform: Option<String>,
    pub(super) inputs: Vec<String>,
    /// Values that look like addresses outside of the chart.
    pub(super) addresses: Vec<String>,
    pub(super) vars: Vec<String>,
    /// Variables that the root has no default for.
    pub(super) vars_missing: Vec<String>,
}

/// A target of which only a comment is written.
#[derive(Debug, Serialize)]
pub(super) struct Cluster {
    pub(super) name: String,
    pub(super) values: Option<String>,
    pub(super) terraform: Option<String>,
}

impl Content {
    /// The whole file.
    pub(super) fn text(&self) -> Result<String, Failure> {
        let mut environment = Environment::new();
        environment.set_undefined_behavior(UndefinedBehavior::Strict);
        let template = include_str!("../../../../templates/stack/envctl.yaml");
        let text = environment.render_str(template, Serde(self)).map_err(Failure::failed)?;
        Ok(text.trim_end().to_owned() + "\n")
    }
}

/// `web: {kind: service}`
pub(super) fn component(name: &str, kind: ComponentKind) -> String {
    format!("{}: {{kind: {}}}", plain(name), kind.as_str())
}

/// `path: value`
pub(super) fn input(path: &str, value: &Value) -> String {
    format!("{}: {}", plain(path), flow(value))
}

/// A value on one line.
pub(super) fn flow(value: &Value) -> String {
    match value {
        Value::String(text) => plain(text),
        Value::Array(list) => format!("[{}]", list.iter().map(flow).collect::<Vec<_>>().join(", ")),
        Value::Object(map) => {
            let fields: Vec<_> = map.iter().map(|(key, value)| input(key, value)).collect();
            format!("{{{}}}", fields.join(", "))
        }
        other => other.to_string(),
    }
}

/// A text without quotes where YAML takes it for a text, within brackets as well.
fn plain(text: &str) -> String {
    let quiet = |c: char| c.is_ascii_alphanumeric() || "/._\\-".contains(c);
    let is_plain = text.chars().all(quiet)
        && !text.starts_with('-')
        && matches!(serde_yaml::from_str::<Value>(text), Ok(Value::String(_)));
    if is_plain { text.to_owned() } else { Value::from(text).to_string() }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn what_is_written_is_read_as_it_was_meant() {
        let value = json!({
            "a.b": ["{{ host.web }}", "/", "yes", "0644", "1.10", "a: b", "- x", "", "null", "x#y", "*"],
            "c": {"d": true, "e": 1, "f": null, "g": []},
        });
        let text = flow(&value);
        assert!(text.starts_with("{a.b: [\"{{ host.web }}\", /, \"yes\", \"0644\""), "{text}");
        assert_eq!(serde_yaml::from_str::<Value>(&text).unwrap(), value);
    }
}
