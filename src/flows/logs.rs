//! What an environment's containers wrote, and write.

use envctl_cluster::live::{logs as in_cluster, pods};
use envctl_local::engine::EngineReader;
use envctl_local::{logs as on_engine, state};
use envctl_model::log::{LogLine, LogOptions};
use envctl_model::record::Record;
use envctl_model::selection::select;
use futures_util::StreamExt as _;
use futures_util::stream::BoxStream;

use super::cluster::target;
use super::local::machine;
use super::subject::{InCluster, Subject, find};
use crate::config::Base;
use crate::ui::Failure;

/// Lines, and of how many containers.
pub(crate) struct Logs {
    /// The lines.
    pub(crate) lines: BoxStream<'static, Result<LogLine, Failure>>,
    /// Whether all of them are of one container.
    pub(crate) of_one: bool,
}

/// The lines of the components that words mean; without words, of all.
pub(crate) async fn logs(base: &Base, words: &[String], options: LogOptions) -> Result<Logs, Failure> {
    match find(base).await? {
        Subject::Local(record) => engine(&machine::look(base).await?, &record, words, options).await,
        Subject::Cluster(within) => cluster(&within, words, options).await,
    }
}

async fn engine(
    reader: &EngineReader,
    record: &Record,
    words: &[String],
    options: LogOptions,
) -> Result<Logs, Failure> {
    let containers = state::containers(reader, &record.identity).await.map_err(|e| machine::explain(&e))?;
    let usage = |e: envctl_model::selection::SelectionError| Failure::Usage(e.to_string());
    let mut chosen = Vec::new();
    if words.is_empty() {
        chosen = on_engine::select(&containers, None).map_err(usage)?;
    }
    for word in words {
        for container in on_engine::select(&containers, Some(word)).map_err(usage)? {
            if !chosen.iter().any(|c| c.id == container.id) {
                chosen.push(container);
            }
        }
    }
    let chosen: Vec<_> = chosen.into_iter().cloned().collect();
    let lines = on_engine::lines(reader, &chosen, options);
    Ok(Logs {
        of_one: chosen.len() == 1,
        lines: lines.map(|line| line.map_err(|e| machine::explain(&e))).boxed(),
    })
}

async fn cluster(within: &InCluster, words: &[String], options: LogOptions) -> Result<Logs, Failure> {
    let InCluster { record, reader } = within;
    let namespace = record.name.as_str();
    let pods = pods::all(reader, namespace).await.map_err(|e| target::explain(&e))?;
    let mut chosen = if words.is_empty() { pods.clone() } else { Vec::new() };
    for word in words {
        let meant = select(&pods, pods::LivePod::names, word).map_err(|e| Failure::Usage(e.to_string()))?;
        for pod in meant {
            if !chosen.contains(pod) {
                chosen.push(pod.clone());
            }
        }
    }
    let lines = in_cluster::lines(reader, namespace, &chosen, options);
    Ok(Logs {
        of_one: chosen.iter().map(|pod| pod.containers.len()).sum::<usize>() == 1,
        lines: lines.map(|line| line.map_err(|e| target::explain(&e))).boxed(),
    })
}
