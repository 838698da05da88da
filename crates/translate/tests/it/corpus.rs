//! Public charts, rendered: every one translates, and Compose takes every result.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use envctl_translate::{MissingReferences, Object, Translation, parse, translate};

use crate::skip::skip;
use crate::support::{Compose, NEW_ENGINE, OLD_ENGINE, hashes, input};

/// The rendered charts; none, with the reason printed, where they are not there.
pub(crate) fn corpus() -> Vec<(String, Vec<Object>)> {
    let default = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../shared/corpus");
    let directory = std::env::var_os("ENVCTL_CORPUS").map_or(default, PathBuf::from);
    let Ok(entries) = std::fs::read_dir(&directory) else {
        skip(format_args!("there are no rendered charts in {} (set ENVCTL_CORPUS)", directory.display()));
        return Vec::new();
    };
    let mut files: Vec<PathBuf> = entries.map(|entry| entry.unwrap().path()).collect();
    files.sort();
    files
        .into_iter()
        .map(|file| {
            let name = file.file_name().unwrap().to_string_lossy().into_owned();
            let objects = parse(&std::fs::read_to_string(&file).unwrap(), &name).unwrap();
            (name, objects)
        })
        .collect()
}

fn translated(name: &str, objects: &[Object], engine: envctl_translate::EngineFacts) -> Translation {
    let mut input = input(objects.to_vec(), engine);
    input.missing_references = MissingReferences::Placeholder;
    translate(&input).unwrap_or_else(|errors| {
        panic!("{name}: {}", errors.iter().map(|e| format!("\n  {e}")).collect::<String>())
    })
}

#[test]
fn every_chart_translates_and_no_field_is_unknown() {
    let mut unknown = BTreeMap::new();
    for (name, objects) in corpus() {
        let old = translated(&name, &objects, OLD_ENGINE);
        for finding in old.findings.iter().filter(|finding| finding.code.starts_with("unknown-")) {
            unknown.entry(format!("{} {}", finding.object, finding.path)).or_insert_with(|| name.clone());
        }
        assert!(
            objects.is_empty()
                || old.compose["services"].as_object().is_some_and(|services| !services.is_empty())
        );
        // Equal inputs, equal results; the order of templates does not matter either.
        let again = translated(&name, &objects, OLD_ENGINE);
        assert_eq!(old.compose.to_string(), again.compose.to_string(), "{name}");
        let mut reversed = objects.clone();
        reversed.reverse();
        assert_eq!(hashes(&old), hashes(&translated(&name, &reversed, OLD_ENGINE)), "{name}");
    }
    assert!(unknown.is_empty(), "{unknown:#?}");
}

#[test]
fn compose_accepts_every_chart() {
    let Some(compose) = Compose::find() else {
        skip("no Docker Compose (set ENVCTL_TEST_COMPOSE)");
        return;
    };
    for (name, objects) in corpus() {
        for engine in [OLD_ENGINE, NEW_ENGINE] {
            let output = compose.config(&translated(&name, &objects, engine));
            assert!(output.status.success(), "{name}: {}", String::from_utf8_lossy(&output.stderr));
            assert!(output.stderr.is_empty(), "{name}: {}", String::from_utf8_lossy(&output.stderr));
        }
    }
}
