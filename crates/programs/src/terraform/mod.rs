//! Terraform or OpenTofu, on a copy of the root, with data directory and workspace of our own:
//! the user's selected workspace never changes, and `destroy` works when the sources are gone.

mod closure;
mod configuration;
mod declared;
mod diagnostic;
mod lookup;
mod plan;
mod state;
mod stream;

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::Deserialize;
use serde_json::{Map, Value};
use sha2::{Digest, Sha256};

pub use closure::{Closure, ClosureError, Copy};
pub use declared::Declared;
pub use diagnostic::{Diagnostic, Known, Lock, Position, Range, Severity, Snippet, TerraformError};
pub use lookup::{Answer, Sought};
pub use plan::{Action, Change, OutputChange, Plan, ProviderConfig, Setting};
pub use state::{Mode, Output, Resource, State};
pub use stream::{Applied, Phase, Progress};

use crate::private;
use crate::process::{Command, Input, ProgramError, Supervisor, Tool};
use stream::Messages;

/// One root in one workspace. All paths are absolute: Terraform runs in the root.
#[derive(Debug, Clone)]
pub struct Terraform {
    /// The program, by path or by name.
    pub program: PathBuf,
    /// The root module to run in: a [`struct@Copy`]'s, never the user's.
    pub root: PathBuf,
    /// `TF_DATA_DIR`; also where inputs and logs of ours lie. Made for its owner only.
    pub data_dir: PathBuf,
    /// The workspace: one per environment.
    pub workspace: String,
    /// Variables; they win over `var_files`.
    pub vars: Map<String, Value>,
    /// Variable files, absolute or relative to the root, the last winning.
    pub var_files: Vec<PathBuf>,
    /// What completes the backend's configuration.
    pub backend: Map<String, Value>,
    /// Environment variables to set.
    pub env: BTreeMap<String, String>,
    /// Environment variables not to inherit.
    pub unset: Vec<String>,
    /// How long another run's lock is waited for: theirs may just be ending.
    pub lock_timeout: Duration,
}

/// Where a root keeps its state, as `init` has resolved it.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct Backend {
    /// `s3`, `local`, ...
    #[serde(rename = "type")]
    pub kind: String,
    /// Its settings.
    #[serde(default)]
    pub config: Map<String, Value>,
}

/// Whether something had to be done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Init {
    /// Terraform was initialised.
    Done,
    /// Nothing has changed since the last time.
    Unchanged,
}

/// What a plan is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Purpose {
    /// To make the world as the configuration says.
    Apply,
    /// To destroy all that the state knows.
    Destroy,
}

/// How long another run's lock is waited for, unless told otherwise.
/// Where Terraform leaves a state that it cannot write, beside the root.
pub const ERRORED_STATE: &str = "errored.tfstate";
const LOCK_TIMEOUT: Duration = Duration::from_secs(10);

impl Terraform {
    /// A root in a workspace, without inputs.
    pub fn new(
        program: impl Into<PathBuf>,
        root: impl Into<PathBuf>,
        data_dir: impl Into<PathBuf>,
        workspace: impl Into<String>,
    ) -> Self {
        Self {
            program: program.into(),
            root: root.into(),
            data_dir: data_dir.into(),
            workspace: workspace.into(),
            vars: Map::new(),
            var_files: Vec::new(),
            backend: Map::new(),
            env: BTreeMap::new(),
            unset: Vec::new(),
            lock_timeout: LOCK_TIMEOUT,
        }
    }

    /// Initialises the root: modules, providers, backend. Skipped where neither the configuration
    /// (by its [`Copy::digest`]), the backend nor the program has changed since the last time.
    ///
    /// # Errors
    /// When Terraform fails, with all it says.
    pub async fn init(&self, digest: &str, by: &Supervisor) -> Result<Init, TerraformError> {
        let stamp_file = self.data_dir.join("envctl-init");
        let stamp = self.init_stamp(digest);
        if fs::read_to_string(&stamp_file).is_ok_and(|former| former == stamp) {
            return Ok(Init::Unchanged);
        }
        let mut command = self.command("init").arg("-input=false").arg("-no-color");
        if !self.backend.is_empty() {
            let file = self.write_json("backend.tfbackend.json", &self.backend)?;
            command = command.arg(prefixed("-backend-config=", &file));
        }
        self.run_logged(command, "init", by, &mut |_| ()).await?;
        private::write(&stamp_file, stamp.as_bytes()).map_err(writing(&stamp_file))?;
        Ok(Init::Done)
    }

    /// The backend that `init` has settled on; `None` for a state in files beside the root.
    ///
    /// # Errors
    /// When what `init` left cannot be read.
    pub fn backend_in_use(&self) -> Result<Option<Backend>, TerraformError> {
        #[derive(Deserialize)]
        struct Left {
            backend: Option<Backend>,
        }
        let file = self.data_dir.join("terraform.tfstate");
        let text = match fs::read(&file) {
            Ok(text) => text,
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(None),
            Err(e) => return Err(writing(&file)(e)),
        };
        let left: Left = serde_json::from_slice(&text).map_err(|error| ProgramError::Unreadable {
            program: "terraform".to_owned(),
            arguments: "init".to_owned(),
            reason: error.to_string(),
        })?;
        Ok(left.backend.filter(|backend| backend.kind != "local"))
    }

    /// The value of an expression of the root, such as `local.role`; `None` where Terraform cannot tell
    /// it yet.
    ///
    /// # Errors
    /// When Terraform cannot be run.
    pub async fn evaluate(&self, expression: &str, by: &Supervisor) -> Result<Option<Value>, TerraformError> {
        let command = self.with_variables(self.in_workspace("console"))?;
        let input = Input::Bytes(format!("jsonencode({expression})\n").into());
        match command.input(input).whole_stdout().run(by).await {
            // A quoted string with JSON inside.
            Ok(output) => {
                let text = output.stdout_text();
                let inner = serde_json::from_str::<String>(text.trim()).ok();
                Ok(inner.and_then(|inner| serde_json::from_str(&inner).ok()))
            }
            Err(ProgramError::Failed(_)) => Ok(None),
            Err(error) => Err(error.into()),
        }
    }

    fn init_stamp(&self, digest: &str) -> String {
        let mut stamp = Sha256::new();
        let backend = Value::Object(self.backend.clone());
        stamp.update(format!("{digest}\n{backend}\n{}\n", self.program.display()));
        stamp.update(self.root.as_os_str().as_encoded_bytes());
        format!("{:x?}", stamp.finalize())
    }

    /// The workspaces that the backend has.
    ///
    /// # Errors
    /// When Terraform fails, with all it says.
    pub async fn workspaces(&self, by: &Supervisor) -> Result<Vec<String>, TerraformError> {
        let output = self.command("workspace").arg("list").whole_stdout().run(by).await?;
        let text = output.stdout_text();
        let names = text.lines().map(|line| line.trim_start_matches('*').trim());
        Ok(names.filter(|name| !name.is_empty()).map(str::to_owned).collect())
    }

    /// Whether the workspace is there: ours, or somebody else's of the same name.
    ///
    /// # Errors
    /// When Terraform fails, with all it says.
    pub async fn has_workspace(&self, by: &Supervisor) -> Result<bool, TerraformError> {
        Ok(self.workspaces(by).await?.contains(&self.workspace))
    }

    /// Makes the workspace. Whoever calls decides by [`Terraform::has_workspace`] whether it has to be made,
    /// and whether one of the same name is theirs.
    ///
    /// # Errors
    /// When Terraform fails, with all it says: also where there is one of this name.
    pub async fn make_workspace(&self, by: &Supervisor) -> Result<(), TerraformError> {
        self.refuse_default()?;
        let command = self.command("workspace").arg("new").arg(self.lock_timeout()).arg(&self.workspace);
        self.run_logged(command.arg("-no-color"), "workspace new", by, &mut |_| ()).await
    }

    /// Deletes the workspace; Terraform refuses one whose state still knows of something. One
    /// that is missing is no error.
    ///
    /// # Errors
    /// When Terraform fails, with all it says.
    pub async fn delete_workspace(&self, by: &Supervisor) -> Result<(), TerraformError> {
        self.refuse_default()?;
        // The selected workspace cannot be deleted, and whoever makes one selects it.
        let select = self.command("workspace").arg("select").arg("default");
        let selecting = async { self.run_logged(select, "workspace select", by, &mut |_| ()).await };
        let (found, selected) = tokio::join!(self.has_workspace(by), selecting);
        if !found? {
            return Ok(());
        }
        selected?;
        let delete = self.command("workspace").args(["delete", "-no-color"]);
        let delete = delete.arg(self.lock_timeout()).arg(&self.workspace);
        self.run_logged(delete, "workspace delete", by, &mut |_| ()).await
    }

    /// Releases a lock of the state. Whoever calls knows that its holder is dead.
    ///
    /// # Errors
    /// When Terraform fails, with all it says: the lock was released meanwhile, or is another one.
    pub async fn release(&self, lock: &Lock, by: &Supervisor) -> Result<(), TerraformError> {
        let unlock = self.in_workspace("force-unlock").args(["-force", "-no-color"]).arg(&lock.id);
        self.run_logged(unlock, "force-unlock", by, &mut |_| ()).await
    }

    fn refuse_default(&self) -> Result<(), TerraformError> {
        match self.workspace.as_str() {
            "default" => Err(TerraformError::DefaultWorkspace(self.workspace.clone())),
            _ => Ok(()),
        }
    }

    /// Plans, saves the plan into a file (readable by its owner only: it holds secrets), and says
    /// what is in that file.
    ///
    /// # Errors
    /// [`TerraformError::Locked`], [`TerraformError::Failed`] with Terraform's own words, or what
    /// kept the program from running.
    pub async fn plan(
        &self,
        file: &Path,
        purpose: Purpose,
        by: &Supervisor,
        mut progress: impl FnMut(&Progress) + Send,
    ) -> Result<Plan, TerraformError> {
        // Terraform would make the file readable by all; it keeps the mode of one that exists.
        let directory = file.parent().unwrap_or(Path::new("."));
        private::make_directory(directory).map_err(writing(directory))?;
        fs::File::options()
            .write(true)
            .create(true)
            .truncate(true)
            .mode(0o600)
            .open(file)
            .and_then(|file| file.set_permissions(fs::Permissions::from_mode(0o600)))
            .map_err(writing(file))?;

        let mut command = self
            .in_workspace("plan")
            .args(["-input=false", "-json", "-detailed-exitcode"])
            .arg(self.lock_timeout())
            .arg(prefixed("-out=", file))
            .accept([0, 2]);
        if purpose == Purpose::Destroy {
            command = command.arg("-destroy");
        }
        let command = self.with_variables(command)?;
        let messages = self.run_streamed(command, "plan", by, &mut progress).await?;
        // By `-detailed-exitcode`: nothing changes, so that there is nothing to read.
        let mut plan = if messages.code == 0 { Plan::default() } else { self.saved_plan(file, by).await? };
        plan.warnings = messages.diagnostics;
        Ok(plan)
    }

    /// Writes the state of a run that could not write it: when its backend is away, Terraform leaves it in
    /// a file beside the root. Whether there was one.
    ///
    /// # Errors
    /// As [`Terraform::plan`].
    pub async fn rescue_state(&self, by: &Supervisor) -> Result<bool, TerraformError> {
        let left = self.root.join(ERRORED_STATE);
        if !left.exists() {
            return Ok(false);
        }
        let push = self.in_workspace("state").args(["push", "-no-color"]).arg(self.lock_timeout());
        self.run_logged(push.arg(ERRORED_STATE), "state push", by, &mut |_| ()).await?;
        fs::remove_file(&left).map_err(writing(&left))?;
        Ok(true)
    }

    /// What is in a saved plan.
    ///
    /// # Errors
    /// When the file is no plan of this root, or cannot be read.
    pub async fn saved_plan(&self, file: &Path, by: &Supervisor) -> Result<Plan, TerraformError> {
        let command = self.in_workspace("show").arg("-json").arg(file);
        self.read(command, by, Plan::read).await
    }

    /// Applies exactly a saved plan.
    ///
    /// The program outlives envctl's own death (its output goes to a file), so that nothing it
    /// makes is forgotten; [`crate::process::gone`] waits for it.
    ///
    /// # Errors
    /// [`TerraformError::Locked`], [`TerraformError::Failed`] with Terraform's own words, or what
    /// kept the program from running. What was made before the error is in the state.
    pub async fn apply(
        &self,
        plan: &Path,
        by: &Supervisor,
        mut progress: impl FnMut(&Progress) + Send,
    ) -> Result<Applied, TerraformError> {
        let command =
            self.in_workspace("apply").args(["-input=false", "-json"]).arg(self.lock_timeout()).arg(plan);
        let messages = self.run_streamed(command, "apply", by, &mut progress).await?;
        Ok(messages.applied)
    }

    /// All that the state knows of.
    ///
    /// # Errors
    /// When Terraform fails, with all it says.
    pub async fn state(&self, by: &Supervisor) -> Result<State, TerraformError> {
        self.read(self.in_workspace("show").arg("-json"), by, State::read).await
    }

    fn command(&self, verb: &str) -> Command {
        let command = Command::new(&self.program)
            .arg(verb)
            .current_dir(&self.root)
            .how_to_get(Tool::terraform_at(&self.program).how_to_get())
            .env("TF_DATA_DIR", &self.data_dir)
            .env("TF_IN_AUTOMATION", "1")
            .env("TF_INPUT", "0")
            .env("CHECKPOINT_DISABLE", "1")
            // A module's git source must not wait for a password that nobody is asked for.
            .env("GIT_TERMINAL_PROMPT", "0")
            .env_remove("TF_WORKSPACE");
        // These would change the meaning of the calls below.
        let command = ["", "_plan", "_apply", "_show", "_output", "_workspace"]
            .iter()
            .fold(command, |command, verb| command.env_remove(format!("TF_CLI_ARGS{verb}")));
        self.unset.iter().fold(command, |command, name| command.env_remove(name)).envs(&self.env)
    }

    /// Only these verbs get the workspace by variable: `init` would make it in passing, and
    /// `workspace` refuses to work with it.
    fn in_workspace(&self, verb: &str) -> Command {
        self.command(verb).env("TF_WORKSPACE", &self.workspace)
    }

    fn with_variables(&self, mut command: Command) -> Result<Command, TerraformError> {
        for var_file in &self.var_files {
            command = command.arg(prefixed("-var-file=", var_file));
        }
        if !self.vars.is_empty() {
            let vars = self.write_json("vars.tfvars.json", &self.vars)?;
            command = command.arg(prefixed("-var-file=", &vars));
        }
        Ok(command)
    }

    fn lock_timeout(&self) -> String {
        format!("-lock-timeout={}s", self.lock_timeout.as_secs())
    }

    fn write_json(&self, name: &str, content: &Map<String, Value>) -> Result<PathBuf, TerraformError> {
        let file = self.data_dir.join(name);
        let bytes = Value::Object(content.clone()).to_string();
        private::write(&file, bytes.as_bytes()).map_err(writing(&file))?;
        Ok(file)
    }

    /// Runs a verb that may touch the state, so that it survives us.
    async fn run_streamed(
        &self,
        command: Command,
        verb: &'static str,
        by: &Supervisor,
        progress: &mut (dyn FnMut(&Progress) + Send),
    ) -> Result<Messages, TerraformError> {
        private::make_directory(&self.data_dir).map_err(writing(&self.data_dir))?;
        let log = self.data_dir.join(format!("{}.log", verb.replace(' ', "-")));
        let mut messages = Messages::of(&self.workspace);
        let result = command
            .log_to(log)
            .run_with_lines(by, |_, line| {
                if let Some(happened) = messages.take(line) {
                    progress(&happened);
                }
            })
            .await;
        match result {
            Ok(output) => {
                messages.code = output.code;
                Ok(messages)
            }
            Err(error) => Err(messages.error(verb, error)),
        }
    }

    async fn run_logged(
        &self,
        command: Command,
        verb: &'static str,
        by: &Supervisor,
        progress: &mut (dyn FnMut(&Progress) + Send),
    ) -> Result<(), TerraformError> {
        self.run_streamed(command, verb, by, progress).await.map(drop)
    }

    async fn read<T>(
        &self,
        command: Command,
        by: &Supervisor,
        read: impl FnOnce(&[u8]) -> serde_json::Result<T>,
    ) -> Result<T, TerraformError> {
        let (program, arguments) = (command.name(), command.arguments());
        let output = command.whole_stdout().run(by).await?;
        Ok(read(&output.stdout).map_err(|error| ProgramError::Unreadable {
            program,
            arguments,
            reason: error.to_string(),
        })?)
    }
}

fn prefixed(flag: &str, path: &Path) -> std::ffi::OsString {
    let mut argument = std::ffi::OsString::from(flag);
    argument.push(path);
    argument
}

fn writing(path: &Path) -> impl FnOnce(std::io::Error) -> TerraformError {
    let doing = format!("write {}", path.display());
    move |source| TerraformError::Program(ProgramError::io(doing)(source))
}
