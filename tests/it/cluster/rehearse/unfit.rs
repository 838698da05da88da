//! Rehearsals that cannot be: what is said, and that nothing is left.

use serde_json::json;

use super::Rehearsal;
use crate::support::cluster::Cluster;
use crate::support::have;

#[test]
fn an_old_side_that_does_not_start_is_told_with_its_last_words_and_removed() {
    let Some(cluster) = Cluster::shared() else { return };
    if !have(&["docker", "helm"]) {
        return;
    }
    let mut rehearsal = Rehearsal::short(cluster, "kstill");
    rehearsal.all["old"]["services"]["api"]["command"] =
        json!(["sh", "-c", "echo no licence was found; exit 3"]);
    let ran = rehearsal.run(&[]).exits(1).says("the old side does not come up").says("code 3").says("0 left");
    assert!(ran.stderr.contains("no licence was found"), "{}{}", ran.stdout, ran.stderr);
    assert_eq!(rehearsal.left(), [""; 0]);
}

#[test]
fn an_old_side_that_answers_otherwise_than_the_mix_expects_is_found_before_anything_is_done() {
    let Some(cluster) = Cluster::shared() else { return };
    if !have(&["docker", "helm"]) {
        return;
    }
    let mut rehearsal = Rehearsal::short(cluster, "kwrong");
    rehearsal.all["mix"]["requests"][0]["path"] = "/missing".into();
    let ran = rehearsal.run(&[]);
    eprintln!("{}{}", ran.stdout, ran.stderr);
    let ran = ran
        .exits(4)
        .says("verdict    FAILED")
        .says("the old side does not answer the load as it should, before anything was done: ")
        .says("`greeting` was to be answered 200, and was answered 404")
        .says("mix.yaml")
        .says("0 left");
    assert!(!ran.stdout.contains("step 1/"), "{}", ran.stdout);
    assert_eq!(rehearsal.left(), [""; 0]);
}

#[test]
fn where_the_report_cannot_be_written_nothing_is_begun() {
    let Some(cluster) = Cluster::shared() else { return };
    if !have(&["docker", "helm"]) {
        return;
    }
    let rehearsal = Rehearsal::short(cluster, "knowhere");
    rehearsal
        .run(&["--out", "nowhere"])
        .exits(2)
        .says("report and evidence cannot be written in nowhere")
        .says("name a directory with --out");
    assert_eq!(rehearsal.left(), [""; 0]);
}
