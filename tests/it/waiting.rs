//! Waiting explains: what failed, why, the last lines, what to type next.

use crate::support::{House, have};

fn runs() -> bool {
    have(&["docker", "helm"])
}

#[test]
fn a_crash_loop_shows_exit_code_and_last_lines() {
    if !runs() {
        return;
    }
    let house = House::small("crash");
    house
        .envctl(&["up", "--set", "crash=true"])
        .exits(1)
        .says("web")
        .says("exit code 3")
        .says("no database")
        .says("envctl logs web");
    // What failed is left to look at.
    assert!(!house.on_engine().is_empty());
    house.envctl(&["logs", "web"]).exits(0).says("about to crash");
    // Mended, the same command goes on.
    house.envctl(&["up"]).exits(0);
}

#[test]
fn a_missing_image_is_named() {
    if !runs() {
        return;
    }
    let house = House::small("image");
    house
        .envctl(&["up", "--set", "image=127.0.0.1:9/nowhere/nothing:1"])
        .exits(1)
        .says("127.0.0.1:9/nowhere/nothing:1");
}

#[test]
fn a_failing_probe_says_what_it_got() {
    if !runs() {
        return;
    }
    let house = House::small("probe");
    house
        .envctl(&["up", "--set", "probePath=/nope", "--wait-timeout", "15"])
        .exits(1)
        .says("readiness")
        .says("404");
}

/// Compose waits for the first of `patient`, and says meanwhile nothing of what it cannot start.
const BROKEN: &str = "
apiVersion: apps/v1
kind: StatefulSet
metadata: {name: patient}
spec:
  replicas: 2
  serviceName: patient
  selector: {matchLabels: {app: patient}}
  template:
    metadata: {labels: {app: patient}}
    spec:
      terminationGracePeriodSeconds: 1
      containers: [{name: patient, image: debian:bookworm-slim, command: [sleep, '600'], readinessProbe: {tcpSocket: {port: 9}}}]
---
apiVersion: apps/v1
kind: Deployment
metadata: {name: broken}
spec:
  selector: {matchLabels: {app: broken}}
  template:
    metadata: {labels: {app: broken}}
    spec:
      initContainers: [{name: later, image: debian:bookworm-slim, command: [sleep, '3']}]
      containers: [{name: broken, image: debian:bookworm-slim, command: [/nothing/here]}]
";

#[test]
fn what_cannot_be_started_is_told_although_compose_waits_for_something_else() {
    if !runs() {
        return;
    }
    let house = House::small("unstarted");
    std::fs::write(house.src().join("chart/templates/broken.yaml"), BROKEN).unwrap();
    let up = house.envctl(&["up", "--wait-timeout", "240"]).exits(1).says("broken-0");
    let up = up.says("its command, or the interpreter it needs, was not found in the image");
    assert!(!up.stderr.contains("--wait-timeout"), "{}", up.stderr);
    house.envctl(&["down", "--yes"]).exits(0).says("0 left");
}

#[test]
fn a_failing_migration_stops_everything_after_it() {
    if !runs() {
        return;
    }
    let house = House::small("migration");
    house
        .envctl(&["up", "--set", "jobExit=4"])
        .exits(1)
        .says("migrate")
        .says("exit code 4")
        .says("migrating");
    let status = house.envctl(&["status", "--json"]).json();
    let web = status["pods"].as_array().unwrap().iter().find(|p| p["workload"] == "Deployment/web");
    assert!(web.is_none_or(|p| p["ready"] == false), "{status}");
    house.envctl(&["up"]).exits(0);
}

#[test]
fn a_migration_that_takes_longer_than_it_may_is_ended_and_made_anew() {
    if !runs() {
        return;
    }
    let house = House::small("overdue");
    house.edit("chart/templates/web.yaml", |text| {
        text.replacen("  backoffLimit:", "  activeDeadlineSeconds: 2\n  backoffLimit:", 1).replace(
            "echo migrating",
            "echo migrating; trap 'exit 0' TERM; sleep {{ .Values.takes | default 0 }} & wait",
        )
    });
    house
        .envctl(&["up", "--set", "takes=600"])
        .exits(1)
        .says("migrate")
        .says("it took longer than its deadline of 2 s")
        .says("raise activeDeadlineSeconds")
        .says("migrating");
    let status = house.envctl(&["status", "--json"]).json();
    let is_job = |pod: &&serde_json::Value| pod["workload"].as_str().is_some_and(|of| of.starts_with("Job/"));
    let job = status["pods"].as_array().unwrap().iter().find(is_job).unwrap_or_else(|| panic!("{status}"));
    assert_eq!(
        (&job["completed"], &job["containers"][0]["state"]),
        (&false.into(), &"exited".into()),
        "{job}"
    );
    // Though it ended with code 0, it is not taken for done.
    house.envctl(&["up"]).exits(0).says("migrate ✔");
    house.envctl(&["down", "--yes"]).exits(0).says("0 left");
}

#[test]
fn rollback_removes_what_a_failed_up_made() {
    if !runs() {
        return;
    }
    let house = House::small("rollback");
    house.envctl(&["up", "--rollback", "--set", "jobExit=4"]).exits(1).says("exit code 4").says("0 left");
    assert_eq!(house.on_engine(), [""; 0]);
}
