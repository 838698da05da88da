//! The days between up and down: what one sees, and what one does with it.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::TcpStream;
use std::process::Stdio;

use serde_json::{Value, json};

use crate::support::cluster::{Cluster, IMAGE};
use crate::support::{House, Ran, envctl};

fn deployment(name: &str, replicas: i32, script: &str) -> Value {
    json!({
        "apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": name},
        "spec": {
            "replicas": replicas,
            "selector": {"matchLabels": {"app": name}},
            "template": {"metadata": {"labels": {"app": name}}, "spec": {
                "terminationGracePeriodSeconds": 1,
                "containers": [{
                    "name": name, "image": IMAGE, "command": ["sh", "-c", script],
                    "env": [{"name": "COLOUR", "value": "blue"}],
                    "resources": {"requests": {"cpu": "100m", "memory": "64Mi"}},
                }]
            }}
        }
    })
}

/// Answers each connection to port 8000 with one line.
const SERVER: &str = "echo serving; trap 'exit 0' TERM; perl -MIO::Socket::INET -e '$s = IO::Socket::INET->new(\
    LocalPort => 8000, Listen => 9, ReuseAddr => 1); while ($c = $s->accept) { print $c \"hello from $ENV{HOSTNAME}\\n\"; \
    close $c }' & wait";

fn stack() -> Vec<Value> {
    vec![
        deployment("api", 2, SERVER),
        deployment("worker", 1, "echo working; trap 'exit 0' TERM; sleep 1000000 & wait"),
        deployment("spare", 0, "sleep 1000000"),
        json!({
            "apiVersion": "v1", "kind": "Service", "metadata": {"name": "api"},
            "spec": {"selector": {"app": "api"}, "ports": [{"port": 80, "targetPort": 8000}]}
        }),
        json!({
            "apiVersion": "batch/v1", "kind": "CronJob", "metadata": {"name": "digest"},
            "spec": {
                "schedule": "0 0 1 1 *",
                "jobTemplate": {"spec": {"backoffLimit": 0, "template": {"spec": {
                    "restartPolicy": "Never",
                    "containers": [{"name": "digest", "image": IMAGE, "command": ["sh", "-c", "echo digested; exit $CODE"],
                        "env": [{"name": "CODE", "value": "0"}]}]
                }}}}
            }
        }),
    ]
}

fn row<'a>(listed: &'a Value, name: &str) -> &'a Value {
    let rows = listed.as_array().unwrap().iter();
    rows.clone().find(|row| row["name"] == name).unwrap_or_else(|| panic!("no {name} in {listed:#}"))
}

fn replicas(cluster: &Cluster, namespace: &str) -> Vec<(String, i64)> {
    let all = cluster.object(&["deployments", "-n", namespace]);
    let items = all["items"].as_array().unwrap().iter();
    let of = |d: &Value| {
        (d["metadata"]["name"].as_str().unwrap().to_owned(), d["spec"]["replicas"].as_i64().unwrap())
    };
    items.map(of).collect()
}

#[test]
fn what_one_sees_and_does_day_by_day() {
    let Some(cluster) = Cluster::shared() else { return };
    let house = House::raw(cluster, "kday");
    house.objects(&stack());
    let name = house.environment();
    house.envctl(&["up"]).exits(0);

    // Everybody sees it, and nobody else may touch it.
    let listed = house.envctl(&["list", "--json"]).exits(0).json();
    let ours = row(&listed, &name);
    assert_eq!(
        (&ours["owner"], &ours["phase"], &ours["running"]),
        (&json!("aki"), &json!("ready"), &json!(3))
    );
    assert_eq!((&ours["cpu"], &ours["memory"]), (&json!("300m"), &json!("192Mi")));
    let arn = cluster.arn();
    let elsewhere = House::small("kdayother");
    let as_yui = |arguments: &[&str]| {
        let mut command = elsewhere.command(envctl());
        command.envs(cluster.environment()).current_dir("/");
        command.args(["--cluster", &arn, "--profile", "yui", "--name", &name]);
        Ran::of(command.args(arguments))
    };
    assert_eq!(row(&as_yui(&["list", "--json"]).exits(0).json(), &name)["owner"], "aki");
    for verb in [
        &["sleep"][..],
        &["restart"],
        &["extend", "2h"],
        &["exec", "api", "--", "true"],
        &["run", "api", "--", "true"],
    ] {
        as_yui(verb).exits(3).says("belongs to aki, and you are yui");
    }

    let status = house.envctl(&["status", "--json"]).exits(0).json();
    let pods = status["pods"].as_array().unwrap();
    assert_eq!(pods.len(), 3);
    assert!(
        pods.iter().all(|pod| pod["ready"] == true && pod["containers"][0]["state"] == "running"),
        "{status:#}"
    );
    house.envctl(&["logs", "worker"]).exits(0).says("working");
    assert_eq!(house.envctl(&["logs", "--tail", "1"]).exits(0).stdout.lines().count(), 3);
    house
        .envctl(&["logs", "nobody"])
        .exits(2)
        .says("there is no component nobody")
        .says("there are: api, worker");

    // A command in a container that runs: its output, its input, its exit code.
    let ran =
        house.envctl(&["exec", "worker", "--", "sh", "-c", "echo $COLOUR; echo bad >&2; exit 7"]).exits(7);
    assert_eq!((ran.stdout.trim(), ran.stderr.trim()), ("blue", "bad"));
    assert_eq!(fed(&house, &["exec", "worker", "--", "wc", "-c"], b"twelve bytes").stdout.trim(), "12");
    house.envctl(&["exec", "worker", "-c", "side", "--", "true"]).exits(2).says("it has: worker");

    // One of its own: the same spec, nobody's endpoint, and gone afterwards.
    let ran = house.envctl(&["run", "api", "--", "sh", "-c", "echo $COLOUR $HOSTNAME; exit 4"]).exits(4);
    assert!(ran.stdout.starts_with("blue api-run-"), "{}", ran.stdout);
    assert_eq!(fed(&house, &["run", "api", "--", "wc", "-c"], b"twelve bytes").stdout.trim(), "12");
    house.envctl(&["job", "run", "digest"]).exits(0).says("digested");
    house.envctl(&["job", "run", "api"]).exits(2).says("there is no CronJob api").says("CronJobs: digest");
    let pods = cluster.object(&["pods", "-n", &name]);
    let one_offs = pods["items"]
        .as_array()
        .unwrap()
        .iter()
        .filter(|pod| pod["metadata"]["name"].as_str().unwrap().starts_with("api-run-"));
    assert!(
        one_offs.clone().all(|pod| pod["metadata"]["deletionTimestamp"].is_string()),
        "{:?}",
        one_offs.collect::<Vec<_>>()
    );

    // A port of this machine.
    let mut forward =
        house.command(envctl()).args(["port-forward", "api", ":80"]).stdout(Stdio::piped()).spawn().unwrap();
    let mut line = String::new();
    BufReader::new(forward.stdout.take().unwrap()).read_line(&mut line).unwrap();
    let address = line.split(" -> ").next().unwrap().to_owned();
    for _ in 0..2 {
        let mut said = String::new();
        TcpStream::connect(&address).unwrap().read_to_string(&mut said).unwrap();
        assert!(said.starts_with("hello from api-"), "{said} at {line}");
    }
    std::process::Command::new("kill").args(["-INT", &forward.id().to_string()]).status().unwrap();
    assert!(forward.wait().unwrap().success());
    house
        .envctl(&["port-forward", "api", "81"])
        .exits(2)
        .says("Service api has no port 81")
        .says("its ports: 80");

    let before = uids(cluster, &name, "worker");
    house.envctl(&["restart", "worker"]).exits(0).says("Deployment/worker");
    assert_ne!(uids(cluster, &name, "worker"), before);

    // What somebody changes by hand is seen, and the next `up` sets it back.
    assert_eq!(house.envctl(&["plan", "--json"]).exits(0).json()["drift"], json!([]));
    cluster.kubectl(&["scale", "deployment/api", "--replicas=3", "-n", &name]).exits(0);
    cluster.kubectl(&["delete", "service/api", "-n", &name]).exits(0);
    let plan = house.envctl(&["plan"]).exits(0);
    plan.says("Deployment/api spec.replicas: 2 -> 3").says("Service/api is gone");

    house.envctl(&["down", "--yes"]).exits(0).says("0 left");
}

/// A run with something to read.
fn fed(house: &House, arguments: &[&str], input: &[u8]) -> Ran {
    let mut command = house.command(envctl());
    command.args(arguments).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().unwrap();
    child.stdin.take().unwrap().write_all(input).unwrap();
    Ran::from(child.wait_with_output().unwrap()).exits(0)
}

fn uids(cluster: &Cluster, namespace: &str, app: &str) -> Vec<Value> {
    let pods = cluster.object(&["pods", "-n", namespace, "-l", &format!("app={app}")]);
    let alive = |pod: &&Value| pod["metadata"]["deletionTimestamp"].is_null();
    pods["items"].as_array().unwrap().iter().filter(alive).map(|pod| pod["metadata"]["uid"].clone()).collect()
}

#[test]
fn what_slept_wakes_as_it_was() {
    let Some(cluster) = Cluster::shared() else { return };
    let house = House::raw(cluster, "ksleep");
    let mut objects = stack();
    objects.push(json!({
        "apiVersion": "autoscaling/v2", "kind": "HorizontalPodAutoscaler", "metadata": {"name": "worker"},
        "spec": {
            "minReplicas": 1, "maxReplicas": 4,
            "scaleTargetRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": "worker"},
            "metrics": [{"type": "Resource", "resource": {"name": "cpu", "target": {"type": "Utilization", "averageUtilization": 80}}}]
        }
    }));
    house.objects(&objects);
    let name = house.environment();
    house.envctl(&["up"]).exits(0);
    // As an autoscaler has it at that moment, which no chart says.
    cluster.kubectl(&["scale", "deployment/worker", "--replicas=2", "-n", &name]).exits(0);
    let awake = replicas(cluster, &name);
    assert_eq!(awake, [("api".into(), 2), ("spare".into(), 0), ("worker".into(), 2)]);

    let asleep = house.envctl(&["sleep"]).exits(0);
    asleep.says("Deployment/api: 2 -> 0").says("CronJob/digest: suspended");
    assert!(replicas(cluster, &name).iter().all(|(_, replicas)| *replicas == 0));
    assert_eq!(cluster.object(&["cronjob", "digest", "-n", &name])["spec"]["suspend"], true);
    let listed = house.envctl(&["list", "--json"]).exits(0).json();
    assert!(row(&listed, &name)["asleep"].is_string(), "{listed:#}");
    house.envctl(&["sleep"]).exits(0).says("Deployment/api: 2 -> 0");
    assert_eq!(house.envctl(&["plan", "--json"]).exits(0).json()["drift"], json!([]));

    house.envctl(&["wake"]).exits(0).says("is awake and ready");
    assert_eq!(replicas(cluster, &name), awake);
    assert_eq!(cluster.object(&["cronjob", "digest", "-n", &name])["spec"]["suspend"], false);
    house.envctl(&["wake"]).exits(0).says("was awake");

    // `up` wakes too, and Helm finds no field in the hands of somebody else.
    house.envctl(&["sleep"]).exits(0);
    objects[0]["spec"]["replicas"] = json!(1);
    house.objects(&objects);
    house.envctl(&["up"]).exits(0);
    assert_eq!(replicas(cluster, &name)[0], ("api".into(), 1));
    assert_eq!(cluster.object(&["cronjob", "digest", "-n", &name])["spec"]["suspend"], false);
    assert!(row(&house.envctl(&["list", "--json"]).exits(0).json(), &name)["asleep"].is_null());
    house.envctl(&["sleep"]).exits(0);
    house.envctl(&["down", "--yes"]).exits(0).says("0 left");
    assert_eq!(house.in_cluster(cluster), [""; 0]);
}

#[test]
fn what_has_expired_is_collected_and_nothing_else() {
    let Some(cluster) = Cluster::shared() else { return };
    let [mine, theirs, young] = ["kgcmine", "kgctheirs", "kgcyoung"].map(|what| House::raw(cluster, what));
    let configured = json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "c"}});
    for house in [&mine, &theirs, &young] {
        house.objects(std::slice::from_ref(&configured));
    }
    mine.envctl(&["up", "--ttl", "1s"]).exits(0);
    theirs.envctl(&["up", "--ttl", "1s", "--profile", "yui"]).exits(0);
    young.envctl(&["up", "--ttl", "1h"]).exits(0);
    let [mine_is, theirs_is, young_is] = [&mine, &theirs, &young].map(House::environment);

    let looked = mine.envctl(&["gc"]).exits(0).says("nothing was removed");
    for name in [&mine_is, &theirs_is, &young_is] {
        assert!(looked.stdout.contains(name.as_str()), "{}", looked.stdout);
        assert!(cluster.object(&["namespace", name]).is_object());
    }

    // A developer collects what is theirs; what belongs to others stays.
    mine.envctl(&["gc", "--yes"]).exits(0).says(&format!("environment `{theirs_is}` belongs to yui"));
    assert!(cluster.object(&["namespace", &mine_is]).is_null());
    assert!(cluster.object(&["namespace", &theirs_is]).is_object());

    // What its owner extends is not collected.
    young.envctl(&["extend", "1m"]).exits(3).says("make its life shorter");
    young.envctl(&["extend", "3h"]).exits(0).says("expires in 3 h");

    // The platform's collector has rights in all of them. Two at once do it once.
    let arn = cluster.arn();
    let collect = || {
        let mut command = House::small("kgc").command(envctl());
        command.envs(cluster.environment()).current_dir("/");
        command
            .args(["gc", "--yes", "--cluster", &arn, "--profile", "gc"])
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        command.spawn().unwrap()
    };
    for child in [collect(), collect()] {
        Ran::from(child.wait_with_output().unwrap()).exits(0);
    }
    assert!(cluster.object(&["namespace", &theirs_is]).is_null());
    assert!(cluster.object(&["namespace", &young_is]).is_object());
    assert_eq!(theirs.in_cluster(cluster), [""; 0]);
    young.envctl(&["down", "--yes"]).exits(0).says("0 left");
}

#[test]
fn a_directory_means_what_was_chosen_for_it() {
    let house = House::small("kuse");
    let name = |house: &House| {
        let shown = house.envctl(&["config", "--json"]).exits(0).json();
        let row = shown.as_array().unwrap().iter().find(|row| row["setting"] == "name").unwrap().clone();
        (row["value"].as_str().unwrap().to_owned(), row["origin"].as_str().unwrap().to_owned())
    };
    house.envctl(&["use"]).exits(0).says("nothing was chosen here");
    house.envctl(&["use", "other"]).exits(0).says("uses other");
    assert_eq!(name(&house).0, "other");
    assert!(name(&house).1.starts_with("`envctl use` in "), "{:?}", name(&house));
    house.envctl(&["use", "--forget"]).exits(0);
    assert_eq!(name(&house).0, house.environment());
}
