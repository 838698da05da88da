//! Two hundred ways to be somebody else, somewhere else, or too late: none of them writes anything.

use std::collections::BTreeSet;
use std::sync::Mutex;

use serde_json::{Value, json};

use crate::support::House;
use crate::support::cluster::Cluster;

/// What a case changes of a stack that would work.
#[derive(Debug, Clone, Default)]
struct Case {
    what: String,
    account: Option<&'static str>,
    region: Option<&'static str>,
    cluster: Option<&'static str>,
    uid: Option<String>,
    profile: Option<&'static str>,
    role: Option<&'static str>,
    protected: Option<&'static str>,
    variables: Vec<(&'static str, String)>,
    verb: &'static [&'static str],
    /// Something that has to be said.
    says: Vec<&'static str>,
}

const VERBS: [&[&str]; 2] = [&["up"], &["down", "--yes"]];

/// Changes of one thing, each of which has to be refused.
fn changes(other: &Cluster) -> Vec<(String, Case)> {
    let mut list: Vec<(String, Case)> = Vec::new();
    let mut add = |what: &str, says: &'static str, case: Case| {
        list.push((what.to_owned(), Case { says: vec![says], ..case }));
    };
    let none = Case::default();
    for account in ["444444444444", "111111111111", "333333333334"] {
        add(
            "account",
            "the account is 333333333333, and the target wants",
            Case { account: Some(account), ..none.clone() },
        );
    }
    for region in ["us-east-1", "eu-central-1"] {
        add("region", "", Case { region: Some(region), ..none.clone() });
    }
    for cluster in ["production-1", "shared", "SHARED-DEV"] {
        add("cluster", "to describe the EKS cluster", Case { cluster: Some(cluster), ..none.clone() });
    }
    for uid in [other.text("kubeSystemUid"), "00000000-0000-0000-0000-000000000000"] {
        add("clusterUid", "the cluster UID is", Case { uid: Some(uid.to_owned()), ..none.clone() });
    }
    add(
        "identity of another account",
        "the account is 444444444444",
        Case { profile: Some("other"), ..none.clone() },
    );
    add("expired identity", "AWS refuses the credentials", Case { profile: Some("expired"), ..none.clone() });
    add(
        "identity that the cluster does not know",
        "does not know this AWS identity",
        Case { profile: Some("ci"), ..none.clone() },
    );
    add("profile that does not exist", "profile nobody", Case { profile: Some("nobody"), ..none.clone() });
    for role in
        ["arn:aws:iam::444444444444:role/Admin", "arn:aws:iam::333333333333:role/Nobody", "not-an-arn"]
    {
        add("role chain", "", Case { role: Some(role), ..none.clone() });
    }
    for (rule, says) in [
        ("accounts: [\"333333333333\"]", "account `333333333333` is protected"),
        ("accounts: [\"3333*\"]", "account `333333333333` is protected"),
        ("clusters: [shared-dev]", "cluster `shared-dev` is protected"),
        ("clusters: [shared-*, other]", "cluster `shared-dev` is protected"),
        ("namespaces: [victim]", "namespace `victim` is protected"),
        ("namespaces: [kube-*, vic*]", "namespace `victim` is protected"),
        ("workspaces: [default, victim]", "workspace `victim` is protected"),
        ("workspaces: [\"*\"]", "workspace `victim` is protected"),
    ] {
        add("protected", says, Case { protected: Some(rule), ..none.clone() });
    }
    // The AWS of another cluster of the same name: its account and name are right, its UID is not.
    let elsewhere = other.text("awsEndpoint").to_owned();
    add(
        "another AWS behind the same names",
        "",
        Case {
            variables: vec![
                ("AWS_ENDPOINT_URL", elsewhere.clone()),
                ("AWS_CONFIG_FILE", other.text("awsConfigFile").to_owned()),
                ("AWS_SHARED_CREDENTIALS_FILE", other.text("awsCredentialsFile").to_owned()),
            ],
            ..none.clone()
        },
    );
    add(
        "credentials of another AWS",
        "",
        Case {
            variables: vec![("AWS_SHARED_CREDENTIALS_FILE", other.text("awsCredentialsFile").to_owned())],
            ..none.clone()
        },
    );
    list
}

/// What leads other tools astray and must not lead us anywhere: with it alone everything works.
fn harmless(other: &Cluster) -> Vec<(&'static str, Vec<(&'static str, String)>)> {
    let dead = "http://127.0.0.1:9".to_owned();
    vec![
        ("nothing", vec![]),
        ("a stale kubeconfig", vec![("KUBECONFIG", other.text("kubeconfig").to_owned())]),
        ("a dead proxy", vec![("HTTPS_PROXY", dead.clone()), ("https_proxy", dead)]),
        ("a profile in the environment", vec![("AWS_PROFILE", "other".to_owned())]),
    ]
}

fn cases(other: &Cluster) -> Vec<Case> {
    let mut cases = Vec::new();
    for (what, change) in changes(other) {
        for (beside, variables) in harmless(other) {
            for verb in VERBS {
                let mut case = change.clone();
                case.what = format!("{what}, {beside}, {}", verb.join(" "));
                case.verb = verb;
                case.variables.splice(0..0, variables.clone());
                cases.push(case);
            }
        }
    }
    cases
}

fn stack(cluster: &Cluster, case: &Case) -> String {
    let profile = case.profile.unwrap_or("aki");
    let role = case.role.map(|role| format!(", role: \"{role}\"")).unwrap_or_default();
    let protected = case.protected.map(|rule| format!("protected: {{{rule}}}\n")).unwrap_or_default();
    format!(
        "apiVersion: envctl/v1\nkind: Stack\nproject: guard\nchart: {{path: chart, values: [values.json]}}\n{protected}\
         targets:\n  dev: {{kind: eks, account: \"{}\", region: {}, cluster: {}, clusterUid: {}, \
         aws: {{profile: {profile}{role}}}, domain: dev.example.com, \
         terraform: {{path: tf, backendConfig: {{bucket: guarded, key: k, region: {}, use_path_style: \"true\"}}}}}}\n",
        case.account.unwrap_or(cluster.text("account")),
        case.region.unwrap_or(cluster.text("region")),
        case.cluster.unwrap_or(cluster.text("name")),
        case.uid.as_deref().unwrap_or(cluster.text("kubeSystemUid")),
        cluster.text("region"),
    )
}

/// Writes that people made, by the API server's own log. Reviews of rights change nothing.
fn writes(cluster: &Cluster, from: u64) -> Vec<String> {
    let is_write = |event: &Value| {
        let verb = event["verb"].as_str().unwrap_or_default();
        let resource = event["objectRef"]["resource"].as_str().unwrap_or_default();
        let user = event["user"]["username"].as_str().unwrap_or_default();
        ["create", "update", "patch", "delete", "deletecollection"].contains(&verb)
            && !resource.starts_with("selfsubject")
            && !user.starts_with("system:")
    };
    let log = cluster.log("auditLog", from);
    let of_people = log.iter().filter(|event| is_write(event));
    of_people.map(|e| format!("{} {} {}", e["user"]["username"], e["verb"], e["requestURI"])).collect()
}

fn aws_writes(cluster: &Cluster, from: u64) -> Vec<String> {
    let log = cluster.log("awsLog", from);
    let writes = log.iter().filter(|line| line["write"] == true);
    writes.map(|line| format!("{} {} {}", line["arn"], line["service"], line["action"])).collect()
}

#[test]
fn two_hundred_wrong_identities_write_nothing() {
    let Some(cluster) = Cluster::own("shared-dev", &[]) else { return };
    let Some(other) = Cluster::own("shared-dev", &[]) else { return };
    let house = House::raw(&cluster, "kguard");
    std::fs::create_dir(house.src().join("tf")).unwrap();
    std::fs::write(house.src().join("tf/main.tf"), "terraform {\n  backend \"s3\" {}\n}\n").unwrap();
    let cases = cases(&other);
    assert!(cases.len() >= 200, "{}", cases.len());
    let before = [cluster.log_length("auditLog"), cluster.log_length("awsLog")];
    let before_other = [other.log_length("auditLog"), other.log_length("awsLog")];
    let wrong: Mutex<Vec<String>> = Mutex::default();
    let next = Mutex::new(cases.iter().enumerate());
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                loop {
                    let Some((index, case)) = next.lock().unwrap().next() else { break };
                    let file = house.src().join(format!("stack-{index}.yaml"));
                    std::fs::write(&file, stack(&cluster, case)).unwrap();
                    let mut command = house.command(crate::support::envctl());
                    command.args(case.verb).args(["--name", "victim", "--stack"]).arg(&file);
                    command.envs(case.variables.iter().map(|(key, value)| (*key, value)));
                    let ran = crate::support::Ran::of(&mut command);
                    let silent = case.says.iter().find(|text| !ran.stderr.contains(**text));
                    if ![1, 3].contains(&ran.code) || ran.stderr.is_empty() || silent.is_some() {
                        let text = format!(
                            "{}: exit {}, {:?} not said\n{}{}",
                            case.what, ran.code, silent, ran.stdout, ran.stderr
                        );
                        wrong.lock().unwrap().push(text);
                    }
                }
            });
        }
    });
    let wrong = wrong.into_inner().unwrap();
    assert!(wrong.is_empty(), "{} of {}:\n{}", wrong.len(), cases.len(), wrong.join("\n"));
    assert_eq!(writes(&cluster, before[0]), [""; 0]);
    assert_eq!(aws_writes(&cluster, before[1]), [""; 0]);
    assert_eq!(writes(&other, before_other[0]), [""; 0]);
    assert_eq!(aws_writes(&other, before_other[1]), [""; 0]);
    eprintln!("{} cases, 0 writes", cases.len());
    // The counters count: with the right identity there are writes.
    let location = json!({"LocationConstraint": cluster.text("region")});
    let bucket = json!({"Bucket": "guarded", "CreateBucketConfiguration": location});
    cluster.aws("platform", "s3", "create_bucket", &bucket);
    std::fs::write(house.src().join("right.yaml"), stack(&cluster, &Case::default())).unwrap();
    house.envctl(&["up", "--name", "victim", "--stack", "right.yaml"]);
    assert!(!writes(&cluster, before[0]).is_empty());
    house.envctl(&["down", "--yes", "--name", "victim", "--stack", "right.yaml"]);
    what_eks_says_is_checked(&cluster, &other, &house);
    terraform_does_not_lead_elsewhere(&cluster);
}

/// What a root says of its providers and its backend counts before anything is written.
fn terraform_does_not_lead_elsewhere(cluster: &Cluster) {
    let region = cluster.text("region");
    let location = json!({"LocationConstraint": region});
    for (profile, bucket) in [("platform", "ours"), ("other", "theirs")] {
        let bucket = json!({"Bucket": bucket, "CreateBucketConfiguration": location});
        cluster.aws(profile, "s3", "create_bucket", &bucket);
    }
    let mut house = House::raw(cluster, "kleads");
    let mirror = crate::support::root().join(".tools/providers/terraform.rc");
    house.environment.push(("TF_CLI_CONFIG_FILE".to_owned(), mirror.to_string_lossy().into_owned()));
    std::fs::create_dir(house.src().join("tf")).unwrap();
    let role = "arn:aws:iam::444444444444:role/Admin";
    let by_alias = |value: &str| {
        format!("provider \"aws\" {{\n  alias = \"x\"\n  assume_role {{ role_arn = {value} }}\n}}\n")
    };
    let alias = by_alias(&format!("\"{role}\""));
    let by_variable = by_alias("var.role") + &format!("variable \"role\" {{ default = \"{role}\" }}\n");
    let by_local = by_alias("local.role")
        + "locals {\n  account = \"444444444444\"\n  role = \"arn:aws:iam::${local.account}:role/Admin\"\n}\n";
    // Only Terraform knows its functions, and a plan tells the reference, not the expression.
    let by_function =
        by_alias(&format!("coalesce(var.none, \"{role}\")")) + "variable \"none\" { default = null }\n";
    let elsewhere = "a role of account 444444444444";
    let cases = [
        ("ours", alias.as_str(), elsewhere),
        ("ours", &by_variable, elsewhere),
        ("ours", &by_local, elsewhere),
        ("ours", "provider \"aws\" { access_key = \"x\" }\n", "sets `access_key`"),
        ("ours", "provider \"kubernetes\" {}\n", "acts in a Kubernetes cluster"),
        ("theirs", "", "the bucket `theirs` of Terraform's state belongs to none of the allowed accounts"),
        ("nobodys", "", "the bucket `nobodys` of Terraform's state does not exist"),
    ];
    let stack = std::fs::read_to_string(house.src().join("envctl.yaml")).unwrap();
    let arrange = |bucket: &str, root: &str| {
        let begin = "terraform {\n  backend \"s3\" {}\n  required_providers { aws = { source = \"hashicorp/aws\" } }\n}\n";
        // What a provider is for: without one, Terraform does not ask it for anything.
        let queue = "resource \"aws_sqs_queue\" \"q\" { name = \"led\" }\n";
        std::fs::write(house.src().join("tf/main.tf"), format!("{begin}{queue}{root}")).unwrap();
        let terraform = format!(
            ", terraform: {{path: tf, backendConfig: {{bucket: {bucket}, key: led.tfstate, region: {region}, \
             use_path_style: \"true\"}}}}}}\ndefaults"
        );
        std::fs::write(house.src().join("envctl.yaml"), stack.replace("}\ndefaults", &terraform)).unwrap();
    };
    let before = [cluster.log_length("auditLog"), cluster.log_length("awsLog")];
    for (bucket, root, says) in cases {
        arrange(bucket, root);
        house.envctl(&["up"]).exits(3).says(says);
    }
    assert_eq!(writes(cluster, before[0]), [""; 0]);
    assert_eq!(aws_writes(cluster, before[1]), [""; 0]);

    arrange("ours", &by_function);
    house.envctl(&["up"]).exits(3).says(elsewhere);
    let queues = cluster.aws("platform", "sqs", "list_queues", &json!({}));
    assert!(!queues.to_string().contains("led"), "{queues}");
    house.envctl(&["down", "--yes"]).exits(0).says("0 left");
}

/// `DescribeCluster` is believed only as far as the cluster proves it.
fn what_eks_says_is_checked(cluster: &Cluster, other: &Cluster, house: &House) {
    let before = [cluster.log_length("auditLog"), other.log_length("auditLog")];
    let endpoint = format!("endpoint={}", other.text("server"));
    let authority = format!("ca={}", other.text("ca"));
    let swaps: [(&str, Vec<&str>); 3] = [
        ("another authority", vec![&authority]),
        ("another endpoint", vec![&endpoint]),
        ("another cluster altogether", vec![&endpoint, &authority]),
    ];
    let mut said = BTreeSet::new();
    for (what, swap) in swaps {
        cluster.ctl(&[&["eks"][..], &swap].concat());
        for verb in VERBS {
            let ran = house.envctl(&[verb, &["--name", "victim", "--stack", "right.yaml"]].concat());
            assert!([1, 3].contains(&ran.code), "{what}: {}{}", ran.stdout, ran.stderr);
            said.insert(ran.stderr);
        }
    }
    cluster.ctl(&["eks"]);
    assert!(said.iter().all(|text| !text.is_empty()));
    assert_eq!(writes(cluster, before[0]), [""; 0]);
    assert_eq!(writes(other, before[1]), [""; 0]);
}

#[test]
fn whoami_shows_what_would_be_used_and_why() {
    let Some(cluster) = Cluster::shared() else { return };
    let house = House::on_cluster(cluster, "kwho");
    let text = house.envctl(&["whoami"]).exits(0).stdout;
    for part in [
        "profile aki",
        "assumed-role/Developer/aki",
        cluster.text("server"),
        cluster.text("kubeSystemUid"),
        "envctl:developers",
    ] {
        assert!(text.contains(part), "{part}\n{text}");
    }
    let report = house.envctl(&["whoami", "--json", "--profile", "other"]).exits(3).json();
    let checks = report["checks"].as_array().unwrap();
    assert_eq!(checks.last().unwrap()["what"], "account");
    assert_eq!(checks.last().unwrap()["verdict"], "refused");
    assert!(report["error"].as_str().unwrap().contains("444444444444"));
}

#[test]
fn credentials_that_end_too_soon_are_refused_with_the_command_that_renews_them() {
    let Some(cluster) = Cluster::own("soon", &[]) else { return };
    let keys = cluster.ctl(&["identity", "profile=short", "role=Developer", "name=short", "lasts=90s"]);
    let house = House::on_cluster(&cluster, "ksoon");
    // A program that says when its credentials end, as that of a company's sign-in does.
    let ends = keys["expires"].as_str().unwrap();
    let program = house.dir().join("credentials.sh");
    let answer = serde_json::json!({
        "Version": 1, "AccessKeyId": keys["accessKeyId"], "SecretAccessKey": keys["secretAccessKey"],
        "SessionToken": keys["sessionToken"], "Expiration": ends,
    });
    std::fs::write(&program, format!("#!/bin/sh\ncat <<'EOF'\n{answer}\nEOF\n")).unwrap();
    std::fs::set_permissions(&program, std::os::unix::fs::PermissionsExt::from_mode(0o700)).unwrap();
    let config = house.dir().join("aws-config");
    let text = std::fs::read_to_string(cluster.text("awsConfigFile")).unwrap();
    let profile = format!(
        "\n[profile soon]\nregion = ap-northeast-1\nendpoint_url = {}\ncredential_process = {}\n",
        cluster.text("awsEndpoint"),
        program.display()
    );
    std::fs::write(&config, text + &profile).unwrap();
    let mut command = house.command(crate::support::envctl());
    command.args(["up", "--profile", "soon"]).env("AWS_CONFIG_FILE", &config);
    let ran = crate::support::Ran::of(&mut command);
    assert_eq!(ran.code, 3, "{}{}", ran.stdout, ran.stderr);
    for part in
        ["the AWS credentials end in", "they would end in the middle of it", "aws sso login --profile soon"]
    {
        assert!(ran.stderr.contains(part), "{part}\n{}", ran.stderr);
    }
}
