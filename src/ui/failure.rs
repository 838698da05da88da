//! Every way in which envctl can end other than well, with its text and its exit code.

use std::process::ExitCode;

use envctl_model::Diagnostic;

/// Why envctl ends with another exit code than 0.
#[derive(Debug)]
pub(crate) enum Failure {
    /// 1: something failed.
    Failed(String),
    /// 1: something failed, and the event stream has said what.
    Reported,
    /// 2: usage or bad input.
    Usage(String),
    /// 2: bad input in a file of the user's.
    Input(Box<Diagnostic>),
    /// 3: a guard refused.
    Refused(String),
    /// 3: a guard refused, and the event stream has said why.
    RefusalReported,
    /// 4: a gate failed.
    Gate(String),
    /// 5: something is left.
    Left,
    /// 130: interrupted.
    Interrupted,
}

impl Failure {
    /// The exit code.
    pub(crate) fn exit_code(&self) -> ExitCode {
        ExitCode::from(match self {
            Self::Failed(_) | Self::Reported => 1,
            Self::Usage(_) | Self::Input(_) => 2,
            Self::Refused(_) | Self::RefusalReported => 3,
            Self::Gate(_) => 4,
            Self::Left => 5,
            Self::Interrupted => 130,
        })
    }

    /// What to print on standard error, if anything is left to say.
    pub(crate) fn text(&self, colour: bool) -> Option<String> {
        let error = |text: &str| {
            let head = console::style("error").red().bold().force_styling(colour);
            format!("{head}: {text}")
        };
        match self {
            Self::Failed(text) | Self::Usage(text) | Self::Refused(text) | Self::Gate(text) => {
                Some(error(text))
            }
            Self::Input(diagnostic) => Some(diagnostic.render(colour)),
            Self::Interrupted => {
                Some(error("interrupted; the same command again goes on where this one stopped"))
            }
            Self::Reported | Self::RefusalReported | Self::Left => None,
        }
    }

    /// A failure with the whole chain of causes.
    pub(crate) fn failed(error: impl Into<anyhow::Error>) -> Self {
        Self::Failed(format!("{:#}", error.into()))
    }
}

impl From<Box<Diagnostic>> for Failure {
    fn from(diagnostic: Box<Diagnostic>) -> Self {
        Self::Input(diagnostic)
    }
}
