//! `secrets:` of the stack file, in a cluster.

use crate::secrets::lives;
use crate::support::House;
use crate::support::cluster::Cluster;

#[test]
fn secrets_live_in_the_cluster() {
    let Some(cluster) = Cluster::shared() else { return };
    let house = House::raw(cluster, "ksecrets");
    let name = house.environment();
    lives(&house, || cluster.object(&["configmap", &name, "-n", "envctl-system"]).to_string());
    assert_eq!(house.in_cluster(cluster), [""; 0]);
}
