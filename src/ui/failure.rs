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
    /// 3: it is somebody else's, or somebody is at work on it.
    Taken(String),
    /// 3: a guard refused, and the event stream has said why.
    RefusalReported,
    /// 4: a gate failed.
    Gate(String),
    /// 4: a gate failed, and the event stream has said which.
    GateReported,
    /// 5: something is left.
    Left,
    /// 130: interrupted.
    Interrupted,
    /// 130: interrupted, and there is nothing to go on with.
    Stopped(String),
    /// Another one: that of a command which ran in a container, and has said itself what was wrong.
    Command(u8),
}

impl Failure {
    /// The exit code.
    pub(crate) fn exit_code(&self) -> ExitCode {
        ExitCode::from(match self {
            Self::Failed(_) | Self::Reported => 1,
            Self::Usage(_) | Self::Input(_) => 2,
            Self::Refused(_) | Self::Taken(_) | Self::RefusalReported => 3,
            Self::Gate(_) | Self::GateReported => 4,
            Self::Left => 5,
            Self::Interrupted | Self::Stopped(_) => 130,
            Self::Command(code) => *code,
        })
    }

    /// What to print on standard error, if anything is left to say.
    pub(crate) fn text(&self, colour: bool) -> Option<String> {
        let error = |text: &str| {
            let head = console::style("error").red().bold().force_styling(colour);
            format!("{head}: {text}")
        };
        match self {
            Self::Failed(text)
            | Self::Usage(text)
            | Self::Refused(text)
            | Self::Taken(text)
            | Self::Gate(text)
            | Self::Stopped(text) => Some(error(text)),
            Self::Input(diagnostic) => Some(diagnostic.render(colour)),
            Self::Interrupted => {
                Some(error("interrupted; the same command again goes on where this one stopped"))
            }
            Self::Reported | Self::RefusalReported | Self::GateReported | Self::Left | Self::Command(_) => {
                None
            }
        }
    }

    /// The same within another text.
    pub(crate) fn message(&self) -> Option<String> {
        let text = self.text(false)?;
        Some(text.strip_prefix("error: ").map(str::to_owned).unwrap_or(text))
    }

    /// How a command ended that ran in a container.
    ///
    /// # Errors
    /// With its exit code, where that is not 0.
    pub(crate) fn of_code(code: i32) -> Result<(), Self> {
        if code == 0 { Ok(()) } else { Err(Self::Command(u8::try_from(code).unwrap_or(u8::MAX))) }
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
