//! The real AWS Load Balancer Controller, whose finalizers hold Ingresses and Services: at work, stopped,
//! started again, and gone for good.

use serde_json::{Value, json};

use crate::support::cluster::{Cluster, IMAGE};
use crate::support::{House, Ran, Running, envctl};

/// A pod behind an Ingress and behind a Service with a load balancer of its own.
fn balanced() -> Vec<Value> {
    let labels = json!({"app": "web"});
    vec![
        json!({"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "web"}, "spec": {
            "selector": {"matchLabels": labels},
            "template": {"metadata": {"labels": labels}, "spec": {
                "terminationGracePeriodSeconds": 0,
                "containers": [{"name": "web", "image": IMAGE, "command": ["sleep", "infinity"]}],
            }},
        }}),
        json!({"apiVersion": "v1", "kind": "Service", "metadata": {"name": "web"}, "spec": {
            "type": "NodePort", "selector": labels, "ports": [{"port": 80}]
        }}),
        json!({"apiVersion": "v1", "kind": "Service", "metadata": {"name": "front"}, "spec": {
            "type": "LoadBalancer", "loadBalancerClass": "service.k8s.aws/nlb", "selector": labels, "ports": [{"port": 80}]
        }}),
        json!({"apiVersion": "networking.k8s.io/v1", "kind": "Ingress", "metadata": {"name": "web"}, "spec": {
            "ingressClassName": "alb",
            "rules": [{"host": "web.dev.example.com", "http": {"paths": [
                {"path": "/", "pathType": "Prefix", "backend": {"service": {"name": "web", "port": {"number": 80}}}}
            ]}}],
        }}),
    ]
}

/// An environment with both load balancers.
fn up(cluster: &Cluster) -> House {
    let house = House::raw(cluster, "kalb");
    house.objects(&balanced());
    house.envctl(&["up"]).exits(0);
    let made = "--for=jsonpath={.status.loadBalancer.ingress[0].hostname}";
    let wait = ["-n", &house.environment(), "wait", made, "--timeout=120s", "ingress/web", "service/front"];
    cluster.kubectl(&wait).exits(0);
    house
}

/// The ARNs of load balancers and target groups.
fn in_aws(cluster: &Cluster) -> Vec<String> {
    let arns = |method: &str, list: &str, arn: &str| {
        let answer = cluster.aws("platform", "elbv2", method, &json!({}));
        let all = answer[list].as_array().unwrap();
        all.iter().map(|one| one[arn].as_str().unwrap().to_owned()).collect::<Vec<_>>()
    };
    let mut all = arns("describe_load_balancers", "LoadBalancers", "LoadBalancerArn");
    all.extend(arns("describe_target_groups", "TargetGroups", "TargetGroupArn"));
    all
}

/// What a receipt says of one end.
fn receipt(down: &Ran, end: &str) -> Vec<Value> {
    let events = down.events();
    let receipt = events.iter().find(|event| event["event"] == "receipt").unwrap();
    receipt[end].as_array().cloned().unwrap_or_default()
}

fn ids(items: &[Value]) -> Vec<&str> {
    items.iter().filter_map(|item| item["id"].as_str()).collect()
}

#[test]
fn load_balancers_go_with_their_environment_or_are_named() {
    let Some(cluster) = Cluster::own("balanced", &["--with", "albc"]) else { return };
    a_living_controller_takes_its_load_balancers_away(&cluster);
    a_stopped_controller_is_named_and_taken_up_again(&cluster);
    what_a_controller_that_is_gone_left_is_named(&cluster);
}

fn a_living_controller_takes_its_load_balancers_away(cluster: &Cluster) {
    let house = up(cluster);
    let made = in_aws(cluster);
    assert_eq!(made.len(), 4, "two load balancers with a target group each: {made:?}");
    let down = house.envctl(&["down", "--yes", "--json"]).exits(0);
    let gone = receipt(&down, "gone");
    for arn in &made {
        assert!(ids(&gone).contains(&arn.as_str()), "the receipt does not name {arn}: {gone:?}");
    }
    assert!(ids(&gone).contains(&"Ingress/web"), "{gone:?}");
    assert_eq!(receipt(&down, "unverified"), [Value::Null; 0]);
    assert_eq!(in_aws(cluster), [""; 0]);
    assert_eq!(house.in_cluster(cluster), [""; 0]);
}

fn a_stopped_controller_is_named_and_taken_up_again(cluster: &Cluster) {
    let house = up(cluster);
    let name = house.environment();
    let made = in_aws(cluster);
    cluster.ctl(&["stop", "name=albc"]);
    let mut down = Running::start(house.command(envctl()).args(["down", "--yes", "--wait-timeout", "20"]));
    down.says(
        "Ingress web waits for its finalizer `ingress.k8s.aws/resources`: the controller `ingress.k8s.aws/alb` has not \
         done its part and may not be running",
    );
    down.says("Service front waits for its finalizer `service.k8s.aws/resources`: the controller `service.k8s.aws/nlb`");
    let down = down.ends().exits(1).says("Ingresses and load balancers are still there after 20 s");
    let down =
        down.says("start the controller again, or fix what it waits for, and type the same command again");
    down.says(&format!(
        "envctl down --name {name} --strip-finalizers Ingress/web --strip-finalizers Service/front"
    ));
    let ingress = cluster.object(&["ingress", "web", "-n", &name]);
    assert_eq!(ingress["metadata"]["finalizers"], json!(["ingress.k8s.aws/resources"]));
    assert_eq!(in_aws(cluster), made);
    cluster.ctl(&["start", "name=albc"]);
    house.envctl(&["down", "--yes"]).exits(0).says("0 left");
    assert_eq!(in_aws(cluster), [""; 0]);
    assert_eq!(house.in_cluster(cluster), [""; 0]);
}

fn what_a_controller_that_is_gone_left_is_named(cluster: &Cluster) {
    // As the README of the platform says: rights for kinds of one's own operators.
    cluster.apply(&json!({"apiVersion": "rbac.authorization.k8s.io/v1", "kind": "ClusterRole",
        "metadata": {"name": "balancers", "labels": {"envctl.dev/aggregate-to-environment": "true"}},
        "rules": [{"apiGroups": ["elbv2.k8s.aws"], "resources": ["targetgroupbindings"],
            "verbs": ["get", "list", "watch", "patch", "delete"]}]}));
    let house = up(cluster);
    let name = house.environment();
    let made = in_aws(cluster);
    cluster.ctl(&["stop", "name=albc"]);

    // Its webhook checks every change of an Ingress, also this one.
    let strip = ["down", "--yes", "--strip-finalizers", "Ingress/web"];
    house.envctl(&strip).exits(3).says(
        "the finalizers of Ingress/web cannot be taken off: every change of it is checked by the admission webhook \
         `vingress.elbv2.k8s.aws`, which does not answer",
    );
    let configurations = "validatingwebhookconfiguration,mutatingwebhookconfiguration";
    cluster.kubectl(&["delete", configurations, "aws-load-balancer-controller"]).exits(0);

    // Now the Ingress goes, and what else the controller made in the namespace is named.
    let front = ["--strip-finalizers", "Ingress/web", "--strip-finalizers", "Service/front"];
    let down = house.envctl(&[&["down", "--yes", "--wait-timeout", "15"], &front[..]].concat()).exits(1);
    let down = down.says("waits for its finalizer `elbv2.k8s.aws/resources`");
    let what_to_do = down.stdout.lines().find(|line| line.contains("envctl down --name")).unwrap();
    assert!(what_to_do.contains("--strip-finalizers TargetGroupBinding/"), "{what_to_do}");
    let command: Vec<_> =
        what_to_do.split_whitespace().skip_while(|word| *word != "envctl").skip(1).collect();
    let down = house.envctl(&[&command[..], &["--yes", "--json"]].concat()).exits(5);

    // Nobody took the load balancers away, and AWS says so.
    let left = receipt(&down, "left");
    for arn in &made {
        assert!(ids(&left).contains(&arn.as_str()), "the receipt does not name {arn}: {left:?}");
    }
    let of = |arn: &str| left.iter().position(|item| item["id"].as_str().unwrap().contains(arn)).unwrap();
    assert!(of(":loadbalancer/") < of(":targetgroup/") && of(":targetgroup/") < of(":security-group/"));
    let remove = left[of(":loadbalancer/")]["remove"].as_str().unwrap();
    assert!(remove.starts_with("aws elbv2 delete-load-balancer --region ap-northeast-1"), "{remove}");
    let given_up = receipt(&down, "unverified");
    let ingress = given_up.iter().find(|item| item["id"] == "Ingress/web").unwrap();
    let evidence = ingress["evidence"].as_str().unwrap();
    assert!(evidence.contains("`ingress.k8s.aws/resources` was taken off as you asked"), "{evidence}");

    // It stays so until somebody does what the receipt says; from another machine, too.
    let elsewhere = House::on_cluster(cluster, "kelsewhere");
    let arn = cluster.arn();
    let again =
        ["down", "--yes", "--name", &name, "--cluster", &arn, "--profile", "aki", "--wait-timeout", "5"];
    elsewhere.envctl(&again).exits(5).says("aws elbv2 delete-load-balancer");
    for item in &left {
        let id = item["id"].as_str().unwrap();
        let (service, method, key) = match id {
            arn if arn.contains(":loadbalancer/") => ("elbv2", "delete_load_balancer", "LoadBalancerArn"),
            arn if arn.contains(":targetgroup/") => ("elbv2", "delete_target_group", "TargetGroupArn"),
            _ => ("ec2", "delete_security_group", "GroupId"),
        };
        let what = if service == "ec2" { id.rsplit('/').next().unwrap() } else { id };
        cluster.aws("platform", service, method, &json!({key: what}));
    }
    elsewhere.envctl(&again).exits(0).says("0 left");
    assert_eq!(house.in_cluster(cluster), [""; 0]);
}
