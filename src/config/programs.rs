//! Which programs envctl starts.

use std::ffi::{OsStr, OsString};
use std::path::{Path, PathBuf};

use super::variables::{COMPOSE, DOCKER, HELM, TERRAFORM};
use super::{Origin, Shown, Sourced, Variables};

/// The programs, found or not: who needs one that is missing says how to get it.
#[derive(Debug, Clone)]
pub(crate) struct Programs {
    /// helm.
    pub(crate) helm: Sourced<PathBuf>,
    /// terraform, else tofu.
    pub(crate) terraform: Sourced<PathBuf>,
    /// docker.
    pub(crate) docker: Sourced<PathBuf>,
    /// docker compose: the plugin, else a stand-alone docker-compose.
    pub(crate) compose: Sourced<Vec<OsString>>,
    path: Vec<PathBuf>,
}

impl Programs {
    /// Looks for them on PATH.
    pub(super) fn find(variables: &Variables) -> Self {
        let on_path = |name: &str| on(&variables.path, name.as_ref());
        let choose = |given: &Option<PathBuf>, variable: &'static str, names: &[&str]| match given {
            Some(path) => {
                // A bare name is looked for on PATH, as a shell would.
                let bare = path.parent().is_some_and(|dir| dir.as_os_str().is_empty());
                let found = bare.then(|| on_path(&path.to_string_lossy())).flatten();
                Sourced { value: found.unwrap_or_else(|| path.clone()), origin: Origin::Variable(variable) }
            }
            None => Sourced {
                value: names.iter().find_map(|name| on_path(name)).unwrap_or_else(|| PathBuf::from(names[0])),
                origin: Origin::Default,
            },
        };
        let docker = choose(&variables.docker, DOCKER, &["docker"]);
        let compose = if let Some(path) = &variables.compose {
            Sourced { value: vec![path.clone().into()], origin: Origin::Variable(COMPOSE) }
        } else {
            let plugin = vec![docker.value.clone().into(), "compose".into()];
            let value = if has_plugin(variables) {
                plugin
            } else {
                on_path("docker-compose").map_or(plugin, |path| vec![path.into()])
            };
            Sourced { value, origin: Origin::Default }
        };
        Self {
            helm: choose(&variables.helm, HELM, &["helm"]),
            terraform: choose(&variables.terraform, TERRAFORM, &["terraform", "tofu"]),
            docker,
            compose,
            path: variables.path.clone(),
        }
    }

    /// The program that brought an environment up, on this machine: `recorded`, else one of its name, which
    /// alone is sure to read its state; else whatever there is.
    pub(crate) fn terraform_as(&self, recorded: &Path) -> PathBuf {
        let ours = || self.terraform.value.clone();
        if matches!(self.terraform.origin, Origin::Variable(_)) {
            return ours();
        }
        if is_program(recorded) {
            return recorded.to_owned();
        }
        let named = recorded.file_name().and_then(|name| on(&self.path, name));
        named.unwrap_or_else(ours)
    }

    /// Whether the terraform program is there: asked before anything is written. Its version is not
    /// asked for at every `up`, since that alone takes longer than all other checks.
    pub(crate) fn has_terraform(&self) -> bool {
        is_program(&self.terraform.value)
    }

    pub(super) fn shown(&self) -> Vec<Shown> {
        let row =
            |setting, value: String, origin: &Origin| Shown { setting, value, origin: origin.to_string() };
        let compose = self.compose.value.iter().map(|a| a.to_string_lossy()).collect::<Vec<_>>().join(" ");
        vec![
            row("helm", self.helm.value.display().to_string(), &self.helm.origin),
            row("terraform", self.terraform.value.display().to_string(), &self.terraform.origin),
            row("docker", self.docker.value.display().to_string(), &self.docker.origin),
            row("compose", compose, &self.compose.origin),
        ]
    }
}

/// Whether Docker's client has the compose plugin, found where the client looks: asking the client
/// itself would cost a process at every start.
fn has_plugin(variables: &Variables) -> bool {
    let own = variables.docker_config.clone().or_else(|| dirs::home_dir().map(|home| home.join(".docker")));
    let shared = [
        "/usr/local/lib/docker/cli-plugins",
        "/usr/local/libexec/docker/cli-plugins",
        "/usr/lib/docker/cli-plugins",
        "/usr/libexec/docker/cli-plugins",
        "/opt/homebrew/lib/docker/cli-plugins",
        "/Applications/Docker.app/Contents/Resources/cli-plugins",
    ];
    own.into_iter()
        .map(|dir| dir.join("cli-plugins"))
        .chain(shared.into_iter().map(PathBuf::from))
        .any(|dir| is_program(&dir.join("docker-compose")))
}

/// The program of a name in these directories.
fn on(path: &[PathBuf], name: &OsStr) -> Option<PathBuf> {
    path.iter().map(|dir| dir.join(name)).find(|file| is_program(file))
}

fn is_program(file: &Path) -> bool {
    use std::os::unix::fs::PermissionsExt;
    file.metadata().is_ok_and(|m| m.is_file() && m.permissions().mode() & 0o111 != 0)
}
