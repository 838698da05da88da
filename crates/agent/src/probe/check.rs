//! One check, with its outcome in words.

use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::process::ExitCode;
use std::time::Duration;

use anyhow::Context;
use envctl_wire::{Check, Probe};
use tokio::net::TcpStream;

use super::state::Outcome;
use super::{grpc, http};
use crate::resolver::Resolver;
use crate::{net, output};

/// Whom the checks are made against.
pub(crate) struct Target {
    /// The pod's own address.
    pub(crate) pod: Ipv4Addr,
    /// For the rare check that names a host.
    pub(crate) resolver: Resolver,
}

/// Why a check has failed.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Failure {
    #[error("connection refused on port {0}")]
    Refused(u16),
    #[error("{0}")]
    Other(String),
}

impl Target {
    /// Makes the check of `probe` within its timeout.
    pub(crate) async fn check(&self, probe: &Probe) -> Outcome {
        let timeout = Duration::from_secs(probe.timeout_seconds.max(1).into());
        match tokio::time::timeout(timeout, self.attempt(&probe.check)).await {
            Ok(Ok(reason)) => Outcome::Success(reason),
            Ok(Err(refused @ Failure::Refused(_))) => Outcome::Refused(refused.to_string()),
            Ok(Err(failure)) => Outcome::Failure(failure.to_string()),
            Err(_) => Outcome::Failure(format!(
                "no answer from {} within {} s",
                what(&probe.check),
                timeout.as_secs()
            )),
        }
    }

    async fn attempt(&self, check: &Check) -> Result<String, Failure> {
        match check {
            Check::HttpGet { host, port, path, tls, headers } => {
                let address = self.address(host.as_deref(), *port).await?;
                http::get(&http::Request { host: host.as_deref(), address, path, tls: *tls, headers }).await
            }
            Check::Tcp { host, port } => {
                connect(self.address(host.as_deref(), *port).await?).await?;
                Ok(format!("port {port} is open"))
            }
            Check::Grpc { port, service } => grpc::check(SocketAddr::from((self.pod, *port)), service).await,
        }
    }

    async fn address(&self, host: Option<&str>, port: u16) -> Result<SocketAddr, Failure> {
        let address = match host {
            None => self.pod,
            Some(host) => {
                self.resolver.address(host).await.map_err(|error| Failure::Other(format!("{error:#}")))?
            }
        };
        Ok((address, port).into())
    }
}

/// The role `check`: asks the containers of the pod, in whose sandbox it runs, this once. Whoever runs it gives it up when
/// it takes too long.
pub(crate) fn once(check: Option<&str>) -> anyhow::Result<ExitCode> {
    let check = check.context("no check given")?;
    let check: Check = serde_json::from_str(check).context("this is no check")?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let said = runtime.block_on(async {
        let pod = net::own_address().await.context("cannot list the pod's addresses")?;
        let target = Target { pod, resolver: Resolver::from_system()? };
        anyhow::Ok(target.attempt(&check).await?)
    })?;
    output::line(said);
    Ok(ExitCode::SUCCESS)
}

fn what(check: &Check) -> String {
    match check {
        Check::HttpGet { host, port, path, tls, .. } => http::url(host.as_deref(), *port, path, *tls),
        Check::Tcp { host, port } => format!("{}:{port}", host.as_deref().unwrap_or_default()),
        Check::Grpc { port, .. } => format!("the gRPC health service on port {port}"),
    }
}

/// Opens a connection for a check.
pub(crate) async fn connect(address: SocketAddr) -> Result<TcpStream, Failure> {
    TcpStream::connect(address).await.map_err(|error| match error.kind() {
        io::ErrorKind::ConnectionRefused => Failure::Refused(address.port()),
        _ => Failure::Other(format!("cannot connect to port {}: {error}", address.port())),
    })
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;

    use bytes::Bytes;
    use envctl_wire::ProbeKind;
    use http_body_util::{BodyExt, Full};
    use hyper::header::HeaderMap;
    use hyper::service::service_fn;
    use hyper::{Request, Response};
    use hyper_util::rt::{TokioExecutor, TokioIo};
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::TcpListener;

    use super::super::state::tests::probe;
    use super::*;

    async fn check(check: Check) -> Outcome {
        let resolver = Resolver::none();
        let target = Target { pod: Ipv4Addr::LOCALHOST, resolver };
        target.check(&Probe { check, ..probe(ProbeKind::Readiness) }).await
    }

    fn http(port: u16, headers: &[(&str, &str)]) -> Check {
        Check::HttpGet {
            host: None,
            port,
            path: "/readyz?full".to_owned(),
            tls: false,
            headers: headers.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect(),
        }
    }

    /// A server that gives one answer to each request and says what it was asked.
    async fn server<const N: usize>(
        answers: [&'static str; N],
    ) -> (u16, tokio::task::JoinHandle<Vec<String>>) {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let heard = tokio::spawn(async move {
            let mut heard = Vec::new();
            for answer in answers {
                let (mut stream, _) = listener.accept().await.unwrap();
                let mut request = String::new();
                while !request.contains("\r\n\r\n") {
                    request.push(char::from(stream.read_u8().await.unwrap()));
                }
                heard.push(request.to_lowercase());
                stream.write_all(answer.as_bytes()).await.unwrap();
            }
            heard
        });
        (port, heard)
    }

    #[tokio::test]
    async fn http_status_and_headers() {
        let (port, heard) = server(["HTTP/1.1 204 No Content\r\n\r\n"]).await;
        let outcome = check(http(port, &[("Host", "web.example.com"), ("X-Probe", "1")])).await;
        assert_eq!(outcome, Outcome::Success(format!("HTTP 204 from http://:{port}/readyz?full")));
        let heard = heard.await.unwrap().remove(0);
        assert!(heard.starts_with("get /readyz?full http/1.1"), "{heard}");
        assert!(heard.contains("host: web.example.com\r\n"), "{heard}");
        assert!(heard.contains("x-probe: 1\r\n") && heard.contains("kube-probe/"), "{heard}");
    }

    #[tokio::test]
    async fn http_failures_carry_the_first_line_of_the_body() {
        let answer = "HTTP/1.1 503 Service Unavailable\r\nContent-Length: 17\r\n\r\nno database\nmore\n";
        let (port, _) = server([answer]).await;
        let expected = format!("HTTP 503 from http://:{port}/readyz?full: no database");
        assert_eq!(check(http(port, &[])).await, Outcome::Failure(expected));
    }

    #[tokio::test]
    async fn redirects_are_followed_on_the_pod_only() {
        let local = "HTTP/1.1 302 Found\r\nLocation: /deep\r\nContent-Length: 0\r\n\r\n";
        let broken = "HTTP/1.1 500 Oops\r\nContent-Length: 0\r\n\r\n";
        let (port, _) = server([local, broken]).await;
        let expected = format!("HTTP 500 from http://:{port}/deep");
        assert_eq!(check(http(port, &[])).await, Outcome::Failure(expected));

        let away = "HTTP/1.1 302 Found\r\nLocation: https://sso.example.com/\r\nContent-Length: 0\r\n\r\n";
        let (port, _) = server([away]).await;
        assert!(matches!(check(http(port, &[])).await, Outcome::Success(_)));
    }

    #[tokio::test]
    async fn nobody_listens() {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let port = listener.local_addr().unwrap().port();
        assert!(matches!(check(Check::Tcp { host: None, port }).await, Outcome::Success(_)));
        drop(listener);
        let expected = Outcome::Refused(format!("connection refused on port {port}"));
        assert_eq!(check(Check::Tcp { host: None, port }).await, expected);
        assert_eq!(check(http(port, &[])).await, expected);
        assert_eq!(check(Check::Grpc { port, service: String::new() }).await, expected);
    }

    #[tokio::test]
    async fn an_answer_too_late_is_none() {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let expected = format!("no answer from http://:{port}/readyz?full within 1 s");
        assert_eq!(check(http(port, &[])).await, Outcome::Failure(expected));
    }

    /// A gRPC health server that knows one service: `db` is serving, everything else is not.
    async fn grpc_server() -> u16 {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let port = listener.local_addr().unwrap().port();
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let service = service_fn(async |request: Request<hyper::body::Incoming>| {
                    assert_eq!(request.uri().path(), "/grpc.health.v1.Health/Check");
                    let asked = request.into_body().collect().await.unwrap().to_bytes();
                    let status = if asked.ends_with(b"db") { 1 } else { 2 };
                    let trailers =
                        HeaderMap::from_iter([("grpc-status".parse().unwrap(), "0".parse().unwrap())]);
                    let body = Full::new(Bytes::from(vec![0, 0, 0, 0, 2, 8, status]))
                        .with_trailers(async { Some(Ok::<_, Infallible>(trailers)) });
                    Ok::<_, Infallible>(Response::new(Box::pin(body)))
                });
                tokio::spawn(
                    hyper::server::conn::http2::Builder::new(TokioExecutor::new())
                        .serve_connection(TokioIo::new(stream), service),
                );
            }
        });
        port
    }

    #[tokio::test]
    async fn grpc_health() {
        let port = grpc_server().await;
        let grpc = |service: &str| Check::Grpc { port, service: service.to_owned() };
        let serving = Outcome::Success(format!("gRPC health on port {port}: SERVING"));
        assert_eq!(check(grpc("db")).await, serving);
        let not = Outcome::Failure(format!("gRPC health on port {port}: NOT_SERVING"));
        assert_eq!(check(grpc("")).await, not);
    }
}
