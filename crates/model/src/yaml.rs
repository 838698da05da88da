//! Reading YAML that a user wrote, with the place of everything that is wrong.

use serde::de::DeserializeOwned;

use crate::diagnostic::Diagnostic;
use crate::spelling::closest;

/// Reads a whole file into its type.
///
/// # Errors
/// The first thing that does not fit, with its place and, for misspelt keys, a suggestion.
pub fn read<T: DeserializeOwned>(file: &str, source: &str) -> Result<T, Box<Diagnostic>> {
    let mut options = serde_yaml::Options::default();
    options.with_snippet = false;
    serde_yaml::from_str_with_options(source, options)
        .map_err(|error| Box::new(diagnostic(file, source, &error)))
}

fn diagnostic(file: &str, source: &str, error: &serde_yaml::Error) -> Diagnostic {
    use serde_yaml::Error;
    let error = error.without_snippet();
    let (message, help) = match error {
        Error::SerdeUnknownField { field, expected, .. } => (
            format!("unknown key `{field}`"),
            Some(closest(field, expected.iter().copied()).map_or_else(
                || format!("keys known here: {}", expected.join(", ")),
                |k| format!("did you mean `{k}`?"),
            )),
        ),
        Error::SerdeMissingField { field, .. } => (format!("key `{field}` is missing"), None),
        Error::SerdeUnknownVariant { variant, expected, .. } => {
            (format!("`{variant}` is not known here"), Some(format!("write one of: {}", expected.join(", "))))
        }
        other => {
            let text = other.to_string();
            let message = text.split(" at line ").next().unwrap_or(&text);
            let help = error.location().and_then(|location| what_to_do(message, source, &location));
            (message.to_owned(), help)
        }
    };
    let span = error.location().map_or(0..0, |location| span_of(source, &location));
    Diagnostic { message, file: file.to_owned(), source: source.to_owned(), span, label: String::new(), help }
}

/// What mends a mistake for which the parser has words of YAML's grammar only.
fn what_to_do(message: &str, source: &str, location: &serde_yaml::Location) -> Option<String> {
    let (line, column) = (location.line() as usize, location.column() as usize);
    let text = source.lines().nth(line.checked_sub(1)?)?;
    let is_indented_by_a_tab = text.chars().take_while(|c| c.is_whitespace()).any(|c| c == '\t');
    if is_indented_by_a_tab && message.contains("tab") {
        return Some("indent with spaces: YAML takes no tabs there".to_owned());
    }
    if !message.starts_with("mapping values are not allowed") {
        return None;
    }
    let before: String = text.chars().take(column.checked_sub(1)?).collect();
    if before.contains(": ") {
        return Some("put quotes around a text that has `: ` in it".to_owned());
    }
    let before = source.lines().take(line - 1).map(str::trim).filter(|line| !line.is_empty()).last()?;
    if let Some((key, _)) =
        before.split_once(':').filter(|(_, value)| !value.is_empty() && !value.starts_with([' ', '/']))
    {
        return Some(format!("put a space after the `:` of `{key}`"));
    }
    let takes_keys = before.ends_with([':', '{', '[', ',', '|', '>']) || before.starts_with('#');
    (!takes_keys).then(|| format!("`{before}` has a value already: what has keys below it ends with `:`"))
}

/// The bytes of the word at a location (line and column count from 1, columns in characters).
#[must_use]
pub fn span_of(source: &str, location: &serde_yaml::Location) -> std::ops::Range<usize> {
    let (line, column) = (location.line() as usize, location.column() as usize);
    let line_start: usize = source.split_inclusive('\n').take(line.saturating_sub(1)).map(str::len).sum();
    let text = source[line_start.min(source.len())..].lines().next().unwrap_or("");
    let start = text.char_indices().nth(column.saturating_sub(1)).map_or(text.len(), |(at, _)| at);
    let rest = &text[start..];
    let ends = |c: char| matches!(c, ',' | '}' | ']' | '#') || c.is_whitespace();
    let length = match rest.chars().next() {
        Some(quote @ ('"' | '\'')) => rest[1..].find(quote).map_or(rest.len(), |at| at + 2),
        _ => rest.find(|c| ends(c) || c == ':').unwrap_or(rest.len()),
    };
    line_start + start..line_start + start + length.max(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mistake_of_grammar_is_told_with_what_mends_it() {
        let told = |source: &str| {
            let error = read::<serde_json::Value>("plan.yaml", source).unwrap_err();
            (error.message, error.help)
        };
        let mapping = "mapping values are not allowed in this context".to_owned();
        assert_eq!(
            told("steps:\n  - scaleUpNew\n    bake: {atLeast: 3s}\n"),
            (
                mapping.clone(),
                Some("`- scaleUpNew` has a value already: what has keys below it ends with `:`".to_owned())
            )
        );
        assert_eq!(
            told("project:album\ntargets:\n  local: {}\n").1,
            Some("put a space after the `:` of `project`".to_owned())
        );
        assert_eq!(
            told("title: digest: daily\n"),
            (mapping, Some("put quotes around a text that has `: ` in it".to_owned()))
        );
        let tab = told("steps:\n\t- scaleUpNew\n");
        assert_eq!(tab.1, Some("indent with spaces: YAML takes no tabs there".to_owned()), "{tab:?}");
    }
}
