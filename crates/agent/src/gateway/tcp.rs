//! TCP on virtual addresses.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use envctl_wire::Protocol;
use tokio::net::TcpListener;

use super::services::Services;
use crate::relay::relay;
use crate::resolver::Resolver;
use crate::{net, output};

/// Where the connections to one address go.
#[derive(Clone)]
pub(super) enum Upstream {
    /// To a ready pod of the Service with this index.
    Service { services: Arc<Services>, service: usize, port: u16 },
    /// To a host that is looked up for each connection, since it can be made anew.
    Host { resolver: Resolver, host: String, port: u16 },
}

impl Upstream {
    async fn choose(&self, client: IpAddr) -> Option<SocketAddr> {
        match self {
            Self::Service { services, service, port } => {
                services.pick_patiently(*service, *port, Protocol::Tcp, client).await
            }
            Self::Host { resolver, host, port } => match resolver.address(host).await {
                Ok(address) => Some((address, *port).into()),
                Err(error) => {
                    output::warn(format_args!("{error:#}"));
                    None
                }
            },
        }
    }
}

/// Passes connections on. Without anybody to take it a connection is reset at once, and a back end
/// that fails is not made up for by another: on the cluster nobody would either.
pub(super) async fn serve(listener: TcpListener, upstream: Upstream) {
    loop {
        let (stream, peer) = match listener.accept().await {
            Ok(accepted) => accepted,
            Err(error) => {
                output::warn(format_args!("cannot accept a connection: {error}"));
                tokio::time::sleep(Duration::from_millis(50)).await;
                continue;
            }
        };
        let upstream = upstream.clone();
        tokio::spawn(async move {
            match upstream.choose(peer.ip()).await {
                Some(to) => relay(stream, to).await,
                None => net::reset(&stream),
            }
        });
    }
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::TcpStream;

    use super::super::services::tests::{announce, backend, service};
    use super::*;

    #[tokio::test]
    async fn remaps_the_port_and_resets_without_a_ready_pod() {
        let pod = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let mut target = backend("a", 1);
        target.address = Ipv4Addr::LOCALHOST;
        target.targets = [("80/TCP".to_owned(), pod.local_addr().unwrap().port())].into();
        let services = Arc::new(Services::new(vec![service("web", vec![target])]));
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let vip = listener.local_addr().unwrap();
        let upstream = Upstream::Service { services: Arc::clone(&services), service: 0, port: 80 };
        tokio::spawn(serve(listener, upstream));

        let mut refused = TcpStream::connect(vip).await.unwrap();
        assert!(
            refused.read_u8().await.is_err_and(|error| error.kind() == std::io::ErrorKind::ConnectionReset)
        );

        announce(&services, 1, "a", true);
        let mut client = TcpStream::connect(vip).await.unwrap();
        client.write_all(b"x").await.unwrap();
        let (mut server, _) = pod.accept().await.unwrap();
        assert_eq!(server.read_u8().await.unwrap(), b'x');
    }
}
