//! What containers wrote, and write.

use std::collections::BTreeSet;

use envctl_model::log::{LogLine, LogOptions, split_time};
use futures_util::stream::{self, BoxStream};
use futures_util::{AsyncBufReadExt as _, StreamExt as _, TryStreamExt as _};
use jiff::Timestamp;
use k8s_openapi::api::core::v1::Pod;
use kube::Api;
use kube::api::LogParams;
use kube::runtime::watcher::Event;

use super::pods::{LivePod, is_of};
use crate::client::ClusterReader;
use crate::error::ClusterError;
use crate::watching::{refusal, watch_all};

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

/// The lines of all pods of a workload from `since` on, of those that come later, too, without end. What was written
/// before somebody could read it, by a container that was started again at once, is lost.
pub fn follow(reader: &ClusterReader, namespace: &str, workload: &str, since: Timestamp) -> Lines {
    let (reader, namespace, workload) = (reader.clone(), namespace.to_owned(), workload.to_owned());
    let mut known = BTreeSet::new();
    watch_all::<Pod>(Api::namespaced(reader.streaming(), &namespace))
        .flat_map_unordered(None, move |event| {
            let pod = match event {
                Ok(Event::Apply(pod) | Event::InitApply(pod) | Event::Delete(pod))
                    if is_of(&pod, &workload) =>
                {
                    pod
                }
                Ok(_) => return stream::empty().boxed(),
                Err(error) => return stream::iter(refusal(&reader, error).map(Err)).boxed(),
            };
            let name = pod.metadata.name.clone().unwrap_or_default();
            let fresh: Vec<_> = begun(&pod).filter(|begun| known.insert(begun.clone())).collect();
            let options = LogOptions { follow: true, tail: None, since: Some(since) };
            let logs = fresh.into_iter().map(|(container, _)| {
                // Its log goes with the pod: nobody is there to be read any more.
                of_container(&reader, &namespace, &name, &container, options)
                    .filter(|line| std::future::ready(!line.as_ref().is_err_and(is_over)))
            });
            stream::select_all(logs.map(|log| log.boxed()).collect::<Vec<_>>()).boxed()
        })
        // The API goes by whole seconds.
        .try_filter(move |line| std::future::ready(line.time.is_none_or(|at| at >= since)))
        .boxed()
}

/// The containers of a pod that were started, by name and by the runtime's id: one that is started again is another.
fn begun(pod: &Pod) -> impl Iterator<Item = (String, String)> {
    let status = pod.status.iter();
    let containers =
        status.flat_map(|s| s.init_container_statuses.iter().chain(&s.container_statuses).flatten());
    containers.filter_map(|container| {
        let state = container.state.as_ref()?;
        let has_run = state.running.is_some() || state.terminated.is_some();
        Some((container.name.clone(), container.container_id.clone()?)).filter(|_| has_run)
    })
}

/// Whether a log cannot be read because its container is no more.
fn is_over(error: &ClusterError) -> bool {
    matches!(error, ClusterError::Api { status: 400 | 404, .. })
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
