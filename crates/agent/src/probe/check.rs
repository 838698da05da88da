//! One check, with its outcome in words.

use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

use envctl_wire::{Check, Probe};
use tokio::net::TcpStream;

use super::state::Outcome;
use super::{grpc, http};
use crate::resolver::Resolver;

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
            Check::HttpGet {
                host,
                port,
                path,
                tls,
                headers,
            } => {
                let address = self.address(host.as_deref(), *port).await?;
                http::get(&http::Request {
                    host: host.as_deref(),
                    address,
                    path,
                    tls: *tls,
                    headers,
                })
                .await
            }
            Check::Tcp { host, port } => {
                connect(self.address(host.as_deref(), *port).await?).await?;
                Ok(format!("port {port} is open"))
            }
            Check::Grpc { port, service } => {
                grpc::check(SocketAddr::from((self.pod, *port)), service).await
            }
        }
    }

    async fn address(&self, host: Option<&str>, port: u16) -> Result<SocketAddr, Failure> {
        let address = match host {
            None => self.pod,
            Some(host) => self
                .resolver
                .address(host)
                .await
                .map_err(|error| Failure::Other(format!("{error:#}")))?,
        };
        Ok((address, port).into())
    }
}

fn what(check: &Check) -> String {
    match check {
        Check::HttpGet {
            host,
            port,
            path,
            tls,
            ..
        } => http::url(host.as_deref(), *port, path, *tls),
        Check::Tcp { host, port } => format!("{}:{port}", host.as_deref().unwrap_or_default()),
        Check::Grpc { port, .. } => format!("the gRPC health service on port {port}"),
    }
}

/// Opens a connection for a check.
pub(crate) async fn connect(address: SocketAddr) -> Result<TcpStream, Failure> {
    TcpStream::connect(address)
        .await
        .map_err(|error| match error.kind() {
            io::ErrorKind::ConnectionRefused => Failure::Refused(address.port()),
            _ => Failure::Other(format!(
                "cannot connect to port {}: {error}",
                address.port()
            )),
        })
}
