//! From evidence to the right to act: nothing else gives it.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

use envctl_cluster::cutover::{self, Claim};
use envctl_cluster::registry::{Lookup, Registries};
use envctl_cluster::{CutoverTarget, Examined, nodes};
use envctl_model::cutover::production::Production;
use envctl_model::stack::TargetKind;
use envctl_programs::git::{WorkTree, work_tree};
use envctl_programs::process::Supervisor;
use envctl_rehearse::evidence::{
    Admission, DEFAULT_MAX_AGE, Digest, Freshness, Refusal, SigningKey, Verified, Wanted, verify,
};
use jiff::{SignedDuration, Timestamp};
use serde_json::Value;

use super::Options;
use crate::config::Base;
use crate::flows::cluster::target::{Destination, explain};
use crate::flows::cluster::up::{build_platform, image_source};
use crate::flows::images::{self, StackImage};
use crate::flows::rehearse::identity;
use crate::flows::rehearse::plan::Loaded;
use crate::flows::{known, signers};
use crate::ui::Failure;

/// What permits a cutover, and what it permits.
pub(super) struct Admitted {
    /// The right to act.
    pub(super) target: CutoverTarget,
    /// The evidence.
    pub(super) admission: Admission,
    /// What the chart makes for production.
    pub(super) objects: Vec<Value>,
}

/// Who asks.
pub(super) struct Asking<'a> {
    /// Flags, variables, programs.
    pub(super) base: &'a Base,
    /// The plan.
    pub(super) loaded: &'a Loaded,
    /// Its production.
    pub(super) production: &'a Production,
    /// How it was asked for.
    pub(super) options: &'a Options,
    /// When evidence has to be fresh: now, or when a cutover began that goes on.
    pub(super) as_of: Timestamp,
    /// Whose claim is ours, if there is one already.
    pub(super) identity: Option<&'a str>,
}

/// How long a cutover may be at work beside what it watches.
const AT_WORK: SignedDuration = SignedDuration::from_mins(10);

impl Asking<'_> {
    /// Compares evidence with what is here and there, and signs in. Nothing is changed.
    pub(super) async fn admit(&self, evidence: &[u8]) -> Result<Admitted, Failure> {
        let Self { base, loaded, production, options, .. } = *self;
        let key = SigningKey::read(&options.key).map_err(|e| Failure::Usage(e.to_string()))?;
        let signers = signers::read(options.signers.as_deref(), &base.variables.current_dir)?;
        let freshness = Freshness { now: self.as_of, max_age: DEFAULT_MAX_AGE };
        let verified = verify(evidence, &signers, freshness).map_err(|refusal| refused(&refusal))?;
        // What is wrong without a look at production is told without one.
        verified.of_plan(Digest::of(loaded.source.as_bytes())).map_err(|refusal| refused(&refusal))?;

        let stack = &loaded.project.file.stack;
        let target = &stack.targets[&production.target];
        let destination = Destination::of_target(base, &stack.protected, target)
            .ok_or_else(|| Failure::Usage(format!("target `{}` is not of kind `eks`", production.target)))?;
        let supervisor = Supervisor::default();
        let (examined, git) = tokio::join!(
            destination.examine(),
            work_tree(Path::new("git"), &loaded.project.dir, &supervisor)
        );
        let git = git.ok().flatten();
        if let Some(error) = examined.error() {
            return Err(explain(error));
        }
        let images = self.images(&examined, git.as_ref()).await?;
        let identity = identity::of(base, loaded, &production.target, &images, git.as_ref()).await?;
        let used = match examined.looking() {
            Some((reader, _)) => cutover::claimed(reader, &production.namespace, &verified.id()).await,
            None => Ok(None),
        };
        let used = used.map_err(|e| explain(&e))?.filter(|claim| Some(&*claim.identity) != self.identity);
        let fingerprints = key.fingerprints().map_err(Failure::failed)?;
        let wanted = Wanted {
            component: loaded.plan.component.clone(),
            plan: Digest::of(loaded.source.as_bytes()),
            images: identity.images,
            chart: identity.chart,
            values: fingerprints.values(&identity.values),
            manifests: fingerprints.manifests(&identity.objects, &loaded.plan.divergence),
            target: TargetKind::Eks,
            router: loaded.plan.router.as_ref().map(|router| router.adapter),
        };
        let admission = admission(verified, &wanted, used.as_ref())?;
        let until = Timestamp::now().saturating_add(self.lasts()).unwrap_or(Timestamp::MAX);
        let target = examined.admit(&admission, &production.namespace, until).map_err(|e| explain(&e))?;
        Ok(Admitted { target, admission, objects: identity.objects })
    }

    /// The images that production is to run: nothing is built. One that no registry has was not rehearsed.
    async fn images(
        &self,
        examined: &Examined,
        git: Option<&WorkTree>,
    ) -> Result<BTreeMap<String, StackImage>, Failure> {
        let Self { base, loaded, options, .. } = *self;
        let Some((reader, session)) = examined.looking() else { return Ok(BTreeMap::new()) };
        let up = options.of_up();
        let source = image_source(&loaded.project, &up, git, &Supervisor::default()).await;
        let platforms = nodes::platforms(reader).await.map_err(|e| explain(&e))?;
        let (platform, tags) = (build_platform(&platforms), known::git_facts(git));
        let mut images = images::of_stack(base, &loaded.project, &up, source, &platform, &tags).await?;
        let registries = Registries::new(session);
        for (name, image) in &mut images {
            let reference = image.fact.reference();
            match registries.look_up(&reference).await {
                Lookup::Found { digest, .. } => {
                    image.fact.digest = Some(digest);
                    image.fact.pushed = true;
                }
                _ if image.fact.digest.is_some() => {}
                _ => {
                    return Err(Failure::Refused(format!(
                        "no registry has the image `{name}`, {reference}: what production would run was not rehearsed\n  \
                         check out what was, or name the image with --image {name}=REPOSITORY@DIGEST"
                    )));
                }
            }
        }
        Ok(images)
    }

    /// How long it takes at least, until it ends or stops.
    fn lasts(&self) -> SignedDuration {
        let plan = self.loaded.plan.in_production();
        let last = self.production.stop_after.iter().min().copied().unwrap_or(plan.steps.len());
        let watching: Duration = plan.steps.iter().take(last + 1).map(|step| step.bake.at_least).sum();
        SignedDuration::try_from(watching).unwrap_or(SignedDuration::MAX).saturating_add(AT_WORK)
    }
}

fn admission(verified: Verified, wanted: &Wanted, used: Option<&Claim>) -> Result<Admission, Failure> {
    verified.admit(wanted, |_| used.is_some()).map_err(|refusal| match (&refusal, used) {
        (Refusal::Used { .. }, Some(claim)) => already(claim),
        _ => refused(&refusal),
    })
}

/// Evidence that permitted another cutover.
pub(super) fn already(claim: &Claim) -> Failure {
    Failure::Refused(format!(
        "this evidence was used already, for the cutover of {} that {} began at {}\n  it permits one: rehearse again",
        claim.component, claim.by, claim.began
    ))
}

fn refused(refusal: &Refusal) -> Failure {
    Failure::Refused(format!("the evidence does not permit this cutover: {refusal}"))
}
