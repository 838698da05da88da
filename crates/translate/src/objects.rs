//! Kubernetes objects as rendered text gives them: JSON values that know where they come from.

use std::fmt;

use serde_json::Value;

/// Where an object stands in the text that was parsed.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Origin {
    /// What the text is, as the caller names it: a file, or the chart.
    pub input: String,
    /// The template that rendered it: helm's `# Source:` comment.
    pub template: Option<String>,
    /// First line of its document, counted from 1.
    pub line: usize,
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.template {
            Some(template) => write!(f, "{template}"),
            None => write!(f, "{}:{}", self.input, self.line),
        }
    }
}

/// One Kubernetes object.
#[derive(Debug, Clone, PartialEq)]
pub struct Object {
    /// `apiVersion`.
    pub api_version: String,
    /// `kind`.
    pub kind: String,
    /// `metadata.name`.
    pub name: String,
    /// `metadata.namespace`, where written.
    pub namespace: Option<String>,
    /// Where it stands.
    pub origin: Origin,
    /// The whole object.
    pub body: Value,
}

impl Object {
    /// `Deployment/api`: how findings and errors name it.
    #[must_use]
    pub fn id(&self) -> String {
        format!("{}/{}", self.kind, self.name)
    }

    /// The API group: `apps` of `apps/v1`, empty for the core group.
    #[must_use]
    pub fn group(&self) -> &str {
        self.api_version.split_once('/').map_or("", |(group, _)| group)
    }
}

/// Why a text is not a list of Kubernetes objects.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{origin}: {problem}")]
pub struct ParseError {
    /// The document.
    pub origin: Origin,
    /// Line of the whole text, counted from 1.
    pub line: usize,
    /// What is wrong.
    pub problem: ParseProblem,
}

/// What is wrong with a document.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ParseProblem {
    /// The text is not YAML.
    #[error("not valid YAML: {0}")]
    Yaml(String),
    /// A document that is a list, a string, ...
    #[error("a document must be a mapping with `apiVersion`, `kind` and `metadata`")]
    NotAnObject,
    /// A field that every object has.
    #[error("`{0}` is missing or is not a string")]
    Missing(&'static str),
}

/// Reads a text of one or more YAML documents as kubectl does: integers with a leading zero are
/// octal, the words of YAML 1.1 are booleans, empty documents are skipped, and `List` objects stand
/// for their items.
///
/// # Errors
/// The first document that is not YAML or not a Kubernetes object.
pub fn parse(text: &str, origin: &str) -> Result<Vec<Object>, ParseError> {
    let mut objects = Vec::new();
    for document in documents(text) {
        let origin = Origin {
            input: origin.to_owned(),
            template: template(document.text).map(str::to_owned),
            line: document.line,
        };
        let value = read(document.text).map_err(|(line, problem)| ParseError {
            line: document.line + line.saturating_sub(1),
            origin: origin.clone(),
            problem,
        })?;
        collect(value, &origin, &mut objects).map_err(|problem| ParseError {
            line: origin.line,
            origin: origin.clone(),
            problem,
        })?;
    }
    Ok(objects)
}

struct Document<'a> {
    text: &'a str,
    line: usize,
}

/// Splits at `---` in column 0, which YAML forbids inside of scalars.
fn documents(text: &str) -> Vec<Document<'_>> {
    let mut found = Vec::new();
    let (mut start, mut start_line) = (0, 1);
    let mut offset = 0;
    for (index, line) in text.split_inclusive('\n').enumerate() {
        let rest = line.strip_prefix("---");
        if rest.is_some_and(|rest| rest.is_empty() || rest.starts_with(char::is_whitespace)) {
            found.push(Document { text: &text[start..offset], line: start_line });
            // What follows the marker on its own line belongs to the document it opens.
            (start, start_line) = (offset + 3, index + 1);
        }
        offset += line.len();
    }
    found.push(Document { text: &text[start..], line: start_line });
    found.retain(|document| {
        document.text.lines().any(|line| !line.trim().is_empty() && !line.trim_start().starts_with('#'))
    });
    found
}

fn template(document: &str) -> Option<&str> {
    document
        .lines()
        .take_while(|line| line.trim().is_empty() || line.starts_with('#'))
        .find_map(|line| line.strip_prefix("# Source: "))
        .map(str::trim)
}

fn read(document: &str) -> Result<Value, (usize, ParseProblem)> {
    let options = serde_yaml::options! {
        legacy_octal_numbers: true,
        strict_booleans: false,
        // Public charts write some labels twice; Helm lets the last one win.
        duplicate_keys: serde_yaml::DuplicateKeyPolicy::LastWins,
        // A document is trusted as far as its length: the caller rendered it.
        budget: None,
        with_snippet: false,
        emit_comments: false,
    };
    serde_yaml::from_str_with_options::<Value>(document, options).map_err(|error| {
        let line = error.location().map_or(1, |location| usize::try_from(location.line()).unwrap_or(1));
        (line, ParseProblem::Yaml(error.to_string()))
    })
}

fn collect(mut value: Value, origin: &Origin, objects: &mut Vec<Object>) -> Result<(), ParseProblem> {
    if value.is_null() {
        return Ok(());
    }
    if !value.is_object() {
        return Err(ParseProblem::NotAnObject);
    }
    let text =
        |value: &Value, pointer: &str| value.pointer(pointer).and_then(Value::as_str).map(str::to_owned);
    let kind = text(&value, "/kind").ok_or(ParseProblem::Missing("kind"))?;
    if kind.ends_with("List") && value.get("items").is_some_and(Value::is_array) {
        if let Some(Value::Array(items)) = value.get_mut("items").map(Value::take) {
            for item in items {
                collect(item, origin, objects)?;
            }
        }
        return Ok(());
    }
    objects.push(Object {
        api_version: text(&value, "/apiVersion").ok_or(ParseProblem::Missing("apiVersion"))?,
        name: text(&value, "/metadata/name").ok_or(ParseProblem::Missing("metadata.name"))?,
        namespace: text(&value, "/metadata/namespace").filter(|namespace| !namespace.is_empty()),
        kind,
        origin: origin.clone(),
        body: value,
    });
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    const TWO: &str = "---\n# Source: album/templates/a.yaml\napiVersion: v1\nkind: ConfigMap\nmetadata: {name: a}\ndata:\n  script: |\n    one\n    --- two\n---\n\n---\napiVersion: v1\nkind: List\nitems:\n- apiVersion: v1\n  kind: Secret\n  metadata: {name: b, namespace: other}\n";

    #[test]
    fn documents_keep_their_source_and_lists_are_flattened() {
        let objects = parse(TWO, "rendered.yaml").expect("parses");
        let ids: Vec<_> = objects.iter().map(Object::id).collect();
        assert_eq!(ids, ["ConfigMap/a", "Secret/b"]);
        assert_eq!(objects[0].origin.to_string(), "album/templates/a.yaml");
        assert_eq!(objects[1].origin.to_string(), "rendered.yaml:12");
        assert_eq!(objects[1].namespace.as_deref(), Some("other"));
        assert_eq!(objects[0].body["data"]["script"], "one\n--- two\n");
    }

    #[test]
    fn scalars_are_read_as_kubectl_reads_them() {
        let text = "apiVersion: v1\nkind: X\nmetadata: {name: x}\nmode: 0644\nyes: on\nno: off\nplain: 10\nquoted: \"0644\"\nfloat: 0.5\ndate: 2024-01-01\n";
        let body = &parse(text, "t").expect("parses")[0].body;
        assert_eq!(body["mode"], 0o644);
        assert_eq!(body["plain"], 10);
        assert_eq!(body["quoted"], "0644");
        assert_eq!(body["float"], 0.5);
        assert_eq!(body["date"], "2024-01-01");
        let on = "apiVersion: v1\nkind: X\nmetadata: {name: x}\na: [on, yes, y, True, off, No, n]\n";
        assert_eq!(
            parse(on, "t").expect("parses")[0].body["a"],
            serde_json::json!([true, true, true, true, false, false, false])
        );
    }

    #[test]
    fn errors_name_the_line_of_the_whole_text() {
        let error =
            parse("apiVersion: v1\nkind: X\nmetadata: {name: x}\n---\na: b\nc: [d\n", "rendered.yaml")
                .expect_err("broken");
        assert!(error.line >= 6, "{error:?}");
        assert!(error.to_string().starts_with("rendered.yaml:4: not valid YAML"), "{error}");
        let error = parse("kind: X\nmetadata: {}\napiVersion: v1\n", "r").expect_err("nameless");
        assert_eq!(error.problem, ParseProblem::Missing("metadata.name"));
    }
}
