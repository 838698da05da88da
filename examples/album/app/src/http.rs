//! What every role that serves HTTP does alike: requests have ids and lines in the log, probes are
//! answered, and the end is graceful.

use crate::db::Db;
use crate::shutdown::Shutdown;
use crate::{Result, config, log};
use axum::extract::{Request, State};
use axum::http::{HeaderName, HeaderValue, StatusCode, header};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum::{Json, Router};
use serde_json::json;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

/// Names a request in the logs of all that have to do with it.
pub const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");
/// Longer ones are replaced: they stand in every line.
const LONGEST_ID: usize = 200;

/// Serves until asked to stop; requests in flight are answered first.
pub async fn serve(role: &str, routes: Router, db: &Db, shutdown: &Shutdown) -> Result<()> {
    let http = config::Http::from(&config::environment)?;
    let routes = with_probes(routes, db.clone(), shutdown.clone());
    let listener = tokio::net::TcpListener::bind(("0.0.0.0", http.port))
        .await
        .map_err(|error| format!("port {}: {error}", http.port))?;
    log::info("started", &[("role", role), ("port", &http.port.to_string())]);

    let (mut stop, mut late) = (shutdown.clone(), shutdown.clone());
    let server = axum::serve(listener, routes.into_make_service_with_connect_info::<SocketAddr>())
        .with_graceful_shutdown(async move { stop.overdue(http.linger).await });
    tokio::select! {
        served = server.into_future() => served?,
        // A client that never finishes must not hold the process until it is killed.
        () = late.overdue(http.linger + http.drain) => {
            log::warn("requests still in flight are broken off", &[]);
        }
    }
    log::info("stopped", &[("role", role)]);
    Ok(())
}

fn with_probes(routes: Router, db: Db, shutdown: Shutdown) -> Router {
    let probes = Router::new()
        .route("/healthz", get(|| async { "alive\n" }))
        .route("/readyz", get(ready))
        .with_state((db, shutdown.clone()));
    routes.merge(probes).layer(middleware::from_fn_with_state(shutdown, accompany))
}

/// Not ready while it stops, so that nobody sends new requests, nor without the database.
async fn ready(State((db, shutdown)): State<(Db, Shutdown)>) -> (StatusCode, String) {
    if shutdown.requested() {
        return (StatusCode::SERVICE_UNAVAILABLE, "stopping\n".into());
    }
    match db.ping().await {
        Ok(()) => (StatusCode::OK, "ready\n".into()),
        Err(error) => (StatusCode::SERVICE_UNAVAILABLE, format!("{error}\n")),
    }
}

/// Gives a request its id, which its answer carries too, and writes its line.
async fn accompany(State(shutdown): State<Shutdown>, mut request: Request, next: Next) -> Response {
    let started = Instant::now();
    let method = request.method().to_string();
    let path = request.uri().path().to_owned();
    let known = request.headers().get(REQUEST_ID).filter(|id| id.len() <= LONGEST_ID && id.to_str().is_ok());
    let id = known.cloned().unwrap_or_else(new_id);
    request.headers_mut().insert(REQUEST_ID, id.clone());

    let mut response = next.run(request).await;

    // Probes come every few seconds; they stay out of the log.
    if !matches!(path.as_str(), "/healthz" | "/readyz") {
        let fields = [
            ("method", &*method),
            ("path", &path),
            ("status", &response.status().as_u16().to_string()),
            ("milliseconds", &started.elapsed().as_millis().to_string()),
            ("request", id.to_str().unwrap_or_default()),
            ("instance", log::instance()),
        ];
        log::info("request", &fields);
    }
    response.headers_mut().insert(REQUEST_ID, id);
    // Who keeps a connection would otherwise stay until the very end.
    if shutdown.requested() {
        response.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
    }
    response
}

/// Unlike any other of any instance: it has the process's beginning and a number in it.
fn new_id() -> HeaderValue {
    static COUNT: AtomicU64 = AtomicU64::new(0);
    let count = COUNT.fetch_add(1, Ordering::Relaxed);
    let id = format!("{}-{:x}-{count:x}", log::instance(), log::started());
    HeaderValue::from_str(&id).unwrap_or_else(|_| HeaderValue::from(count))
}

/// What a request fails with.
#[derive(Debug)]
pub enum Failure {
    /// What the client should know.
    Said(StatusCode, &'static str),
    /// Ours; the details go to the log only.
    Ours(crate::Error),
}

impl<E: Into<crate::Error>> From<E> for Failure {
    fn from(error: E) -> Self {
        Failure::Ours(error.into())
    }
}

impl IntoResponse for Failure {
    fn into_response(self) -> Response {
        let (status, message) = match self {
            Failure::Said(status, message) => (status, message),
            Failure::Ours(error) => {
                log::error("request failed", &[("error", &error.to_string())]);
                (StatusCode::INTERNAL_SERVER_ERROR, "something went wrong on our side")
            }
        };
        (status, Json(json!({ "error": message }))).into_response()
    }
}
