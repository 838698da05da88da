//! The rehearsal of an internal tool, whose name moves at once.

use super::rehearse::Rehearsal;
use crate::support::cluster::Cluster;
use crate::support::have;

#[test]
fn an_endpoint_whose_name_is_switched_passes_and_leaves_nothing() {
    let Some(cluster) = Cluster::shared() else { return };
    if !have(&["docker", "helm", "python3"]) {
        return;
    }
    let rehearsal = Rehearsal::endpoint(cluster, "kname");
    let ran = rehearsal.run(&["--seed", "7"]);
    eprintln!("{}{}", ran.stdout, ran.stderr);
    ran.exits(0).says("switchName").says("verdict    SUCCESSFUL").says("no evidence").says("0 left");
    assert_eq!(rehearsal.left(), [""; 0]);
}
