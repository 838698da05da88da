//! Against the Docker Engine of this machine. Each test prints why when it is skipped.
//!
//! Everything made here has a name or an identity that begins with `localtest-` and is removed by
//! the test that made it, also when it fails.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::print_stderr)]

mod agent_image;
mod backing;
mod balancer;
mod delivery;
mod images;
mod lock;
mod machines;
mod network;
mod router;
#[path = "../../../../tests/support/skip.rs"]
mod skip;
mod support;

use envctl_local::engine::{Engine, EngineError};

#[tokio::test]
async fn an_engine_says_who_it_is_and_another_one_is_refused() {
    let Some(world) = support::World::new("connect").await else {
        return;
    };
    let facts = world.engine.facts();
    assert!(!facts.id.is_empty() && facts.api() >= (1, 24), "{facts:?}");
    assert!(["amd64", "arm64"].contains(&facts.arch.as_str()), "{facts:?}");
    assert!(facts.cpus > 0 && facts.memory > 0);
    let error = world.reader().verify(Some("ANOTHER")).await.unwrap_err();
    assert!(matches!(&error, EngineError::OtherEngine { expected, .. } if expected == "ANOTHER"));
    assert!(error.hint().unwrap().contains("DOCKER_HOST"));
}

#[tokio::test]
async fn no_docker_is_told_apart_from_a_docker_that_does_not_listen() {
    let directory = tempfile::tempdir().unwrap();
    let socket = directory.path().join("docker.sock");
    let host = format!("unix://{}", socket.display());
    let error = Engine::connect(Some(&host)).await.unwrap_err();
    assert!(matches!(error, EngineError::NoSocket { .. }), "{error:?}");
    drop(std::os::unix::net::UnixListener::bind(&socket).unwrap());
    let error = Engine::connect(Some(&host)).await.unwrap_err();
    assert!(matches!(error, EngineError::NotRunning { .. }), "{error:?}");
    assert!(error.hint().unwrap().contains("start Docker"));
    let error = Engine::connect(Some("tcp://127.0.0.1:1")).await.unwrap_err();
    assert!(matches!(error, EngineError::NotRunning { .. }), "{error:?}");
}

#[tokio::test]
async fn an_engine_that_dies_in_the_middle_is_told_apart_from_one_that_says_no() {
    let directory = tempfile::tempdir().unwrap();
    let socket = directory.path().join("docker.sock");
    let listener = tokio::net::UnixListener::bind(&socket).unwrap();
    let dies = tokio::spawn(async move { while listener.accept().await.is_ok() {} });
    let error = Engine::connect(Some(&format!("unix://{}", socket.display()))).await.unwrap_err();
    assert!(matches!(error, EngineError::Lost { .. }), "{error:?}");
    assert!(error.to_string().contains("stopped answering while envctl was connecting"), "{error}");
    dies.abort();
}
