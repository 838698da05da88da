//! Albums and photos over HTTP.

use crate::aws::Aws;
use crate::cache::Cache;
use crate::db::{Album, Db, Photo};
use crate::http::{Failure, serve};
use crate::prints::{Prints, Shipping};
use crate::queue::Queue;
use crate::shutdown::Shutdown;
use crate::storage::Storage;
use crate::worker::{Kind, Order};
use crate::{Result, config, log, sigv4};
use axum::body::Bytes;
use axum::extract::{DefaultBodyLimit, Path, Query, State};
use axum::http::{HeaderMap, HeaderName, StatusCode, header};
use axum::response::{Html, IntoResponse, Redirect, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use serde::Deserialize;
use serde_json::json;

const LARGEST_PHOTO: usize = 25 * 1024 * 1024;
const CACHE: HeaderName = HeaderName::from_static("x-cache");

#[derive(Clone)]
struct Api {
    db: Db,
    storage: Storage,
    queue: Queue,
    cache: Cache,
    shipping: Shipping,
}

impl Api {
    fn new() -> Result<Self> {
        let aws = Aws::new(config::Aws::from(&config::environment)?)?;
        Ok(Api {
            db: Db::new(config::Database::from(&config::environment)?),
            queue: Queue::new(aws.clone(), config::thumbnail_queue(&config::environment)?),
            storage: Storage::new(aws, config::Storage::from(&config::environment)?),
            cache: Cache::new(config::Cache::from(&config::environment)?)?,
            shipping: Shipping::new(config::shipping(&config::environment)?)?,
        })
    }
}

/// Serves until asked to stop; requests in flight are answered first.
pub async fn run() -> Result<()> {
    let shutdown = Shutdown::listen()?;
    let api = Api::new()?;
    let db = api.db.clone();
    serve("api", router(api), &db, &shutdown).await?;
    db.close().await
}

/// Proves from where it runs (a pod, for example) that a presigned URL works.
pub async fn check_url(photo: &str) -> Result<()> {
    let api = Api::new()?;
    let photo = photo.parse().map_err(|_| "PHOTO is a number")?;
    let photo = api.db.photo(photo).await?.ok_or("there is no such photo")?;
    let url = api.storage.presigned(&photo.original_key).await?;
    let size = api.storage.fetch(url.clone()).await?.len();
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
        .route("/photos/{photo}/poster", get(poster).post(order_poster))
        .route("/photos/{photo}/prints", post(order_prints))
        .route("/prints/{order}", get(show_prints))
        .layer(DefaultBodyLimit::max(LARGEST_PHOTO))
        .with_state(api)
}

const NO_ALBUM: Failure = Failure::Said(StatusCode::NOT_FOUND, "there is no such album");
const NO_PHOTO: Failure = Failure::Said(StatusCode::NOT_FOUND, "there is no such photo");

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
        return Err(Failure::Said(StatusCode::BAD_REQUEST, "a title has 1 to 200 characters"));
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
            return Err(Failure::Said(StatusCode::UNSUPPORTED_MEDIA_TYPE, message));
        }
    };
    if body.is_empty() {
        return Err(Failure::Said(StatusCode::BAD_REQUEST, "the photo is empty"));
    }
    if !api.db.has_album(album).await? {
        return Err(NO_ALBUM);
    }
    let key = format!("albums/{album}/{}/original.{extension}", sigv4::digest(&body));
    api.storage.put(&key, content_type, body.to_vec()).await?;
    let photo = api.db.add_photo(album, content_type, &key).await?;
    // Without its order the photo would stay pending for ever.
    if let Err(error) = api.queue.send(&Order::new(photo.id, Kind::Thumbnail)).await {
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
            Err(Failure::Said(StatusCode::NOT_FOUND, message))
        }
        (None, _) => {
            let failure = Failure::Said(StatusCode::NOT_FOUND, "the thumbnail is not made yet");
            Ok(([(header::RETRY_AFTER, "1")], failure).into_response())
        }
    }
}

async fn poster(api: State<Api>, photo: Path<u64>, how: Query<Download>) -> Result<Response, Failure> {
    let missing = Failure::Said(StatusCode::NOT_FOUND, "there is no poster of this photo so far");
    let key = api.db.poster(*photo).await?.ok_or(missing)?;
    hand_out(&api, &key, how.0.via).await
}

async fn order_poster(State(api): State<Api>, Path(photo): Path<u64>) -> Result<StatusCode, Failure> {
    let photo = api.db.photo(photo).await?.ok_or(NO_PHOTO)?;
    api.queue.send(&Order::new(photo.id, Kind::Poster)).await?;
    Ok(StatusCode::ACCEPTED)
}

async fn order_prints(
    State(api): State<Api>,
    Path(photo): Path<u64>,
    headers: HeaderMap,
    Json(prints): Json<Prints>,
) -> Result<Response, Failure> {
    let photo = api.db.photo(photo).await?.ok_or(NO_PHOTO)?.id;
    api.shipping.order(photo, prints, &headers).await
}

async fn show_prints(
    State(api): State<Api>,
    Path(order): Path<u64>,
    headers: HeaderMap,
) -> Result<Response, Failure> {
    api.shipping.show(order, &headers).await
}

async fn hand_out(api: &Api, key: &str, via: Via) -> Result<Response, Failure> {
    let url = api.storage.presigned(key).await?;
    Ok(match via {
        Via::Redirect => Redirect::temporary(url.as_str()).into_response(),
        Via::Url => Json(json!({ "url": url.as_str() })).into_response(),
        Via::Pod => {
            let content_type = if key.ends_with(".png") { "image/png" } else { "image/jpeg" };
            ([(header::CONTENT_TYPE, content_type)], api.storage.fetch(url).await?).into_response()
        }
    })
}
