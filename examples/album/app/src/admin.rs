//! The internal tool: what there is and what has run, on one page, for who comes from the right place.

use crate::config::Access;
use crate::db::Db;
use crate::http::{Failure, serve};
use crate::shutdown::Shutdown;
use crate::{Result, allow, config, log};
use axum::Router;
use axum::extract::{ConnectInfo, Request, State};
use axum::http::{StatusCode, header};
use axum::middleware::{self, Next};
use axum::response::{Html, IntoResponse, Redirect, Response};
use axum::routing::get;
use mysql_async::prelude::Queryable;
use mysql_async::{Row, Value};
use std::net::SocketAddr;
use std::sync::Arc;

/// What the page shows: a heading, the columns' names, and the query.
const TABLES: [(&str, &[&str], &str); 4] = [
    (
        "Photos",
        &["photo", "album", "state", "error", "since"],
        "SELECT photos.id, title, state, COALESCE(error, ''), CAST(photos.created_at AS CHAR) FROM photos \
         JOIN albums ON albums.id = album_id ORDER BY photos.id DESC LIMIT 50",
    ),
    (
        "Jobs",
        &["job", "kind", "state", "instance", "runs", "since"],
        "SELECT job, kind, state, instance, (SELECT COUNT(*) FROM thumbnail_runs AS runs WHERE runs.job = jobs.job), \
         CAST(created_at AS CHAR) FROM jobs ORDER BY created_at DESC LIMIT 50",
    ),
    (
        "Thumbnail runs",
        &["run", "job", "instance", "at"],
        "SELECT id, job, instance, CAST(at AS CHAR) FROM thumbnail_runs ORDER BY id DESC LIMIT 50",
    ),
    (
        "Batch runs",
        &["run", "batch", "outcome", "result", "instance", "started", "ended"],
        "SELECT id, name, outcome, result, instance, CAST(started_at AS CHAR), COALESCE(CAST(ended_at AS CHAR), '') \
         FROM batch_runs ORDER BY id DESC LIMIT 50",
    ),
];

/// Serves until asked to stop.
pub async fn run() -> Result<()> {
    let access = Arc::new(config::Access::from(&config::environment)?);
    let shutdown = Shutdown::listen()?;
    let db = Db::new(config::Database::from(&config::environment)?);
    let routes = Router::new()
        .route("/", get(page))
        .with_state(db.clone())
        .layer(middleware::from_fn_with_state(access, only_allowed));
    serve("admin", routes, &db, &shutdown).await?;
    db.close().await
}

async fn only_allowed(
    State(access): State<Arc<Access>>,
    ConnectInfo(peer): ConnectInfo<SocketAddr>,
    request: Request,
    next: Next,
) -> Response {
    let client = allow::client(&access, peer.ip(), request.headers());
    match client {
        Some(client) if allow::may(&access, client) => {
            if allow::must_be_https(&access, peer.ip(), request.headers()) {
                return https(&request).into_response();
            }
            next.run(request).await
        }
        client => {
            let client = client.map_or_else(|| "unknown".to_owned(), |client| client.to_string());
            log::warn("refused", &[("client", &client), ("peer", &peer.ip().to_string())]);
            Failure::Said(StatusCode::FORBIDDEN, "not from this address").into_response()
        }
    }
}

/// The same, by HTTPS.
fn https(request: &Request) -> Redirect {
    let host = request.headers().get(header::HOST).and_then(|host| host.to_str().ok()).unwrap_or_default();
    Redirect::permanent(&format!("https://{host}{}", request.uri()))
}

async fn page(State(db): State<Db>) -> Result<Response, Failure> {
    let mut sections = String::new();
    let mut connection = db.connection().await?;
    for (heading, columns, query) in TABLES {
        let rows: Vec<Row> = connection.query(query).await?;
        let rows = rows.into_iter().map(|row| row.unwrap().into_iter().map(shown).collect());
        sections.push_str(&table(heading, columns, rows));
    }
    let page = include_str!("admin.html").replace("{{sections}}", &sections);
    Ok(([(header::CACHE_CONTROL, "no-store")], Html(page)).into_response())
}

fn table(heading: &str, columns: &[&str], rows: impl Iterator<Item = Vec<String>>) -> String {
    let cells = |tag: &str, texts: &mut dyn Iterator<Item = &str>| -> String {
        texts.map(|text| format!("<{tag}>{}</{tag}>", escaped(text))).collect()
    };
    let head = cells("th", &mut columns.iter().copied());
    let body: String =
        rows.map(|row| format!("<tr>{}</tr>\n", cells("td", &mut row.iter().map(String::as_str)))).collect();
    format!("<h2>{heading}</h2>\n<table>\n<tr>{head}</tr>\n{body}</table>\n")
}

/// As people read it: queries without parameters answer in text, whatever the column's type.
fn shown(value: Value) -> String {
    match value {
        Value::Bytes(bytes) => String::from_utf8_lossy(&bytes).into_owned(),
        Value::NULL => String::new(),
        other => other.as_sql(true),
    }
}

/// Titles are what users typed.
fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_users_typed_stays_text() {
        let table = table("Photos", &["album"], [vec!["<b>&".to_owned()]].into_iter());
        assert!(table.contains("<td>&lt;b&gt;&amp;</td>"), "{table}");
    }
}
