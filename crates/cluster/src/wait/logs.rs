//! The last lines of containers that ended badly, fetched as soon as they have: whoever is to explain it
//! later may find pod and log removed, by Helm's policy or by a rollback.

use std::collections::{BTreeMap, BTreeSet};

use futures_util::StreamExt;
use futures_util::future::BoxFuture;
use futures_util::stream::FuturesUnordered;
use k8s_openapi::api::core::v1::Pod;
use kube::Api;
use kube::api::LogParams;

use super::snapshot::Snapshot;
use crate::client::ClusterReader;

/// How many lines of a log are shown.
pub(super) const LINES: i64 = 20;

/// Lines by pod and container.
pub type Logs = BTreeMap<(String, String), Vec<String>>;

/// One run of a container.
type RunOf = (String, String, i32);

/// Fetches logs while the waiting goes on.
pub(super) struct Captures {
    api: Api<Pod>,
    seen: BTreeSet<RunOf>,
    fetching: FuturesUnordered<BoxFuture<'static, (RunOf, Vec<String>)>>,
    logs: Logs,
}

impl Captures {
    pub(super) fn new(reader: &ClusterReader, namespace: &str) -> Self {
        let api = Api::namespaced(reader.client(), namespace);
        Self { api, seen: BTreeSet::new(), fetching: FuturesUnordered::new(), logs: Logs::new() }
    }

    /// Begins to fetch the logs of containers that have ended badly since the last look.
    pub(super) fn look(&mut self, snapshot: &Snapshot) {
        for (name, pod) in &snapshot.pods {
            let Some(status) = &pod.status else { continue };
            let all = status
                .init_container_statuses
                .iter()
                .flatten()
                .chain(status.container_statuses.iter().flatten());
            for container in all {
                let ended = container.state.as_ref().and_then(|s| s.terminated.as_ref());
                if ended.is_none_or(|ended| ended.exit_code == 0) {
                    continue;
                }
                let run = (name.clone(), container.name.clone(), container.restart_count);
                if !self.seen.insert(run.clone()) {
                    continue;
                }
                let api = self.api.clone();
                self.fetching.push(Box::pin(async move {
                    let params = LogParams {
                        container: Some(run.1.clone()),
                        tail_lines: Some(LINES),
                        ..LogParams::default()
                    };
                    let text = api.logs(&run.0, &params).await.unwrap_or_default();
                    (run, text.lines().map(str::to_owned).collect())
                }));
            }
        }
    }

    /// Waits until one more is there; for ever, where none is on its way.
    pub(super) async fn next(&mut self) {
        match self.fetching.next().await {
            Some(((pod, container, _), lines)) if !lines.is_empty() => {
                self.logs.insert((pod, container), lines);
            }
            Some(_) => {}
            None => std::future::pending().await,
        }
    }

    /// Waits for all that are on their way.
    pub(super) async fn finish(mut self) -> Logs {
        while !self.fetching.is_empty() {
            self.next().await;
        }
        self.logs
    }
}
