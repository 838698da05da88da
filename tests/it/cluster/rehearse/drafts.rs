//! Drafts: the new side is on the Engine, from the same chart. They need no cluster, and permit nothing.

use serde_json::json;

use super::{Rehearsal, components};
use crate::support::{Ran, has_time_for, have};

/// Rehearses, which goes well, and permits nothing all the same.
fn is_a_draft(rehearsal: &Rehearsal) {
    let house = &rehearsal.house;
    let ran = rehearsal.signed().says("a draft)").says("verdict    SUCCESSFUL").says("drill").says("0 left");
    assert!(!ran.stdout.contains("not everything was seen"), "{}", ran.stdout);
    assert_eq!(rehearsal.left(), [""; 0]);
    let verify = ["evidence", "verify", "rehearsal.intoto.jsonl", "--plan", "rehearsal/plan.yaml"];
    house.envctl(&verify).exits(3).says("it is a draft: the new side ran on Compose");
    let report = std::fs::read_to_string(house.src().join("rehearsal-report.html")).unwrap();
    assert!(report.contains("<strong>Draft.</strong>"));
}

#[test]
fn a_service_on_the_engine_is_rehearsed_as_in_a_cluster_and_permits_nothing() {
    if !have(&["docker", "helm", "python3", "terraform"]) {
        return;
    }
    let rehearsal = Rehearsal::draft("draft", components::service);
    let house = &rehearsal.house;
    std::fs::create_dir(house.src().join("tf")).unwrap();
    std::fs::write(house.src().join("tf/main.tf"), "resource \"terraform_data\" \"any\" {}\n").unwrap();
    house.edit("envctl.yaml", |text| {
        text.replace("local: {kind: compose}", "local: {kind: compose, terraform: {path: tf}}")
    });
    is_a_draft(&rehearsal);
    let evidence = house.envctl(&["evidence", "show", "rehearsal.intoto.jsonl", "--json"]).exits(0).json();
    let said = &evidence["rehearsal"];
    for digest in ["/terraform/configuration", "/terraform/plan", "/tools/terraform", "/tools/haproxy"] {
        let found = said.pointer(digest).and_then(|digest| digest.as_str()).unwrap_or_default();
        assert!(found.starts_with("sha256:"), "{digest}: {said}");
    }
}

#[test]
fn a_worker_on_the_engine_is_rehearsed_as_in_a_cluster_and_permits_nothing() {
    if !has_time_for("a worker on the Engine") {
        return;
    }
    if !have(&["docker", "helm", "python3"]) {
        return;
    }
    is_a_draft(&Rehearsal::draft("draftwork", components::worker));
}

#[test]
fn a_schedule_on_the_engine_is_rehearsed_as_in_a_cluster_and_permits_nothing() {
    if !has_time_for("a schedule on the Engine") {
        return;
    }
    if !have(&["docker", "helm", "python3"]) {
        return;
    }
    is_a_draft(&Rehearsal::draft("draftcron", components::schedule));
}

#[test]
fn a_mistake_is_found_in_a_draft_too() {
    if !have(&["docker", "helm", "python3"]) {
        return;
    }
    let mut rehearsal = Rehearsal::draft("draftwrong", components::service);
    rehearsal.shorten();
    rehearsal.all["new"]["environment"]["GREETING"] = json!("good day");
    let ran = rehearsal.run(&[]);
    eprintln!("{}{}", ran.stdout, ran.stderr);
    ran.exits(4).says("gate sameAnswer").says("answersAlike").says("0 left");
    assert_eq!(rehearsal.left(), [""; 0]);
}

#[test]
fn two_rehearsals_of_one_plan_at_once_do_not_see_each_other() {
    if !has_time_for("two rehearsals at once") {
        return;
    }
    if !have(&["docker", "helm", "python3"]) {
        return;
    }
    let mut rehearsal = Rehearsal::draft("drafttwo", components::service);
    rehearsal.shorten();
    let both = ["one", "two"].map(|out| {
        std::fs::create_dir(rehearsal.house.src().join(out)).unwrap();
        rehearsal.command(&["--out", out])
    });
    let ran = std::thread::scope(|scope| {
        let running = both.map(|mut command| scope.spawn(move || Ran::of(&mut command)));
        running.map(|one| one.join().unwrap())
    });
    for one in ran {
        eprintln!("{}{}", one.stdout, one.stderr);
        one.exits(0).says("verdict    SUCCESSFUL").says("0 left");
    }
    assert_eq!(rehearsal.left(), [""; 0]);
}

#[test]
fn what_cannot_be_drafted_is_refused_before_anything_is_done() {
    if !have(&["docker", "helm", "python3"]) {
        return;
    }
    let rehearsal = Rehearsal::draft("draftcron", components::schedule);
    rehearsal
        .house
        .edit("envctl.yaml", |text| text.replace("{kind: compose}", "{kind: compose, warden: false}"));
    rehearsal
        .run(&[])
        .exits(2)
        .says("a draft of a schedule needs the warden")
        .says("the target says `warden: false`");
    assert_eq!(rehearsal.left(), [""; 0]);
    let mut rehearsal = Rehearsal::draft("draftnone", components::service);
    rehearsal.shorten();
    rehearsal.all["new"].as_object_mut().unwrap().remove("port");
    rehearsal.run(&[]).exits(2).says("the chart has no Service with a TCP port that leads to").says("0 left");
    assert_eq!(rehearsal.left(), [""; 0]);
}
