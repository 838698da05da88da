//! Registries: which images are there, for which processors, and with which credentials they are
//! reached.

use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use oci_client::client::{ClientConfig, ClientProtocol};
use oci_client::manifest::OciManifest;
use oci_client::secrets::RegistryAuth;
use oci_client::{Client, Reference};
use tokio::sync::OnceCell;

use crate::aws::Session;
use crate::error::{ClusterError, innermost};

const CONNECT: Duration = Duration::from_secs(5);
const ANSWER: Duration = Duration::from_secs(20);

/// User and password for a registry.
#[derive(Clone, PartialEq, Eq)]
pub struct Login {
    /// The user.
    pub user: String,
    /// The password.
    pub password: String,
}

impl std::fmt::Debug for Login {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Login({})", self.user)
    }
}

/// What was found out about an image.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Lookup {
    /// It is there.
    Found {
        /// `sha256:...` of what its reference names.
        digest: String,
        /// What it can run on: `linux/amd64`.
        platforms: Vec<String>,
    },
    /// The registry has no such image.
    Missing,
    /// The reference is none.
    Invalid(String),
    /// The registry could not be asked; why.
    Unknown(String),
}

/// Asks registries, with ECR's login in process.
#[derive(Debug)]
pub struct Registries {
    session: Session,
    ecr: OnceCell<Option<EcrLogin>>,
}

#[derive(Debug, Clone)]
struct EcrLogin {
    login: Login,
    host: String,
}

impl Registries {
    /// With the credentials of a session for ECR.
    #[must_use]
    pub fn new(session: &Session) -> Self {
        Self { session: session.clone(), ecr: OnceCell::new() }
    }

    /// The credentials for the registry of an image: ECR's own for its registries; else what Docker's
    /// client knows; else those of an ECR that says it is this registry; else none.
    ///
    /// # Errors
    /// When the registry is ECR's and AWS refuses.
    pub async fn login(&self, reference: &str) -> Result<Option<Login>, ClusterError> {
        let host = host_of(reference);
        if is_ecr(&host) {
            return self.ask_ecr().await.map(|ecr| Some(ecr.login));
        }
        if let Some(login) = docker_login(&host) {
            return Ok(Some(login));
        }
        let ecr = self.ecr.get_or_init(|| async { self.ask_ecr().await.ok() }).await;
        Ok(ecr.as_ref().filter(|ecr| ecr.host == host).map(|ecr| ecr.login.clone()))
    }

    async fn ask_ecr(&self) -> Result<EcrLogin, ClusterError> {
        let unreadable = |message: &str| ClusterError::Unreadable {
            doing: "GetAuthorizationToken".to_owned(),
            message: message.to_owned(),
        };
        let client = aws_sdk_ecr::Client::new(self.session.config());
        let answer = client.get_authorization_token().send().await;
        let answer = answer.map_err(ClusterError::from_aws("to sign in to ECR"))?;
        let data = answer.authorization_data.unwrap_or_default().into_iter().next();
        let data = data.ok_or_else(|| unreadable("it has no token"))?;
        let token = data.authorization_token.unwrap_or_default();
        let text = STANDARD.decode(token).ok().and_then(|bytes| String::from_utf8(bytes).ok());
        let (user, password) = text
            .as_deref()
            .and_then(|text| text.split_once(':'))
            .ok_or_else(|| unreadable("its token is not user:password"))?;
        let endpoint = data.proxy_endpoint.unwrap_or_default();
        let host = endpoint.split_once("://").map_or(endpoint.as_str(), |(_, rest)| rest);
        let host = host.trim_end_matches('/').to_owned();
        Ok(EcrLogin { login: Login { user: user.to_owned(), password: password.to_owned() }, host })
    }

    /// Looks an image up.
    pub async fn look_up(&self, reference: &str) -> Lookup {
        let parsed: Reference = match reference.parse() {
            Ok(parsed) => parsed,
            Err(error) => return Lookup::Invalid(format!("{error}")),
        };
        let auth = match self.login(reference).await {
            Ok(Some(Login { user, password })) => RegistryAuth::Basic(user, password),
            Ok(None) => RegistryAuth::Anonymous,
            Err(error) => return Lookup::Unknown(error.to_string()),
        };
        let client = Client::new(ClientConfig {
            protocol: protocol(parsed.resolve_registry()),
            connect_timeout: Some(CONNECT),
            read_timeout: Some(ANSWER),
            ..ClientConfig::default()
        });
        match client.pull_manifest(&parsed, &auth).await {
            Ok((OciManifest::ImageIndex(index), digest)) => {
                let platforms = index.manifests.iter().filter_map(|entry| entry.platform.as_ref());
                let platforms = platforms
                    .map(|p| format!("{}/{}", p.os, p.architecture))
                    // Attestations have no platform.
                    .filter(|p| p != "unknown/unknown")
                    .collect();
                Lookup::Found { digest, platforms }
            }
            Ok((OciManifest::Image(_), digest)) => {
                // The configuration says what it is made for.
                let config = client.pull_manifest_and_config(&parsed, &auth).await.ok();
                let config =
                    config.and_then(|(.., text)| serde_json::from_str::<serde_json::Value>(&text).ok());
                let platform = config.and_then(|config| {
                    Some(format!("{}/{}", config["os"].as_str()?, config["architecture"].as_str()?))
                });
                Lookup::Found { digest, platforms: platform.into_iter().collect() }
            }
            Err(error) => sort(&error),
        }
    }
}

fn sort(error: &oci_client::errors::OciDistributionError) -> Lookup {
    use oci_client::errors::{OciDistributionError, OciErrorCode};
    match error {
        OciDistributionError::ImageManifestNotFoundError(_) => Lookup::Missing,
        OciDistributionError::RegistryError { envelope, .. }
            if envelope.errors.iter().any(|e| {
                matches!(
                    e.code,
                    OciErrorCode::ManifestUnknown | OciErrorCode::NameUnknown | OciErrorCode::NotFound
                )
            }) =>
        {
            Lookup::Missing
        }
        other => Lookup::Unknown(innermost(other)),
    }
}

/// Plain HTTP on loopback, as Docker does it; TLS everywhere else.
fn protocol(registry: &str) -> ClientProtocol {
    let host = registry.rsplit_once(':').map_or(registry, |(host, _)| host);
    let local = host == "localhost" || host.starts_with("127.") || host == "[::1]";
    if local { ClientProtocol::Http } else { ClientProtocol::Https }
}

/// The registry's host and port in a reference; Docker's own where none is named.
fn host_of(reference: &str) -> String {
    match reference.split_once('/') {
        Some((host, _)) if host.contains(['.', ':']) || host == "localhost" => host.to_owned(),
        _ => "docker.io".to_owned(),
    }
}

/// `ACCOUNT.dkr.ecr.REGION.amazonaws.com`, in any partition.
/// <https://docs.aws.amazon.com/AmazonECR/latest/userguide/Registries.html>
fn is_ecr(host: &str) -> bool {
    let mut parts = host.split('.');
    let account = parts.next().unwrap_or_default();
    account.len() == 12
        && account.bytes().all(|b| b.is_ascii_digit())
        && parts.next() == Some("dkr")
        && matches!(parts.next(), Some("ecr" | "ecr-fips"))
}

/// What Docker's client would use.
fn docker_login(host: &str) -> Option<Login> {
    let server = if host == "docker.io" { "https://index.docker.io/v1/" } else { host };
    match docker_credential::get_credential(server).ok()? {
        docker_credential::DockerCredential::UsernamePassword(user, password) => {
            Some(Login { user, password })
        }
        docker_credential::DockerCredential::IdentityToken(_) => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hosts_are_read_as_docker_reads_them() {
        assert_eq!(host_of("debian:12"), "docker.io");
        assert_eq!(host_of("bitnami/redis:7"), "docker.io");
        assert_eq!(host_of("127.0.0.1:5000/album/app:1"), "127.0.0.1:5000");
        assert_eq!(host_of("localhost/app"), "localhost");
        assert!(is_ecr("222222222222.dkr.ecr.ap-northeast-1.amazonaws.com"));
        assert!(is_ecr("222222222222.dkr.ecr-fips.us-gov-west-1.amazonaws.com"));
        assert!(!is_ecr("public.ecr.aws") && !is_ecr("2222.dkr.ecr.x.amazonaws.com"));
    }
}
