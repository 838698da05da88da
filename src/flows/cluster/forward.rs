//! `port-forward` in a cluster.

use std::net::{Ipv4Addr, SocketAddr};

use envctl_cluster::live::forward::{carry, resolve};
use tokio::net::TcpListener;

use super::target::explain;
use crate::flows::subject::InCluster;
use crate::ui::{Failure, notice, print};

/// A port of this machine, and the port it leads to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Ports {
    /// Of this machine; 0: any that is free.
    pub(crate) local: u16,
    /// Of the Service or component.
    pub(crate) remote: u16,
}

/// Listens on loopback until it is interrupted. Each connection goes to a pod that is there by then.
pub(crate) async fn forward(within: &InCluster, word: &str, ports: &[Ports]) -> Result<(), Failure> {
    let namespace = within.record.name.as_str();
    let mut serving = Vec::new();
    for ports in ports {
        // That there is such a port is known before anybody connects.
        resolve(&within.reader, namespace, word, ports.remote).await.map_err(|e| explain(&e))?;
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, ports.local));
        let listener = TcpListener::bind(address).await.map_err(|e| {
            Failure::Failed(format!(
                "cannot listen on {address}: {e}\n  choose another port of this machine: {}:{}",
                "LOCAL", ports.remote
            ))
        })?;
        let at = listener.local_addr().map_err(Failure::failed)?;
        print(&format!("{at} -> {word}:{}", ports.remote));
        serving.push(serve(within, listener, word, ports.remote));
    }
    tokio::select! {
        served = futures_util::future::try_join_all(serving) => served.map(drop),
        interrupted = tokio::signal::ctrl_c() => interrupted.map_err(Failure::failed),
    }
}

async fn serve(within: &InCluster, listener: TcpListener, word: &str, port: u16) -> Result<(), Failure> {
    loop {
        let (connection, _) = listener.accept().await.map_err(Failure::failed)?;
        let (reader, namespace) = (within.reader.clone(), within.record.name.to_string());
        let word = word.to_owned();
        tokio::spawn(async move {
            let carried = async {
                let to = resolve(&reader, &namespace, &word, port).await?;
                carry(&reader, &namespace, &to, connection).await
            };
            if let Err(error) = carried.await {
                notice(&error.to_string());
            }
        });
    }
}
