//! Settings: where each value came from, and the only place that reads the environment.
//!
//! Precedence: flag > environment variable > project file > user file > default.

mod chosen;
mod programs;
mod user_file;
pub(crate) mod variables;

use std::path::{Path, PathBuf};

use envctl_model::name::EnvironmentName;
use envctl_model::stack::{StackFile, parse_ttl};
use serde::Serialize;

pub(crate) use chosen::Chosen;
pub(crate) use programs::Programs;
pub(crate) use variables::Variables;

use crate::ui::Failure;
use user_file::UserFile;

/// The file a stack is described in.
pub(crate) const STACK_FILE: &str = "envctl.yaml";
const DEFAULT_ROUTER_PORT: u16 = 8080;
const DEFAULT_TTL: &str = "24h";

/// Where a value came from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Origin {
    /// A flag.
    Flag(&'static str),
    /// An environment variable.
    Variable(&'static str),
    /// The stack file.
    ProjectFile(PathBuf),
    /// The user's own file.
    UserFile(PathBuf),
    /// `envctl use`, in this directory.
    Chosen(PathBuf),
    /// Nobody said anything.
    Default,
}

impl std::fmt::Display for Origin {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Flag(flag) => write!(f, "flag {flag}"),
            Self::Variable(name) => write!(f, "environment variable {name}"),
            Self::ProjectFile(file) | Self::UserFile(file) => write!(f, "{}", file.display()),
            Self::Chosen(dir) => write!(f, "`envctl use` in {}", dir.display()),
            Self::Default => f.write_str("default"),
        }
    }
}

/// A value and where it came from.
#[derive(Debug, Clone)]
pub(crate) struct Sourced<T> {
    /// The value.
    pub(crate) value: T,
    /// Where it came from.
    pub(crate) origin: Origin,
}

/// What flags said.
#[derive(Debug, Clone, Default)]
pub(crate) struct Flags {
    /// `--name`.
    pub(crate) name: Option<String>,
    /// `--target`.
    pub(crate) target: Option<String>,
    /// `--ttl`.
    pub(crate) ttl: Option<String>,
    /// `--stack`.
    pub(crate) stack: Option<PathBuf>,
    /// `--cluster`.
    pub(crate) cluster: Option<String>,
    /// `--profile`.
    pub(crate) profile: Option<String>,
}

/// Settings that need no stack file.
#[derive(Debug, Clone)]
pub(crate) struct Base {
    /// What the environment said.
    pub(crate) variables: Variables,
    /// What the flags said.
    pub(crate) flags: Flags,
    /// Where records, journals and state live.
    pub(crate) state_dir: Sourced<PathBuf>,
    /// The programs to start.
    pub(crate) programs: Programs,
    /// Who we are: `user@host`.
    pub(crate) owner: String,
    user: UserFile,
}

impl Base {
    /// Reads the environment and the user's file.
    pub(crate) fn load(flags: Flags) -> Result<Self, Failure> {
        let variables = Variables::read();
        let user = UserFile::load(&variables)?;
        let state_dir = if let Some(dir) = &variables.state_dir {
            Sourced { value: dir.clone(), origin: Origin::Variable(variables::STATE_DIR) }
        } else {
            let base = dirs::state_dir().or_else(dirs::data_local_dir).ok_or_else(|| {
                Failure::Usage(format!(
                    "there is no home directory: say where envctl may keep its records with {}",
                    variables::STATE_DIR
                ))
            })?;
            Sourced { value: base.join("envctl"), origin: Origin::Default }
        };
        let programs = Programs::find(&variables);
        let host = rustix::system::uname().nodename().to_string_lossy().into_owned();
        let owner = format!("{}@{host}", variables.user);
        Ok(Self { variables, flags, state_dir, programs, owner, user })
    }

    /// The stack file: `--stack`, else `envctl.yaml` in this directory or one above.
    ///
    /// # Errors
    /// When there is none, it cannot be read, or it is wrong.
    pub(crate) fn stack(&self) -> Result<Project, Failure> {
        let path = match &self.flags.stack {
            Some(path) => path.clone(),
            None => find_upward(&self.variables.current_dir)?,
        };
        let path = std::path::absolute(&path).map_err(Failure::failed)?;
        let source = std::fs::read_to_string(&path)
            .map_err(|e| Failure::Usage(format!("cannot read the stack file {}: {e}", path.display())))?;
        let shown = path.strip_prefix(&self.variables.current_dir).unwrap_or(&path);
        let file = StackFile::parse(&shown.display().to_string(), &source)?;
        let dir = path.parent().unwrap_or(Path::new("/")).to_owned();
        Ok(Project { path, dir, file })
    }

    /// The cluster, by its ARN, if flags or variables name one: for machines without a stack file.
    pub(crate) fn cluster(&self) -> Option<Sourced<String>> {
        let given = |value: &Option<String>, origin| {
            value.as_ref().map(|value| Sourced { value: value.clone(), origin })
        };
        given(&self.flags.cluster, Origin::Flag("--cluster"))
            .or_else(|| given(&self.variables.cluster, Origin::Variable(variables::CLUSTER)))
    }

    /// The AWS profile, if flags or variables name one instead of the stack file's.
    pub(crate) fn aws_profile(&self) -> Option<String> {
        self.flags.profile.clone().or_else(|| self.variables.aws_profile.clone())
    }

    /// What `envctl use` chose.
    pub(crate) fn chosen(&self) -> Chosen {
        Chosen::within(&self.state_dir.value)
    }

    /// The environment's name if a flag, a variable or `envctl use` names one.
    pub(crate) fn named(&self) -> Result<Option<Sourced<EnvironmentName>>, Failure> {
        let given = match (&self.flags.name, &self.variables.env) {
            (Some(name), _) => Some((name, Origin::Flag("--name"))),
            (None, Some(name)) => Some((name, Origin::Variable(variables::ENV))),
            (None, None) => None,
        };
        match given {
            Some((text, origin)) => {
                let value = EnvironmentName::from_text(text).map_err(|e| Failure::Usage(e.to_string()))?;
                Ok(Some(Sourced { value, origin }))
            }
            None => {
                let chosen = self.chosen().of(&self.variables.current_dir)?;
                Ok(chosen.map(|(dir, value)| Sourced { value, origin: Origin::Chosen(dir) }))
            }
        }
    }

    /// All settings for one stack.
    pub(crate) fn settings(&self, project: &Project) -> Result<Settings, Failure> {
        let stack = &project.file.stack;
        let in_project = || Origin::ProjectFile(project.path.clone());
        let name = match self.named()? {
            Some(name) => name,
            None => Sourced {
                value: EnvironmentName::from_text(&format!(
                    "{}-{}",
                    stack.project.value, self.variables.user
                ))
                .map_err(|e| Failure::Usage(e.to_string()))?,
                origin: Origin::Default,
            },
        };
        let target = if let Some(target) = &self.flags.target {
            Sourced { value: target.clone(), origin: Origin::Flag("--target") }
        } else if let Some(target) = &self.variables.target {
            Sourced { value: target.clone(), origin: Origin::Variable(variables::TARGET) }
        } else if let Some(target) = &stack.defaults.target {
            Sourced { value: target.value.clone(), origin: in_project() }
        } else if let Some(target) = &self.user.settings.target {
            Sourced { value: target.clone(), origin: self.user.origin() }
        } else if let (Some(only), 1) = (stack.targets.keys().next(), stack.targets.len()) {
            Sourced { value: only.clone(), origin: Origin::Default }
        } else {
            return Err(Failure::Usage(format!("say which target: --target {}", names(&project.file))));
        };
        if !stack.targets.contains_key(&target.value) {
            return Err(Failure::Usage(format!(
                "there is no target `{}` ({}); targets of {}: {}",
                target.value,
                target.origin,
                project.file.file,
                names(&project.file)
            )));
        }
        let ttl = if let Some(ttl) = &self.flags.ttl {
            Sourced { value: ttl.clone(), origin: Origin::Flag("--ttl") }
        } else if let Some(ttl) = &self.variables.ttl {
            Sourced { value: ttl.clone(), origin: Origin::Variable(variables::TTL) }
        } else if let Some(ttl) = &stack.defaults.ttl {
            Sourced { value: ttl.value.clone(), origin: in_project() }
        } else if let Some(ttl) = &self.user.settings.ttl {
            Sourced { value: ttl.clone(), origin: self.user.origin() }
        } else {
            Sourced { value: DEFAULT_TTL.to_owned(), origin: Origin::Default }
        };
        parse_ttl(&ttl.value).map_err(|e| Failure::Usage(format!("{e} ({})", ttl.origin)))?;
        let router_port = if let Some(port) = self.variables.router_port()? {
            Sourced { value: port, origin: Origin::Variable(variables::ROUTER_PORT) }
        } else if let Some(port) = stack.targets[&target.value].router_port {
            Sourced { value: port, origin: in_project() }
        } else if let Some(port) = self.user.settings.router_port {
            Sourced { value: port, origin: self.user.origin() }
        } else {
            Sourced { value: DEFAULT_ROUTER_PORT, origin: Origin::Default }
        };
        let warden = match stack.targets[&target.value].warden {
            Some(wanted) => Sourced { value: wanted, origin: in_project() },
            None => Sourced { value: true, origin: Origin::Default },
        };
        Ok(Settings { name, target, ttl, router_port, warden })
    }
}

/// The router's port where no stack file says another one.
pub(crate) fn default_router_port(base: &Base) -> u16 {
    let given = base.variables.router_port().ok().flatten();
    given.or(base.user.settings.router_port).unwrap_or(DEFAULT_ROUTER_PORT)
}

/// A stack file and where it is.
#[derive(Debug, Clone)]
pub(crate) struct Project {
    /// The file.
    pub(crate) path: PathBuf,
    /// Its directory: what paths in it are relative to.
    pub(crate) dir: PathBuf,
    /// Its content.
    pub(crate) file: StackFile,
}

/// Settings of one environment.
#[derive(Debug, Clone)]
pub(crate) struct Settings {
    /// Which environment.
    pub(crate) name: Sourced<EnvironmentName>,
    /// Which target.
    pub(crate) target: Sourced<String>,
    /// How long it lives.
    pub(crate) ttl: Sourced<String>,
    /// The port of the machine's HTTP router.
    pub(crate) router_port: Sourced<u16>,
    /// Whether a container may hold the Engine's socket.
    pub(crate) warden: Sourced<bool>,
}

/// One row of `envctl config`.
#[derive(Debug, Serialize)]
pub(crate) struct Shown {
    /// The setting.
    pub(crate) setting: &'static str,
    /// Its value.
    pub(crate) value: String,
    /// Where it came from.
    pub(crate) origin: String,
}

impl Settings {
    /// For `envctl config`.
    pub(crate) fn shown(&self, base: &Base) -> Vec<Shown> {
        fn row(setting: &'static str, value: impl ToString, origin: &Origin) -> Shown {
            Shown { setting, value: value.to_string(), origin: origin.to_string() }
        }
        let mut rows = vec![
            row("name", &self.name.value, &self.name.origin),
            row("target", &self.target.value, &self.target.origin),
            row("ttl", &self.ttl.value, &self.ttl.origin),
            row("routerPort", self.router_port.value, &self.router_port.origin),
            row("warden", self.warden.value, &self.warden.origin),
            row("stateDir", base.state_dir.value.display(), &base.state_dir.origin),
        ];
        rows.extend(base.programs.shown());
        rows
    }
}

fn names(file: &StackFile) -> String {
    file.stack.targets.keys().map(String::as_str).collect::<Vec<_>>().join(", ")
}

fn find_upward(from: &Path) -> Result<PathBuf, Failure> {
    from.ancestors().map(|dir| dir.join(STACK_FILE)).find(|file| file.is_file()).ok_or_else(|| {
        Failure::Usage(format!(
            "there is no {STACK_FILE} in {} or above it\n  go to the directory of a stack, or name its file with --stack FILE",
            from.display()
        ))
    })
}
