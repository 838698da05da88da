//! Where the workloads of a release stand. Pure.

use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;
use k8s_openapi::api::apps::v1::ReplicaSet;
use k8s_openapi::api::batch::v1::Job;
use k8s_openapi::api::core::v1::{Event, Pod};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use serde::{Deserialize, Serialize};

use super::Waiting;
use super::causes::{Cause, Refuser, Shortage};
use super::pods::{self, Trouble};
use super::snapshot::Snapshot;

/// A workload that a release has.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Wanted {
    /// `Deployment`, `StatefulSet`, `DaemonSet`, `Job`, `Pod`.
    pub kind: String,
    /// Its name.
    pub name: String,
    /// The Helm hook it is, such as `pre-install,pre-upgrade`.
    pub hook: Option<String>,
}

impl Wanted {
    /// A workload by kind and name, such as `Deployment/api`.
    #[must_use]
    pub fn named(label: &str) -> Option<Self> {
        let (kind, name) = label.split_once('/')?;
        Some(Self { kind: kind.to_owned(), name: name.to_owned(), hook: None })
    }

    /// The workloads among rendered objects that are waited for. Hooks that only other operations run
    /// are not among them.
    #[must_use]
    pub fn of(objects: &[serde_json::Value]) -> Vec<Self> {
        objects
            .iter()
            .filter_map(|object| {
                let kind = object["kind"].as_str()?;
                if !["Deployment", "StatefulSet", "DaemonSet", "Job", "Pod"].contains(&kind) {
                    return None;
                }
                let hook = object["metadata"]["annotations"]["helm.sh/hook"].as_str().map(str::to_owned);
                let runs = hook.as_deref().is_none_or(|hook| {
                    hook.split(',')
                        .map(str::trim)
                        .any(|h| matches!(h, "pre-install" | "post-install" | "pre-upgrade" | "post-upgrade"))
                });
                let name = object["metadata"]["name"].as_str()?.to_owned();
                runs.then_some(Self { kind: kind.to_owned(), name, hook })
            })
            .collect()
    }
}

impl std::fmt::Display for Wanted {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}/{}", self.kind, self.name)
    }
}

/// Where a workload stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum State {
    /// What the newest generation asks for is there and ready.
    Ready,
    /// It ran to its end, well.
    Completed,
    /// Not yet; how far, in words.
    Waiting(String),
}

impl State {
    /// Whether nothing more is awaited.
    #[must_use]
    pub fn is_settled(&self) -> bool {
        !matches!(self, Self::Waiting(_))
    }
}

/// A workload, where it stands, and what is wrong with it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Standing {
    /// `Deployment/api`.
    pub workload: String,
    /// Where it stands.
    pub state: State,
    /// What is wrong, and may be a failure.
    pub failing: Vec<Failing>,
    /// What is not as it should be yet, and may well become so.
    pub hints: Vec<Failing>,
}

/// Something that is wrong with a workload.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Failing {
    /// What it is wrong with: `Pod/api-1`, `ReplicaSet/api-7f`.
    pub object: String,
    /// The workload: `Deployment/api`.
    pub workload: String,
    /// The container.
    pub container: Option<String>,
    /// What.
    pub cause: Cause,
    /// What follows from it for others.
    pub note: Option<String>,
    /// The pod was there before this delivery began, and may be about to be replaced.
    pub from_before: bool,
}

struct Judge<'a> {
    snapshot: &'a Snapshot,
    events: BTreeMap<&'a str, Vec<&'a Event>>,
    since: Timestamp,
    delivered: bool,
    hook_runs: bool,
}

/// Judges all workloads, and the Services that Ingresses lead to.
pub(super) fn judge(snapshot: &Snapshot, waiting: &Waiting<'_>, delivered: bool) -> Vec<Standing> {
    let hooks = waiting.wanted.iter().filter(|w| w.hook.is_some() && w.kind == "Job");
    let hook_runs = hooks.filter_map(|w| snapshot.jobs.get(&w.name)).any(|job| finished(job).is_none());
    let judge =
        Judge { snapshot, events: events_by_object(snapshot), since: waiting.since, delivered, hook_runs };
    let mut standings: Vec<_> = waiting.wanted.iter().map(|wanted| judge.workload(wanted)).collect();
    if delivered && standings.iter().all(|standing| standing.state.is_settled()) {
        standings.extend(judge.services());
    }
    standings
}

fn events_by_object(snapshot: &Snapshot) -> BTreeMap<&str, Vec<&Event>> {
    let mut by: BTreeMap<&str, Vec<&Event>> = BTreeMap::new();
    for event in snapshot.events.values() {
        if let Some(uid) = event.involved_object.uid.as_deref() {
            by.entry(uid).or_default().push(event);
        }
    }
    for events in by.values_mut() {
        events.sort_by_key(|event| when(event));
    }
    by
}

/// When an event happened last.
pub(super) fn when(event: &Event) -> i128 {
    let last = event.last_timestamp.as_ref().map(|t| t.0.as_nanosecond());
    let series =
        event.series.as_ref().and_then(|s| s.last_observed_time.as_ref()).map(|t| t.0.as_nanosecond());
    let at = event.event_time.as_ref().map(|t| t.0.as_nanosecond());
    let made = event.metadata.creation_timestamp.as_ref().map(|t| t.0.as_nanosecond());
    last.into_iter().chain(series).chain(at).chain(made).max().unwrap_or_default()
}

impl<'a> Judge<'a> {
    fn events(&self, meta: &ObjectMeta) -> &[&'a Event] {
        meta.uid.as_deref().and_then(|uid| self.events.get(uid)).map_or(&[], Vec::as_slice)
    }

    fn workload(&self, wanted: &Wanted) -> Standing {
        match wanted.kind.as_str() {
            "Deployment" => self.deployment(wanted),
            "StatefulSet" => self.stateful_set(wanted),
            "DaemonSet" => self.daemon_set(wanted),
            "Job" => self.job(wanted),
            _ => self.pod(wanted),
        }
    }

    fn deployment(&self, wanted: &Wanted) -> Standing {
        let Some(live) = self.snapshot.deployments.get(&wanted.name) else { return missing(wanted) };
        let status = live.status.clone().unwrap_or_default();
        let replicas = live.spec.as_ref().and_then(|s| s.replicas).unwrap_or(1);
        let observed = status.observed_generation >= live.metadata.generation;
        let (updated, available) =
            (status.updated_replicas.unwrap_or(0), status.available_replicas.unwrap_or(0));
        let ready = observed
            && updated >= replicas
            && available >= replicas
            && status.replicas.unwrap_or(0) == updated;
        let set = self.newest_set(&live.metadata);
        let mut standing = Standing {
            workload: wanted.to_string(),
            state: state(ready, format!("{available} of {replicas} ready")),
            failing: Vec::new(),
            hints: Vec::new(),
        };
        if let Some(set) = set {
            self.refusals(&mut standing, "ReplicaSet", &set.metadata);
            self.pods(&mut standing, |pod| owned_by(pod, &set.metadata));
        }
        let stuck = status.conditions.iter().flatten().find(|c| {
            c.type_ == "Progressing"
                && c.status == "False"
                && c.reason.as_deref() == Some("ProgressDeadlineExceeded")
        });
        if let Some(stuck) = stuck.filter(|_| observed && standing.failing.is_empty() && !ready) {
            let message = stuck.message.clone().unwrap_or_default();
            // What its pods lack says more.
            let known = standing.hints.first().cloned();
            standing.failing.push(known.unwrap_or_else(|| Failing {
                object: wanted.to_string(),
                workload: wanted.to_string(),
                container: None,
                cause: Cause::NoProgress { message },
                note: None,
                from_before: !self.delivered,
            }));
        }
        settle(standing)
    }

    fn newest_set(&self, owner: &ObjectMeta) -> Option<&'a ReplicaSet> {
        let revision = |set: &ReplicaSet| -> i64 {
            let annotations = set.metadata.annotations.as_ref();
            let text = annotations.and_then(|a| a.get("deployment.kubernetes.io/revision"));
            text.and_then(|t| t.parse().ok()).unwrap_or_default()
        };
        let sets = self.snapshot.replica_sets.values().filter(|set| owns(owner, &set.metadata));
        sets.max_by_key(|set| revision(set))
    }

    fn stateful_set(&self, wanted: &Wanted) -> Standing {
        let Some(live) = self.snapshot.stateful_sets.get(&wanted.name) else { return missing(wanted) };
        let status = live.status.clone().unwrap_or_default();
        let spec = live.spec.clone().unwrap_or_default();
        let replicas = spec.replicas.unwrap_or(1);
        let partition =
            spec.update_strategy.and_then(|s| s.rolling_update).and_then(|r| r.partition).unwrap_or(0);
        let observed = status.observed_generation >= live.metadata.generation;
        let ready_replicas = status.ready_replicas.unwrap_or(0);
        let updated = status.update_revision == status.current_revision
            || status.updated_replicas.unwrap_or(0) >= replicas - partition;
        let ready = observed && updated && ready_replicas >= replicas;
        let mut standing = Standing {
            workload: wanted.to_string(),
            state: state(ready, format!("{ready_replicas} of {replicas} ready")),
            failing: Vec::new(),
            hints: Vec::new(),
        };
        self.refusals(&mut standing, "StatefulSet", &live.metadata);
        self.pods(&mut standing, |pod| owned_by(pod, &live.metadata));
        let made = status.replicas;
        if spec.pod_management_policy.as_deref() != Some("Parallel") && made < replicas {
            for failing in &mut standing.failing {
                failing.note = Some(format!("its other {} pods wait for this one", replicas - made));
            }
        }
        settle(standing)
    }

    fn daemon_set(&self, wanted: &Wanted) -> Standing {
        let Some(live) = self.snapshot.daemon_sets.get(&wanted.name) else { return missing(wanted) };
        let status = live.status.clone().unwrap_or_default();
        let wanted_pods = status.desired_number_scheduled;
        let ready = status.observed_generation >= live.metadata.generation
            && status.updated_number_scheduled.unwrap_or(0) >= wanted_pods
            && status.number_ready >= wanted_pods;
        let mut standing = Standing {
            workload: wanted.to_string(),
            state: state(ready, format!("{} of {wanted_pods} ready", status.number_ready)),
            failing: Vec::new(),
            hints: Vec::new(),
        };
        self.refusals(&mut standing, "DaemonSet", &live.metadata);
        self.pods(&mut standing, |pod| owned_by(pod, &live.metadata));
        settle(standing)
    }

    fn job(&self, wanted: &Wanted) -> Standing {
        let Some(live) = self.snapshot.jobs.get(&wanted.name) else {
            // A hook that ended well may be removed at once: Helm ends only after it.
            if self.delivered && wanted.hook.is_some() {
                return Standing {
                    workload: wanted.to_string(),
                    state: State::Completed,
                    failing: Vec::new(),
                    hints: Vec::new(),
                };
            }
            return missing(wanted);
        };
        let old = is_older(&live.metadata, self.since);
        let mut standing = Standing {
            workload: wanted.to_string(),
            state: State::Waiting("running".to_owned()),
            failing: Vec::new(),
            hints: Vec::new(),
        };
        match finished(live) {
            // The Job of the last delivery: Helm removes it before it makes the next one.
            _ if old && wanted.hook.is_some() && !self.delivered => {
                standing.state = State::Waiting("not started yet".to_owned());
                return standing;
            }
            Some(Finished::Well) => {
                standing.state = State::Completed;
                return standing;
            }
            Some(Finished::Badly(reason)) => {
                let cause = if reason == "DeadlineExceeded" {
                    let deadline = live.spec.as_ref().and_then(|s| s.active_deadline_seconds);
                    Cause::JobDeadline { deadline }
                } else {
                    Cause::JobFailed { exit_code: self.exit_code(&live.metadata), hook: hook_word(wanted) }
                };
                standing.failing.push(Failing {
                    object: wanted.to_string(),
                    workload: wanted.to_string(),
                    container: None,
                    cause,
                    note: None,
                    from_before: old && !self.delivered,
                });
                return standing;
            }
            None => {}
        }
        if live.spec.as_ref().and_then(|s| s.suspend) == Some(true) {
            standing.state = State::Completed;
            return standing;
        }
        self.refusals(&mut standing, "Job", &live.metadata);
        self.pods(&mut standing, |pod| owned_by(pod, &live.metadata));
        standing
    }

    /// The exit code of the container that ended last among a Job's pods.
    fn exit_code(&self, owner: &ObjectMeta) -> Option<i32> {
        let pods = self.snapshot.pods.values().filter(|pod| owned_by(pod, owner));
        let newest =
            pods.max_by_key(|pod| pod.metadata.creation_timestamp.as_ref().map(|t| t.0.as_nanosecond()))?;
        let statuses = newest.status.as_ref()?;
        let all = statuses
            .init_container_statuses
            .iter()
            .flatten()
            .chain(statuses.container_statuses.iter().flatten());
        all.filter_map(|c| c.state.as_ref()?.terminated.as_ref()).map(|t| t.exit_code).find(|code| *code != 0)
    }

    fn pod(&self, wanted: &Wanted) -> Standing {
        let Some(live) = self.snapshot.pods.get(&wanted.name) else { return missing(wanted) };
        let phase = live.status.as_ref().and_then(|s| s.phase.as_deref()).unwrap_or_default();
        let mut standing = Standing {
            workload: wanted.to_string(),
            state: match phase {
                "Succeeded" => State::Completed,
                _ => state(is_ready(live), phase.to_lowercase()),
            },
            failing: Vec::new(),
            hints: Vec::new(),
        };
        let uid = live.metadata.uid.clone();
        self.pods(&mut standing, |pod| pod.metadata.uid == uid);
        settle(standing)
    }

    fn pods(&self, standing: &mut Standing, mine: impl Fn(&Pod) -> bool) {
        for pod in self.snapshot.pods.values().filter(|pod| mine(pod)) {
            // What is being removed is no longer this workload's.
            if pod.metadata.deletion_timestamp.is_some() {
                continue;
            }
            let from_before = !self.delivered && is_older(&pod.metadata, self.since);
            // Hooks come before Helm replaces anything: what was broken may stay so for as long.
            if from_before && self.hook_runs && !standing.workload.starts_with("Job/") {
                continue;
            }
            let events = self.events(&pod.metadata);
            let failing = |Trouble { container, cause }| Failing {
                object: format!("Pod/{}", pod.metadata.name.as_deref().unwrap_or_default()),
                workload: standing.workload.clone(),
                container,
                cause: self.look_closer(pod, cause),
                note: None,
                from_before,
            };
            let found: Vec<_> = pods::troubles(pod, events, self.since).into_iter().map(failing).collect();
            let hints: Vec<_> = pods::not_ready(pod, events).into_iter().map(failing).collect();
            standing.failing.extend(found);
            standing.hints.extend(hints);
        }
    }

    /// A pod that waits for a claim: the claim's own events say why.
    fn look_closer(&self, pod: &Pod, cause: Cause) -> Cause {
        let Cause::Unschedulable { shortage: Shortage::Claim, message } = &cause else { return cause };
        let volumes = pod.spec.iter().flat_map(|s| s.volumes.iter().flatten());
        let claims = volumes.filter_map(|v| Some(&v.persistent_volume_claim.as_ref()?.claim_name));
        for name in claims {
            let Some(claim) = self.snapshot.claims.get(name) else {
                let message = "there is no such claim".to_owned();
                return Cause::ClaimUnbound { claim: name.clone(), message };
            };
            if claim.status.as_ref().and_then(|s| s.phase.as_deref()) == Some("Bound") {
                continue;
            }
            let said = self.events(&claim.metadata).last().and_then(|e| e.message.clone());
            return Cause::ClaimUnbound {
                claim: name.clone(),
                message: said.unwrap_or_else(|| message.clone()),
            };
        }
        cause
    }

    /// Events of a controller that may not make its pods.
    fn refusals(&self, standing: &mut Standing, kind: &str, meta: &ObjectMeta) {
        let events = self.events(meta);
        // A pod that was made since then: it got through.
        let made = events.iter().rev().position(|e| e.reason.as_deref() == Some("SuccessfulCreate"));
        let refused = events.iter().rev().position(|e| e.reason.as_deref() == Some("FailedCreate"));
        let Some(at) = refused.filter(|refused| made.is_none_or(|made| *refused < made)) else { return };
        if standing.state.is_settled() {
            return;
        }
        let event = events[events.len() - 1 - at];
        let message = event.message.clone().unwrap_or_default();
        standing.failing.push(Failing {
            object: format!("{kind}/{}", meta.name.as_deref().unwrap_or_default()),
            workload: standing.workload.clone(),
            container: None,
            cause: Cause::PodsRefused { refuser: refuser(&message), message },
            note: None,
            from_before: !self.delivered && is_older(meta, self.since),
        });
    }

    /// The Services that Ingresses lead to have pods behind them.
    fn services(&self) -> Vec<Standing> {
        let mut led: BTreeMap<&str, &str> = BTreeMap::new();
        for (name, ingress) in &self.snapshot.ingresses {
            let Some(spec) = &ingress.spec else { continue };
            let rules = spec.rules.iter().flatten().filter_map(|rule| rule.http.as_ref());
            let backends = rules.flat_map(|http| http.paths.iter().map(|path| &path.backend));
            for backend in backends.chain(&spec.default_backend) {
                if let Some(service) = &backend.service {
                    led.insert(&service.name, name);
                }
            }
        }
        led.into_iter().filter_map(|(service, ingress)| self.service(service, ingress)).collect()
    }

    fn service(&self, name: &str, ingress: &str) -> Option<Standing> {
        let live = self.snapshot.services.get(name)?;
        let selector = live.spec.as_ref()?.selector.as_ref().filter(|selector| !selector.is_empty())?;
        let slices = self.snapshot.endpoints.values().filter(|slice| {
            slice
                .metadata
                .labels
                .as_ref()
                .and_then(|l| l.get("kubernetes.io/service-name"))
                .is_some_and(|n| n == name)
        });
        let mut endpoints = slices.flat_map(|slice| &slice.endpoints);
        if endpoints.any(|e| e.conditions.as_ref().and_then(|c| c.ready) != Some(false)) {
            return None;
        }
        let words: Vec<_> = selector.iter().map(|(key, value)| format!("{key}={value}")).collect();
        let workload = format!("Service/{name}");
        let cause = Cause::NoEndpoints {
            selector: format!("its selector: {}", words.join(", ")),
            ingress: ingress.to_owned(),
        };
        Some(Standing {
            workload: workload.clone(),
            state: State::Waiting("no endpoints".to_owned()),
            failing: vec![Failing {
                object: workload.clone(),
                workload,
                container: None,
                cause,
                note: None,
                from_before: false,
            }],
            hints: Vec::new(),
        })
    }
}

fn missing(wanted: &Wanted) -> Standing {
    Standing {
        workload: wanted.to_string(),
        state: State::Waiting("not created yet".to_owned()),
        failing: Vec::new(),
        hints: Vec::new(),
    }
}

fn state(ready: bool, otherwise: String) -> State {
    if ready { State::Ready } else { State::Waiting(otherwise) }
}

/// A workload that is ready has healed from whatever its events tell, unless it is killed over and over
/// and ready in between.
fn settle(mut standing: Standing) -> Standing {
    if standing.state.is_settled() {
        standing.failing.retain(|failing| failing.cause.is_repeated());
        standing.hints.clear();
    }
    standing
}

fn is_older(meta: &ObjectMeta, since: Timestamp) -> bool {
    // The API server rounds down to seconds.
    meta.creation_timestamp.as_ref().is_some_and(|t| t.0.as_second() < since.as_second())
}

fn owns(owner: &ObjectMeta, meta: &ObjectMeta) -> bool {
    owner.uid.is_some() && meta.owner_references.iter().flatten().any(|o| Some(&o.uid) == owner.uid.as_ref())
}

fn owned_by(pod: &Pod, owner: &ObjectMeta) -> bool {
    owns(owner, &pod.metadata)
}

fn is_ready(pod: &Pod) -> bool {
    let conditions = pod.status.iter().flat_map(|s| s.conditions.iter().flatten());
    conditions.into_iter().any(|c| c.type_ == "Ready" && c.status == "True")
}

enum Finished {
    Well,
    Badly(String),
}

/// Whether a Job has given up.
pub(super) fn has_failed(job: &Job) -> bool {
    matches!(finished(job), Some(Finished::Badly(_)))
}

fn finished(job: &Job) -> Option<Finished> {
    let conditions: BTreeSet<_> = job
        .status
        .iter()
        .flat_map(|s| s.conditions.iter().flatten())
        .filter(|c| c.status == "True")
        .map(|c| (c.type_.as_str(), c.reason.as_deref().unwrap_or_default()))
        .collect();
    let reason =
        |kind: &str| conditions.iter().find(|(k, _)| *k == kind).map(|(_, reason)| (*reason).to_owned());
    if reason("Complete").is_some() {
        return Some(Finished::Well);
    }
    // `FailureTarget` comes as soon as the Job has given up, `Failed` when its pods have ended.
    reason("Failed").or_else(|| reason("FailureTarget")).map(Finished::Badly)
}

/// The first of a hook's events that `up` runs.
fn hook_word(wanted: &Wanted) -> Option<String> {
    wanted.hook.as_deref().map(|hook| hook.split(',').next().unwrap_or(hook).trim().to_owned())
}

fn refuser(message: &str) -> Refuser {
    // admission webhook "policy.example.com" denied the request: ...
    let quoted = |before: &str| -> Option<String> {
        let (_, rest) = message.split_once(before)?;
        Some(rest.split_once('"')?.0.to_owned())
    };
    if message.contains("exceeded quota") || message.contains("failed quota") {
        Refuser::Quota
    } else if message.contains("violates PodSecurity") {
        Refuser::PodSecurity
    } else if let Some(name) = quoted("failed calling webhook \"") {
        Refuser::WebhookAway(name)
    } else if let Some(name) = quoted("admission webhook \"") {
        Refuser::Webhook(name)
    } else if message.contains("error looking up service account") {
        // error looking up service account album-aki/nobody: serviceaccount "nobody" not found
        Refuser::ServiceAccount(quoted("serviceaccount \"").unwrap_or_default())
    } else if message.contains(" usage per ") || message.contains("limit to request ratio") {
        Refuser::LimitRange
    } else {
        Refuser::Api
    }
}

#[cfg(test)]
mod tests {
    use super::super::snapshot::{Change, Object};
    use super::*;

    #[test]
    fn who_refused_is_read_from_the_message() {
        for (text, expected) in [
            (
                "pods \"a-1\" is forbidden: exceeded quota: envctl, requested: cpu=2, used: cpu=1, limited: cpu=2",
                Refuser::Quota,
            ),
            (
                "pods \"a\" is forbidden: violates PodSecurity \"baseline:latest\": privileged (container \"a\" must not set securityContext.privileged=true)",
                Refuser::PodSecurity,
            ),
            (
                "admission webhook \"policy.example.com\" denied the request: no latest tags",
                Refuser::Webhook("policy.example.com".into()),
            ),
            (
                "Internal error occurred: failed calling webhook \"policy.example.com\": failed to call webhook: context deadline exceeded",
                Refuser::WebhookAway("policy.example.com".into()),
            ),
            (
                "pods \"a\" is forbidden: [maximum memory usage per Container is 1Gi, but limit is 2Gi]",
                Refuser::LimitRange,
            ),
            (
                "pods \"a-\" is forbidden: error looking up service account ns/nobody: serviceaccount \"nobody\" not found",
                Refuser::ServiceAccount("nobody".into()),
            ),
        ] {
            assert_eq!(refuser(text), expected, "{text}");
        }
    }

    #[test]
    fn only_hooks_that_up_runs_are_waited_for() {
        let object = |kind: &str, hook: Option<&str>| {
            let annotations = hook.map_or(serde_json::json!({}), |h| serde_json::json!({"helm.sh/hook": h}));
            serde_json::json!({"kind": kind, "metadata": {"name": "x", "annotations": annotations}})
        };
        let objects = [
            object("Deployment", None),
            object("Job", Some("pre-install, pre-upgrade")),
            object("Pod", Some("test")),
            object("Job", Some("pre-delete")),
            object("Service", None),
        ];
        let kinds: Vec<_> = Wanted::of(&objects).into_iter().map(|w| (w.kind, w.hook.is_some())).collect();
        assert_eq!(kinds, [("Deployment".to_owned(), false), ("Job".to_owned(), true)]);
    }

    #[test]
    fn a_hook_that_is_removed_the_moment_it_fails_has_failed() {
        let job: Job = serde_json::from_value(serde_json::json!({
            "metadata": {"name": "migrate", "uid": "1", "creationTimestamp": "2026-11-25T00:00:01Z"},
            "status": {"conditions": [{"type": "Failed", "status": "True", "reason": "BackoffLimitExceeded"}]},
        }))
        .unwrap();
        let pod: Pod = serde_json::from_value(serde_json::json!({
            "metadata": {
                "name": "migrate-x",
                "ownerReferences": [
                    {"apiVersion": "batch/v1", "kind": "Job", "name": "migrate", "uid": "1", "controller": true},
                ],
            },
            "status": {"phase": "Failed", "containerStatuses": [
                {"name": "migrate", "image": "i", "imageID": "", "ready": false, "restartCount": 0,
                 "state": {"terminated": {"exitCode": 7}}},
            ]},
        }))
        .unwrap();
        let mut snapshot = Snapshot::default();
        for object in [Object::Pod(Box::new(pod)), Object::Job(Box::new(job))] {
            snapshot.take(Change::Deleted(object));
        }
        let wanted = [Wanted {
            kind: "Job".to_owned(),
            name: "migrate".to_owned(),
            hook: Some("pre-install".to_owned()),
        }];
        let waiting = Waiting {
            namespace: "album-aki",
            wanted: &wanted,
            since: "2026-11-25T00:00:00Z".parse().unwrap(),
            deadline: std::time::Instant::now(),
            schedule_grace: std::time::Duration::ZERO,
        };
        let failing = judge(&snapshot, &waiting, false).remove(0).failing.remove(0);
        assert_eq!(failing.cause.headline(), "the pre-install hook failed (exit code 7)");
    }
}
