//! `init`: a stack file for a repository that has a chart.
//!
//! [`found`] looks at the files, [`study`] at what the chart renders to; the other modules bring the two
//! together, and [`file`] writes down what came out.

mod backing;
mod builds;
mod draw;
mod file;
mod found;
mod missing;
mod outside;
mod study;
mod todos;
mod values;
mod workloads;

use std::io::Write;
use std::path::{Path, PathBuf};

use self::draw::{Drawn, Repository, taken};
use self::found::{Chart, Found, Place};
use self::study::{RELEASE, Subject};
use crate::config::{Base, STACK_FILE};
use crate::ui::Failure;
use envctl_model::name::label;
use envctl_model::stack::StackFile;
use envctl_programs::helm::Template;
use envctl_programs::process::Supervisor;
use serde_json::Value;

/// Where the backing services go whose own file has more than them.
const BACKING_FILE: &str = "envctl.backing.yaml";

/// What was written.
#[derive(Debug)]
pub(crate) struct Written {
    /// The files. The stack file is the first.
    pub(crate) files: Vec<PathBuf>,
    /// What was found, each with what it is.
    pub(crate) found: Vec<(&'static str, String)>,
    /// What somebody has to fill in or look at.
    pub(crate) todos: Vec<String>,
}

/// Writes a stack file for the repository in the current directory.
///
/// # Errors
/// When there is one already, there is no chart or more than one, or Helm cannot render anything.
pub(crate) async fn write(base: &Base, chart: Option<&Path>) -> Result<Written, Failure> {
    let dir = &base.variables.current_dir;
    let path = dir.join(base.flags.stack.as_deref().unwrap_or(Path::new(STACK_FILE)));
    let dir = path.parent().unwrap_or(dir).to_owned();
    for file in [path.clone(), dir.join(BACKING_FILE)] {
        if file.exists() {
            return Err(Failure::Usage(format!(
                "{} is there already, and nothing was written\n  go on with it: envctl up",
                file.display()
            )));
        }
    }
    let found = found::look(&dir);
    let chart = choose(&found, &dir, chart)?;
    let files = found.values_of(chart);
    let at = |place: &Place| files.iter().filter(|file| file.place == *place).collect::<Vec<_>>();
    let (everywhere, here) = (at(&Place::Everywhere), at(&Place::Here));
    let layers: Vec<_> = everywhere.iter().chain(&here).map(|file| dir.join(&file.path)).collect();
    let chart_dir = dir.join(&chart.path);
    let mut template = Template::new(&base.programs.helm.value, &chart_dir, RELEASE, RELEASE);
    template.values = layers.clone();
    let mut values = study::layered(&chart_dir, &layers)?;
    let fullname = fullname(&values, &chart.name);
    if let Some(name) = &fullname {
        template.set.push(format!("{FULLNAME}={name}"));
        values[FULLNAME] = name.as_str().into();
    }
    let subject = Subject { name: chart.name.clone(), template, values };
    let root = found.roots.iter().find(|root| root.place == Place::Here);
    let outputs = root.map(|root| taken(&subject.values, root)).unwrap_or_default();
    let given: Vec<_> = outputs.iter().map(|(leaf, _)| leaf.clone()).collect();
    let study = study::study(&subject, &given, &Supervisor::default()).await?;
    let repository = Repository { dir: &dir, found: &found, chart, files: &files, fullname };
    store(&path, &dir, repository.draw(&subject.values, &study))
}

/// The value by which charts that `helm create` began are told what their objects are called.
const FULLNAME: &str = "fullnameOverride";

/// What the chart's objects are to be called in every environment. Each has a namespace of its own; a chart that is told
/// nothing calls them after the release in one, and in another after both, so that no word means the same everywhere.
fn fullname(values: &Value, chart: &str) -> Option<String> {
    (values[FULLNAME] == "" && label(chart, 40) == chart).then(|| chart.to_owned())
}

/// The chart that is meant.
fn choose<'f>(found: &'f Found, dir: &Path, chosen: Option<&Path>) -> Result<&'f Chart, Failure> {
    if let Some(chosen) = chosen {
        let relative = chosen.strip_prefix(dir).unwrap_or(chosen);
        let wanted = found::joined(Path::new(""), &relative.display().to_string());
        return found.charts.iter().find(|chart| chart.path == wanted).ok_or_else(|| {
            Failure::Usage(format!("{} is not the directory of a chart{}", chosen.display(), listed(found)))
        });
    }
    match found.charts.as_slice() {
        [chart] => Ok(chart),
        [] => Err(Failure::Usage(format!(
            "there is no Helm chart below {}: no Chart.yaml that can be installed\n  \
             write {STACK_FILE} by hand for other manifests: `manifests: {{files: [..]}}` or `{{command: [..]}}`",
            dir.display()
        ))),
        _ => Err(Failure::Usage(format!("there is more than one chart: say which{}", listed(found)))),
    }
}

fn listed(found: &Found) -> String {
    found.charts.iter().map(|chart| format!("\n  envctl init --chart {}", shown(&chart.path))).collect()
}

fn shown(path: &Path) -> String {
    if path.as_os_str().is_empty() { ".".to_owned() } else { path.display().to_string() }
}

/// Writes what was drawn up. Nothing that is there is written over.
fn store(path: &Path, dir: &Path, drawn: Drawn) -> Result<Written, Failure> {
    let text = drawn.content.text()?;
    StackFile::parse(&shown(path), &text)?;
    let backing = drawn.backing.map(|text| (dir.join(BACKING_FILE), text));
    let files: Vec<_> = std::iter::once((path.to_owned(), text)).chain(backing).collect();
    for (path, text) in &files {
        let failed = |e| Failure::Failed(format!("cannot write {}: {e}", path.display()));
        let mut file = std::fs::File::create_new(path).map_err(failed)?;
        file.write_all(text.as_bytes()).map_err(failed)?;
    }
    let files = files.into_iter().map(|(path, _)| path).collect();
    Ok(Written { files, found: drawn.found, todos: drawn.content.todos })
}
