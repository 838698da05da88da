//! HTTP probes.

use std::net::SocketAddr;

use bytes::Bytes;
use http_body_util::{BodyExt, Empty};
use hyper::body::Incoming;
use hyper::header::{self, HeaderName, HeaderValue};
use hyper::{Response, StatusCode, Uri};
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite};

use super::check::{Failure, connect};
use super::tls;

/// As Go's HTTP client, with which the kubelet probes.
const MOST_REDIRECTS: usize = 10;
const MOST_OF_BODY: usize = 200;

/// A GET request.
pub(crate) struct Request<'a> {
    /// The host named in the probe.
    pub(crate) host: Option<&'a str>,
    /// Where to connect.
    pub(crate) address: SocketAddr,
    /// Path with query.
    pub(crate) path: &'a str,
    /// HTTPS.
    pub(crate) tls: bool,
    /// Headers in order.
    pub(crate) headers: &'a [(String, String)],
}

/// The URL in a reason; the pod itself is left out.
pub(crate) fn url(host: Option<&str>, port: u16, path: &str, tls: bool) -> String {
    let scheme = if tls { "https" } else { "http" };
    let slash = if path.starts_with('/') { "" } else { "/" };
    format!("{scheme}://{}:{port}{slash}{path}", host.unwrap_or_default())
}

/// Succeeds with a status from 200 to 399. Redirects are followed on the same host; one that leads
/// elsewhere is a success.
pub(crate) async fn get(request: &Request<'_>) -> Result<String, Failure> {
    let own_host = request.host.map_or_else(|| request.address.ip().to_string(), str::to_owned);
    let mut hop = Hop {
        tls: request.tls,
        port: request.address.port(),
        path: match request.path {
            path if path.starts_with('/') => path.to_owned(),
            path => format!("/{path}"),
        },
    };
    for _ in 0..=MOST_REDIRECTS {
        let shown = url(request.host, hop.port, &hop.path, hop.tls);
        let response = send(request, &own_host, &hop).await?;
        let status = response.status();
        if let Some(next) = redirect(&response, &own_host, &hop) {
            hop = next;
            continue;
        }
        if (200..400).contains(&status.as_u16()) {
            return Ok(format!("HTTP {} from {shown}", status.as_u16()));
        }
        let body = first_line(response).await;
        let colon = if body.is_empty() { "" } else { ": " };
        return Err(Failure::Other(format!("HTTP {} from {shown}{colon}{body}", status.as_u16())));
    }
    Err(Failure::Other(format!("more than {MOST_REDIRECTS} redirects")))
}

/// One request of a chain of redirects.
struct Hop {
    tls: bool,
    port: u16,
    path: String,
}

async fn send(request: &Request<'_>, own_host: &str, hop: &Hop) -> Result<Response<Incoming>, Failure> {
    let stream = connect(SocketAddr::new(request.address.ip(), hop.port)).await?;
    let message = message(request, own_host, hop)?;
    if hop.tls {
        let stream = tls::wrap(stream, own_host)
            .await
            .map_err(|error| Failure::Other(format!("TLS on port {}: {error}", hop.port)))?;
        exchange(stream, message, hop).await
    } else {
        exchange(stream, message, hop).await
    }
}

fn message(
    request: &Request<'_>,
    own_host: &str,
    hop: &Hop,
) -> Result<hyper::Request<Empty<Bytes>>, Failure> {
    let unusable = |what: &str| Failure::Other(format!("the probe's {what} cannot be sent"));
    let mut message = hyper::Request::get(&hop.path).body(Empty::new()).map_err(|_| unusable("path"))?;
    let headers = message.headers_mut();
    for (name, value) in request.headers {
        let name = HeaderName::try_from(name).map_err(|_| unusable("header name"))?;
        let value = HeaderValue::try_from(value).map_err(|_| unusable("header value"))?;
        if name == header::HOST {
            headers.insert(name, value);
        } else {
            headers.append(name, value);
        }
    }
    let host = HeaderValue::try_from(format!("{own_host}:{}", hop.port)).map_err(|_| unusable("host"))?;
    headers.entry(header::HOST).or_insert(host);
    headers.entry(header::USER_AGENT).or_insert(HeaderValue::from_static("kube-probe/1.35"));
    headers.entry(header::ACCEPT).or_insert(HeaderValue::from_static("*/*"));
    headers.insert(header::CONNECTION, HeaderValue::from_static("close"));
    Ok(message)
}

async fn exchange<S>(
    stream: S,
    message: hyper::Request<Empty<Bytes>>,
    hop: &Hop,
) -> Result<Response<Incoming>, Failure>
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let no_answer =
        |error: hyper::Error| Failure::Other(format!("no HTTP answer on port {}: {error}", hop.port));
    let (mut sender, connection) =
        hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.map_err(no_answer)?;
    // Ends with the response: what goes wrong shows there.
    tokio::spawn(connection);
    sender.send_request(message).await.map_err(no_answer)
}

/// Where a redirect leads, if to the same host.
fn redirect(response: &Response<Incoming>, own_host: &str, hop: &Hop) -> Option<Hop> {
    let followed = [
        StatusCode::MOVED_PERMANENTLY,
        StatusCode::FOUND,
        StatusCode::SEE_OTHER,
        StatusCode::TEMPORARY_REDIRECT,
        StatusCode::PERMANENT_REDIRECT,
    ];
    if !followed.contains(&response.status()) {
        return None;
    }
    let location = response.headers().get(header::LOCATION)?.to_str().ok()?;
    target(location, own_host, hop)
}

fn target(location: &str, own_host: &str, hop: &Hop) -> Option<Hop> {
    let location: Uri = match location {
        absolute if absolute.contains("://") => absolute.parse().ok()?,
        path if path.starts_with('/') => path.parse().ok()?,
        relative => {
            let folder = hop.path.split('?').next()?.rsplit_once('/')?.0;
            format!("{folder}/{relative}").parse().ok()?
        }
    };
    let path = location.path_and_query().map_or("/", |path| path.as_str()).to_owned();
    let Some(host) = location.host() else {
        return Some(Hop { path, ..*hop });
    };
    let tls = location.scheme_str() == Some("https");
    let port = location.port_u16().unwrap_or(if tls { 443 } else { 80 });
    (host.eq_ignore_ascii_case(own_host)).then_some(Hop { tls, port, path })
}

async fn first_line(response: Response<Incoming>) -> String {
    let mut body = response.into_body();
    let mut start = Vec::new();
    while let Some(Ok(frame)) = body.frame().await {
        if let Some(data) = frame.data_ref() {
            start.extend_from_slice(data);
        }
        if start.len() >= MOST_OF_BODY {
            break;
        }
    }
    start.truncate(MOST_OF_BODY);
    let text = String::from_utf8_lossy(&start);
    text.lines().next().unwrap_or_default().trim().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hop() -> Hop {
        Hop { tls: false, port: 3000, path: "/health/ready?x=1".to_owned() }
    }

    #[test]
    fn redirects_stay_on_the_host() {
        let to = |location| target(location, "10.0.0.1", &hop()).map(|h| (h.tls, h.port, h.path));
        assert_eq!(to("/login"), Some((false, 3000, "/login".to_owned())));
        assert_eq!(to("live"), Some((false, 3000, "/health/live".to_owned())));
        assert_eq!(to("https://10.0.0.1/a?b"), Some((true, 443, "/a?b".to_owned())));
        assert_eq!(to("https://login.example.com/"), None);
    }

    #[test]
    fn the_pod_is_left_out_of_urls() {
        assert_eq!(url(None, 3000, "/readyz", false), "http://:3000/readyz");
        assert_eq!(url(Some("db"), 443, "x", true), "https://db:443/x");
    }
}
