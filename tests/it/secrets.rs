//! `secrets:` of the stack file, on both targets: there on the first `up`, the same on the next, and never seen.

use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::Command;

use serde_json::json;

use crate::support::cluster::IMAGE;
use crate::support::{House, Ran, have, root};

const SECRETS: &str = "secrets:
  db:
    password: {generate: 24}
    license: {env: SHOP_LICENSE}
    note: {file: note.txt}
    key: {command: [sh, -c, 'echo from-a-program-$((40 + 2))']}
targets:";

/// A pod that has what a chart with `existingSecret: db` gives it.
fn equip(house: &House) {
    let from = |name: &str, key: &str| json!({"name": name, "valueFrom": {"secretKeyRef": {"name": "db", "key": key}}});
    let container = json!({
        "name": "web", "image": IMAGE, "command": ["sh", "-c", "trap 'exit 0' TERM; sleep 1000000 & wait"],
        "env": [from("PASSWORD", "password"), from("LICENSE", "license"), from("NOTE", "note"), from("KEY", "key")],
    });
    house.objects(&[json!({
        "apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "web"},
        "spec": {
            "selector": {"matchLabels": {"app": "web"}},
            "template": {
                "metadata": {"labels": {"app": "web"}},
                "spec": {"terminationGracePeriodSeconds": 1, "containers": [container]},
            }
        }
    })]);
    std::fs::write(house.src().join("note.txt"), "read-from-a-file").unwrap();
    house.edit("envctl.yaml", |text| text.replace("targets:", SECRETS));
}

fn up(house: &House, license: Option<&str>) -> Ran {
    let mut command = house.command(crate::support::envctl());
    command.arg("up");
    if let Some(license) = license {
        command.env("SHOP_LICENSE", license);
    }
    Ran::of(&mut command)
}

fn inside(house: &House) -> Vec<String> {
    let script = "echo $PASSWORD; echo $LICENSE; echo $NOTE; echo $KEY; echo $HOSTNAME";
    let ran = house.envctl(&["exec", "web", "--", "sh", "-c", script]).exits(0);
    ran.stdout.lines().map(str::to_owned).collect()
}

/// Files below a directory in which one of the values stands.
fn telling(dir: &Path, values: &[String]) -> Vec<std::path::PathBuf> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(dir).unwrap().map(Result::unwrap) {
        let path = entry.path();
        if path.is_dir() {
            found.extend(telling(&path, values));
        } else if let Ok(text) = std::fs::read_to_string(&path)
            && values.iter().any(|value| text.contains(value.as_str()))
        {
            found.push(path);
        }
    }
    found
}

/// That they are, from `up` to `down`, in a house of either kind; `record` reads what is kept of its environment.
pub(crate) fn lives(house: &House, record: impl Fn() -> String) {
    equip(house);
    let missing = up(house, None).exits(2).says("SHOP_LICENSE");
    assert!(missing.stderr.contains("db") && missing.stderr.contains("license"), "{}", missing.stderr);

    let mut shown = vec![up(house, Some("bought-it-9")).exits(0)];
    let first = inside(house);
    let [password, license, note, key, _] = first.as_slice() else { panic!("{first:?}") };
    assert_eq!(
        (license.as_str(), note.as_str(), key.as_str()),
        ("bought-it-9", "read-from-a-file", "from-a-program-42")
    );
    assert!(password.len() == 24 && password.chars().all(|c| c.is_ascii_alphanumeric()), "{password}");

    // The generated one stays, and so does one whose variable is not there this time; no pod is replaced.
    shown.push(up(house, None).exits(0));
    assert_eq!(inside(house), first);

    let values = [password, license, note, key].map(Clone::clone);
    for verb in [
        &["plan"][..],
        &["plan", "--json"],
        &["render", "--format", "objects"],
        &["status", "--json"],
        &["list", "--json"],
        &["config"],
    ] {
        shown.push(house.envctl(verb).exits(0));
    }
    for ran in &shown {
        for value in &values {
            assert!(
                !ran.stdout.contains(value.as_str()) && !ran.stderr.contains(value.as_str()),
                "{}",
                ran.stdout
            );
        }
    }
    let record = record();
    assert!(!record.is_empty() && values.iter().all(|value| !record.contains(value.as_str())));
    for file in telling(&house.state(), &values) {
        let mode = std::fs::metadata(&file).unwrap().permissions().mode() & 0o777;
        assert_eq!(mode, 0o600, "{}", file.display());
        assert!(!file.ends_with("journal.jsonl") && !file.ends_with("record.json"), "{}", file.display());
    }

    // A new value is one for the pods.
    up(house, Some("bought-more-7")).exits(0);
    let changed = inside(house);
    assert_eq!((&changed[0], changed[1].as_str()), (password, "bought-more-7"));
    house.envctl(&["down", "--yes"]).exits(0).says("0 left");
    let telling = telling(&house.state(), &values);
    assert!(telling.is_empty(), "{telling:?}");
}

#[test]
fn secrets_live_on_the_laptop() {
    if !have(&["docker", "helm"]) {
        return;
    }
    let house = House::with_sources("secretsl", &root().join("tests/fixtures/raw"), "raw");
    let name = house.environment();
    lives(&house, || {
        let record = house.state().join("environments").join(&name).join("record.json");
        std::fs::read_to_string(record).unwrap()
    });
    let left =
        Command::new("docker").args(["ps", "-aq", "--filter", &format!("name={name}")]).output().unwrap();
    assert!(left.stdout.is_empty());
}
