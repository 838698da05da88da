//! Live source: which components run the working tree instead of an image (`up --dev`).

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;

use envctl_model::stack::{Component, Dev, Target};
use envctl_translate::{LiveSource, Object};

use super::component;
use crate::config::Project;
use crate::ui::Failure;

/// The components that run the working tree. By default none do.
#[derive(Debug, Default)]
pub(crate) struct Live {
    components: BTreeMap<String, Component>,
    sources: BTreeMap<String, Source>,
}

/// What one component gets.
#[derive(Debug, Clone)]
struct Source {
    mounts: Vec<(PathBuf, String)>,
    command: Option<Vec<String>>,
}

impl Live {
    /// What the target's `dev` says.
    ///
    /// # Errors
    /// When the target has none, or a path is not there.
    pub(crate) fn of(project: &Project, name: &str, target: &Target) -> Result<Self, Failure> {
        let Some(dev) = &target.dev else {
            return Err(Failure::Usage(format!(
                "--dev mounts what the target's `dev` says, and target `{name}` has none\n  \
                 such as `dev: {{web: {{mounts: [\"./app:/srv/app\"], command: [bin/dev]}}}}`"
            )));
        };
        let sources = dev.value.iter().map(|(component, dev)| Ok((component.clone(), source(project, dev)?)));
        Ok(Self {
            components: project.file.stack.components.clone(),
            sources: sources.collect::<Result<_, Failure>>()?,
        })
    }

    /// What the workloads among these objects get.
    pub(crate) fn sources(&self, objects: &[Object]) -> Vec<LiveSource> {
        let found = self.workloads(objects).filter_map(|(component, object)| {
            let Source { mounts, command } = self.sources.get(component)?.clone();
            Some(LiveSource { workload: (object.kind.clone(), object.name.clone()), mounts, command })
        });
        found.collect()
    }

    /// The components among these objects that get something.
    pub(crate) fn components(&self, objects: &[Object]) -> Vec<String> {
        let found: BTreeSet<_> = self.workloads(objects).map(|(component, _)| component.to_owned()).collect();
        found.into_iter().collect()
    }

    /// The components that would get something and have no workload among these objects.
    pub(crate) fn without_workload(&self, objects: &[Object]) -> Vec<String> {
        let found = self.components(objects);
        self.sources.keys().filter(|component| !found.contains(component)).cloned().collect()
    }

    fn workloads<'a>(&'a self, objects: &'a [Object]) -> impl Iterator<Item = (&'a str, &'a Object)> {
        let workloads =
            objects.iter().filter(|object| component::is_workload(object) && !component::is_hook(object));
        let components =
            workloads.filter_map(|object| Some((component::of(&self.components, object)?, object)));
        components.filter(|(component, _)| self.sources.contains_key(*component))
    }
}

fn source(project: &Project, dev: &Dev) -> Result<Source, Failure> {
    let mounts = dev.mounts.iter().map(|mount| {
        let (host, target) = (&mount.value.host, &mount.value.container);
        let path = project.dir.join(host);
        // Docker takes no `..`, and what a link means is known here alone.
        let path = path.canonicalize().map_err(|error| {
            let message = format!("{} cannot be mounted: {error}", host.display());
            let help = format!("paths are relative to {}", project.dir.display());
            Failure::Input(project.file.error_at(mount, message, Some(help)))
        })?;
        Ok((path, target.clone()))
    });
    Ok(Source { mounts: mounts.collect::<Result<_, Failure>>()?, command: dev.command.clone() })
}

#[cfg(test)]
mod tests {
    use envctl_model::stack::StackFile;

    use super::*;
    use crate::flows::chart::parse;

    fn project(dir: &std::path::Path, dev: &str) -> Project {
        let text = format!(
            "apiVersion: envctl/v1\nkind: Stack\nproject: shop\nchart: {{path: chart}}\n\
             components: {{web: {{kind: service}}, mail: {{kind: worker}}}}\ntargets: {{local: {{kind: compose{dev}}}}}\n"
        );
        let file = StackFile::parse("envctl.yaml", &text).unwrap();
        Project { path: dir.join("envctl.yaml"), dir: dir.to_owned(), file }
    }

    fn live(project: &Project) -> Result<Live, Failure> {
        Live::of(project, "local", &project.file.stack.targets["local"])
    }

    #[test]
    fn workloads_of_a_component_get_its_paths_and_command() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::create_dir(dir.path().join("app")).unwrap();
        let dev = ", dev: {web: {mounts: ['./app:/srv/app'], command: [bin/dev]}, mail: {command: [x]}}";
        let live = live(&project(dir.path(), dev)).unwrap();
        let web = "apiVersion: apps/v1\nkind: Deployment\nmetadata: {name: shop-web}\nspec: {}\n";
        let objects = parse(web, "test").unwrap();
        let app = dir.path().canonicalize().unwrap().join("app");
        assert_eq!(
            live.sources(&objects),
            [LiveSource {
                workload: ("Deployment".into(), "shop-web".into()),
                mounts: vec![(app, "/srv/app".into())],
                command: Some(vec!["bin/dev".into()]),
            }]
        );
        assert_eq!(live.components(&objects), ["web"]);
        assert_eq!(live.without_workload(&objects), ["mail"]);
    }

    #[test]
    fn what_is_not_there_is_pointed_at() {
        let dir = tempfile::tempdir().unwrap();
        let error = live(&project(dir.path(), ", dev: {web: {mounts: ['./app:/srv/app']}}")).unwrap_err();
        let text = error.message().unwrap();
        assert!(text.contains("./app cannot be mounted: No such file"), "{text}");
        assert!(text.contains("^^^^^^^^") && text.contains("paths are relative to"), "{text}");
        let error = live(&project(dir.path(), "")).unwrap_err().message().unwrap();
        assert!(error.contains("target `local` has none\n  such as `dev: {web: {mounts:"), "{error}");
    }
}
