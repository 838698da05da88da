//! The second example: a stack as a company has it that never heard of envctl.

use std::process::Command;
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::support::{House, Ran, copy, free_port, have, http, root, skip};

/// How long the worker may take for a book.
const PATIENCE: Duration = Duration::from_secs(60);

/// Its stack file.
pub(crate) const STACK: &str = "examples/shelf/envctl.yaml";

/// A copy of what the example needs, with names and a port of its own. `None` where Terraform's providers are not.
pub(crate) fn house() -> Option<(House, u16)> {
    let mirror = root().join(".tools/providers/terraform.rc");
    if !mirror.is_file() {
        skip(format_args!("Terraform's providers were not built: scripts/cluster build terraform-providers"));
        return None;
    }
    let mut house = House::new("she");
    for part in ["examples/shelf", "docker"] {
        std::fs::create_dir_all(house.src().join(part)).unwrap();
        copy(&root().join(part), &house.src().join(part));
    }
    let aws = free_port();
    house.edit("examples/shelf/compose.yaml", |text| {
        text.replacen("name: shelf-backing", &format!("name: {}bk", house.project), 1).replacen(
            "127.0.0.1:4566:",
            &format!("127.0.0.1:{aws}:"),
            1,
        )
    });
    house.edit(STACK, |text| {
        text.replacen("project: shelf", &format!("project: {}", house.project), 1)
            .replacen(
                "repository: 444444444444.dkr.ecr.ap-northeast-1.amazonaws.com/shelf",
                &format!("repository: {}/app", house.project),
                1,
            )
            .replacen("127.0.0.1:4566", &format!("127.0.0.1:{aws}"), 1)
    });
    house.environment.push(("TF_CLI_CONFIG_FILE".to_owned(), mirror.to_string_lossy().into_owned()));
    Some((house, aws))
}

impl House {
    pub(crate) fn shelf(&self, arguments: &[&str]) -> Ran {
        let mut command = self.command(crate::support::envctl());
        Ran::of(command.current_dir(self.src().join("examples/shelf")).args(arguments))
    }
}

/// Web, worker and search have to do with it, and what Terraform has made and looked up by the workspace.
pub(crate) fn lends_a_book(environment: &str, ask: impl Fn(&str, &str, &str) -> (u16, String)) {
    let (status, book) = ask("POST", "/books", "The Makioka Sisters");
    assert_eq!(status, 202, "{book}");
    let begun = Instant::now();
    let book = loop {
        let book: Value = serde_json::from_str(&ask("GET", "/books/1", "").1).unwrap();
        if book["state"] == "catalogued" {
            break book;
        }
        assert!(begun.elapsed() < PATIENCE, "{book}");
        std::thread::sleep(Duration::from_millis(100));
    };
    let cover = format!("s3://shelf-covers-review-{environment}/1.jpg");
    assert_eq!((&book["days"], &book["cover"]), (&1.into(), &cover.into()));
    assert_eq!(ask("GET", "/search?q=sisters", ""), (200, "[1]".to_owned()));
}

/// The containers of a workload's pods.
fn containers(house: &House, workload: &str) -> Vec<String> {
    let filter = format!("name={}-shelf-{workload}", house.environment());
    let listed = Command::new("docker").args(["ps", "--quiet", "--no-trunc", "--filter", &filter]).output();
    let mut ids: Vec<_> =
        String::from_utf8_lossy(&listed.unwrap().stdout).lines().map(str::to_owned).collect();
    ids.sort();
    assert!(!ids.is_empty(), "no container of {workload}");
    ids
}

#[test]
fn a_stack_that_never_heard_of_envctl_goes_up_works_changes_and_leaves_nothing() {
    if !have(&["docker", "helm", "terraform", "curl"]) {
        return;
    }
    let Some((house, aws)) = house() else { return };
    let name = house.environment();
    // One root for both targets: its state is with the environment, its AWS that of compose.yaml, and its workspace
    // has a name that it knows.
    let up = house.shelf(&["up"]).exits(0).says(&format!("workspace review-{name}")).says("to add, applied");
    // The target's domain has a star.
    let host = format!("web-{name}.localhost");
    assert!(up.stdout.contains(&format!("http://{host}:{}", house.port)), "{}", up.stdout);
    let ask =
        |method: &str, path: &str, body: &str| http(house.port, &host, method, path, &[], body.as_bytes());
    lends_a_book(&name, ask);
    let bucket = format!("shelf-covers-review-{name}");
    let is_there = || http(aws, "s3.amazonaws.com", "GET", &format!("/{bucket}"), &[], &[]).0 == 200;
    assert!(is_there());
    // Kept for the environment, in a Secret that the chart did not make.
    house.shelf(&["exec", "web", "--", "sh", "-c", "echo ${#SECRET_KEY_BASE}"]).exits(0).says("64");
    house.shelf(&["job", "run", "digest"]).exits(0).says("books: 1, loans of 1 days");
    // What this target does not do is a finding.
    let parity = house.shelf(&["parity", "--json"]).exits(0).json();
    for object in ["HorizontalPodAutoscaler/", "PodDisruptionBudget/", "NetworkPolicy/"] {
        let mut findings = parity["findings"].as_array().unwrap().iter();
        assert!(findings.any(|f| f["object"].as_str().unwrap().starts_with(object)), "{object}: {parity}");
    }

    // A changed setting makes anew what reads it, and nothing else; the index keeps what it was told.
    let before = ["web", "worker", "search"].map(|workload| containers(&house, workload));
    house.shelf(&["up", "--set", "config.GREETING=hello"]).exits(0).says("no changes");
    let after = ["web", "worker", "search"].map(|workload| containers(&house, workload));
    assert!(before[0] != after[0] && before[1] != after[1] && before[2] == after[2], "{before:?} {after:?}");
    house.shelf(&["exec", "worker", "--", "sh", "-c", "echo $GREETING"]).exits(0).says("hello");
    house.shelf(&["restart", "search"]).exits(0);
    assert_eq!(ask("GET", "/search?q=sisters", ""), (200, "[1]".to_owned()));

    // The workspace of a state is not changed under it.
    house.edit(STACK, |text| text.replacen("review-{{ env", "staging-{{ env", 1));
    house.shelf(&["up"]).exits(3).says("has another Terraform workspace").says("envctl down");
    let down = house.shelf(&["down", "--yes"]).exits(0);
    assert!(down.stdout.contains("0 left") && !down.stdout.contains("unverified"), "{}", down.stdout);
    let receipt = house.shelf(&["receipt", "--json"]).exits(0).json();
    let gone = |id: &str| receipt["gone"].as_array().unwrap().iter().any(|item| item["id"] == id);
    assert!(gone("aws_s3_bucket.covers") && gone(&format!("review-{name}")), "{receipt}");
    assert_eq!(house.on_engine(), [""; 0]);
}

#[test]
fn terraform_of_a_local_target_does_not_act_in_an_account_that_is_protected() {
    if !have(&["docker", "helm", "terraform"]) {
        return;
    }
    let Some((mut house, aws)) = house() else { return };
    // Nothing leads the root elsewhere: it acts as whoever is signed in, and that is, here, the stand-in's account.
    house.edit(STACK, |text| {
        text.replacen(&format!("        AWS_ENDPOINT_URL: http://127.0.0.1:{aws}\n"), "", 1)
            .replacen("        AWS_ACCESS_KEY_ID: local\n        AWS_SECRET_ACCESS_KEY: local\n", "", 1)
            .replacen("      env:\n", "      env: {AWS_EC2_METADATA_DISABLED: \"true\"}\n", 1)
            .replacen("accounts: [\"111111111111\"]", "accounts: [\"123456789012\"]", 1)
    });
    for service in ["IAM", "S3", "SECRETSMANAGER", "SQS", "STS"] {
        let there = (format!("AWS_ENDPOINT_URL_{service}"), format!("http://127.0.0.1:{aws}"));
        house.environment.push(there);
    }
    let at_aws = |house: &House, arguments: &[&str]| {
        let mut command = house.command(crate::support::envctl());
        command.env_remove("AWS_ENDPOINT_URL").current_dir(house.src().join("examples/shelf"));
        Ran::of(command.args(arguments))
    };
    house.environment.push(("AWS_ACCESS_KEY_ID".to_owned(), "production".to_owned()));
    house.environment.push(("AWS_SECRET_ACCESS_KEY".to_owned(), "production".to_owned()));
    at_aws(&house, &["up"])
        .exits(3)
        .says("Terraform's provider `aws` would act in AWS account 123456789012 as ")
        .says("; the stack file protects it")
        .says("set `AWS_ENDPOINT_URL` in the target's `terraform.env`; nothing was changed");
    let (_, queues) = http(aws, "127.0.0.1", "GET", "/?Action=ListQueues&Version=2012-11-05", &[], b"");
    assert!(!queues.contains(&house.environment()), "{queues}");
    at_aws(&house, &["down", "--yes"]).exits(0).says("0 left");
}
