//! The examples' charts, as helm renders them for environments in which no test brings them up.

use std::process::Command;

use serde_json::Value;

use crate::support::{Ran, have, root};

fn render(example: &str, arguments: &[&str]) -> Vec<Value> {
    let mut command = Command::new("helm");
    command.current_dir(root().join("examples").join(example).join("deploy")).env_clear();
    command.env("PATH", std::env::var_os("PATH").unwrap_or_default());
    let ran = Ran::of(command.args(["template", example, "chart"]).args(arguments)).exits(0);
    let parsed = envctl_translate::parse(&ran.stdout, example).unwrap();
    parsed.into_iter().map(|object| object.body).collect()
}

/// Names of a kind's objects, with what is at `path` in each.
fn of_kind<'a>(objects: &'a [Value], kind: &str, path: &str) -> Vec<(&'a str, Option<&'a Value>)> {
    let found = objects.iter().filter(|object| object["kind"] == kind);
    found.map(|object| (object["metadata"]["name"].as_str().unwrap(), object.pointer(path))).collect()
}

#[test]
fn an_autoscaler_takes_the_place_of_replicas() {
    if !have(&["helm"]) {
        return;
    }
    let given = "database.host=h,database.name=n,database.user=u,database.password=p,redis.url=r,storage.bucket=b,\
                 queue.url=q,aws.roleArn=r,shipping.database.name=n,shipping.database.user=u,\
                 shipping.database.password=p,shipping.queueUrl=q,shipping.roleArn=r";
    let arguments = ["--values", "values/common.yaml", "--set", given];
    let replicas = |objects: &[Value]| {
        let found = of_kind(objects, "Deployment", "/spec/replicas").into_iter();
        found
            .map(|(name, replicas)| format!("{name} {}", replicas.unwrap_or(&Value::Null)))
            .collect::<Vec<_>>()
    };
    let fixed = render("album", &arguments);
    assert_eq!(replicas(&fixed), ["album-admin 1", "album-api 2", "album-shipping 2", "album-worker 1"]);
    assert_eq!(of_kind(&fixed, "HorizontalPodAutoscaler", ""), []);

    let on = "api.autoscaling.enabled=true,worker.autoscaling.enabled=true,worker.autoscaling.maxReplicas=30";
    let scaled = render("album", &[&arguments[..], &["--set", on]].concat());
    assert_eq!(
        replicas(&scaled),
        ["album-admin 1", "album-api null", "album-shipping 2", "album-worker null"]
    );
    let most = of_kind(&scaled, "HorizontalPodAutoscaler", "/spec/maxReplicas");
    assert_eq!(most, [("album-api", Some(&10.into())), ("album-worker", Some(&30.into()))]);
    let scales = of_kind(&scaled, "HorizontalPodAutoscaler", "/spec/scaleTargetRef/name");
    assert!(scales.iter().all(|(name, scaled)| scaled.is_some_and(|scaled| scaled == name)), "{scales:?}");
}

#[test]
fn the_foreign_chart_renders_for_the_companys_own_environments() {
    if !have(&["helm"]) {
        return;
    }
    for environment in ["production", "staging"] {
        let objects = render("shelf", &["--values", &format!("values/{environment}.yaml")]);
        let buckets = of_kind(&objects, "ConfigMap", "/data/COVERS_BUCKET");
        let bucket = Value::from(format!("shelf-covers-{environment}"));
        assert_eq!(buckets, [("shelf-config", Some(&bucket))]);
        assert_eq!(of_kind(&objects, "Secret", ""), [], "it has one of its own");
        assert_eq!(
            of_kind(&objects, "Job", "/metadata/annotations/helm.sh~1hook"),
            [("shelf-migrate", Some(&"pre-install,pre-upgrade".into()))]
        );
    }
}
