//! `port-forward`: ports of this machine that lead into an environment, wherever that lives.

use std::net::{Ipv4Addr, SocketAddr};

use tokio::net::{TcpListener, TcpStream};

use crate::ui::{Failure, notice, print};

/// A port of this machine, and the port it leads to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Ports {
    /// Of this machine; 0: any that is free.
    pub(crate) local: u16,
    /// Of the Service or component.
    pub(crate) remote: u16,
}

/// How what a word means in an environment is reached.
pub(crate) trait Way: Clone + Send + Sync + 'static {
    /// Finds out whether there is such a port.
    async fn check(&self, word: &str, port: u16) -> Result<(), Failure>;

    /// Carries one connection to it, until either side ends it.
    fn carry(
        &self,
        word: &str,
        port: u16,
        connection: TcpStream,
    ) -> impl Future<Output = Result<(), Failure>> + Send;
}

/// Listens on loopback until it is interrupted. Each connection goes to whoever is there by then.
pub(crate) async fn forward(way: &impl Way, word: &str, ports: &[Ports]) -> Result<(), Failure> {
    let mut serving = Vec::new();
    for ports in ports {
        // That there is such a port is known before anybody connects.
        way.check(word, ports.remote).await?;
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, ports.local));
        let listener = TcpListener::bind(address).await.map_err(|e| {
            Failure::Failed(format!(
                "cannot listen on {address}: {e}\n  choose another port of this machine: {}:{}",
                "LOCAL", ports.remote
            ))
        })?;
        let at = listener.local_addr().map_err(Failure::failed)?;
        print(&format!("{at} -> {word}:{}", ports.remote));
        serving.push(serve(way, listener, word, ports.remote));
    }
    tokio::select! {
        served = futures_util::future::try_join_all(serving) => served.map(drop),
        interrupted = tokio::signal::ctrl_c() => interrupted.map_err(Failure::failed),
    }
}

async fn serve(way: &impl Way, listener: TcpListener, word: &str, port: u16) -> Result<(), Failure> {
    loop {
        let (connection, _) = listener.accept().await.map_err(Failure::failed)?;
        let (way, word) = (way.clone(), word.to_owned());
        tokio::spawn(async move {
            if let Err(failure) = way.carry(&word, port, connection).await {
                notice(&failure.message().unwrap_or_default());
            }
        });
    }
}
