//! What says that a container has to be restarted: its sandbox, by what it writes, and the probes that are programs.

use std::sync::Arc;
use std::time::Duration;

use envctl_wire::labels::{self, Role};
use envctl_wire::{CONFIG_VARIABLE, ExecProbe, ProbeKind, SandboxConfig, SandboxEvent};
use futures_util::future::join_all;
use hyper::Method;
use serde_json::json;
use tokio::sync::mpsc::UnboundedSender;

use super::container::Container;
use super::engine::{Engine, EngineError};
use crate::output;
use crate::probe::state::{Outcome, States};
use crate::probe::timeline;

/// A container has to be restarted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Failed {
    pub(super) pod: String,
    pub(super) container: String,
    pub(super) kind: ProbeKind,
    pub(super) reason: String,
}

/// What of a program's output is told.
const TOLD: usize = 512;

/// Listens to what a container says about restarts, until it ends: a sandbox, or one with probes of its own.
pub(super) async fn watch(engine: Engine, container: Container, failed: UnboundedSender<Failed>) {
    let watched = match container.role {
        Role::Sandbox => follow(&engine, &container, &failed).await,
        _ => {
            probe(engine, &container, failed).await;
            Ok(())
        }
    };
    if let Err(error) = watched
        && !error.is_gone()
    {
        output::warn(format_args!("{}: {error}", container.name));
    }
}

/// Whether there is something to watch.
pub(super) fn is_watched(container: &Container) -> bool {
    match container.role {
        Role::Sandbox => probed(container, |kind| kind != ProbeKind::Readiness).next().is_some(),
        _ => container.labels.contains_key(labels::PROBES),
    }
}

/// The containers that a sandbox probes.
pub(super) fn probed(
    sandbox: &Container,
    wanted: impl Fn(ProbeKind) -> bool,
) -> impl Iterator<Item = String> {
    let probes = config(sandbox).into_iter().flat_map(|config| config.probes);
    probes.filter(move |probe| wanted(probe.kind)).map(|probe| probe.container)
}

/// What a sandbox was told when it was made.
pub(super) fn config(sandbox: &Container) -> Option<SandboxConfig> {
    let is_it =
        |variable: &String| Some(variable.strip_prefix(CONFIG_VARIABLE)?.strip_prefix('=')?.to_owned());
    serde_json::from_str(&sandbox.env.iter().find_map(is_it)?).ok()
}

/// Reads what a sandbox writes from now on.
async fn follow(
    engine: &Engine,
    sandbox: &Container,
    failed: &UnboundedSender<Failed>,
) -> Result<(), EngineError> {
    let path = format!("/containers/{}/logs?stdout=1&follow=1&tail=0", sandbox.id);
    let mut chunks = engine.stream(Method::GET, &path, None).await?;
    let mut lines = Frames::default();
    while let Some(chunk) = chunks.next().await {
        for line in lines.push(&chunk?) {
            if let Ok(SandboxEvent::Restart { container, kind, reason }) = serde_json::from_slice(&line) {
                let pod = sandbox.label(labels::POD).unwrap_or_default().to_owned();
                // Nobody hears it when the warden ends.
                let _ = failed.send(Failed { pod, container, kind, reason });
            }
        }
    }
    Ok(())
}

/// Lines of a stream of frames, each of which has a header of eight bytes with its length.
#[derive(Debug, Default)]
struct Frames {
    bytes: Vec<u8>,
    text: Vec<u8>,
}

impl Frames {
    fn push(&mut self, chunk: &[u8]) -> Vec<Vec<u8>> {
        self.bytes.extend_from_slice(chunk);
        while let Some((_, [a, b, c, d])) = self.bytes.first_chunk::<8>().map(|head| {
            let [kind, _, _, _, a, b, c, d] = *head;
            (kind, [a, b, c, d])
        }) {
            let end = 8 + u32::from_be_bytes([a, b, c, d]) as usize;
            let Some(frame) = self.bytes.get(8..end) else { break };
            self.text.extend_from_slice(frame);
            self.bytes.drain(..end);
        }
        let mut lines = Vec::new();
        while let Some(end) = self.text.iter().position(|byte| *byte == b'\n') {
            let mut line: Vec<u8> = self.text.drain(..=end).collect();
            line.pop();
            lines.push(line);
        }
        lines
    }
}

/// Runs a container's programs.
async fn probe(engine: Engine, container: &Container, failed: UnboundedSender<Failed>) {
    let label = container.label(labels::PROBES).unwrap_or_default();
    let probes: Vec<ExecProbe> = match serde_json::from_str(label) {
        Ok(probes) => probes,
        Err(error) => return output::warn(format_args!("{}: its probes: {error}", container.name)),
    };
    let pod = container.label(labels::POD).unwrap_or_default().to_owned();
    let states = Arc::new(States::new(&probes, true, move |event| {
        if let SandboxEvent::Restart { container, kind, reason } = event {
            let (container, reason) = (container.clone(), reason.clone());
            let _ = failed.send(Failed { pod: pod.clone(), container, kind: *kind, reason });
        }
    }));
    let each = probes.iter().enumerate().map(|(index, probe)| {
        let (states, engine) = (&states, &engine);
        timeline::follow(index, probe, states, move || check(engine, &container.id, probe))
    });
    join_all(each).await;
}

async fn check(engine: &Engine, container: &str, probe: &ExecProbe) -> Outcome {
    let timeout = Duration::from_secs(probe.timeout_seconds.max(1).into());
    match tokio::time::timeout(timeout, run(engine, container, &probe.check.command)).await {
        Ok(Ok((0, said))) => Outcome::Success(said),
        Ok(Ok((code, said))) => Outcome::Failure(format!("exit code {code}: {said}")),
        Ok(Err(error)) => Outcome::Failure(error.to_string()),
        Err(_) => Outcome::Failure(format!("has not ended within {} s", timeout.as_secs())),
    }
}

/// Runs a program in a container. Its exit code, and the first line of what it said.
pub(super) async fn run(
    engine: &Engine,
    container: &str,
    command: &[String],
) -> Result<(i64, String), EngineError> {
    let body = json!({"Cmd": command, "AttachStdout": true, "AttachStderr": true});
    let made = engine.post(&format!("/containers/{container}/exec"), Some(&body)).await?;
    let id = made["Id"].as_str().unwrap_or_default();
    let start = json!({"Detach": false, "Tty": false});
    let mut chunks = engine.stream(Method::POST, &format!("/exec/{id}/start"), Some(&start)).await?;
    let (mut frames, mut said) = (Frames::default(), None);
    while let Some(chunk) = chunks.next().await {
        let lines = frames.push(&chunk?);
        if said.is_none() {
            said = lines.into_iter().next();
        }
        frames.text.truncate(TOLD);
    }
    let ended = engine.get(&format!("/exec/{id}/json")).await?;
    let said = said.unwrap_or(frames.text);
    let said = String::from_utf8_lossy(&said[..said.len().min(TOLD)]).trim().to_owned();
    Ok((ended["ExitCode"].as_i64().unwrap_or(-1), said))
}

#[cfg(test)]
mod tests {
    use super::super::container::Status;
    use super::super::container::tests::container;
    use super::*;

    #[test]
    fn lines_are_put_together_from_frames() {
        let mut frames = Frames::default();
        let frame = |text: &str| {
            let mut bytes = vec![1, 0, 0, 0, 0, 0, 0, u8::try_from(text.len()).unwrap()];
            bytes.extend_from_slice(text.as_bytes());
            bytes
        };
        let all = [frame("one\ntw"), frame("o\n")].concat();
        assert_eq!(frames.push(&all[..5]), Vec::<Vec<u8>>::new());
        assert_eq!(frames.push(&all[5..16]), [b"one".to_vec()]);
        assert_eq!(frames.push(&all[16..]), [b"two".to_vec()]);
    }

    #[test]
    fn only_who_can_ask_for_a_restart_is_watched() {
        let mut sandbox = container(Role::Sandbox, Status::Up, 1, 0);
        let probe = |kind: &str| {
            format!(
                r#"{{"container":"app","kind":"{kind}","check":{{"tcp":{{"host":null,"port":1}}}},"initialDelaySeconds":0,
                "periodSeconds":1,"timeoutSeconds":1,"successThreshold":1,"failureThreshold":1}}"#
            )
        };
        let mut with = |probes: &str| {
            let config =
                format!(r#"{{"pod":"p","resolv":null,"gateway":null,"forwards":[],"probes":[{probes}]}}"#);
            sandbox.env = vec!["PATH=/".to_owned(), format!("{CONFIG_VARIABLE}={config}")];
            (is_watched(&sandbox), probed(&sandbox, |_| true).collect::<Vec<_>>())
        };
        assert_eq!(with(""), (false, vec![]));
        assert_eq!(with(&probe("readiness")), (false, vec!["app".to_owned()]));
        assert_eq!(with(&probe("liveness")), (true, vec!["app".to_owned()]));
        let mut member = container(Role::Container, Status::Up, 1, 0);
        assert!(!is_watched(&member));
        member.labels.insert(labels::PROBES.to_owned(), "[]".to_owned());
        assert!(is_watched(&member));
    }
}
