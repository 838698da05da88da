//! The rehearsal of each kind of component: `plan`, `mix` and `old` are files, `new` is how the chart's workload is made,
//! `shared` is what both sides share. Whoever changes a rehearsal changes this.

use serde_json::{Value, json};

use crate::support::cluster::IMAGE;

/// A program of `tests/rehearsal/components`, which asks what both sides share.
macro_rules! program {
    ($name:literal) => {
        concat!(
            include_str!("../../../rehearsal/components/ask.pl"),
            include_str!(concat!("../../../rehearsal/components/", $name))
        )
    };
}

/// Answers HTTP on port 8000.
pub(in crate::cluster) const SERVER: &str = program!("server.pl");
/// Takes jobs from what both sides share.
pub(in crate::cluster) const WORKER: &str = program!("worker.pl");
/// Runs something every minute, on a machine.
pub(in crate::cluster) const CRON: &str = program!("cron.pl");
const RUN: &str = program!("run.pl");
const ENQUEUE: &str = program!("enqueue.pl");
const LEDGER: &str = program!("ledger.pl");
const REDELIVER: &str = program!("redeliver.pl");

/// Where the address of what both sides share is put in, for each as it reaches that.
pub(super) const SHARED: &str = "${SHARED}";

fn perl(what: &str, arguments: &[&str]) -> Vec<String> {
    let words = ["perl", "-e"].into_iter().map(str::to_owned);
    words.chain([what.to_owned()]).chain(arguments.iter().map(|word| (*word).to_owned())).collect()
}

/// As a Compose file writes it, in which a dollar sign begins a variable.
fn in_compose(command: &[String]) -> Vec<String> {
    command.iter().map(|word| word.replace('$', "$$")).collect()
}

/// Where the plan's commands run.
fn tools() -> Value {
    json!({
        "image": IMAGE, "command": ["sleep", "infinity"], "environment": {"SHARED": SHARED},
        "stop_grace_period": "0s",
    })
}

/// A service: its weight is moved.
pub(super) fn service(component: &str) -> Value {
    let old = json!({"services": {
        "api": {
            "image": IMAGE, "command": in_compose(&perl(SERVER, &[])),
            "environment": {"GREETING": "hello", "SHARED": SHARED},
            "stop_grace_period": "10s", "depends_on": ["store"],
            "healthcheck": {
                "test": ["CMD", "perl", "-MIO::Socket::INET", "-e",
                    "exit !IO::Socket::INET->new('127.0.0.1:8000')"],
                "interval": "1s",
            },
        },
        "store": tools(),
    }});
    let mix = json!({
        "requests": [
            {"name": "greeting", "weight": 3, "path": "/greeting"},
            {"name": "page", "weight": 5, "path": "/pages/{{ n }}"},
            {"name": "upload", "weight": 2, "method": "POST", "path": "/uploads", "bodySize": 2000},
        ],
        "control": {"every": 50, "request": {"name": "missing", "path": "/missing"}},
    });
    let new = json!({
        "kind": "Deployment",
        "command": ["sh", "-c", "exec perl -e \"$SERVER\""],
        "environment": {"GREETING": "hello", "SERVER": SERVER, "SHARED": SHARED},
        "container": {"readinessProbe": {"tcpSocket": {"port": 8000}, "periodSeconds": 1}},
        "pod": {"terminationGracePeriodSeconds": 10},
        "workload": {"replicas": 2},
        "port": 8000,
    });
    let plan = json!({
        "apiVersion": "envctl/v1", "kind": "CutoverPlan", "component": component,
        "old": {"compose": "old.yaml", "service": "api", "port": 8000, "instances": 2},
        "new": {"target": "dev"},
        "shared": ["store"],
        "router": {"adapter": "haproxy"},
        "traffic": {"rate": "60/s", "clients": ["fresh", "keepalive", "sticky", "ttlIgnoring"], "mix": "mix.yaml"},
        // A busy machine is slow. What is promised here is not what is tried.
        "slo": {"availability": "99%", "p99": "60s"},
        "steps": [
            {"scaleUpNew": {"verify": "everyReplicaReady"}},
            {"sameAnswer": {"sample": 40}},
            {"setWeight": 50, "bake": {"minSamplesPerSide": 120}},
            {"setWeight": 100, "bake": {"minSamplesPerSide": 300}},
            {"drain": {"side": "old", "timeout": "20s"}},
            {"stopOld": {"require": [{"oldIdleFor": "3s"}]}},
        ],
        "faults": [
            {"at": "setWeight=50", "inject": "killNewPod", "permits": {"failedRequests": 60, "recovery": "5s"}},
            {"at": "setWeight=50", "inject": "slowNew", "permits": {"failedRequests": 0, "recovery": "2s"}},
            {"at": "setWeight=100", "inject": "networkPartition", "permits": {"failedRequests": 0, "recovery": "5s"}},
        ],
        "rollback": {"drill": "everyStep", "maxDuration": "30s", "afterWrites": true},
    });
    json!({"component": "service", "plan": plan, "old": old, "mix": mix, "new": new, "shared": {"visibility": 20}})
}

/// An internal tool: its name is switched.
pub(super) fn endpoint(component: &str) -> Value {
    let mut all = service(component);
    all["component"] = json!("endpoint");
    let plan = &mut all["plan"];
    plan["traffic"]["rate"] = json!("50/s");
    plan["traffic"]["clients"] = json!(["fresh", "keepalive", "ttlIgnoring"]);
    plan["steps"] = json!([
        "scaleUpNew",
        {"sameAnswer": {"sample": 40}},
        {"switchName": {"ttl": "2s"}, "bake": {"minSamplesPerSide": 300}},
        {"drain": {"timeout": "20s"}},
        {"stopOld": {"require": [{"oldIdleFor": "3s"}]}},
    ]);
    let permits = json!({"failedRequests": 60, "recovery": "5s"});
    plan["faults"] = json!([{"at": "switchName", "inject": "killNewPod", "permits": permits}]);
    all
}

/// A worker: its instances are handed over.
pub(super) fn worker(component: &str) -> Value {
    let old = json!({"services": {
        "worker": {
            "image": IMAGE, "command": in_compose(&perl(WORKER, &[])), "environment": {"SHARED": SHARED},
            "stop_grace_period": "10s",
        },
        "jobs": tools(),
    }});
    let new = json!({
        "kind": "Deployment", "command": perl(WORKER, &[]), "environment": {"SHARED": SHARED},
        "pod": {"terminationGracePeriodSeconds": 10}, "workload": {"replicas": 2},
    });
    let plan = json!({
        "apiVersion": "envctl/v1", "kind": "CutoverPlan", "component": component,
        "old": {"compose": "old.yaml", "service": "worker", "instances": 2},
        "new": {"target": "dev"},
        "shared": ["jobs"],
        "work": {
            "rate": "5/s",
            "jobs": [{"class": "mail", "longest": "500ms"}, {"class": "thumbnail", "longest": "3s"}],
            "enqueue": {"service": "jobs", "command": perl(ENQUEUE, &[])},
            "ledger": {"service": "jobs", "command": ledger("ledger")},
            "backlog": 60,
        },
        "steps": [
            "scaleUpNew",
            {"handover": 1},
            {"drain": {"side": "old", "timeout": "20s"}},
            {"stopOld": {"require": [{"oldIdleFor": "3s"}]}},
        ],
        "faults": [],
        "rollback": {"drill": "everyStep", "maxDuration": "30s", "afterWrites": true},
    });
    json!({"component": "worker", "plan": plan, "old": old, "new": new, "shared": {"visibility": 20}})
}

/// What runs every minute: its entry is moved.
pub(super) fn schedule(component: &str) -> Value {
    let old = json!({"services": {
        "batch": {
            "image": IMAGE, "command": in_compose(&perl(CRON, &[])), "environment": {"SHARED": SHARED},
        },
        "jobs": tools(),
    }});
    let new = json!({
        "kind": "CronJob", "command": perl(RUN, &[]), "environment": {"SHARED": SHARED},
        "pod": {"restartPolicy": "Never"},
        "workload": {
            "schedule": "* * * * *", "timeZone": "Etc/UTC", "suspend": true, "concurrencyPolicy": "Forbid",
            "startingDeadlineSeconds": 20,
        },
    });
    let plan = json!({
        "apiVersion": "envctl/v1", "kind": "CutoverPlan", "component": component,
        "old": {"compose": "old.yaml", "service": "batch", "instances": 1},
        "new": {"target": "dev"},
        "shared": ["jobs"],
        "timetable": {
            "entries": [{"name": "digest", "schedule": "* * * * *"}], "timeZone": "UTC", "tolerance": "20s",
            "ledger": {"service": "jobs", "command": ledger("runs")},
            "disarm": {"service": "batch", "command": ["rm", "-f", "/crontab"]},
            "arm": {"service": "batch", "command": ["touch", "/crontab"]},
        },
        "steps": [
            "scaleUpNew", "disarmOld", "armNew",
            {"stopOld": {"require": [{"oldIdleFor": "3s"}]}, "bake": {"atLeast": "5s"}},
        ],
        "faults": [],
        "rollback": {"drill": "everyStep", "maxDuration": "60s", "afterWrites": true},
    });
    json!({"component": "schedule", "plan": plan, "old": old, "new": new, "shared": {"visibility": 20}})
}

/// The command that tells what becomes of jobs, or of `runs`.
pub(in crate::cluster) fn ledger(what: &str) -> Vec<String> {
    perl(LEDGER, &[what])
}

/// The command that has the queue give out again what was taken.
pub(in crate::cluster) fn redeliver() -> Vec<String> {
    perl(REDELIVER, &[])
}
