//! Isolation, proven by traffic: who may connect to an environment's pods, and who may not.

use serde_json::{Value, json};

use crate::support::cluster::{Cluster, IMAGE, MACHINES};
use crate::support::{House, Ran};

/// One pod that answers, and one that asks.
fn pods() -> Vec<Value> {
    let deployment = |name: &str, command: Value, probe: Value| {
        let mut container = json!({"name": name, "image": IMAGE, "command": command});
        if !probe.is_null() {
            container["readinessProbe"] = probe;
        }
        json!({"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": name}, "spec": {
            "selector": {"matchLabels": {"app": name}},
            "template": {"metadata": {"labels": {"app": name}}, "spec": {
                "terminationGracePeriodSeconds": 0, "containers": [container],
            }},
        }})
    };
    let serve = "$s = IO::Socket::INET->new(LocalPort => 8080, Listen => 5, ReuseAddr => 1) or die $!; \
                 while ($c = $s->accept) { print $c \"hello\\n\"; close $c }";
    vec![
        deployment(
            "web",
            json!(["perl", "-MIO::Socket::INET", "-e", serve]),
            json!({"tcpSocket": {"port": 8080}, "periodSeconds": 1}),
        ),
        deployment("client", json!(["sleep", "infinity"]), Value::Null),
    ]
}

/// Whom packets come from, or go to.
struct Pod {
    namespace: String,
    name: String,
    address: String,
}

fn pod(cluster: &Cluster, namespace: &str, app: &str) -> Pod {
    let found = cluster.object(&["pods", "-n", namespace, "-l", &format!("app={app}")]);
    let pod = &found["items"][0];
    Pod {
        namespace: namespace.to_owned(),
        name: pod["metadata"]["name"].as_str().unwrap().to_owned(),
        address: pod["status"]["podIP"].as_str().unwrap().to_owned(),
    }
}

/// Whether one connects to the other, and is answered.
fn connects(cluster: &Cluster, from: &Pod, to: &Pod) -> bool {
    let ask = format!("timeout 2 cat < /dev/tcp/{}/8080", to.address);
    let ran: Ran = cluster.kubectl(&[
        "-n",
        &from.namespace,
        "exec",
        &from.name,
        "--",
        "timeout",
        "4",
        "bash",
        "-c",
        &ask,
    ]);
    ran.stdout.contains("hello")
}

/// Policies are enforced a moment after they or a pod were made: asked again until it is so.
#[track_caller]
fn comes_to(cluster: &Cluster, wanted: bool, from: &Pod, to: &Pod) {
    assert!(
        (0..10).any(|_| connects(cluster, from, to) == wanted),
        "{} of {} connects to {} of {}: {}",
        from.name,
        from.namespace,
        to.name,
        to.namespace,
        !wanted
    );
}

#[test]
fn neighbours_connect_only_where_the_stack_lets_them() {
    let Some(cluster) = Cluster::shared() else { return };
    let up = |guardrails: &str| {
        let house = House::raw(cluster, "kiso");
        house.objects(&pods());
        if !guardrails.is_empty() {
            house.edit("envctl.yaml", |text| {
                text.replace("guardrails: {", &format!("guardrails: {{{guardrails}, "))
            });
        }
        house.envctl(&["up"]).exits(0);
        house
    };
    let (isolated, neighbour) = (up(""), up(""));
    let web = pod(cluster, &isolated.environment(), "web");
    let own = pod(cluster, &isolated.environment(), "client");
    let theirs = pod(cluster, &neighbour.environment(), "client");
    comes_to(cluster, true, &own, &web);
    comes_to(cluster, false, &theirs, &web);

    // A namespace that is no environment is a neighbour like any other.
    let foreign = format!("{}-foreign", isolated.project);
    cluster.kubectl(&["create", "namespace", &foreign]).exits(0);
    cluster
        .kubectl(&[
            "-n",
            &foreign,
            "create",
            "deployment",
            "client",
            "--image",
            IMAGE,
            "--",
            "sleep",
            "infinity",
        ])
        .exits(0);
    cluster
        .kubectl(&[
            "-n",
            &foreign,
            "wait",
            "--for=condition=Available",
            "--timeout=120s",
            "deployment/client",
        ])
        .exits(0);
    let stranger = pod(cluster, &foreign, "client");
    comes_to(cluster, false, &stranger, &web);

    // Of the networks that the platform lets in, the stack names one.
    let platform = ["-n", "envctl-system", "patch", "configmap", "envctl-platform", "--type=merge", "-p"];
    let networks = json!({"data": {"allowIngressFrom": format!("{MACHINES}\n10.244.0.0/16\n")}}).to_string();
    cluster.kubectl(&[&platform[..], &[&networks]].concat()).exits(0);
    let allowing = up(&format!("allowIngressFrom: [{}/32]", theirs.address));
    let allowed = pod(cluster, &allowing.environment(), "web");
    comes_to(cluster, true, &theirs, &allowed);
    comes_to(cluster, false, &stranger, &allowed);
    let networks = json!({"data": {"allowIngressFrom": format!("{MACHINES}\n")}}).to_string();
    cluster.kubectl(&[&platform[..], &[&networks]].concat()).exits(0);

    // The control: it is the policy that keeps them out.
    let open = up("isolateIngress: false");
    let unprotected = pod(cluster, &open.environment(), "web");
    comes_to(cluster, true, &theirs, &unprotected);
    comes_to(cluster, true, &stranger, &unprotected);

    // An environment that was isolated stays so, and `up` says it.
    neighbour
        .edit("envctl.yaml", |text| text.replace("guardrails: {", "guardrails: {isolateIngress: false, "));
    neighbour.envctl(&["up"]).exits(0).says("NetworkPolicy envctl of the namespace stays as it was made");

    for house in [isolated, neighbour, allowing, open] {
        house.envctl(&["down", "--yes"]).exits(0).says("0 left");
    }
    cluster.kubectl(&["delete", "namespace", &foreign, "--wait=false"]).exits(0);
}
