//! Rehearsals of a cutover: machines on Docker, pods on a real Kubernetes, a real HAProxy between them.

mod components;
mod deaths;
mod drafts;
mod mistakes;
mod shared;
mod unfit;

use std::process::Command;
use std::sync::{Condvar, Mutex, PoisonError};

use serde_json::{Map, Value, json};

use crate::support::cluster::{Cluster, IMAGE};
use crate::support::{House, Ran, envctl, have, root};
pub(super) use components::{CRON, SERVER, WORKER, ledger, redeliver};
pub(super) use shared::Shared;

/// How many rehearsals go on at a time: they measure, and wait most of the time.
const PLACES: usize = 3;

static TAKEN: (Mutex<usize>, Condvar) = (Mutex::new(0), Condvar::new());

/// A rehearsal's place among those that go on. It is free again when this is dropped.
pub(super) struct Place(());

/// Waits for a place.
pub(super) fn place() -> Place {
    let (taken, freed) = &TAKEN;
    let taken = taken.lock().unwrap_or_else(PoisonError::into_inner);
    let mut taken = freed.wait_while(taken, |taken| *taken >= PLACES).unwrap_or_else(PoisonError::into_inner);
    *taken += 1;
    Place(())
}

impl Drop for Place {
    fn drop(&mut self) {
        *TAKEN.0.lock().unwrap_or_else(PoisonError::into_inner) -= 1;
        TAKEN.1.notify_one();
    }
}

/// A JSON merge patch, RFC 7386.
fn merge(into: &mut Value, patch: &Value) {
    let Value::Object(patch) = patch else {
        *into = patch.clone();
        return;
    };
    if !into.is_object() {
        *into = Value::Object(Map::new());
    }
    for (key, value) in patch {
        if value.is_null() {
            into.as_object_mut().unwrap().remove(key);
        } else {
            merge(&mut into[key], value);
        }
    }
}

/// A stack with one component, and the rehearsal of its cutover.
pub(super) struct Rehearsal {
    pub(super) house: House,
    _place: Place,
    /// What it is made of: see [`components`].
    pub(super) all: Value,
    /// What both sides share, from the first run on.
    shared: Mutex<Option<Shared>>,
    /// None for a draft.
    cluster: Option<&'static Cluster>,
}

impl Rehearsal {
    /// Of a service.
    pub(super) fn new(cluster: &'static Cluster, what: &str) -> Self {
        Self::of(cluster, what, components::service)
    }

    /// Of a service, with a plan that is quickly gone through.
    pub(super) fn short(cluster: &'static Cluster, what: &str) -> Self {
        let mut rehearsal = Self::new(cluster, what);
        rehearsal.shorten();
        rehearsal
    }

    /// Of an endpoint.
    pub(super) fn endpoint(cluster: &'static Cluster, what: &str) -> Self {
        Self::of(cluster, what, components::endpoint)
    }

    /// Of a worker.
    pub(super) fn worker(cluster: &'static Cluster, what: &str) -> Self {
        Self::of(cluster, what, components::worker)
    }

    /// Of a schedule.
    pub(super) fn schedule(cluster: &'static Cluster, what: &str) -> Self {
        Self::of(cluster, what, components::schedule)
    }

    /// With the new side on the Engine.
    pub(super) fn draft(what: &str, component: fn(&str) -> Value) -> Self {
        let house = House::with_sources(what, &root().join("tests/fixtures/raw"), "raw");
        house.objects(&[]);
        let mut rehearsal = Self::in_house(house, component, None);
        rehearsal.all["plan"]["new"]["target"] = json!("local");
        rehearsal
    }

    fn of(cluster: &'static Cluster, what: &str, component: fn(&str) -> Value) -> Self {
        Self::in_house(House::raw(cluster, what), component, Some(cluster))
    }

    fn in_house(house: House, component: fn(&str) -> Value, cluster: Option<&'static Cluster>) -> Self {
        let place = place();
        // Called like the house: whatever is made for it can be found.
        let all = component(&house.project);
        house.edit("envctl.yaml", |text| {
            let kind = all["component"].as_str().unwrap();
            let components = format!("components: {{{}: {{kind: {kind}, criticality: 3}}}}", house.project);
            text.replace("targets:", &format!("{components}\ntargets:"))
        });
        Self { house, _place: place, all, shared: Mutex::new(None), cluster }
    }

    /// Without what comes after all is moved, without faults, and gone back from once.
    pub(super) fn shorten(&mut self) {
        // A worker's last jobs are moved as it is drained.
        let last: &[&str] =
            if self.all["component"] == "worker" { &["stopOld"] } else { &["drain", "stopOld"] };
        let plan = &mut self.all["plan"];
        let steps = plan["steps"].as_array_mut().unwrap();
        steps.retain(|step| last.iter().all(|word| step.get(word).is_none()));
        plan["rollback"]["drill"] = json!("lastStep");
        plan["faults"] = json!([]);
    }

    /// The chart's objects.
    pub(super) fn objects(&self) -> Vec<Value> {
        let new = &self.all["new"];
        let name = self.house.project.as_str();
        let environment = new["environment"].as_object().unwrap().iter();
        let environment: Vec<_> =
            environment.map(|(key, value)| json!({"name": key, "value": value})).collect();
        let mut container = json!({
            "name": name, "image": IMAGE, "command": new["command"], "env": environment,
            "resources": {"requests": {"cpu": "50m", "memory": "64Mi"}},
        });
        merge(&mut container, new.get("container").unwrap_or(&json!({})));
        let mut pod = json!({"containers": [container]});
        merge(&mut pod, new.get("pod").unwrap_or(&json!({})));
        let mut objects = Vec::new();
        if new["kind"] == "CronJob" {
            let mut spec = json!({"jobTemplate": {"spec": {"backoffLimit": 0, "template": {"spec": pod}}}});
            merge(&mut spec, &new["workload"]);
            // Its name is that of the crontab's entry.
            objects.push(json!({
                "apiVersion": "batch/v1", "kind": "CronJob", "metadata": {"name": "digest"}, "spec": spec
            }));
        } else {
            let template = json!({"metadata": {"labels": {"app": name}}, "spec": pod});
            let mut spec = json!({"selector": {"matchLabels": {"app": name}}, "template": template});
            merge(&mut spec, &new["workload"]);
            objects.push(json!({
                "apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": name}, "spec": spec
            }));
        }
        if let Some(port) = new.get("port") {
            objects.push(json!({
                "apiVersion": "v1", "kind": "Service", "metadata": {"name": name},
                "spec": {"selector": {"app": name}, "ports": [{"port": 80, "targetPort": port}]}
            }));
        }
        objects
    }

    /// `envctl rehearse PLAN ARGUMENTS`, with everything as it is now.
    pub(super) fn command(&self, arguments: &[&str]) -> Command {
        let mut shared = self.shared.lock().unwrap();
        let shared = shared.get_or_insert_with(|| Shared::start(self.cluster, &self.all["shared"]));
        let objects: Vec<_> = self.objects().iter().map(|object| shared.known_to_pods(object)).collect();
        self.house.objects(&objects);
        let directory = self.house.src().join("rehearsal");
        std::fs::create_dir_all(&directory).unwrap();
        for name in ["plan", "old", "mix"].into_iter().filter(|name| self.all.get(name).is_some()) {
            let text = shared.known_here(&self.all[name]).to_string();
            std::fs::write(directory.join(format!("{name}.yaml")), text).unwrap();
        }
        let mut command = self.house.command(envctl());
        command.args(["rehearse", "rehearsal/plan.yaml"]).args(arguments);
        command
    }

    pub(super) fn run(&self, arguments: &[&str]) -> Ran {
        Ran::of(&mut self.command(arguments))
    }

    /// What there is because of it: in the cluster, on the Engine, in the state directory.
    pub(super) fn left(&self) -> Vec<String> {
        let mut left = self.house.on_engine();
        left.extend(self.cluster.into_iter().flat_map(|cluster| self.house.in_cluster(cluster)));
        let kept = std::fs::read_dir(self.house.state().join("rehearsals")).into_iter().flatten();
        left.extend(kept.map(|entry| entry.unwrap().path().display().to_string()));
        left
    }

    /// Rehearses, which goes well, and has the evidence signed by a key that is listed.
    pub(super) fn signed(&self) -> Ran {
        let house = &self.house;
        let signer = house.envctl(&["evidence", "keygen", "key.pem", "--signer", "aki"]).exits(0);
        std::fs::create_dir(house.src().join("rehearsal")).unwrap();
        std::fs::write(house.src().join("rehearsal/signers"), &signer.stdout).unwrap();
        let ran = self.run(&["--seed", "7", "--key", "key.pem"]);
        eprintln!("{}{}", ran.stdout, ran.stderr);
        ran.exits(0)
    }

    /// Rehearses with evidence, expects that all goes well, that the evidence is accepted, and that nothing is left.
    pub(super) fn succeeds(&self) -> Ran {
        let house = &self.house;
        let ran = self.signed().says("verdict    SUCCESSFUL").says("drill").says("0 left");
        assert!(!ran.stdout.contains("not everything was seen"), "{}", ran.stdout);
        assert_eq!(self.left(), [""; 0]);
        let verify = ["evidence", "verify", "rehearsal.intoto.jsonl", "--plan", "rehearsal/plan.yaml"];
        house.envctl(&verify).exits(0);
        ran
    }
}

impl Drop for Rehearsal {
    fn drop(&mut self) {
        let mut kept = std::fs::read_dir(self.house.state().join("rehearsals")).into_iter().flatten();
        if kept.next().is_some() {
            self.run(&["--abort"]);
        }
    }
}

#[test]
fn a_service_that_moves_as_it_should_passes_and_leaves_nothing() {
    let Some(cluster) = Cluster::shared() else { return };
    if !have(&["docker", "helm"]) {
        return;
    }
    let rehearsal = Rehearsal::new(cluster, "krehearse");
    rehearsal.succeeds();
    let report = std::fs::read_to_string(rehearsal.house.src().join("rehearsal-report.html")).unwrap();
    assert!(report.contains("setWeight=50") && !report.contains("http://"), "the report is of this plan");
}
