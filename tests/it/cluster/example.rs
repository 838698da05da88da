//! The example on a shared cluster: the same chart, values and Terraform contract as on the laptop.

use std::collections::{BTreeMap, BTreeSet};
use std::process::Command;
use std::sync::PoisonError;

use serde_json::{Value, json};

use crate::album::{ALONE, Front, house};
use crate::support::cluster::{Cluster, MACHINES};
use crate::support::{House, Ran, envctl, have, root, todays};

const STACK: &str = "examples/album/envctl.yaml";
const VALUES: &str = "examples/album/deploy/values/dev.yaml";

/// Shared by all environments of the cluster, and nobody's: a database and a cache, as the platform's
/// team would run them beside it.
#[derive(Debug)]
pub(super) struct Backing {
    mysql: String,
    redis: String,
}

impl Backing {
    pub(super) fn start(name: &str) -> Self {
        let run = |service: &str| {
            let (image, container) = (format!("envctl-backing/{service}"), format!("{name}-{service}"));
            let context = root().join("docker").join(service);
            Ran::of(Command::new("docker").args(["build", "--quiet", "--tag", &image]).arg(context)).exits(0);
            docker(&["run", "--detach", "--name", &container, &image]);
            container
        };
        let backing = Self { mysql: run("mysql"), redis: run("redis") };
        docker(&[
            "exec",
            &backing.mysql,
            "sh",
            "-c",
            "until mariadb-admin ping --silent; do sleep 0.1; done",
        ]);
        backing.sql("create user platform@'%' identified by 'of-the-tests'");
        backing.sql("grant all on *.* to platform@'%' with grant option");
        backing
    }

    fn sql(&self, statement: &str) -> String {
        docker(&["exec", &self.mysql, "mariadb", "--skip-column-names", "--execute", statement])
    }

    /// Databases, and who may use them.
    fn listing(&self) -> Vec<String> {
        let users = "select concat('user ', user, '@', host) from mysql.global_priv order by 1";
        let grants = "select concat('grant ', user, ' ', db) from mysql.db order by 1";
        let all = ["show databases", users, grants].map(|statement| self.sql(statement));
        all.iter().flat_map(|lines| lines.lines()).map(str::to_owned).collect()
    }
}

impl Drop for Backing {
    fn drop(&mut self) {
        let _ =
            Command::new("docker").args(["rm", "--force", "--volumes", &self.mysql, &self.redis]).output();
    }
}

/// The repository that the test pushes to. Dropped, it leaves nothing of it in Docker.
#[derive(Debug)]
pub(super) struct Repository(pub(super) String);

impl Drop for Repository {
    fn drop(&mut self) {
        let format = "{{.Repository}}:{{.Tag}}";
        let listed = Command::new("docker").args(["images", "--format", format, &self.0]).output();
        let listed = listed.map(|output| String::from_utf8_lossy(&output.stdout).into_owned());
        let images = listed.unwrap_or_default();
        let _ = Command::new("docker").args(["image", "rm"]).args(images.lines()).output();
    }
}

pub(super) fn docker(arguments: &[&str]) -> String {
    Ran::of(Command::new("docker").args(arguments)).exits(0).stdout
}

/// Where pods find what a container listens on.
pub(super) fn for_pods(cluster: &Cluster, container: &str, port: u16) -> String {
    let format = "{{range .NetworkSettings.Networks}}{{.IPAddress}}{{end}}";
    let address = docker(&["inspect", "--format", format, container]);
    let forwarded = cluster.ctl(&["forward", &format!("to={}:{port}", address.trim())]);
    forwarded["address"].as_str().unwrap().to_owned()
}

/// What the platform's team does once for a cluster: who is who, the shared secret, the bucket of states,
/// rights and policies.
pub(super) fn platform(cluster: &Cluster, backing: &Backing, house: &mut House) -> Repository {
    cluster.ctl(&["identity", "profile=album-dev", "role=Developer", "name=aki"]);
    let described =
        cluster.aws("platform", "eks", "describe_cluster", &json!({"name": cluster.text("name")}));
    let issuer = described["cluster"]["identity"]["oidc"]["issuer"].as_str().unwrap();
    let issuer = issuer.strip_prefix("https://").unwrap();
    let database = for_pods(cluster, &backing.mysql, 3306);
    let (host, port) = database.split_once(':').unwrap();
    let shared = json!({
        "database": {"host": host, "port": port, "username": "platform", "password": "of-the-tests"},
        "redis_url": format!("redis://{}/0", for_pods(cluster, &backing.redis, 6379)),
        "oidc_provider": format!("arn:aws:iam::{}:oidc-provider/{issuer}", cluster.text("account")),
    });
    let secret = json!({"Name": "shared-dev/backing", "SecretString": shared.to_string()});
    cluster.aws("platform", "secretsmanager", "create_secret", &secret);
    let region = json!({"LocationConstraint": cluster.text("region")});
    let bucket = json!({"Bucket": "album-tfstate", "CreateBucketConfiguration": region});
    cluster.aws("platform", "s3", "create_bucket", &bucket);

    house.environment.extend(cluster.environment());
    house.environment.push(doubles());
    // The registry and the AWS of a test cluster are not where those of the example are.
    let repository = Repository(format!("{}/{}", cluster.text("registry"), house.project));
    house.edit(STACK, |text| {
        let local = format!("repository: {}/app", house.project);
        let text = text.replacen(&local, &format!("repository: {}", repository.0), 1);
        // Routers of rehearsals are on this machine.
        text.replacen("allowIngressFrom: [", &format!("allowIngressFrom: [{MACHINES}, "), 1)
    });
    let endpoint = cluster.text("awsEndpointInside");
    // Nor is what stands between clients and pods: the node does, where the load balancers' subnets would.
    house.edit(VALUES, |text| {
        let text = text.replacen(
            "trustedProxies: [10.0.0.0/16]",
            "trustedProxies: [10.244.0.0/16, 198.18.0.0/15]",
            1,
        );
        format!("{text}aws: {{endpointUrl: \"{endpoint}\"}}\n")
    });
    let mut command = house.command(envctl());
    command.current_dir(house.src().join("examples/album"));
    let of_the_stack = root().join("examples/album/deploy/iam-developers.json");
    cluster.apply_platform(house.dir(), &mut command, &of_the_stack);
    // From here on developers may look, so that one can write down which cluster it is.
    house.album(&["init", "--pin"]).exits(0).says(cluster.text("kubeSystemUid"));
    repository
}

/// Terraform takes the doubles of its providers.
pub(super) fn doubles() -> (String, String) {
    let mirror = root().join(".tools/providers/terraform.rc");
    ("TF_CLI_CONFIG_FILE".to_owned(), mirror.to_string_lossy().into_owned())
}

/// Every object of the API server, of every type that it can list, but for Events: those are its diary,
/// which it forgets by itself.
fn objects(cluster: &Cluster) -> BTreeSet<String> {
    let types = cluster.kubectl(&["api-resources", "--verbs=list", "--output=name"]).exits(0).stdout;
    let types: Vec<_> = types.lines().filter(|kind| !kind.starts_with("events")).collect();
    assert!(types.len() > 50, "{types:?}");
    let line = "{range .items[*]}{.apiVersion} {.kind} {.metadata.namespace}/{.metadata.name} \
                {.metadata.uid}{\"\\n\"}{end}";
    let output = format!("--output=jsonpath={line}");
    let ran = cluster.kubectl(&["get", "--all-namespaces", &types.join(","), &output]).exits(0);
    ran.stdout.lines().map(str::to_owned).collect()
}

/// What there is at AWS: the tests' backend of Terraform with its objects, and all that environments make.
fn amazon(cluster: &Cluster) -> BTreeSet<String> {
    let mut all = BTreeSet::new();
    let mut list = |service: &str, method: &str, parameters: Value, items: &str, name: &str| {
        let answer = cluster.aws("platform", service, method, &parameters);
        let items: Vec<_> = answer[items].as_array().into_iter().flatten().cloned().collect();
        // A queue is its URL alone.
        let names = items.iter().map(|item| item.as_str().or(item[name].as_str()).unwrap().to_owned());
        let names: Vec<_> = names.collect();
        all.extend(names.iter().map(|name| format!("{service} {name}")));
        names
    };
    for bucket in list("s3", "list_buckets", json!({}), "Buckets", "Name") {
        list("s3", "list_objects_v2", json!({"Bucket": bucket}), "Contents", "Key");
    }
    list("sqs", "list_queues", json!({}), "QueueUrls", "");
    list("iam", "list_roles", json!({}), "Roles", "Arn");
    list("secretsmanager", "list_secrets", json!({}), "SecretList", "ARN");
    list("elbv2", "describe_load_balancers", json!({}), "LoadBalancers", "LoadBalancerArn");
    list("elbv2", "describe_target_groups", json!({}), "TargetGroups", "TargetGroupArn");
    list("ec2", "describe_security_groups", json!({}), "SecurityGroups", "GroupId");
    all
}

/// The registry's images.
fn registry(cluster: &Cluster) -> BTreeSet<String> {
    let ask = |path: &str| {
        let login = format!("{}:{}", cluster.text("registryUser"), cluster.text("registryPassword"));
        let url = format!("http://{}/v2/{path}", cluster.text("registry"));
        Ran::of(Command::new("curl").args(["--silent", "--fail", "--user", &login, &url])).exits(0).json()
    };
    let texts = |list: &Value| -> Vec<String> {
        list.as_array().into_iter().flatten().map(|text| text.as_str().unwrap().to_owned()).collect()
    };
    let repositories = texts(&ask("_catalog")["repositories"]).into_iter();
    let tags = |repository: String| {
        let tags = texts(&ask(&format!("{repository}/tags/list"))["tags"]).into_iter();
        tags.map(|tag| format!("{}/{repository}:{tag}", cluster.text("registry"))).collect::<Vec<_>>()
    };
    repositories.flat_map(tags).collect()
}

/// Everything that could be left, by where it would be.
fn world(cluster: &Cluster, backing: &Backing) -> (BTreeSet<String>, BTreeSet<String>, Vec<String>) {
    (objects(cluster), amazon(cluster), backing.listing())
}

/// The pods of the application, by component, with how often their containers were restarted.
fn pods(cluster: &Cluster, name: &str) -> BTreeMap<String, BTreeSet<(String, u64)>> {
    let selector = "app.kubernetes.io/component in (admin,api,shipping,worker)";
    let found = cluster.object(&["pods", "-n", name, "-l", selector]);
    let mut pods = BTreeMap::<_, BTreeSet<_>>::new();
    for pod in found["items"].as_array().unwrap() {
        if pod["metadata"]["deletionTimestamp"].is_string() {
            continue;
        }
        let component = pod["metadata"]["labels"]["app.kubernetes.io/component"].as_str().unwrap();
        let restarts = pod["status"]["containerStatuses"].as_array().into_iter().flatten();
        let restarts = restarts.map(|container| container["restartCount"].as_u64().unwrap()).sum();
        let uid = pod["metadata"]["uid"].as_str().unwrap().to_owned();
        pods.entry(component.to_owned()).or_default().insert((uid, restarts));
    }
    pods
}

/// The application behind its Service, and the storage as browsers reach it.
fn front(cluster: &Cluster, name: &str) -> Front {
    let port = |address: &str| address.rsplit(':').next().unwrap().parse().unwrap();
    let published = |component: &str| {
        let service = cluster.object(&["service", &format!("album-{component}"), "-n", name]);
        let to = format!("to={}:80", service["spec"]["clusterIP"].as_str().unwrap());
        port(cluster.ctl(&["publish", &to])["address"].as_str().unwrap())
    };
    Front {
        port: published("api"),
        host: format!("web.{name}.dev.example.com"),
        admin_port: published("admin"),
        admin_host: format!("admin.{name}.dev.example.com"),
        storage_port: port(cluster.text("awsEndpoint")),
        storage_host: cluster.text("awsEndpointInside").trim_start_matches("http://").to_owned(),
    }
}

#[test]
fn the_album_on_the_cluster_works_changes_and_leaves_nothing() {
    if !have(&["docker", "helm", "terraform", "curl"]) {
        return;
    }
    let Some(cluster) = &Cluster::own("shared-dev", &["--with", "albc"]) else { return };
    let _alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
    let backing = Backing::start(&format!("t{}kalb", std::process::id() % 10_000));
    let mut house = house();
    let _repository = platform(cluster, &backing, &mut house);
    let name = house.environment();
    let before = world(cluster, &backing);
    let images_before = registry(cluster);

    let log = cluster.log_length("awsLog");
    let up = house.album(&["up", "--target", "dev"]).exits(0).says("pushed sha256:").says("to add, applied");
    assert!(up.stdout.contains(&format!("http://web.{name}.dev.example.com")), "{}", up.stdout);
    let front = front(cluster, &name);
    let photo = front.upload_to_thumbnail();
    front.order_prints(&photo);
    // Pods have no keys: they are roles of the environment's own, by their service accounts.
    let said = cluster.log("awsLog", log);
    for (role, pods) in [("album", "album-"), ("shipping", "album-shipping-")] {
        let role = format!(":assumed-role/{name}-{role}/{pods}");
        for action in ["AssumeRoleWithWebIdentity", "SendMessage", "ReceiveMessage", "DeleteMessage"] {
            let by_role = |entry: &&Value| {
                entry["action"] == action && entry["arn"].as_str().is_some_and(|arn| arn.contains(&role))
            };
            assert!(
                said.iter().any(|entry| by_role(&entry) && entry["verdict"] == "ok"),
                "{action} as {role}"
            );
        }
    }
    // What runs at certain times can be run now, and the internal tool shows it to whom it may.
    house.album(&["job", "run", "digest", "--target", "dev"]).exits(0).says("albums: 1, photos: 1");
    let (status, page) = front.admin("10.9.9.9");
    assert!(status == 200 && page.contains("<td>digest</td><td>succeeded</td>"), "{status} {page}");
    assert_eq!(front.admin("203.0.113.9").0, 403);
    let ingress = cluster.object(&["ingress", "album-web", "-n", &name]);
    let balancer = ingress["status"]["loadBalancer"]["ingress"][0]["hostname"].as_str();
    assert!(balancer.is_some_and(|host| host.ends_with(".elb.amazonaws.com")), "{ingress}");

    // Nothing changed, nothing is done.
    let first = pods(cluster, &name);
    assert_eq!(
        first.iter().map(|(name, pods)| (&**name, pods.len())).collect::<Vec<_>>(),
        [("admin", 1), ("api", 2), ("shipping", 2), ("worker", 1)]
    );
    let again = house.album(&["up", "--target", "dev"]).exits(0);
    let again = again.says("unchanged, in the registry").says("no changes");
    assert!(!again.stdout.contains("pushed"), "{}", again.stdout);
    assert_eq!(pods(cluster, &name), first);
    assert!(first.values().flatten().all(|(_, restarts)| *restarts == 0), "{first:?}");

    // A changed line restarts the pods that it concerns.
    house.edit(VALUES, |text| format!("{text}queue: {{waitSeconds: 2}}\n"));
    house.album(&["up", "--target", "dev"]).exits(0).says("unchanged, in the registry");
    let second = pods(cluster, &name);
    assert_eq!((&second["api"], &second["admin"]), (&first["api"], &first["admin"]));
    assert!(second["worker"].is_disjoint(&first["worker"]), "{first:?}\n{second:?}");

    // A changed line of the source concerns those that run it; the database keeps its albums.
    let kept = cluster.object(&["service,configmap,serviceaccount,ingress", "-n", &name]);
    let uids = |list: &Value| -> BTreeSet<String> {
        list["items"].as_array().unwrap().iter().map(|object| object["metadata"]["uid"].to_string()).collect()
    };
    house.edit("examples/album/app/src/http.rs", |text| {
        text.replace(r#""alive\n""#, r#""alive and changed\n""#)
    });
    house.album(&["up", "--target", "dev"]).exits(0).says("built, pushed sha256:").says("no changes");
    let third = pods(cluster, &name);
    assert!(third["api"].is_disjoint(&first["api"]) && third["worker"].is_disjoint(&second["worker"]));
    let now = cluster.object(&["service,configmap,serviceaccount,ingress", "-n", &name]);
    assert_eq!(uids(&now), uids(&kept));
    let get = |path: &str| crate::support::http(front.port, &front.host, "GET", path, &[], &[]);
    assert_eq!(get("/healthz").1, "alive and changed\n");
    assert!(get("/albums").1.contains("Summer"));

    // Another machine: no sources, no state, no password; only the cluster's ARN and an AWS profile.
    let mut elsewhere = House::on_cluster(cluster, "kalbother");
    std::fs::remove_file(elsewhere.src().join("envctl.yaml")).unwrap();
    elsewhere.environment.push(doubles());
    let arn = cluster.arn();
    let down = ["down", "--json", "--yes", "--name", &name, "--cluster", &arn, "--profile", "album-dev"];
    let down = elsewhere.envctl(&down).exits(0);
    let receipt = down.events().into_iter().rev().find(|event| event["event"] == "receipt").unwrap();
    let ids = |end: &str, kind: &str| -> BTreeSet<String> {
        let items = receipt[end].as_array().into_iter().flatten().filter(|item| item["kind"] == kind);
        items.map(|item| item["id"].as_str().unwrap().to_owned()).collect()
    };
    assert_eq!(receipt["left"], json!([]), "{receipt:#}");
    let gone = ids("gone", "resource");
    for address in [
        "aws_sqs_queue.thumbnails",
        "aws_sqs_queue.shipping",
        "aws_s3_bucket.photos",
        "aws_iam_role.album",
        "aws_iam_role.shipping",
        "mysql_database.album",
        "mysql_database.shipping",
    ] {
        assert!(gone.contains(address), "{address}: {receipt:#}");
    }
    assert_eq!(world(cluster, &backing), before);
    // What was pushed stays, and the receipt says so.
    let pushed: BTreeSet<_> = registry(cluster).difference(&images_before).cloned().collect();
    assert_eq!(pushed.len(), 2, "{pushed:?}");
    let kept = ids("kept", "image");
    assert!(!kept.is_empty() && kept.is_subset(&pushed), "{kept:?}\n{pushed:?}");
    killed_at_many_places_it_converges(&house, cluster);
    assert_eq!(world(cluster, &backing), before);
}

/// On its way up and down; each run goes on where the one before died.
fn killed_at_many_places_it_converges(house: &House, cluster: &Cluster) {
    let (up, down) = (["up", "--target", "dev"], ["down", "--yes", "--target", "dev"]);
    let kill = |place: &str, arguments: &[&str]| {
        let mut command = house.command(envctl());
        command.current_dir(house.src().join("examples/album")).args(arguments);
        let ran = Ran::of(command.env("ENVCTL_FAILPOINT", place));
        assert_eq!(ran.code, -1, "{place}\n{}{}", ran.stdout, ran.stderr);
    };
    let ups = [
        "up@recorded",
        "namespace@after-effect",
        "image/app@after-effect",
        "terraform/workspace@claimed",
        "terraform/apply@applying",
        "terraform/apply@after-effect",
        "helm/render@after-effect",
        "helm/deliver@waiting",
        "up@done",
    ];
    for place in todays("places to die at on the way up", ups.to_vec()) {
        kill(place, &up);
    }
    house.album(&up).exits(0).says("ready");
    front(cluster, &house.environment()).upload_to_thumbnail();
    let downs = [
        "front@after-intent",
        "helm/uninstall@after-effect",
        "namespace@after-intent",
        "terraform/destroy@destroying",
        "terraform/workspace@after-effect",
        "down@unarchived",
    ];
    for place in todays("places to die at on the way down", downs.to_vec()) {
        kill(place, &down);
    }
    house.album(&down).exits(0).says("0 left");
}
