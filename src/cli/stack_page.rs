//! The reference in docs/stack-file.md is made of the schema, whose descriptions are the code's.

use std::fmt::Write as _;

use serde_json::{Map, Value};

/// The name of a definition that a schema refers to.
fn referred(schema: &Value) -> Option<&str> {
    schema["$ref"].as_str()?.rsplit('/').next()
}

/// What may be written where a schema applies, in words.
fn kind(schema: &Value, definitions: &Map<String, Value>) -> String {
    if let Some(name) = referred(schema) {
        return match words(&definitions[name]) {
            Some(words) => words,
            None => format!("[{name}](#{})", name.to_lowercase()),
        };
    }
    if let Some(one) = schema["anyOf"].as_array().and_then(|any| any.iter().find(|one| one["type"] != "null"))
    {
        return kind(one, definitions);
    }
    let types = schema["type"].as_array().and_then(|types| types.first()).unwrap_or(&schema["type"]);
    match types.as_str() {
        Some("array") => format!("list of {}", kind(&schema["items"], definitions)),
        Some("object") if schema["additionalProperties"].is_object() => {
            format!("map of {}", kind(&schema["additionalProperties"], definitions))
        }
        Some("object") => "map".to_owned(),
        Some("integer") => "number".to_owned(),
        Some("boolean") => "`true` or `false`".to_owned(),
        Some(other) => other.to_owned(),
        None => "anything".to_owned(),
    }
}

/// The words that are allowed, where only certain ones are.
fn words(definition: &Value) -> Option<String> {
    let listed = definition["enum"].as_array().map(|words| words.iter().collect::<Vec<_>>());
    let described = || Some(definition["oneOf"].as_array()?.iter().map(|one| &one["const"]).collect());
    let words: Vec<_> = listed.or_else(described)?.into_iter().filter_map(Value::as_str).collect();
    Some(words.iter().map(|word| format!("`{word}`")).collect::<Vec<_>>().join(", "))
}

fn description(schema: &Value) -> String {
    schema["description"].as_str().unwrap_or_default().replace('\n', " ").replace('|', "\\|")
}

/// A table of the keys of a map.
fn table(schema: &Value, definitions: &Map<String, Value>) -> String {
    let mut rows = String::from("| key | is | |\n|---|---|---|\n");
    let required = schema["required"].as_array();
    for (key, own) in schema["properties"].as_object().into_iter().flatten() {
        let must = required.is_some_and(|required| required.iter().any(|name| name == key));
        let must = if must { ", required" } else { "" };
        let _ = writeln!(rows, "| `{key}` | {}{must} | {} |", kind(own, definitions), description(own));
    }
    rows
}

fn reference(schema: &Value) -> String {
    let none = Map::new();
    let definitions = schema["$defs"].as_object().unwrap_or(&none);
    let mut text = format!("### The file\n\n{}\n", table(schema, definitions));
    for (name, definition) in definitions {
        if definition["properties"].is_object() {
            let _ = write!(
                text,
                "### {name}\n\n{}\n\n{}\n",
                description(definition),
                table(definition, definitions)
            );
        } else if let Some(described) = definition["oneOf"].as_array() {
            let _ = write!(text, "### {name}\n\n{}\n\n| word | |\n|---|---|\n", description(definition));
            for one in described {
                let _ = writeln!(
                    text,
                    "| `{}` | {} |",
                    one["const"].as_str().unwrap_or_default(),
                    description(one)
                );
            }
            text.push('\n');
        }
    }
    text.trim_end().to_owned() + "\n"
}

#[test]
fn docs_stack_file_md_has_all_keys() {
    let schema = serde_json::to_value(envctl_model::stack::schema()).unwrap();
    super::generated::is_in("docs/stack-file.md", "reference", &reference(&schema));
}
