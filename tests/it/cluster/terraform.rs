//! Terraform beside the namespace: what it made is looked up where it was, by whoever takes the environment
//! down, and what it forgot is found.

use std::process::Command;

use serde_json::{Value, json};

use crate::support::cluster::Cluster;
use crate::support::{House, Ran, envctl, have, root};

/// A root with things of several kinds, each of which ends in its own way.
const ROOT: &str = r#"
terraform {
  backend "s3" {}
  required_providers { aws = { source = "hashicorp/aws" } }
}
variable "environment" { type = string }
provider "aws" { region = "ap-northeast-1" }
provider "aws" {
  alias  = "frankfurt"
  region = "eu-central-1"
}
resource "aws_sqs_queue" "jobs" {
  for_each = toset(["low", "high.now"])
  name     = "${var.environment}-${replace(each.key, ".", "-")}"
}
module "far" {
  source      = "./far"
  environment = var.environment
  providers   = { aws = aws.frankfurt }
}
resource "aws_iam_role" "app" {
  name               = var.environment
  assume_role_policy = jsonencode({ Version = "2012-10-17", Statement = [] })
}
resource "aws_secretsmanager_secret" "key" {
  name                    = var.environment
  recovery_window_in_days = 7
}
resource "terraform_data" "note" { input = { review = var.environment }[split("-", terraform.workspace)[0]] }
output "queue" { value = aws_sqs_queue.jobs["low"].id }
"#;

const FAR: &str = r#"
terraform {
  required_providers { aws = { source = "hashicorp/aws" } }
}
variable "environment" { type = string }
resource "aws_sqs_queue" "far" { name = "${var.environment}-far" }
"#;

/// A house whose stack has a Terraform root with its state in a bucket of its own.
fn house(cluster: &Cluster, what: &str, files: &[(&str, &str)]) -> House {
    let mut house = House::on_cluster(cluster, what);
    equip(&mut house);
    let region = cluster.text("region");
    for (file, text) in files {
        let path = house.src().join("tf").join(file);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, text).unwrap();
    }
    let bucket = format!("{}-tfstate", house.environment());
    let more = format!(
        ", terraform: {{path: tf, workspace: \"review-{{{{ env.name }}}}\", backendConfig: {{bucket: {bucket}, key: small.tfstate, region: {region}, \
         use_path_style: \"true\", use_lockfile: \"true\"}}}}, \
         inputs: {{terraform: {{vars: {{environment: \"{{{{ env.name }}}}\"}}}}}}}}\ndefaults"
    );
    house.edit("envctl.yaml", |text| text.replace("}\ndefaults", &more));
    let bucket = json!({"Bucket": bucket, "CreateBucketConfiguration": {"LocationConstraint": region}});
    cluster.aws("platform", "s3", "create_bucket", &bucket);
    house
}

/// Terraform finds the doubles of its providers.
fn equip(house: &mut House) {
    let mirror = root().join(".tools/providers/terraform.rc").to_string_lossy().into_owned();
    house.environment.push(("TF_CLI_CONFIG_FILE".to_owned(), mirror));
}

fn state_objects(cluster: &Cluster, house: &House) -> Vec<String> {
    let bucket = json!({"Bucket": format!("{}-tfstate", house.environment())});
    let listed = cluster.aws("platform", "s3", "list_objects_v2", &bucket);
    let objects = listed["Contents"].as_array().into_iter().flatten();
    objects.map(|object| object["Key"].as_str().unwrap().to_owned()).collect()
}

fn queues(cluster: &Cluster, house: &House) -> Vec<String> {
    let listed =
        cluster.aws("platform", "sqs", "list_queues", &json!({"QueueNamePrefix": house.environment()}));
    let urls = listed["QueueUrls"].as_array().into_iter().flatten();
    urls.map(|url| url.as_str().unwrap().to_owned()).collect()
}

fn receipt(ran: &Ran) -> Value {
    let lines = ran.events();
    lines.into_iter().rev().find(|event| event["event"] == "receipt").unwrap()
}

#[test]
fn what_terraform_made_is_looked_up_by_its_provider_from_another_machine() {
    let Some(cluster) = Cluster::shared() else { return };
    if !have(&["helm", "terraform"]) {
        return;
    }
    let house = house(cluster, "ktf", &[("main.tf", ROOT), ("far/main.tf", FAR)]);
    let name = house.environment();
    // The root looks something up by its workspace.
    house.envctl(&["up"]).exits(0).says(&format!("workspace review-{name}")).says("6 to add, applied");
    let state = format!("env:/review-{name}/small.tfstate");
    assert!(state_objects(cluster, &house).contains(&state), "{state}");
    assert_eq!(queues(cluster, &house).len(), 2);
    let tags = cluster.aws("platform", "iam", "list_role_tags", &json!({"RoleName": name}));
    assert!(tags.to_string().contains("envctl:identity"), "{tags}");

    let mut elsewhere = House::on_cluster(cluster, "ktfother");
    equip(&mut elsewhere);
    std::fs::remove_file(elsewhere.src().join("envctl.yaml")).unwrap();
    let arn = cluster.arn();
    let down = ["down", "--json", "--yes", "--name", &name, "--cluster", &arn, "--profile", "aki"];
    let receipt = receipt(&elsewhere.envctl(&down).exits(0));
    let ends = |end: &str| {
        let items = receipt[end].as_array().into_iter().flatten();
        let of = |kind: &'static str| items.clone().filter(move |item| item["kind"] == kind);
        let evidence = |item: &Value| (item["id"].as_str().unwrap().to_owned(), item["evidence"].to_string());
        of("resource").map(evidence).collect::<std::collections::BTreeMap<_, _>>()
    };
    let gone = ends("gone");
    for address in [
        "aws_sqs_queue.jobs[\"low\"]",
        "aws_sqs_queue.jobs[\"high.now\"]",
        "module.far.aws_sqs_queue.far",
        "aws_iam_role.app",
    ] {
        assert!(gone[address].contains("its provider, which had found it before"), "{gone:#?}");
    }
    assert!(gone["terraform_data.note"].contains("lived in the Terraform state alone"), "{gone:#?}");
    assert!(ends("retained")["aws_secretsmanager_secret.key"].contains("its recovery window is 7 days"));
    assert_eq!(ends("unverified"), ends("left"));
    assert_eq!(state_objects(cluster, &house), [""; 0]);
    assert_eq!(queues(cluster, &house), [""; 0]);
    assert_eq!(house.in_cluster(cluster), [""; 0]);
}

#[test]
fn what_terraform_forgot_is_found_by_its_tag() {
    let Some(cluster) = Cluster::shared() else { return };
    if !have(&["helm", "terraform"]) {
        return;
    }
    let knows = r#"
terraform {
  backend "s3" {}
  required_providers { aws = { source = "hashicorp/aws" } }
}
variable "environment" { type = string }
provider "aws" { region = "ap-northeast-1" }
resource "aws_sqs_queue" "jobs" { name = var.environment }
"#;
    let house = house(cluster, "ktfforgets", &[("main.tf", knows)]);
    house.envctl(&["up"]).exits(0);
    let forgets = r#"
terraform {
  backend "s3" {}
  required_providers { aws = { source = "hashicorp/aws" } }
}
variable "environment" { type = string }
provider "aws" { region = "ap-northeast-1" }
removed {
  from = aws_sqs_queue.jobs
  lifecycle { destroy = false }
}
"#;
    std::fs::write(house.src().join("tf/main.tf"), forgets).unwrap();
    house.envctl(&["up", "--yes"]).exits(0);
    let name = house.environment();
    let down = house.envctl(&["down", "--yes"]).exits(5);
    assert!(down.stdout.contains("no Terraform state knows of it"), "{}", down.stdout);
    assert!(down.stdout.contains("aws sqs delete-queue"), "{}", down.stdout);
    let url = queues(cluster, &house).remove(0);
    assert!(url.ends_with(&name), "{url}");
    cluster.aws("platform", "sqs", "delete_queue", &json!({"QueueUrl": url}));
    house.envctl(&["down", "--yes"]).exits(0).says("0 left");
}

#[test]
fn an_orphan_of_a_killed_creation_is_found_by_its_tag() {
    let Some(cluster) = Cluster::shared() else { return };
    if !have(&["helm", "terraform"]) {
        return;
    }
    let slow = r#"
terraform {
  backend "s3" {}
  required_providers { aws = { source = "hashicorp/aws" } }
}
variable "environment" { type = string }
provider "aws" { region = "ap-northeast-1" }
resource "aws_test_slow_queue" "jobs" {
  name  = var.environment
  delay = 600
}
"#;
    let house = house(cluster, "ktfslow", &[("main.tf", slow)]);
    let mut up = house.command(envctl()).arg("up").stdout(std::process::Stdio::null()).spawn().unwrap();
    while queues(cluster, &house).is_empty() {
        assert!(up.try_wait().unwrap().is_none(), "`up` ended before the queue was there");
    }
    // Everything dies at once, as when a laptop's battery does: envctl, Terraform and its providers.
    let data = house.state();
    let mut killed = vec![up.id()];
    killed.extend(running_below(&data));
    for pid in &killed {
        Command::new("kill").args(["-KILL", &pid.to_string()]).status().unwrap();
    }
    up.wait().unwrap();
    let down = house.envctl(&["down", "--yes"]).exits(5);
    let url = queues(cluster, &house).remove(0);
    let queue = url.rsplit('/').next().unwrap();
    assert!(down.stdout.contains(queue), "{}", down.stdout);
    assert!(down.stdout.contains("no Terraform state knows of it"), "{}", down.stdout);
    cluster.aws("platform", "sqs", "delete_queue", &json!({"QueueUrl": url}));
    house.envctl(&["down", "--yes"]).exits(0).says("0 left");
    assert_eq!(state_objects(cluster, &house), [""; 0]);
    assert_eq!(house.in_cluster(cluster), [""; 0]);
}

/// Processes whose working directory lies below a directory.
fn running_below(dir: &std::path::Path) -> Vec<u32> {
    let processes = std::fs::read_dir("/proc").unwrap().filter_map(|entry| entry.ok());
    processes
        .filter(|entry| std::fs::read_link(entry.path().join("cwd")).is_ok_and(|cwd| cwd.starts_with(dir)))
        .filter_map(|entry| entry.file_name().to_str()?.parse().ok())
        .collect()
}
