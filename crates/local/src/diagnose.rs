//! Why a pod does not get ready: collected from the Engine, then explained.

use std::collections::BTreeMap;

use bollard::models::HealthcheckResult;
use envctl_wire::{ProbeKind, SandboxEvent};
use futures_util::TryStreamExt as _;
use jiff::Timestamp;

use crate::engine::{EngineError, EngineReader, found};
use crate::logs;
use crate::state::{ActualContainer, ContainerState, Health};
use envctl_model::labels::Role;
use envctl_model::log::{LogLine, LogOptions};

/// Lines of the log that a diagnosis shows.
const LINES: u64 = 20;
/// Lines of a sandbox's output that are searched for failing probes.
const SANDBOX_LINES: u64 = 500;

/// Why a pod does not get ready.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Diagnosis {
    /// The pod.
    pub pod: String,
    /// Its workload: `Deployment/api`.
    pub workload: Option<String>,
    /// The container at fault, by its name in the pod.
    pub container: String,
    /// The cause in plain words.
    pub cause: String,
    /// The exit code, if it ended.
    pub exit_code: Option<i64>,
    /// How often Docker restarted it.
    pub restarts: u64,
    /// Why a probe fails, in the prober's words.
    pub probe: Option<String>,
    /// The last outputs of its Docker health check.
    pub health_log: Vec<String>,
    /// Its last lines, those of an earlier run first.
    pub log: Vec<DiagnosedLine>,
    /// What to type next.
    pub next: Vec<String>,
}

/// A line of the log with the run it is from.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "camelCase")]
pub struct DiagnosedLine {
    /// Whether the container has been restarted since.
    pub earlier_run: bool,
    /// The text.
    pub text: String,
}

/// Collects why `pod` does not get ready. `None` when it has no container on the Engine.
///
/// # Errors
/// When the Engine does not answer.
pub async fn pod(
    reader: &EngineReader,
    containers: &[ActualContainer],
    pod: &str,
) -> Result<Option<Diagnosis>, EngineError> {
    let members: Vec<&ActualContainer> =
        containers.iter().filter(|c| c.pod.as_deref() == Some(pod)).collect();
    let sandbox = members.iter().find(|c| c.role == Some(Role::Sandbox));
    let events = match sandbox {
        Some(sandbox) => sandbox_events(&lines(reader, sandbox, SANDBOX_LINES).await?),
        None => Vec::new(),
    };
    let probes = failing_probes(&events);
    let Some(suspect) = suspect(&members, &probes) else {
        return Ok(None);
    };
    let (log, health_log) = tokio::try_join!(lines(reader, suspect, LINES), health_log(reader, suspect))?;
    Ok(Some(explain(pod, suspect, &probes, warnings(&events), health_log, &log)))
}

/// What an exit code means.
#[must_use]
pub fn exit_words(code: i64) -> String {
    let words = match code {
        0 => "it ended by itself, without an error",
        125 => "Docker itself failed to run it",
        126 => "its command is not executable, or is for another processor architecture",
        127 => "its command was not found in the image",
        130 => "it was interrupted (SIGINT)",
        132 => "an illegal instruction (SIGILL): often an image for another processor",
        134 => "it aborted itself (SIGABRT)",
        135 => "a bus error (SIGBUS)",
        136 => "an arithmetic error (SIGFPE)",
        137 => {
            "it was killed (SIGKILL): by somebody, for its memory, or because it did not end when asked to"
        }
        139 => "a segmentation fault (SIGSEGV)",
        143 => "it was asked to end (SIGTERM)",
        signal @ 129..=192 => {
            return format!("exit code {signal}: ended by signal {}", signal - 128);
        }
        other => return format!("exit code {other}"),
    };
    format!("exit code {code}: {words}")
}

type Probes = BTreeMap<String, (ProbeKind, String, u32)>;

/// The container that explains most: what cannot start before what ended before what is not ready.
fn suspect<'a>(members: &[&'a ActualContainer], probes: &Probes) -> Option<&'a ActualContainer> {
    let rank = |container: &ActualContainer| {
        let name = container.container.as_deref().unwrap_or_default();
        let ended = container.exit_code.is_some_and(|code| code != 0);
        let run_once = container.role.is_some_and(Role::is_run_once);
        let kept = container.role.is_some_and(Role::is_kept_running);
        match container.state {
            _ if container.error.is_some() => 0,
            _ if container.oom_killed => 1,
            _ if ended && run_once => 2,
            _ if ended && kept => 3,
            ContainerState::Restarting => 4,
            _ if container.restarts > 0 && kept => 5,
            ContainerState::Exited | ContainerState::Dead if kept => 6,
            _ if kept && container.health == Some(Health::Unhealthy) => 7,
            _ if probes.contains_key(name) => 8,
            _ if ended => 9,
            // An init container that runs on is what the others wait for.
            ContainerState::Running if run_once => 10,
            _ if container.health == Some(Health::Starting) => 11,
            ContainerState::Created => 12,
            _ if kept => 13,
            _ => 14,
        }
    };
    members.iter().copied().min_by_key(|container| rank(container))
}

fn explain(
    pod: &str,
    suspect: &ActualContainer,
    probes: &Probes,
    warnings: Vec<String>,
    health_log: Vec<String>,
    log: &[LogLine],
) -> Diagnosis {
    let container = suspect.container.clone().unwrap_or_else(|| suspect.name.clone());
    let probe = probes.get(&container).map(|(kind, reason, count)| {
        let kind = match kind {
            ProbeKind::Startup => "startup",
            ProbeKind::Readiness => "readiness",
            ProbeKind::Liveness => "liveness",
        };
        format!("{kind} probe: {reason} ({count} times)")
    });
    let started: Option<Timestamp> = suspect.started_at.as_deref().and_then(|at| at.parse().ok());
    let component = logs::component(suspect).unwrap_or(pod).to_owned();
    let mut next = vec![format!("envctl logs {component}")];
    if suspect.state == ContainerState::Running {
        next.push(format!("envctl exec {component} -- sh"));
    }
    Diagnosis {
        pod: pod.to_owned(),
        workload: suspect.workload.clone(),
        cause: cause(suspect, probe.as_deref(), &warnings, &health_log),
        container,
        exit_code: suspect.exit_code,
        restarts: suspect.restarts,
        probe,
        health_log,
        log: log
            .iter()
            .map(|line| DiagnosedLine {
                earlier_run: line.time.zip(started).is_some_and(|(written, started)| written < started),
                text: line.text.clone(),
            })
            .collect(),
        next,
    }
}

fn cause(
    suspect: &ActualContainer,
    probe: Option<&str>,
    warnings: &[String],
    health_log: &[String],
) -> String {
    if let Some(error) = &suspect.error {
        return format!("Docker could not start it: {}", start_error(error));
    }
    if suspect.oom_killed {
        return "it was killed for using more memory than its limit (resources.limits.memory)".to_owned();
    }
    let again =
        if suspect.restarts > 0 { format!(", restarted {} times", suspect.restarts) } else { String::new() };
    match suspect.state {
        ContainerState::Restarting | ContainerState::Exited | ContainerState::Dead => {
            let code = suspect.exit_code.unwrap_or_default();
            if suspect.role == Some(Role::Sandbox) {
                let why = warnings.last().map(|w| format!(": {w}")).unwrap_or_default();
                return format!("the pod's sandbox ended ({}){why}", exit_words(code));
            }
            format!("it ended ({}){again}", exit_words(code))
        }
        ContainerState::Created => "it was never started: what it waits for has not come about".to_owned(),
        ContainerState::Paused => "it is paused (`docker unpause` lets it go on)".to_owned(),
        ContainerState::Running => {
            if let Some(probe) = probe {
                format!("it runs{again}, but is not ready: {probe}")
            } else if suspect.health == Some(Health::Unhealthy) {
                let said = health_log.last().map(|line| format!(": {line}")).unwrap_or_default();
                format!("it runs{again}, but its health check fails{said}")
            } else if suspect.role.is_some_and(Role::is_run_once) {
                "it has not ended yet, and the pod's containers wait for it".to_owned()
            } else if suspect.restarts > 0 {
                format!("it runs now, but has crashed before{again}")
            } else {
                warnings.last().cloned().unwrap_or_else(|| "it runs, but is not ready yet".to_owned())
            }
        }
    }
}

/// The part of a runtime's error that means something to the application's author.
fn start_error(error: &str) -> String {
    let words = [
        ("executable file not found in $PATH", "its command was not found in the image"),
        ("no such file or directory", "its command, or the interpreter it needs, was not found in the image"),
        ("exec format error", "the image is for another processor architecture"),
        ("permission denied", "its command is not executable"),
    ];
    let meaning = words.iter().find(|(needle, _)| error.contains(needle)).map(|(_, meaning)| *meaning);
    let detail = error.rsplit_once("starting container process caused: ").map_or(error, |(_, detail)| detail);
    let detail = detail.trim_end_matches(": unknown").trim();
    match meaning {
        Some(meaning) if error.contains("exec") => format!("{meaning} ({detail})"),
        _ => detail.to_owned(),
    }
}

fn sandbox_events(lines: &[LogLine]) -> Vec<SandboxEvent> {
    lines.iter().filter_map(|line| serde_json::from_str(&line.text).ok()).collect()
}

/// Per container the probe that fails now.
fn failing_probes(events: &[SandboxEvent]) -> Probes {
    let mut latest = BTreeMap::new();
    for event in events {
        if let SandboxEvent::Probe { container, kind, success, reason, count } = event {
            latest.insert((container.clone(), *kind as u8), (*kind, *success, reason.clone(), *count));
        }
    }
    latest
        .into_iter()
        .filter(|(_, (_, success, ..))| !success)
        .map(|((container, _), (kind, _, reason, count))| (container, (kind, reason, count)))
        .collect()
}

fn warnings(events: &[SandboxEvent]) -> Vec<String> {
    let warnings = events.iter().filter_map(|event| match event {
        SandboxEvent::Warning { message } => Some(message.clone()),
        _ => None,
    });
    warnings.collect()
}

async fn lines(
    reader: &EngineReader,
    container: &ActualContainer,
    tail: u64,
) -> Result<Vec<LogLine>, EngineError> {
    let options = LogOptions { tail: Some(tail), ..LogOptions::default() };
    let lines: Result<Vec<_>, _> =
        logs::lines(reader, std::slice::from_ref(container), options).try_collect().await;
    // A container without a log (never started, another log driver) is explained without.
    match lines {
        Err(EngineError::Refused { .. }) => Ok(Vec::new()),
        lines => lines,
    }
}

async fn health_log(reader: &EngineReader, container: &ActualContainer) -> Result<Vec<String>, EngineError> {
    let inspected = reader.docker().inspect_container(&container.id, None).await;
    let inspected = found(inspected.map_err(reader.failed("inspecting a container")))?;
    let log = inspected.and_then(|c| c.state?.health?.log).unwrap_or_default();
    let failed = log.into_iter().filter(|result| result.exit_code != Some(0));
    Ok(failed.filter_map(|HealthcheckResult { output, .. }| output).map(|o| o.trim().to_owned()).collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use envctl_model::log::LogStream;

    use crate::state::tests::{exited, running};

    fn diagnose(members: &[ActualContainer], sandbox_log: &[&str]) -> Diagnosis {
        let line = |text: &str| LogLine {
            pod: "api".into(),
            container: "x".into(),
            stream: Some(LogStream::Stdout),
            time: "2026-01-01T00:00:00Z".parse().ok(),
            text: text.into(),
        };
        let events = sandbox_events(&sandbox_log.iter().map(|text| line(text)).collect::<Vec<_>>());
        let probes = failing_probes(&events);
        let members: Vec<_> = members.iter().collect();
        let suspect = suspect(&members, &probes).unwrap();
        explain("api", suspect, &probes, warnings(&events), vec![], &[line("last words")])
    }

    fn pod() -> Vec<ActualContainer> {
        vec![
            running("api", "sandbox", Role::Sandbox),
            exited("api", "init", Role::Init, 0),
            running("api", "app", Role::Container),
        ]
    }

    #[test]
    fn exit_codes_are_put_into_words() {
        assert!(exit_words(137).contains("SIGKILL"));
        assert!(exit_words(127).contains("not found"));
        assert_eq!(exit_words(3), "exit code 3");
        assert_eq!(exit_words(150), "exit code 150: ended by signal 22");
    }

    #[test]
    fn a_crashed_container_is_blamed_and_its_earlier_lines_are_marked() {
        let mut members = pod();
        members[2] = exited("api", "app", Role::Container, 1);
        members[2].restarts = 4;
        members[2].started_at = Some("2026-01-01T00:00:01Z".into());
        let diagnosis = diagnose(&members, &[]);
        assert_eq!(diagnosis.container, "app");
        assert_eq!(diagnosis.cause, "it ended (exit code 1), restarted 4 times");
        assert!(diagnosis.log[0].earlier_run);
        assert_eq!(diagnosis.next, ["envctl logs api"]);
    }

    #[test]
    fn a_failing_init_container_is_blamed_before_what_waits_for_it() {
        let mut members = pod();
        members[1] = exited("api", "init", Role::Init, 127);
        members[2].state = ContainerState::Created;
        let diagnosis = diagnose(&members, &[]);
        assert_eq!(diagnosis.container, "init");
        assert!(diagnosis.cause.contains("not found in the image"), "{}", diagnosis.cause);
    }

    #[test]
    fn the_failing_probe_is_the_one_that_fails_last() {
        let mut members = pod();
        members[0].health = Some(Health::Unhealthy);
        let probe = |success, reason: &str| {
            serde_json::json!({"event": "probe", "container": "app", "kind": "readiness", "success": success,
                "reason": reason, "count": 7})
            .to_string()
        };
        let failing = probe(false, "HTTP 503 from http://:3000/readyz");
        let passing = probe(true, "");
        let diagnosis = diagnose(&members, &["not json", &passing, &failing]);
        assert_eq!(
            diagnosis.cause,
            "it runs, but is not ready: readiness probe: HTTP 503 from http://:3000/readyz (7 times)"
        );
        assert_eq!(diagnosis.next[1], "envctl exec api -- sh");
        assert_eq!(diagnose(&members, &[&failing, &passing]).probe, None);
    }

    #[test]
    fn what_docker_cannot_start_is_explained() {
        let mut members = pod();
        members[2].state = ContainerState::Created;
        members[2].error = Some(
            "OCI runtime create failed: runc create failed: unable to start container process: exec: \"nope\": \
             executable file not found in $PATH: unknown"
                .into(),
        );
        let cause = diagnose(&members, &[]).cause;
        assert!(
            cause.starts_with("Docker could not start it: its command was not found in the image"),
            "{cause}"
        );
    }

    #[test]
    fn memory_is_named() {
        let mut members = pod();
        members[2] = exited("api", "app", Role::Container, 137);
        members[2].oom_killed = true;
        assert!(diagnose(&members, &[]).cause.contains("more memory than its limit"));
    }
}
