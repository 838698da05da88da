//! The Engine's API, as far as the warden needs it: JSON over HTTP over a Unix socket.

use std::fmt::Write as _;

use bytes::Bytes;
use envctl_wire::ENGINE_SOCKET;
use http_body_util::{BodyExt, Full, Limited};
use hyper::body::Incoming;
use hyper::client::conn::http1;
use hyper::header::{CONTENT_TYPE, HOST};
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use serde_json::Value;
use tokio::net::UnixStream;

/// No answer is longer: an archive of a pod's content, a list of hundreds of containers.
const LONGEST_ANSWER: usize = 64 << 20;

/// The Engine that this container's socket leads to.
#[derive(Debug, Clone)]
pub(super) struct Engine {
    /// `/v1.41`.
    version: String,
}

/// The Engine did not do what it was asked.
#[derive(Debug, thiserror::Error)]
pub(super) enum EngineError {
    /// It said no.
    #[error("the Engine refuses {asked}: {words}")]
    Refused {
        /// Method and path.
        asked: String,
        status: StatusCode,
        /// Its words.
        words: String,
    },
    /// It did not answer.
    #[error("the Engine does not answer: {0}")]
    Lost(String),
}

impl EngineError {
    /// There is no such thing (any more).
    pub(super) fn is_missing(&self) -> bool {
        matches!(self, Self::Refused { status, .. } if *status == StatusCode::NOT_FOUND)
    }

    /// There is no such thing (any more), or somebody is removing it: no reason to complain.
    pub(super) fn is_gone(&self) -> bool {
        matches!(self, Self::Refused { status, .. } if *status == StatusCode::NOT_FOUND || *status == StatusCode::CONFLICT)
    }
}

type Result<T> = std::result::Result<T, EngineError>;

impl Engine {
    /// Asks which version of the API it speaks.
    pub(super) async fn connect() -> Result<Self> {
        let answer = send(Method::GET, "/_ping", "", Bytes::new()).await?;
        let version = answer.headers().get("api-version").and_then(|version| version.to_str().ok());
        Ok(Self { version: version.map_or_else(String::new, |version| format!("/v{version}")) })
    }

    /// Looks; `None` if there is no such thing.
    pub(super) async fn find(&self, path: &str) -> Result<Option<Value>> {
        match self.ask(Method::GET, path, None).await {
            Err(EngineError::Refused { status: StatusCode::NOT_FOUND, .. }) => Ok(None),
            answer => answer.map(Some),
        }
    }

    /// Looks.
    pub(super) async fn get(&self, path: &str) -> Result<Value> {
        self.ask(Method::GET, path, None).await
    }

    /// Has it do something.
    pub(super) async fn post(&self, path: &str, body: Option<&Value>) -> Result<Value> {
        self.ask(Method::POST, path, body).await
    }

    /// Removes something; what is gone already is no error.
    pub(super) async fn delete(&self, path: &str) -> Result<()> {
        match self.ask(Method::DELETE, path, None).await {
            Err(error) if !error.is_gone() => Err(error),
            _ => Ok(()),
        }
    }

    /// Copies one file from a container into another, at the same place.
    pub(super) async fn copy_file(&self, from: &str, to: &str, path: &str) -> Result<()> {
        let source = format!("{}/containers/{from}/archive?path={}", self.version, query(path));
        let archive =
            whole(refuse("GET", &source, send(Method::GET, &source, "", Bytes::new()).await?).await?);
        let directory = path.rsplit_once('/').map_or("/", |(directory, _)| directory);
        let directory = if directory.is_empty() { "/" } else { directory };
        let target = format!("{}/containers/{to}/archive?path={}", self.version, query(directory));
        let answer = send(Method::PUT, &target, "application/x-tar", archive.await?).await?;
        refuse("PUT", &target, answer).await.map(drop)
    }

    /// An answer that comes bit by bit.
    pub(super) async fn stream(&self, method: Method, path: &str, body: Option<&Value>) -> Result<Chunks> {
        let path = format!("{}{path}", self.version);
        let (kind, body) = json(body);
        let answer = send(method.clone(), &path, kind, body).await?;
        Ok(Chunks { body: refuse(method.as_str(), &path, answer).await?.into_body() })
    }

    async fn ask(&self, method: Method, path: &str, body: Option<&Value>) -> Result<Value> {
        let path = format!("{}{path}", self.version);
        let (kind, body) = json(body);
        let answer = send(method.clone(), &path, kind, body).await?;
        let answer = whole(refuse(method.as_str(), &path, answer).await?).await?;
        // Many things are done without a word.
        Ok(serde_json::from_slice(&answer).unwrap_or_default())
    }
}

/// An answer that comes bit by bit.
pub(super) struct Chunks {
    body: Incoming,
}

impl Chunks {
    /// The next bit; `None` at the end.
    pub(super) async fn next(&mut self) -> Option<Result<Bytes>> {
        loop {
            match self.body.frame().await? {
                Ok(frame) => {
                    if let Ok(data) = frame.into_data() {
                        return Some(Ok(data));
                    }
                }
                Err(error) => return Some(Err(lost(error))),
            }
        }
    }
}

/// A value in a query.
pub(super) fn query(value: &str) -> String {
    let mut text = String::new();
    for byte in value.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            text.push(char::from(byte));
        } else {
            // Writing to a String cannot fail.
            let _ = write!(text, "%{byte:02X}");
        }
    }
    text
}

fn json(body: Option<&Value>) -> (&'static str, Bytes) {
    body.map_or(("", Bytes::new()), |body| ("application/json", body.to_string().into()))
}

/// Each request has a connection of its own: most wait for long, and there are few.
async fn send(method: Method, path: &str, kind: &str, body: Bytes) -> Result<Response<Incoming>> {
    let socket = UnixStream::connect(ENGINE_SOCKET).await;
    let socket = socket.map_err(|error| EngineError::Lost(format!("{ENGINE_SOCKET}: {error}")))?;
    let (mut sender, connection) = http1::handshake(TokioIo::new(socket)).await.map_err(lost)?;
    // Its errors are those of the request.
    tokio::spawn(connection);
    let mut request = Request::builder().method(method).uri(path).header(HOST, "engine");
    if !kind.is_empty() {
        request = request.header(CONTENT_TYPE, kind);
    }
    let request = request.body(Full::new(body)).map_err(lost)?;
    sender.send_request(request).await.map_err(lost)
}

async fn refuse(method: &str, path: &str, answer: Response<Incoming>) -> Result<Response<Incoming>> {
    let status = answer.status();
    if status.is_success() || status == StatusCode::NOT_MODIFIED || status == StatusCode::SWITCHING_PROTOCOLS
    {
        return Ok(answer);
    }
    let text = whole(answer).await?;
    let words = serde_json::from_slice::<Value>(&text)
        .ok()
        .and_then(|answer| answer["message"].as_str().map(str::to_owned))
        .unwrap_or_else(|| String::from_utf8_lossy(&text).into_owned());
    Err(EngineError::Refused { asked: format!("{method} {path}"), status, words })
}

async fn whole(answer: Response<Incoming>) -> Result<Bytes> {
    let body = Limited::new(answer.into_body(), LONGEST_ANSWER).collect().await;
    body.map(http_body_util::Collected::to_bytes).map_err(lost)
}

fn lost(error: impl std::fmt::Display) -> EngineError {
    EngineError::Lost(error.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_queries_mean_is_escaped() {
        assert_eq!(query(r#"{"label":["a=b"]}"#), "%7B%22label%22%3A%5B%22a%3Db%22%5D%7D");
    }
}
