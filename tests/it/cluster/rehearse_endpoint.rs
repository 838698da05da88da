//! The rehearsal of an internal tool, whose name moves at once.

use serde_json::json;

use super::rehearse::Rehearsal;
use crate::support::cluster::Cluster;
use crate::support::have;

#[test]
fn an_endpoint_whose_name_is_switched_passes_and_leaves_nothing() {
    let Some(cluster) = Cluster::shared() else { return };
    if !have(&["docker", "helm"]) {
        return;
    }
    let mut rehearsal = Rehearsal::new(cluster, "kname");
    rehearsal.house.edit("envctl.yaml", |text| text.replace("kind: service", "kind: endpoint"));
    let plan = &mut rehearsal.all["plan"];
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
    let ran = rehearsal.run(&["--seed", "7"]);
    eprintln!("{}{}", ran.stdout, ran.stderr);
    ran.exits(0).says("switchName").says("verdict    SUCCESSFUL").says("no evidence").says("0 left");
    assert_eq!(rehearsal.left(cluster), [""; 0]);
}
