//! Volumes and what else outlives a claim or a namespace.

use serde_json::{Value, json};

use crate::support::cluster::{Cluster, IMAGE};
use crate::support::{House, Ran, Running, envctl};

fn claim(name: &str, class: &str) -> Value {
    json!({"apiVersion": "v1", "kind": "PersistentVolumeClaim", "metadata": {"name": name}, "spec": {
        "storageClassName": class, "accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Mi"}}
    }})
}

#[test]
fn volumes_go_or_are_retained_with_what_to_do() {
    let Some(cluster) = Cluster::shared() else { return };
    let house = House::raw(cluster, "kvol");
    let name = house.environment();
    house.objects(&[
        claim("scratch", "standard"),
        claim("data", "retained"),
        json!({"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "web"}, "spec": {
            "selector": {"matchLabels": {"app": "web"}},
            "template": {"metadata": {"labels": {"app": "web"}}, "spec": {
                "terminationGracePeriodSeconds": 0,
                "containers": [{"name": "web", "image": IMAGE, "command": ["sleep", "infinity"], "volumeMounts": [
                    {"name": "scratch", "mountPath": "/scratch"}, {"name": "data", "mountPath": "/data"}
                ]}],
                "volumes": [
                    {"name": "scratch", "persistentVolumeClaim": {"claimName": "scratch"}},
                    {"name": "data", "persistentVolumeClaim": {"claimName": "data"}},
                ],
            }},
        }}),
    ]);
    house.envctl(&["up"]).exits(0);
    let volume = |claim: &str| {
        let claim = cluster.object(&["pvc", claim, "-n", &name]);
        claim["spec"]["volumeName"].as_str().unwrap().to_owned()
    };
    let (scratch, data) = (volume("scratch"), volume("data"));

    // The machine dies when the namespace is gone. Another one has only the record.
    let mut dying = house.command(envctl());
    dying.env("ENVCTL_FAILPOINT", "namespace@after-effect").args(["down", "--yes"]);
    assert!(!dying.output().unwrap().status.success());
    assert!(cluster.object(&["namespace", &name]).is_null());
    let elsewhere = House::on_cluster(cluster, "kvolelse");
    std::fs::remove_file(elsewhere.src().join("envctl.yaml")).unwrap();
    let arn = cluster.arn();
    let down = ["down", "--yes", "--name", &name, "--cluster", &arn, "--profile", "aki", "--json"];
    let down = elsewhere.envctl(&down).exits(0);
    let events = down.events();
    let receipt = events.iter().find(|event| event["event"] == "receipt").unwrap();
    let retained = receipt["retained"].as_array().unwrap();
    assert_eq!(retained.len(), 1, "{retained:?}");
    assert_eq!(retained[0]["id"], data.as_str());
    let evidence = retained[0]["evidence"].as_str().unwrap();
    for text in [
        "its reclaim policy is Retain: the data of claim data stays on ",
        &format!("first the volume (kubectl delete persistentvolume {data}), then what holds the data"),
    ] {
        assert!(evidence.contains(text), "`{text}` is not in: {evidence}");
    }
    assert!(cluster.object(&["pv", &scratch]).is_null(), "the volume of class Delete is still there");
    assert!(cluster.object(&["pv", &data]).is_object(), "the volume of class Retain is gone");
    assert_eq!(house.in_cluster(cluster), [""; 0]);
    cluster.kubectl(&["delete", "pv", &data]).exits(0);
}

/// A pod that uses the claim `scratch`.
fn pod(name: &str) -> Value {
    json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name}, "spec": {
        "terminationGracePeriodSeconds": 0,
        "containers": [{"name": "web", "image": IMAGE, "command": ["sleep", "infinity"], "volumeMounts": [
            {"name": "scratch", "mountPath": "/scratch"}
        ]}],
        "volumes": [{"name": "scratch", "persistentVolumeClaim": {"claimName": "scratch"}}],
    }})
}

#[test]
fn a_pod_that_is_not_of_the_release_goes_with_the_namespace() {
    let Some(cluster) = Cluster::shared() else { return };
    let house = House::raw(cluster, "kbare");
    let name = house.environment();
    house.objects(&[claim("scratch", "standard"), pod("web")]);
    house.envctl(&["up"]).exits(0);
    let mut mine = pod("mine");
    mine["metadata"]["namespace"] = name.clone().into();
    cluster.apply(&mine);
    cluster.kubectl(&["-n", &name, "wait", "--for=condition=Ready", "pod/mine", "--timeout=60s"]).exits(0);
    let events = house.envctl(&["down", "--yes", "--json"]).exits(0).events();
    let step = |id: &str| events.iter().find(|event| event["event"] == "stepDone" && event["step"] == id);
    assert_eq!(step("contents").unwrap()["summary"], "gone with the namespace");
    assert_eq!(house.in_cluster(cluster), [""; 0]);
}

#[test]
fn a_volume_that_was_looked_up_is_in_the_receipt() {
    let Some(cluster) = Cluster::shared() else { return };
    let house = House::raw(cluster, "kvolgone");
    house.objects(&[claim("scratch", "standard"), pod("web")]);
    house.envctl(&["up"]).exits(0);
    let down = house.envctl(&["down", "--yes", "--json"]).exits(0);
    let events = down.events();
    let receipt = events.iter().find(|event| event["event"] == "receipt").unwrap();
    let gone = receipt["gone"].as_array().unwrap();
    let volume = gone.iter().find(|item| item["kind"] == "persistent-volume").unwrap();
    assert_eq!(volume["evidence"], "the API server has no such volume");
    assert!(cluster.object(&["pv", volume["id"].as_str().unwrap()]).is_null());
}

#[test]
fn what_holds_a_namespace_is_named_and_given_up_only_when_asked() {
    let Some(cluster) = Cluster::shared() else { return };
    let house = House::raw(cluster, "kheld");
    let name = house.environment();
    let config = |name: &str| json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name}});
    house.objects(&[config("held"), config("kept")]);
    house.envctl(&["up"]).exits(0);
    let set = |config: &str, finalizers: &Value| {
        let patch = json!({"metadata": {"finalizers": finalizers}}).to_string();
        cluster.kubectl(&["-n", &name, "patch", "configmap", config, "--type=merge", "-p", &patch]).exits(0);
    };
    set("held", &json!(["example.com/backup"]));
    set("kept", &json!(["example.com/archive"]));

    let mut down = Running::start(house.command(envctl()).args(["down", "--yes", "--wait-timeout", "20"]));
    down.says(
        "ConfigMap held waits for its finalizer `example.com/backup`: the controller that set it has not done its part",
    );
    let down = down.ends().exits(1).says("what has to go before the namespace is still there after 20 s");
    down.says(&format!(
        "envctl down --name {name} --strip-finalizers ConfigMap/held --strip-finalizers ConfigMap/kept"
    ));
    let held = cluster.object(&["configmap", "held", "-n", &name]);
    assert_eq!(held["metadata"]["finalizers"], json!(["example.com/backup"]));

    let strip =
        |object: &str| house.envctl(&["down", "--yes", "--wait-timeout", "1", "--strip-finalizers", object]);
    strip("held").exits(3).says("`held` names no object");
    strip("Backup/held").exits(3).says("the cluster knows no kind `Backup` that lives in namespaces");
    strip("ConfigMap/hled")
        .exits(1)
        .says("there is no ConfigMap/hled with finalizers: nothing was taken off");
    let down = strip("ConfigMap/held")
        .exits(1)
        .says("the finalizers of ConfigMap/held were taken off, as you asked");
    let down = down.says("ConfigMap kept waits for its finalizer `example.com/archive`");
    assert!(!down.stdout.contains("ConfigMap held waits"), "{}", down.stdout);

    // Somebody else removes the namespace, and with it the owner's rights in it.
    cluster.kubectl(&["delete", "namespace", &name, "--wait=false"]).exits(0);
    let lost = ["auth", "can-i", "get", "configmaps", "-n", &name];
    while Ran::of(cluster.kubectl_as("aki").args(lost)).code == 0 {}
    let mut down = Running::start(house.command(envctl()).args(["down", "--yes", "--wait-timeout", "12"]));
    down.says(&format!(
        "Namespace {name} waits for finalizers of what is in it: example.com/archive in 1 resource"
    ));
    let down = down.ends().exits(1).says("the namespace is still there after 12 s");
    down.says("in a namespace that is going nobody but the platform engineer may look");
    set("kept", &Value::Null);

    let down = house.envctl(&["down", "--yes"]).exits(0).says("0 left");
    down.says("unverified object ConfigMap/held: it is gone, but its controller did not take part");
    assert_eq!(house.in_cluster(cluster), [""; 0]);
}
