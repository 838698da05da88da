//! Up, use, change, down.

use crate::support::House;
use crate::support::cluster::{Cluster, IMAGE};

/// A component that has no pods.
const MAILER: &str = "
{{- if .Values.mailer }}
apiVersion: apps/v1
kind: Deployment
metadata: {name: mailer}
spec:
  replicas: 0
  selector: {matchLabels: {app: mailer}}
  template:
    metadata: {labels: {app: mailer}}
    spec: {containers: [{name: mailer, image: debian:bookworm-slim}]}
{{- end }}
";

#[test]
fn up_use_change_down() {
    let Some(cluster) = Cluster::shared() else { return };
    let house = House::on_cluster(cluster, "klife");
    let name = house.environment();
    let before = cluster.object(&["namespaces"])["items"].as_array().unwrap().len();
    house.edit("envctl.yaml", |text| {
        text.replace(
            "web: {kind: service}",
            "web: {kind: service}\n  mailer: {kind: worker, enabledBy: mailer}",
        )
    });
    house.edit("chart/values.yaml", |text| text + "mailer: true\n");
    std::fs::write(house.src().join("chart/templates/mailer.yaml"), MAILER).unwrap();
    house
        .envctl(&["up", "--only", "mailer"])
        .exits(2)
        .says("--only leaves `web` out")
        .says("enabledBy: web.enabled");
    let up = house.envctl(&["up", "--only", "web"]).exits(0);
    assert!(cluster.object(&["deployment", "mailer", "-n", &name]).is_null());
    house.envctl(&["status"]).exits(0).says("left out (--only): mailer");
    assert!(up.stdout.contains(&format!("http://web.{name}.dev.example.com")), "{}", up.stdout);
    let web = cluster.object(&["deployment", "web", "-n", &name]);
    assert_eq!(web["status"]["availableReplicas"], 1);
    let namespace = cluster.object(&["namespace", &name]);
    assert_eq!(namespace["metadata"]["annotations"]["envctl.dev/owner"], "aki");
    assert_eq!(namespace["metadata"]["labels"]["pod-security.kubernetes.io/enforce"], "baseline");
    for guard in ["resourcequota", "limitrange", "networkpolicy", "rolebinding"] {
        assert!(cluster.object(&[guard, "envctl", "-n", &name]).is_object(), "{guard}");
    }
    house.envctl(&["up", "--set", "replicas=2"]).exits(0);
    assert_eq!(cluster.object(&["deployment", "web", "-n", &name])["status"]["availableReplicas"], 2);
    assert!(
        cluster.object(&["deployment", "mailer", "-n", &name]).is_object(),
        "the next `up` adds the rest"
    );
    let down = house.envctl(&["down", "--yes"]).exits(0).says("0 left");
    assert!(!down.stdout.contains("unverified"), "{}", down.stdout);
    assert_eq!(house.in_cluster(cluster), [""; 0]);
    assert!(cluster.object(&["namespaces"])["items"].as_array().unwrap().len() <= before + 8);
    house.envctl(&["down", "--yes"]).exits(0).says("there is no environment");
}

#[test]
fn down_works_from_another_machine_without_the_sources() {
    let Some(cluster) = Cluster::shared() else { return };
    let house = House::on_cluster(cluster, "kelse");
    let name = house.environment();
    house.envctl(&["up"]).exits(0);
    // Another machine: no sources, no state, only the cluster's ARN and an AWS profile.
    let elsewhere = House::on_cluster(cluster, "kother");
    std::fs::remove_file(elsewhere.src().join("envctl.yaml")).unwrap();
    let arn = cluster.arn();
    let arguments = ["down", "--yes", "--name", &name, "--cluster", &arn, "--profile"];
    elsewhere.envctl(&[&arguments[..], &["yui"]].concat()).exits(3).says("belongs to aki, and you are yui");
    elsewhere.envctl(&[&arguments[..], &["aki"]].concat()).exits(0).says("0 left");
    assert_eq!(house.in_cluster(cluster), [""; 0]);
}

#[test]
fn manifests_are_delivered_and_what_leaves_them_goes() {
    let Some(cluster) = Cluster::shared() else { return };
    let house = House::on_cluster(cluster, "kmanifests");
    house.edit("envctl.yaml", |text| {
        text.replace("chart: {path: chart}", "manifests: {files: [all.yaml]}")
            .replace("inputs:\n  values: {host: \"{{ host.web }}\"}\n", "")
    });
    let map = |name: &str| {
        format!(
            "apiVersion: v1\nkind: ConfigMap\nmetadata: {{name: {name}}}\ndata: {{text: '{{{{ not a template }}}} of {name}'}}\n---\n"
        )
    };
    std::fs::write(house.src().join("all.yaml"), map("one") + &map("two")).unwrap();
    house.envctl(&["up"]).exits(0);
    let name = house.environment();
    let one = cluster.object(&["configmap", "one", "-n", &name]);
    assert_eq!(one["data"]["text"], "{{ not a template }} of one");
    std::fs::write(house.src().join("all.yaml"), map("one")).unwrap();
    house.envctl(&["up"]).exits(0);
    assert!(cluster.object(&["configmap", "two", "-n", &name]).is_null());
    house.envctl(&["down", "--yes"]).exits(0).says("0 left");
    assert_eq!(house.in_cluster(cluster), [""; 0]);
}

#[test]
fn a_new_life_is_judged_by_the_platform_before_anything_says_it() {
    let Some(cluster) = Cluster::shared() else { return };
    let house = House::raw(cluster, "kttl");
    let name = house.environment();
    house.envctl(&["up", "--ttl", "2h"]).exits(0);
    let expires = || {
        let of = |object: &[&str]| {
            cluster.object(object)["metadata"]["annotations"]["envctl.dev/expires"]
                .as_str()
                .unwrap()
                .to_owned()
        };
        [of(&["namespace", &name]), of(&["configmap", &name, "-n", "envctl-system"])]
    };
    let before = expires();
    assert_eq!(before[0], before[1]);
    let refused = house.envctl(&["up", "--ttl", "never"]);
    assert!(refused.code != 0 && refused.stderr.contains("168h"), "{}{}", refused.stdout, refused.stderr);
    assert_eq!(expires(), before);
    house.envctl(&["up", "--ttl", "5h"]).exits(0);
    let after = expires();
    assert!(after[0] == after[1] && after != before, "{after:?}");
    // What is protected now counts, although nothing was when it came up.
    let rule = format!("protected: {{clusters: [{}]}}\ntargets:", cluster.text("name"));
    house.edit("envctl.yaml", |text| text.replace("targets:", &rule));
    for verb in [&["down", "--yes"][..], &["restart"], &["extend"]] {
        house.envctl(verb).exits(3).says("is protected");
    }
    house.edit("envctl.yaml", |text| text.replace(&rule, "targets:"));
    house.envctl(&["down", "--yes"]).exits(0).says("0 left");
    assert_eq!(house.in_cluster(cluster), [""; 0]);
}

#[test]
fn what_fails_is_rolled_back_if_asked_and_a_hook_that_fails_keeps_nothing() {
    let Some(cluster) = Cluster::shared() else { return };
    let house = House::raw(cluster, "kback");
    let job = |name: &str, hook: &str| {
        serde_json::json!({
            "apiVersion": "batch/v1", "kind": "Job",
            "metadata": {"name": name, "annotations": {"helm.sh/hook": hook}},
            "spec": {"backoffLimit": 0, "template": {"spec": {"restartPolicy": "Never",
                "containers": [{"name": name, "image": IMAGE, "command": ["false"]}]}}},
        })
    };
    house.objects(&[job("migrate", "post-install")]);
    house.envctl(&["up", "--rollback"]).exits(1).says("removing what it made (--rollback)").says("0 left");
    assert_eq!(house.in_cluster(cluster), [""; 0]);

    house.objects(&[job("goodbye", "pre-delete")]);
    house.envctl(&["up"]).exits(0);
    let name = house.environment();
    house
        .envctl(&["down", "--yes"])
        .exits(1)
        .says("goodbye")
        .says(&format!("`envctl down --name {name} --no-hooks` goes on without them"));
    house.envctl(&["down", "--yes", "--no-hooks"]).exits(0).says("0 left");
    assert_eq!(house.in_cluster(cluster), [""; 0]);
}

#[test]
fn kubectl_finds_envctl_as_its_plugin() {
    let Some(cluster) = Cluster::shared() else { return };
    let house = House::raw(cluster, "kplugin");
    let bin = house.dir().join("bin");
    std::fs::create_dir(&bin).unwrap();
    std::os::unix::fs::symlink(crate::support::envctl(), bin.join("kubectl-env")).unwrap();
    let path = format!("{}:{}", bin.display(), std::env::var("PATH").unwrap());
    let kubectl = |arguments: &[&str]| {
        let mut command = house.command(cluster.kubectl_as("aki").get_program());
        command.arg("kubectl").args(["env"]).args(arguments).env("PATH", &path);
        crate::support::Ran::of(&mut command)
    };
    kubectl(&["up"]).exits(0).says("ready");
    kubectl(&["status"]).exits(0).says(&house.environment());
    kubectl(&["down", "--yes"]).exits(0).says("0 left");
}

#[test]
fn what_does_not_fit_is_told_all_together_before_anything_is_written() {
    let Some(cluster) = Cluster::shared() else { return };
    let house = House::raw(cluster, "kfit");
    let of = |api: &str, kind: &str, name: &str, namespace: Option<&str>| serde_json::json!({"apiVersion": api, "kind": kind, "metadata": {"name": name, "namespace": namespace}});
    house.objects(&[
        of("v1", "ConfigMap", "here", Some(&house.environment())),
        of("v1", "ConfigMap", "there", Some("kube-public")),
        of("example.com/v1", "Gadget", "g", None),
    ]);
    house
        .envctl(&["up"])
        .exits(1)
        .says("nothing was changed")
        .says("ConfigMap/there is for the namespace `kube-public`: an environment keeps to its own")
        .says("Gadget/g: the cluster knows no kind Gadget in example.com/v1");
    assert_eq!(house.in_cluster(cluster), [""; 0]);
}
