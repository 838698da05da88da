//! A cutover plan from its file, with what it leads to: the stack, the files and the services that it names.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use envctl_model::cutover::PlanFile;
use envctl_model::stack::TargetKind;
use envctl_model::yaml;

use crate::config::Project;
use crate::ui::Failure;

/// A plan that was checked, as far as files tell.
#[derive(Debug)]
pub(crate) struct Loaded {
    /// The plan.
    pub(crate) file: PlanFile,
    /// Where the new side is to run.
    pub(crate) target: TargetKind,
}

/// Reads the plan at `path` of a stack.
///
/// # Errors
/// When it cannot be read, lies outside the stack's directory, or is wrong or senseless; or when a file that it names
/// is missing, or a service is not in its Compose file.
pub(crate) fn load(project: &Project, path: &Path) -> Result<Loaded, Failure> {
    let source = std::fs::read_to_string(path)
        .map_err(|e| Failure::Usage(format!("cannot read the cutover plan {}: {e}", path.display())))?;
    let directory = directory(path).map_err(Failure::failed)?;
    let stack_directory = project.dir.canonicalize().map_err(Failure::failed)?;
    let within = directory.strip_prefix(&stack_directory).map_err(|_| {
        Failure::Usage(format!(
            "{} lies outside the directory of the stack file, {}\n  \
             move it there: what is rehearsed is what the repository has",
            path.display(),
            project.dir.display()
        ))
    })?;
    let file = PlanFile::parse(&path.display().to_string(), &source, &project.file.stack, within)?;
    file.check_files(|named| directory.join(named).is_file())?;
    if let Some(services) = services(&directory, &file.plan.old.compose)? {
        file.check_services(&services)?;
    }
    let target = project.file.stack.targets[&file.plan.new.target].kind.value;
    Ok(Loaded { file, target })
}

/// The directory of a file, without links: two names of one place are equal.
fn directory(path: &Path) -> std::io::Result<PathBuf> {
    let path = std::path::absolute(path)?;
    path.parent().unwrap_or(Path::new("/")).canonicalize()
}

/// The services of a Compose file; none where it takes some from elsewhere, which only Compose can tell.
fn services(directory: &Path, compose: &Path) -> Result<Option<BTreeSet<String>>, Failure> {
    let source = std::fs::read_to_string(directory.join(compose))
        .map_err(|e| Failure::Usage(format!("cannot read {}: {e}", compose.display())))?;
    let text: serde_json::Value = yaml::read(&compose.display().to_string(), &source)?;
    if text.get("include").is_some() {
        return Ok(None);
    }
    let services = text.get("services").and_then(serde_json::Value::as_object);
    Ok(Some(services.into_iter().flat_map(|services| services.keys().cloned()).collect()))
}
