//! `port-forward` in a cluster: by its API, to a pod.

use std::sync::Arc;

use envctl_cluster::live::forward::{carry, resolve};
use tokio::net::TcpStream;

use super::target::explain;
use crate::flows::forward::Way;
use crate::flows::subject::InCluster;
use crate::ui::Failure;

/// To an environment in a cluster.
#[derive(Debug, Clone)]
pub(crate) struct ByApi(Arc<InCluster>);

impl ByApi {
    /// To this one.
    pub(crate) fn to(within: InCluster) -> Self {
        Self(Arc::new(within))
    }
}

impl Way for ByApi {
    async fn check(&self, word: &str, port: u16) -> Result<(), Failure> {
        let InCluster { record, reader } = &*self.0;
        resolve(reader, record.name.as_str(), word, port).await.map(drop).map_err(|e| explain(&e))
    }

    async fn carry(&self, word: &str, port: u16, connection: TcpStream) -> Result<(), Failure> {
        let InCluster { record, reader } = &*self.0;
        let namespace = record.name.as_str();
        let to = resolve(reader, namespace, word, port).await.map_err(|e| explain(&e))?;
        carry(reader, namespace, &to, connection).await.map_err(|e| explain(&e))
    }
}
