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
            (text.split(" at line ").next().unwrap_or(&text).to_owned(), None)
        }
    };
    let span = error.location().map_or(0..0, |location| span_of(source, &location));
    Diagnostic { message, file: file.to_owned(), source: source.to_owned(), span, label: String::new(), help }
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
