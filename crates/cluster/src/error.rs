//! What can go wrong with AWS or a cluster, in plain words.

use aws_sdk_sts::error::{ProvideErrorMetadata, SdkError};

/// Why a cluster could not be reached, was refused, or refused.
#[derive(Debug, thiserror::Error)]
pub enum ClusterError {
    /// A guard refused: another account, another cluster, something protected.
    #[error("{message}")]
    Refused {
        /// What was refused and why.
        message: String,
        /// What to do about it.
        hint: String,
    },
    /// A word of the user's means nothing that is there.
    #[error("{message}")]
    NoSuch {
        /// What was named.
        message: String,
        /// What there is.
        hint: String,
    },
    /// There are no usable credentials.
    #[error("{message}")]
    Credentials {
        /// What is wrong with them.
        message: String,
        /// The command that renews them.
        hint: String,
    },
    /// AWS said no.
    #[error("AWS refused {doing}: {message}")]
    Aws {
        /// What was asked.
        doing: String,
        /// AWS' own code, where there was an answer: `AccessDeniedException`.
        code: Option<String>,
        /// AWS' own words.
        message: String,
    },
    /// AWS did not answer.
    #[error("AWS does not answer when it is asked {doing}: {message}")]
    AwsUnreachable {
        /// What was asked.
        doing: String,
        /// The system's words.
        message: String,
    },
    /// The API server said no.
    #[error("the cluster refused {doing}: {message}")]
    Api {
        /// What was asked.
        doing: String,
        /// HTTP status.
        status: u16,
        /// The reason in one word: `Forbidden`, `AlreadyExists`.
        reason: String,
        /// The API server's own words.
        message: String,
    },
    /// The API server did not answer.
    #[error("the API server at {endpoint} does not answer while envctl was {doing}: {message}")]
    Unreachable {
        /// Where.
        endpoint: String,
        /// What was going on.
        doing: String,
        /// The system's words.
        message: String,
    },
    /// An answer that is not what the API promises.
    #[error("the answer to {doing} cannot be read: {message}")]
    Unreadable {
        /// What was asked.
        doing: String,
        /// Why.
        message: String,
    },
}

impl ClusterError {
    /// What to do about it.
    #[must_use]
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::Refused { hint, .. } | Self::Credentials { hint, .. } | Self::NoSuch { hint, .. } => {
                Some(hint.clone())
            }
            Self::Api { status: 401, .. } => Some(
                "the cluster does not know this AWS identity: ask its owner for an access entry \
                 (`envctl whoami` shows who you are)"
                    .to_owned(),
            ),
            Self::Api { status: 403, .. } => {
                Some("`envctl whoami` shows who you are; the cluster's owner gives rights".to_owned())
            }
            Self::AwsUnreachable { .. } => {
                Some("is the network up? The same command again goes on from here".to_owned())
            }
            Self::Unreachable { .. } => {
                Some("is the VPN up, and may this machine reach the cluster's endpoint?".to_owned())
            }
            _ => None,
        }
    }

    /// Whether the API server answered that there is no such thing.
    #[must_use]
    pub fn is_not_found(&self) -> bool {
        matches!(self, Self::Api { status: 404, .. })
    }

    /// Whether something is in the way: it exists already, or it changed meanwhile.
    #[must_use]
    pub fn is_conflict(&self) -> bool {
        matches!(self, Self::Api { status: 409, .. })
    }

    /// Whether rights are missing.
    #[must_use]
    pub fn is_forbidden(&self) -> bool {
        matches!(self, Self::Api { status: 403, .. })
    }

    /// Whether the same request may succeed in a moment: nobody answered, or the API server was busy.
    #[must_use]
    pub fn is_passing(&self) -> bool {
        matches!(self, Self::Unreachable { .. } | Self::Api { status: 429 | 500 | 502 | 503 | 504, .. })
    }

    /// Sorts an error of the Kubernetes client. `doing` reads after "refused" and "envctl was".
    pub(crate) fn from_kube(endpoint: &str, doing: &str, error: kube::Error) -> Self {
        let doing = doing.to_owned();
        match error {
            kube::Error::Api(status) => Self::Api {
                doing,
                status: status.code,
                reason: status.reason.clone(),
                message: status.message.trim().to_owned(),
            },
            kube::Error::SerdeError(error) => Self::Unreadable { doing, message: error.to_string() },
            other => Self::Unreachable { endpoint: endpoint.to_owned(), doing, message: innermost(&other) },
        }
    }

    /// Sorts an error of the AWS SDK.
    pub(crate) fn from_aws<E, R>(doing: &str) -> impl FnOnce(SdkError<E, R>) -> Self + use<E, R>
    where
        E: ProvideErrorMetadata + std::error::Error + Send + Sync + 'static,
        R: std::fmt::Debug + Send + Sync + 'static,
    {
        let doing = doing.to_owned();
        move |error| {
            let code = error.code().map(str::to_owned);
            if matches!(error, SdkError::DispatchFailure(_) | SdkError::TimeoutError(_)) {
                return Self::AwsUnreachable { doing, message: innermost(&error) };
            }
            let message = match (error.message(), &code) {
                (Some(message), Some(code)) => format!("{message} ({code})"),
                (None, Some(code)) => code.clone(),
                (Some(message), None) => message.to_owned(),
                (None, None) => innermost(&error),
            };
            Self::Aws { doing, code, message }
        }
    }
}

/// The last cause: what the system said.
pub(crate) fn innermost(error: &(dyn std::error::Error + 'static)) -> String {
    let mut text = error.to_string();
    let mut next = error.source();
    while let Some(error) = next {
        text = error.to_string();
        next = error.source();
    }
    text
}
