//! `envctl init`

use std::path::{Path, PathBuf};

use envctl_cluster::Expected;
use envctl_model::stack::Target;

use crate::config::{Base, Project};
use crate::flows::cluster::target::{Destination, explain};
use crate::flows::init::{cutover, pin, platform, stack};
use crate::flows::terraform::declared;
use crate::ui::{Failure, print};

/// Flags.
#[derive(Debug, clap::Args)]
pub(super) struct Arguments {
    #[command(flatten)]
    what: What,
    /// The chart's directory, where there is more than one
    #[arg(long, value_name = "PATH", conflicts_with_all = ["platform", "pin", "cutover"])]
    chart: Option<PathBuf>,
    /// With --platform: where the files go
    #[arg(long, value_name = "DIR", default_value = "envctl-platform")]
    out: PathBuf,
    /// With --platform: the developers' group, as the cluster knows it
    #[arg(long, value_name = "GROUP", default_value = "envctl:developers")]
    developers: String,
    /// With --platform: the garbage collector's group
    #[arg(long, value_name = "GROUP", default_value = "envctl:gc")]
    gc: String,
    /// With --platform: an image with envctl, helm and terraform, for a CronJob that collects garbage
    #[arg(long, value_name = "IMAGE", requires = "gc_role")]
    gc_image: Option<String>,
    /// With --gc-image: the AWS role of the garbage collector
    #[arg(long, value_name = "ARN")]
    gc_role: Option<String>,
    /// With --platform: the most CPU that an environment may ask for
    #[arg(long, value_name = "CPU", default_value = "16")]
    max_cpu: String,
    /// With --platform: the most memory that an environment may ask for
    #[arg(long, value_name = "MEMORY", default_value = "64Gi")]
    max_memory: String,
    /// With --platform: the most pods that an environment may have
    #[arg(long, value_name = "PODS", default_value_t = 100)]
    max_pods: u32,
    /// With --platform: the longest life of an environment
    #[arg(long, value_name = "TTL", default_value = "168h")]
    max_ttl: String,
}

/// At most one; without any, a stack file is written.
#[derive(Debug, clap::Args)]
#[group(multiple = false)]
struct What {
    /// Write what a platform engineer applies to a shared cluster once: rights, policies, IAM
    #[arg(long)]
    platform: bool,
    /// Write the UID of the target's cluster into the stack file
    #[arg(long)]
    pin: bool,
    /// Write a plan of how a component moves from its machines to the chart
    #[arg(long, value_name = "COMPONENT")]
    cutover: Option<String>,
}

pub(super) async fn run(base: &Base, arguments: Arguments) -> Result<(), Failure> {
    if !(arguments.what.platform || arguments.what.pin || arguments.what.cutover.is_some()) {
        return write_stack(base, arguments.chart.as_deref()).await;
    }
    let project = base.stack()?;
    if let Some(component) = &arguments.what.cutover {
        return plan_cutover(base, &project, component);
    }
    let (name, target) = cluster_target(base, &project)?;
    if arguments.what.pin {
        return pin_cluster(base, &project, &name, target).await;
    }
    let platform = fill_in(&project, target, arguments)?;
    for file in platform::write(&platform)? {
        print(&format!("wrote {}", file.display()));
    }
    print(&format!("read {}, then apply it", platform.out.join("README.md").display()));
    Ok(())
}

async fn write_stack(base: &Base, chart: Option<&Path>) -> Result<(), Failure> {
    let written = stack::write(base, chart).await?;
    for (what, found) in &written.found {
        print(&format!("  {what:<10} {found}"));
    }
    for file in &written.files {
        print(&format!("wrote {}", shown(base, file)));
    }
    for todo in &written.todos {
        print(&format!("TODO {todo}"));
    }
    let then = if written.todos.is_empty() { "then" } else { "fill in what is missing, then" };
    print(&format!("{then}: envctl up"));
    Ok(())
}

/// A path from the current directory.
fn shown(base: &Base, path: &Path) -> String {
    path.strip_prefix(&base.variables.current_dir).unwrap_or(path).display().to_string()
}

fn plan_cutover(base: &Base, project: &Project, component: &str) -> Result<(), Failure> {
    let target = base.settings(project)?.target.value;
    let written = cutover::write(project, component, &target)?;
    let shown = |path: &Path| shown(base, path);
    print(&format!("wrote {}", shown(&written.plan)));
    for (path, what) in &written.fill_in {
        print(&format!("wrote {}: fill in {what}", shown(path)));
    }
    print(&format!("then see what it means: envctl rehearse {} --explain", shown(&written.plan)));
    Ok(())
}

/// The target of kind `eks` that is meant: the chosen one, or the only one.
fn cluster_target<'a>(base: &Base, project: &'a Project) -> Result<(String, &'a Target), Failure> {
    let targets = &project.file.stack.targets;
    let clusters: Vec<_> = targets.iter().filter(|(_, target)| target.eks().is_some()).collect();
    let chosen = base.settings(project)?.target.value;
    match clusters.as_slice() {
        [(name, target)] => Ok(((*name).clone(), target)),
        many => many
            .iter()
            .find(|(name, _)| **name == chosen)
            .map(|(name, target)| ((*name).clone(), *target))
            .ok_or_else(|| {
                let names: Vec<_> = many.iter().map(|(name, _)| name.as_str()).collect();
                let known = if names.is_empty() { "there is none".to_owned() } else { names.join(", ") };
                Failure::Usage(format!("say which target of kind `eks` with --target: {known}"))
            }),
    }
}

async fn pin_cluster(base: &Base, project: &Project, name: &str, target: &Target) -> Result<(), Failure> {
    let mut destination = Destination::of_target(base, &project.file.stack.protected, target)
        .ok_or_else(|| Failure::Usage(format!("target `{name}` is not of kind `eks`")))?;
    // What is about to be pinned anew must not be refused for the old pin.
    destination.expected.uid = None;
    let examined = destination.examine().await;
    let (_, facts) = examined.reader().map_err(|e| explain(&e))?;
    let text = pin::pinned(project, name, &facts.uid)?;
    std::fs::write(&project.path, text)
        .map_err(|e| Failure::Failed(format!("cannot write {}: {e}", project.path.display())))?;
    print(&format!("{}: target {name}: clusterUid: {}", project.file.file, facts.uid));
    Ok(())
}

/// What the target says of the S3 backend, else what its root says.
fn states(project: &Project, target: &Target) -> platform::States {
    let of_root = declared(project, target).backend();
    let given = target.terraform.as_ref().map(|terraform| &terraform.backend_config);
    let setting = |key: &str, unknown: &str| {
        let given = given.and_then(|given| given.get(key));
        given.or(of_root.get(key)).cloned().unwrap_or_else(|| unknown.to_owned())
    };
    platform::States {
        bucket: setting("bucket", "THE-BUCKET-OF-TERRAFORM-STATES"),
        key: setting("key", "THE-KEY-OF-TERRAFORM-STATES"),
        // Terraform's own default.
        prefix: setting("workspace_key_prefix", "env:"),
    }
}

fn fill_in(project: &Project, target: &Target, arguments: Arguments) -> Result<platform::Platform, Failure> {
    let stack = &project.file.stack;
    envctl_model::stack::parse_ttl(&arguments.max_ttl).map_err(Failure::Usage)?;
    let eks = target.eks().ok_or_else(|| Failure::Usage("the target is not of kind `eks`".to_owned()))?;
    let networks = target.guardrails.iter().flat_map(|guardrails| guardrails.allow_ingress_from.clone());
    let repositories = stack
        .images
        .values()
        .filter_map(|image| image.repository.value.split_once('/').map(|(_, path)| path.to_owned()));
    Ok(platform::Platform {
        out: arguments.out,
        developers: arguments.developers,
        gc: arguments.gc,
        gc_image: arguments.gc_image,
        gc_role: arguments.gc_role,
        max_cpu: arguments.max_cpu,
        max_memory: arguments.max_memory,
        max_pods: arguments.max_pods,
        max_ttl: arguments.max_ttl,
        allow_ingress_from: networks.collect(),
        states: states(project, target),
        repositories: repositories.into_iter().next().unwrap_or_else(|| format!("{}/*", stack.project.value)),
        cluster: Expected {
            account: eks.account.to_owned(),
            region: eks.region.to_owned(),
            cluster: eks.cluster.to_owned(),
            uid: None,
        },
    })
}
