//! Albums and photos over HTTP.

use crate::aws::{Aws, Order};
use crate::cache::Cache;
use crate::db::{Album, Db, Photo};
use crate::shutdown::Shutdown;
use crate::{Result, config, log, sigv4};
use axum::body::Bytes;
use axum::extract::{DefaultBodyLimit, Path, Query, Request, State};
use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};
use axum::middleware::{self, Next};
use axum::response::{Html, IntoResponse, Redirect, Response};
use axum::routing::get;
use axum::{Json, Router};
use serde::Deserialize;
use serde_json::json;
use std::time::Instant;

const LARGEST_PHOTO: usize = 25 * 1024 * 1024;
const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");
const CACHE: HeaderName = HeaderName::from_static("x-cache");

#[derive(Clone)]
struct Api {
    db: Db,
    aws: Aws,
    cache: Cache,
    shutdown: Shutdown,
}

impl Api {
    fn new(shutdown: Shutdown) -> Result<Self> {
        Ok(Api {
            db: Db::new(config::Database::from(&config::environment)?),
            aws: Aws::new(config::Aws::from(&config::environment)?)?,
            cache: Cache::new(config::Cache::from(&config::environment)?)?,
            shutdown,
        })
    }
}

/// Serves until asked to stop; requests in flight are answered first.
pub async fn run() -> Result<()> {
    let http = config::Http::from(&config::environment)?;
    let shutdown = Shutdown::listen()?;
    let api = Api::new(shutdown.clone())?;
    let db = api.db.clone();
    let listener = tokio::net::TcpListener::bind(("0.0.0.0", http.port))
        .await
        .map_err(|error| format!("port {}: {error}", http.port))?;
    log::info("api started", &[("port", &http.port.to_string())]);

    let (mut stop, mut late) = (shutdown.clone(), shutdown);
    let server = axum::serve(listener, router(api)).with_graceful_shutdown(async move { stop.wait().await });
    tokio::select! {
        served = server.into_future() => served?,
        // A client that never finishes must not hold the process until it is killed.
        () = async { late.wait().await; tokio::time::sleep(http.drain).await } => {
            log::warn("requests still in flight are broken off", &[]);
        }
    }
    db.close().await?;
    log::info("api stopped", &[]);
    Ok(())
}

/// Proves from where it runs (a pod, for example) that a presigned URL works.
pub async fn check_url(photo: &str) -> Result<()> {
    let api = Api::new(Shutdown::listen()?)?;
    let photo = photo.parse().map_err(|_| "PHOTO is a number")?;
    let photo = api.db.photo(photo).await?.ok_or("there is no such photo")?;
    let url = api.aws.presigned(&photo.original_key).await?;
    let size = api.aws.fetch(url.clone()).await?.len();
    // Without its query: whoever has that may fetch the photo too.
    let place = format!("{}{}", url.origin().ascii_serialization(), url.path());
    log::info("fetched", &[("url", &place), ("bytes", &size.to_string())]);
    api.db.close().await
}

fn router(api: Api) -> Router {
    Router::new()
        .route("/", get(|| async { Html(include_str!("index.html")) }))
        .route("/albums", get(list_albums).post(create_album))
        .route("/albums/{album}/photos", get(list_photos).post(upload))
        .route("/photos/{photo}", get(show_photo))
        .route("/photos/{photo}/original", get(original))
        .route("/photos/{photo}/thumbnail", get(thumbnail))
        .layer(DefaultBodyLimit::max(LARGEST_PHOTO))
        .layer(middleware::from_fn(access_log))
        // Probes come every few seconds; they stay out of the access log.
        .route("/healthz", get(|| async { "alive\n" }))
        .route("/readyz", get(ready))
        .with_state(api)
}

/// What a request fails with.
enum Failure {
    /// The client's mistake, with what it should know.
    Client(StatusCode, &'static str),
    /// Ours; the details go to the log only.
    Server(crate::Error),
}

impl<E: Into<crate::Error>> From<E> for Failure {
    fn from(error: E) -> Self {
        Failure::Server(error.into())
    }
}

impl IntoResponse for Failure {
    fn into_response(self) -> Response {
        let (status, message) = match self {
            Failure::Client(status, message) => (status, message),
            Failure::Server(error) => {
                log::error("request failed", &[("error", &error.to_string())]);
                (StatusCode::INTERNAL_SERVER_ERROR, "something went wrong on our side")
            }
        };
        (status, Json(json!({ "error": message }))).into_response()
    }
}

const NO_ALBUM: Failure = Failure::Client(StatusCode::NOT_FOUND, "there is no such album");
const NO_PHOTO: Failure = Failure::Client(StatusCode::NOT_FOUND, "there is no such photo");

#[derive(Deserialize)]
struct NewAlbum {
    title: String,
}

async fn create_album(
    State(api): State<Api>,
    Json(new): Json<NewAlbum>,
) -> Result<(StatusCode, Json<Album>), Failure> {
    let title = new.title.trim();
    if title.is_empty() || title.chars().count() > 200 {
        return Err(Failure::Client(StatusCode::BAD_REQUEST, "a title has 1 to 200 characters"));
    }
    Ok((StatusCode::CREATED, Json(api.db.add_album(title).await?)))
}

async fn list_albums(State(api): State<Api>) -> Result<Json<Vec<Album>>, Failure> {
    Ok(Json(api.db.albums().await?))
}

async fn list_photos(State(api): State<Api>, Path(album): Path<u64>) -> Result<Response, Failure> {
    let (slot, kept) = api.cache.find(album).await;
    let (origin, listing) = match kept {
        Some(listing) => ("hit", listing),
        None => {
            if !api.db.has_album(album).await? {
                return Err(NO_ALBUM);
            }
            let listing = serde_json::to_string(&api.db.photos(album).await?)?;
            if let Some(slot) = slot {
                api.cache.keep(slot, &listing).await;
            }
            ("miss", listing)
        }
    };
    Ok(([(header::CONTENT_TYPE, "application/json"), (CACHE, origin)], listing).into_response())
}

async fn upload(
    State(api): State<Api>,
    Path(album): Path<u64>,
    headers: HeaderMap,
    body: Bytes,
) -> Result<(StatusCode, Json<Photo>), Failure> {
    let content_type =
        headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let extension = match content_type {
        "image/jpeg" => "jpg",
        "image/png" => "png",
        _ => {
            let message = "send a photo as the request's body, with the content type image/jpeg or image/png";
            return Err(Failure::Client(StatusCode::UNSUPPORTED_MEDIA_TYPE, message));
        }
    };
    if body.is_empty() {
        return Err(Failure::Client(StatusCode::BAD_REQUEST, "the photo is empty"));
    }
    if !api.db.has_album(album).await? {
        return Err(NO_ALBUM);
    }
    let key = format!("albums/{album}/{}/original.{extension}", sigv4::digest(&body));
    api.aws.put(&key, content_type, body.to_vec()).await?;
    let photo = api.db.add_photo(album, content_type, &key).await?;
    // Without its order the photo would stay pending for ever.
    if let Err(error) = api.aws.send(&Order { photo: photo.id }).await {
        api.db.remove_photo(photo.id).await?;
        return Err(error.into());
    }
    api.cache.forget(album).await;
    Ok((StatusCode::CREATED, Json(photo)))
}

async fn show_photo(State(api): State<Api>, Path(photo): Path<u64>) -> Result<Json<Photo>, Failure> {
    Ok(Json(api.db.photo(photo).await?.ok_or(NO_PHOTO)?))
}

/// How a file is to be handed out.
#[derive(Deserialize)]
#[serde(rename_all = "lowercase")]
enum Via {
    /// Redirect to the presigned URL.
    Redirect,
    /// Tell the presigned URL as `{"url": ...}`.
    Url,
    /// Fetch the presigned URL here: proves that one URL works from the browser and from a pod.
    Pod,
}

#[derive(Deserialize)]
struct Download {
    #[serde(default = "Download::usual")]
    via: Via,
}

impl Download {
    fn usual() -> Via {
        Via::Redirect
    }
}

async fn original(api: State<Api>, photo: Path<u64>, how: Query<Download>) -> Result<Response, Failure> {
    let photo = api.db.photo(*photo).await?.ok_or(NO_PHOTO)?;
    hand_out(&api, &photo.original_key, how.0.via).await
}

async fn thumbnail(api: State<Api>, photo: Path<u64>, how: Query<Download>) -> Result<Response, Failure> {
    let photo = api.db.photo(*photo).await?.ok_or(NO_PHOTO)?;
    match (photo.thumbnail_key, photo.state.as_str()) {
        (Some(key), _) => hand_out(&api, &key, how.0.via).await,
        (None, "failed") => {
            let message = "no thumbnail could be made of this photo so far";
            Err(Failure::Client(StatusCode::NOT_FOUND, message))
        }
        (None, _) => {
            let failure = Failure::Client(StatusCode::NOT_FOUND, "the thumbnail is not made yet");
            Ok(([(header::RETRY_AFTER, "1")], failure).into_response())
        }
    }
}

async fn hand_out(api: &Api, key: &str, via: Via) -> Result<Response, Failure> {
    let url = api.aws.presigned(key).await?;
    Ok(match via {
        Via::Redirect => Redirect::temporary(url.as_str()).into_response(),
        Via::Url => Json(json!({ "url": url.as_str() })).into_response(),
        Via::Pod => {
            let content_type = if key.ends_with(".png") { "image/png" } else { "image/jpeg" };
            ([(header::CONTENT_TYPE, content_type)], api.aws.fetch(url).await?).into_response()
        }
    })
}

/// Not ready while it stops, so that nobody sends new requests, nor without the database.
async fn ready(State(api): State<Api>) -> (StatusCode, String) {
    if api.shutdown.requested() {
        return (StatusCode::SERVICE_UNAVAILABLE, "stopping\n".into());
    }
    match api.db.ping().await {
        Ok(()) => (StatusCode::OK, "ready\n".into()),
        Err(error) => (StatusCode::SERVICE_UNAVAILABLE, format!("{error}\n")),
    }
}

async fn access_log(request: Request, next: Next) -> Response {
    let started = Instant::now();
    let method = request.method().to_string();
    let path = request.uri().path().to_owned();
    let id = request.headers().get(REQUEST_ID).cloned();
    let mut response = next.run(request).await;
    let milliseconds = started.elapsed().as_millis().to_string();
    let status = response.status().as_u16().to_string();
    let shown = id.as_ref().map_or("", |id: &HeaderValue| id.to_str().unwrap_or_default());
    let fields = [
        ("method", &*method),
        ("path", &path),
        ("status", &status),
        ("milliseconds", &milliseconds),
        ("request", shown),
    ];
    log::info("request", &fields);
    if let Some(id) = id {
        response.headers_mut().insert(REQUEST_ID, id);
    }
    response
}
