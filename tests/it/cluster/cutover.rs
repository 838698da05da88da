//! A cutover in what plays production: a cluster of a protected account, machines, a HAProxy that serves requests all the
//! time, and counters of them.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use envctl_rehearse::haproxy::Config;
use envctl_rehearse::haproxy::config::BACKEND;
use serde_json::{Value, json};

use super::rehearse::{Rehearsal, SERVER};
use crate::support::cluster::{Cluster, IMAGE};
use crate::support::disk::SmallDisk;
use crate::support::{Ran, envctl, free_port, has_time_for, have, root};

pub(super) const ACCOUNT: &str = "555555555555";
pub(super) const NAMESPACE: &str = "photos";

/// What a cutover acts on.
struct Production {
    cluster: Cluster,
    /// What the names of machines begin with.
    machines: String,
    directory: tempfile::TempDir,
    haproxy: Child,
    prometheus: Child,
    /// Where HAProxy takes requests, and commands.
    ports: [u16; 2],
    /// Where Prometheus answers.
    counters: u16,
    traffic: Traffic,
}

/// Somebody who asks for things all the time.
struct Traffic {
    asking: Arc<AtomicBool>,
    well: Arc<AtomicU64>,
    failed: Arc<AtomicU64>,
    thread: Option<JoinHandle<()>>,
}

impl Traffic {
    fn start(port: u16) -> Self {
        let (asking, well, failed) =
            (Arc::new(AtomicBool::new(true)), Arc::<AtomicU64>::default(), Arc::<AtomicU64>::default());
        let (go_on, good, bad) = (Arc::clone(&asking), Arc::clone(&well), Arc::clone(&failed));
        let thread = std::thread::spawn(move || {
            while go_on.load(Ordering::Relaxed) {
                let is_well = ask(port).is_ok_and(|answer| answer.starts_with("HTTP/1.1 200"));
                if is_well { &good } else { &bad }.fetch_add(1, Ordering::Relaxed);
                std::thread::sleep(Duration::from_millis(15));
            }
        });
        Self { asking, well, failed, thread: Some(thread) }
    }
}

fn ask(port: u16) -> std::io::Result<String> {
    let mut stream = TcpStream::connect(("127.0.0.1", port))?;
    stream.set_read_timeout(Some(Duration::from_secs(10)))?;
    stream.write_all(b"GET /greeting HTTP/1.1\r\nHost: photos\r\nConnection: close\r\n\r\n")?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    Ok(answer)
}

/// A cluster of a protected account.
pub(super) fn cluster() -> Option<Cluster> {
    Cluster::own("production", &["--account", ACCOUNT])
}

/// Installs the new side, with nothing of it running.
pub(super) fn install(cluster: &Cluster, new: &[Value]) {
    cluster.kubectl(&["create", "namespace", NAMESPACE]).exits(0);
    for object in new {
        let mut object = object.clone();
        object["metadata"]["namespace"] = NAMESPACE.into();
        if object["kind"] == "Deployment" {
            object["spec"]["replicas"] = 0.into();
        }
        cluster.apply(&object);
    }
    allow(cluster);
}

/// How many pods there are of the new side.
pub(super) fn pods(cluster: &Cluster) -> usize {
    let pods = cluster.kubectl(&["-n", NAMESPACE, "get", "pods", "-o", "name"]).exits(0);
    pods.stdout.lines().count()
}

pub(super) fn docker(words: &[&str]) -> String {
    Ran::of(Command::new("docker").args(words)).exits(0).stdout.trim().to_owned()
}

impl Production {
    /// With the new side installed, and nothing of it running.
    fn start(name: &str, new: &[Value]) -> Option<Self> {
        let cluster = cluster()?;
        install(&cluster, new);
        let directory = tempfile::tempdir().unwrap();
        // What leads from the router to the new side is production's own.
        cluster.apply(&json!({
            "apiVersion": "v1", "kind": "Service", "metadata": {"name": "from-router", "namespace": NAMESPACE},
            "spec": {"type": "NodePort", "selector": {"app": name}, "ports": [{"port": 80, "targetPort": 8000}]}
        }));
        let service = cluster.object(&["service", "from-router", "-n", NAMESPACE]);
        let port = service["spec"]["ports"][0]["nodePort"].as_u64().unwrap();
        let nodes = cluster.object(&["nodes"]);
        let addresses = nodes["items"][0]["status"]["addresses"].as_array().unwrap().clone();
        let node = addresses.iter().find(|address| address["type"] == "InternalIP").unwrap();
        let new: SocketAddr = format!("{}:{port}", node["address"].as_str().unwrap()).parse().unwrap();

        let machines = format!("{name}-machine");
        let old = [1, 2].map(|number| {
            let (name, port) = (format!("{machines}-{number}"), free_port());
            let publish = format!("127.0.0.1:{port}:8000");
            docker(&[
                "run",
                "-d",
                "--name",
                &name,
                "-p",
                &publish,
                "-e",
                "GREETING=hello",
                IMAGE,
                "perl",
                "-e",
                SERVER,
            ]);
            SocketAddr::from(([127, 0, 0, 1], port))
        });
        let ports = [free_port(), free_port()];
        let local = |port| SocketAddr::from(([127, 0, 0, 1], port));
        let config = Config {
            bind: local(ports[0]),
            runtime: local(ports[1]),
            log: local(9),
            old: old.to_vec(),
            new: vec![new],
            slots: 2,
            percent: 0,
            max_body: None,
            idle_timeout: Duration::from_secs(60),
        };
        let file = directory.path().join("haproxy.cfg");
        std::fs::write(&file, config.render().unwrap()).unwrap();
        let haproxy = Command::new(haproxy()).arg("-f").arg(&file).arg("-db").spawn().unwrap();
        for port in ports {
            while TcpStream::connect(("127.0.0.1", port)).is_err() {
                std::thread::sleep(Duration::from_millis(20));
            }
        }
        while !ask(ports[0]).is_ok_and(|answer| answer.starts_with("HTTP/1.1 200")) {
            std::thread::sleep(Duration::from_millis(50));
        }
        let faults = directory.path().join("faults");
        std::fs::write(&faults, "0").unwrap();
        let mut prometheus = Command::new("python3");
        prometheus
            .arg(root().join("tests/support/prometheus.py"))
            .arg(ports[1].to_string())
            .arg(BACKEND)
            .arg(&faults);
        let mut prometheus = prometheus.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        let mut line = String::new();
        BufReader::new(prometheus.stdout.take().unwrap()).read_line(&mut line).unwrap();
        let counters = line.trim().parse().unwrap();
        let traffic = Traffic::start(ports[0]);
        Some(Self { cluster, machines, directory, haproxy, prometheus, ports, counters, traffic })
    }

    /// The plan's section, without what the plan needs of its own.
    fn section(&self) -> Value {
        json!({
            "target": "production",
            "namespace": NAMESPACE,
            "old": {
                "instances": 2,
                "command": ["python3", root().join("tests/support/machines.py").display().to_string(), self.machines],
            },
            "router": {
                "runtime": format!("127.0.0.1:{}", self.ports[1]),
                "configuration": self.directory.path().join("haproxy.cfg").display().to_string(),
                "backend": BACKEND,
            },
            "metrics": {
                "prometheus": format!("http://127.0.0.1:{}", self.counters),
                "requests": "requests{side=\"$side\"}",
                "failed": "failed{side=\"$side\"}",
                "p99": "p99{side=\"$side\"}",
                // It asks HAProxy whenever it is asked.
                "lag": "500ms",
            },
            "bake": "4s",
            "stopAfter": ["setWeight=50"],
        })
    }

    /// The weights of all servers, in the running process and in its configuration, by side.
    fn weights(&self) -> [[u64; 2]; 2] {
        let mut stream = TcpStream::connect(("127.0.0.1", self.ports[1])).unwrap();
        stream.write_all(format!("show servers state {BACKEND}\n").as_bytes()).unwrap();
        let mut text = String::new();
        stream.read_to_string(&mut text).unwrap();
        let mut running = [0, 0];
        for line in text.lines().filter(|line| line.contains(BACKEND)) {
            let words: Vec<_> = line.split_whitespace().collect();
            // Of servers in maintenance the weight counts for nothing.
            if words[6].parse::<u64>().unwrap() & 0x23 == 0 {
                running[usize::from(words[3].starts_with("new"))] += words[7].parse::<u64>().unwrap();
            }
        }
        let mut configured = [0, 0];
        let text = std::fs::read_to_string(self.directory.path().join("haproxy.cfg")).unwrap();
        for line in text.lines().map(str::trim).filter(|line| line.starts_with("server ")) {
            let words: Vec<_> = line.split_whitespace().collect();
            let weight = words
                .iter()
                .position(|word| *word == "weight")
                .map(|at| words[at + 1].parse::<u64>().unwrap());
            if !words.contains(&"disabled") {
                configured[usize::from(words[1].starts_with("new"))] += weight.unwrap_or(0);
            }
        }
        [running, configured]
    }

    fn pods(&self) -> usize {
        pods(&self.cluster)
    }

    /// Claims of evidence.
    fn claims(&self) -> Vec<String> {
        let maps = self.cluster.object(&["configmaps", "-n", NAMESPACE]);
        let names =
            maps["items"].as_array().unwrap().iter().map(|map| map["metadata"]["name"].as_str().unwrap());
        names.filter(|name| name.starts_with("envctl-cutover-")).map(str::to_owned).collect()
    }

    fn failed(&self) -> u64 {
        self.traffic.failed.load(Ordering::Relaxed)
    }
}

impl Drop for Production {
    fn drop(&mut self) {
        self.traffic.asking.store(false, Ordering::Relaxed);
        let _ = self.traffic.thread.take().unwrap().join();
        for child in [&mut self.haproxy, &mut self.prometheus] {
            let _ = child.kill();
            let _ = child.wait();
        }
        for number in [1, 2] {
            let _ =
                Command::new("docker").args(["rm", "-f", &format!("{}-{number}", self.machines)]).output();
        }
    }
}

/// Rights of who is on duty: what a cutover needs, and no more.
fn allow(cluster: &Cluster) {
    let read = ["get", "list", "watch"];
    cluster.apply(&json!({
        "apiVersion": "rbac.authorization.k8s.io/v1", "kind": "Role",
        "metadata": {"name": "cutover", "namespace": NAMESPACE},
        "rules": [
            {"apiGroups": [""], "resources": ["pods", "pods/log", "events", "services", "persistentvolumeclaims"], "verbs": read},
            {"apiGroups": ["apps"], "resources": ["deployments", "statefulsets", "daemonsets", "replicasets"], "verbs": read},
            {"apiGroups": ["batch"], "resources": ["cronjobs", "jobs"], "verbs": read},
            {"apiGroups": ["networking.k8s.io"], "resources": ["ingresses"], "verbs": read},
            {"apiGroups": ["discovery.k8s.io"], "resources": ["endpointslices"], "verbs": read},
            {"apiGroups": ["apps"], "resources": ["deployments", "statefulsets"], "verbs": ["patch"]},
            {"apiGroups": ["batch"], "resources": ["cronjobs"], "verbs": ["patch"]},
            {"apiGroups": [""], "resources": ["configmaps"], "verbs": ["get", "create"]},
        ]
    }));
    let me = Ran::of(cluster.kubectl_as("aki").args(["auth", "whoami", "-o", "json"])).exits(0).json();
    cluster.apply(&json!({
        "apiVersion": "rbac.authorization.k8s.io/v1", "kind": "RoleBinding",
        "metadata": {"name": "on-duty", "namespace": NAMESPACE},
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": "cutover"},
        "subjects": [{"apiGroup": "rbac.authorization.k8s.io", "kind": "User", "name": me["status"]["userInfo"]["username"]}],
    }));
}

fn haproxy() -> PathBuf {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let places = std::env::split_paths(&path).chain([PathBuf::from("/usr/sbin")]);
    places
        .map(|place| place.join("haproxy"))
        .find(|program| program.is_file())
        .unwrap_or_else(|| "haproxy".into())
}

/// `envctl cutover` in production, with this typed.
fn cutover(rehearsal: &Rehearsal, production: &Production, arguments: &[&str], typed: &str) -> Ran {
    run_cutover(rehearsal, &production.cluster, &[], arguments, typed)
}

/// Rehearses the cutover, with this section `production` in its plan.
pub(super) fn gain_evidence(rehearsal: &mut Rehearsal, production: &Cluster, section: Value) {
    let target = production.target("aki", "");
    rehearsal.house.edit("envctl.yaml", |text| {
        text.replace(
            "targets:",
            &format!("protected: {{accounts: [\"{ACCOUNT}\"]}}\ntargets:\n  production: {target}"),
        )
    });
    rehearsal.all["plan"]["production"] = section;
    rehearsal.signed();
}

/// `envctl cutover` in production, with these variables and with this typed.
pub(super) fn run_cutover(
    rehearsal: &Rehearsal,
    production: &Cluster,
    variables: &[(&str, &str)],
    arguments: &[&str],
    typed: &str,
) -> Ran {
    let mut command = rehearsal.house.command(envctl());
    command.args(["cutover", "rehearsal/plan.yaml", "--key", "key.pem"]).args(arguments);
    command.envs(production.environment()).envs(variables.iter().copied());
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().unwrap();
    // Who refuses at once does not read it.
    let _ = writeln!(child.stdin.take().unwrap(), "{typed}");
    let ran = Ran::from(child.wait_with_output().unwrap());
    eprintln!("--- cutover {arguments:?} ---\n{}{}", ran.stdout, ran.stderr);
    ran
}

/// Where a cutover is rehearsed whose requests go through a router; none, and said, where that cannot be.
fn place() -> Option<&'static Cluster> {
    let cluster = Cluster::shared()?;
    if !have(&["docker", "helm", "python3"]) {
        return None;
    }
    if !haproxy().is_file() {
        crate::support::skip("haproxy is not installed");
        return None;
    }
    Some(cluster)
}

#[test]
fn a_cutover_needs_evidence_stops_where_the_plan_says_and_goes_back_when_a_gate_fails() {
    let Some(cluster) = place() else { return };
    let mut rehearsal = Rehearsal::short(cluster, "kcut");
    let disk = SmallDisk::at(&rehearsal.house.state(), "64m");
    let name = rehearsal.house.project.clone();
    let Some(production) = Production::start(&name, &rehearsal.objects()) else { return };
    for step in [2, 3] {
        rehearsal.all["plan"]["steps"][step]["bake"]["atLeast"] = "4s".into();
    }
    gain_evidence(&mut rehearsal, &production.cluster, production.section());
    let house = &rehearsal.house;

    // Nothing else changes anything there.
    for verb in [&["up", "--target", "production"][..], &["down", "--yes", "--target", "production"]] {
        let mut command = house.command(envctl());
        command.args(verb).envs(production.cluster.environment());
        Ran::of(&mut command).exits(3).says(&format!("account `{ACCOUNT}` is protected"));
    }
    let evidence = ["--evidence", "rehearsal.intoto.jsonl"];
    // What is not as it was rehearsed is refused before anybody is asked.
    let values = std::fs::read_to_string(house.src().join("values.json")).unwrap();
    house.edit("values.json", |text| text.replace("\"hello\"", "\"good day\""));
    cutover(&rehearsal, &production, &evidence, &name)
        .exits(3)
        .says("the evidence does not permit this cutover")
        .says("are not those that were rehearsed");
    std::fs::write(house.src().join("values.json"), values).unwrap();
    // Who does not mean it types something else.
    cutover(&rehearsal, &production, &evidence, "api").exits(3).says("nothing was changed");
    assert_old(&production);
    assert_eq!(production.claims(), [""; 0]);

    // Up to where its process dies, and then up to where the plan says that it stops.
    let killed = [("ENVCTL_FAILPOINT", "03-do-setWeight@after-effect")];
    run_cutover(&rehearsal, &production.cluster, &killed, &evidence, &name)
        .exits(-1)
        .says(&format!("account {ACCOUNT}"))
        .says("stops here until somebody goes on");
    cutover(&rehearsal, &production, &["--resume"], "")
        .exits(0)
        .says(&format!("cutover    {name} STOPPED"))
        .says("after setWeight=50, as the plan says");
    assert_halves(&production);
    assert_eq!((production.pods(), production.claims().len()), (2, 1));
    cutover(&rehearsal, &production, &evidence, &name)
        .exits(3)
        .says("a cutover by this plan is not over")
        .says("--resume");
    // Another machine does not know of it, and the cluster does.
    let elsewhere = tempfile::tempdir().unwrap();
    let elsewhere = [("ENVCTL_STATE_DIR", elsewhere.path().to_str().unwrap())];
    run_cutover(&rehearsal, &production.cluster, &elsewhere, &evidence, &name)
        .exits(3)
        .says("this evidence was used already, for the cutover of");

    cutover(&rehearsal, &production, &["--resume"], "").exits(0).says(&format!("cutover    {name} DONE"));
    let [running, configured] = production.weights();
    assert_eq!((running[0], configured[0]), (0, 0), "{running:?} {configured:?}");
    cutover(&rehearsal, &production, &["--resume"], "").exits(2).says("there is nothing to go on with");
    // As long as the old side is there, there is a way back, whatever has become of the chart.
    let chart = house.src().join("chart/Chart.yaml");
    let written = std::fs::read_to_string(&chart).unwrap();
    house.edit("chart/Chart.yaml", |text| format!("{text}\n# Another one.\n"));
    cutover(&rehearsal, &production, &["--abort"], "").exits(0).says(&format!("cutover    {name} BACK"));
    assert_old(&production);
    std::fs::write(&chart, written).unwrap();
    assert_eq!(production.failed(), 0, "of {} requests", production.traffic.well.load(Ordering::Relaxed));

    // As if that evidence were another one: this time the new side fails.
    let half_way = || {
        for claim in production.claims() {
            production.cluster.kubectl(&["-n", NAMESPACE, "delete", "configmap", &claim]).exits(0);
        }
        cutover(&rehearsal, &production, &evidence, &name).exits(0).says("STOPPED");
    };
    half_way();
    let faults = production.directory.path().join("faults");
    std::fs::write(&faults, "500").unwrap();
    cutover(&rehearsal, &production, &["--resume"], "")
        .exits(4)
        .says("gate noFailedRequest failed")
        .says("withinAvailability")
        .says(&format!("cutover    {name} BACK"));
    assert_old(&production);
    assert_eq!(production.failed(), 0);
    let kept = std::fs::read_dir(house.state().join("cutovers")).map(|entries| entries.count()).unwrap_or(0);
    assert_eq!(kept, 0, "nothing of it is left");

    // The disk of who is on duty is full: nothing goes forward, and the way back is open.
    let Some(disk) = disk else { return };
    std::fs::write(faults, "0").unwrap();
    half_way();
    disk.fill();
    cutover(&rehearsal, &production, &["--resume"], "")
        .exits(4)
        .says("No space left on device")
        .says("gone back, and that broke something, or could not be judged")
        .says(&format!("cutover    {name} BACK"));
    // Nobody has watched for a while what came of it: pods may just be ending.
    let begun = Instant::now();
    while production.pods() > 0 {
        assert!(begun.elapsed() < Duration::from_secs(60), "pods of the new side go on");
        std::thread::sleep(Duration::from_millis(200));
    }
    assert_old(&production);
    assert_eq!(production.failed(), 0);
}

#[test]
fn the_name_of_an_internal_tool_is_switched_in_production_as_it_was_rehearsed() {
    if !has_time_for("a name that is switched in production") {
        return;
    }
    let Some(cluster) = place() else { return };
    let mut rehearsal = Rehearsal::endpoint(cluster, "kcutname");
    rehearsal.all["plan"]["rollback"]["drill"] = "lastStep".into();
    rehearsal.all["plan"]["faults"] = json!([]);
    let name = rehearsal.house.project.clone();
    let Some(production) = Production::start(&name, &rehearsal.objects()) else { return };
    // Whoever keeps asking at the old address, as all do here, is sent on by the router that stands there.
    let record = production.directory.path().join("name");
    std::fs::write(&record, "old").unwrap();
    let leads_to = || std::fs::read_to_string(&record).unwrap();
    let machines = || {
        let filter = format!("name=^{}-", production.machines);
        docker(&["ps", "-q", "--filter", &filter]).lines().count()
    };
    let mut section = production.section();
    section["old"]["command"].as_array_mut().unwrap().push(record.display().to_string().into());
    section["stopAfter"] = json!(["switchName"]);
    gain_evidence(&mut rehearsal, &production.cluster, section);

    cutover(&rehearsal, &production, &["--evidence", "rehearsal.intoto.jsonl"], &name)
        .exits(0)
        .says(&format!("cutover    {name} STOPPED"))
        .says("after switchName, as the plan says");
    let [running, configured] = production.weights();
    assert_eq!((running[0], configured[0], leads_to(), machines()), (0, 0, "new".to_owned(), 2));
    cutover(&rehearsal, &production, &["--resume"], "").exits(0).says(&format!("cutover    {name} DONE"));
    assert_eq!((production.pods(), machines()), (2, 0));
    cutover(&rehearsal, &production, &["--abort"], "").exits(0).says(&format!("cutover    {name} BACK"));
    assert_old(&production);
    assert_eq!((leads_to(), machines()), ("old".to_owned(), 2));
    assert_eq!(production.failed(), 0, "of {} requests", production.traffic.well.load(Ordering::Relaxed));
}

/// The old side does all of the work, and nothing of the new one runs.
fn assert_old(production: &Production) {
    let [running, configured] = production.weights();
    assert_eq!((running[1], configured[1], production.pods()), (0, 0, 0), "{running:?} {configured:?}");
    assert!(running[0] > 0 && configured[0] > 0, "{running:?} {configured:?}");
}

/// Both sides get as much, now and after a restart.
fn assert_halves(production: &Production) {
    let [running, configured] = production.weights();
    for weights in [running, configured] {
        assert!(weights[0] == weights[1] && weights[0] > 0, "{weights:?}");
    }
}
