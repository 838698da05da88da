//! Terraform for one environment: a copy of the root in the environment's home, where all runs
//! happen, so that `down` is the same with and without the sources.
//!
//! ```text
//! HOME/terraform/root/...        the root and its modules; a local state lies here too
//!                data/           TF_DATA_DIR
//!                plan            the saved plan
//!                vars.json       variables of the last `up`
//!                workspace.json  the workspace, once we are about to create it: then it is ours
//!                outputs.json    the outputs of the last `up`
//!                resources.json  what the state knew last, for looking things up after `destroy`
//! ```

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use envctl_model::record::TerraformRecord;
use envctl_model::stack;
use envctl_programs::terraform::{Closure, Copy, Mode, Output, Resource, Terraform};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::Home;
use crate::config::Project;
use crate::ui::Failure;

/// A resource as it was last known, enough to look it up once it is gone.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Known {
    /// Its address.
    pub(crate) address: String,
    /// Its type.
    #[serde(rename = "type")]
    pub(crate) kind: String,
    /// Its name.
    pub(crate) name: String,
    /// Its attributes, secrets among them.
    pub(crate) values: Value,
}

/// The files of Terraform in an environment's home.
#[derive(Debug, Clone)]
pub(crate) struct Place {
    dir: PathBuf,
}

impl Place {
    /// In this home.
    pub(crate) fn of(home: &Home) -> Self {
        Self { dir: home.file("terraform") }
    }

    /// The saved plan.
    pub(crate) fn plan_file(&self) -> PathBuf {
        self.dir.join("plan")
    }

    /// Brings the copy of the root up to date with the sources.
    pub(crate) fn archive(&self, project: &Project, terraform: &stack::Terraform) -> Result<Copy, Failure> {
        let root = project.dir.join(&terraform.path.value);
        let extra: Vec<_> = terraform.var_files.iter().map(|file| root.join(&file.value)).collect();
        let closure = Closure::of(&root, &extra)
            .map_err(|e| Failure::Input(project.file.error_at(&terraform.path, e.to_string(), None)))?;
        closure.archive_to(&self.dir.join("root")).map_err(Failure::failed)
    }

    /// The copy of an earlier `up`.
    pub(crate) fn archived(&self) -> Result<Option<Copy>, Failure> {
        Copy::left_at(&self.dir.join("root")).map_err(Failure::failed)
    }

    /// Terraform on the copy.
    pub(crate) fn terraform(
        &self,
        record: &TerraformRecord,
        copy: &Copy,
        vars: Map<String, Value>,
    ) -> Terraform {
        let mut terraform =
            Terraform::new(&record.program, &copy.root, self.dir.join("data"), record.workspace.clone());
        terraform.vars = vars;
        terraform.var_files.clone_from(&record.var_files);
        terraform.backend =
            record.backend_config.iter().map(|(k, v)| (k.clone(), v.clone().into())).collect();
        terraform.env = BTreeMap::new();
        terraform
    }

    /// Remembers the variables of this `up`.
    pub(crate) fn save_variables(&self, home: &Home, vars: &Map<String, Value>) -> Result<(), Failure> {
        home.write_json("terraform/vars.json", vars)
    }

    /// The variables of the last `up`.
    pub(crate) fn variables(&self, home: &Home) -> Result<Map<String, Value>, Failure> {
        Ok(home.read_json("terraform/vars.json")?.unwrap_or_default())
    }

    /// Writes down that a workspace is about to be created by us, having been seen not to exist. The
    /// journal's intent alone would not tell ours from one that was there before.
    pub(crate) fn claim_workspace(&self, home: &Home, workspace: &str) -> Result<(), Failure> {
        home.write_json("terraform/workspace.json", &workspace)
    }

    /// Whether we created a workspace, or were about to.
    pub(crate) fn owns_workspace(&self, home: &Home, workspace: &str) -> Result<bool, Failure> {
        let claimed: Option<String> = home.read_json("terraform/workspace.json")?;
        Ok(claimed.as_deref() == Some(workspace))
    }

    /// Remembers the outputs, secrets among them, so that what only looks need not run Terraform.
    pub(crate) fn save_outputs(&self, home: &Home, outputs: &[Output]) -> Result<(), Failure> {
        let kept: Vec<_> = outputs.iter().map(|o| (&o.name, &o.value, o.sensitive)).collect();
        home.write_json("terraform/outputs.json", &kept)
    }

    /// Whether an `up` has applied here, so that the workspace is known to exist. Terraform says so
    /// itself when somebody has deleted it since.
    pub(crate) fn was_applied(&self, home: &Home) -> bool {
        home.file("terraform/outputs.json").exists()
    }

    /// The outputs of the last `up`.
    pub(crate) fn outputs(&self, home: &Home) -> Result<Vec<Output>, Failure> {
        let kept: Vec<(String, Value, bool)> = home.read_json("terraform/outputs.json")?.unwrap_or_default();
        Ok(kept.into_iter().map(|(name, value, sensitive)| Output { name, value, sensitive }).collect())
    }

    /// Remembers what the state knows.
    pub(crate) fn save_resources(&self, home: &Home, resources: &[Resource]) -> Result<Vec<Known>, Failure> {
        let known: Vec<_> = resources
            .iter()
            .filter(|r| r.mode == Mode::Managed)
            .map(|r| Known {
                address: r.address.clone(),
                kind: r.kind.clone(),
                name: r.name.clone(),
                values: r.values.clone(),
            })
            .collect();
        home.write_json("terraform/resources.json", &known)?;
        Ok(known)
    }

    /// What the state knew last.
    pub(crate) fn resources(&self, home: &Home) -> Result<Vec<Known>, Failure> {
        Ok(home.read_json("terraform/resources.json")?.unwrap_or_default())
    }
}

/// Names of the outputs that a root declares, read from its files without running anything: enough
/// to check templates before the first write.
pub(crate) fn declared_outputs(root: &Path) -> Vec<String> {
    let Ok(entries) = std::fs::read_dir(root) else { return Vec::new() };
    let mut names = Vec::new();
    for path in entries.filter_map(|e| Some(e.ok()?.path())) {
        let Ok(text) = std::fs::read_to_string(&path) else { continue };
        let file = path.to_string_lossy();
        if file.ends_with(".tf") {
            names.extend(text.lines().filter_map(|line| {
                let rest = line.trim_start().strip_prefix("output")?;
                let quoted = rest.trim_start().strip_prefix('"')?;
                Some(quoted.split('"').next()?.to_owned())
            }));
        } else if file.ends_with(".tf.json")
            && let Ok(json) = serde_json::from_str::<Value>(&text)
            && let Some(outputs) = json.get("output").and_then(Value::as_object)
        {
            names.extend(outputs.keys().cloned());
        }
    }
    names.sort();
    names
}
