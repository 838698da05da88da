//! Mistakes that people make at a cutover, each a folder of `tests/rehearsal/failures`.

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::Mutex;

use serde_json::{Map, Value};

use super::Rehearsal;
use crate::support::cluster::Cluster;
use crate::support::{have, root};

/// How many rehearsals go on at a time.
const AT_ONCE: usize = 2;

/// A JSON merge patch, RFC 7386.
fn merge(into: &mut Value, patch: &Value) {
    let Value::Object(patch) = patch else {
        *into = patch.clone();
        return;
    };
    if !into.is_object() {
        *into = Value::Object(Map::new());
    }
    for (key, value) in patch {
        if value.is_null() {
            into.as_object_mut().unwrap().remove(key);
        } else {
            merge(&mut into[key], value);
        }
    }
}

/// Which gates failed or could not be judged, each by which invariants, as the screen says it.
fn fired(stdout: &str) -> BTreeSet<(String, String)> {
    let mut gate = "";
    let mut fired = BTreeSet::new();
    for line in stdout.lines().map(str::trim) {
        let words: Vec<_> = line.split_whitespace().collect();
        if let Some(at) = words.iter().position(|word| *word == "gate").filter(|_| line.ends_with(" failed"))
        {
            gate = words[at + 1];
        }
        if let Some((invariant, _)) = line.split_once(": ") {
            fired.insert((gate.to_owned(), invariant.to_owned()));
        }
    }
    fired
}

fn play(cluster: &Cluster, folder: &Path) -> Result<(), String> {
    let name = folder.file_name().unwrap().to_string_lossy().into_owned();
    let mistake = std::fs::read_to_string(folder.join("mistake.json")).unwrap();
    let mistake: Value = serde_json::from_str(&mistake).unwrap_or_else(|e| panic!("{name}: {e}"));
    assert!(folder.join("README.md").exists(), "{name} has no README.md");
    let text = |key: &str| mistake[key].as_str().unwrap_or_else(|| panic!("{name} has no {key}")).to_owned();
    let expected = (text("gate"), text("invariant"));
    let mut rehearsal = Rehearsal::short(cluster, "kmistake");
    merge(&mut rehearsal.all, &mistake["patch"]);
    let ran = rehearsal.run(&[]);
    let said = format!("--- {name} ---\n{}{}", ran.stdout, ran.stderr);
    eprintln!("{said}");
    if ran.code != 4 || !ran.stdout.contains("verdict    FAILED") {
        return Err(format!("it did not fail\n{said}"));
    }
    if !fired(&ran.stdout).contains(&expected) {
        return Err(format!("{expected:?} did not catch it\n{said}"));
    }
    match &rehearsal.left(cluster)[..] {
        [] => Ok(()),
        left => Err(format!("{left:?} is left\n{said}")),
    }
}

#[test]
fn each_mistake_is_caught_at_the_gate_and_by_the_invariant_that_its_folder_names() {
    let Some(cluster) = Cluster::shared() else { return };
    if !have(&["docker", "helm"]) {
        return;
    }
    let all = std::fs::read_dir(root().join("tests/rehearsal/failures")).unwrap();
    let all: BTreeSet<_> = all.map(|entry| entry.unwrap().path()).filter(|path| path.is_dir()).collect();
    assert!(all.len() >= 3, "{all:?}");
    let (next, wrong) = (Mutex::new(all.iter()), Mutex::new(Vec::new()));
    std::thread::scope(|scope| {
        for _ in 0..AT_ONCE {
            scope.spawn(|| {
                loop {
                    let Some(folder) = next.lock().unwrap().next() else { break };
                    if let Err(error) = play(cluster, folder) {
                        wrong.lock().unwrap().push(format!("{}: {error}", folder.display()));
                    }
                }
            });
        }
    });
    let wrong = wrong.into_inner().unwrap();
    assert!(wrong.is_empty(), "{}", wrong.join("\n\n"));
}
