//! `docker build` with a context that was packed already; with buildx or the classic builder.

use std::collections::BTreeMap;
use std::path::PathBuf;

use crate::process::{Command, Input, ProgramError, Stream, Supervisor, Tool};

/// An image to build.
#[derive(Debug)]
pub struct Build {
    /// The client, by path or by name.
    pub program: PathBuf,
    /// The context as a tar archive.
    pub context: Input,
    /// The Dockerfile's path in the context.
    pub dockerfile: String,
    /// The stage to stop at.
    pub target: Option<String>,
    /// The image's name.
    pub tag: String,
    /// `ARG`s. They do not show up in process lists, but in the image's history they do.
    pub args: BTreeMap<String, String>,
    /// Labels of the image.
    pub labels: BTreeMap<String, String>,
    /// The platform, when it is not the Engine's own: `linux/arm64`.
    pub platform: Option<String>,
    /// Environment variables to set: `DOCKER_HOST`, `DOCKER_CONFIG`.
    pub env: BTreeMap<String, String>,
}

impl Build {
    /// Builds the image, hands over each line of the builder's report, and returns the image's id.
    ///
    /// # Errors
    /// When the client is missing or the build fails, with the end of the builder's report.
    pub async fn run(
        self,
        by: &Supervisor,
        mut line: impl FnMut(&str) + Send,
    ) -> Result<String, ProgramError> {
        let ids = tempfile::tempdir().map_err(ProgramError::io("make a temporary directory"))?;
        let id_file = ids.path().join("id");
        let mut command = Command::new(&self.program)
            .args(["build", "--file", &self.dockerfile, "--tag", &self.tag])
            .arg("--iidfile")
            .arg(&id_file)
            .how_to_get(Tool::Docker.how_to_get())
            .input(self.context)
            // As a variable, because the classic builder does not know the flag.
            .env("BUILDKIT_PROGRESS", "plain")
            .envs(&self.env);
        if let Some(target) = &self.target {
            command = command.args(["--target", target]);
        }
        if let Some(platform) = &self.platform {
            command = command.args(["--platform", platform]);
        }
        for (name, value) in &self.labels {
            command = command.arg("--label").arg(format!("{name}={value}"));
        }
        for (name, value) in &self.args {
            command = command.arg("--build-arg");
            command = if steers_client(name) {
                command.secret_arg(format!("{name}={value}"))
            } else {
                // By name only: the client takes the value from its environment.
                command.arg(name).env(name, value)
            };
        }
        let mut report = Report::default();
        let command = command.arg("-");
        let output = command
            .run_with_lines(by, |_: Stream, text| {
                report.take(text);
                line(text);
            })
            .await;
        match output {
            // The classic builder reports on stdout and fails on stderr; both matter.
            Err(ProgramError::Failed(mut failure)) => {
                failure.message = report.text();
                Err(ProgramError::Failed(failure))
            }
            Err(error) => Err(error),
            Ok(_) => {
                let id = std::fs::read_to_string(&id_file)
                    .map_err(ProgramError::io("read the id of the built image"))?;
                Ok(id.trim().to_owned())
            }
        }
    }
}

/// Variables that the client would take for its own.
fn steers_client(name: &str) -> bool {
    matches!(name, "PATH" | "HOME") || name.starts_with("DOCKER_") || name.starts_with("BUILDKIT_")
}

/// The end of a builder's report: that is where the reason of a failure stands.
#[derive(Debug, Default)]
struct Report {
    lines: std::collections::VecDeque<String>,
}

impl Report {
    const KEPT: usize = 60;

    fn take(&mut self, line: &str) {
        if self.lines.len() == Self::KEPT {
            self.lines.pop_front();
        }
        self.lines.push_back(line.to_owned());
    }

    fn text(&self) -> String {
        self.lines.iter().map(String::as_str).collect::<Vec<_>>().join("\n")
    }
}
