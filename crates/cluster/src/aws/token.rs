//! The token by which an EKS cluster knows an AWS identity: a presigned `GetCallerIdentity`, which the
//! cluster's authenticator sends to STS.
//! Its shape: <https://github.com/kubernetes-sigs/aws-iam-authenticator#api-authorization-from-outside-a-cluster>.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime};

use aws_sigv4::http_request::{SignableBody, SignableRequest, SignatureLocation, SigningSettings, sign};
use aws_sigv4::sign::v4;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jiff::{SignedDuration, Timestamp};

use super::Frozen;
use crate::error::ClusterError;

/// How long the authenticator takes a token after it was signed.
const LIFETIME: SignedDuration = SignedDuration::from_mins(14);
/// `X-Amz-Expires`, which the authenticator ignores and STS checks.
const PRESIGNED_FOR: Duration = Duration::from_secs(60);
/// Tokens that end sooner are made anew: a request takes time, and clocks differ.
const MARGIN: SignedDuration = SignedDuration::from_mins(2);
/// The header by which a token is good for one cluster only.
const CLUSTER_HEADER: &str = "x-k8s-aws-id";

/// A bearer token.
#[derive(Clone, PartialEq, Eq)]
pub struct Token {
    /// What goes behind `Bearer`.
    pub value: String,
    /// When it ends.
    pub expires: Timestamp,
}

impl std::fmt::Debug for Token {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Token(until {})", self.expires)
    }
}

/// Makes tokens for one cluster, always by the same credentials, and keeps each while it is good.
#[derive(Debug, Clone)]
pub struct TokenSource {
    frozen: Frozen,
    cluster: String,
    current: Arc<Mutex<Option<Token>>>,
}

impl TokenSource {
    /// Tokens for a cluster.
    #[must_use]
    pub fn new(frozen: Frozen, cluster: impl Into<String>) -> Self {
        Self { frozen, cluster: cluster.into(), current: Arc::default() }
    }

    /// A token that is good for some minutes.
    ///
    /// # Errors
    /// When it cannot be signed.
    pub fn token(&self) -> Result<Token, ClusterError> {
        let now = Timestamp::now();
        let mut current = self.current.lock().unwrap_or_else(PoisonError::into_inner);
        match &*current {
            Some(token) if token.expires - MARGIN > now => Ok(token.clone()),
            _ => {
                let token = self.sign(now)?;
                *current = Some(token.clone());
                Ok(token)
            }
        }
    }

    fn sign(&self, now: Timestamp) -> Result<Token, ClusterError> {
        let unreadable = |message: String| ClusterError::Unreadable {
            doing: "signing the cluster's token".to_owned(),
            message,
        };
        let url = format!(
            "https://sts.{}.{}/?Action=GetCallerIdentity&Version=2011-06-15",
            self.frozen.region,
            dns_suffix(&self.frozen.region)
        );
        let mut settings = SigningSettings::default();
        settings.signature_location = SignatureLocation::QueryParams;
        settings.expires_in = Some(PRESIGNED_FOR);
        let identity = self.frozen.credentials().into();
        let params = v4::SigningParams::builder()
            .identity(&identity)
            .region(&self.frozen.region)
            .name("sts")
            .time(SystemTime::try_from(now).map_err(|e| unreadable(e.to_string()))?)
            .settings(settings)
            .build()
            .map_err(|e| unreadable(e.to_string()))?
            .into();
        let headers = std::iter::once((CLUSTER_HEADER, self.cluster.as_str()));
        let request = SignableRequest::new("GET", &url, headers, SignableBody::Bytes(&[]))
            .map_err(|e| unreadable(e.to_string()))?;
        let (instructions, _) = sign(request, &params).map_err(|e| unreadable(e.to_string()))?.into_parts();
        let mut signed =
            http::Request::builder().uri(&url).body(()).map_err(|e| unreadable(e.to_string()))?;
        instructions.apply_to_request_http1x(&mut signed);
        let value = format!("k8s-aws-v1.{}", URL_SAFE_NO_PAD.encode(signed.uri().to_string()));
        Ok(Token { value, expires: now + LIFETIME })
    }
}

/// What AWS' names end in, by partition.
fn dns_suffix(region: &str) -> &'static str {
    if region.starts_with("cn-") { "amazonaws.com.cn" } else { "amazonaws.com" }
}
