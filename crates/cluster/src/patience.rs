//! Patience with an API server that is away for a moment, or has just come back: requests are made again
//! instead of failing what is half done. Only once the cluster was proven to be the expected one: before
//! that, whoever cannot reach it wants to know at once.

use std::error::Error as StdError;
use std::io;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::{Duration, Instant};

use http::{Method, Request, Response};
use kube::client::Body;
use tokio::sync::watch;
use tower::BoxError;
use tower::retry::Policy;

/// How long one that does not answer is asked again: no longer than the lock of an environment is ours
/// without being renewed.
const AWAY: Duration = Duration::from_secs(25);
/// How long after it was away an API server may still refuse what it allows: it answers before it has read
/// its roles, and before it knows who asks.
const COMING_BACK: Duration = Duration::from_secs(15);
/// Between two requests.
pub(crate) const PAUSES: [Duration; 4] = [
    Duration::from_millis(100),
    Duration::from_millis(250),
    Duration::from_millis(500),
    Duration::from_secs(1),
];

/// What all requests to one API server share.
#[derive(Debug, Default)]
struct Shared {
    /// How to renew the credentials, once the cluster has taken them.
    proven: OnceLock<String>,
    /// When it was last seen not to answer.
    away: Mutex<Option<Instant>>,
    /// Whether it last refused the credentials that it had taken.
    refused: watch::Sender<bool>,
}

/// The policy by which requests are made again.
#[derive(Debug, Clone, Default)]
pub(crate) struct Patience {
    shared: Arc<Shared>,
    attempts: usize,
    since: Option<Instant>,
}

impl Patience {
    /// From now on: the cluster is the expected one, and took the credentials, which `renew` renews.
    pub(crate) fn prove(&self, renew: String) {
        // It is proven once.
        let _ = self.shared.proven.set(renew);
    }

    /// How to renew the credentials, where the cluster had taken them.
    pub(crate) fn renew(&self) -> Option<&str> {
        self.shared.proven.get().map(String::as_str)
    }

    /// Whether the API server was seen not to answer since then.
    pub(crate) fn was_away_since(&self, then: Instant) -> bool {
        self.away().is_some_and(|at| at >= then)
    }

    /// Waits until a request is refused for its credentials, although earlier ones were not.
    pub(crate) async fn refused(&self) {
        // The sender lives as long as we do.
        let _ = self.shared.refused.subscribe().wait_for(|refused| *refused).await;
    }

    fn away(&self) -> Option<Instant> {
        *self.shared.away.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn is_again(&self, method: &Method, result: &Result<u16, &BoxError>, now: Instant) -> bool {
        if self.shared.proven.get().is_none() {
            return false;
        }
        match result {
            Ok(401 | 403 | 500 | 503) => self.away().is_some_and(|at| now.duration_since(at) < COMING_BACK),
            Ok(_) => false,
            // What may have arrived is made again only where that changes nothing.
            Err(error) => {
                (*method != Method::POST || was_never_sent(error.as_ref()))
                    && self.since.is_none_or(|since| now.duration_since(since) < AWAY)
            }
        }
    }
}

fn was_never_sent(error: &(dyn StdError + 'static)) -> bool {
    let mut next = Some(error);
    while let Some(error) = next {
        if error.downcast_ref::<io::Error>().is_some_and(|e| e.kind() == io::ErrorKind::ConnectionRefused) {
            return true;
        }
        next = error.source();
    }
    false
}

impl<B> Policy<Request<Body>, Response<B>, BoxError> for Patience {
    type Future = tokio::time::Sleep;

    fn retry(
        &mut self,
        request: &mut Request<Body>,
        result: &mut Result<Response<B>, BoxError>,
    ) -> Option<Self::Future> {
        let now = Instant::now();
        if result.is_err() {
            *self.shared.away.lock().unwrap_or_else(PoisonError::into_inner) = Some(now);
            self.since.get_or_insert(now);
        }
        let seen = result.as_ref().map(|response| response.status().as_u16());
        if !self.is_again(request.method(), &seen, now) {
            if let Ok(status) = seen {
                let is_refused = status == 401 && self.renew().is_some();
                self.shared
                    .refused
                    .send_if_modified(|before| std::mem::replace(before, is_refused) != is_refused);
            }
            return None;
        }
        let pause = PAUSES[self.attempts.min(PAUSES.len() - 1)];
        self.attempts += 1;
        Some(tokio::time::sleep(pause))
    }

    fn clone_request(&mut self, request: &Request<Body>) -> Option<Request<Body>> {
        let mut again = Request::builder()
            .method(request.method().clone())
            .uri(request.uri().clone())
            .version(request.version())
            .body(request.body().try_clone()?)
            .ok()?;
        *again.headers_mut() = request.headers().clone();
        *again.extensions_mut() = request.extensions().clone();
        Some(again)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn error(kind: io::ErrorKind) -> BoxError {
        Box::new(io::Error::from(kind))
    }

    #[test]
    fn only_a_proven_cluster_is_waited_for() {
        let (refused, reset) =
            (error(io::ErrorKind::ConnectionRefused), error(io::ErrorKind::ConnectionReset));
        let now = Instant::now();
        let patience = Patience::default();
        assert!(!patience.is_again(&Method::GET, &Err(&refused), now));
        patience.prove("sign in".to_owned());
        assert!(patience.is_again(&Method::GET, &Err(&refused), now));
        assert!(patience.is_again(&Method::POST, &Err(&refused), now), "it was never sent");
        assert!(patience.is_again(&Method::DELETE, &Err(&reset), now));
        assert!(!patience.is_again(&Method::POST, &Err(&reset), now), "it may have arrived");
        let long = Patience { since: Some(now), ..patience };
        assert!(!long.is_again(&Method::GET, &Err(&refused), now + AWAY));
    }

    #[test]
    fn refusals_are_believed_unless_the_server_has_just_come_back() {
        let now = Instant::now();
        let patience = Patience::default();
        patience.prove("sign in".to_owned());
        assert!(!patience.is_again(&Method::GET, &Ok(403), now));
        *patience.shared.away.lock().unwrap() = Some(now);
        assert!(patience.is_again(&Method::GET, &Ok(403), now));
        assert!(!patience.is_again(&Method::GET, &Ok(404), now));
        assert!(!patience.is_again(&Method::GET, &Ok(403), now + COMING_BACK));
    }
}
