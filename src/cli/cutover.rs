//! `envctl cutover`

use std::path::PathBuf;

use crate::config::Base;
use crate::flows::cutover::{self, Options, What};
use crate::ui::{Failure, Format};

/// Flags.
#[derive(Debug, clap::Args)]
pub(super) struct Arguments {
    /// The cutover plan, with a section `production`
    #[arg(value_name = "PLAN")]
    plan: PathBuf,
    /// The evidence of its rehearsal, which permits one cutover
    #[arg(long, value_name = "FILE", required_unless_present_any = ["resume", "abort"], conflicts_with_all = ["resume", "abort"])]
    evidence: Option<PathBuf>,
    /// Go on with a cutover that stopped where the plan says, or whose process died
    #[arg(long, conflicts_with = "abort")]
    resume: bool,
    /// Give the old side all of the work again
    #[arg(long)]
    abort: bool,
    /// The key that signed the evidence: what is here is compared by it [default: ENVCTL_SIGNING_KEY]
    #[arg(long, value_name = "FILE")]
    key: Option<PathBuf>,
    /// Who may sign [default: rehearsal/signers here or above]
    #[arg(long, value_name = "FILE")]
    signers: Option<PathBuf>,
    /// The image that production is to run, where it is not the one of the commit
    #[arg(long, value_name = "NAME=REF", value_parser = super::up::name_and_reference)]
    image: Vec<(String, String)>,
}

pub(super) async fn run(base: &Base, arguments: Arguments, format: Format) -> Result<(), Failure> {
    let Arguments { plan, evidence, resume, abort: _, key, signers, image } = arguments;
    let what = match (evidence, resume) {
        (Some(evidence), _) => {
            let key = key.or_else(|| base.variables.signing_key.clone()).ok_or_else(|| {
                Failure::Usage(
                    "evidence is compared with what is here by the key that signed it\n  name it with --key or \
                     ENVCTL_SIGNING_KEY"
                        .to_owned(),
                )
            })?;
            What::Begin { evidence, key }
        }
        (None, true) => What::Resume,
        (None, false) => What::Abort,
    };
    let options = Options { plan, what, signers, image: image.into_iter().collect() };
    cutover::cutover(base, &options, format).await
}
