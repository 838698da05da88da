//! Whether what the chart renders fits the cluster: kinds, rights, quota, room, classes, images. All that
//! is wrong is said at once.

use std::collections::BTreeMap;
use std::time::Duration;

use envctl_cluster::ClusterReader;
use envctl_cluster::guardrails::{self, Guards};
use envctl_cluster::objects::{Kinds, Known};
use envctl_cluster::preflight::needs::{self, Defaults};
use envctl_cluster::preflight::{classes, rights, room};
use envctl_cluster::registry::{Lookup, Registries};
use envctl_model::quantity::Quantity;
use envctl_model::record::ClusterObject;
use serde_json::Value;

use crate::flows::cluster::target::explain;
use crate::ui::Failure;

/// Registries that do not answer in this time are left to the nodes.
const PATIENCE: Duration = Duration::from_secs(4);

/// What was found out.
#[derive(Debug, Default)]
pub(super) struct Fit {
    /// What is worth saying, and stops nothing.
    pub(super) warnings: Vec<String>,
    /// Objects that belong to the whole cluster.
    pub(super) cluster_wide: Vec<ClusterObject>,
}

/// What is compared with the cluster.
#[derive(Debug)]
pub(super) struct Wanted<'a> {
    /// The namespace.
    pub(super) namespace: &'a str,
    /// Whether it is there, and ours.
    pub(super) namespace_is_there: bool,
    /// What the chart renders, as far as it is known.
    pub(super) objects: &'a [Value],
    /// The guardrails to be.
    pub(super) guards: &'a Guards,
    /// How many nodes there are, by platform.
    pub(super) platforms: &'a BTreeMap<String, usize>,
    /// Images that are still to be pushed.
    pub(super) to_come: &'a [String],
}

/// Compares.
pub(super) async fn compare(
    reader: &ClusterReader,
    kinds: &Kinds,
    registries: &Registries,
    wanted: &Wanted<'_>,
) -> Result<Fit, Failure> {
    let (rights, left, classes, images) = tokio::join!(
        rights::missing(reader, kinds, wanted.namespace, wanted.namespace_is_there, wanted.objects),
        room::left(reader, wanted.namespace),
        classes::compare(reader, wanted.objects),
        images(registries, wanted),
    );
    let (rights, left, classes) =
        (rights.map_err(|e| explain(&e))?, left.map_err(|e| explain(&e))?, classes.map_err(|e| explain(&e))?);
    if !rights.is_empty() {
        return Err(Failure::Refused(format!(
            "you may not do all that this needs in the cluster; missing:\n  {}\n\
             `envctl whoami` shows who you are; the platform engineer gives rights (`envctl init --platform`)",
            rights.join("\n  ")
        )));
    }
    let mut problems = classes.missing;
    let mut fit = Fit { warnings: classes.doubtful, ..Fit::default() };
    for object in wanted.objects {
        let name = object["metadata"]["name"].as_str().unwrap_or_default();
        let (api_version, kind) =
            (object["apiVersion"].as_str().unwrap_or_default(), object["kind"].as_str().unwrap_or_default());
        match kinds.known(object) {
            Known::Namespaced => {
                let place = object["metadata"]["namespace"].as_str().unwrap_or(wanted.namespace);
                if place != wanted.namespace {
                    problems.push(format!(
                        "{kind}/{name} is for the namespace `{place}`: an environment keeps to its own; take the \
                         `namespace` out of the template, or make it {{{{ .Release.Namespace }}}}"
                    ));
                }
            }
            Known::Unknown if kind == "CustomResourceDefinition" => {}
            Known::Unknown => problems.push(format!(
                "{kind}/{name}: the cluster knows no kind {kind} in {api_version}; \
                 have its definition installed, or switch it off in the values"
            )),
            Known::ClusterWide { .. } => {
                fit.warnings.push(format!(
                    "{kind}/{name} belongs to the whole cluster: environments of one chart share its name"
                ));
                fit.cluster_wide.push(ClusterObject {
                    api_version: api_version.to_owned(),
                    kind: kind.to_owned(),
                    name: name.to_owned(),
                    hook: object["metadata"]["annotations"]["helm.sh/hook"].is_string(),
                });
            }
        }
    }
    let [cpu, memory] = guardrails::default_requests().map(|q| Quantity::parse(q).unwrap_or_default());
    let workloads = needs::workloads(wanted.objects, Defaults { cpu, memory });
    problems.extend(needs::beyond_quota(&workloads, &hard(wanted.guards)));
    if let Some(left) = left {
        let lacking = room::lacking(&workloads, &left);
        fit.warnings.extend(lacking.into_iter().map(|l| format!("{l}; it waits until the cluster grows")));
    }
    for (image, lookup) in images {
        match lookup {
            Lookup::Invalid(why) => problems.push(format!("image `{image}`: {why}")),
            Lookup::Found { platforms, .. } if !platforms.is_empty() && !wanted.platforms.is_empty() => {
                if !platforms.iter().any(|platform| wanted.platforms.contains_key(platform)) {
                    let nodes: Vec<_> = wanted.platforms.keys().map(String::as_str).collect();
                    problems.push(format!(
                        "image {image} is made for {}, and the nodes are {}",
                        platforms.join(", "),
                        nodes.join(", ")
                    ));
                }
            }
            Lookup::Missing => fit.warnings.push(format!(
                "its registry has no image {image}: unless the nodes have it, its pods will not start"
            )),
            Lookup::Found { .. } | Lookup::Unknown(_) => {}
        }
    }
    if problems.is_empty() {
        return Ok(fit);
    }
    Err(Failure::Failed(format!(
        "what the chart renders does not fit this cluster; nothing was changed\n  {}",
        problems.join("\n  ")
    )))
}

fn hard(guards: &Guards) -> BTreeMap<String, Quantity> {
    let hard = guards.quota.spec.as_ref().and_then(|spec| spec.hard.clone()).unwrap_or_default();
    hard.into_iter().filter_map(|(key, value)| Some((key, Quantity::parse(&value.0)?))).collect()
}

async fn images(registries: &Registries, wanted: &Wanted<'_>) -> Vec<(String, Lookup)> {
    let to_look_up =
        needs::images(wanted.objects).into_iter().filter(|image| !wanted.to_come.contains(image));
    let lookups = to_look_up.map(|image| async move {
        let lookup = tokio::time::timeout(PATIENCE, registries.look_up(&image)).await;
        (image, lookup.unwrap_or_else(|_| Lookup::Unknown("it does not answer".to_owned())))
    });
    futures_util::future::join_all(lookups).await
}
