//! What goes wrong around an environment while envctl is at work: nodes, the API server, credentials. These
//! rows of `docs/waiting.md` need a cluster of their own.

use std::process::Command;
use std::time::Duration;

use serde_json::{Value, json};

use super::waiting::{Part, compare_document, normal};
use crate::support::cluster::{Cluster, IMAGE};
use crate::support::{House, Running, envctl};

/// One pod that is ready after `seconds`.
fn slow(seconds: u32) -> Value {
    json!({"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "web"}, "spec": {
        "selector": {"matchLabels": {"app": "web"}},
        "template": {"metadata": {"labels": {"app": "web"}}, "spec": {
            "terminationGracePeriodSeconds": 0,
            "containers": [{
                "name": "web", "image": IMAGE,
                "command": ["sh", "-c", format!("sleep {seconds}; touch /tmp/ready; sleep infinity")],
                "readinessProbe": {"exec": {"command": ["cat", "/tmp/ready"]}, "periodSeconds": 1},
            }],
        }},
    }})
}

fn house(cluster: &Cluster, objects: &[Value]) -> House {
    let house = House::raw(cluster, "kfault");
    house.objects(objects);
    house
}

#[test]
fn what_fails_around_an_environment_is_named_or_survived() {
    let Some(cluster) = Cluster::own("shared-dev", &[]) else { return };
    let said = [
        ("The nodes have taints", the_nodes_have_taints(&cluster)),
        ("The AWS credentials end in the middle of it", the_credentials_end(&cluster)),
    ];
    a_node_that_joins_late_is_waited_for(&cluster);
    an_api_server_that_is_away_for_ten_seconds_is_waited_for(&cluster);
    down_survives_a_restart_of_the_api_server(&cluster);
    compare_document(Part::OwnCluster, &said);
}

fn the_nodes_have_taints(cluster: &Cluster) -> String {
    let house = house(cluster, &[slow(0)]);
    let node = cluster.text("nodeName");
    cluster.kubectl(&["taint", "node", node, "for=databases:NoSchedule"]).exits(0);
    let up = house.envctl(&["up", "--schedule-grace", "2"]).exits(1);
    let up = up.says("no node takes it: the nodes have taints that it does not tolerate");
    let up = up.says("add a toleration, if these nodes are meant for it: `kubectl get nodes");
    cluster.kubectl(&["taint", "node", node, "for-"]).exits(0);
    house.envctl(&["down", "--yes"]).exits(0).says("0 left");
    normal(&format!("{}{}", up.stdout, up.stderr), &house.environment(), cluster)
}

fn the_credentials_end(cluster: &Cluster) -> String {
    let house = house(cluster, &[slow(30)]);
    house.edit("envctl.yaml", |text| text.replace("profile: aki", "profile: ending"));
    cluster.ctl(&["identity", "profile=ending", "role=Developer", "name=aki", "lasts=25s"]);
    let up = house.envctl(&["up"]).exits(3);
    let up = up.says("nobody says when these temporary AWS credentials end");
    let up = up.says("the AWS credentials have ended: the cluster took them before, and refuses them now");
    let up = up.says("sign in again: aws sso login --profile ending; then type the same command again");
    house.envctl(&["up", "--profile", "aki"]).exits(0).says("web ✔");
    house.envctl(&["down", "--yes", "--profile", "aki"]).exits(0).says("0 left");
    normal(&format!("{}{}", up.stdout, up.stderr), &house.environment(), cluster)
}

/// As under an autoscaler: the pod is there before its node.
fn a_node_that_joins_late_is_waited_for(cluster: &Cluster) {
    let house = house(cluster, &[slow(0)]);
    cluster.ctl(&["stop", "name=kubelet"]);
    cluster.kubectl(&["delete", "node", cluster.text("nodeName")]).exits(0);
    let up = Running::start(house.command(envctl()).arg("up"));
    let unschedulable =
        r#"--for=jsonpath={.status.conditions[?(@.type=="PodScheduled")].reason}=Unschedulable"#;
    cluster.await_web(&house.environment(), unschedulable);
    cluster.ctl(&["start", "name=kubelet"]);
    let up = up.ends().exits(0).says("web ✔");
    assert!(!up.stdout.contains("no node takes it"), "{}", up.stdout);
    house.envctl(&["down", "--yes"]).exits(0).says("0 left");
}

fn an_api_server_that_is_away_for_ten_seconds_is_waited_for(cluster: &Cluster) {
    let house = house(cluster, &[slow(5)]);
    let up = Running::start(house.command(envctl()).arg("up"));
    cluster.await_web(&house.environment(), "--for=jsonpath={.status.phase}=Running");
    cluster.ctl(&["stop", "name=apiserver"]);
    // That long is what is to be survived.
    std::thread::sleep(Duration::from_secs(10));
    cluster.ctl(&["start", "name=apiserver"]);
    up.ends().exits(0).says("web ✔");
    house.envctl(&["down", "--yes"]).exits(0).says("0 left");
    assert_eq!(house.in_cluster(cluster), [""; 0]);
}

fn down_survives_a_restart_of_the_api_server(cluster: &Cluster) {
    let mut object = slow(0);
    object["spec"]["template"]["spec"]["terminationGracePeriodSeconds"] = 5.into();
    let house = house(cluster, &[object]);
    house.envctl(&["up"]).exits(0);
    for step in ["helm/uninstall", "namespace"] {
        house.envctl(&["up"]).exits(0);
        let mut command: Command = house.command(envctl());
        let mut down = Running::start(command.args(["down", "--yes", "--json"]));
        down.says(&format!(r#""event":"stepStarted","step":"{step}""#));
        cluster.ctl(&["restart", "name=apiserver"]);
        down.ends().exits(0).says(r#""left":[]"#);
        assert_eq!(house.in_cluster(cluster), [""; 0]);
    }
}
