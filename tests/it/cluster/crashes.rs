//! SIGKILL anywhere, then the same command again: with a small real chart and a small Terraform root, on a
//! real Kubernetes and with a state in S3.

use std::collections::BTreeSet;

use super::converge::{Stack, States, elsewhere, expect, gone, killed_at, left_of, places, side_by_side};
use crate::support::House;
use crate::support::cluster::Cluster;
use crate::support::{have, todays};

/// How many environments live side by side.
const AT_ONCE: usize = 5;

/// What dies, and what is done then.
enum Cycle {
    /// `up` dies and is done again; `down` dies and is done again.
    Again { up: String, down: String },
    /// `up` dies, and somebody with nothing but the cluster takes it down.
    Elsewhere { up: String },
}

impl std::fmt::Display for Cycle {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Again { up, down } => write!(f, "up dies at {up}, down at {down}"),
            Self::Elsewhere { up } => write!(f, "up dies at {up}, down from elsewhere"),
        }
    }
}

impl Cycle {
    fn play(&self, house: &House, cluster: &Cluster) -> Result<(), String> {
        match self {
            Self::Again { up, down } => {
                killed_at(house, up, &["up"])?;
                expect(&house.envctl(&["up"]), 0, &["ready"])?;
                killed_at(house, down, &["down", "--yes"])?;
                expect(&house.envctl(&["down", "--yes"]), 0, &["0 left"])?;
            }
            Self::Elsewhere { up } => {
                killed_at(house, up, &["up"])?;
                let (name, arn) = (house.environment(), cluster.arn());
                let down = ["down", "--yes", "--name", &name, "--cluster", &arn, "--profile", "aki"];
                expect(&elsewhere(cluster).envctl(&down), 0, &["0 left"])?;
                // Here nobody knows of that yet.
                expect(&house.envctl(&["down", "--yes"]), 0, &["there is no environment", "0 left"])?;
            }
        }
        gone(house, cluster)
    }
}

/// Plays a cycle for each place of `up` and of `down` that `chosen` takes.
fn kill(cluster: &Cluster, what: &str, stack: Stack, known: [&str; 2], chosen: impl Fn(&str) -> bool) {
    let states = States::new(cluster, what);
    let first = states.house("kplaces", stack);
    let mut ups = places(&first, &["up"]);
    let mut downs = places(&first, &["down", "--yes"]);
    assert_eq!(left_of(&first, cluster), [""; 0]);
    // Whoever adds a step need not name it here; these say that the log is one.
    assert!(ups.iter().any(|place| place == known[0]), "{ups:?}");
    assert!(downs.iter().any(|place| place == known[1]), "{downs:?}");
    ups.retain(|place| chosen(place));
    downs.retain(|place| chosen(place));
    eprintln!("{} places of up, {} of down", ups.len(), downs.len());
    let again = (0..ups.len().max(downs.len()))
        .map(|i| Cycle::Again { up: ups[i % ups.len()].clone(), down: downs[i % downs.len()].clone() });
    // Between steps it makes no difference to another machine where exactly.
    let within = ups.iter().filter(|place| !place.contains("@after-"));
    let elsewhere = within.map(|up| Cycle::Elsewhere { up: up.clone() });
    let cycles = todays("places to die at", again.chain(elsewhere).collect());
    let house = || states.house("kkill", stack);
    let mut projects: BTreeSet<_> =
        side_by_side(&cycles, AT_ONCE, house, |cycle, house| cycle.play(house, cluster));
    projects.insert(first.project.clone());
    assert_eq!(states.left(&projects), [""; 0]);
}

fn is_of_terraform(place: &str) -> bool {
    ["terraform/", "up@", "down@"].iter().any(|of| place.starts_with(of))
}

#[test]
fn killed_at_any_step_of_the_chart_the_same_command_converges() {
    let Some(cluster) = Cluster::shared() else { return };
    if have(&["helm"]) {
        let known = ["helm/deliver@after-outcome", "front@after-effect"];
        kill(cluster, "killed-chart", Stack::Chart, known, |place| !is_of_terraform(place));
    }
}

#[test]
fn killed_at_any_step_of_terraform_the_same_command_converges() {
    let Some(cluster) = Cluster::shared() else { return };
    if have(&["helm", "terraform"]) {
        let known = ["terraform/apply@applied", "terraform/destroy@destroyed"];
        kill(cluster, "killed-terraform", Stack::Terraform, known, is_of_terraform);
    }
}

#[test]
fn what_terraform_made_anew_is_delivered_although_its_up_was_killed() {
    let Some(cluster) = Cluster::shared() else { return };
    if !have(&["helm", "terraform"]) {
        return;
    }
    let states = States::new(cluster, "anew");
    let house = states.house("kanew", Stack::Terraform);
    let template = "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: told}\ndata: {queue: {{ .Values.queue | quote }}}\n";
    std::fs::write(house.src().join("chart/templates/told.yaml"), template).unwrap();
    house.envctl(&["up"]).exits(0);
    let told = || {
        let told = cluster.object(&["configmap", "told", "-n", &house.environment()]);
        told["data"]["queue"].as_str().unwrap().to_owned()
    };
    assert!(told().starts_with("http"), "{}", told());
    house.edit("tf/main.tf", |text| text.replace("value = aws_sqs_queue.jobs.id", "value = \"another\""));
    killed_at(&house, "terraform/apply@applied", &["up"]).unwrap();
    house.envctl(&["up"]).exits(0).says("no changes");
    assert_eq!(told(), "another");

    // Whoever takes the root away would forget what it made.
    house.edit("envctl.yaml", |text| text.replace("key: small.tfstate", "key: other.tfstate"));
    house
        .envctl(&["up"])
        .exits(3)
        .says("keeps its Terraform state elsewhere: the `backendConfig` of the target has changed")
        .says("type `envctl down` first");
    house.edit("envctl.yaml", |text| text.replace("key: other.tfstate", "key: small.tfstate"));
    house.envctl(&["down", "--yes"]).exits(0).says("0 left");
    assert_eq!(states.left(&[house.project.clone()].into()), [""; 0]);
}
