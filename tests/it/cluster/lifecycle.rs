//! Up, use, change, down.

use crate::support::House;
use crate::support::cluster::Cluster;

#[test]
fn up_use_change_down() {
    let Some(cluster) = Cluster::shared() else { return };
    let house = House::on_cluster(cluster, "klife");
    let name = house.environment();
    let before = cluster.object(&["namespaces"])["items"].as_array().unwrap().len();
    let up = house.envctl(&["up"]).exits(0);
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
