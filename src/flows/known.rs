//! The facts of an environment, and the inputs that are made from them.

use std::collections::BTreeMap;

use envctl_model::facts::{Facts, TemplateError};
use envctl_model::host::Hosts;
use envctl_model::stack::{Target, render_value, set_path};
use envctl_programs::git::WorkTree;
use envctl_programs::terraform::Output;
use serde_json::{Map, Value};
use serde_yaml::Spanned;

use crate::config::{Project, Settings};
use crate::ui::Failure;

/// An image as facts name it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct ImageFact {
    /// `repository`.
    pub(crate) repository: String,
    /// `tag`, content-addressed.
    pub(crate) tag: String,
    /// Its digest in the registry, or, for one that was never in a registry, its id, once it is built.
    pub(crate) digest: Option<String>,
    /// It is in a registry, so that its digest names it.
    pub(crate) pushed: bool,
}

impl ImageFact {
    /// `repository:tag`.
    pub(crate) fn reference(&self) -> String {
        format!("{}:{}", self.repository, self.tag)
    }

    /// `tag@digest` for an image in a registry. One that was never in any has no digest that a reference
    /// could name; its tag is its content's address instead.
    fn tag_and_digest(&self) -> String {
        match &self.digest {
            Some(digest) if self.pushed => format!("{}@{digest}", self.tag),
            _ => self.tag.clone(),
        }
    }

    /// `repository:tag`, with the digest where one names the image.
    pub(crate) fn pinned_reference(&self) -> String {
        format!("{}:{}", self.repository, self.tag_and_digest())
    }

    /// Splits a reference at its tag and its digest.
    pub(crate) fn parse(reference: &str) -> Self {
        let (name, digest) = match reference.split_once('@') {
            Some((name, digest)) => (name, Some(digest.to_owned())),
            None => (reference, None),
        };
        let (repository, tag) = match name.rsplit_once(':') {
            Some((repository, tag)) if !tag.contains('/') => (repository, tag),
            _ => (name, "latest"),
        };
        let pushed = digest.is_some();
        Self { repository: repository.to_owned(), tag: tag.to_owned(), digest, pushed }
    }
}

/// What facts are made from.
#[derive(Debug)]
pub(crate) struct Sources<'a> {
    /// The settings.
    pub(crate) settings: &'a Settings,
    /// Who owns the environment.
    pub(crate) owner: &'a str,
    /// When it expires, in words of RFC 3339.
    pub(crate) expires: Option<String>,
    /// The git working tree, if the stack lies in one.
    pub(crate) git: Option<&'a WorkTree>,
    /// Images by name.
    pub(crate) images: &'a BTreeMap<String, ImageFact>,
    /// The domain below which the environment's host names are.
    pub(crate) domain: Option<&'a str>,
    /// The port behind which host names answer, where it is not HTTP's own.
    pub(crate) router_port: Option<u16>,
    /// The Compose project of the backing services.
    pub(crate) backing: Option<&'a str>,
}

/// All facts except Terraform's outputs.
pub(crate) fn facts(sources: &Sources<'_>) -> Facts {
    let mut facts = Facts::new();
    let name = sources.settings.name.value.as_str();
    facts.set("env.name", name);
    facts.set("env.namespace", name);
    facts.set("env.owner", sources.owner);
    facts.set("env.expires", sources.expires.clone().unwrap_or_else(|| "never".to_owned()));
    facts.set("env.target", sources.settings.target.value.as_str());
    if let Some(domain) = sources.domain {
        facts.set_hosts(Hosts::new(name, domain));
    }
    if let Some(port) = sources.router_port {
        facts.set("router.port", port);
    }
    if let Some(project) = sources.backing {
        facts.set("backing.project", project);
    }
    for (image, fact) in sources.images {
        set_image(&mut facts, image, fact);
    }
    set_git(&mut facts, sources.git);
    facts
}

/// Sets the facts of one image.
pub(crate) fn set_image(facts: &mut Facts, image: &str, fact: &ImageFact) {
    facts.set(format!("image.{image}.repository"), fact.repository.as_str());
    facts.set(format!("image.{image}.tag"), fact.tag.as_str());
    facts.set(format!("image.{image}.tagAndDigest"), fact.tag_and_digest());
    facts.set(format!("image.{image}.reference"), fact.pinned_reference());
    facts.set(format!("image.{image}.digest"), fact.digest.clone().unwrap_or_default());
}

fn set_git(facts: &mut Facts, git: Option<&WorkTree>) {
    let Some(tree) = git else { return };
    if let Some(commit) = &tree.commit {
        facts.set("git.sha", commit.sha.as_str());
    }
    facts.set("git.branch", tree.branch.clone().unwrap_or_default());
}

/// The facts about the git working tree alone.
pub(crate) fn git_facts(git: Option<&WorkTree>) -> Facts {
    let mut facts = Facts::new();
    set_git(&mut facts, git);
    facts
}

/// Adds Terraform's outputs.
pub(crate) fn with_outputs(mut facts: Facts, outputs: &[Output]) -> Facts {
    for output in outputs {
        let name = format!("terraform.{}", output.name);
        if output.sensitive {
            facts.set_sensitive(name, output.value.clone());
        } else {
            facts.set(name, output.value.clone());
        }
    }
    facts
}

/// Adds placeholders for outputs that are declared and not known yet, so that all that can be
/// checked is checked before anything is written.
pub(crate) fn with_placeholders(mut facts: Facts, declared: &[String]) -> Facts {
    for name in declared {
        facts.set(format!("terraform.{name}"), format!("placeholder-{name}"));
    }
    facts
}

/// `inputs.values`, rendered and nested. With `pinned` images, inputs that name an image which is not
/// built are left to the chart's own values.
pub(crate) fn chart_values(
    project: &Project,
    target: &Target,
    facts: &Facts,
    pinned: bool,
) -> Result<Map<String, Value>, Failure> {
    let mut values = Map::new();
    for (path, template) in project.file.stack.values(target) {
        if pinned && names_unknown_image(facts, &template.value) {
            continue;
        }
        let value = render(project, facts, template)?;
        set_path(&mut values, path, value)
            .map_err(|message| Failure::Input(project.file.error_at(template, message, None)))?;
    }
    Ok(values)
}

/// `inputs.terraform.vars`, rendered.
pub(crate) fn terraform_variables(
    project: &Project,
    target: &Target,
    facts: &Facts,
) -> Result<Map<String, Value>, Failure> {
    let vars = project.file.stack.terraform_vars(target).into_iter();
    vars.map(|(name, template)| Ok((name.to_owned(), render(project, facts, template)?))).collect()
}

/// The name of the environment's Terraform workspace; `None` where the target has no root.
pub(crate) fn workspace(project: &Project, settings: &Settings) -> Result<Option<String>, Failure> {
    let target = &settings.target.value;
    let Some(terraform) = &project.file.stack.targets[target].terraform else { return Ok(None) };
    terraform.workspace(settings.name.value.as_str(), target).map(Some).map_err(Failure::failed)
}

fn names_unknown_image(facts: &Facts, template: &Value) -> bool {
    matches!(
        render_value(facts, template),
        Err(TemplateError::Unknown { name, .. }) if name == "image" || name.starts_with("image.")
    )
}

fn render(project: &Project, facts: &Facts, template: &Spanned<Value>) -> Result<Value, Failure> {
    render_value(facts, &template.value).map(|(value, _)| value).map_err(|error| {
        let text = error.to_string();
        let (message, help) =
            text.split_once('\n').map_or((text.as_str(), None), |(m, h)| (m, Some(h.to_owned())));
        Failure::Input(project.file.error_at(template, message, help))
    })
}
