//! Asks one side.

use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use bytes::Bytes;
use http::header::CONNECTION;
use http::{HeaderMap, HeaderValue, Request};
use http_body_util::Full;
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;

use super::body::Body;
use crate::load::is_ours;

/// A whole answer.
#[derive(Debug)]
pub(super) struct Answer {
    pub(super) status: u16,
    pub(super) headers: HeaderMap,
    pub(super) body: Body,
}

/// Why there is no whole answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum NoAnswer {
    Refused,
    Ended,
    TimedOut,
}

impl fmt::Display for NoAnswer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Refused => "no answer: no connection could be made",
            Self::Ended => "no answer: the connection ended before it",
            Self::TimedOut => "no answer in time",
        })
    }
}

/// Sends a request over a connection of its own, and reads the whole answer. A redirect is an answer.
///
/// # Errors
/// When this machine cannot make a connection, for want of files, ports or memory.
pub(super) async fn ask(
    side: SocketAddr,
    mut request: Request<Full<Bytes>>,
    timeout: Duration,
) -> io::Result<Result<Answer, NoAnswer>> {
    request.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
    let asking = async {
        let stream = match TcpStream::connect(side).await {
            Ok(stream) => stream,
            Err(error) if is_ours(&error) => return Err(error),
            Err(_) => return Ok(Err(NoAnswer::Refused)),
        };
        Ok(exchange(stream, request).await.map_err(|_| NoAnswer::Ended))
    };
    tokio::time::timeout(timeout, asking).await.unwrap_or(Ok(Err(NoAnswer::TimedOut)))
}

async fn exchange(stream: TcpStream, request: Request<Full<Bytes>>) -> hyper::Result<Answer> {
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
    // How it ends, the request on it learns. It ends with the sender.
    tokio::spawn(connection);
    let (head, body) = sender.send_request(request).await?.into_parts();
    let body = Body::read(body).await?;
    Ok(Answer { status: head.status.as_u16(), headers: head.headers, body })
}
