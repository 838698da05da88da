//! `parity --explain`: what a code of a finding means.

use envctl_model::finding::Severity;
use envctl_model::spelling::closest;
use envctl_translate::codes::{self, CODES, Code};
use schemars::JsonSchema;
use serde::Serialize;

use super::report::severity_word;
use crate::ui::{Failure, Format, print, print_json};

/// What `parity --explain CODE --json` prints.
#[derive(Debug, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub(in crate::cli) struct Explanation {
    /// The code, as findings have it.
    code: &'static str,
    /// The most that a finding with it matters.
    severity: Severity,
    /// What a cluster does.
    cluster: &'static str,
    /// What happens here instead.
    local: &'static str,
    /// What to do about it.
    advice: &'static str,
}

/// Tells what a code means.
///
/// # Errors
/// When there is no such code.
pub(super) fn run(code: &str, format: Format) -> Result<(), Failure> {
    let Some(found) = codes::explain(code) else {
        let help = match closest(code, CODES.iter().map(|row| row.code)) {
            Some(near) => format!("did you mean `{near}`?"),
            None => "envctl parity lists those of a stack; all are in docs/parity.md".to_owned(),
        };
        return Err(Failure::Usage(format!("no finding has the code `{code}`\n  {help}")));
    };
    match format {
        Format::Json => {
            let Code { code, severity, cluster, local, advice } = *found;
            print_json(&Explanation { code, severity, cluster, local, advice })
        }
        Format::Text => {
            print(&text(found));
            Ok(())
        }
    }
}

fn text(code: &Code) -> String {
    format!(
        "{}: at most {}\n  on a cluster  {}\n  here          {}\n  what to do    {}",
        code.code,
        severity_word(code.severity),
        code.cluster,
        code.local,
        code.advice
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::generated;

    #[test]
    fn a_code_is_told_in_words() {
        let shown = text(codes::explain("network-policy").unwrap());
        assert!(
            shown.starts_with("network-policy: at most major\n  on a cluster  Only connections"),
            "{shown}"
        );
        assert!(shown.ends_with("what to do    Test policies on a cluster target."), "{shown}");
    }

    #[test]
    fn docs_parity_md_has_all_codes() {
        let mut rows =
            String::from("| code | at most | on a cluster | here | what to do |\n|---|---|---|---|---|\n");
        for code in CODES {
            let Code { code, severity, cluster, local, advice } = code;
            let severity = severity_word(*severity);
            rows += &format!("| `{code}` | {severity} | {cluster} | {local} | {advice} |\n");
        }
        generated::is_in("docs/parity.md", "codes", &rows);
    }
}
