//! The user's own settings, `config.yaml` in envctl's configuration directory.

use std::path::PathBuf;

use serde::Deserialize;

use super::{Origin, Variables};
use crate::ui::Failure;

/// What a user can set for all stacks.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct UserSettings {
    pub(super) target: Option<String>,
    pub(super) ttl: Option<String>,
    pub(super) router_port: Option<u16>,
}

/// The file and what it says.
#[derive(Debug, Clone)]
pub(super) struct UserFile {
    path: PathBuf,
    pub(super) settings: UserSettings,
}

impl UserFile {
    pub(super) fn load(variables: &Variables) -> Result<Self, Failure> {
        let path = variables
            .config
            .clone()
            .or_else(|| dirs::config_dir().map(|dir| dir.join("envctl").join("config.yaml")))
            .unwrap_or_default();
        let settings = match std::fs::read_to_string(&path) {
            Ok(text) if text.trim().is_empty() => UserSettings::default(),
            Ok(text) => serde_yaml::from_str(&text)
                .map_err(|e| Failure::Usage(format!("the settings file {} is wrong: {e}", path.display())))?,
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => UserSettings::default(),
            // A home that cannot be read (a service account) has no settings of its own.
            Err(_) if variables.config.is_none() => UserSettings::default(),
            Err(e) => {
                return Err(Failure::Usage(format!("cannot read the settings file {}: {e}", path.display())));
            }
        };
        Ok(Self { path, settings })
    }

    pub(super) fn origin(&self) -> Origin {
        Origin::UserFile(self.path.clone())
    }
}
