//! One writer per environment, whichever machines they are on.

use serde_json::json;

use crate::support::cluster::{Cluster, IMAGE};
use crate::support::{House, Running, envctl};

/// A pod that is ready once there is a file in it.
fn waits_for_a_file() -> serde_json::Value {
    json!({"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "web"}, "spec": {
        "selector": {"matchLabels": {"app": "web"}},
        "template": {"metadata": {"labels": {"app": "web"}}, "spec": {
            "terminationGracePeriodSeconds": 0,
            "containers": [{
                "name": "web", "image": IMAGE, "command": ["sleep", "infinity"],
                "readinessProbe": {"exec": {"command": ["cat", "/tmp/ready"]}, "periodSeconds": 1},
            }],
        }},
    }})
}

#[test]
fn a_holder_that_lives_is_named_with_the_command_that_breaks_its_lock() {
    let Some(cluster) = Cluster::shared() else { return };
    let house = House::raw(cluster, "klock");
    let name = house.environment();
    house.objects(&[waits_for_a_file()]);
    let up = Running::start(house.command(envctl()).arg("up"));
    cluster.await_web(&name, "--for=jsonpath={.status.phase}=Running");
    house
        .envctl(&["down", "--yes"])
        .exits(3)
        .says(&format!("environment `{name}` is locked by `envctl up` of "))
        .says(&format!("kubectl -n envctl-system delete lease {name}"));
    cluster.kubectl(&["-n", &name, "exec", "deploy/web", "--", "touch", "/tmp/ready"]).exits(0);
    up.ends().exits(0).says("web ✔");
    house.envctl(&["down", "--yes"]).exits(0).says("0 left");
    assert_eq!(house.in_cluster(cluster), [""; 0]);
}

#[test]
fn a_holder_of_the_same_name_elsewhere_is_watched_before_its_lock_is_taken_over() {
    let Some(cluster) = Cluster::shared() else { return };
    let house = House::raw(cluster, "klocksilent");
    let name = house.environment();
    // Equal in all that a name can tell, and not to be seen from here.
    let host = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap();
    let holder = json!({"pid": 999_999, "started": "1@x", "space": "x", "host": host.trim(), "user": "aki",
        "command": "envctl up"});
    cluster.apply(&json!({
        "apiVersion": "coordination.k8s.io/v1", "kind": "Lease",
        "metadata": {"name": name, "namespace": "envctl-system", "annotations": {
            "envctl.dev/owner": "aki", "envctl.dev/holder": holder.to_string()}},
        "spec": {"holderIdentity": "elsewhere", "leaseDurationSeconds": 4},
    }));
    house.envctl(&["up"]).exits(0).says("watching for").says("whether it lives").says("ready");
    house.envctl(&["down", "--yes"]).exits(0).says("0 left");
    assert_eq!(house.in_cluster(cluster), [""; 0]);
}

/// A renewal that was on its way when the holder stopped renewing arrives between its look at the lock and
/// the deletion of what it saw.
#[test]
fn a_lock_whose_last_renewal_comes_late_goes_all_the_same() {
    let Some(cluster) = Cluster::shared() else { return };
    let house = House::raw(cluster, "klocklate");
    let name = house.environment();
    let rule = json!({
        "rules": [{"apiGroups": ["coordination.k8s.io"], "apiVersions": ["v1"], "operations": ["DELETE"],
            "resources": ["leases"]}],
        "matchConditions": [{"name": "ours", "expression": format!("request.name == '{name}'")}],
        "timeoutSeconds": 20,
    });
    let patch = ["patch", "lease", &name, "-n", "envctl-system", "--type=merge", "-p"];
    let renewal = [&patch[..], &[r#"{"spec": {"leaseTransitions": 1}}"#]].concat();
    cluster.webhook(&name, "runs", &cluster.kubectl_words(&renewal), &rule);
    house.envctl(&["up"]).exits(0);
    assert_eq!(cluster.object(&["lease", &name, "-n", "envctl-system"]), serde_json::Value::Null);
    house.envctl(&["down", "--yes"]).exits(0).says("0 left");
    assert_eq!(house.in_cluster(cluster), [""; 0]);
    cluster.kubectl(&["delete", "validatingwebhookconfiguration", &format!("runs-{name}")]).exits(0);
}
