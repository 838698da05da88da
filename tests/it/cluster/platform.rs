//! What `envctl init --platform` writes, attacked by a developer with raw kubectl.

use serde_json::json;

use crate::support::cluster::Cluster;
use crate::support::{House, Ran};

#[test]
fn a_developer_with_raw_kubectl_gets_no_further_than_with_envctl() {
    let Some(cluster) = Cluster::shared() else { return };
    let house = House::on_cluster(cluster, "kattack");
    let name = house.environment();
    house.envctl(&["up"]).exits(0);
    let refused = |who: &str, arguments: &str, why: &str| {
        let arguments = arguments.replace("ENV", &name);
        let ran = Ran::of(cluster.kubectl_as(who).args(arguments.split(' ')));
        assert!(
            ran.code != 0 && ran.stderr.contains(why),
            "{who}: {arguments}\n{}{}",
            ran.stdout,
            ran.stderr
        );
        assert!(ran.stderr.contains("orbidden"), "not by the API server: {}", ran.stderr);
    };
    // Environments of others.
    refused("yui", "delete namespace ENV", "is not an environment of yui");
    refused("yui", "annotate namespace ENV envctl.dev/owner=yui --overwrite", "is not an environment of yui");
    refused("yui", "-n ENV get secrets", "cannot list resource");
    refused("yui", "-n ENV exec deploy/web -- true", "cannot");
    refused(
        "yui",
        "-n ENV create rolebinding mine --clusterrole envctl-environment --user yui",
        "is not an environment of yui",
    );
    refused("yui", "-n ENV create quota more --hard pods=100", "is not an environment of yui");
    // Namespaces that are no environments.
    refused("aki", "delete namespace envctl-system", "is not an environment of aki");
    refused(
        "aki",
        "label namespace kube-system app.kubernetes.io/managed-by=envctl",
        "is not an environment of aki",
    );
    refused("aki", "create namespace plain", "carries its owner");
    refused(
        "aki",
        "-n kube-system create rolebinding mine --clusterrole envctl-environment --user aki",
        "is not an environment of aki",
    );
    // Guardrails.
    refused(
        "aki",
        "label namespace ENV pod-security.kubernetes.io/enforce=privileged --overwrite",
        "baseline or restricted",
    );
    refused("aki", "label namespace ENV pod-security.kubernetes.io/enforce-version=v1.20", "Pod Security");
    refused(
        "aki",
        "annotate namespace ENV envctl.dev/identity=00000000000000000000000000000000 --overwrite",
        "do not change",
    );
    refused(
        "aki",
        "annotate namespace ENV envctl.dev/expires=2099-01-01T00:00:00Z --overwrite",
        "an extension adds at most 168h",
    );
    refused("aki", "-n ENV delete resourcequota envctl", "cannot delete");
    refused("aki", "-n ENV delete networkpolicy envctl", "neither change nor go");
    refused(
        "aki",
        "-n ENV create rolebinding more --clusterrole cluster-admin --user aki",
        "attempting to grant",
    );
    refused(
        "aki",
        "-n ENV create rolebinding friend --clusterrole envctl-environment --user yui",
        "to its owner alone",
    );
    let patch = r#"{"spec":{"hard":{"cpu":"1000"}}}"#;
    let ran = Ran::of(cluster.kubectl_as("aki").args([
        "-n",
        &name,
        "patch",
        "resourcequota",
        "envctl",
        "-p",
        patch,
    ]));
    assert!(ran.stderr.contains("neither change nor go"), "{}", ran.stderr);
    let open = house.dir().join("open.yaml");
    let policy = |from: &str| {
        std::fs::write(
            &open,
            format!(
                "{{apiVersion: networking.k8s.io/v1, kind: NetworkPolicy, metadata: {{name: open, namespace: {name}}}, \
                 spec: {{podSelector: {{}}, ingress: [{from}]}}}}"
            ),
        )
        .unwrap();
        Ran::of(cluster.kubectl_as("aki").args(["apply", "-f", &open.display().to_string()]))
    };
    for from in ["{}", "{from: [{namespaceSelector: {}}]}", "{from: [{ipBlock: {cidr: 0.0.0.0/0}}]}"] {
        let ran = policy(from);
        assert!(ran.stderr.contains("lets in what the platform keeps out"), "{from}: {}", ran.stderr);
    }
    policy("{from: [{podSelector: {matchLabels: {app: web}}}]}").exits(0);
    // Records, keys, locks.
    refused("yui", "-n envctl-system delete configmap ENV", "is not yui's");
    refused(
        "yui",
        "-n envctl-system create configmap forged --from-literal=record.json={}",
        "names its owner",
    );
    refused("aki", "-n envctl-system delete configmap envctl-platform", "is not aki's");
    refused("aki", "-n envctl-system get secrets", "cannot list");
    // No pod without guardrails, whoever makes it.
    cluster.kubectl(&["create", "namespace", &format!("{name}-bare")]).exits(0);
    cluster
        .kubectl(&["label", "namespace", &format!("{name}-bare"), "app.kubernetes.io/managed-by=envctl"])
        .exits(0);
    let bare = cluster.kubectl(&["-n", &format!("{name}-bare"), "run", "x", "--image=debian:bookworm-slim"]);
    assert!(bare.stderr.contains("failed to configure binding: no params found"), "{}", bare.stderr);
    cluster.kubectl(&["delete", "namespace", &format!("{name}-bare")]).exits(0);
    house.envctl(&["down", "--yes"]).exits(0).says("0 left");
}

#[test]
fn a_developer_may_do_in_aws_what_the_policy_says_and_nothing_else() {
    let Some(cluster) = Cluster::shared() else { return };
    let bucket = format!("attacked-{}", std::process::id());
    let region = json!({"LocationConstraint": cluster.text("region")});
    cluster.aws(
        "platform",
        "s3",
        "create_bucket",
        &json!({"Bucket": bucket, "CreateBucketConfiguration": region}),
    );
    let put = |profile: &str, key: &str| {
        let object = json!({"Bucket": bucket, "Key": key, "Body": "{}"});
        cluster.call_aws(profile, "s3", "put_object", &object)
    };
    put("aki", "env:/kattack-aki/small.tfstate").exits(0);
    put("platform", "small.tfstate").exits(0);
    put("platform", "invoices.csv").exits(0);
    let object = |key: &str| json!({"Bucket": bucket, "Key": key});
    // Terraform looks at the default workspace when it is initialised.
    cluster.aws("aki", "s3", "head_object", &object("small.tfstate"));
    let cluster_of = |name: &str| json!({"name": name});
    for ran in [
        put("aki", "small.tfstate"),
        cluster.call_aws("aki", "s3", "get_object", &object("invoices.csv")),
        cluster.call_aws("aki", "s3", "delete_bucket", &json!({"Bucket": bucket})),
        cluster.call_aws("aki", "s3", "create_bucket", &json!({"Bucket": format!("{bucket}-2")})),
        cluster.call_aws("aki", "eks", "describe_cluster", &cluster_of("production-1")),
        cluster.call_aws("aki", "dynamodb", "list_tables", &json!({})),
    ] {
        let is_refused =
            ran.stderr.contains("is not authorized to perform") || ran.stderr.contains("AccessDenied");
        assert!(ran.code != 0 && is_refused, "{}{}", ran.stdout, ran.stderr);
    }
}
