//! What a chart says when it is rendered: which values are its images and its hosts, is found by
//! setting them and looking at what changes, not by what they are called.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use envctl_model::stack::ComponentKind;
use envctl_programs::helm::{HelmError, Template};
use envctl_programs::process::{ProgramError, Supervisor};
use envctl_translate::Object;
use serde_json::Value;

use super::missing;
use super::values::{Leaf, Overrides, leaf_at, leaves};
use super::workloads::{self, Image, Prefixes};
use crate::flows::chart::{helm_failed, parse};
use crate::ui::Failure;

/// The release that is rendered. No chart has this name, so what is called by the release is told
/// from what is called by the chart.
pub(super) const RELEASE: &str = "zz";
/// What no chart says by itself. As a host, a repository and a tag it is well formed.
const MARK: &str = "mark.invalid";
/// How many values are tried out, one after the other, where nothing tells which one it is.
const TRIES: usize = 30;
/// How many values may be missing before it is given up.
const MISSING: usize = 30;

/// A chart with its values.
#[derive(Debug)]
pub(super) struct Subject {
    /// What the chart is called.
    pub(super) name: String,
    /// The chart.
    pub(super) template: Template,
    /// All its values: defaults, and files on top.
    pub(super) values: Value,
}

/// What a chart says.
#[derive(Debug, Default)]
pub(super) struct Study {
    /// Its workloads.
    pub(super) components: BTreeMap<String, ComponentKind>,
    /// Its images that values decide on, by repository.
    pub(super) images: BTreeMap<String, ImageValues>,
    /// Its hosts.
    pub(super) hosts: Vec<Host>,
    /// What switches an Ingress on, where there is none without it.
    pub(super) switch: Option<Leaf>,
    /// Its Services, without the release in front.
    pub(super) services: BTreeSet<String>,
    /// The Secrets that its pods read and nobody makes, with the keys that they read.
    pub(super) secrets: BTreeMap<String, BTreeSet<String>>,
    /// Values that it requires and nobody sets.
    pub(super) missing: Vec<String>,
    /// Whether it has objects that belong to the whole cluster.
    pub(super) is_cluster_wide: bool,
    /// Why it could not be rendered, in Helm's words.
    pub(super) failed: Option<String>,
}

/// The values that one image comes from.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct ImageValues {
    /// Whole references.
    pub(super) references: Vec<Leaf>,
    /// Repositories, where they are the whole repository.
    pub(super) repositories: Vec<Leaf>,
    /// Tags.
    pub(super) tags: Vec<Leaf>,
    /// Repositories that have no tag beside them.
    pub(super) without_tag: Vec<Leaf>,
    /// Who uses it, with how many containers that are not init containers.
    pub(super) uses: BTreeMap<String, usize>,
}

/// A host of an Ingress, and what it comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Host {
    /// As rendered; empty where the chart leaves it out.
    pub(super) host: String,
    /// What it leads to, without the release in front.
    pub(super) service: String,
    /// The values that hold it.
    pub(super) from: HostValues,
}

/// Which values hold a host.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum HostValues {
    /// The host itself.
    Whole(Vec<Leaf>),
    /// The domain behind its first label.
    Domain(Vec<Leaf>),
    /// None.
    Nowhere,
}

impl Subject {
    fn prefixes(&self) -> Prefixes<'_> {
        Prefixes { release: RELEASE, chart: &self.name }
    }

    async fn render(&self, set: &Overrides, by: &Supervisor) -> Result<Vec<Object>, Failure> {
        self.try_to_render(set, by).await?.map_err(|message| Failure::Failed(message.to_owned()))
    }

    /// The objects; or what Helm says, where it refuses chart or values.
    async fn try_to_render(
        &self,
        set: &Overrides,
        by: &Supervisor,
    ) -> Result<Result<Vec<Object>, String>, Failure> {
        let mut template = self.template.clone();
        template.generated = set.nested();
        match template.render(&[], by).await {
            Ok(rendered) => {
                Ok(parse(&rendered.manifests, "helm template").map_err(|e| e.message().unwrap_or_default()))
            }
            Err(HelmError::Program(ProgramError::Failed(failure))) => Ok(Err(failure.message)),
            Err(error) => Err(helm_failed(error)),
        }
    }

    /// What the chart gives with a value changed; nothing if it cannot be rendered so.
    async fn tried(
        &self,
        set: &Overrides,
        leaf: &Leaf,
        value: impl Into<Value>,
        by: &Supervisor,
    ) -> Result<Vec<Object>, Failure> {
        let mut change = set.clone();
        change.set(&self.values, leaf, value);
        Ok(self.try_to_render(&change, by).await?.unwrap_or_default())
    }
}

/// Studies a chart. `given` are values that somebody gives.
///
/// # Errors
/// When Helm cannot be started, or the chart's dependencies are not there.
pub(super) async fn study(subject: &Subject, given: &[Leaf], by: &Supervisor) -> Result<Study, Failure> {
    let mut study = Study::default();
    let mut set = Overrides::default();
    for leaf in given {
        set.set(&subject.values, leaf, MARK);
    }
    let mut objects = match fill_in(subject, &mut set, &mut study, by).await? {
        Some(objects) => objects,
        None => return Ok(study),
    };
    if !workloads::has_ingress(&objects)
        && let Some(switch) = switch(subject, &set, by).await?
    {
        set.set(&subject.values, &switch, true);
        objects = subject.render(&set, by).await?;
        study.switch = Some(switch);
    }
    study.is_cluster_wide = workloads::are_cluster_wide(&objects);
    study.components = workloads::components(&objects, subject.prefixes());
    study.services = workloads::services(&objects, subject.prefixes());
    study.secrets = workloads::missing_secrets(&objects);
    study.images = images(subject, &set, &workloads::images(&objects, subject.prefixes()), by).await?;
    study.hosts = hosts(subject, &set, &objects, by).await?;
    Ok(study)
}

/// Renders the chart with something in place of each value that it requires.
async fn fill_in(
    subject: &Subject,
    set: &mut Overrides,
    study: &mut Study,
    by: &Supervisor,
) -> Result<Option<Vec<Object>>, Failure> {
    loop {
        let message = match subject.try_to_render(set, by).await? {
            Ok(objects) => return Ok(Some(objects)),
            Err(message) => message,
        };
        let mut wanted = missing::values(&message, &subject.template.chart, &subject.values);
        wanted.retain(|path| !study.missing.contains(path));
        if wanted.is_empty() || study.missing.len() > MISSING {
            study.failed = Some(message);
            return Ok(None);
        }
        for path in wanted {
            set.set(&subject.values, &leaf_at(&subject.values, &path), MARK);
            study.missing.push(path);
        }
    }
}

/// The value that switches an Ingress on.
async fn switch(subject: &Subject, set: &Overrides, by: &Supervisor) -> Result<Option<Leaf>, Failure> {
    let mut off: Vec<_> =
        leaves(&subject.values).into_iter().filter(|leaf| leaf.value == Value::Bool(false)).collect();
    // The likely ones first; which one it is, only the render tells.
    off.sort_by_key(|leaf| (!leaf.to_string().to_lowercase().contains("ingress"), leaf.depth()));
    for leaf in off.into_iter().take(TRIES) {
        if workloads::has_ingress(&subject.tried(set, &leaf, true, by).await?) {
            return Ok(Some(leaf));
        }
    }
    Ok(None)
}

/// Which values decide on images.
async fn images(
    subject: &Subject,
    set: &Overrides,
    before: &[Image],
    by: &Supervisor,
) -> Result<BTreeMap<String, ImageValues>, Failure> {
    let all = leaves(&subject.values);
    let mut found: BTreeMap<String, ImageValues> = BTreeMap::new();
    for leaf in &all {
        let text = leaf.text().unwrap_or_default();
        if text.is_empty() || !before.iter().any(|image| image.may_come_from(text)) {
            continue;
        }
        let after = workloads::images(&subject.tried(set, leaf, MARK, by).await?, subject.prefixes());
        let changed: Vec<_> =
            before.iter().zip(&after).filter(|(_, after)| after.reference.contains(MARK)).collect();
        let Some((was, is)) = changed.first().filter(|_| before.len() == after.len()) else { continue };
        let image = found.entry(was.repository().to_owned()).or_default();
        for (was, _) in &changed {
            *image.uses.entry(was.component.clone()).or_default() += usize::from(!was.is_init);
        }
        if is.reference == MARK {
            image.references.push(leaf.clone());
            continue;
        }
        if is.repository() == MARK {
            image.repositories.push(leaf.clone());
        }
        match tag(subject, set, &all, leaf, by).await? {
            Some(tag) if image.tags.contains(&tag) => {}
            Some(tag) => image.tags.push(tag),
            None => image.without_tag.push(leaf.clone()),
        }
    }
    Ok(found)
}

/// The value beside a repository that is its tag.
async fn tag(
    subject: &Subject,
    set: &Overrides,
    all: &[Leaf],
    repository: &Leaf,
    by: &Supervisor,
) -> Result<Option<Leaf>, Failure> {
    let mut beside: Vec<_> =
        all.iter().filter(|leaf| leaf.is_beside(repository) && leaf.text().is_some()).collect();
    beside.sort_by_key(|leaf| !leaf.key().contains("tag"));
    for beside in beside {
        let images = workloads::images(&subject.tried(set, beside, MARK, by).await?, subject.prefixes());
        if images.iter().any(|image| image.reference.ends_with(&format!(":{MARK}"))) {
            return Ok(Some(beside.clone()));
        }
    }
    Ok(None)
}

/// Which values decide on hosts.
async fn hosts(
    subject: &Subject,
    set: &Overrides,
    objects: &[Object],
    by: &Supervisor,
) -> Result<Vec<Host>, Failure> {
    let all = leaves(&subject.values);
    let mut found = Vec::new();
    for (host, service) in workloads::hosts(objects, subject.prefixes()) {
        let from = if host.is_empty() {
            empty_host(subject, set, &all, by).await?
        } else {
            let holding =
                |text: &str| all.iter().filter(|leaf| leaf.text() == Some(text)).cloned().collect::<Vec<_>>();
            let domain = host.split_once('.').map_or("", |(_, domain)| domain);
            let whole = holding(&host);
            let behind = if domain.is_empty() { Vec::new() } else { holding(domain) };
            if !whole.is_empty() && decide(subject, set, &whole, by).await? {
                HostValues::Whole(whole)
            } else if !behind.is_empty() && decide(subject, set, &behind, by).await? {
                HostValues::Domain(behind)
            } else {
                HostValues::Nowhere
            }
        };
        found.push(Host { host, service, from });
    }
    Ok(found)
}

/// Whether a host changes with these values.
async fn decide(subject: &Subject, set: &Overrides, from: &[Leaf], by: &Supervisor) -> Result<bool, Failure> {
    let mut change = set.clone();
    for leaf in from {
        change.set(&subject.values, leaf, MARK);
    }
    let objects = subject.try_to_render(&change, by).await?.unwrap_or_default();
    Ok(workloads::hosts(&objects, subject.prefixes()).iter().any(|(host, _)| host.ends_with(MARK)))
}

/// The value that gives a host to an Ingress that has none.
async fn empty_host(
    subject: &Subject,
    set: &Overrides,
    all: &[Leaf],
    by: &Supervisor,
) -> Result<HostValues, Failure> {
    for leaf in all.iter().filter(|leaf| leaf.text() == Some("")).take(TRIES) {
        if decide(subject, set, std::slice::from_ref(leaf), by).await? {
            return Ok(HostValues::Whole(vec![leaf.clone()]));
        }
    }
    Ok(HostValues::Nowhere)
}

/// The chart's own values with files on top.
pub(super) fn layered(chart: &Path, files: &[PathBuf]) -> Result<Value, Failure> {
    let mut values = Value::Object(serde_json::Map::new());
    let defaults = chart.join("values.yaml");
    for file in std::iter::once(&defaults).filter(|file| file.exists()).chain(files) {
        let unreadable =
            |e: &dyn std::fmt::Display| Failure::Usage(format!("cannot read {}: {e}", file.display()));
        let text = std::fs::read_to_string(file).map_err(|e| unreadable(&e))?;
        let layer: Value = serde_yaml::from_str(&text).map_err(|e| unreadable(&e))?;
        if !layer.is_null() {
            super::values::merge(&mut values, layer);
        }
    }
    Ok(values)
}
