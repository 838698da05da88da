//! How what goes wrong in a step reaches the runner.

use envctl_programs::process::ProgramError;
use envctl_programs::terraform::TerraformError;
use envctl_runner::StepError;

use crate::ui::Failure;

/// A step that failed for this reason.
pub(crate) fn failed(error: impl std::fmt::Display) -> StepError {
    StepError::Failed(error.to_string())
}

/// A step that ended as a verb would.
pub(crate) fn failure(failure: Failure) -> StepError {
    match failure {
        Failure::Refused(text) => StepError::Refused(text),
        Failure::Interrupted => StepError::Interrupted,
        other => {
            StepError::Failed(other.text(false).unwrap_or_default().trim_start_matches("error: ").to_owned())
        }
    }
}

/// A program that failed, or was interrupted with us.
pub(crate) fn program(error: ProgramError) -> StepError {
    match error {
        ProgramError::Interrupted { .. } => StepError::Interrupted,
        other => failed(other),
    }
}

/// Likewise, for Terraform.
pub(crate) fn terraform_failed(error: TerraformError) -> StepError {
    match error {
        TerraformError::Program(ProgramError::Interrupted { .. }) => StepError::Interrupted,
        other => failed(other),
    }
}

/// Whoever met the full disk, what to do about it is the same.
pub(crate) fn with_room_hint(error: StepError) -> StepError {
    match error {
        StepError::Failed(text)
            if text.contains("No space left on device") && !text.contains("make room") =>
        {
            StepError::Failed(format!(
                "{text}\nthe disk is full: make room, then type the same command again"
            ))
        }
        other => other,
    }
}
