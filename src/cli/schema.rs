//! `envctl schema`

use schemars::schema_for;

use crate::ui::{Failure, print_json};

/// Flags.
#[derive(Debug, clap::Args)]
pub(super) struct Arguments {
    /// Of what
    #[arg(value_enum, default_value_t = Subject::Stack)]
    of: Subject,
}

/// What has a schema.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub(super) enum Subject {
    /// The stack file, envctl.yaml
    Stack,
    /// A cutover plan
    CutoverPlan,
    /// One line of `up --json` and `down --json`
    Event,
    /// `list --json`
    List,
    /// `status --json`
    Status,
    /// `plan --json`
    Plan,
    /// One line of `logs --json`
    Logs,
    /// `gc --json`
    Gc,
    /// `receipt --json`
    Receipt,
    /// `parity --json`
    Parity,
    /// `parity --explain CODE --json`
    ParityCode,
    /// `diff --json`
    Diff,
    /// `whoami --json`
    Whoami,
    /// `doctor --json`
    Doctor,
    /// `evidence show --json`
    Evidence,
    /// `evidence verify --json`
    Verification,
}

pub(super) fn run(arguments: &Arguments) -> Result<(), Failure> {
    print_json(&schema(arguments.of))
}

pub(super) fn schema(of: Subject) -> schemars::Schema {
    match of {
        Subject::Stack => envctl_model::stack::schema(),
        Subject::CutoverPlan => envctl_model::cutover::schema(),
        Subject::Event => schema_for!(envctl_model::Event),
        Subject::List => schema_for!(Vec<crate::flows::list::Row>),
        Subject::Status => schema_for!(crate::flows::status::Report),
        Subject::Plan => schema_for!(crate::flows::plan::Report),
        Subject::Logs => schema_for!(envctl_model::log::LogLine),
        Subject::Gc => schema_for!(Vec<crate::flows::gc::Found>),
        Subject::Receipt => schema_for!(envctl_model::Receipt),
        Subject::Parity => schema_for!(super::parity::Report),
        Subject::ParityCode => schema_for!(super::parity::Explanation),
        Subject::Diff => schema_for!(crate::flows::diff::Report),
        Subject::Doctor => schema_for!(Vec<crate::flows::doctor::Finding>),
        Subject::Whoami => schema_for!(super::whoami::Report),
        Subject::Evidence => schema_for!(super::evidence::Shown),
        Subject::Verification => schema_for!(super::evidence::Verification),
    }
}

#[cfg(test)]
mod tests {
    use clap::ValueEnum;

    use super::*;

    #[test]
    fn the_schemas_in_the_repository_are_those_of_the_code() {
        for &of in Subject::value_variants() {
            let name = of.to_possible_value().map(|v| v.get_name().to_owned()).unwrap_or_default();
            let path = format!("{}/schemas/{name}.schema.json", env!("CARGO_MANIFEST_DIR"));
            let now = serde_json::to_string_pretty(&schema(of)).unwrap_or_default() + "\n";
            if std::env::var_os("ENVCTL_BLESS").is_some() {
                std::fs::write(&path, &now).unwrap_or_else(|e| panic!("{path}: {e}"));
            }
            let there = std::fs::read_to_string(&path).unwrap_or_default();
            assert!(there == now, "{path} is out of date: run the tests once with ENVCTL_BLESS=1");
        }
    }
}
