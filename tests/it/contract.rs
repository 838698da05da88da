//! The example's two Terraform roots are one contract: chart and stack file cannot tell which of them made an
//! environment.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use envctl_model::stack::StackFile;
use hcl::{Block, Body};

use crate::support::{House, Ran, copy, have, root, skip};

const ROOTS: [(&str, &str); 2] = [("local", "deploy/terraform/local"), ("dev", "deploy/terraform/aws")];

fn blocks(root: &Path, kind: &str) -> BTreeMap<String, Block> {
    let files = std::fs::read_dir(root).unwrap().map(|entry| entry.unwrap().path());
    let files = files.filter(|path| path.extension().is_some_and(|extension| extension == "tf"));
    let bodies = files.map(|path| hcl::parse(&std::fs::read_to_string(path).unwrap()).unwrap());
    let blocks = bodies.flat_map(Body::into_blocks).filter(|block| block.identifier() == kind);
    blocks.map(|block| (block.labels()[0].as_str().to_owned(), block)).collect()
}

fn attribute(block: &Block, key: &str) -> String {
    let found = block.body().attributes().find(|attribute| attribute.key() == key);
    found.map(|attribute| hcl::format::to_string(attribute.expr()).unwrap()).unwrap_or_default()
}

/// What callers see of a root: variables with type and checks, and outputs with meaning and secrecy.
fn contract(root: &Path) -> BTreeMap<String, Vec<String>> {
    let variables = blocks(root, "variable").into_iter().map(|(name, block)| {
        let mut seen = vec![attribute(&block, "type"), attribute(&block, "sensitive")];
        seen.push(format!("optional: {}", !attribute(&block, "default").is_empty()));
        let checks = block.body().blocks().filter(|block| block.identifier() == "validation");
        seen.extend(checks.map(|check| attribute(check, "condition")));
        (format!("var.{name}"), seen)
    });
    let outputs = blocks(root, "output").into_iter().map(|(name, block)| {
        let seen = ["description", "sensitive"].map(|key| attribute(&block, key));
        (format!("output.{name}"), seen.to_vec())
    });
    variables.chain(outputs).collect()
}

/// The names after `terraform.` in a template.
fn outputs_in(template: &str) -> impl Iterator<Item = &str> {
    let named = template.split("terraform.").skip(1);
    named.filter_map(|rest| rest.split(|c: char| c != '_' && !c.is_ascii_alphanumeric()).next())
}

#[test]
fn the_local_root_and_that_of_aws_are_told_and_tell_the_same() {
    let album = root().join("examples/album");
    let [local, aws] = ROOTS.map(|(_, path)| contract(&album.join(path)));
    assert_eq!(local, aws);
    assert!(
        local.keys().any(|name| name.starts_with("var.")) && local.contains_key("output.bucket"),
        "{local:?}"
    );

    let source = std::fs::read_to_string(album.join("envctl.yaml")).unwrap();
    let file = StackFile::parse("envctl.yaml", &source).unwrap();
    for (target, _) in ROOTS {
        let target = &file.stack.targets[target];
        let given: BTreeSet<_> = file.stack.terraform_vars(target).into_keys().collect();
        for (name, seen) in local.iter().filter_map(|(name, seen)| Some((name.strip_prefix("var.")?, seen))) {
            assert!(
                given.contains(name) || seen.contains(&"optional: true".to_owned()),
                "var.{name} is not given"
            );
        }
        for name in given {
            assert!(local.contains_key(&format!("var.{name}")), "no root has a variable {name}");
        }
        for template in file.stack.values(target).into_values() {
            for name in outputs_in(&template.value.to_string()) {
                assert!(local.contains_key(&format!("output.{name}")), "no root has an output {name}");
            }
        }
    }
}

#[test]
fn terraform_finds_nothing_wrong_with_the_examples_roots() {
    if !have(&["terraform"]) {
        return;
    }
    let mirror = root().join(".tools/providers/terraform.rc");
    if !mirror.is_file() {
        skip(format_args!("Terraform's providers were not built: scripts/cluster build terraform-providers"));
        return;
    }
    let house = House::new("valid");
    for (target, path) in ROOTS {
        let dir = house.src().join(target);
        std::fs::create_dir(&dir).unwrap();
        copy(&root().join("examples/album").join(path), &dir);
        let terraform = |arguments: &[&str]| {
            let mut command = house.command("terraform");
            command.current_dir(&dir).env("TF_CLI_CONFIG_FILE", &mirror).args(arguments);
            Ran::of(&mut command).exits(0)
        };
        terraform(&["init", "-backend=false", "-input=false"]);
        terraform(&["validate"]).says("The configuration is valid");
        terraform(&["fmt", "-check"]);
    }
}
