//! The second example on a cluster: what its company never wrote for envctl, with nothing of it changed.

use std::process::Command;
use std::time::{Duration, Instant};

use serde_json::json;

use super::example::{Repository, docker, doubles, for_pods};
use crate::shelf::{STACK, house, lends_a_book};
use crate::support::cluster::Cluster;
use crate::support::{envctl, have, http, root};

/// How long pods may take that nobody waits for.
const PATIENCE: Duration = Duration::from_secs(60);

/// The Redis that the company's environments share. Dropped, it is gone.
struct Redis(String);

impl Redis {
    fn start(name: &str) -> Self {
        let (image, container) = ("envctl-backing/redis", format!("{name}-redis"));
        docker(&["build", "--quiet", "--tag", image, &root().join("docker/redis").display().to_string()]);
        docker(&["run", "--detach", "--name", &container, image]);
        Self(container)
    }
}

impl Drop for Redis {
    fn drop(&mut self) {
        let _ = Command::new("docker").args(["rm", "--force", "--volumes", &self.0]).output();
    }
}

#[test]
fn a_stack_that_never_heard_of_envctl_lives_on_a_cluster_as_on_a_laptop() {
    if !have(&["docker", "helm", "terraform", "curl"]) {
        return;
    }
    let Some(cluster) = &Cluster::own("review", &["--with", "albc"]) else { return };
    let Some((mut house, _)) = house() else { return };
    let name = house.environment();
    let redis = Redis::start(&house.project);
    let covers = house.dir().join("developers.json");
    let statement =
        json!({"Effect": "Allow", "Action": "s3:*", "Resource": "arn:aws:s3:::shelf-covers-review-*"});
    std::fs::write(&covers, json!({"Version": "2012-10-17", "Statement": [statement]}).to_string()).unwrap();
    let region = json!({"LocationConstraint": cluster.text("region")});
    let bucket = json!({"Bucket": "shelf-tfstate", "CreateBucketConfiguration": region});
    cluster.aws("platform", "s3", "create_bucket", &bucket);
    house.environment = cluster.environment();
    house.environment.push(doubles());
    let repository = Repository(format!("{}/{}", cluster.text("registry"), house.project));
    house.edit(STACK, |text| {
        let local = format!("repository: {}/app", house.project);
        text.replacen(&local, &format!("repository: {}", repository.0), 1)
            .replacen("account: \"444444444444\"", &format!("account: \"{}\"", cluster.text("account")), 1)
            .replacen("    cluster: review\n", "    cluster: review\n    aws: {profile: aki}\n", 1)
    });
    let shared = for_pods(cluster, &redis.0, 6379);
    house.edit("examples/shelf/deploy/values/review.yaml", |text| {
        text.replacen("redis.shared.svc.cluster.local:6379", &shared, 1)
    });
    let mut command = house.command(envctl());
    command.current_dir(house.src().join("examples/shelf"));
    cluster.apply_platform(house.dir(), &mut command, &covers);
    house.shelf(&["init", "--pin"]).exits(0).says(cluster.text("kubeSystemUid"));

    let up = house.shelf(&["up", "--target", "review"]).exits(0);
    let host = format!("web-{name}.review.example.com");
    up.says(&format!("workspace review-{name}")).says("to add, applied").says(&format!("http://{host}"));
    let service = cluster.object(&["service", "shelf-web", "-n", &name]);
    let to = format!("to={}:80", service["spec"]["clusterIP"].as_str().unwrap());
    let published = cluster.ctl(&["publish", &to]);
    let port = published["address"].as_str().and_then(|at| at.rsplit(':').next()).unwrap().parse().unwrap();
    let ask = |method: &str, path: &str, body: &str| http(port, &host, method, path, &[], body.as_bytes());
    lends_a_book(&name, ask);
    let ran = |what: &[&str]| house.shelf(&[what, &["--target", "review"]].concat());
    ran(&["job", "run", "digest"]).exits(0).says("books: 1, loans of 1 days");

    // The index keeps what it was told when its pod goes.
    let search = || cluster.object(&["pod", "shelf-search-0", "-n", &name])["metadata"]["uid"].clone();
    let before = search();
    ran(&["restart", "search"]).exits(0);
    assert_ne!(search(), before);
    let begun = Instant::now();
    while ask("GET", "/search?q=sisters", "") != (200, "[1]".to_owned()) {
        assert!(begun.elapsed() < PATIENCE, "{:?}", ask("GET", "/search?q=sisters", ""));
        std::thread::sleep(Duration::from_millis(200));
    }
    ran(&["up", "--set", "config.GREETING=hello"]).exits(0).says("no changes");
    let greeting = ["exec", "--target", "review", "worker", "--", "sh", "-c", "echo $GREETING"];
    house.shelf(&greeting).exits(0).says("hello");

    let down = ran(&["down", "--yes"]).exits(0).says("0 left");
    assert!(!down.stdout.contains("unverified"), "{}", down.stdout);
    let buckets = cluster.aws("platform", "s3", "list_buckets", &json!({}));
    let names = buckets["Buckets"].as_array().unwrap().iter().map(|bucket| &bucket["Name"]);
    assert_eq!(names.collect::<Vec<_>>(), ["shelf-tfstate"]);
    assert_eq!(house.in_cluster(cluster), [""; 0]);
}
