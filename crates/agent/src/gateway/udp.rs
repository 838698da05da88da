//! UDP on virtual addresses: a client keeps its back end for as long as it goes on talking.

use std::collections::HashMap;
use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use envctl_wire::Protocol;
use tokio::net::UdpSocket;
use tokio::sync::mpsc;
use tokio::time::timeout;

use super::services::Services;
use crate::output;

/// The kernel's own for UDP streams, by which kube-proxy lives.
const IDLE: Duration = Duration::from_secs(120);
const LARGEST_DATAGRAM: usize = 65_535;
/// Datagrams on their way to one back end; more than these are lost, as they may be.
const QUEUE: usize = 64;

/// Passes datagrams on.
pub(super) async fn serve(socket: UdpSocket, services: Arc<Services>, service: usize, port: u16) {
    let socket = Arc::new(socket);
    let mut sessions: HashMap<SocketAddr, mpsc::Sender<Vec<u8>>> = HashMap::new();
    let mut buffer = vec![0; LARGEST_DATAGRAM];
    loop {
        let (length, client) = match socket.recv_from(&mut buffer).await {
            Ok(received) => received,
            Err(error) => {
                output::warn(format_args!("cannot receive UDP: {error}"));
                tokio::time::sleep(Duration::from_millis(50)).await;
                continue;
            }
        };
        let datagram = buffer.get(..length).unwrap_or_default().to_vec();
        let datagram = match sessions.get(&client).map(|session| session.try_send(datagram)) {
            Some(Ok(()) | Err(mpsc::error::TrySendError::Full(_))) => continue,
            Some(Err(mpsc::error::TrySendError::Closed(datagram))) => datagram,
            None => buffer.get(..length).unwrap_or_default().to_vec(),
        };
        sessions.retain(|_, session| !session.is_closed());
        let Some(to) = services.pick(service, port, Protocol::Udp, client.ip()) else {
            continue;
        };
        let (sender, receiver) = mpsc::channel(QUEUE);
        // The queue is new and empty.
        let _ = sender.try_send(datagram);
        sessions.insert(client, sender);
        let socket = Arc::clone(&socket);
        tokio::spawn(async move {
            // What is lost is lost: that is UDP.
            let _ = session(&socket, client, to, receiver).await;
        });
    }
}

async fn session(
    vip: &UdpSocket,
    client: SocketAddr,
    to: SocketAddr,
    mut datagrams: mpsc::Receiver<Vec<u8>>,
) -> io::Result<()> {
    let backend = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0)).await?;
    backend.connect(to).await?;
    let mut buffer = vec![0; LARGEST_DATAGRAM];
    loop {
        let step = async {
            tokio::select! {
                Some(datagram) = datagrams.recv() => backend.send(&datagram).await.map(|_| ()),
                received = backend.recv(&mut buffer) => {
                    let answer = buffer.get(..received?).unwrap_or_default();
                    vip.send_to(answer, client).await.map(|_| ())
                }
            }
        };
        match timeout(IDLE, step).await {
            Ok(outcome) => outcome?,
            Err(_) => return Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::services::tests::{announce, backend, service};
    use super::*;

    #[tokio::test]
    async fn answers_come_from_the_virtual_address() {
        let pod = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let mut target = backend("a", 1);
        target.address = Ipv4Addr::LOCALHOST;
        target.targets = [("53/UDP".to_owned(), pod.local_addr().unwrap().port())].into();
        let services = Arc::new(Services::new(vec![service("dns", vec![target])]));
        announce(&services, 1, "a", true);
        let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let vip = socket.local_addr().unwrap();
        tokio::spawn(serve(socket, services, 0, 53));

        let client = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        client.connect(vip).await.unwrap();
        let mut buffer = [0; 16];
        for said in [b"one", b"two"] {
            client.send(said).await.unwrap();
            let (length, from) = pod.recv_from(&mut buffer).await.unwrap();
            assert_eq!(&buffer[..length], said);
            pod.send_to(b"answer", from).await.unwrap();
            let length = client.recv(&mut buffer).await.unwrap();
            assert_eq!(&buffer[..length], b"answer");
        }
    }
}
