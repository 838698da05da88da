//! Terraform's configuration files as HCL, whichever of its two syntaxes they are written in.

use std::path::Path;

use hcl::expr::{Expression, TemplateExpr};
use hcl::structure::{Block, Body};
use serde_json::Value;

/// What a configuration file names beside itself.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct References {
    /// Sources of local modules, as written: `./a`, `../b`.
    pub(super) modules: Vec<String>,
    /// Other paths with `..` in them, relative to the module.
    pub(super) outside: Vec<String>,
}

/// Whether Terraform or OpenTofu reads this file.
pub(super) fn is_configuration(path: &Path) -> bool {
    let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
    [".tf", ".tf.json", ".tofu", ".tofu.json"].iter().any(|end| name.ends_with(end))
}

/// Reads a file. What cannot be parsed is left to Terraform, which says it better.
pub(super) fn body(path: &Path, text: &str) -> Option<Body> {
    if path.extension().is_some_and(|extension| extension == "json") {
        let value: Value = serde_json::from_str(text).ok()?;
        return Some(body_of_json(&value));
    }
    hcl::parse(text).ok()
}

/// What each kind of block is called, in the syntax of JSON a level of its own for each name.
/// <https://developer.hashicorp.com/terraform/language/syntax/json>
fn labels_of(kind: &str) -> usize {
    match kind {
        "locals" | "terraform" => 0,
        "resource" | "data" | "ephemeral" => 2,
        _ => 1,
    }
}

fn body_of_json(value: &Value) -> Body {
    let mut blocks = Vec::new();
    for (kind, value) in value.as_object().into_iter().flatten() {
        blocks_of_json(kind, &[], value, labels_of(kind), &mut blocks);
    }
    Body::from_iter(blocks)
}

fn blocks_of_json(kind: &str, labels: &[&str], value: &Value, missing: usize, blocks: &mut Vec<Block>) {
    for item in value.as_array().map_or(std::slice::from_ref(value), Vec::as_slice) {
        let fields = item.as_object().into_iter().flatten();
        if missing == 0 {
            let attributes = fields.map(|(key, value)| (key.as_str(), expression_of_json(value)));
            let block = Block::builder(kind).add_labels(labels.iter().copied());
            blocks.push(block.add_attributes(attributes).build());
        } else {
            for (label, value) in fields {
                blocks_of_json(kind, &[labels, &[label.as_str()]].concat(), value, missing - 1, blocks);
            }
        }
    }
}

/// Strings of the JSON syntax are templates.
fn expression_of_json(value: &Value) -> Expression {
    match value {
        Value::String(text) if text.contains("${") || text.contains("%{") => {
            TemplateExpr::QuotedString(text.clone()).into()
        }
        Value::Array(items) => items.iter().map(expression_of_json).collect::<Vec<_>>().into(),
        Value::Object(fields) => Expression::Object(
            fields.iter().map(|(key, value)| (key.clone().into(), expression_of_json(value))).collect(),
        ),
        simple => hcl::to_expression(simple).unwrap_or(Expression::Null),
    }
}

/// Finds what a file names.
pub(super) fn references(path: &Path, text: &str) -> References {
    let mut found = References::default();
    let Some(body) = body(path, text) else { return found };
    for module in body.blocks().filter(|block| block.identifier() == "module") {
        let source = module.body().attributes().find(|attribute| attribute.key() == "source");
        if let Some(Expression::String(source)) = source.map(|source| source.expr())
            && (source.starts_with("./") || source.starts_with("../"))
        {
            found.modules.push(source.clone());
        }
    }
    // Without comments; only strings have paths in them.
    paths_in(&hcl::to_string(&body).unwrap_or_default(), &mut found);
    found
}

/// Paths that lead out of the module. Text of a command is cut where a path ends.
fn paths_in(text: &str, found: &mut References) {
    let ends = |c: char| c.is_whitespace() || "\"'=:,;|&()<>\\".contains(c);
    for word in text.split(ends) {
        let word = ["${path.module}/", "${path.root}/", "${path.cwd}/"]
            .iter()
            .find_map(|prefix| word.strip_prefix(prefix))
            .unwrap_or(word);
        let (path, _) = word.split_once("${").unwrap_or((word, ""));
        if path.starts_with("../") || path.contains("/../") {
            found.outside.push(path.to_owned());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sources_are_found_among_what_only_looks_like_them() {
        let text = r#"
            # module "commented" { source = "./no1" }
            /* module "x" { source = "./no2" } */
            module "a" {
              for_each = { for k, v in { source = "./no3" } : k => "${v == "}" ? "{" : "x"}" }
              source   = "./a" // module
              args     = { source = "./no4" }
            }
            resource "x" "y" { source = "./no5" }
            locals {
              text = <<-EOT
                module "in_text" { source = "./no6" }
              EOT
              script = "sh ${path.module}/../bin/run.sh --file=../../etc/x.conf"
            }
            module "registry" { source = "terraform-aws-modules/vpc/aws" }
            module "b" { source = "../b" }
        "#;
        let found = references(Path::new("main.tf"), text);
        assert_eq!(found.modules, ["./a", "../b"]);
        assert_eq!(found.outside, ["../bin/run.sh", "../../etc/x.conf", "../b"]);
    }

    #[test]
    fn json_has_the_same_meaning() {
        let text = r#"{"module": [{"a": {"source": "./a"}}, {"b": [{"source": "../b"}]}]}"#;
        assert_eq!(references(Path::new("x.tf.json"), text).modules, ["./a", "../b"]);
    }
}
