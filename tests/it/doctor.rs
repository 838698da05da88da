//! What `doctor` finds, with the command that mends it.

use std::net::TcpListener;
use std::process::Command;

use serde_json::Value;

use crate::support::{House, Ran, have};

/// What was found, by what was looked at, as far as it is about `of`.
fn found(ran: &Ran, what: &str, of: &str) -> Value {
    let all = ran.json();
    let mut about = all.as_array().unwrap().iter().filter(|finding| finding["what"] == what);
    about
        .find(|finding| finding["found"].as_str().unwrap().contains(of))
        .unwrap_or_else(|| panic!("nothing about {what} and {of} in {all:#}"))
        .clone()
}

/// Types a command that was told.
fn type_it(finding: &Value) {
    Ran::of(Command::new("sh").args(["-c", finding["mend"].as_str().unwrap()])).exits(0);
}

fn docker(words: &[&str]) {
    Ran::of(Command::new("docker").args(words)).exits(0);
}

#[test]
fn a_machine_that_is_well_is_told_so() {
    if !have(&["docker", "helm"]) {
        return;
    }
    let house = House::small("well");
    let ran = house.envctl(&["doctor", "--json"]).exits(0);
    for what in ["docker", "helm", "Docker Engine", "docker compose", "router's port"] {
        assert_eq!(found(&ran, what, "")["verdict"], "ok", "{}", ran.stdout);
    }
    house.envctl(&["doctor"]).exits(0).says("Docker Engine").says("is free");
}

#[test]
fn an_engine_that_is_away_and_a_port_that_is_taken_are_problems() {
    if !have(&["docker", "helm"]) {
        return;
    }
    let house = House::small("unwell");
    let _taken = TcpListener::bind(("127.0.0.1", house.port)).unwrap();
    let ran = house.envctl(&["doctor"]).exits(1);
    let ran = ran.says(&format!("{} is taken by the process", house.port)).says("what mends it:");
    ran.says("ENVCTL_ROUTER_PORT=PORT");
    let mut command = house.command(crate::support::envctl());
    let ran = Ran::of(command.args(["doctor", "--json"]).env("DOCKER_HOST", "unix:///nowhere.sock")).exits(1);
    assert_eq!(found(&ran, "Docker Engine", "/nowhere.sock")["verdict"], "problem");
    assert_eq!(found(&ran, "helm", "")["verdict"], "ok", "the rest is looked at all the same");
}

#[test]
fn what_crashed_runs_left_is_named_with_the_command_that_removes_it() {
    if !have(&["docker", "helm"]) {
        return;
    }
    let house = House::small("crashed");
    let name = house.environment();
    let (identity, of) =
        (format!("dev.envctl.identity={name}-lost"), format!("dev.envctl.environment={name}"));
    let host = Ran::of(Command::new("uname").arg("-n")).exits(0).stdout;
    let owner = format!("dev.envctl.owner=aki@{}", host.trim());
    docker(&["network", "create", "--label", &identity, "--label", &of, "--label", &owner, &name]);
    let holder = serde_json::json!({
        "pid": 1, "started": "never", "host": host.trim(), "user": "aki", "since": "2026-01-01T00:00:00Z",
        "command": "envctl up",
    });
    let (lock, holder) = (format!("envctl-lock-{name}"), format!("dev.envctl.holder={holder}"));
    let role = "dev.envctl.role=lock";
    docker(&[
        "create",
        "--name",
        &lock,
        "--label",
        role,
        "--label",
        &of,
        "--label",
        &holder,
        "debian:bookworm-slim",
        "true",
    ]);
    let mut killed = house.command(crate::support::envctl());
    let dead = Ran::of(killed.args(["up", "--name", "dead"]).env("ENVCTL_FAILPOINT", "network@after-effect"));
    assert_eq!(dead.code, -1);

    let ran = house.envctl(&["doctor", "--json"]).exits(0);
    let (orphan, stale) = (found(&ran, "left over", &name), found(&ran, "lock", &name));
    assert!(stale["found"].as_str().unwrap().ends_with("which is dead"), "{stale}");
    let unfinished = found(&ran, "environment", "`dead`");
    assert_eq!(unfinished["mend"], "envctl up --name dead, or envctl down --name dead");
    type_it(&orphan);
    type_it(&stale);
    house.envctl(&["down", "--yes", "--name", "dead"]).exits(0);
    let again = house.envctl(&["doctor", "--json"]).exits(0).stdout;
    assert!(!again.contains(&name) && !again.contains("`dead`"), "{again}");
}
