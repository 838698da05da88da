//! `init --cutover`: a plan to begin with, for the kind of a component, and what it needs beside it.

use std::io::Write;
use std::path::{Path, PathBuf};

use envctl_model::cutover::PlanFile;
use envctl_model::stack::ComponentKind;
use minijinja::{Environment, UndefinedBehavior, context};

use crate::config::Project;
use crate::ui::Failure;

/// Where plans lie, from the stack file's directory.
const DIRECTORY: &str = "rehearsal";

macro_rules! template {
    ($name:literal) => {
        include_str!(concat!("../../../templates/cutover/", $name, ".yaml"))
    };
}

/// What was written.
#[derive(Debug)]
pub(crate) struct Written {
    /// The plan.
    pub(crate) plan: PathBuf,
    /// What has to be filled in, each with what it is.
    pub(crate) fill_in: Vec<(PathBuf, &'static str)>,
}

/// Writes a plan for a component, whose new side is `target`, and the files that it names.
///
/// # Errors
/// When there is no such component, one of the files is there already, or the plan would be refused.
pub(crate) fn write(project: &Project, component: &str, target: &str) -> Result<Written, Failure> {
    let components = &project.file.stack.components;
    let Some(kind) = components.get(component).map(|component| component.kind) else {
        let known: Vec<_> = components.keys().map(String::as_str).collect();
        let known = if known.is_empty() { "none".to_owned() } else { known.join(", ") };
        return Err(Failure::Usage(format!(
            "the stack has no component `{component}`\n  components of {}: {known}",
            project.file.file
        )));
    };
    if component.contains(|c: char| !c.is_ascii_alphanumeric() && !"._-".contains(c)) {
        return Err(Failure::Usage(format!(
            "component `{component}` cannot name a service of a Compose file: only letters, digits, `.`, `_` and `-` can"
        )));
    }
    let directory = project.dir.join(DIRECTORY);
    let mut files = Vec::new();
    for (suffix, template) in templates(kind) {
        let path = directory.join(format!("{component}{suffix}.yaml"));
        files.push((path, render(template, component, target)?));
    }
    if let Some((path, text)) = files.first() {
        PlanFile::parse(&shown(path), text, &project.file.stack, Path::new(DIRECTORY))?;
    }
    let there: Vec<_> = files.iter().filter(|(path, _)| path.exists()).map(|(path, _)| shown(path)).collect();
    if !there.is_empty() {
        return Err(Failure::Usage(format!(
            "these files are there already: {}\n  remove them, or go on with them; nothing was written",
            there.join(", ")
        )));
    }
    std::fs::create_dir_all(&directory).map_err(|e| failed(&directory, &e))?;
    for (path, text) in &files {
        let mut file = std::fs::File::create_new(path).map_err(|e| failed(path, &e))?;
        file.write_all(text.as_bytes()).map_err(|e| failed(path, &e))?;
    }
    let mut paths = files.into_iter().map(|(path, _)| path);
    let plan = paths.next().unwrap_or_default();
    let what = ["the machines of today", "the requests that production gets"];
    Ok(Written { plan, fill_in: paths.zip(what).collect() })
}

/// What is written for a kind: what the files' names end in, and their templates. The plan is the first.
fn templates(kind: ComponentKind) -> Vec<(&'static str, &'static str)> {
    match kind {
        ComponentKind::Service => vec![
            ("", template!("service")),
            ("-old", template!("answering-old")),
            ("-requests", template!("requests")),
        ],
        ComponentKind::Endpoint => vec![
            ("", template!("endpoint")),
            ("-old", template!("answering-old")),
            ("-requests", template!("requests")),
        ],
        ComponentKind::Worker => vec![("", template!("worker")), ("-old", template!("worker-old"))],
        ComponentKind::Schedule => vec![("", template!("schedule")), ("-old", template!("schedule-old"))],
    }
}

fn render(template: &str, component: &str, target: &str) -> Result<String, Failure> {
    let mut environment = Environment::new();
    environment.set_undefined_behavior(UndefinedBehavior::Strict);
    let text = environment.render_str(template, context! { component, target }).map_err(Failure::failed)?;
    Ok(text.trim_end().to_owned() + "\n")
}

fn shown(path: &Path) -> String {
    path.display().to_string()
}

fn failed(path: &Path, error: &std::io::Error) -> Failure {
    Failure::Failed(format!("cannot write {}: {error}", path.display()))
}
