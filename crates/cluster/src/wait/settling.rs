//! How long something has to stay ready before that is believed. A container without a readiness probe
//! counts as ready the moment it runs, also one that crashes a second later. Pure.

use std::time::{Duration, Instant};

use k8s_openapi::api::core::v1::{Container, Pod, Probe};

use super::snapshot::Snapshot;

/// For a container that nothing probes.
const UNPROBED: Duration = Duration::from_secs(1);
/// For one that has crashed already: longer than the kubelet waits before it starts it again.
const CRASHED: Duration = Duration::from_secs(12);
/// A liveness probe is given this long at most to kill.
const LIVENESS_MOST: Duration = Duration::from_secs(10);
/// Running a probe and killing a container take a while, too.
const KILLING: Duration = Duration::from_secs(3);

/// The picture that has to stay.
#[derive(Debug, Default)]
pub(super) struct Settling {
    since: Option<(Picture, Instant)>,
}

/// Pods, their containers and how often these were restarted.
type Picture = Vec<(String, String, i32)>;

impl Settling {
    /// When readiness may be believed, if all is `settled` now: the picture of what nobody probes has to
    /// stay as it is until then.
    pub(super) fn until(&mut self, snapshot: &Snapshot, settled: bool, now: Instant) -> Option<Instant> {
        if !settled {
            self.since = None;
            return None;
        }
        let ended = |pod: &Pod| {
            let phase = pod.status.as_ref().and_then(|s| s.phase.as_deref());
            matches!(phase, Some("Succeeded" | "Failed")) || pod.metadata.deletion_timestamp.is_some()
        };
        let pods = snapshot.pods.values().filter(|pod| !ended(pod));
        // Controllers learn later than we do that a container has ended.
        if pods.clone().any(is_down) {
            self.since = None;
            return None;
        }
        let mut picture = Picture::new();
        let mut longest = Duration::ZERO;
        for (pod, container, restarts) in pods.flat_map(unprobed) {
            longest = longest.max(patience(container, restarts));
            picture.push((pod.to_owned(), container.name.clone(), restarts));
        }
        match &self.since {
            Some((before, since)) if *before == picture => Some(*since + longest),
            _ => {
                self.since = Some((picture, now));
                Some(now + longest)
            }
        }
    }
}

/// Whether a container of a pod does not run.
fn is_down(pod: &Pod) -> bool {
    let mut statuses = pod.status.iter().flat_map(|s| s.container_statuses.iter().flatten());
    statuses.any(|s| s.state.as_ref().is_some_and(|state| state.running.is_none()))
}

/// Containers of a pod that go on running and that no readiness probe speaks for.
fn unprobed(pod: &Pod) -> impl Iterator<Item = (&str, &Container, i32)> {
    let name = pod.metadata.name.as_deref().unwrap_or_default();
    let statuses = pod.status.iter().flat_map(|s| s.container_statuses.iter().flatten());
    let running: Vec<_> = statuses
        .filter(|s| s.state.as_ref().is_some_and(|state| state.running.is_some()))
        .map(|s| (s.name.as_str(), s.restart_count))
        .collect();
    let containers = pod.spec.iter().flat_map(|s| &s.containers).filter(|c| c.readiness_probe.is_none());
    containers.filter_map(move |container| {
        let (_, restarts) = running.iter().find(|(running, _)| *running == container.name)?;
        Some((name, container, *restarts))
    })
}

fn patience(container: &Container, restarts: i32) -> Duration {
    if restarts > 0 {
        return CRASHED;
    }
    let kills = |probe: &Probe| {
        let seconds = probe.initial_delay_seconds.unwrap_or(0)
            + probe.period_seconds.unwrap_or(10) * (probe.failure_threshold.unwrap_or(3) + 1);
        (Duration::from_secs(u64::try_from(seconds).unwrap_or(0)) + KILLING).min(LIVENESS_MOST)
    };
    container.liveness_probe.as_ref().map_or(UNPROBED, |probe| kills(probe).max(UNPROBED))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn snapshot(restarts: i32, probe: &str) -> Snapshot {
        let pod: Pod = serde_json::from_value(json!({
            "metadata": {"name": "web-1"},
            "spec": {"containers": [{"name": "web", probe: {"periodSeconds": 1, "failureThreshold": 1}}]},
            "status": {"containerStatuses": [{
                "name": "web", "image": "", "imageID": "", "ready": true, "restartCount": restarts, "state": {"running": {}}
            }]}
        }))
        .unwrap();
        let mut snapshot = Snapshot::default();
        snapshot.pods.insert("web-1".into(), pod);
        snapshot
    }

    #[test]
    fn what_is_probed_is_believed_at_once_and_what_crashed_after_a_while() {
        let now = Instant::now();
        let until = |snapshot: &Snapshot| Settling::default().until(snapshot, true, now).unwrap() - now;
        assert_eq!(until(&snapshot(0, "readinessProbe")), Duration::ZERO);
        assert_eq!(until(&snapshot(0, "startupProbe")), UNPROBED);
        assert_eq!(until(&snapshot(0, "livenessProbe")), Duration::from_secs(5));
        assert_eq!(until(&snapshot(1, "startupProbe")), CRASHED);
        let mut settling = Settling::default();
        settling.until(&snapshot(0, "startupProbe"), true, now);
        let later = now + Duration::from_millis(900);
        assert_eq!(settling.until(&snapshot(0, "startupProbe"), true, later), Some(now + UNPROBED));
        assert_eq!(settling.until(&snapshot(1, "startupProbe"), true, later), Some(later + CRASHED));
        assert_eq!(settling.until(&snapshot(1, "startupProbe"), false, later), None);
    }
}
