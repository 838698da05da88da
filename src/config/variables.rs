//! The environment variables that envctl reads, all of them, once.

use std::path::PathBuf;

use crate::ui::Failure;

/// The environment to act on, like `--name`.
pub(crate) const ENV: &str = "ENVCTL_ENV";
/// The target, like `--target`.
pub(crate) const TARGET: &str = "ENVCTL_TARGET";
/// How long a new environment lives, like `--ttl`.
pub(crate) const TTL: &str = "ENVCTL_TTL";
/// The cluster to act on, by its ARN, like `--cluster`.
pub(crate) const CLUSTER: &str = "ENVCTL_CLUSTER";
/// The AWS profile to sign in with, like `--profile`.
pub(crate) const AWS_PROFILE: &str = "ENVCTL_AWS_PROFILE";
/// Where records, journals and Terraform states are kept.
pub(crate) const STATE_DIR: &str = "ENVCTL_STATE_DIR";
/// The user's own settings file.
pub(crate) const CONFIG: &str = "ENVCTL_CONFIG";
/// The port of the machine's HTTP router.
pub(crate) const ROUTER_PORT: &str = "ENVCTL_ROUTER_PORT";
/// Who is using envctl, instead of the name of the account.
pub(crate) const USER: &str = "ENVCTL_USER";
/// The key that signs evidence, like `rehearse --key`.
pub(crate) const SIGNING_KEY: &str = "ENVCTL_SIGNING_KEY";
/// The helm program.
pub(crate) const HELM: &str = "ENVCTL_HELM";
/// The terraform or tofu program.
pub(crate) const TERRAFORM: &str = "ENVCTL_TERRAFORM";
/// The docker program.
pub(crate) const DOCKER: &str = "ENVCTL_DOCKER";
/// A stand-alone docker-compose program, instead of the plugin `docker compose`.
pub(crate) const COMPOSE: &str = "ENVCTL_COMPOSE";
/// For tests: `STEP@MOMENT` at which envctl kills itself.
pub(crate) const FAILPOINT: &str = "ENVCTL_FAILPOINT";
/// For tests: the file to which each `STEP@MOMENT` is appended when it is reached.
pub(crate) const FAILPOINT_LOG: &str = "ENVCTL_FAILPOINT_LOG";

/// What the environment said.
#[derive(Debug, Clone)]
pub(crate) struct Variables {
    /// [`ENV`].
    pub(crate) env: Option<String>,
    /// [`TARGET`].
    pub(crate) target: Option<String>,
    /// [`TTL`].
    pub(crate) ttl: Option<String>,
    /// [`CLUSTER`].
    pub(crate) cluster: Option<String>,
    /// [`AWS_PROFILE`].
    pub(crate) aws_profile: Option<String>,
    /// [`STATE_DIR`].
    pub(crate) state_dir: Option<PathBuf>,
    /// [`CONFIG`].
    pub(crate) config: Option<PathBuf>,
    router_port: Option<String>,
    /// [`USER`], else the name of the account.
    pub(crate) user: String,
    /// [`SIGNING_KEY`].
    pub(crate) signing_key: Option<PathBuf>,
    /// [`HELM`].
    pub(crate) helm: Option<PathBuf>,
    /// [`TERRAFORM`].
    pub(crate) terraform: Option<PathBuf>,
    /// [`DOCKER`].
    pub(crate) docker: Option<PathBuf>,
    /// [`COMPOSE`].
    pub(crate) compose: Option<PathBuf>,
    /// [`FAILPOINT`].
    pub(crate) failpoint: Option<String>,
    /// [`FAILPOINT_LOG`].
    pub(crate) failpoint_log: Option<PathBuf>,
    /// `DOCKER_HOST`, as Docker's own client reads it.
    pub(crate) docker_host: Option<String>,
    /// `DOCKER_CONTEXT`, likewise.
    pub(crate) docker_context: Option<String>,
    /// `DOCKER_CONFIG`, likewise.
    pub(crate) docker_config: Option<PathBuf>,
    /// `PATH`.
    pub(crate) path: Vec<PathBuf>,
    /// The current directory.
    pub(crate) current_dir: PathBuf,
}

impl Variables {
    /// Reads the environment.
    pub(crate) fn read() -> Self {
        let text = |name: &str| std::env::var(name).ok().filter(|v| !v.is_empty());
        let path = |name: &str| std::env::var_os(name).filter(|v| !v.is_empty()).map(PathBuf::from);
        Self {
            env: text(ENV),
            target: text(TARGET),
            ttl: text(TTL),
            cluster: text(CLUSTER),
            aws_profile: text(AWS_PROFILE),
            state_dir: path(STATE_DIR),
            config: path(CONFIG),
            router_port: text(ROUTER_PORT),
            user: text(USER).or_else(|| text("USER")).or_else(|| text("LOGNAME")).unwrap_or_else(account),
            signing_key: path(SIGNING_KEY),
            helm: path(HELM),
            terraform: path(TERRAFORM),
            docker: path(DOCKER),
            compose: path(COMPOSE),
            failpoint: text(FAILPOINT),
            failpoint_log: path(FAILPOINT_LOG),
            docker_host: text("DOCKER_HOST"),
            docker_context: text("DOCKER_CONTEXT"),
            docker_config: path("DOCKER_CONFIG"),
            path: std::env::var_os("PATH").map(|p| std::env::split_paths(&p).collect()).unwrap_or_default(),
            current_dir: std::env::current_dir().unwrap_or_else(|_| PathBuf::from("/")),
        }
    }

    /// A variable that the stack file takes a secret from.
    #[allow(clippy::unused_self, reason = "the environment is read in this module alone")]
    pub(crate) fn secret(&self, name: &str) -> Option<String> {
        std::env::var(name).ok()
    }

    /// A variable that the SDKs of AWS read, and with them Terraform.
    #[allow(clippy::unused_self, reason = "the environment is read in this module alone")]
    pub(crate) fn of_aws(&self, name: &str) -> Option<String> {
        std::env::var(name).ok().filter(|text| !text.is_empty())
    }

    /// [`ROUTER_PORT`] as a port.
    pub(crate) fn router_port(&self) -> Result<Option<u16>, Failure> {
        self.router_port
            .as_deref()
            .map(|text| match text.parse() {
                Ok(port) if port > 0 => Ok(port),
                _ => Err(Failure::Usage(format!("{ROUTER_PORT}={text} is not a port (1 to 65535)"))),
            })
            .transpose()
    }
}

/// The account's name where no variable tells it (cron, containers).
fn account() -> String {
    let uid = rustix::process::getuid().as_raw();
    let passwd = std::fs::read_to_string("/etc/passwd").unwrap_or_default();
    passwd
        .lines()
        .map(|line| line.split(':').collect::<Vec<_>>())
        .find(|fields| fields.get(2).and_then(|id| id.parse().ok()) == Some(uid))
        .and_then(|fields| fields.first().map(|name| (*name).to_owned()))
        .unwrap_or_else(|| format!("uid{uid}"))
}
