//! What becomes of the pods of a workload, as it happens.

use std::collections::BTreeMap;
use std::net::IpAddr;

use envctl_model::lifetime::{Change, KILLED, State};
use futures_util::stream::{self, BoxStream};
use futures_util::{StreamExt as _, TryStreamExt as _};
use jiff::Timestamp;
use k8s_openapi::api::core::v1::{ContainerStatus, Pod};
use k8s_openapi::api::discovery::v1::EndpointSlice;
use kube::Api;
use kube::runtime::watcher::{self, Event};

use super::pods::is_of;
use crate::client::ClusterReader;
use crate::error::ClusterError;
use crate::watching::{refusal, watch_all};

/// The label by which an EndpointSlice says whose it is.
/// <https://kubernetes.io/docs/concepts/services-networking/endpoint-slices/#ownership>
const SERVICE: &str = "kubernetes.io/service-name";

/// Who says that a pod is ready.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Readiness {
    /// The pod itself, by its conditions.
    Pod,
    /// The endpoints of this Service: what reaches those who send requests there, and later than the pod says it.
    Endpoints(String),
}

/// What becomes of the pods of a workload (`Deployment/api`), without end. It begins with what those are that there
/// are already.
///
/// # Errors
/// When the cluster refuses to be watched. One that does not answer for a while is waited for.
pub fn changes(
    reader: &ClusterReader,
    namespace: &str,
    workload: &str,
    readiness: Readiness,
) -> BoxStream<'static, Result<Change, ClusterError>> {
    let pods = watch_all::<Pod>(Api::namespaced(reader.streaming(), namespace))
        .map_ok(|event| Seen::Pod(Box::new(event)))
        .boxed();
    let slices: BoxStream<'static, watcher::Result<Seen>> = match &readiness {
        Readiness::Pod => stream::empty().boxed(),
        Readiness::Endpoints(_) => watch_all::<EndpointSlice>(Api::namespaced(reader.streaming(), namespace))
            .map_ok(|event| Seen::Slice(Box::new(event)))
            .boxed(),
    };
    let (reader, mut picture) = (reader.clone(), Picture::new(workload, readiness));
    stream::select(pods, slices)
        .flat_map(move |seen| {
            let changes: Vec<_> = match seen {
                Ok(seen) => picture.take(seen).into_iter().map(Ok).collect(),
                Err(error) => refusal(&reader, error).map(Err).into_iter().collect(),
            };
            stream::iter(changes)
        })
        .boxed()
}

/// What a watch told.
enum Seen {
    Pod(Box<Event<Pod>>),
    Slice(Box<Event<EndpointSlice>>),
}

/// What is known of the pods, and what was told of them.
struct Picture {
    workload: String,
    readiness: Readiness,
    /// By name.
    pods: BTreeMap<String, Standing>,
    /// Whether the endpoints of a slice are ready, by slice and pod.
    slices: BTreeMap<String, BTreeMap<String, bool>>,
    /// What has been listed since a watch began anew.
    listed: Option<Vec<String>>,
    listed_slices: Option<Vec<String>>,
}

/// How a pod stands.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
struct Standing {
    uid: String,
    address: Option<IpAddr>,
    /// The ids of its containers, while all of them run.
    process: Option<String>,
    /// The exit code of one that ended.
    code: Option<i64>,
    /// Whether it says that it is ready.
    says_ready: bool,
    /// Whether it is ready, by whom it was asked.
    is_ready: bool,
    ending: bool,
    /// Whether it is being removed without its grace.
    at_once: bool,
}

impl Picture {
    fn new(workload: &str, readiness: Readiness) -> Self {
        Self {
            workload: workload.to_owned(),
            readiness,
            pods: BTreeMap::new(),
            slices: BTreeMap::new(),
            listed: None,
            listed_slices: None,
        }
    }

    fn take(&mut self, seen: Seen) -> Vec<Change> {
        let at = Timestamp::now();
        match seen {
            Seen::Pod(event) => self.pod(*event, at),
            Seen::Slice(event) => self.slice(*event, at),
        }
    }

    fn pod(&mut self, event: Event<Pod>, at: Timestamp) -> Vec<Change> {
        match event {
            Event::Init => {
                self.listed = Some(Vec::new());
                Vec::new()
            }
            Event::InitApply(pod) => {
                let name = pod.metadata.name.clone().unwrap_or_default();
                self.listed.get_or_insert_default().push(name);
                self.apply(&pod, at)
            }
            Event::InitDone => {
                let listed = self.listed.take().unwrap_or_default();
                let gone: Vec<_> = self.pods.keys().filter(|name| !listed.contains(name)).cloned().collect();
                gone.into_iter().flat_map(|name| self.gone(&name, at)).collect()
            }
            Event::Apply(pod) => self.apply(&pod, at),
            Event::Delete(pod) => {
                let mut changes = self.apply(&pod, at);
                changes.extend(self.gone(pod.metadata.name.as_deref().unwrap_or_default(), at));
                changes
            }
        }
    }

    fn apply(&mut self, pod: &Pod, at: Timestamp) -> Vec<Change> {
        if !is_of(pod, &self.workload) {
            return Vec::new();
        }
        let name = pod.metadata.name.clone().unwrap_or_default();
        let mut now = Standing::of(pod);
        now.is_ready = self.is_ready(&name, &now);
        let mut changes = Vec::new();
        // A StatefulSet gives names again.
        if self.pods.get(&name).is_some_and(|before| before.uid != now.uid) {
            changes.extend(self.gone(&name, at));
        }
        let before = self.pods.insert(name.clone(), now.clone()).unwrap_or_default();
        changes.extend(now.since(&before).into_iter().map(|state| change(at, &name, &now, state)));
        changes
    }

    /// A pod that is no more: what ran in it has ended, even if nobody saw it.
    fn gone(&mut self, name: &str, at: Timestamp) -> Vec<Change> {
        let Some(before) = self.pods.remove(name) else { return Vec::new() };
        let end = if before.at_once { State::Killed } else { State::Ended };
        before.process.is_some().then(|| change(at, name, &before, end)).into_iter().collect()
    }

    fn slice(&mut self, event: Event<EndpointSlice>, at: Timestamp) -> Vec<Change> {
        match event {
            Event::Init => self.listed_slices = Some(Vec::new()),
            Event::InitApply(slice) => {
                let name = slice.metadata.name.clone().unwrap_or_default();
                self.listed_slices.get_or_insert_default().push(name);
                self.put(slice);
            }
            Event::InitDone => {
                let listed = self.listed_slices.take().unwrap_or_default();
                self.slices.retain(|name, _| listed.contains(name));
            }
            Event::Apply(slice) => self.put(slice),
            Event::Delete(slice) => {
                drop(self.slices.remove(slice.metadata.name.as_deref().unwrap_or_default()))
            }
        }
        let mut changes = Vec::new();
        for name in self.pods.keys().cloned().collect::<Vec<_>>() {
            let before = self.pods[&name].clone();
            let now = Standing { is_ready: self.is_ready(&name, &before), ..before.clone() };
            changes.extend(now.since(&before).into_iter().map(|state| change(at, &name, &now, state)));
            self.pods.insert(name, now);
        }
        changes
    }

    fn put(&mut self, slice: EndpointSlice) {
        let owner = slice.metadata.labels.as_ref().and_then(|labels| labels.get(SERVICE));
        if !matches!((&self.readiness, owner), (Readiness::Endpoints(service), Some(owner)) if service == owner)
        {
            return;
        }
        let endpoints = slice.endpoints.into_iter().filter_map(|endpoint| {
            // Not said is ready: the API says so.
            let is_ready = endpoint.conditions.and_then(|conditions| conditions.ready).unwrap_or(true);
            Some((endpoint.target_ref?.name?, is_ready))
        });
        self.slices.insert(slice.metadata.name.unwrap_or_default(), endpoints.collect());
    }

    fn is_ready(&self, name: &str, standing: &Standing) -> bool {
        let said = match self.readiness {
            Readiness::Pod => standing.says_ready && !standing.ending,
            Readiness::Endpoints(_) => self.slices.values().any(|slice| slice.get(name) == Some(&true)),
        };
        said && standing.process.is_some()
    }
}

fn change(at: Timestamp, name: &str, standing: &Standing, state: State) -> Change {
    Change { at, instance: name.to_owned(), address: standing.address, state }
}

impl Standing {
    fn of(pod: &Pod) -> Self {
        let status = pod.status.as_ref();
        let containers: Vec<&ContainerStatus> =
            status.iter().flat_map(|s| s.container_statuses.iter().flatten()).collect();
        let running = |c: &&ContainerStatus| c.state.as_ref().is_some_and(|state| state.running.is_some());
        let ids = containers.iter().filter_map(|c| c.container_id.as_deref());
        let all_run = !containers.is_empty() && containers.iter().all(running);
        let conditions = status.iter().flat_map(|s| s.conditions.iter().flatten());
        let mut conditions = conditions.filter(|condition| condition.type_ == "Ready");
        Self {
            uid: pod.metadata.uid.clone().unwrap_or_default(),
            address: status.and_then(|status| status.pod_ip.as_ref()?.parse().ok()),
            process: all_run.then(|| ids.collect::<Vec<_>>().join(" ")),
            code: code(&containers),
            says_ready: conditions.any(|condition| condition.status == "True"),
            is_ready: false,
            ending: pod.metadata.deletion_timestamp.is_some(),
            at_once: pod.metadata.deletion_grace_period_seconds == Some(0),
        }
    }

    /// What became of it, in the order in which it happens.
    fn since(&self, before: &Self) -> Vec<State> {
        let mut states = Vec::new();
        let is_same = self.process == before.process;
        let ended = !is_same && before.process.is_some();
        let asked = self.ending && !before.ending;
        if asked && before.process.is_some() {
            states.push(State::Ending);
        }
        if ended {
            // A container that was started again keeps the code of the one before.
            states.push(State::of_exit(self.code.unwrap_or_default()));
        }
        if !is_same && self.process.is_some() {
            states.push(State::Started);
        }
        if asked && before.process.is_none() && self.process.is_some() {
            states.push(State::Ending);
        }
        let was_ready = before.is_ready && is_same;
        if self.is_ready && !was_ready {
            states.push(State::Ready);
        }
        if was_ready && !self.is_ready && !self.ending {
            states.push(State::Unready);
        }
        states
    }
}

/// The exit code of a container that ended, of one that was killed before others.
fn code(containers: &[&ContainerStatus]) -> Option<i64> {
    let ended = containers.iter().filter_map(|container| {
        let now = container.state.as_ref().and_then(|state| state.terminated.as_ref());
        let before = container.last_state.as_ref().and_then(|state| state.terminated.as_ref());
        Some(i64::from(now.or(before)?.exit_code))
    });
    ended.max_by_key(|code| *code == KILLED)
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    const NAME: &str = "api-7d9f-x2";

    fn pod(process: &Value, more: &Value) -> Pod {
        let mut pod = json!({
            "metadata": {"name": NAME, "uid": "u", "labels": {"pod-template-hash": "7d9f"}, "ownerReferences": [
                {"apiVersion": "apps/v1", "kind": "ReplicaSet", "name": "api-7d9f", "uid": "r", "controller": true}]},
            "status": {"podIP": "10.244.0.9", "containerStatuses": [
                {"name": "api", "containerID": "c1", "ready": true, "restartCount": 0, "image": "", "imageID": ""}]},
        });
        let status = pod["status"]["containerStatuses"][0].as_object_mut().unwrap();
        status.extend(process.as_object().unwrap().clone());
        pod["metadata"].as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        serde_json::from_value(pod).unwrap()
    }

    fn runs() -> Value {
        json!({"state": {"running": {}}})
    }

    fn slice(ready: bool) -> Seen {
        let slice = Event::Apply(
            serde_json::from_value(json!({
                "metadata": {"name": "api-1", "labels": {SERVICE: "api"}}, "addressType": "IPv4",
                "endpoints": [{"addresses": ["10.244.0.9"], "conditions": {"ready": ready},
                    "targetRef": {"kind": "Pod", "name": NAME}}]}))
            .unwrap(),
        );
        Seen::Slice(Box::new(slice))
    }

    fn of_pod(event: Event<Pod>) -> Seen {
        Seen::Pod(Box::new(event))
    }

    fn picture(readiness: Readiness) -> Picture {
        Picture::new("Deployment/api", readiness)
    }

    fn states(changes: &[Change]) -> Vec<State> {
        assert!(changes.iter().all(|change| change.instance == NAME));
        changes.iter().map(|change| change.state).collect()
    }

    #[test]
    fn a_pod_is_ready_when_its_endpoint_is_and_ends_as_it_was_asked_to() {
        let mut picture = picture(Readiness::Endpoints("api".to_owned()));
        let mut see = |event| states(&picture.take(event));
        assert_eq!(see(of_pod(Event::Apply(pod(&json!({"state": {"waiting": {}}}), &json!({}))))), []);
        assert_eq!(see(of_pod(Event::Apply(pod(&runs(), &json!({}))))), [State::Started]);
        assert_eq!(see(slice(true)), [State::Ready]);
        assert_eq!(see(slice(true)), []);
        assert_eq!(see(slice(false)), [State::Unready]);
        assert_eq!(see(slice(true)), [State::Ready]);
        let deleted = json!({"deletionTimestamp": "2026-01-01T10:00:00Z", "deletionGracePeriodSeconds": 30});
        assert_eq!(see(of_pod(Event::Apply(pod(&runs(), &deleted)))), [State::Ending]);
        assert_eq!(see(slice(false)), [], "that is what ending means");
        let over = json!({"state": {"terminated": {"exitCode": 0}}});
        assert_eq!(see(of_pod(Event::Apply(pod(&over, &deleted)))), [State::Ended]);
        assert_eq!(see(of_pod(Event::Delete(pod(&over, &deleted)))), []);
    }

    #[test]
    fn one_that_was_killed_is_told_from_one_that_ended() {
        let ends = |code: i64| {
            let mut picture = picture(Readiness::Pod);
            picture.take(of_pod(Event::Apply(pod(&runs(), &json!({})))));
            let again = json!({"containerID": "c2", "restartCount": 1, "state": {"running": {}},
                "lastState": {"terminated": {"exitCode": code}}});
            states(&picture.take(of_pod(Event::Apply(pod(&again, &json!({}))))))
        };
        assert_eq!(ends(137), [State::Killed, State::Started]);
        assert_eq!(ends(1), [State::Ended, State::Started]);
    }

    #[test]
    fn a_pod_that_vanishes_has_ended_by_the_grace_it_was_given() {
        let vanishes = |grace: i64| {
            let mut picture = picture(Readiness::Pod);
            picture.take(of_pod(Event::Apply(pod(&runs(), &json!({})))));
            let deleted =
                json!({"deletionTimestamp": "2026-01-01T10:00:00Z", "deletionGracePeriodSeconds": grace});
            states(&picture.take(of_pod(Event::Delete(pod(&runs(), &deleted)))))
        };
        assert_eq!(vanishes(0), [State::Ending, State::Killed]);
        assert_eq!(vanishes(30), [State::Ending, State::Ended]);
    }

    #[test]
    fn what_was_missed_while_the_watch_was_broken_is_told_afterwards() {
        let mut picture = picture(Readiness::Pod);
        picture.take(of_pod(Event::Apply(pod(&runs(), &json!({})))));
        picture.take(of_pod(Event::Init));
        assert_eq!(states(&picture.take(of_pod(Event::InitApply(pod(&runs(), &json!({})))))), []);
        assert_eq!(states(&picture.take(of_pod(Event::InitDone))), []);
        picture.take(of_pod(Event::Init));
        assert_eq!(states(&picture.take(of_pod(Event::InitDone))), [State::Ended]);
    }

    #[test]
    fn pods_of_others_are_none_of_it() {
        let mut other = Picture::new("Deployment/web", Readiness::Pod);
        assert!(other.take(of_pod(Event::Apply(pod(&runs(), &json!({}))))).is_empty());
    }
}
