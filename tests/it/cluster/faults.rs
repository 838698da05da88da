//! Faults of the world around: helm is killed, the API server restarts or cannot be reached, the bucket of
//! the Terraform state is away.

use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use super::converge::{Stack, States, config_map, job, left_of};
use crate::support::cluster::Cluster;
use crate::support::{House, Ran, Running, envctl, have};

fn started(house: &House, arguments: &[&str]) -> Running {
    Running::start(house.command(envctl()).args(arguments))
}

/// Waits until an object of the house's namespace is there.
fn await_object(cluster: &Cluster, house: &House, object: &str) {
    let name = house.environment();
    cluster.kubectl(&["wait", "--for=create", object, "-n", &name, "--timeout=120s"]).exits(0);
}

/// Waits until a hook has been started by this `up`, and kills its helm.
fn kill_helm(cluster: &Cluster, house: &House, hook: &str) {
    await_object(cluster, house, &format!("job/{hook}"));
    let state = house.state().display().to_string();
    let is_helm = |pid: &u32| {
        let line = std::fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
        let line = String::from_utf8_lossy(&line).replace('\0', " ");
        line.contains("helm upgrade") && line.contains(&state)
    };
    let processes = std::fs::read_dir("/proc").unwrap();
    let pids = processes.filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok());
    let helms: Vec<u32> = pids.filter(is_helm).collect();
    assert_eq!(helms.len(), 1, "{helms:?}");
    Ran::of(Command::new("kill").args(["-KILL", &helms[0].to_string()])).exits(0);
}

#[test]
fn a_release_that_a_killed_helm_left_is_recovered_if_it_is_ours() {
    let Some(cluster) = Cluster::shared() else { return };
    let house = House::raw(cluster, "kpending");
    let name = house.environment();
    house.objects(&[config_map("one")]);
    house.envctl(&["up"]).exits(0);

    house.objects(&[config_map("two"), job("slow", "sleep 600")]);
    let up = started(&house, &["up"]);
    kill_helm(cluster, &house, "slow");
    up.ends().exits(1).says("helm upgrade").says("signal 9");
    house.objects(&[config_map("three")]);
    house
        .envctl(&["up"])
        .exits(0)
        .says("revision 2 of the release was pending-upgrade")
        .says("it is done again");
    let settings = cluster.object(&["configmap", "settings", "-n", &name]);
    assert_eq!(settings["data"]["greeting"], "three");

    // One that somebody else's helm began, or is at work on.
    house.objects(&[config_map("four"), job("slower", "sleep 600")]);
    let up = started(&house, &["up"]);
    kill_helm(cluster, &house, "slower");
    up.ends().exits(1);
    let pending = ["secrets", "-n", &name, "-l", "owner=helm,status=pending-upgrade"];
    let mark = |identity: &str| {
        let label = format!("envctl.dev/identity={identity}");
        cluster.kubectl(&[&["label", "--overwrite"], &pending[..], &[&label]].concat()).exits(0);
    };
    let ours = cluster.object(&pending)["items"][0]["metadata"]["labels"]["envctl.dev/identity"].clone();
    mark("00000000000000000000000000000000");
    for verb in [&["up"][..], &["down", "--yes"]] {
        house
            .envctl(verb)
            .exits(3)
            .says("is pending-upgrade (revision 3), and envctl did not begin that")
            .says(&format!("helm rollback {name} -n {name}"));
    }
    mark(ours.as_str().unwrap());
    house.envctl(&["down", "--yes"]).exits(0).says("0 left");
    assert_eq!(left_of(&house, cluster), [""; 0]);
}

#[test]
fn an_api_server_that_restarts_is_survived_and_one_that_is_cut_off_is_told() {
    let Some(cluster) = Cluster::own("away", &[]) else { return };
    let house = House::raw(&cluster, "kaway");
    house.objects(&[config_map("one"), job("slow", "sleep 5")]);
    let up = started(&house, &["up"]);
    await_object(&cluster, &house, "job/slow");
    cluster.ctl(&["restart", "name=apiserver"]);
    // Whether helm takes it for a failure, so that it is started once more, is a matter of what it was asking just then.
    up.ends().exits(0).says("ready");
    let down = started(&house, &["down", "--yes"]);
    let name = house.environment();
    cluster.kubectl(&["wait", "--for=delete", "configmap/settings", "-n", &name, "--timeout=120s"]).exits(0);
    cluster.ctl(&["restart", "name=apiserver"]);
    down.ends().exits(0).says("0 left");
    assert_eq!(left_of(&house, &cluster), [""; 0]);

    // Packets are lost in silence.
    house.objects(&[config_map("two"), job("slow", "sleep 600")]);
    let up = started(&house, &["up"]);
    await_object(&cluster, &house, "job/slow");
    cluster.ctl(&["network", "state=down"]);
    up.ends()
        .exits(3)
        .says("could not be renewed for 25 s: the cluster does not answer")
        .says("the same command goes on from here");
    house.envctl(&["up"]).exits(1).says("does not answer").says("is the VPN up");
    cluster.ctl(&["network", "state=up"]);
    house.objects(&[config_map("three")]);
    house.envctl(&["up"]).exits(0).says("ready");
    house.envctl(&["down", "--yes"]).exits(0).says("0 left");
    assert_eq!(left_of(&house, &cluster), [""; 0]);
}

/// The way to S3, which can be cut: then connections are refused, and those that are open end.
struct WayToS3 {
    port: u16,
    cut: Arc<AtomicBool>,
    at: Arc<std::sync::Mutex<Option<&'static str>>>,
}

impl WayToS3 {
    fn open(cluster: &Cluster) -> Self {
        let real = cluster.text("awsEndpoint").rsplit('/').next().unwrap().to_owned();
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let (cut, at) = (Arc::new(AtomicBool::new(false)), Arc::new(std::sync::Mutex::new(None)));
        let (flag, word) = (cut.clone(), at.clone());
        std::thread::spawn(move || {
            for client in listener.incoming() {
                let Ok(client) = client else { return };
                // Accepted and closed at once, as by a balancer with nothing behind it.
                if flag.load(Ordering::SeqCst) {
                    continue;
                }
                let Ok(server) = TcpStream::connect(&real) else { return };
                let ways = [
                    (client.try_clone().unwrap(), server.try_clone().unwrap(), true),
                    (server, client, false),
                ];
                for (from, to, watched) in ways {
                    let (flag, word) = (flag.clone(), word.clone());
                    std::thread::spawn(move || pass(from, to, &flag, &word, watched));
                }
            }
        });
        Self { port, cut, at }
    }

    /// Cuts it as soon as a request has this in it.
    fn cut_at(&self, request: &'static str) {
        *self.at.lock().unwrap() = Some(request);
    }

    fn mend(&self) {
        *self.at.lock().unwrap() = None;
        self.cut.store(false, Ordering::SeqCst);
    }
}

fn pass(
    mut from: TcpStream,
    mut to: TcpStream,
    cut: &AtomicBool,
    at: &std::sync::Mutex<Option<&'static str>>,
    watched: bool,
) {
    let mut buffer = [0; 16 << 10];
    while let Ok(n @ 1..) = from.read(&mut buffer) {
        let request = String::from_utf8_lossy(&buffer[..n]);
        if watched && at.lock().unwrap().is_some_and(|word| request.contains(word)) {
            cut.store(true, Ordering::SeqCst);
        }
        if cut.load(Ordering::SeqCst) || to.write_all(&buffer[..n]).is_err() {
            break;
        }
    }
    let _ = from.shutdown(Shutdown::Both);
    let _ = to.shutdown(Shutdown::Both);
}

#[test]
fn without_the_bucket_of_the_state_nothing_begins_and_what_had_begun_goes_on_later() {
    let Some(cluster) = Cluster::shared() else { return };
    if !have(&["terraform"]) {
        return;
    }
    let states = States::new(cluster, "away");
    let mut house = states.house("kbackend", Stack::Terraform);
    let way = WayToS3::open(cluster);
    house.environment.push(("AWS_ENDPOINT_URL_S3".to_owned(), format!("http://127.0.0.1:{}", way.port)));
    let projects = [house.project.clone()].into();

    way.cut.store(true, Ordering::SeqCst);
    house
        .envctl(&["up"])
        .exits(1)
        .says("AWS does not answer when it is asked to say whose the bucket of Terraform's state is")
        .says("goes on from here");
    assert_eq!(left_of(&house, cluster), [""; 0]);
    way.mend();

    // Terraform has made the queue, and cannot write that down.
    way.cut_at("\"aws_sqs_queue\"");
    house.envctl(&["up"]).exits(1).says("Failed to save state");
    assert!(way.cut.load(Ordering::SeqCst));
    assert_eq!(states.left(&projects).iter().filter(|left| left.contains("http")).count(), 1);
    way.mend();
    house.envctl(&["up"]).exits(0).says("could not write its state").says("no changes");

    // Nor that it is gone.
    way.cut_at("\"resources\": []");
    house.envctl(&["down", "--yes"]).exits(1).says("Failed to save state");
    way.mend();
    house.envctl(&["down", "--yes"]).exits(0).says("could not write its state").says("0 left");
    assert_eq!(left_of(&house, cluster), [""; 0]);
    assert_eq!(states.left(&projects), [""; 0]);
}
