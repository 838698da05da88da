//! A rehearsal whose process dies, or is interrupted: somebody goes on with it, or nothing is left of it.

use std::process::Command;

use super::Rehearsal;
use crate::support::cluster::Cluster;
use crate::support::{Ran, Running, have};

/// Has it die at a place.
fn killed_at(rehearsal: &Rehearsal, place: &str) {
    let ran = Ran::of(rehearsal.command(&[]).env("ENVCTL_FAILPOINT", place));
    eprintln!("{}{}", ran.stdout, ran.stderr);
    ran.exits(-1);
}

#[test]
fn a_rehearsal_that_is_killed_is_gone_back_from_and_removed() {
    let Some(cluster) = Cluster::shared() else { return };
    if !have(&["docker", "helm"]) {
        return;
    }
    let rehearsal = Rehearsal::short(cluster, "kdies");
    killed_at(&rehearsal, "05-do-setWeight@after-effect");
    // Of both sides there is something, and the directory that knows of it.
    for of in ["namespace/", "container ", "/rehearsals/"] {
        let left = rehearsal.left();
        assert!(left.iter().any(|thing| thing.contains(of)), "{of} in {left:?}");
    }
    let aborted = rehearsal.run(&["--abort"]);
    eprintln!("{}{}", aborted.stdout, aborted.stderr);
    aborted
        .exits(0)
        .says("everything from step 3")
        .says("gone back: the old side does all of the work again")
        .says("0 left");
    assert_eq!(rehearsal.left(), [""; 0]);
    rehearsal.run(&["--abort"]).exits(2).says("no rehearsal of").says("was left unfinished on this machine");
}

#[test]
fn a_rehearsal_that_is_killed_is_gone_on_with_to_its_verdict() {
    let Some(cluster) = Cluster::shared() else { return };
    if !have(&["docker", "helm"]) {
        return;
    }
    let mut rehearsal = Rehearsal::short(cluster, "kresumed");
    killed_at(&rehearsal, "05-do-setWeight@after-effect");
    let plan = rehearsal.all["plan"].clone();
    rehearsal.all["plan"]["slo"]["p99"] = "31s".into();
    rehearsal.run(&["--resume"]).exits(2).says("the plan has changed since").says("--abort");
    rehearsal.all["plan"] = plan;
    let resumed = rehearsal.run(&["--resume"]);
    eprintln!("{}{}", resumed.stdout, resumed.stderr);
    let resumed =
        resumed.exits(0).says("everything from step 3").says("verdict    SUCCESSFUL").says("0 left");
    // What was judged before the death is not judged again.
    assert!(!resumed.stdout.contains("step 2/4"), "{}", resumed.stdout);
    assert_eq!(rehearsal.left(), [""; 0]);
}

#[test]
fn a_rehearsal_that_is_interrupted_goes_back_and_says_what_state_both_sides_are_in() {
    let Some(cluster) = Cluster::shared() else { return };
    if !have(&["docker", "helm"]) {
        return;
    }
    let rehearsal = Rehearsal::short(cluster, "kctrlc");
    let mut running = Running::start(&mut rehearsal.command(&[]));
    // Then the next one is under way.
    running.says("step 3/4");
    Ran::of(Command::new("kill").args(["-INT", &running.id().to_string()])).exits(0);
    let ran = running.ends();
    eprintln!("{}{}", ran.stdout, ran.stderr);
    ran.exits(130)
        .says("rollback from the middle of step 4")
        .says("gone back: the old side does all of the work again")
        .says("verdict    INCONCLUSIVE")
        .says("it was interrupted")
        .says("0 left")
        .says("interrupted; the sandbox is removed, and the same command begins another one");
    assert_eq!(rehearsal.left(), [""; 0]);
}

#[test]
fn an_interrupt_while_the_sandbox_is_made_leaves_nothing() {
    let Some(cluster) = Cluster::shared() else { return };
    if !have(&["docker", "helm"]) {
        return;
    }
    let mut rehearsal = Rehearsal::short(cluster, "kearly");
    let pipe = rehearsal.house.dir().join("begun");
    Ran::of(Command::new("mkfifo").arg(&pipe)).exits(0);
    // A machine that says when it starts, and is not ready then.
    let api = &mut rehearsal.all["old"]["services"]["api"];
    api["command"] = serde_json::json!(["sh", "-c", "echo begun > /begun; sleep infinity"]);
    api["volumes"] = serde_json::json!([format!("{}:/begun", pipe.display())]);
    api["stop_grace_period"] = "0s".into();
    api["healthcheck"]["retries"] = 3.into();
    let running = Running::start(&mut rehearsal.command(&[]));
    assert_eq!(std::fs::read_to_string(&pipe).unwrap().lines().next(), Some("begun"));
    Ran::of(Command::new("kill").args(["-INT", &running.id().to_string()])).exits(0);
    let ran = running.ends();
    eprintln!("{}{}", ran.stdout, ran.stderr);
    ran.exits(130).says("0 left").says("interrupted; the sandbox is removed");
    assert_eq!(rehearsal.left(), [""; 0]);
}

#[test]
fn a_router_that_dies_is_told_and_everything_is_removed() {
    let Some(cluster) = Cluster::shared() else { return };
    if !have(&["docker", "helm"]) {
        return;
    }
    let rehearsal = Rehearsal::short(cluster, "krouter");
    let mut running = Running::start(&mut rehearsal.command(&[]));
    running.says("step 3/4");
    let things = rehearsal.house.on_engine();
    let router = things
        .iter()
        .find_map(|thing| thing.strip_prefix("container ").filter(|name| name.ends_with("-router")));
    Ran::of(Command::new("docker").args(["kill", router.unwrap()])).exits(0);
    let ran = running.ends();
    eprintln!("{}{}", ran.stdout, ran.stderr);
    ran.exits(4)
        .says("nobody listened at the address to which the clients were sent")
        .says("see whether the router still runs")
        .says("going back stopped: these steps still hold, or may: scaleUpNew, setWeight=50")
        .says("HAProxy takes no commands")
        .says("0 left");
    assert_eq!(rehearsal.left(), [""; 0]);
}
