//! Logs of several containers as one stream of lines, and which container a component's name means.

mod again;

use bollard::container::LogOutput;
use bollard::query_parameters::LogsOptionsBuilder;
use envctl_model::labels::Role;
use envctl_model::log::{LogLine, LogOptions, LogStream, split_time};
use envctl_model::selection::{self, Names, SelectionError};
use futures_util::stream::{self, BoxStream};
use futures_util::{Stream, StreamExt as _, TryStreamExt as _};

use crate::engine::{EngineError, EngineReader};
use crate::state::{ActualContainer, ContainerState};

pub(crate) use again::lines_of_each;

/// The lines of these containers. Without `follow` they come in the order of their times; with it,
/// as they come.
pub fn lines(
    reader: &EngineReader,
    containers: &[ActualContainer],
    options: LogOptions,
) -> BoxStream<'static, Result<LogLine, EngineError>> {
    let each: Vec<_> =
        containers.iter().map(|container| of_container(reader, container, options).boxed()).collect();
    let merged = stream::select_all(each);
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

fn of_container(
    reader: &EngineReader,
    container: &ActualContainer,
    options: LogOptions,
) -> impl Stream<Item = Result<LogLine, EngineError>> + use<> {
    let wanted = LogsOptionsBuilder::default()
        .stdout(true)
        .stderr(true)
        .timestamps(true)
        .follow(options.follow)
        .since(options.since.and_then(|at| at.as_second().try_into().ok()).unwrap_or_default())
        .tail(&options.tail.map_or("all".to_owned(), |count| count.to_string()))
        .build();
    let failed = reader.failed("reading logs");
    let pod = container.pod.clone().unwrap_or_else(|| container.name.clone());
    let name = container.container.clone().unwrap_or_else(|| container.name.clone());
    let frames = reader.docker().logs(&container.id, Some(wanted)).map(move |frame| frame.map_err(&failed));
    let mut partial = Partial::default();
    frames
        .map_ok(move |frame| {
            let lines = partial.push(frame).into_iter().map(|(stream, text)| {
                let (time, text) = split_time(&text);
                let (pod, container, text) = (pod.clone(), name.clone(), text.to_owned());
                Ok(LogLine { pod, container, stream: Some(stream), time, text })
            });
            stream::iter(lines.collect::<Vec<_>>())
        })
        .try_flatten()
}

/// What was written of a line before its newline, per stream.
#[derive(Default)]
struct Partial {
    stdout: Vec<u8>,
    stderr: Vec<u8>,
}

impl Partial {
    fn push(&mut self, frame: LogOutput) -> Vec<(LogStream, String)> {
        let (stream, buffer) = match &frame {
            LogOutput::StdErr { .. } => (LogStream::Stderr, &mut self.stderr),
            _ => (LogStream::Stdout, &mut self.stdout),
        };
        buffer.extend_from_slice(frame.as_ref());
        let mut lines = Vec::new();
        while let Some(end) = buffer.iter().position(|byte| *byte == b'\n') {
            let line: Vec<u8> = buffer.drain(..=end).collect();
            let text = String::from_utf8_lossy(&line[..end]);
            lines.push((stream, text.trim_end_matches('\r').to_owned()));
        }
        lines
    }
}

/// The application's containers that `name` means: a component (the workload's name), a pod, or a
/// Compose service; `None` means all.
///
/// # Errors
/// When there is none, with what there is.
pub fn select<'a>(
    containers: &'a [ActualContainer],
    name: Option<&str>,
) -> Result<Vec<&'a ActualContainer>, SelectionError> {
    let is_told = |role: Role| role == Role::Init || role.is_kept_running();
    let application = || containers.iter().filter(|c| c.role.is_some_and(is_told));
    let Some(name) = name else {
        return Ok(application().collect());
    };
    selection::select(application(), names, name)
}

/// The running container to execute something in.
///
/// # Errors
/// When the component or the container does not exist or does not run, with what there is.
pub fn exec_target<'a>(
    containers: &'a [ActualContainer],
    component: &str,
    container: Option<&str>,
) -> Result<&'a ActualContainer, SelectionError> {
    let chosen = select(containers, Some(component))?;
    let chosen = match container {
        None => chosen,
        Some(wanted) => selection::named(chosen, |c| c.container.as_deref(), component, wanted)?,
    };
    chosen
        .into_iter()
        .filter(|c| c.state == ContainerState::Running && c.role.is_some_and(Role::is_kept_running))
        // As kubectl does: the first container of the first pod's spec. Sidecars are none of these.
        .min_by_key(|c| (c.role == Some(Role::Sidecar), c.pod.clone(), c.index))
        .ok_or_else(|| SelectionError::NotRunning { component: component.to_owned() })
}

/// Whether a container is of a component.
pub(crate) fn is_of(container: &ActualContainer, component: &str) -> bool {
    names(container).are(component)
}

/// `api` of `Deployment/api`.
pub(crate) fn component(container: &ActualContainer) -> Option<&str> {
    names(container).component()
}

fn names(container: &ActualContainer) -> Names<'_> {
    Names {
        workload: container.workload.as_deref(),
        pod: container.pod.as_deref(),
        service: container.service.as_deref(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::state::tests::{exited, running};

    #[test]
    fn lines_are_whole_however_the_frames_fall() {
        let mut partial = Partial::default();
        let out = |text: &'static str| LogOutput::StdOut { message: text.into() };
        let err = |text: &'static str| LogOutput::StdErr { message: text.into() };
        assert_eq!(partial.push(out("one\ntw")), [(LogStream::Stdout, "one".to_owned())]);
        assert_eq!(partial.push(err("bad\r\n")), [(LogStream::Stderr, "bad".to_owned())]);
        assert_eq!(partial.push(out("o\n")), [(LogStream::Stdout, "two".to_owned())]);
    }

    #[test]
    fn a_component_is_found_by_the_names_people_use() {
        let all = [
            running("album-api-0", "album-api-0-sandbox", Role::Sandbox),
            ActualContainer {
                workload: Some("Deployment/album-api".into()),
                container: Some("api".into()),
                ..running("album-api-0", "album-api-0-api", Role::Container)
            },
            ActualContainer {
                workload: Some("Deployment/album-worker".into()),
                ..exited("album-worker-0", "album-worker-0-worker", Role::Container, 1)
            },
        ];
        for name in ["api", "album-api", "Deployment/album-api", "album-api-0"] {
            assert_eq!(exec_target(&all, name, None).unwrap().container.as_deref(), Some("api"), "{name}");
        }
        let message = |component, container| exec_target(&all, component, container).unwrap_err().to_string();
        assert_eq!(
            message("ap", None),
            "there is no component ap in this environment; there are: album-api, album-worker"
        );
        assert_eq!(message("api", Some("x")), "api has no container x; it has: api");
        assert!(message("worker", None).starts_with("no container of worker is running"));
        assert_eq!(select(&all, None).unwrap().len(), 2);
    }
}
