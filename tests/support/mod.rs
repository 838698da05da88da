//! A hermetic house for one test: its own home, state, names and router port.

// Each test binary uses its own part of this.
#![allow(dead_code)]

pub(crate) mod cluster;
pub(crate) mod disk;
mod running;
mod skip;
mod time;

use std::collections::BTreeSet;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Mutex, PoisonError};

pub(crate) use running::Running;
use serde_json::Value;
pub(crate) use skip::skip;
pub(crate) use time::{has_time_for, todays};

/// The environment variables that are passed on; everything else is unset.
const PASSED: [&str; 6] = ["PATH", "DOCKER_HOST", "DOCKER_CONFIG", "LANG", "SSL_CERT_FILE", "TMPDIR"];

static COUNT: AtomicU32 = AtomicU32::new(0);

/// Where one test lives. Dropped, it takes down whatever its environments left.
#[derive(Debug)]
pub(crate) struct House {
    dir: tempfile::TempDir,
    /// The project: part of every name that this test makes.
    pub(crate) project: String,
    /// The port of this test's router.
    pub(crate) port: u16,
    /// Variables beside those of every house: they lead to the AWS of a test cluster.
    pub(crate) environment: Vec<(String, String)>,
}

impl House {
    /// An empty house. `what` goes into names, so that leftovers say where they came from.
    pub(crate) fn new(what: &str) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let number = COUNT.fetch_add(1, Ordering::Relaxed);
        let project = format!("t{}{what}{number}", std::process::id() % 10_000);
        for name in ["home", "state", "src"] {
            std::fs::create_dir(dir.path().join(name)).unwrap();
        }
        Self { dir, project, port: free_port(), environment: Vec::new() }
    }

    /// A house with a copy of a fixture or an example in `src/`, renamed to this house's project.
    pub(crate) fn with_sources(what: &str, sources: &Path, project: &str) -> Self {
        let house = Self::new(what);
        copy(sources, &house.src());
        house.edit("envctl.yaml", |text| {
            text.replace(&format!("project: {project}"), &format!("project: {}", house.project))
        });
        house
    }

    /// The small fixture: one web server, one hook, no images to build.
    pub(crate) fn small(what: &str) -> Self {
        Self::with_sources(what, &root().join("tests/fixtures/small"), "small")
    }

    /// The directory of the stack.
    pub(crate) fn src(&self) -> PathBuf {
        self.dir.path().join("src")
    }

    /// The state directory.
    pub(crate) fn state(&self) -> PathBuf {
        self.dir.path().join("state")
    }

    /// The user's home.
    pub(crate) fn home(&self) -> PathBuf {
        self.dir.path().join("home")
    }

    /// The house itself.
    pub(crate) fn dir(&self) -> &Path {
        self.dir.path()
    }

    /// The name of the environment that `up` makes without `--name`.
    pub(crate) fn environment(&self) -> String {
        format!("{}-aki", self.project)
    }

    /// Changes a file of the stack.
    pub(crate) fn edit(&self, file: &str, change: impl FnOnce(String) -> String) {
        let path = self.src().join(file);
        let before = std::fs::read_to_string(&path).unwrap();
        let after = change(before.clone());
        assert_ne!(before, after, "the edit of {file} changed nothing");
        std::fs::write(path, after).unwrap();
    }

    /// A command in this house.
    pub(crate) fn command(&self, program: impl AsRef<std::ffi::OsStr>) -> Command {
        let mut command = Command::new(program);
        command.current_dir(self.src()).env_clear().stdin(Stdio::null());
        for name in PASSED {
            if let Some(value) = std::env::var_os(name) {
                command.env(name, value);
            }
        }
        command
            .env("HOME", self.home())
            .env("ENVCTL_USER", "aki")
            .env("ENVCTL_STATE_DIR", self.state())
            .env("ENVCTL_ROUTER_PORT", self.port.to_string())
            .env("AWS_EC2_METADATA_DISABLED", "true")
            .env("AWS_ENDPOINT_URL", "http://127.0.0.1:9")
            .env("NO_COLOR", "1")
            .envs(self.environment.iter().map(|(key, value)| (key, value)));
        command
    }

    /// `envctl ARGUMENTS` in this house.
    pub(crate) fn envctl(&self, arguments: &[&str]) -> Ran {
        let mut command = self.command(envctl());
        Ran::of(command.args(arguments))
    }

    /// Where the environment answers a host name: through the router, on loopback.
    pub(crate) fn get(&self, host: &str, path: &str) -> (u16, String) {
        http(self.port, host, "GET", path, &[], &[])
    }

    /// Everything on the Engine with this house's project in its labels or name.
    pub(crate) fn on_engine(&self) -> Vec<String> {
        let list = |arguments: &[&str]| {
            let output = Command::new("docker").args(arguments).output().unwrap();
            String::from_utf8_lossy(&output.stdout).lines().map(str::to_owned).collect::<Vec<_>>()
        };
        let mut all = Vec::new();
        all.extend(list(&["ps", "-a", "--format", "container {{.Names}}"]));
        all.extend(list(&["network", "ls", "--format", "network {{.Name}}"]));
        all.extend(list(&["volume", "ls", "--format", "volume {{.Name}}"]));
        all.extend(list(&["images", "--format", "image {{.Repository}}:{{.Tag}}"]));
        let router = format!("envctl-router-{}", self.port);
        all.retain(|line| line.contains(&self.project) || line.ends_with(&router));
        all
    }
}

impl Drop for House {
    fn drop(&mut self) {
        let state = self.state();
        let clusters = std::fs::read_dir(state.join("clusters")).into_iter().flatten();
        let clusters = clusters.filter_map(|e| Some(e.ok()?.path()));
        let names = clusters.chain([state.join("environments")]).flat_map(|dir| {
            let entries = std::fs::read_dir(dir).into_iter().flatten();
            entries.filter_map(|e| e.ok()?.file_name().into_string().ok())
        });
        for name in names.collect::<Vec<_>>() {
            if std::thread::panicking() {
                let status = self.envctl(&["status", "--name", &name]);
                eprintln!("--- {name} when the test failed ---\n{}{}", status.stdout, status.stderr);
            }
            self.envctl(&["down", "--yes", "--name", &name]);
        }
    }
}

/// What a program did.
#[derive(Debug, Clone)]
pub(crate) struct Ran {
    pub(crate) code: i32,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

impl Ran {
    /// Runs a command to its end.
    pub(crate) fn of(command: &mut Command) -> Self {
        Self::from(command.output().unwrap_or_else(|e| panic!("{command:?}: {e}")))
    }

    /// Asserts the exit code.
    #[track_caller]
    pub(crate) fn exits(self, code: i32) -> Self {
        assert_eq!(self.code, code, "\nstdout:\n{}\nstderr:\n{}", self.stdout, self.stderr);
        self
    }

    /// Asserts that the output, of either stream, has this in it.
    #[track_caller]
    pub(crate) fn says(self, text: &str) -> Self {
        assert!(
            self.stdout.contains(text) || self.stderr.contains(text),
            "`{text}` was not said\nstdout:\n{}\nstderr:\n{}",
            self.stdout,
            self.stderr
        );
        self
    }

    /// Standard output as JSON.
    #[track_caller]
    pub(crate) fn json(&self) -> Value {
        serde_json::from_str(&self.stdout).unwrap_or_else(|e| panic!("{e}\n{}\n{}", self.stdout, self.stderr))
    }

    /// Standard output as lines of JSON.
    #[track_caller]
    pub(crate) fn events(&self) -> Vec<Value> {
        self.stdout.lines().map(|l| serde_json::from_str(l).unwrap_or_else(|e| panic!("{e}: {l}"))).collect()
    }
}

impl From<Output> for Ran {
    fn from(output: Output) -> Self {
        Self {
            code: output.status.code().unwrap_or(-1),
            stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
            stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
        }
    }
}

/// The program under test.
pub(crate) fn envctl() -> &'static Path {
    Path::new(env!("CARGO_BIN_EXE_envctl"))
}

/// The repository.
pub(crate) fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// Whether the real programs are there. Where one is missing, says so: the test that returns early
/// has been skipped.
pub(crate) fn have(programs: &[&str]) -> bool {
    for program in programs {
        let mut probe = Command::new(program);
        let probe = match *program {
            "docker" => probe.arg("info"),
            "helm" => probe.arg("version"),
            _ => probe.arg("--version"),
        };
        let works = probe.stdout(Stdio::null()).stderr(Stdio::null()).status().is_ok_and(|s| s.success());
        if !works {
            skip(format_args!("`{program}` does not work here"));
            return false;
        }
    }
    true
}

/// A TCP port of loopback that was free a moment ago, and that no other test of this run was given.
pub(crate) fn free_port() -> u16 {
    static GIVEN: Mutex<BTreeSet<u16>> = Mutex::new(BTreeSet::new());
    loop {
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        if GIVEN.lock().unwrap_or_else(PoisonError::into_inner).insert(port) {
            return port;
        }
    }
}

/// One HTTP/1.1 request to loopback; the response's status and body.
pub(crate) fn http(
    port: u16,
    host: &str,
    method: &str,
    path: &str,
    headers: &[(&str, &str)],
    body: &[u8],
) -> (u16, String) {
    let (status, body) = http_bytes(port, host, method, path, headers, body);
    (status, String::from_utf8_lossy(&body).into_owned())
}

/// Likewise, for bodies that are not text.
pub(crate) fn http_bytes(
    port: u16,
    host: &str,
    method: &str,
    path: &str,
    headers: &[(&str, &str)],
    body: &[u8],
) -> (u16, Vec<u8>) {
    let url = format!("http://127.0.0.1:{port}{path}");
    let mut command = Command::new("curl");
    command.args([
        "--silent",
        "--show-error",
        "--max-time",
        "30",
        "--output",
        "-",
        "--write-out",
        "\n%{http_code}",
    ]);
    command.args(["--request", method, "--header", &format!("Host: {host}")]);
    for (name, value) in headers {
        command.args(["--header", &format!("{name}: {value}")]);
    }
    if !body.is_empty() {
        command.args(["--data-binary", "@-"]);
    }
    command.arg(&url).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().unwrap();
    std::io::Write::write_all(&mut child.stdin.take().unwrap(), body).unwrap();
    let output = child.wait_with_output().unwrap();
    let at = output.stdout.iter().rposition(|b| *b == b'\n').unwrap_or_else(|| {
        panic!("{url}: {}", String::from_utf8_lossy(&output.stderr));
    });
    let status = String::from_utf8_lossy(&output.stdout[at + 1..]).parse().unwrap_or(0);
    (status, output.stdout[..at].to_vec())
}

/// Copies a tree, without what git would not take either.
pub(crate) fn copy(from: &Path, to: &Path) {
    for entry in std::fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let name = entry.file_name();
        if ["target", ".terraform", "terraform.tfstate.d", ".git"].iter().any(|skip| name == *skip) {
            continue;
        }
        let target = to.join(&name);
        if entry.file_type().unwrap().is_dir() {
            std::fs::create_dir_all(&target).unwrap();
            copy(&entry.path(), &target);
        } else {
            std::fs::copy(entry.path(), &target).unwrap();
        }
    }
}
