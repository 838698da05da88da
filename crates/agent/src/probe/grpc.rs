//! gRPC probes: `grpc.health.v1.Health/Check`. The two messages have one field each, so they are
//! written here by hand.

use std::net::SocketAddr;

use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::{Request, header};
use hyper_util::rt::{TokioExecutor, TokioIo};

use super::check::{Failure, connect};

const METHOD: &str = "grpc.health.v1.Health/Check";
const UNIMPLEMENTED: &str = "12";
const NOT_FOUND: &str = "5";

/// Succeeds when `service` is SERVING.
pub(crate) async fn check(address: SocketAddr, service: &str) -> Result<String, Failure> {
    let port = address.port();
    let stream = connect(address).await?;
    let no_answer = |error: hyper::Error| Failure::Other(format!("no gRPC answer on port {port}: {error}"));
    let (mut sender, connection) =
        hyper::client::conn::http2::handshake(TokioExecutor::new(), TokioIo::new(stream))
            .await
            .map_err(no_answer)?;
    let connection = tokio::spawn(connection);
    let request = Request::post(format!("http://{address}/{METHOD}"))
        .header(header::CONTENT_TYPE, "application/grpc")
        .header(header::TE, "trailers")
        .header(header::USER_AGENT, "kube-probe/1.35")
        .body(Full::new(request(service)))
        .map_err(|error| Failure::Other(error.to_string()))?;
    let response = sender.send_request(request).await.map_err(no_answer)?;
    let (head, body) = response.into_parts();
    let body = body.collect().await.map_err(no_answer)?;
    connection.abort();

    let status = body.trailers().unwrap_or(&head.headers).get("grpc-status");
    let status = status.and_then(|value| value.to_str().ok()).unwrap_or("0").to_owned();
    if head.status != 200 {
        return Err(Failure::Other(format!("HTTP {} instead of gRPC on port {port}", head.status)));
    }
    match status.as_str() {
        "0" => verdict(&body.to_bytes(), port),
        UNIMPLEMENTED => Err(Failure::Other(format!("port {port} has no gRPC health service"))),
        NOT_FOUND => Err(Failure::Other(format!("gRPC health on port {port}: no such service"))),
        code => Err(Failure::Other(format!("gRPC health on port {port}: status code {code}"))),
    }
}

/// `HealthCheckRequest { string service = 1; }` in its five-byte frame.
fn request(service: &str) -> Bytes {
    let mut message = Vec::new();
    if !service.is_empty() {
        message.push(0x0a);
        let mut length = service.len();
        while length >= 0x80 {
            message.push((length & 0x7f) as u8 | 0x80);
            length >>= 7;
        }
        message.push(length as u8);
        message.extend_from_slice(service.as_bytes());
    }
    let mut framed = vec![0];
    framed.extend((message.len() as u32).to_be_bytes());
    framed.extend(message);
    framed.into()
}

/// `HealthCheckResponse { ServingStatus status = 1; }`; the default, UNKNOWN, is not sent.
fn verdict(body: &[u8], port: u16) -> Result<String, Failure> {
    let status = match body.get(5..) {
        Some([0x08, status, ..]) => *status,
        _ => 0,
    };
    let name = match status {
        1 => return Ok(format!("gRPC health on port {port}: SERVING")),
        0 => "UNKNOWN",
        2 => "NOT_SERVING",
        3 => "SERVICE_UNKNOWN",
        _ => "a status that is not known",
    };
    Err(Failure::Other(format!("gRPC health on port {port}: {name}")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_are_framed() {
        assert_eq!(request("").as_ref(), [0, 0, 0, 0, 0]);
        assert_eq!(request("db").as_ref(), [0, 0, 0, 0, 4, 0x0a, 2, b'd', b'b']);
        assert_eq!(request(&"x".repeat(200)).len(), 5 + 3 + 200);
    }

    #[test]
    fn only_serving_is_a_success() {
        assert!(verdict(&[0, 0, 0, 0, 2, 8, 1], 50).is_ok());
        let not = verdict(&[0, 0, 0, 0, 2, 8, 2], 50).unwrap_err().to_string();
        assert_eq!(not, "gRPC health on port 50: NOT_SERVING");
        assert!(verdict(&[0, 0, 0, 0, 0], 50).unwrap_err().to_string().ends_with("UNKNOWN"));
    }
}
