//! What is wrong with a pod. Pure.

use jiff::Timestamp;
use k8s_openapi::api::core::v1::{ContainerStatus, Event, Pod};

use super::causes::{Cause, Shortage};

/// A container that ended this often is in a crash loop. A first crash may heal: a database that was
/// not there yet is, a second later.
const CRASHES: i32 = 3;
/// Ending for want of memory, or by a probe, heals more rarely.
const KILLS: i32 = 2;

/// What is wrong with one pod or one of its containers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Trouble {
    /// The container, where it is one's.
    pub(super) container: Option<String>,
    /// What.
    pub(super) cause: Cause,
}

/// What is wrong with a pod; `events` are its own, oldest first. What ended before `since` and has run well
/// from then on is past.
pub(super) fn troubles(pod: &Pod, events: &[&Event], since: Timestamp) -> Vec<Trouble> {
    let Some(status) = &pod.status else { return Vec::new() };
    let mut found = Vec::new();
    if status.phase.as_deref() == Some("Failed")
        && let Some(reason) = &status.reason
    {
        let message = status.message.clone().unwrap_or_default();
        found.push(Trouble { container: None, cause: Cause::Ended { reason: reason.clone(), message } });
        return found;
    }
    let conditions = status.conditions.iter().flatten();
    for condition in conditions.filter(|c| c.type_ == "PodScheduled" && c.status == "False") {
        if condition.reason.as_deref() == Some("Unschedulable") {
            let message = condition.message.clone().unwrap_or_default();
            let cause = Cause::Unschedulable { shortage: shortage(&message), message };
            found.push(Trouble { container: None, cause });
        }
    }
    let init = status.init_container_statuses.iter().flatten().map(|s| (s, true));
    let main = status.container_statuses.iter().flatten().map(|s| (s, false));
    let mut waits_for_creation = false;
    for (container, is_init) in init.chain(main) {
        let waiting = container.state.as_ref().and_then(|s| s.waiting.as_ref());
        waits_for_creation |= waiting
            .is_some_and(|w| matches!(w.reason.as_deref(), Some("ContainerCreating" | "PodInitializing")));
        if let Some(cause) = of_container(pod, container, is_init, events, since) {
            found.push(Trouble { container: Some(container.name.clone()), cause });
        }
    }
    if found.is_empty() && waits_for_creation {
        found.extend(of_creation(events).map(|cause| Trouble { container: None, cause }));
    }
    found
}

/// What keeps a running container from being ready, as far as its events tell.
pub(super) fn not_ready(pod: &Pod, events: &[&Event]) -> Vec<Trouble> {
    let statuses = pod.status.iter().flat_map(|s| s.container_statuses.iter().flatten());
    statuses
        .filter(|c| !c.ready && c.state.as_ref().is_some_and(|s| s.running.is_some()))
        .filter_map(|container| {
            let of_it = events.iter().rev().filter(|e| is_about(e, &container.name));
            let probe = of_it.filter(|e| e.reason.as_deref() == Some("Unhealthy")).find_map(|e| {
                let message = e.message.as_deref()?;
                message.starts_with("Readiness probe").then_some(message)
            })?;
            let cause = Cause::NotReady { message: after_colon(probe).to_owned() };
            Some(Trouble { container: Some(container.name.clone()), cause })
        })
        .collect()
}

fn of_container(
    pod: &Pod,
    status: &ContainerStatus,
    is_init: bool,
    events: &[&Event],
    since: Timestamp,
) -> Option<Cause> {
    let state = status.state.as_ref();
    let waiting = state.and_then(|s| s.waiting.as_ref());
    let reason = waiting.and_then(|w| w.reason.as_deref()).unwrap_or_default();
    let message = waiting.and_then(|w| w.message.as_deref()).unwrap_or_default();
    let image = image_of(pod, status);
    match reason {
        "InvalidImageName" => return Some(Cause::ImageNameInvalid { image }),
        "ErrImagePull" | "ImagePullBackOff" | "ErrImageNeverPull" => {
            // The back-off of older kubelets does not say why; the event before it does.
            let said = events.iter().rev().filter(|e| is_about(e, &status.name)).find_map(|e| {
                let text = e.message.as_deref()?;
                text.starts_with("Failed to pull image").then_some(text)
            });
            let text = if message.contains(':') && reason != "ImagePullBackOff" {
                message
            } else {
                said.unwrap_or(message)
            };
            return Some(of_pull(&image, text, events));
        }
        "CreateContainerConfigError" if is_late(message) => {
            return Some(Cause::SandboxFailed { message: message.to_owned() });
        }
        "CreateContainerConfigError" => return Some(of_reference(message)),
        "CreateContainerError" | "RunContainerError" => return Some(of_start(&image, message)),
        _ => {}
    }
    let last = status.last_state.as_ref().and_then(|s| s.terminated.as_ref());
    let ended = state.and_then(|s| s.terminated.as_ref()).or(last)?;
    let times = status.restart_count + i32::from(state.is_some_and(|s| s.terminated.is_some()));
    // The kubelet rounds down to seconds.
    let recent = ended.finished_at.as_ref().is_none_or(|at| at.0.as_second() >= since.as_second());
    if !recent && reason != "CrashLoopBackOff" {
        return None;
    }
    let is_down = reason == "CrashLoopBackOff" || state.is_some_and(|s| s.terminated.is_some());
    if ended.reason.as_deref() == Some("StartError") || ended.reason.as_deref() == Some("ContainerCannotRun")
    {
        return Some(of_start(&image, ended.message.as_deref().unwrap_or_default()));
    }
    if ended.reason.as_deref() == Some("OOMKilled") && (times >= KILLS || !restarts(pod)) {
        return Some(Cause::OutOfMemory { limit: memory_limit(pod, &status.name) });
    }
    if times >= KILLS
        && let Some((probe, message)) = killing_probe(&status.name, events)
    {
        return Some(Cause::ProbeKills { probe, message });
    }
    if !is_down || ended.exit_code == 0 && !is_looping(pod, reason) {
        return None;
    }
    let enough = times >= CRASHES || (!restarts(pod) && !is_of_job(pod));
    enough.then_some(Cause::CrashLoop { exit_code: ended.exit_code, times: times.max(1), init: is_init })
}

/// A container that is to run for ever and ends well over and over does not do what it should.
fn is_looping(pod: &Pod, reason: &str) -> bool {
    reason == "CrashLoopBackOff"
        && pod.spec.as_ref().is_none_or(|s| s.restart_policy.as_deref() != Some("OnFailure"))
}

fn restarts(pod: &Pod) -> bool {
    pod.spec.as_ref().and_then(|s| s.restart_policy.as_deref()) != Some("Never")
}

/// Whether a Job tries again when this pod has failed: then the Job says when it gives up.
fn is_of_job(pod: &Pod) -> bool {
    pod.metadata.owner_references.iter().flatten().any(|owner| owner.kind == "Job")
}

fn is_about(event: &Event, container: &str) -> bool {
    event
        .involved_object
        .field_path
        .as_deref()
        .is_some_and(|path| path.ends_with(&format!("{{{container}}}")))
}

fn image_of(pod: &Pod, status: &ContainerStatus) -> String {
    let spec = pod.spec.as_ref();
    let containers =
        spec.into_iter().flat_map(|s| s.containers.iter().chain(s.init_containers.iter().flatten()));
    let named = containers.filter(|c| c.name == status.name).find_map(|c| c.image.clone());
    named.unwrap_or_else(|| status.image.clone())
}

fn memory_limit(pod: &Pod, container: &str) -> Option<String> {
    let spec = pod.spec.as_ref()?;
    let containers = spec.containers.iter().chain(spec.init_containers.iter().flatten());
    let found = containers.filter(|c| c.name == container).find_map(|c| c.resources.as_ref())?;
    found.limits.as_ref()?.get("memory").map(|quantity| quantity.0.clone())
}

fn killing_probe(container: &str, events: &[&Event]) -> Option<(&'static str, String)> {
    let of_it = || events.iter().rev().filter(|e| is_about(e, container));
    let killed =
        of_it().filter(|e| e.reason.as_deref() == Some("Killing")).find_map(|e| e.message.as_deref())?;
    let probe = ["liveness", "startup"]
        .into_iter()
        .find(|probe| killed.contains(&format!("failed {probe} probe")))?;
    let message = of_it()
        .filter(|e| e.reason.as_deref() == Some("Unhealthy"))
        .filter_map(|e| e.message.as_deref())
        .find(|text| text.to_lowercase().starts_with(probe))
        .map(|text| after_colon(text).to_owned());
    Some((probe, message.unwrap_or_default()))
}

fn after_colon(text: &str) -> &str {
    text.split_once(": ").map_or(text, |(_, rest)| rest).trim()
}

fn of_pull(image: &str, message: &str, events: &[&Event]) -> Cause {
    let image = image.to_owned();
    // Its own name says nothing of why: `127.0.0.1:5401/denied:it`.
    let text = message.replace(&image, "").to_lowercase();
    let has = |needles: &[&str]| needles.iter().any(|needle| text.contains(needle));
    // Before "not found", which is part of it.
    if has(&["no match for platform", "does not match the specified platform", "no matching manifest"]) {
        return Cause::WrongArchitecture { image };
    }
    if has(&[
        "unauthorized",
        "forbidden",
        "authorization failed",
        "authentication required",
        "no basic auth",
        "access denied",
        "pull access",
        "denied:",
    ]) {
        let missing =
            events.iter().rev().find(|e| e.reason.as_deref() == Some("FailedToRetrieveImagePullSecret"));
        // Unable to retrieve some image pull secrets (registry-key); attempting to pull ...
        let missing_secret = missing.and_then(|e| {
            let (_, rest) = e.message.as_deref()?.split_once('(')?;
            Some(rest.split_once(')')?.0.to_owned())
        });
        return Cause::ImageDenied { image, missing_secret };
    }
    if has(&[
        "not found",
        "manifest unknown",
        "name unknown",
        "does not exist",
        "not present with pull policy",
    ]) {
        return Cause::ImageNotFound { image };
    }
    Cause::ImageUnavailable { image, message: message.to_owned() }
}

/// Whether the kubelet has not heard yet of what it needs, or may not read it yet: it asks again.
fn is_late(message: &str) -> bool {
    ["failed to sync", "have not yet been read", "no relationship found"]
        .iter()
        .any(|words| message.contains(words))
}

/// The kubelet's words about what a container's environment or a volume refers to.
fn of_reference(message: &str) -> Cause {
    // couldn't find key port in ConfigMap album-aki/web
    if let Some((_, rest)) = message.split_once("find key ")
        && let Some((key, rest)) = rest.split_once(" in ")
        && let Some((kind, place)) = rest.split_once(' ')
    {
        let name = place.rsplit('/').next().unwrap_or(place).trim_matches(|c: char| c == '"' || c == '\'');
        if let Some(kind) = kind_of(kind) {
            return Cause::MissingKey { kind, name: name.to_owned(), key: key.trim_matches('"').to_owned() };
        }
    }
    // references non-existent config key: missing.conf
    for (kind, phrase) in
        [("ConfigMap", "non-existent config key: "), ("Secret", "non-existent secret key: ")]
    {
        if let Some((before, key)) = message.split_once(phrase) {
            let name = before.rsplit('"').nth(1).unwrap_or_default().to_owned();
            return Cause::MissingKey { kind, name, key: key.trim().to_owned() };
        }
    }
    // configmap "web" not found; secret "db" not found
    for word in ["configmap", "secret"] {
        if let Some((_, rest)) = message.split_once(&format!("{word} \""))
            && let Some((name, rest)) = rest.split_once('"')
            && rest.trim_start().starts_with("not found")
            && let Some(kind) = kind_of(word)
        {
            return Cause::MissingReference { kind, name: name.to_owned() };
        }
    }
    Cause::CannotStart { message: message.to_owned() }
}

fn kind_of(word: &str) -> Option<&'static str> {
    match word.to_lowercase().as_str() {
        "configmap" => Some("ConfigMap"),
        "secret" => Some("Secret"),
        _ => None,
    }
}

fn of_start(image: &str, message: &str) -> Cause {
    if message.contains("exec format error") {
        return Cause::WrongArchitecture { image: image.to_owned() };
    }
    Cause::CannotStart { message: message.to_owned() }
}

/// What keeps the kubelet from creating the pod's containers.
fn of_creation(events: &[&Event]) -> Option<Cause> {
    let last = events.iter().rev().find(|e| {
        matches!(e.reason.as_deref(), Some("FailedMount" | "FailedAttachVolume" | "FailedCreatePodSandBox"))
    })?;
    let message = last.message.clone().unwrap_or_default();
    if last.reason.as_deref() == Some("FailedCreatePodSandBox") {
        return Some(Cause::SandboxFailed { message });
    }
    Some(match of_reference(&message) {
        Cause::CannotStart { message } => Cause::VolumeFailed { message },
        missing => missing,
    })
}

fn shortage(message: &str) -> Shortage {
    let text = message.to_lowercase();
    let has = |needle: &str| text.contains(needle);
    // What no growing cluster would mend comes first.
    if has("persistentvolumeclaim") || has("persistent volume") {
        Shortage::Claim
    } else if has("insufficient cpu") {
        Shortage::Cpu
    } else if has("insufficient memory") {
        Shortage::Memory
    } else if has("too many pods") {
        Shortage::Pods
    } else if has("affinity") || has("selector") {
        Shortage::Selector
    } else if has("taint") {
        Shortage::Taint
    } else {
        Shortage::Other
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use serde_json::json;

    /// A pod worker's pause after a failure: `workerBackOffPeriod` of the kubelet, with its jitter.
    const KUBELET_RETRIES: Duration = Duration::from_secs(15);

    fn pod(status: serde_json::Value) -> Pod {
        serde_json::from_value(json!({
            "metadata": {"name": "api-1"},
            "spec": {"containers": [{
                "name": "api", "image": "r/api:1", "resources": {"limits": {"memory": "64Mi"}}
            }]},
            "status": status,
        }))
        .unwrap()
    }

    fn waiting(reason: &str, message: &str) -> Pod {
        pod(json!({"containerStatuses": [{
            "name": "api", "image": "", "imageID": "", "ready": false, "restartCount": 0,
            "state": {"waiting": {"reason": reason, "message": message}}
        }]}))
    }

    fn event(reason: &str, message: &str) -> Event {
        serde_json::from_value(json!({
            "metadata": {}, "reason": reason, "message": message,
            "involvedObject": {"fieldPath": "spec.containers{api}"},
        }))
        .unwrap()
    }

    fn cause(pod: &Pod, events: &[&Event]) -> Option<Cause> {
        troubles(pod, events, Timestamp::UNIX_EPOCH).into_iter().next().map(|trouble| trouble.cause)
    }

    #[test]
    fn pulls_that_fail_are_told_apart() {
        let image = || "r/api:1".to_owned();
        let back_off = waiting("ImagePullBackOff", "Back-off pulling image \"r/api:1\"");
        let cases = [
            ("failed to resolve reference: r/api:1: not found", Cause::ImageNotFound { image: image() }),
            (
                "no match for platform in manifest sha256:1: not found",
                Cause::WrongArchitecture { image: image() },
            ),
            (
                "pull access denied, 401 Unauthorized",
                Cause::ImageDenied { image: image(), missing_secret: None },
            ),
        ];
        for (text, expected) in cases {
            let said = event("Failed", &format!("Failed to pull image \"r/api:1\": {text}"));
            assert_eq!(cause(&back_off, &[&said]), Some(expected), "{text}");
        }
        let (named, port) = ("h:5401/unauthorized/x:1", "https://h:5401/v2/y: 404 Not Found");
        let said = event("Failed", &format!("Failed to pull image \"{named}\": {named}: {port}"));
        let mut odd = waiting("ImagePullBackOff", "Back-off");
        let statuses = odd.status.as_mut().unwrap().container_statuses.as_mut().unwrap();
        statuses[0].image = named.to_owned();
        odd.spec.as_mut().unwrap().containers[0].image = Some(named.to_owned());
        assert_eq!(cause(&odd, &[&said]), Some(Cause::ImageNotFound { image: named.to_owned() }));

        let denied = event("Failed", "Failed to pull image \"r/api:1\": 403 Forbidden");
        let missing = event(
            "FailedToRetrieveImagePullSecret",
            "Unable to retrieve some image pull secrets (regcred); attempting to pull the image may not succeed.",
        );
        let expected = Cause::ImageDenied { image: image(), missing_secret: Some("regcred".into()) };
        assert_eq!(cause(&back_off, &[&missing, &denied]), Some(expected));
    }

    #[test]
    fn references_are_read_from_the_kubelets_words() {
        let missing = |kind, name: &str| Some(Cause::MissingReference { kind, name: name.into() });
        let key = |kind, name: &str, key: &str| {
            Some(Cause::MissingKey { kind, name: name.into(), key: key.into() })
        };
        for (text, expected) in [
            ("configmap \"web\" not found", missing("ConfigMap", "web")),
            ("secret \"db\" not found", missing("Secret", "db")),
            ("couldn't find key port in ConfigMap album-aki/web", key("ConfigMap", "web", "port")),
            ("couldn't find key password in Secret album-aki/db", key("Secret", "db", "password")),
        ] {
            assert_eq!(cause(&waiting("CreateContainerConfigError", text), &[]), expected, "{text}");
        }
        let creating = waiting("ContainerCreating", "");
        let mount =
            event("FailedMount", "MountVolume.SetUp failed for volume \"v\" : secret \"tls\" not found");
        assert_eq!(cause(&creating, &[&mount]), missing("Secret", "tls"));
        assert_eq!(cause(&creating, &[]), None);
    }

    #[test]
    fn what_a_node_has_not_heard_of_yet_may_heal() {
        let heals = |found: Option<Cause>, expected: Cause| {
            assert_eq!(found.as_ref(), Some(&expected));
            assert!(expected.grace(Duration::ZERO) > KUBELET_RETRIES);
        };
        for text in [
            "failed to sync secret cache: timed out waiting for the condition",
            "services have not yet been read at least once, cannot construct envvars",
            "secrets \"db\" is forbidden: no relationship found between node 'node-1' and this object",
        ] {
            let late = waiting("CreateContainerConfigError", text);
            heals(cause(&late, &[]), Cause::SandboxFailed { message: text.into() });
        }
        let text = "Unable to attach or mount volumes: persistentvolumeclaims \"data\" is forbidden: \
                    no relationship found between node 'node-1' and this object";
        let mount = event("FailedMount", text);
        heals(
            cause(&waiting("ContainerCreating", ""), &[&mount]),
            Cause::VolumeFailed { message: text.into() },
        );
        let text = "container has runAsNonRoot and image will run as root";
        let never = waiting("CreateContainerConfigError", text);
        assert_eq!(cause(&never, &[]), Some(Cause::CannotStart { message: text.into() }));
    }

    #[test]
    fn a_first_crash_may_heal() {
        let crashed = |restarts: i32, reason: &str| {
            pod(json!({"containerStatuses": [{
                "name": "api", "image": "", "imageID": "", "ready": false, "restartCount": restarts,
                "state": {"terminated": {"exitCode": 3, "reason": reason}}
            }]}))
        };
        assert_eq!(cause(&crashed(0, "Error"), &[]), None);
        assert_eq!(cause(&crashed(1, "Error"), &[]), None);
        let looping = Cause::CrashLoop { exit_code: 3, times: 3, init: false };
        assert_eq!(cause(&crashed(2, "Error"), &[]), Some(looping));
        let memory = Cause::OutOfMemory { limit: Some("64Mi".into()) };
        assert_eq!(cause(&crashed(1, "OOMKilled"), &[]), Some(memory));
    }

    #[test]
    fn a_probe_that_kills_is_no_crash() {
        let killed = pod(json!({"containerStatuses": [{
            "name": "api", "image": "", "imageID": "", "ready": false, "restartCount": 2,
            "state": {"running": {}}, "lastState": {"terminated": {"exitCode": 137, "reason": "Error"}}
        }]}));
        let unhealthy = event("Unhealthy", "Liveness probe failed: HTTP probe failed with statuscode: 500");
        let killing = event("Killing", "Container api failed liveness probe, will be restarted");
        let expected =
            Cause::ProbeKills { probe: "liveness", message: "HTTP probe failed with statuscode: 500".into() };
        assert_eq!(cause(&killed, &[&unhealthy, &killing]), Some(expected));
        assert_eq!(cause(&killed, &[]), None, "it runs");
    }

    #[test]
    fn what_crashed_long_ago_and_runs_is_past() {
        let status = |reason: &str| {
            json!({"containerStatuses": [{
                "name": "api", "image": "", "imageID": "", "ready": true, "restartCount": 7,
                "state": {reason: {"reason": "CrashLoopBackOff"}},
                "lastState": {"terminated": {"exitCode": 1, "reason": "OOMKilled", "finishedAt": "2026-01-01T00:00:00Z"}}
            }]})
        };
        let since: Timestamp = "2026-06-01T00:00:00Z".parse().unwrap();
        assert_eq!(troubles(&pod(status("running")), &[], since), []);
        assert_eq!(troubles(&pod(status("waiting")), &[], since).len(), 1);
    }

    #[test]
    fn the_schedulers_words_say_what_there_is_too_little_of() {
        for (text, expected) in [
            ("0/1 nodes are available: 1 Insufficient cpu.", Shortage::Cpu),
            ("0/1 nodes are available: 1 Insufficient memory.", Shortage::Memory),
            (
                "0/1 nodes are available: 1 node(s) didn't match Pod's node affinity/selector.",
                Shortage::Selector,
            ),
            ("0/1 nodes are available: 1 node(s) had untolerated taint {a: b}.", Shortage::Taint),
            ("0/1 nodes are available: pod has unbound immediate PersistentVolumeClaims.", Shortage::Claim),
        ] {
            assert_eq!(shortage(text), expected, "{text}");
        }
    }
}
