//! SIGKILL anywhere, then `up` or `down` again, converges: with the real program, the small stack
//! and a small Terraform root.

use crate::support::{House, Ran, envctl, have};

fn killed_at(house: &House, place: &str, arguments: &[&str]) {
    let mut command = house.command(envctl());
    let ran = Ran::of(command.env("ENVCTL_FAILPOINT", place).args(arguments));
    assert_eq!(ran.code, -1, "{place} was not reached\n{}\n{}", ran.stdout, ran.stderr);
}

/// The small stack with a Terraform root whose resource is a directory outside of the state: made
/// by `mkdir`, which fails where it exists, and removed by `rmdir`, which fails where it does not.
pub(crate) fn with_terraform(what: &str) -> House {
    let house = House::small(what);
    let root = house.src().join("terraform");
    std::fs::create_dir(&root).unwrap();
    let made = house.dir().join("made");
    std::fs::write(
        root.join("main.tf"),
        format!(
            r#"
variable "environment" {{ type = string }}
resource "terraform_data" "directory" {{
  input = "{made}-${{var.environment}}"
  provisioner "local-exec" {{
    command = "mkdir ${{self.input}}"
  }}
  provisioner "local-exec" {{
    when    = destroy
    command = "rmdir ${{self.input}}"
  }}
}}
output "directory" {{ value = terraform_data.directory.output }}
"#,
            made = made.display()
        ),
    )
    .unwrap();
    std::fs::write(
        root.join("lookup.sh"),
        "dir=$(sed 's/.*\"input\": *\"\\([^\"]*\\)\".*/\\1/')\nif [ -d \"$dir\" ]; then echo \"$dir exists\"; else echo \"no $dir\"; exit 3; fi\n",
    )
    .unwrap();
    house.edit("envctl.yaml", |text| {
        text.replace(
            "local: {kind: compose}",
            "local: {kind: compose, terraform: {path: terraform, lookup: [sh, lookup.sh]}}",
        )
        .replace("inputs:", "inputs:\n  terraform: {vars: {environment: '{{ env.name }}'}}")
    });
    house
}

fn made(house: &House) -> bool {
    house.dir().join(format!("made-{}", house.environment())).exists()
}

const UP: [&str; 13] = [
    "network@after-intent",
    "network@after-effect",
    "router@after-effect",
    "terraform/workspace@after-effect",
    "terraform/apply@after-intent",
    "terraform/apply@applied",
    "terraform/apply@after-effect",
    "terraform/apply@after-outcome",
    "helm/render@after-effect",
    "compose/translate@after-outcome",
    "compose/deliver@composing",
    "compose/deliver@after-effect",
    "compose/deliver@after-outcome",
];

const DOWN: [&str; 7] = [
    "pods@after-intent",
    "pods@after-effect",
    "terraform/destroy@after-intent",
    "terraform/destroy@destroyed",
    "terraform/destroy@after-outcome",
    "terraform/workspace@after-effect",
    "router@after-effect",
];

#[test]
fn an_up_killed_anywhere_is_finished_by_up_and_removed_by_down() {
    if !have(&["docker", "helm", "terraform"]) {
        return;
    }
    let house = with_terraform("killup");
    for place in UP {
        killed_at(&house, place, &["up"]);
        house.envctl(&["up"]).exits(0);
        assert!(made(&house), "{place}");
        let (status, _) = house.get(&format!("web.{}.localhost", house.environment()), "/");
        assert_eq!(status, 200, "{place}");
        let down = house.envctl(&["down", "--yes"]).exits(0);
        assert!(down.stdout.contains("0 left"), "{place}\n{}", down.stdout);
        assert!(!made(&house), "{place}");
        assert_eq!(house.on_engine(), [""; 0], "{place}");
    }
}

#[test]
fn an_up_killed_anywhere_is_removed_by_down() {
    if !have(&["docker", "helm", "terraform"]) {
        return;
    }
    let house = with_terraform("killdown");
    for place in UP {
        killed_at(&house, place, &["up"]);
        let down = house.envctl(&["down", "--yes"]).exits(0);
        assert!(down.stdout.contains("0 left"), "{place}\n{}", down.stdout);
        assert!(!made(&house), "{place}");
        assert_eq!(house.on_engine(), [""; 0], "{place}");
    }
}

#[test]
fn a_down_killed_anywhere_is_finished_by_down() {
    if !have(&["docker", "helm", "terraform"]) {
        return;
    }
    let house = with_terraform("kill2");
    for place in DOWN {
        house.envctl(&["up"]).exits(0);
        killed_at(&house, place, &["down", "--yes"]);
        let down = house.envctl(&["down", "--yes"]).exits(0);
        assert!(down.stdout.contains("0 left"), "{place}\n{}", down.stdout);
        assert!(!made(&house), "{place}");
        assert_eq!(house.on_engine(), [""; 0], "{place}");
    }
}

#[test]
fn a_damaged_journal_line_is_named_and_down_still_removes_everything() {
    if !have(&["docker", "helm", "terraform"]) {
        return;
    }
    let house = with_terraform("journal");
    house.envctl(&["up"]).exits(0);
    let journal = house.state().join("environments").join(house.environment()).join("journal.jsonl");
    let text = std::fs::read_to_string(&journal).unwrap().replacen("network", "netwrok", 1);
    std::fs::write(&journal, text).unwrap();
    house.envctl(&["down", "--yes"]).exits(0).says(": this line of the journal is damaged").says("0 left");
    assert_eq!(house.on_engine(), [""; 0]);
    assert!(!made(&house));
}

#[test]
fn a_workspace_that_is_not_ours_is_refused() {
    if !have(&["docker", "helm", "terraform"]) {
        return;
    }
    let house = with_terraform("workspace");
    let shared = house.dir().join("shared");
    house.edit("terraform/main.tf", |text| {
        format!(
            "terraform {{\n  backend \"local\" {{ workspace_dir = \"{}\" }}\n}}\n{text}",
            shared.display()
        )
    });
    std::fs::create_dir_all(shared.join(house.environment())).unwrap();
    house
        .envctl(&["up"])
        .exits(3)
        .says(&format!("workspace `{}` exists already, and envctl did not create it", house.environment()));
    house.envctl(&["down", "--yes"]).exits(0);
    assert!(shared.join(house.environment()).exists(), "the foreign workspace was not touched");
}

#[test]
fn what_terraform_would_destroy_needs_consent() {
    if !have(&["docker", "helm", "terraform"]) {
        return;
    }
    let house = with_terraform("consent");
    house.envctl(&["up"]).exits(0);
    house.edit("terraform/main.tf", |text| text.replace("input = ", "triggers_replace = \"2\"\n  input = "));
    house.envctl(&["up"]).exits(3).says("replace terraform_data.directory").says("envctl up --yes");
    house.envctl(&["up", "--yes"]).exits(0).says("1 to replace, applied");
}

#[test]
fn errors_of_terraform_are_passed_through_whole() {
    if !have(&["docker", "helm", "terraform"]) {
        return;
    }
    let house = with_terraform("tferror");
    house.edit("terraform/main.tf", |text| text.replace("mkdir", "echo the disk says no; false"));
    house.envctl(&["up"]).exits(1).says("terraform_data.directory").says("the disk says no");
    house.envctl(&["down", "--yes"]).exits(0).says("0 left");
}
