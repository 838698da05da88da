//! Rehearsals of cutovers of what answers nobody: workers take jobs from one queue, which is outside of both sides, and
//! what runs at certain times is told there.

use serde_json::json;

use super::rehearse::{Rehearsal, redeliver};
use crate::support::cluster::Cluster;
use crate::support::have;

#[test]
fn a_worker_that_moves_as_it_should_passes() {
    let Some(cluster) = Cluster::shared() else { return };
    if !have(&["docker", "helm", "python3"]) {
        return;
    }
    let mut rehearsal = Rehearsal::worker(cluster, "kwork");
    // Its effect is tied to the job's id: to be given a job twice does no harm.
    rehearsal.all["old"]["services"]["worker"]["environment"]["ONCE"] = json!("yes");
    rehearsal.all["new"]["environment"]["ONCE"] = json!("yes");
    rehearsal.all["plan"]["faults"] = json!([{
        "at": "handover=1", "inject": "queueRedelivery", "with": {"service": "jobs", "command": redeliver()},
        "permits": {"failedRequests": 20, "recovery": "10s"},
    }]);
    rehearsal.succeeds().says("everyJobOnce").says("queueRedelivery");
}

#[test]
fn a_crontab_that_moves_as_it_should_misses_and_doubles_no_tick() {
    let Some(cluster) = Cluster::shared() else { return };
    if !have(&["docker", "helm", "python3"]) {
        return;
    }
    Rehearsal::schedule(cluster, "kcron").succeeds().says("everyTickOnce");
}

#[test]
fn a_command_that_cannot_break_anything_breaks_the_rehearsal_off_with_its_last_words() {
    let Some(cluster) = Cluster::shared() else { return };
    if !have(&["docker", "helm", "python3"]) {
        return;
    }
    let mut rehearsal = Rehearsal::worker(cluster, "kfault");
    let plan = &mut rehearsal.all["plan"];
    plan["steps"][0] = json!({"scaleUpNew": {}, "bake": {"minSamplesPerSide": 1}, "gate": ["everyJobOnce"]});
    plan["faults"] = json!([{
        "at": "scaleUpNew", "inject": "dbFailover",
        "with": {"service": "jobs", "command": ["sh", "-c", "echo no replica is there; exit 3"]},
        "permits": {"failedRequests": 20, "recovery": "10s"},
    }]);
    let ran = rehearsal.run(&[]);
    eprintln!("{}{}", ran.stdout, ran.stderr);
    ran.exits(4)
        .says("the fault `dbFailover` was not had")
        .says("no replica is there")
        .says("code 3")
        .says("gone back: the old side does all of the work again")
        .says("0 left");
    assert_eq!(rehearsal.left(), [""; 0]);
}
