//! The new side of a rehearsal: what a router outside of the cluster reaches, and what is seen of its pods.

use std::collections::BTreeSet;
use std::io::{Read as _, Write as _};
use std::net::{IpAddr, SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use envctl_cluster::aws::SignIn;
use envctl_cluster::live::lifetimes::{self, Readiness};
use envctl_cluster::live::scale::{self, Resized, Runs};
use envctl_cluster::live::session::Within;
use envctl_cluster::live::{expose, logs, pods, settings};
use envctl_cluster::{Expected, Intent, VerifiedCluster, examine};
use envctl_local::balancer::{self, Balancer, BalancerSpec};
use envctl_local::docker_cli::DockerCli;
use envctl_local::engine::Engine;
use envctl_model::labels;
use envctl_model::lifetime::{Change, State};
use envctl_model::log::LogLine;
use envctl_model::settings::Salt;
use envctl_model::stack::Protected;
use envctl_programs::process::Supervisor;
use futures_util::StreamExt as _;
use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use tokio::sync::watch;

use crate::support::cluster::{Cluster, IMAGE};
use crate::support::{House, Ran, root};

const LONG: Duration = Duration::from_secs(90);
/// Where the part that is signed in finds what it is to work on.
const GIVEN: &str = "ENVCTL_TEST_SIDES";
const WORKLOAD: &str = "Deployment/api";

/// What the part that is signed in works on.
#[derive(Serialize, Deserialize)]
struct Given {
    account: String,
    region: String,
    cluster: String,
    uid: String,
    namespace: String,
    compose: String,
    scratch: String,
}

fn stack() -> Vec<Value> {
    let serve = "echo serving; perl -MIO::Socket::INET -e '$SIG{TERM} = sub { exit 0 }; $s = IO::Socket::INET->new(\
        LocalPort => 8000, Listen => 9, ReuseAddr => 1); while ($c = $s->accept) { sysread $c, $_, 4096; print $c \
        \"HTTP/1.0 200 OK\\r\\nContent-Length: 5\\r\\n\\r\\nhello\"; close $c }' & trap 'kill $!; wait; echo bye; exit 0' TERM; wait";
    vec![
        json!({
            "apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "api"},
            "spec": {"replicas": 2, "selector": {"matchLabels": {"app": "api"}}, "template": {
                "metadata": {"labels": {"app": "api"}},
                "spec": {"terminationGracePeriodSeconds": 20, "containers": [{
                    "name": "api", "image": IMAGE, "command": ["sh", "-c", serve],
                    "env": [{"name": "COLOUR", "value": "blue"},
                        {"name": "POD", "valueFrom": {"fieldRef": {"fieldPath": "metadata.name"}}}],
                    "envFrom": [{"secretRef": {"name": "shade"}}],
                    "readinessProbe": {"tcpSocket": {"port": 8000}, "periodSeconds": 1},
                    "resources": {"requests": {"cpu": "50m", "memory": "64Mi"}},
                }]}
            }}
        }),
        json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "shade"}, "stringData": {"SHADE": "dark"}}),
        json!({
            "apiVersion": "v1", "kind": "Service", "metadata": {"name": "api"},
            "spec": {"selector": {"app": "api"}, "ports": [{"port": 80, "targetPort": 8000}]}
        }),
        json!({
            "apiVersion": "batch/v1", "kind": "CronJob", "metadata": {"name": "digest"},
            "spec": {"schedule": "0 0 1 1 *", "jobTemplate": {"spec": {"template": {"spec": {
                "restartPolicy": "Never", "containers": [{"name": "digest", "image": IMAGE, "command": ["true"]}]
            }}}}}
        }),
    ]
}

#[test]
fn the_new_side_is_reached_from_outside_and_seen_to_live_and_die() {
    let Some(cluster) = Cluster::shared() else { return };
    let house = House::raw(cluster, "ksides");
    house.objects(&stack());
    house.envctl(&["up"]).exits(0);
    let namespace = house.environment();
    let given = Given {
        account: cluster.text("account").to_owned(),
        region: cluster.text("region").to_owned(),
        cluster: cluster.text("name").to_owned(),
        uid: cluster.text("kubeSystemUid").to_owned(),
        namespace: namespace.clone(),
        compose: root().join(".tools/bin/docker-compose").display().to_string(),
        scratch: house.dir().display().to_string(),
    };
    // AWS's own library reads who signs in from variables, and those of this process are not one test's.
    let mut signed_in = house.command(std::env::current_exe().unwrap());
    signed_in.args([
        "--exact",
        "cluster::sides::what_the_other_test_does_signed_in",
        "--ignored",
        "--nocapture",
    ]);
    let ran = Ran::of(signed_in.env(GIVEN, serde_json::to_string(&given).unwrap())).exits(0);
    assert!(ran.stdout.contains("1 passed"), "{}", ran.stdout);
    let left = cluster.object(&["services,networkpolicies", "-n", &namespace]);
    let names: Vec<_> = left["items"]
        .as_array()
        .unwrap()
        .iter()
        .map(|item| item["metadata"]["name"].as_str().unwrap())
        .collect();
    assert!(!names.contains(&expose::NAME), "{names:?}");
    house.envctl(&["down", "--yes"]).exits(0).says("0 left");
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "is run by the test beside it, signed in"]
async fn what_the_other_test_does_signed_in() {
    let given: Given = serde_json::from_str(&std::env::var(GIVEN).unwrap()).unwrap();
    let cluster = verified(&given).await;
    let (reader, namespace) = (cluster.reader(), given.namespace.as_str());
    let began = Timestamp::now() - SignedDuration::from_secs(600);

    // A way in, for the router and nobody else.
    let stranger = "203.0.113.7".parse().unwrap();
    let error = expose::expose(&cluster, namespace, WORKLOAD, &[stranger]).await.unwrap_err();
    assert!(error.to_string().contains("203.0.113.7/32 is in none of its networks"), "{error}");
    let error = expose::expose(&cluster, namespace, "Deployment/nobody", &[stranger]).await.unwrap_err();
    assert!(error.to_string().contains("there is no component Deployment/nobody"), "{error}");
    let node = expose::expose(&cluster, namespace, WORKLOAD, &[]).await.unwrap();
    let at = SocketAddr::new(node.nodes[0], node.ports[&80]);
    let closed = ask(at);
    assert!(closed.is_none(), "nobody is let in yet: {closed:?}");
    let router = balancer::seen_from(node.nodes[0]).unwrap();
    let exposed = expose::expose(&cluster, namespace, WORKLOAD, &[router]).await.unwrap();
    assert_eq!((exposed.service.as_str(), &exposed.ports), (expose::NAME, &node.ports));
    // It is enforced a moment after it was written.
    assert!((0..20).any(|_| ask(at).is_some()), "{at} does not answer");
    through_a_balancer(&given, at).await;

    let seen = Watched::start(lifetimes::changes(
        reader,
        namespace,
        WORKLOAD,
        Readiness::Endpoints(exposed.service.clone()),
    ));
    let said = Watched::start(logs::follow(reader, namespace, WORKLOAD, began));
    let count =
        |state: State| move |all: &[Change]| all.iter().filter(|change| change.state == state).count();
    seen.until(|all| count(State::Ready)(all) == 2).await;
    said.until(|all| serving(all).len() == 2).await;

    // Configured alike, and only as far as it is configuration.
    let salt = Salt::new([3; 32]);
    let names: BTreeSet<String> = seen.all().into_iter().map(|change| change.instance).collect();
    let mut digests = Vec::new();
    for pod in &names {
        let within = Within { namespace, pod, container: "api" };
        digests.push(settings::digests(&cluster, within, &salt).await.unwrap());
    }
    assert_eq!(digests[0].keys().collect::<Vec<_>>(), ["COLOUR", "SHADE"]);
    assert_eq!(digests[0], digests[1]);

    // More of them, and fewer: each is asked to end.
    assert_eq!(scale::resize(&cluster.scaling(namespace), WORKLOAD, 3, LONG).await.unwrap(), Resized::Ready);
    seen.until(|all| count(State::Ready)(all) == 3).await;
    said.until(|all| serving(all).len() == 3).await;
    assert_eq!(scale::resize(&cluster.scaling(namespace), WORKLOAD, 2, LONG).await.unwrap(), Resized::Ready);
    let all = pods::all(reader, namespace).await.unwrap();
    assert_eq!(
        all.iter().filter(|pod| pod.workload == WORKLOAD).count(),
        2,
        "one has not ended yet: {all:?}"
    );
    seen.until(|all| count(State::Ended)(all) == 1).await;
    said.until(|all| all.iter().any(|line| line.text == "bye")).await;
    assert_eq!(count(State::Ending)(&seen.all()), 1);
    let error = scale::resize(&cluster.scaling(namespace), "Deployment/nobody", 1, LONG).await.unwrap_err();
    assert!(error.to_string().contains("Deployment/nobody has no replicas"), "{error}");

    // One dies, and another one comes.
    let all = pods::all(reader, namespace).await.unwrap();
    let victim = all.iter().find(|pod| pod.workload == WORKLOAD && pod.ready && !pod.ending).unwrap();
    pods::kill(&cluster, namespace, &victim.name).await.unwrap();
    seen.until(|all| count(State::Ready)(all) == 4 && count(State::Killed)(all) == 1).await;
    let killed = seen.all().into_iter().find(|change| change.state == State::Killed).unwrap();
    assert_eq!(killed.instance, victim.name);
    said.until(|all| serving(all).len() == 4).await;

    for runs in [Runs::Suspended, Runs::Scheduled] {
        scale::set_runs(&cluster.scaling(namespace), "digest", runs).await.unwrap();
        let awake = scale::look(reader, namespace).await.unwrap();
        assert_eq!(awake.cron_jobs.contains(&"digest".to_owned()), runs == Runs::Scheduled);
    }
    assert!(
        scale::set_runs(&cluster.scaling(namespace), "nobody", Runs::Suspended)
            .await
            .unwrap_err()
            .is_not_found()
    );

    expose::close(&cluster, namespace).await.unwrap();
    expose::close(&cluster, namespace).await.unwrap();
}

async fn verified(given: &Given) -> VerifiedCluster {
    let expected = Expected {
        account: given.account.clone(),
        region: given.region.clone(),
        cluster: given.cluster.clone(),
        uid: Some(given.uid.clone()),
    };
    let by = SignIn {
        profile: Some("aki".to_owned()),
        role: None,
        region: given.region.clone(),
        user: "aki".to_owned(),
    };
    let until = Timestamp::now() + SignedDuration::from_secs(300);
    let intent = Intent { namespace: &given.namespace, workspace: Some(&given.namespace), until };
    examine(&expected, &Protected::default(), &by).await.verify(&Protected::default(), intent).unwrap()
}

/// The pods that said that they serve.
fn serving(lines: &[LogLine]) -> BTreeSet<String> {
    lines.iter().filter(|line| line.text == "serving").map(|line| line.pod.clone()).collect()
}

/// What a server answers; none where it does not let us in.
fn ask(at: SocketAddr) -> Option<String> {
    let mut stream = TcpStream::connect_timeout(&at, Duration::from_millis(500)).ok()?;
    stream.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
    stream.write_all(b"GET / HTTP/1.0\r\n\r\n").ok()?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).ok()?;
    answer.ends_with("hello").then_some(answer)
}

/// HAProxy in a container reaches the node's port as this machine does.
async fn through_a_balancer(given: &Given, node: SocketAddr) {
    let (reader, _) = Engine::connect(std::env::var("DOCKER_HOST").ok().as_deref()).await.unwrap();
    let engine = reader.verify(None).await.unwrap();
    let compose = vec![given.compose.clone().into()];
    let cli = DockerCli::new(&reader, vec!["docker".into()], compose, vec![]);
    let image = balancer::image(&engine, &cli, &Supervisor::default(), |_, _| ()).await.unwrap();
    let network = format!("{}-net", given.namespace);
    let docker = |arguments: &[&str]| Ran::of(std::process::Command::new("docker").args(arguments)).exits(0);
    docker(&["network", "create", "--label", &format!("{}={}", labels::IDENTITY, given.namespace), &network]);
    let port = TcpListener::bind(("127.0.0.1", 0)).unwrap().local_addr().unwrap().port();
    let directory = std::path::Path::new(&given.scratch).join("haproxy");
    std::fs::create_dir(&directory).unwrap();
    let text = format!(
        "defaults\n  mode http\n  retries 0\n  timeout connect 2s\n  timeout client 9s\n  timeout server 9s\n\
         frontend f\n  bind :{port}\n  default_backend b\nbackend b\n  server node {node}\n"
    );
    std::fs::write(directory.join("haproxy.cfg"), text).unwrap();
    let spec = BalancerSpec {
        name: format!("{}-balancer", given.namespace),
        identity: given.namespace.clone(),
        network: network.clone(),
        directory,
        ports: BTreeSet::from([port]),
    };
    let balancer = Balancer::up(&engine, &image, &spec).await.unwrap();
    let answered = ask(SocketAddr::new(IpAddr::from([127, 0, 0, 1]), port));
    balancer.remove().await.unwrap();
    docker(&["network", "rm", &network]);
    assert!(answered.is_some(), "the balancer does not reach {node}");
}

/// All that a stream has told up to now.
struct Watched<T> {
    all: Arc<Mutex<Vec<T>>>,
    changed: watch::Receiver<usize>,
}

impl<T: Clone + std::fmt::Debug + Send + 'static> Watched<T> {
    fn start<E: std::fmt::Debug + Send + 'static>(
        mut stream: futures_util::stream::BoxStream<'static, Result<T, E>>,
    ) -> Self {
        let all = Arc::new(Mutex::new(Vec::new()));
        let (tell, changed) = watch::channel(0);
        let into = all.clone();
        tokio::spawn(async move {
            while let Some(next) = stream.next().await {
                let length = {
                    let mut all = into.lock().unwrap();
                    all.push(next.unwrap());
                    all.len()
                };
                tell.send_replace(length);
            }
        });
        Self { all, changed }
    }

    fn all(&self) -> Vec<T> {
        self.all.lock().unwrap().clone()
    }

    #[track_caller]
    fn until(&self, wanted: impl Fn(&[T]) -> bool) -> impl Future<Output = ()> {
        let from = std::panic::Location::caller();
        let mut changed = self.changed.clone();
        async move {
            let waited = async { changed.wait_for(|_| wanted(&self.all())).await.map(drop) };
            let ended = tokio::time::timeout(LONG, waited).await;
            assert!(matches!(ended, Ok(Ok(()))), "{from}: {:#?}", self.all());
        }
    }
}
