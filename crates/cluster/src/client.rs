//! The connection to one API server, with tokens that are made anew as they end.

use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use http::header::{AUTHORIZATION, HeaderValue};
use http::{Request, Uri};
use kube::client::{Body, ClientBuilder};
use kube::{Client, Config};
use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::PemObject as _;
use tower::buffer::BufferLayer;
use tower::retry::RetryLayer;
use tower::{Layer, Service};

use crate::aws::TokenSource;
use crate::aws::eks::Description;
use crate::error::ClusterError;
use crate::patience::Patience;

/// An API server that does not accept a connection in this time is not there.
const CONNECT: Duration = Duration::from_secs(5);
/// No answer of an API server takes longer.
const ANSWER: Duration = Duration::from_secs(30);
/// After this long credentials that were refused are tried once more.
const CHECKED_AGAIN: Duration = Duration::from_secs(2);
/// How many requests may wait for their turn.
const WAITING: usize = 1024;

/// Looks at a cluster.
#[derive(Clone)]
pub struct ClusterReader {
    client: Client,
    streaming: Client,
    endpoint: String,
    patience: Patience,
}

impl std::fmt::Debug for ClusterReader {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "ClusterReader({})", self.endpoint)
    }
}

impl ClusterReader {
    /// Connects to the API server of a description, trusting its authority and nobody else. Neither a
    /// kubeconfig nor a proxy of the environment has a say in it.
    pub(crate) fn connect(description: &Description, tokens: &TokenSource) -> Result<Self, ClusterError> {
        let unusable = |message: String| ClusterError::Unreadable {
            doing: format!("DescribeCluster ({})", description.arn),
            message,
        };
        let uri: Uri =
            description.endpoint.parse().map_err(|e: http::uri::InvalidUri| unusable(e.to_string()))?;
        let authority: Vec<_> = CertificateDer::pem_slice_iter(&description.authority)
            .map(|certificate| certificate.map(|der| der.to_vec()))
            .collect::<Result<_, _>>()
            .map_err(|e| unusable(format!("the certificate authority: {e}")))?;
        if authority.is_empty() {
            return Err(unusable("the certificate authority is empty".to_owned()));
        }
        let patience = Patience::default();
        let open = |answer: Option<Duration>| {
            let mut config = Config::new(uri.clone());
            config.root_cert = Some(authority.clone());
            config.connect_timeout = Some(CONNECT);
            config.read_timeout = answer;
            config.reset_reader_on_write = true;
            let builder = ClientBuilder::try_from(config).map_err(|e| unusable(e.to_string()))?;
            // Each attempt signs anew; the buffer is what makes a request repeatable.
            let builder = builder.with_layer(&BufferLayer::new(WAITING)).with_layer(&Bearer(tokens.clone()));
            Ok(builder.with_layer(&RetryLayer::new(patience.clone())).build())
        };
        Ok(Self {
            client: open(Some(ANSWER))?,
            streaming: open(None)?,
            endpoint: description.endpoint.clone(),
            patience,
        })
    }

    /// For requests that are answered.
    pub(crate) fn client(&self) -> Client {
        self.client.clone()
    }

    /// For watches, logs and terminals: answers that go on.
    pub(crate) fn streaming(&self) -> Client {
        self.streaming.clone()
    }

    /// Where it is.
    #[must_use]
    pub fn endpoint(&self) -> &str {
        &self.endpoint
    }

    /// From now on the cluster is known to be the expected one, and to take the credentials.
    pub(crate) fn prove(&self, renew: String) {
        self.patience.prove(renew);
    }

    /// Waits until the API server answers, and takes the credentials.
    ///
    /// # Errors
    /// When it does not.
    pub async fn answers(&self) -> Result<(), ClusterError> {
        self.client.apiserver_version().await.map(drop).map_err(self.failed("to say its version"))
    }

    /// Waits until the cluster no longer takes the credentials, as any request shows; what to say then. What
    /// only watches would not notice: a watch that was let in goes on.
    pub async fn credentials_end(&self) -> ClusterError {
        loop {
            self.patience.refused().await;
            // Who checks them may have been away for a moment.
            tokio::time::sleep(CHECKED_AGAIN).await;
            if let Err(error @ ClusterError::Credentials { .. }) = self.answers().await {
                return error;
            }
        }
    }

    /// Whether the API server was seen not to answer since then.
    #[must_use]
    pub fn was_away_since(&self, then: Instant) -> bool {
        self.patience.was_away_since(then)
    }

    /// Makes the error of a call that was `doing` something.
    pub(crate) fn failed(&self, doing: &str) -> impl Fn(kube::Error) -> ClusterError + use<> {
        let (endpoint, doing, patience) = (self.endpoint.clone(), doing.to_owned(), self.patience.clone());
        move |error| match (ClusterError::from_kube(&endpoint, &doing, error), patience.renew()) {
            (ClusterError::Api { status: 401, .. }, Some(renew)) => ClusterError::Credentials {
                message: "the AWS credentials have ended: the cluster took them before, and refuses them now"
                    .to_owned(),
                hint: format!("{renew}; then type the same command again: it goes on where this one stopped"),
            },
            (error, _) => error,
        }
    }
}

#[derive(Debug, Clone)]
struct Bearer(TokenSource);

impl<S> Layer<S> for Bearer {
    type Service = Authorised<S>;

    fn layer(&self, inner: S) -> Self::Service {
        Authorised { inner, tokens: self.0.clone() }
    }
}

/// Adds a token that is good now to each request.
#[derive(Debug, Clone)]
struct Authorised<S> {
    inner: S,
    tokens: TokenSource,
}

impl<S: Service<Request<Body>>> Service<Request<Body>> for Authorised<S> {
    type Response = S::Response;
    type Error = S::Error;
    type Future = S::Future;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(context)
    }

    fn call(&mut self, mut request: Request<Body>) -> S::Future {
        // A token that cannot be signed leaves the request without one: the API server says 401.
        if let Ok(token) = self.tokens.token()
            && let Ok(mut header) = HeaderValue::from_str(&format!("Bearer {}", token.value))
        {
            header.set_sensitive(true);
            request.headers_mut().insert(AUTHORIZATION, header);
        }
        self.inner.call(request)
    }
}
