//! Cutovers in what plays production of what answers nobody: a worker's, whose machines and pods take jobs from one queue,
//! into which jobs come all the time, and a schedule's.

use std::collections::BTreeSet;
use std::io::{BufRead as _, BufReader, Write as _};
use std::net::TcpStream;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use serde_json::{Value, json};

use super::cutover::{NAMESPACE, cluster, docker, gain_evidence, install, pods, run_cutover};
use super::rehearse::{CRON, Rehearsal, Shared, WORKER, ledger};
use crate::support::cluster::{Cluster, IMAGE};
use crate::support::{has_time_for, have, root};

/// Asks what both sides share one thing.
fn ask(address: &str, words: &str) -> String {
    let mut stream = TcpStream::connect(address).unwrap();
    writeln!(stream, "{words}").unwrap();
    let mut answer = String::new();
    BufReader::new(stream).read_line(&mut answer).unwrap();
    answer.trim().to_owned()
}

/// Somebody who puts jobs into the queue all the time.
struct Jobs {
    going_on: Arc<AtomicBool>,
    thread: JoinHandle<BTreeSet<String>>,
}

impl Jobs {
    fn start(address: &str) -> Self {
        let going_on = Arc::new(AtomicBool::new(true));
        let (go_on, address) = (Arc::clone(&going_on), address.to_owned());
        let thread = std::thread::spawn(move || {
            let mut ids = BTreeSet::new();
            while go_on.load(Ordering::Relaxed) {
                let id = format!("j{}", ids.len());
                assert_eq!(ask(&address, &format!("put {id} mail 0.3")), "ok");
                ids.insert(id);
                std::thread::sleep(Duration::from_millis(250));
            }
            ids
        });
        Self { going_on, thread }
    }

    /// Puts no more in; those that were.
    fn stop(self) -> BTreeSet<String> {
        self.going_on.store(false, Ordering::Relaxed);
        self.thread.join().unwrap()
    }
}

/// The jobs that had their effect, once for each time, in order, up to when all of these had it.
fn effects(address: &str, until: &BTreeSet<String>) -> Vec<String> {
    let mut stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(60))).unwrap();
    writeln!(stream, "ledger").unwrap();
    let (mut effects, mut open) = (Vec::new(), until.clone());
    for line in BufReader::new(stream).lines() {
        let told: Value = serde_json::from_str(&line.unwrap()).unwrap();
        if told["event"] == "effect" {
            let id = told["job"].as_str().unwrap().to_owned();
            open.remove(&id);
            effects.push(id);
        }
        if open.is_empty() {
            break;
        }
    }
    effects
}

/// Machines in containers. They go with this.
struct Machines {
    prefix: String,
    count: usize,
}

impl Machines {
    /// So many, each with this program.
    fn start(name: &str, count: usize, program: &str, shared: &Shared) -> Self {
        let machines = Self { prefix: format!("{name}-machine"), count };
        for name in machines.names() {
            let shared = format!("SHARED={}", shared.address());
            docker(&["run", "-d", "--name", &name, "-e", &shared, IMAGE, "perl", "-e", program]);
        }
        machines
    }

    fn names(&self) -> impl Iterator<Item = String> {
        (1..=self.count).map(|number| format!("{}-{number}", self.prefix))
    }

    fn running(&self) -> usize {
        docker(&["ps", "-q", "--filter", &format!("name=^{}-", self.prefix)]).lines().count()
    }

    /// The plan's section: the ledger tells what becomes of jobs, or of `runs`.
    fn section(&self, shared: &Shared, told: &str, stop_after: &str) -> Value {
        let mut words = vec!["env".to_owned(), format!("SHARED={}", shared.address())];
        words.extend(ledger(told));
        let operator = root().join("tests/support/machines.py").display().to_string();
        json!({
            "target": "production",
            "namespace": NAMESPACE,
            "old": {"instances": self.count, "command": ["python3", operator, self.prefix]},
            "ledger": words,
            "bake": "4s",
            "stopAfter": [stop_after],
        })
    }
}

impl Drop for Machines {
    fn drop(&mut self) {
        for name in self.names() {
            let _ = std::process::Command::new("docker").args(["rm", "-f", &name]).output();
        }
    }
}

/// When runs began, in whole minutes, as the ledger tells it up to now.
fn minutes(address: &str) -> Vec<u64> {
    let mut stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(1))).unwrap();
    writeln!(stream, "runs").unwrap();
    let lines = BufReader::new(stream).lines().map_while(Result::ok);
    let told = lines.map(|line| serde_json::from_str::<Value>(&line).unwrap());
    let began = told.filter(|told| told["event"] == "started");
    began.map(|told| Duration::from_secs_f64(told["at"].as_f64().unwrap()).as_secs() / 60).collect()
}

#[test]
fn a_worker_is_handed_over_in_production_as_it_was_rehearsed() {
    let Some(here) = Cluster::shared() else { return };
    if !have(&["docker", "helm", "python3"]) {
        return;
    }
    let mut rehearsal = Rehearsal::worker(here, "kcutwork");
    rehearsal.shorten();
    let name = rehearsal.house.project.clone();
    let Some(cluster) = cluster() else { return };
    let shared = Shared::start(Some(&cluster), &json!({"visibility": 20}));
    let new: Vec<_> = rehearsal.objects().iter().map(|object| shared.known_to_pods(object)).collect();
    install(&cluster, &new);
    // Twice as many as are rehearsed: half of them go on after the handover there, too.
    let machines = Machines::start(&name, 4, WORKER, &shared);
    gain_evidence(&mut rehearsal, &cluster, machines.section(&shared, "ledger", "handover=1"));
    let jobs = Jobs::start(shared.address());

    let cutover = |arguments: &[&str], typed: &str| run_cutover(&rehearsal, &cluster, &[], arguments, typed);
    let evidence = ["--evidence", "rehearsal.intoto.jsonl"];
    cutover(&evidence, &name)
        .exits(0)
        .says("everyJobOnce")
        .says(&format!("cutover    {name} STOPPED"))
        // Of four machines as many go on as of two in the rehearsal: half of them.
        .says("after handover=2, as the plan says");
    assert_eq!((machines.running(), pods(&cluster)), (2, 2));
    cutover(&["--resume"], "").exits(0).says(&format!("cutover    {name} DONE"));
    assert_eq!((machines.running(), pods(&cluster)), (0, 2));
    cutover(&["--abort"], "").exits(0).says(&format!("cutover    {name} BACK"));
    assert_eq!((machines.running(), pods(&cluster)), (4, 0));

    let intended = jobs.stop();
    let effects = effects(shared.address(), &intended);
    let once: BTreeSet<_> = effects.iter().cloned().collect();
    assert_eq!(once, intended);
    assert_eq!(effects.len(), once.len(), "a job had its effect twice");
}

#[test]
fn a_crontab_is_moved_in_production_as_it_was_rehearsed() {
    if !has_time_for("a crontab that is moved in production") {
        return;
    }
    let Some(here) = Cluster::shared() else { return };
    if !have(&["docker", "helm", "python3"]) {
        return;
    }
    let mut rehearsal = Rehearsal::schedule(here, "kcutcron");
    let name = rehearsal.house.project.clone();
    let Some(cluster) = cluster() else { return };
    let shared = Shared::start(Some(&cluster), &json!({"visibility": 20}));
    let new: Vec<_> = rehearsal.objects().iter().map(|object| shared.known_to_pods(object)).collect();
    install(&cluster, &new);
    let machines = Machines::start(&name, 1, CRON, &shared);
    gain_evidence(&mut rehearsal, &cluster, machines.section(&shared, "runs", "armNew"));

    let cutover = |arguments: &[&str], typed: &str| run_cutover(&rehearsal, &cluster, &[], arguments, typed);
    let suspended = || cluster.object(&["cronjob", "digest", "-n", NAMESPACE])["spec"]["suspend"] == true;
    assert!(suspended());
    cutover(&["--evidence", "rehearsal.intoto.jsonl"], &name)
        .exits(0)
        .says("everyTickOnce")
        .says(&format!("cutover    {name} STOPPED"));
    assert_eq!((machines.running(), suspended()), (1, false));
    cutover(&["--resume"], "").exits(0).says(&format!("cutover    {name} DONE"));
    assert_eq!((machines.running(), suspended()), (0, false));
    cutover(&["--abort"], "").exits(0).says(&format!("cutover    {name} BACK"));
    assert_eq!((machines.running(), suspended()), (1, true));

    let minutes = minutes(shared.address());
    let (first, last) = (minutes[0], minutes[minutes.len() - 1]);
    assert_eq!(minutes, (first..=last).collect::<Vec<_>>(), "a tick was missed, or had two runs");
}
