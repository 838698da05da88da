//! What somebody has to fill in before the stack file works.

use std::collections::BTreeSet;

use serde_json::{Value, json};

use super::builds::Matched;
use super::file::{Content, input};
use super::shown;
use super::study::{RELEASE, Study};
use super::values::Leaf;

/// A name that is made of the release's, which is the environment's, as one may say it.
pub(super) fn anywhere(name: &str) -> String {
    match name.strip_prefix(RELEASE) {
        Some(rest) if rest.is_empty() || rest.starts_with('-') => format!("ENVIRONMENT{rest}"),
        _ => name.to_owned(),
    }
}

/// `album-db: {password: {generate: 24}}`
pub(super) fn secret(name: &str, keys: &BTreeSet<String>) -> String {
    let keys: Vec<&str> =
        if keys.is_empty() { vec!["KEY"] } else { keys.iter().map(String::as_str).collect() };
    let keys: serde_json::Map<String, Value> =
        keys.into_iter().map(|key| (key.to_owned(), json!({"generate": 24}))).collect();
    input(name, &keys.into())
}

/// What somebody has to do before this works.
pub(super) fn todos(content: &mut Content, study: &Study, matched: &Matched) {
    let mut todos = std::mem::take(&mut content.todos);
    if !study.missing.is_empty() {
        todos.push(format!(
            "values that the chart requires: {}; set them in `inputs.values`",
            study.missing.join(", ")
        ));
    }
    if let Some(failed) = &study.failed {
        let said = failed.lines().map(str::trim).find(|line| line.starts_with("Error:")).unwrap_or(failed);
        let said = said.trim_start_matches("Error:").trim();
        todos.push(format!(
            "Helm cannot render the chart, so images, hosts and components were not found: {said}"
        ));
    }
    for (name, keys) in &study.secrets {
        let keys = keys.iter().cloned().collect::<Vec<_>>().join(", ");
        let keys = if keys.is_empty() { String::new() } else { format!(" ({keys})") };
        todos.push(format!(
            "Secret {name}{keys}: pods read it, and the chart does not make it; fill in `secrets`"
        ));
    }
    for build in matched.builds.iter().filter(|build| !build.values.without_tag.is_empty()) {
        let leaves: Vec<_> = build.values.without_tag.iter().map(Leaf::to_string).collect();
        todos.push(format!(
            "image `{}`: no value beside {} is its tag, so the chart cannot be told which one was built: add one",
            build.name,
            leaves.join(", ")
        ));
    }
    if study.failed.is_none() {
        for dockerfile in matched.left.iter().filter(|dockerfile| !dockerfile.in_compose) {
            todos.push(format!(
                "{}: which image of the chart it makes is not clear; add it to `images`, or leave it out",
                shown(&dockerfile.path)
            ));
        }
    }
    if !content.local.vars_missing.is_empty() {
        let names = content.local.vars_missing.join(", ");
        todos.push(format!(
            "variables that the Terraform root requires: {names}; set them in `inputs.terraform.vars`"
        ));
    }
    if !content.local.addresses.is_empty() {
        todos.push(
            "values that look like addresses outside of the chart: see `inputs` of target `local`".to_owned(),
        );
    }
    content.todos = todos;
}
