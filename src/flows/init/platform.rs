//! `init --platform`: what a platform engineer applies to a shared cluster, once.

use std::path::{Path, PathBuf};

use envctl_cluster::Expected;
use minijinja::{Environment, UndefinedBehavior, context};

use crate::ui::Failure;

/// The templates, in the order in which they are applied.
const TEMPLATES: [(&str, &str); 6] = [
    ("00-namespace.yaml", include_str!("../../../templates/platform/00-namespace.yaml")),
    ("10-rbac.yaml", include_str!("../../../templates/platform/10-rbac.yaml")),
    ("20-policies.yaml", include_str!("../../../templates/platform/20-policies.yaml")),
    ("30-gc.yaml", include_str!("../../../templates/platform/30-gc.yaml")),
    ("iam-developer.json", include_str!("../../../templates/platform/iam-developer.json")),
    ("README.md", include_str!("../../../templates/platform/README.md")),
];

/// What is filled in.
#[derive(Debug, Clone)]
pub(crate) struct Platform {
    /// Where the files go.
    pub(crate) out: PathBuf,
    /// The group of developers, as the cluster knows it.
    pub(crate) developers: String,
    /// The group of the garbage collector.
    pub(crate) gc: String,
    /// The image of the garbage collector; none: no CronJob is written.
    pub(crate) gc_image: Option<String>,
    /// The AWS role of the garbage collector.
    pub(crate) gc_role: Option<String>,
    /// The largest quota of an environment.
    pub(crate) max_cpu: String,
    /// Likewise.
    pub(crate) max_memory: String,
    /// Likewise.
    pub(crate) max_pods: u32,
    /// The longest life of an environment, such as `168h`.
    pub(crate) max_ttl: String,
    /// Networks that may connect to environments.
    pub(crate) allow_ingress_from: Vec<String>,
    /// Where Terraform's states are.
    pub(crate) states: States,
    /// The repositories that developers push to, with `*`.
    pub(crate) repositories: String,
    /// The cluster.
    pub(crate) cluster: Expected,
}

/// Where Terraform's states are in S3.
#[derive(Debug, Clone)]
pub(crate) struct States {
    /// The bucket.
    pub(crate) bucket: String,
    /// The key of the default workspace's state.
    pub(crate) key: String,
    /// What the keys of all other workspaces begin with.
    pub(crate) prefix: String,
}

/// Writes the files. One that is there already and differs is not overwritten.
pub(crate) fn write(platform: &Platform) -> Result<Vec<PathBuf>, Failure> {
    let files: Vec<(PathBuf, String)> = TEMPLATES
        .iter()
        .map(|(name, template)| Ok((platform.out.join(name), render(platform, template)?)))
        .collect::<Result<_, Failure>>()?;
    let changed: Vec<_> = files
        .iter()
        .filter(|(path, text)| std::fs::read_to_string(path).is_ok_and(|there| there != *text))
        .map(|(path, _)| path.display().to_string())
        .collect();
    if !changed.is_empty() {
        return Err(Failure::Usage(format!(
            "these files are there already, and would change: {}\n  \
             write into another directory with --out and compare, or remove them; nothing was written",
            changed.join(", ")
        )));
    }
    let failed = |path: &Path, e| Failure::Failed(format!("cannot write {}: {e}", path.display()));
    std::fs::create_dir_all(&platform.out).map_err(|e| failed(&platform.out, e))?;
    for (path, text) in &files {
        std::fs::write(path, text).map_err(|e| failed(path, e))?;
    }
    Ok(files.into_iter().map(|(path, _)| path).collect())
}

fn render(platform: &Platform, template: &str) -> Result<String, Failure> {
    let mut environment = Environment::new();
    environment.set_undefined_behavior(UndefinedBehavior::Strict);
    let Expected { account, region, cluster, .. } = &platform.cluster;
    let partition = if region.starts_with("cn-") { "aws-cn" } else { "aws" };
    let values = context! {
        developers => &platform.developers,
        gc => &platform.gc,
        gc_image => &platform.gc_image,
        gc_role => &platform.gc_role,
        max_cpu => &platform.max_cpu,
        max_memory => &platform.max_memory,
        max_pods => platform.max_pods.to_string(),
        max_ttl => &platform.max_ttl,
        allow_ingress_from => &platform.allow_ingress_from,
        state_bucket => &platform.states.bucket,
        state_key => &platform.states.key,
        state_prefix => &platform.states.prefix,
        repositories => &platform.repositories,
        partition => partition,
        cluster_arn => format!("arn:{partition}:eks:{region}:{account}:cluster/{cluster}"),
    };
    let text = environment.render_str(template, values).map_err(Failure::failed)?;
    Ok(text.trim_end().to_owned() + "\n")
}
