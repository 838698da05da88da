//! The real git.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::print_stderr, missing_docs)]

mod support;

use std::path::Path;

use envctl_programs::git::work_tree;
use envctl_programs::process::{Command, Supervisor};
use support::{on_path, write};

async fn git(directory: &Path, arguments: &[&str]) {
    Command::new("git")
        .args(arguments)
        .current_dir(directory)
        .env("GIT_CONFIG_GLOBAL", "/dev/null")
        .env("GIT_CONFIG_NOSYSTEM", "1")
        .envs([("GIT_AUTHOR_NAME", "aki"), ("GIT_AUTHOR_EMAIL", "aki@example.com")])
        .envs([("GIT_COMMITTER_NAME", "aki"), ("GIT_COMMITTER_EMAIL", "aki@example.com")])
        .run(&Supervisor::default())
        .await
        .unwrap();
}

#[tokio::test]
async fn a_work_tree_from_its_first_day() {
    let Some(program) = on_path("git") else {
        return;
    };
    let by = Supervisor::default();
    let dir = tempfile::tempdir().unwrap();
    let repository = dir.path().canonicalize().unwrap().join("album");
    std::fs::create_dir(&repository).unwrap();
    assert_eq!(work_tree(&program, &repository, &by).await.unwrap(), None);

    git(&repository, &["init", "-q", "-b", "feature/ünïcode"]).await;
    write(&repository.join("app/main.rb"), "puts 1");
    let app = repository.join("app");
    let tree = work_tree(&program, &app, &by).await.unwrap().unwrap();
    assert_eq!((tree.commit, tree.dirty), (None, true));
    assert_eq!(tree.toplevel, repository);

    git(&repository, &["add", "."]).await;
    git(&repository, &["commit", "-q", "-m", "first"]).await;
    let tree = work_tree(&program, &app, &by).await.unwrap().unwrap();
    let commit = tree.commit.unwrap();
    assert!(commit.sha.len() == 40 && commit.sha.starts_with(&commit.short));
    assert_eq!((tree.branch.as_deref(), tree.dirty), (Some("feature/ünïcode"), false));

    write(&repository.join("app/main.rb"), "puts 2");
    git(&repository, &["checkout", "-q", "--detach"]).await;
    let tree = work_tree(&program, &app, &by).await.unwrap().unwrap();
    assert_eq!((tree.branch, tree.dirty), (None, true));
}
