//! Ports of the pod's loopback that lead elsewhere: names under `localhost` mean loopback to many
//! programs, also inside a pod.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use envctl_wire::{Forward, SandboxEvent};
use tokio::net::TcpListener;
use tokio::task::JoinSet;

use crate::output;
use crate::relay::relay;

/// All forwards of a pod, open or closed together.
pub(crate) struct Forwards {
    wanted: Vec<Forward>,
    listeners: JoinSet<()>,
}

impl Forwards {
    pub(crate) fn new(wanted: Vec<Forward>) -> Self {
        Self { wanted, listeners: JoinSet::new() }
    }

    /// Listens where nobody else does: the pod's own programs come first.
    pub(crate) async fn open(&mut self) {
        if !self.listeners.is_empty() {
            return;
        }
        for forward in &self.wanted {
            for address in [IpAddr::V4(Ipv4Addr::LOCALHOST), IpAddr::V6(Ipv6Addr::LOCALHOST)] {
                match TcpListener::bind((address, forward.listen)).await {
                    Ok(listener) => {
                        self.listeners.spawn(accept(listener, forward.clone()));
                    }
                    // A pod without IPv6 has no such address.
                    Err(error) if address.is_ipv6() && error.kind() != std::io::ErrorKind::AddrInUse => {}
                    Err(error) => output::event(&SandboxEvent::Warning {
                        message: format!(
                            "port {} of {address} does not lead to {}: {error}",
                            forward.listen, forward.to
                        ),
                    }),
                }
            }
        }
    }

    /// Stops listening; connections stay.
    pub(crate) fn close(&mut self) {
        self.listeners = JoinSet::new();
    }
}

async fn accept(listener: TcpListener, forward: Forward) {
    loop {
        match listener.accept().await {
            Ok((client, _)) => {
                tokio::spawn(relay(client, forward.to));
            }
            Err(error) => {
                output::warn(format_args!("cannot accept on port {}: {error}", forward.listen));
                tokio::time::sleep(std::time::Duration::from_millis(50)).await;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::TcpStream;

    use super::*;

    #[tokio::test]
    async fn forwards_both_ways_and_closes() {
        let server = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let to = server.local_addr().unwrap();
        tokio::spawn(async move {
            let (mut stream, _) = server.accept().await.unwrap();
            let mut said = String::new();
            stream.read_to_string(&mut said).await.unwrap();
            stream.write_all(said.to_uppercase().as_bytes()).await.unwrap();
        });
        let free = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap().local_addr().unwrap();
        let mut forwards = Forwards::new(vec![Forward { listen: free.port(), to }]);
        forwards.open().await;
        let mut client = TcpStream::connect(free).await.unwrap();
        client.write_all(b"half").await.unwrap();
        client.shutdown().await.unwrap();
        let mut heard = String::new();
        client.read_to_string(&mut heard).await.unwrap();
        assert_eq!(heard, "HALF", "the answer comes after our side has closed");
        forwards.close();
        tokio::task::yield_now().await;
        assert!(TcpStream::connect(free).await.is_err());
    }
}
