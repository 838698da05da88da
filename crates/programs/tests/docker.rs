//! `docker build`, as far as a fake client can judge it.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::print_stderr, missing_docs)]

mod support;

use std::collections::BTreeMap;

use envctl_programs::docker::Build;
use envctl_programs::process::{Command, Input, Supervisor};
use support::Scripts;

fn build(program: std::path::PathBuf) -> Build {
    Build {
        program,
        context: Input::Bytes("tar".into()),
        dockerfile: "docker/app/Dockerfile".into(),
        target: Some("release".into()),
        tag: "album:1".into(),
        args: BTreeMap::from([("TOKEN".into(), "hunter2".into())]),
        labels: BTreeMap::from([("a".into(), "b".into())]),
        platform: Some("linux/arm64".into()),
        env: BTreeMap::new(),
    }
}

#[tokio::test]
async fn the_client_gets_all_and_the_process_list_no_values() {
    let scripts = Scripts::new();
    let program = scripts.write(
        "docker",
        r#"echo "$@"; echo "token $TOKEN"; cat; while [ $# -gt 0 ]; do [ "$1" = --iidfile ] && echo sha256:abc > "$2"; shift; done"#,
    );
    let mut lines = Vec::new();
    let id = build(program).run(&Supervisor::default(), |line| lines.push(line.to_owned())).await.unwrap();
    assert_eq!(id, "sha256:abc");
    assert!(lines[0].starts_with("build --file docker/app/Dockerfile --tag album:1 --iidfile "), "{lines:?}");
    assert!(
        lines[0].ends_with("--target release --platform linux/arm64 --label a=b --build-arg TOKEN -"),
        "{lines:?}"
    );
    assert_eq!(lines[1..], ["token hunter2", "tar"]);
}

#[tokio::test]
async fn a_failure_shows_what_the_builder_reported() {
    let scripts = Scripts::new();
    let program = scripts.write(
        "docker",
        "echo 'Step 2/3 : RUN false'; sleep 0.1; echo 'returned a non-zero code: 1' >&2; exit 1",
    );
    let error = build(program).run(&Supervisor::default(), |_| ()).await.unwrap_err().to_string();
    assert!(error.ends_with("Step 2/3 : RUN false\nreturned a non-zero code: 1"), "{error}");
}

/// The real client and Engine, with whichever builder they have.
#[tokio::test]
async fn a_real_build_gives_the_images_id() {
    let Some(program) = support::on_path("docker") else {
        return;
    };
    let by = Supervisor::default();
    let docker = |arguments: &[&str]| Command::new(&program).args(arguments).run(&by);
    if let Err(error) = docker(&["info"]).await {
        eprintln!("SKIPPED: no Docker Engine answers: {error}");
        return;
    }
    let scripts = Scripts::new();
    support::write(
        &scripts.path("docker/Dockerfile"),
        "FROM scratch\nARG TOKEN\nLABEL token=$TOKEN\nCOPY a /a\n",
    );
    support::write(&scripts.path("a"), "a");
    let tar = Command::new("tar")
        .args(["-c", "docker/Dockerfile", "a"])
        .current_dir(scripts.path(""))
        .whole_stdout()
        .run(&by)
        .await
        .unwrap();
    let tag = format!("envctl-test-programs:{}", std::process::id());
    let mut build = build(program.clone());
    build.context = Input::Bytes(tar.stdout.into());
    build.dockerfile = "docker/Dockerfile".into();
    build.target = None;
    build.platform = None;
    build.tag = tag.clone();
    let id = build.run(&by, |_| ()).await.unwrap();
    let inspected = docker(&["image", "inspect", "--format", "{{.Id}} {{.Config.Labels.token}}", &tag]).await;
    docker(&["image", "rm", &tag]).await.unwrap();
    assert_eq!(inspected.unwrap().stdout_text().trim(), format!("{id} hunter2"));
}
