//! One test's corner of the Engine.

use std::collections::HashMap;
use std::ffi::OsString;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::sync::OnceLock;

use envctl_local::docker_cli::DockerCli;
use envctl_local::engine::{Engine, EngineReader, VerifiedEngine};
use envctl_model::labels;

use crate::skip::skip;

/// The image that the containers of tests run.
pub(crate) const IMAGE: &str = "debian:bookworm-slim";

/// One test's corner of the Engine: everything in it carries `identity` or begins with it.
pub(crate) struct World {
    pub(crate) engine: VerifiedEngine,
    pub(crate) identity: String,
    pub(crate) directory: tempfile::TempDir,
}

impl World {
    /// `None`, with the reason printed, where there is no Engine or no base image.
    pub(crate) async fn new(test: &str) -> Option<Self> {
        let host = std::env::var("DOCKER_HOST").ok();
        let connected = Engine::connect(host.as_deref()).await;
        let (reader, _) = match connected {
            Ok(connected) => connected,
            Err(error) => {
                skip(error);
                return None;
            }
        };
        if envctl_local::images::inspect(&reader, IMAGE).await.unwrap().is_none() {
            skip(format_args!("the image {IMAGE} is not on the Engine"));
            return None;
        }
        let engine = reader.verify(None).await.unwrap();
        let identity = format!("localtest-{test}-{}", std::process::id());
        Some(Self { engine, identity, directory: tempfile::tempdir().unwrap() })
    }

    pub(crate) fn reader(&self) -> &EngineReader {
        self.engine.reader()
    }

    /// `docker` and the Compose binary; `None`, with the reason printed, where there is none.
    pub(crate) fn cli(&self) -> Option<DockerCli> {
        let ours = PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/../../.tools/bin/docker-compose"));
        let works = |argv: &[&str]| {
            let mut command = Command::new(argv[0]);
            command.args(&argv[1..]).stdout(Stdio::null()).stderr(Stdio::null());
            command.status().is_ok_and(|status| status.success())
        };
        let compose: Vec<OsString> = if ours.is_file() {
            vec![ours.into()]
        } else if works(&["docker", "compose", "version"]) {
            vec!["docker".into(), "compose".into()]
        } else {
            skip("there is no Compose on this machine");
            return None;
        };
        Some(DockerCli::new(self.reader(), vec!["docker".into()], compose, vec![]))
    }

    /// The labels of a container in this corner.
    pub(crate) fn labels(&self, pod: &str, role: &str, container: &str, hash: &str) -> serde_json::Value {
        serde_json::json!({
            labels::IDENTITY: self.identity,
            labels::ENVIRONMENT: self.identity,
            labels::POD: pod,
            labels::POD_HASH: hash,
            labels::WORKLOAD: format!("Deployment/{pod}"),
            labels::CONTAINER: container,
            labels::ROLE: role,
        })
    }

    /// Runs a container that sleeps, with these flags.
    pub(crate) fn run(&self, flags: &[&str]) -> String {
        let marks = format!("{}={}", labels::IDENTITY, self.identity);
        let arguments = [&["run", "--detach", "--label", &marks], flags, &[IMAGE, "sleep", "600"]].concat();
        docker(&arguments)
    }
}

impl Drop for World {
    fn drop(&mut self) {
        let marks = format!("label={}={}", labels::IDENTITY, self.identity);
        let name = format!("name={}", self.identity);
        for filter in [&marks, &name] {
            remove(&["ps", "--all", "--quiet", "--filter", filter], &["rm", "--force", "--volumes"]);
            remove(&["network", "ls", "--quiet", "--filter", filter], &["network", "rm"]);
            remove(&["volume", "ls", "--quiet", "--filter", filter], &["volume", "rm"]);
        }
    }
}

fn remove(list: &[&str], remove: &[&str]) {
    let Ok(listed) = Command::new("docker").args(list).output() else {
        return;
    };
    let listed = String::from_utf8_lossy(&listed.stdout).into_owned();
    let ids: Vec<&str> = listed.split_whitespace().collect();
    if !ids.is_empty() {
        let _ = Command::new("docker").args(remove).args(ids).output();
    }
}

/// Runs `docker` and returns what it printed.
pub(crate) fn docker(arguments: &[&str]) -> String {
    let output = Command::new("docker").args(arguments).output().unwrap();
    assert!(output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8_lossy(&output.stdout).trim().to_owned()
}

/// Removes something when the test ends, however it ends.
pub(crate) struct Removed(pub(crate) Vec<String>);

impl Drop for Removed {
    fn drop(&mut self) {
        let _ = Command::new("docker").args(&self.0).output();
    }
}

/// A static program that takes any arguments and sleeps: stands in for the agent. `None`, with the
/// reason printed, where none can be built.
pub(crate) fn stub_agent() -> Option<&'static [u8]> {
    static STUB: OnceLock<Option<Vec<u8>>> = OnceLock::new();
    STUB.get_or_init(|| {
        let directory = tempfile::tempdir().unwrap();
        let source = directory.path().join("stub.rs");
        let program = directory.path().join("stub");
        std::fs::write(&source, "fn main() { loop { std::thread::park() } }").unwrap();
        let target = format!("{}-unknown-linux-gnu", std::env::consts::ARCH);
        let built = Command::new("rustc")
            .args(["--edition", "2024", "-C", "target-feature=+crt-static", "--target", &target, "-o"])
            .args([&program, &source])
            .output()
            .unwrap();
        if !built.status.success() {
            skip(format_args!("no static program can be built: {}", String::from_utf8_lossy(&built.stderr)));
            return None;
        }
        Some(std::fs::read(&program).unwrap())
    })
    .as_deref()
}

/// The name, state and labels that a test asks about, without a client of its own.
pub(crate) fn inspect(id: &str, format: &str) -> String {
    docker(&["inspect", "--format", format, id])
}

/// No labels beside the identity.
pub(crate) fn no_labels() -> HashMap<String, String> {
    HashMap::new()
}
