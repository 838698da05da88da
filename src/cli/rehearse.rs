//! `envctl rehearse`

use std::path::PathBuf;

use envctl_model::cutover::explain;
use envctl_model::stack::TargetKind;

use crate::config::Base;
use crate::flows::cutover_plan::{self, Loaded};
use crate::flows::rehearse::{self, What};
use crate::ui::{Failure, Format, print};

/// Flags.
#[derive(Debug, clap::Args)]
pub(super) struct Arguments {
    /// The cutover plan
    #[arg(value_name = "PLAN")]
    plan: PathBuf,
    /// Only check the plan and tell it in words
    #[arg(long, conflicts_with_all = ["resume", "abort"])]
    explain: bool,
    /// Go on with a rehearsal of this plan whose process died
    #[arg(long, conflicts_with = "abort")]
    resume: bool,
    /// Go back from a rehearsal of this plan whose process died, and remove it
    #[arg(long)]
    abort: bool,
    /// Repeat what was drawn at random in a rehearsal of this seed [default: drawn]
    #[arg(long, value_name = "NUMBER", conflicts_with_all = ["resume", "abort"])]
    seed: Option<u64>,
    /// Sign the evidence with this key, which `envctl evidence keygen` makes [default: ENVCTL_SIGNING_KEY]
    #[arg(long, value_name = "FILE")]
    key: Option<PathBuf>,
    /// Where report and evidence go [default: here]
    #[arg(long, value_name = "DIR")]
    out: Option<PathBuf>,
}

pub(super) async fn run(base: &Base, arguments: Arguments, format: Format) -> Result<(), Failure> {
    let Arguments { plan, explain, resume, abort, seed, key, out } = arguments;
    if explain {
        return tell(base, &plan);
    }
    let what = match (resume, abort) {
        (true, _) => What::Resume,
        (_, true) => What::Abort,
        _ => What::Begin,
    };
    let key = key.or_else(|| base.variables.signing_key.clone());
    // Joined with a name, an empty path is the name alone.
    let out = out.unwrap_or_default();
    let options = rehearse::Options { plan, seed, what, key, out };
    rehearse::rehearse(base, &options, format).await
}

fn tell(base: &Base, plan: &std::path::Path) -> Result<(), Failure> {
    let project = base.stack()?;
    let Loaded { file, target } = cutover_plan::load(&project, plan)?;
    let text = explain(&file.plan);
    print(text.trim_end());
    if target == TargetKind::Compose {
        print(&format!(
            "  - Kubernetes: target {} is of kind compose, which makes this a draft that `envctl cutover` refuses",
            file.plan.new.target
        ));
    }
    Ok(())
}
