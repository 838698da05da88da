//! What can be checked of a stack wherever it is to live, before anything is written.

use envctl_model::record::Record;
use envctl_model::stack::{Protected, Target};
use envctl_programs::process::Tool;

use crate::config::{Base, Project};
use crate::ui::Failure;

/// An environment of this name that belongs to another project is left alone.
pub(crate) fn same_project(project: &Project, former: Option<&Record>) -> Result<(), Failure> {
    let here = &project.file.stack.project.value;
    match former {
        Some(former) if former.project != *here => Err(Failure::Refused(format!(
            "environment `{}` belongs to project `{}` ({}), and this is project `{here}`\n  choose another name with --name",
            former.name,
            former.project,
            former.stack_file.display(),
        ))),
        _ => Ok(()),
    }
}

/// The terraform program is there if the target needs it.
pub(crate) fn has_terraform(base: &Base, target: &Target) -> Result<(), Failure> {
    if target.terraform.is_none() || base.programs.has_terraform() {
        return Ok(());
    }
    let program = &base.programs.terraform.value;
    Err(Failure::Failed(format!(
        "{} is not installed or not on PATH\n  get it: {}",
        program.display(),
        Tool::terraform_at(program).how_to_get()
    )))
}

/// Refuses the names of an environment and of its Terraform workspace that a rule of the stack file protects.
pub(crate) fn guard_names(protected: &Protected, name: &str, workspace: Option<&str>) -> Result<(), Failure> {
    let workspace = workspace.unwrap_or(name);
    for (what, rules, name) in
        [("namespace", &protected.namespaces, name), ("workspace", &protected.workspaces, workspace)]
    {
        if let Some(rule) = Protected::rule(rules, name) {
            return Err(Failure::Refused(format!(
                "{what} `{name}` is protected by the rule `{rule}` of the stack file\n  choose another name with --name"
            )));
        }
    }
    Ok(())
}

/// Every file that the stack names is there.
pub(crate) fn check_files(project: &Project, target: &Target) -> Result<(), Failure> {
    let stack = &project.file.stack;
    let chart_values = stack.chart.iter().flat_map(|chart| &chart.values);
    for file in chart_values.chain(&target.values) {
        if !project.dir.join(&file.value).is_file() {
            let message = format!("there is no values file {}", file.value.display());
            let help = format!("paths are relative to {}", project.dir.display());
            return Err(Failure::Input(project.file.error_at(file, message, Some(help))));
        }
    }
    if let Some(chart) = &stack.chart
        && !project.dir.join(&chart.path.value).join("Chart.yaml").is_file()
    {
        let message = format!("there is no chart in {}", chart.path.value.display());
        let help = "a chart's folder holds a Chart.yaml".to_owned();
        return Err(Failure::Input(project.file.error_at(&chart.path, message, Some(help))));
    }
    if let Some(backing) = &target.backing
        && !project.dir.join(&backing.value).is_file()
    {
        let message = format!("there is no Compose file {}", backing.value.display());
        return Err(Failure::Input(project.file.error_at(backing, message, None)));
    }
    for image in stack.images.values() {
        let context = project.dir.join(&image.context.value);
        if !context.is_dir() {
            let message = format!("there is no build context {}", image.context.value.display());
            return Err(Failure::Input(project.file.error_at(&image.context, message, None)));
        }
        if let Some(dockerfile) = &image.dockerfile
            && !project.dir.join(&dockerfile.value).is_file()
        {
            let message = format!("there is no Dockerfile {}", dockerfile.value.display());
            return Err(Failure::Input(project.file.error_at(dockerfile, message, None)));
        }
    }
    if let Some(terraform) = &target.terraform
        && !project.dir.join(&terraform.path.value).is_dir()
    {
        let message = format!("there is no Terraform root {}", terraform.path.value.display());
        return Err(Failure::Input(project.file.error_at(&terraform.path, message, None)));
    }
    Ok(())
}
