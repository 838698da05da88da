//! What tests share that break something and expect the same command to mend it.

use std::collections::BTreeSet;
use std::fmt::Display;
use std::sync::Mutex;

use serde_json::{Value, json};

use crate::support::cluster::{Cluster, IMAGE};
use crate::support::{House, Ran, envctl, root};

/// What a stack has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Stack {
    /// One object of each kind that ends in its own way: pods, a volume, an address, a hook.
    Chart,
    /// A Terraform root, and next to nothing in the chart.
    Terraform,
    /// Both.
    Whole,
}

pub(super) fn job(name: &str, script: &str) -> Value {
    json!({
        "apiVersion": "batch/v1", "kind": "Job",
        "metadata": {"name": name, "annotations": {
            "helm.sh/hook": "pre-install,pre-upgrade", "helm.sh/hook-delete-policy": "before-hook-creation"}},
        "spec": {"backoffLimit": 0, "template": {"spec": {
            "restartPolicy": "Never", "terminationGracePeriodSeconds": 0,
            "containers": [{"name": name, "image": IMAGE, "command": ["sh", "-c", script]}]}}},
    })
}

pub(super) fn config_map(greeting: &str) -> Value {
    json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "settings"}, "data": {"greeting": greeting}})
}

fn objects() -> Vec<Value> {
    let pod = json!({
        "terminationGracePeriodSeconds": 0,
        "containers": [{
            "name": "web", "image": IMAGE, "command": ["sleep", "infinity"],
            "env": [
                {"name": "PASSWORD", "valueFrom": {"secretKeyRef": {"name": "db", "key": "password"}}},
                {"name": "GREETING", "valueFrom": {"configMapKeyRef": {"name": "settings", "key": "greeting"}}},
            ],
            "volumeMounts": [{"name": "data", "mountPath": "/data"}],
        }],
        "volumes": [{"name": "data", "persistentVolumeClaim": {"claimName": "data"}}],
    });
    vec![
        config_map("hello"),
        json!({"apiVersion": "v1", "kind": "Service", "metadata": {"name": "web"},
            "spec": {"selector": {"app": "web"}, "ports": [{"port": 80}]}}),
        json!({"apiVersion": "v1", "kind": "PersistentVolumeClaim", "metadata": {"name": "data"},
            "spec": {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}}}}),
        json!({"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "web"}, "spec": {
            "selector": {"matchLabels": {"app": "web"}},
            "template": {"metadata": {"labels": {"app": "web"}}, "spec": pod}}}),
        job("migrate", "true"),
    ]
}

/// A bucket for the states of one test.
pub(super) struct States<'a> {
    cluster: &'a Cluster,
    bucket: String,
}

impl<'a> States<'a> {
    pub(super) fn new(cluster: &'a Cluster, what: &str) -> Self {
        let bucket = format!("{what}-{}", std::process::id());
        let region = cluster.text("region");
        let call = json!({"Bucket": bucket, "CreateBucketConfiguration": {"LocationConstraint": region}});
        cluster.aws("platform", "s3", "create_bucket", &call);
        Self { cluster, bucket }
    }

    /// A house with a stack.
    pub(super) fn house(&self, what: &str, stack: Stack) -> House {
        let mut house = House::raw(self.cluster, what);
        house.objects(&if stack == Stack::Terraform { vec![config_map("hello")] } else { objects() });
        let secrets = "secrets: {db: {password: {generate: 24}}}\ndefaults";
        house.edit("envctl.yaml", |text| text.replace("defaults", secrets));
        if stack == Stack::Chart {
            return house;
        }
        std::fs::create_dir(house.src().join("tf")).unwrap();
        std::fs::copy(root().join("tests/fixtures/queue/main.tf"), house.src().join("tf/main.tf")).unwrap();
        let mirror = root().join(".tools/providers/terraform.rc").to_string_lossy().into_owned();
        house.environment.push(("TF_CLI_CONFIG_FILE".to_owned(), mirror));
        let terraform = format!(
            ", terraform: {{path: tf, backendConfig: {{bucket: {}, key: small.tfstate, region: {}, \
             use_path_style: \"true\", use_lockfile: \"true\"}}}}, \
             inputs: {{values: {{queue: \"{{{{ terraform.queue }}}}\"}}, \
             terraform: {{vars: {{environment: \"{{{{ env.name }}}}\"}}}}}}}}\nsecrets",
            self.bucket,
            self.cluster.text("region"),
        );
        house.edit("envctl.yaml", |text| text.replace("}\nsecrets", &terraform));
        house
    }

    /// What AWS still has of these projects: states, archives, locks, queues.
    pub(super) fn left(&self, projects: &BTreeSet<String>) -> Vec<String> {
        let of = |text: &str| projects.iter().any(|project| text.contains(project.as_str()));
        let listed = self.cluster.aws("platform", "s3", "list_objects_v2", &json!({"Bucket": self.bucket}));
        let objects = listed["Contents"].as_array().into_iter().flatten();
        let mut left: Vec<_> = objects.map(|object| object["Key"].as_str().unwrap().to_owned()).collect();
        let queues = self.cluster.aws("platform", "sqs", "list_queues", &json!({}));
        let urls = queues["QueueUrls"].as_array().into_iter().flatten();
        left.extend(urls.map(|url| url.as_str().unwrap().to_owned()));
        left.retain(|name| of(name));
        left
    }
}

/// A house in which nobody has anything but the cluster.
pub(super) fn elsewhere(cluster: &Cluster) -> House {
    let mut house = House::raw(cluster, "kelse");
    let mirror = root().join(".tools/providers/terraform.rc").to_string_lossy().into_owned();
    house.environment.push(("TF_CLI_CONFIG_FILE".to_owned(), mirror));
    std::fs::remove_file(house.src().join("envctl.yaml")).unwrap();
    house
}

/// What is left of a house's environment, but for what only AWS knows.
pub(super) fn left_of(house: &House, cluster: &Cluster) -> Vec<String> {
    let mut left = house.in_cluster(cluster);
    let volumes = cluster.object(&["persistentvolumes"]);
    let of_house =
        |v: &&Value| v["spec"]["claimRef"]["namespace"].as_str() == Some(house.environment().as_str());
    let volumes = volumes["items"].as_array().into_iter().flatten().filter(of_house);
    left.extend(volumes.map(|v| format!("persistentvolume {}", v["metadata"]["name"])));
    let clusters = std::fs::read_dir(house.state().join("clusters")).into_iter().flatten();
    let homes = clusters.map(|dir| dir.unwrap().path().join(house.environment())).filter(|dir| dir.exists());
    left.extend(homes.map(|dir| dir.display().to_string()));
    left
}

/// That nothing of it is left.
pub(super) fn gone(house: &House, cluster: &Cluster) -> Result<(), String> {
    let left = left_of(house, cluster);
    if left.is_empty() { Ok(()) } else { Err(format!("left: {left:?}")) }
}

/// Every place at which a verb that goes well can die.
pub(super) fn places(house: &House, arguments: &[&str]) -> Vec<String> {
    let log = house.dir().join(format!("places-of-{}", arguments[0]));
    let mut command = house.command(envctl());
    Ran::of(command.args(arguments).env("ENVCTL_FAILPOINT_LOG", &log)).exits(0);
    let mut places: Vec<String> = Vec::new();
    for place in std::fs::read_to_string(&log).unwrap().lines() {
        if !places.iter().any(|known| known == place) {
            places.push(place.to_owned());
        }
    }
    places
}

/// Has a verb die at a place.
pub(super) fn killed_at(house: &House, place: &str, arguments: &[&str]) -> Result<(), String> {
    let mut command = house.command(envctl());
    expect(&Ran::of(command.env("ENVCTL_FAILPOINT", place).args(arguments)), -1, &[])
}

/// What a run does, and says on either stream.
pub(super) fn expect(ran: &Ran, code: i32, says: &[&str]) -> Result<(), String> {
    let all = format!("{}{}", ran.stdout, ran.stderr);
    let missing: Vec<_> = says.iter().filter(|text| !all.contains(**text)).collect();
    if ran.code == code && missing.is_empty() {
        return Ok(());
    }
    Err(format!("exit {} instead of {code}, {missing:?} not said\n{all}", ran.code))
}

/// Plays all items, each in a house, in several houses at once; says which went wrong. What a house's
/// former items left would be seen by its next one. Answers the projects of all houses.
pub(super) fn side_by_side<T: Sync + Display>(
    items: &[T],
    at_once: usize,
    house: impl Fn() -> House + Sync,
    play: impl Fn(&T, &House) -> Result<(), String> + Sync,
) -> BTreeSet<String> {
    let next = Mutex::new(items.iter());
    let wrong: Mutex<Vec<String>> = Mutex::default();
    let projects: Mutex<BTreeSet<String>> = Mutex::default();
    let fresh = || {
        let house = house();
        projects.lock().unwrap().insert(house.project.clone());
        house
    };
    std::thread::scope(|scope| {
        for _ in 0..at_once.min(items.len()) {
            scope.spawn(|| {
                let mut mine = fresh();
                loop {
                    let Some(item) = next.lock().unwrap().next() else { break };
                    let begun = std::time::Instant::now();
                    match play(item, &mine) {
                        Ok(()) => eprintln!("{item}: {:.0} s", begun.elapsed().as_secs_f64()),
                        Err(why) => {
                            eprintln!("--- {item}: {why}");
                            wrong.lock().unwrap().push(format!("{item}: {why}"));
                            mine = fresh();
                        }
                    }
                }
            });
        }
    });
    let wrong = wrong.into_inner().unwrap();
    assert!(wrong.is_empty(), "{} of {} went wrong\n{}", wrong.len(), items.len(), wrong.join("\n"));
    projects.into_inner().unwrap()
}
