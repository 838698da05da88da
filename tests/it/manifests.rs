//! Stacks that are manifests: five charts of others, as they were rendered, with a program that answers in place of
//! theirs.

use std::collections::BTreeMap;
use std::path::PathBuf;

use serde_json::{Value, json};

use crate::support::{House, have, root, skip};

/// What is different about each of them.
const STACKS: [&str; 5] = [
    "bitnami.etcd.yaml",           // a StatefulSet behind a headless Service, and a hook
    "bitnami.jupyterhub.yaml",     // a DaemonSet, init containers, ports by name
    "bitnami.discourse.yaml",      // two containers in one pod, claims, two StatefulSets
    "bitnami.mariadb-galera.yaml", // replicas that come one after the other
    "podinfo.podinfo.yaml",        // a plain Deployment, and pods that are tests
];

/// Answers on every port that it is given with what it was told, as any web server would.
const MIMIC: &str = r#"
    use IO::Socket::INET; use IO::Select;
    $SIG{TERM} = sub { exit };
    sleep unless @ARGV;
    my $ports = IO::Select->new(map { IO::Socket::INET->new(LocalPort => $_, Listen => 16, ReuseAddr => 1) or die "$_: $!" } @ARGV);
    for (;;) {
        for my $port ($ports->can_read) {
            my $client = $port->accept or next;
            defined(my $request = <$client>) or next;
            while (my $line = <$client>) { last if $line =~ /^\r?$/ }
            print $client "HTTP/1.1 200 OK\r\nContent-Length: " . length($ENV{MIMIC}) . "\r\nConnection: close\r\n\r\n$ENV{MIMIC}";
        }
    }"#;

/// Asks each `HOST:PORT`, and prints what answered.
const ASK: &str = r#"
    use IO::Socket::INET;
    for my $at (@ARGV) {
        my $server = IO::Socket::INET->new(PeerAddr => $at, Timeout => 10);
        print "$at: ", $server ? do { print $server "GET / HTTP/1.0\r\n\r\n"; local $/; (<$server> // "") =~ s/.*\r\n\r\n//sr } : $!, "\n";
    }"#;

/// The objects of a file of the corpus, with the mimic in place of all images, and a route to the last Service: before
/// it are those of the chart's databases.
#[derive(Debug)]
struct Stack {
    objects: Vec<Value>,
}

impl Stack {
    fn read(path: &PathBuf) -> Self {
        let text = std::fs::read_to_string(path).unwrap();
        let parsed = envctl_translate::parse(&text, "corpus").unwrap();
        let mut objects: Vec<_> = parsed.into_iter().map(|object| object.body).collect();
        for object in &mut objects {
            // They were rendered for a namespace of their own.
            object["metadata"].as_object_mut().unwrap().remove("namespace");
            let ends = matches!(object["kind"].as_str(), Some("Job" | "Pod"));
            if let Some(pod) = pod_of(object) {
                mimic(pod, ends);
            }
        }
        let mut stack = Self { objects };
        let (service, port) = stack.services().pop().unwrap();
        let backend = json!({"service": {"name": service, "port": {"number": port}}});
        stack.objects.push(json!({
            "apiVersion": "networking.k8s.io/v1", "kind": "Ingress", "metadata": {"name": "front"},
            "spec": {"rules": [{"host": "HOST", "http": {"paths": [
                {"path": "/", "pathType": "Prefix", "backend": backend}]}}]},
        }));
        stack
    }

    fn of_kind<'a>(&'a self, kinds: &'a [&str]) -> impl Iterator<Item = &'a Value> {
        self.objects.iter().filter(move |object| kinds.iter().any(|kind| object["kind"] == *kind))
    }

    /// The workloads that stay, by name.
    fn workloads(&self) -> Vec<String> {
        let found = self.of_kind(&["Deployment", "StatefulSet", "DaemonSet"]);
        found.map(|object| object["metadata"]["name"].as_str().unwrap().to_owned()).collect()
    }

    /// The TCP ports of Services that lead to pods, those of headless ones among them.
    fn services(&self) -> Vec<(String, u64)> {
        let services = self.of_kind(&["Service"]).filter(|service| service["spec"]["selector"].is_object());
        let ports = services.flat_map(|service| {
            let name = service["metadata"]["name"].as_str().unwrap();
            let ports = service["spec"]["ports"].as_array().unwrap().iter();
            let tcp = ports.filter(|port| port["protocol"] != "UDP");
            tcp.map(move |port| (name.to_owned(), port["port"].as_u64().unwrap()))
        });
        ports.collect()
    }

    /// The workload that is reached from outside.
    fn front(&self) -> String {
        let (front, _) = self.services().pop().unwrap();
        let mut services = self.of_kind(&["Service"]);
        let service = services.find(|service| service["metadata"]["name"] == front.as_str()).unwrap();
        let selector = service["spec"]["selector"].as_object().unwrap();
        let mut workloads = self.of_kind(&["Deployment", "StatefulSet", "DaemonSet"]);
        let behind = workloads.find(|workload| {
            let labels = &workload["spec"]["template"]["metadata"]["labels"];
            selector.iter().all(|(key, value)| labels[key] == *value)
        });
        behind.unwrap()["metadata"]["name"].as_str().unwrap().to_owned()
    }

    /// Tells one workload what to answer.
    fn tell(&mut self, workload: &str, answer: &str) {
        let found = self
            .objects
            .iter_mut()
            .find(|object| object["metadata"]["name"] == workload && object["spec"]["template"].is_object());
        for container in pod_of(found.unwrap()).unwrap()["containers"].as_array_mut().unwrap() {
            let env = container["env"].as_array_mut().unwrap().iter_mut();
            env.filter(|variable| variable["name"] == "MIMIC")
                .for_each(|variable| variable["value"] = answer.into());
        }
    }

    fn write(&self, house: &House, host: &str) {
        let documents: Vec<_> =
            self.objects.iter().map(|object| object.to_string().replace("HOST", host)).collect();
        std::fs::write(house.src().join("stack.yaml"), documents.join("\n---\n")).unwrap();
    }
}

/// The pod that an object makes.
fn pod_of(object: &mut Value) -> Option<&mut Value> {
    let path = match object["kind"].as_str()? {
        "Pod" => "/spec",
        "CronJob" => "/spec/jobTemplate/spec/template/spec",
        "Deployment" | "StatefulSet" | "DaemonSet" | "Job" => "/spec/template/spec",
        _ => return None,
    };
    object.pointer_mut(path)
}

/// Replaces all images, and what is run in them.
fn mimic(pod: &mut Value, ends: bool) {
    for container in pod["initContainers"].as_array_mut().into_iter().flatten() {
        replace(container, json!(["true"]), json!([]));
    }
    for container in pod["containers"].as_array_mut().unwrap() {
        let ports = container["ports"].as_array().into_iter().flatten();
        let tcp = ports.filter(|port| port["protocol"] != "UDP");
        let ports: Vec<_> = tcp.map(|port| port["containerPort"].to_string()).collect();
        let (command, arguments) =
            if ends { (json!(["true"]), json!([])) } else { (json!(["perl", "-e", MIMIC]), json!(ports)) };
        replace(container, command, arguments);
        for probe in ["livenessProbe", "readinessProbe", "startupProbe"] {
            let Some(probe) = container.get_mut(probe).and_then(Value::as_object_mut) else { continue };
            // Nothing has to warm up.
            probe.insert("initialDelaySeconds".to_owned(), 0.into());
            probe.insert("periodSeconds".to_owned(), 1.into());
            if let Some(exec) = probe.get_mut("exec") {
                exec["command"] = json!(["true"]);
            }
            probe.get_mut("httpGet").and_then(Value::as_object_mut).map(|get| get.remove("scheme"));
        }
        let env = container.as_object_mut().unwrap().entry("env").or_insert(json!([]));
        env.as_array_mut().unwrap().push(json!({"name": "MIMIC", "value": "first"}));
    }
}

fn replace(container: &mut Value, command: Value, arguments: Value) {
    container["image"] = "debian:bookworm-slim".into();
    container["command"] = command;
    container["args"] = arguments;
    container.as_object_mut().unwrap().remove("lifecycle");
}

/// The containers of an environment, by the workload whose name theirs begin with.
fn containers(house: &House, workload: &str) -> Vec<String> {
    let filter = format!("name=^/{}-{workload}-", house.environment());
    let listed = std::process::Command::new("docker")
        .args(["ps", "--quiet", "--no-trunc", "--filter", &filter])
        .output()
        .unwrap();
    let mut ids: Vec<_> = String::from_utf8_lossy(&listed.stdout).lines().map(str::to_owned).collect();
    ids.sort();
    ids
}

fn goes_up_answers_changes_and_leaves_nothing(file: &str, path: &PathBuf) {
    let house = House::new("man");
    let name = house.environment();
    let host = format!("front.{name}.localhost");
    std::fs::write(
        house.src().join("envctl.yaml"),
        format!(
            "apiVersion: envctl/v1\nkind: Stack\nproject: {}\nmanifests: {{files: [stack.yaml]}}\n\
             targets:\n  local: {{kind: compose}}\ndefaults: {{target: local, ttl: 1h}}\n",
            house.project
        ),
    )
    .unwrap();
    let mut stack = Stack::read(path);
    stack.write(&house, &host);
    house.envctl(&["up"]).exits(0);

    let (workloads, front) = (stack.workloads(), stack.front());
    let services: Vec<_> = stack.services().iter().map(|(name, port)| format!("{name}:{port}")).collect();
    let mut ask = vec!["exec", &front, "--", "perl", "-e", ASK];
    ask.extend(services.iter().map(String::as_str));
    let said = house.envctl(&ask).exits(0).stdout;
    let expected: String = services.iter().map(|service| format!("{service}: first\n")).collect();
    assert_eq!(said, expected, "{file}");
    assert_eq!(house.get(&host, "/"), (200, "first".to_owned()), "{file}");

    // One workload changes, and nothing else is made anew.
    let before: BTreeMap<_, _> = workloads.iter().map(|w| (w, containers(&house, w))).collect();
    assert!(before.values().all(|ids| !ids.is_empty()), "{file}: {before:?}");
    stack.tell(&front, "second");
    stack.write(&house, &host);
    house.envctl(&["up"]).exits(0);
    let after: BTreeMap<_, _> = workloads.iter().map(|w| (w, containers(&house, w))).collect();
    for workload in &workloads {
        let kept = before[workload] == after[workload];
        assert_eq!(kept, *workload != front, "{file} {workload}: {before:?} {after:?}");
    }
    assert_eq!(house.get(&host, "/"), (200, "second".to_owned()), "{file}");

    house.envctl(&["down", "--yes"]).exits(0).says("0 left");
    assert_eq!(house.on_engine(), [""; 0], "{file}");
}

#[test]
fn five_stacks_of_others_go_up_answer_change_and_leave_nothing() {
    if !have(&["docker", "curl"]) {
        return;
    }
    let corpus =
        std::env::var_os("ENVCTL_CORPUS").map_or_else(|| root().join("../shared/corpus"), PathBuf::from);
    let paths = STACKS.map(|file| (file, corpus.join(file)));
    if let Some((file, _)) = paths.iter().find(|(_, path)| !path.is_file()) {
        skip(format_args!("there is no {file} in {} (ENVCTL_CORPUS)", corpus.display()));
        return;
    }
    std::thread::scope(|scope| {
        for (file, path) in &paths {
            scope.spawn(|| goes_up_answers_changes_and_leaves_nothing(file, path));
        }
    });
}
