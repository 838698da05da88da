//! What containers wrote, and write.

use envctl_model::log::{LogLine, LogOptions, split_time};
use futures_util::stream::{self, BoxStream};
use futures_util::{AsyncBufReadExt as _, StreamExt as _, TryStreamExt as _};
use jiff::Timestamp;
use k8s_openapi::api::core::v1::Pod;
use kube::Api;
use kube::api::LogParams;

use super::pods::LivePod;
use crate::client::ClusterReader;
use crate::error::ClusterError;

/// A stream of lines.
pub type Lines = BoxStream<'static, Result<LogLine, ClusterError>>;

/// The lines of these pods' containers. Without `follow` they come in the order of their times; with it,
/// as they come. What has not been started has none.
pub fn lines(reader: &ClusterReader, namespace: &str, pods: &[LivePod], options: LogOptions) -> Lines {
    let each = pods.iter().flat_map(|pod| {
        let started = pod.containers.iter().filter(|c| c.started);
        started.map(|c| of_container(reader, namespace, &pod.name, &c.name, options))
    });
    let merged = stream::select_all(each.collect::<Vec<_>>());
    if options.follow {
        return merged.boxed();
    }
    let sorted = async move {
        let mut lines: Vec<LogLine> = merged.try_collect().await?;
        lines.sort_by_key(|line| line.time);
        Ok(stream::iter(lines.into_iter().map(Ok)))
    };
    stream::once(sorted).try_flatten().boxed()
}

/// The lines of one container.
pub fn of_container(
    reader: &ClusterReader,
    namespace: &str,
    pod: &str,
    container: &str,
    options: LogOptions,
) -> Lines {
    // A log that is followed may be silent for hours.
    let client = if options.follow { reader.streaming() } else { reader.client() };
    let api: Api<Pod> = Api::namespaced(client, namespace);
    let failed = reader.failed(&format!("to show the log of {pod}/{container}"));
    let params = LogParams {
        container: Some(container.to_owned()),
        follow: options.follow,
        tail_lines: options.tail.map(|lines| i64::try_from(lines).unwrap_or(i64::MAX)),
        since_seconds: options.since.map(|at| Timestamp::now().duration_since(at).as_secs().max(1)),
        timestamps: true,
        ..LogParams::default()
    };
    let (pod, container) = (pod.to_owned(), container.to_owned());
    let opened = async move {
        let read = api.log_stream(&pod, &params).await.map_err(failed)?;
        let doing = format!("the log of {pod}/{container}");
        let broken = move |e: std::io::Error| ClusterError::Unreadable {
            doing: doing.clone(),
            message: e.to_string(),
        };
        Ok(read.lines().map_err(broken).map_ok(move |line| {
            let (time, text) = split_time(&line);
            let (pod, container, text) = (pod.clone(), container.clone(), text.to_owned());
            LogLine { pod, container, stream: None, time, text }
        }))
    };
    stream::once(opened).try_flatten().boxed()
}
