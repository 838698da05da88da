//! Images built from the working tree.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use envctl_local::images::{self, ImageSpec};
use envctl_model::receipt::End;
use envctl_programs::process::Supervisor;

use crate::support::{IMAGE, Removed, World, docker};

#[tokio::test]
async fn what_was_hashed_is_built_and_what_is_there_is_not() {
    let Some(world) = World::new("image").await else {
        return;
    };
    let Some(cli) = world.cli() else { return };
    let root = world.directory.path().join("context");
    std::fs::create_dir_all(root.join("docker")).unwrap();
    std::fs::write(root.join(".dockerignore"), "secret\n.dockerignore\n").unwrap();
    std::fs::write(root.join("secret"), "no").unwrap();
    std::fs::write(root.join("content"), "hello").unwrap();
    let dockerfile = format!(
        "FROM {IMAGE} AS first\nCOPY . /built/\nARG WORD\nRUN echo $WORD > /built/word\nFROM first\nRUN exit 1\n"
    );
    std::fs::write(root.join("docker/Dockerfile"), dockerfile).unwrap();
    let spec = ImageSpec {
        context: root.clone(),
        dockerfile: Path::new("docker/Dockerfile").to_owned(),
        target: Some("first".into()),
        args: BTreeMap::from([("WORD".to_owned(), "spoken".to_owned())]),
        repository: world.identity.clone(),
        platform: format!("linux/{}", world.engine.facts().arch),
    };
    let cache = world.directory.path().join("hashes");
    let addressed = spec.address(Some(&cache)).unwrap();
    let reference = addressed.reference.clone();
    assert!(reference.starts_with(&format!("{}:envctl-", world.identity)));
    assert_eq!(images::inspect(world.reader(), &reference).await.unwrap(), None);
    let _removed = Removed(vec!["rmi".into(), reference.clone()]);
    let mut lines = Vec::new();
    let supervisor = Supervisor::default();
    let built = images::build(&world.engine, &cli, &supervisor, &spec, addressed, |_, line| {
        lines.push(line.to_owned())
    })
    .await
    .unwrap();
    assert!(!lines.is_empty(), "progress is handed over");
    let found = images::inspect(world.reader(), &reference).await.unwrap().unwrap();
    assert_eq!(found, built);
    let seen = docker(&["run", "--rm", &reference, "sh", "-c", "ls -A /built; cat /built/word"]);
    assert_eq!(seen.split_whitespace().collect::<Vec<_>>(), ["content", "docker", "word", "spoken"]);

    std::fs::write(root.join("secret"), "changed").unwrap();
    assert_eq!(spec.address(Some(&cache)).unwrap().reference, reference, "what is ignored changes nothing");
    for changed in [
        ImageSpec { target: None, ..spec.clone() },
        ImageSpec { args: BTreeMap::new(), ..spec.clone() },
        ImageSpec { platform: "linux/s390x".into(), ..spec.clone() },
    ] {
        assert_ne!(changed.address(None).unwrap().reference, reference);
    }

    let others = BTreeMap::from([(reference.clone(), BTreeSet::from(["album-yui".to_owned()]))]);
    let (end, item) = images::remove_unused(&world.engine, &reference, &others).await.unwrap();
    assert_eq!((end, item.used_by), (End::Kept, vec!["album-yui".to_owned()]));
    // A container keeps the reference that it was made from, and no other one of the same image.
    let twin = format!("{}/twin:envctl-1", world.identity);
    docker(&["tag", &reference, &twin]);
    let container = format!("{}-user", world.identity);
    docker(&["create", "--name", &container, &twin, "true"]);
    let removed = Removed(vec!["rm".into(), container.clone()]);
    let (end, item) = images::remove_unused(&world.engine, &twin, &BTreeMap::new()).await.unwrap();
    assert_eq!((end, item.used_by), (End::Kept, vec![container]));
    let (end, _) = images::remove_unused(&world.engine, &reference, &BTreeMap::new()).await.unwrap();
    assert_eq!(end, End::Gone);
    drop(removed);
    let (end, _) = images::remove_unused(&world.engine, &twin, &BTreeMap::new()).await.unwrap();
    assert_eq!(end, End::Gone);
}

#[tokio::test]
async fn a_build_that_fails_speaks_for_itself() {
    let Some(world) = World::new("badimage").await else {
        return;
    };
    let Some(cli) = world.cli() else { return };
    let root = world.directory.path();
    std::fs::write(
        root.join("Dockerfile"),
        format!("FROM {IMAGE}\nRUN echo it went wrong here >&2; exit 7\n"),
    )
    .unwrap();
    let spec = ImageSpec {
        context: root.to_owned(),
        dockerfile: "Dockerfile".into(),
        target: None,
        args: BTreeMap::new(),
        repository: world.identity.clone(),
        platform: format!("linux/{}", world.engine.facts().arch),
    };
    let addressed = spec.address(None).unwrap();
    let built = images::build(&world.engine, &cli, &Supervisor::default(), &spec, addressed, |_, _| ()).await;
    let error = built.unwrap_err().to_string();
    assert!(error.contains("it went wrong here") && error.contains('7'), "{error}");
}
