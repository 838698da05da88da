//! As much of HCL as it takes to see which local files a module names.

use std::path::Path;

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

/// Finds what a file names. What cannot be parsed is left to Terraform, which says it better.
pub(super) fn references(path: &Path, text: &str) -> References {
    let mut found = References::default();
    if path.extension().is_some_and(|extension| extension == "json") {
        if let Ok(value) = serde_json::from_str::<Value>(text) {
            modules_of_json(&value, &mut found);
            strings_of_json(&value, &mut found);
        }
        return found;
    }
    let tokens = tokens(text);
    modules_of(&tokens, &mut found);
    for token in &tokens {
        if let Token::Text(text) = token {
            paths_in(text, &mut found);
        }
    }
    found
}

fn take_module(source: &str, found: &mut References) {
    if source.starts_with("./") || source.starts_with("../") {
        found.modules.push(source.to_owned());
    }
}

/// Paths in a string that lead out of the module. Text of a command is cut where a path ends.
fn paths_in(text: &str, found: &mut References) {
    let ends = |c: char| c.is_whitespace() || "\"'=:,;|&()<>".contains(c);
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

fn modules_of_json(value: &Value, found: &mut References) {
    fn each<'v>(value: &'v Value, mut take: impl FnMut(&'v Value)) {
        match value {
            Value::Array(items) => items.iter().for_each(take),
            other => take(other),
        }
    }
    let Some(modules) = value.get("module") else {
        return;
    };
    each(modules, |named| {
        let Some(named) = named.as_object() else {
            return;
        };
        for module in named.values() {
            each(module, |body| {
                if let Some(source) = body.get("source").and_then(Value::as_str) {
                    take_module(source, found);
                }
            });
        }
    });
}

fn strings_of_json(value: &Value, found: &mut References) {
    match value {
        Value::String(text) => paths_in(text, found),
        Value::Array(items) => items.iter().for_each(|item| strings_of_json(item, found)),
        Value::Object(fields) => fields.values().for_each(|field| strings_of_json(field, found)),
        _ => {}
    }
}

#[derive(Debug, PartialEq, Eq)]
enum Token<'t> {
    Word(&'t str),
    Text(&'t str),
    Sign(char),
}

fn modules_of(tokens: &[Token<'_>], found: &mut References) {
    let mut depth = 0_usize;
    let mut module = false;
    for (at, token) in tokens.iter().enumerate() {
        match token {
            Token::Sign('{') => depth += 1,
            Token::Sign('}') => {
                depth = depth.saturating_sub(1);
                module &= depth > 0;
            }
            Token::Word("module") if depth == 0 => module = true,
            Token::Word("source") if module && depth == 1 => {
                if let Some([Token::Sign('='), Token::Text(source)]) = tokens.get(at + 1..at + 3) {
                    take_module(source, found);
                }
            }
            _ => {}
        }
    }
}

fn tokens(text: &str) -> Vec<Token<'_>> {
    let mut tokens = Vec::new();
    let mut rest = text;
    while let Some(first) = rest.chars().next() {
        if first == '#' || rest.starts_with("//") {
            rest = rest.split_once('\n').map_or("", |(_, after)| after);
        } else if rest.starts_with("/*") {
            rest = rest.split_once("*/").map_or("", |(_, after)| after);
        } else if first == '"' {
            let (content, after) = quoted(&rest[1..]);
            tokens.push(Token::Text(content));
            rest = after;
        } else if let Some((content, after)) = heredoc(rest) {
            tokens.push(Token::Text(content));
            rest = after;
        } else if first.is_alphabetic() || first == '_' {
            let end = rest.find(|c: char| !c.is_alphanumeric() && c != '_' && c != '-');
            let (word, after) = rest.split_at(end.unwrap_or(rest.len()));
            tokens.push(Token::Word(word));
            rest = after;
        } else {
            if !first.is_whitespace() {
                tokens.push(Token::Sign(first));
            }
            rest = &rest[first.len_utf8()..];
        }
    }
    tokens
}

/// The content of a string whose opening quote was read, and what follows its closing one.
/// Interpolations hold strings of their own.
fn quoted(text: &str) -> (&str, &str) {
    let bytes = text.as_bytes();
    let mut at = 0;
    // One entry per interpolation that is open: how many braces are open in it.
    let mut open: Vec<usize> = Vec::new();
    while at < bytes.len() {
        match (bytes[at], open.last_mut()) {
            (b'\\', None) => at += 1,
            (b'"', None) => return (&text[..at], &text[at + 1..]),
            (b'$' | b'%', None) if bytes.get(at + 1) == Some(&b'{') => {
                open.push(1);
                at += 1;
            }
            (b'"', Some(_)) => {
                let (inner, _) = quoted(&text[at + 1..]);
                at += inner.len() + 1;
            }
            (b'{', Some(braces)) => *braces += 1,
            (b'}', Some(braces)) => {
                *braces -= 1;
                if *braces == 0 {
                    open.pop();
                }
            }
            _ => {}
        }
        at += 1;
    }
    (text, "")
}

/// A here document's content, and what follows it.
fn heredoc(text: &str) -> Option<(&str, &str)> {
    let after = text.strip_prefix("<<")?;
    let after = after.strip_prefix('-').unwrap_or(after);
    let (marker, body) = after.split_once('\n')?;
    let marker = marker.trim();
    if marker.is_empty() || !marker.chars().all(|c| c.is_alphanumeric() || c == '_' || c == '-') {
        return None;
    }
    let mut end = 0;
    for line in body.split_inclusive('\n') {
        if line.trim() == marker {
            return Some((&body[..end], &body[end + line.len()..]));
        }
        end += line.len();
    }
    Some((body, ""))
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
