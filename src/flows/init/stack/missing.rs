//! Which values a chart misses, from what Helm says about it.

use std::path::Path;

use serde_json::Value;

use super::values::leaves;

/// The values that an error of Helm's is about and that are not set, by dotted path.
pub(super) fn values(message: &str, chart: &Path, values: &Value) -> Vec<String> {
    let is_missing = |path: &String| {
        let value = path.split('.').fold(values, |value, key| &value[key]);
        value.is_null() || value == ""
    };
    let mut named = paths(message);
    for (file, line) in places(message) {
        // The first part of a template's name is the chart's.
        let Some((_, inside)) = file.split_once('/') else { continue };
        let text = std::fs::read_to_string(chart.join(inside)).unwrap_or_default();
        named.extend(paths(text.lines().nth(line.saturating_sub(1)).unwrap_or_default()));
    }
    named.extend(refused(message));
    // Charts often say it themselves: `database.host is not set`.
    let words: Vec<_> = message.split(|c: char| c.is_whitespace() || "`'\"(),;:".contains(c)).collect();
    let said = leaves(values).into_iter().map(|leaf| leaf.to_string());
    named.extend(said.filter(|path| path.contains('.') && words.contains(&path.as_str())));
    named.retain(is_missing);
    named.sort();
    named.dedup();
    named
}

/// What follows `.Values.` in a text.
fn paths(text: &str) -> Vec<String> {
    let path = |rest: &str| {
        let end =
            rest.find(|c: char| !(c.is_ascii_alphanumeric() || c == '_' || c == '.')).unwrap_or(rest.len());
        rest[..end].trim_matches('.').to_owned()
    };
    text.split(".Values.").skip(1).map(path).filter(|path| !path.is_empty()).collect()
}

/// `shop/templates/web.yaml:12:20` in a text.
fn places(message: &str) -> Vec<(String, usize)> {
    let words = message.split(|c: char| c.is_whitespace() || "()\"".contains(c));
    let place = |word: &str| {
        let mut parts = word.split(':');
        let (file, line) = (parts.next()?, parts.next()?);
        file.contains("/templates/").then(|| Some((file.to_owned(), line.parse().ok()?)))?
    };
    words.filter_map(place).collect()
}

/// What a chart's `values.schema.json` misses: `- at '/database': missing property 'host'`.
fn refused(message: &str) -> Vec<String> {
    let line = |line: &str| {
        let (at, what) = line.trim().strip_prefix("- at '")?.split_once("': missing propert")?;
        let above: Vec<_> = at.split('/').filter(|key| !key.is_empty()).collect();
        // Every second piece is between quotes.
        let names = what.split('\'').skip(1).step_by(2);
        Some(names.map(|name| [&above[..], &[name]].concat().join(".")).collect::<Vec<_>>())
    };
    message.lines().filter_map(line).flatten().collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn helm_s_errors_lead_to_the_values_that_they_are_about() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::create_dir(dir.path().join("templates")).unwrap();
        let template = "a:\nb: {{ required \"say it\" .Values.database.host | quote }} {{ .Values.port }}\n";
        std::fs::write(dir.path().join("templates/web.yaml"), template).unwrap();
        let set = json!({"port": 80, "database": {"host": ""}});
        let of = |message: &str| values(message, dir.path(), &set);
        let required = "Error: execution error at (shop/templates/web.yaml:2:6): say it";
        assert_eq!(of(required), ["database.host"], "what is set is not missing");
        let nil = "Error: template: shop/templates/web.yaml:1:9: executing \"shop/templates/web.yaml\" at \
                   <.Values.cache.url>: nil pointer evaluating interface {}.url";
        assert_eq!(of(nil), ["cache.url"]);
        let schema = "Error: values don't meet the specifications of the schema(s) in the following chart(s):\n\
                      shop:\n- at '': missing properties 'a', 'b'\n- at '/c/d': missing property 'e'\n";
        assert_eq!(of(schema), ["a", "b", "c.d.e"]);
        assert_eq!(of("Error: execution error at (x): database.host is not set"), ["database.host"]);
        assert_eq!(of("Error: parse error"), [""; 0]);
    }
}
