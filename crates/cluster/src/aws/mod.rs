//! AWS: who we are there, and what of it a cluster needs.
//!
//! Credentials are resolved once, checked, and frozen: whatever is signed afterwards, by us or by a
//! program that we start, is signed by exactly the credentials that were checked.

pub mod eks;
mod tagged;
mod token;

use std::time::{Duration, SystemTime};

use aws_config::profile::ProfileFileCredentialsProvider;
use aws_config::provider_config::ProviderConfig;
use aws_config::retry::RetryConfig;
use aws_config::sts::AssumeRoleProvider;
use aws_config::timeout::TimeoutConfig;
use aws_config::{BehaviorVersion, Region, SdkConfig};
use aws_credential_types::Credentials;
use aws_credential_types::provider::error::CredentialsError;
use aws_credential_types::provider::{ProvideCredentials, SharedCredentialsProvider};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::error::{ClusterError, innermost};

pub use tagged::caught_up;
pub(crate) use tagged::{Tagged, tagged};
pub use token::{Token, TokenSource};

/// How to sign in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SignIn {
    /// A profile of the shared configuration; the default chain if none is named.
    pub profile: Option<String>,
    /// A role to assume with these credentials.
    pub role: Option<String>,
    /// The region.
    pub region: String,
    /// Who is signing in: the name of an assumed role's session.
    pub user: String,
}

impl SignIn {
    /// What is used, in words.
    #[must_use]
    pub fn describe(&self) -> String {
        let from = match &self.profile {
            Some(profile) => format!("profile {profile}"),
            None => "the default chain".to_owned(),
        };
        match &self.role {
            Some(role) => format!("{from}, role {role}"),
            None => from,
        }
    }

    /// The command that gives new credentials.
    #[must_use]
    pub fn renew(&self) -> String {
        match &self.profile {
            Some(profile) => format!("sign in again: aws sso login --profile {profile}"),
            None => "sign in again: aws sso login, or name a profile with `aws: {profile: ..}`".to_owned(),
        }
    }
}

/// Who AWS says we are.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Identity {
    /// The account, 12 digits.
    pub account: String,
    /// The ARN: `arn:aws:sts::333333333333:assumed-role/Developer/aki`.
    pub arn: String,
}

/// Frozen credentials, as they are handed to programs that we start: in a file that only its owner
/// reads, or by variables.
#[derive(Clone, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Frozen {
    access_key_id: String,
    secret_access_key: String,
    session_token: Option<String>,
    expires: Option<Timestamp>,
    /// The region they are used in.
    pub region: String,
}

impl std::fmt::Debug for Frozen {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Frozen({}, {})", self.access_key_id, self.region)
    }
}

impl Frozen {
    fn of(credentials: &Credentials, region: &str) -> Self {
        Self {
            access_key_id: credentials.access_key_id().to_owned(),
            secret_access_key: credentials.secret_access_key().to_owned(),
            session_token: credentials.session_token().map(str::to_owned),
            expires: credentials.expiry().and_then(|at| Timestamp::try_from(at).ok()),
            region: region.to_owned(),
        }
    }

    /// When they end; `None` where nobody says.
    #[must_use]
    pub fn expires(&self) -> Option<Timestamp> {
        self.expires
    }

    /// Whether they are temporary: then they end some time, said or not.
    #[must_use]
    pub fn is_temporary(&self) -> bool {
        self.session_token.is_some()
    }

    /// The variables that make any AWS tool use exactly these: values, and `None` for what must not be
    /// inherited because it would lead elsewhere.
    #[must_use]
    pub fn variables(&self) -> Vec<(&'static str, Option<String>)> {
        vec![
            ("AWS_ACCESS_KEY_ID", Some(self.access_key_id.clone())),
            ("AWS_SECRET_ACCESS_KEY", Some(self.secret_access_key.clone())),
            ("AWS_SESSION_TOKEN", self.session_token.clone()),
            ("AWS_REGION", Some(self.region.clone())),
            ("AWS_DEFAULT_REGION", Some(self.region.clone())),
            ("AWS_PROFILE", None),
            ("AWS_DEFAULT_PROFILE", None),
            ("AWS_ROLE_ARN", None),
            ("AWS_WEB_IDENTITY_TOKEN_FILE", None),
            ("AWS_CONTAINER_CREDENTIALS_RELATIVE_URI", None),
            ("AWS_CONTAINER_CREDENTIALS_FULL_URI", None),
        ]
    }

    fn credentials(&self) -> Credentials {
        Credentials::new(
            &self.access_key_id,
            &self.secret_access_key,
            self.session_token.clone(),
            self.expires.and_then(|at| SystemTime::try_from(at).ok()),
            "envctl",
        )
    }
}

/// Signed in: frozen credentials and who they belong to.
#[derive(Debug, Clone)]
pub struct Session {
    config: SdkConfig,
    /// The credentials.
    pub frozen: Frozen,
    /// Whose they are.
    pub identity: Identity,
}

/// A request that takes longer is broken.
const ATTEMPT: Duration = Duration::from_secs(15);
const CONNECT: Duration = Duration::from_secs(5);

impl Session {
    /// Resolves credentials, freezes them, and asks AWS whose they are.
    ///
    /// # Errors
    /// [`ClusterError::Credentials`] where there are none or AWS refuses them;
    /// [`ClusterError::Aws`] where it does not answer.
    pub async fn sign_in(by: &SignIn) -> Result<Self, ClusterError> {
        let loaded = load(by).await;
        let base = match loaded.credentials_provider() {
            Some(provider) => provider.provide_credentials().await.map_err(|e| no_credentials(by, &e))?,
            None => return Err(no_credentials(by, &CredentialsError::not_loaded_no_source())),
        };
        let credentials = match &by.role {
            None => base,
            Some(role) => {
                let config = freeze(&loaded, base);
                let assume = AssumeRoleProvider::builder(role).session_name(&by.user).configure(&config);
                assume.build().await.provide_credentials().await.map_err(|e| no_credentials(by, &e))?
            }
        };
        let frozen = Frozen::of(&credentials, &by.region);
        let config = freeze(&loaded, credentials);
        let identity = identify(&config, by).await?;
        Ok(Self { config, frozen, identity })
    }

    /// The configuration for clients of single services.
    pub(crate) fn config(&self) -> &SdkConfig {
        &self.config
    }
}

async fn load(by: &SignIn) -> SdkConfig {
    let mut loader = aws_config::defaults(BehaviorVersion::latest())
        .region(Region::new(by.region.clone()))
        .retry_config(RetryConfig::standard().with_max_attempts(3))
        .timeout_config(
            TimeoutConfig::builder().connect_timeout(CONNECT).operation_attempt_timeout(ATTEMPT).build(),
        );
    if let Some(profile) = &by.profile {
        // Named on purpose: variables with keys of somebody else must not win over it.
        let region = ProviderConfig::default().with_region(Some(Region::new(by.region.clone())));
        let provider =
            ProfileFileCredentialsProvider::builder().configure(&region).profile_name(profile).build();
        loader = loader.profile_name(profile).credentials_provider(provider);
    }
    loader.load().await
}

fn freeze(config: &SdkConfig, credentials: Credentials) -> SdkConfig {
    config.to_builder().credentials_provider(SharedCredentialsProvider::new(credentials)).build()
}

async fn identify(config: &SdkConfig, by: &SignIn) -> Result<Identity, ClusterError> {
    let asked = aws_sdk_sts::Client::new(config).get_caller_identity().send().await;
    let said =
        asked.map_err(ClusterError::from_aws("to say whose these credentials are")).map_err(|error| {
            match &error {
                ClusterError::Aws { code: Some(code), message, .. } if is_about_credentials(code) => {
                    let message = format!("AWS refuses the credentials of {}: {message}", by.describe());
                    ClusterError::Credentials { message, hint: by.renew() }
                }
                _ => error,
            }
        })?;
    match (said.account, said.arn) {
        (Some(account), Some(arn)) => Ok(Identity { account, arn }),
        _ => Err(ClusterError::Unreadable {
            doing: "GetCallerIdentity".to_owned(),
            message: "it names no account".to_owned(),
        }),
    }
}

fn is_about_credentials(code: &str) -> bool {
    ["ExpiredToken", "InvalidClientTokenId", "SignatureDoesNotMatch", "InvalidToken", "UnrecognizedClient"]
        .iter()
        .any(|known| code.starts_with(known))
}

fn no_credentials(by: &SignIn, error: &CredentialsError) -> ClusterError {
    let message = match error {
        CredentialsError::CredentialsNotLoaded(_) => {
            format!("there are no AWS credentials ({})", by.describe())
        }
        other => format!("AWS credentials of {} cannot be had: {}", by.describe(), innermost(other)),
    };
    ClusterError::Credentials { message, hint: by.renew() }
}
