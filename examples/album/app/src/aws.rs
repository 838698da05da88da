//! Signed requests to AWS's HTTP APIs, or to what stands in for them.

use crate::credentials::Provider;
use crate::sigv4::Signer;
use crate::{Result, config};
use reqwest::{Client, Response, Url};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

/// How long one request may take, beside the time that it waits for a message.
pub const REQUEST_TIMEOUT: Duration = Duration::from_secs(15);

/// A client of AWS.
#[derive(Clone)]
pub struct Aws {
    /// Sends what needs no signature.
    pub http: Client,
    shared: Arc<Shared>,
}

struct Shared {
    credentials: Provider,
    region: String,
    endpoint: Option<Url>,
}

/// A request to be signed and sent.
pub struct Request<'a> {
    /// The service's name in signatures.
    pub service: &'a str,
    /// The HTTP method.
    pub method: &'a str,
    /// Where to.
    pub url: Url,
    /// Headers beside those of the signature.
    pub headers: &'a [(&'a str, &'a str)],
    /// The body.
    pub body: Vec<u8>,
    /// How long it may take.
    pub timeout: Duration,
}

impl Aws {
    /// A client for this configuration; nothing is sent yet.
    pub fn new(config: config::Aws) -> Result<Self> {
        let plain = config.endpoint.as_ref().is_some_and(|endpoint| endpoint.scheme() == "http");
        if !plain && !cfg!(feature = "https") {
            let problem = "without an AWS_ENDPOINT_URL that starts with http:// this program has \
                           to be built with the feature https";
            return Err(problem.into());
        }
        let http = Client::builder().connect_timeout(Duration::from_secs(5)).build()?;
        let config::Aws { credentials, region, endpoint } = config;
        let credentials = Provider::new(credentials, http.clone());
        Ok(Aws { http, shared: Shared { credentials, region, endpoint }.into() })
    }

    /// The region of buckets and queues.
    pub fn region(&self) -> &str {
        &self.shared.region
    }

    /// What stands in for AWS, if anything does.
    pub fn endpoint(&self) -> Option<&Url> {
        self.shared.endpoint.as_ref()
    }

    /// Signs as who we are now.
    pub async fn signer(&self) -> Result<Signer> {
        let credentials = self.shared.credentials.get().await?;
        Ok(Signer { credentials, region: self.shared.region.clone() })
    }

    /// Signs and sends; an answer that is not a success is an error.
    pub async fn send(&self, request: Request<'_>) -> Result<Response> {
        let Request { service, method, url, headers, body, timeout } = request;
        let name = format!("{service} at {}", url.host_str().unwrap_or_default());
        let signed = self.signer().await?.headers(service, method, &url, headers, &body, SystemTime::now());
        let mut request = self.http.request(method.parse()?, url).timeout(timeout).body(body);
        for (key, value) in signed {
            request = request.header(key, value);
        }
        accepted(&name, request.send().await?).await
    }
}

/// The answer if it is a success, else what it says.
pub async fn accepted(name: &str, response: Response) -> Result<Response> {
    let status = response.status();
    if status.is_success() {
        return Ok(response);
    }
    let body = response.text().await.unwrap_or_default();
    let body: String = body.chars().take(300).collect();
    Err(format!("{name} answered {status}: {body}").into())
}

/// One for tests, with keys that no one checks.
#[cfg(test)]
pub fn double(endpoint: Option<&str>) -> Result<Aws> {
    use crate::credentials::Source;
    use crate::sigv4::Credentials;
    let credentials = Credentials { access_key: "a".into(), secret_key: "s".into(), session_token: None };
    let endpoint = endpoint.map(Url::parse).transpose()?;
    Aws::new(config::Aws {
        credentials: Source::Keys(credentials),
        region: "ap-northeast-1".into(),
        endpoint,
    })
}

#[cfg(test)]
mod tests {
    #[cfg(not(feature = "https"))]
    #[test]
    fn a_build_without_https_says_so_at_start() {
        let error = super::double(None).err().unwrap().to_string();
        assert!(error.starts_with("without an AWS_ENDPOINT_URL"), "{error}");
    }
}
