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
    Admission, DEFAULT_MAX_AGE, Freshness, Refusal, SigningKey, Verified, Wanted, verify,
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
use crate::flows::terraform::configuration;
use crate::flows::{known, signers};
use crate::ui::Failure;

/// What permits a cutover, and what it permits.
pub(super) struct Admitted {
    /// The right to act.
    pub(super) target: CutoverTarget,
    /// The evidence.
    pub(super) admission: Admission,
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
}

/// How long a cutover may be at work beside what it watches.
pub(super) const AT_WORK: SignedDuration = SignedDuration::from_mins(10);

impl Asking<'_> {
    /// Compares evidence with what is here and there, and signs in. Nothing is changed. Also says what the chart makes for
    /// production.
    pub(super) async fn admit(&self, evidence: &[u8], key: &Path) -> Result<(Admitted, Vec<Value>), Failure> {
        let Self { base, loaded, production, .. } = *self;
        let key = SigningKey::read(key).map_err(|e| Failure::Usage(e.to_string()))?;
        let verified = self.verify(evidence, Timestamp::now())?;
        let (examined, git) = tokio::join!(self.examine(), async {
            let tree = work_tree(Path::new("git"), &loaded.project.dir, &Supervisor::default()).await;
            tree.ok().flatten()
        });
        let examined = examined?;
        let images = self.images(&examined, git.as_ref()).await?;
        let files = loaded.files(&production.values);
        let identity = identity::of(base, loaded, &production.target, &files, &images, git.as_ref()).await?;
        // Terraform made what the rehearsal needed. What production has, it has: nothing of it is made by a cutover.
        let rehearsed = &loaded.project.file.stack.targets[&loaded.plan.new.target];
        let terraform = rehearsed.terraform.as_ref().map(|root| configuration(&loaded.project, root));
        let used = self.used(&examined, &verified).await?;
        let fingerprints = key.fingerprints().map_err(Failure::failed)?;
        let wanted = Wanted {
            component: loaded.plan.component.clone(),
            plan: loaded.digest(),
            images: identity.images,
            chart: identity.chart,
            values: fingerprints.values(&identity.values),
            manifests: fingerprints.manifests(&identity.objects, &loaded.plan.divergence),
            terraform: terraform.transpose()?,
            target: TargetKind::Eks,
            router: loaded.plan.router.as_ref().map(|router| router.adapter),
        };
        let admission =
            verified.admit(&wanted, |_| used.is_some()).map_err(|refusal| match (&refusal, &used) {
                (Refusal::Used { .. }, Some(claim)) => already(claim),
                _ => refused(&refusal),
            })?;
        Ok((self.admitted(examined, admission, self.lasts())?, identity.objects))
    }

    /// Signs in for a cutover that was admitted before, when it began. Whatever has changed here since then must not be in
    /// the way of going back.
    pub(super) async fn admit_again(
        &self,
        evidence: &[u8],
        began: Timestamp,
        identity: &str,
        lasts: SignedDuration,
    ) -> Result<Admitted, Failure> {
        let verified = self.verify(evidence, began)?;
        let examined = self.examine().await?;
        // The claim may be missing only where its process died before it was made: then nothing was done.
        if let Some(claim) = self.used(&examined, &verified).await?.filter(|claim| claim.identity != identity)
        {
            return Err(already(&claim));
        }
        let as_rehearsed = Wanted::as_rehearsed(verified.rehearsal());
        let admission = verified.admit(&as_rehearsed, |_| false).map_err(|refusal| refused(&refusal))?;
        self.admitted(examined, admission, lasts)
    }

    /// What is wrong without a look at production is told without one.
    fn verify(&self, evidence: &[u8], as_of: Timestamp) -> Result<Verified, Failure> {
        let signers = signers::read(self.options.signers.as_deref(), &self.base.variables.current_dir)?;
        let freshness = Freshness { now: as_of, max_age: DEFAULT_MAX_AGE };
        let verified = verify(evidence, &signers, freshness).map_err(|refusal| refused(&refusal))?;
        verified.of_plan(self.loaded.digest()).map_err(|refusal| refused(&refusal))?;
        Ok(verified)
    }

    async fn examine(&self) -> Result<Examined, Failure> {
        let stack = &self.loaded.project.file.stack;
        let target = &stack.targets[&self.production.target];
        let destination = Destination::of_target(self.base, &stack.protected, target);
        let destination = destination.ok_or_else(|| {
            Failure::Usage(format!("target `{}` is not of kind `eks`", self.production.target))
        })?;
        let examined = destination.examine().await;
        match examined.error() {
            Some(error) => Err(explain(error)),
            None => Ok(examined),
        }
    }

    async fn used(&self, examined: &Examined, verified: &Verified) -> Result<Option<Claim>, Failure> {
        let Some((reader, _)) = examined.looking() else { return Ok(None) };
        let claimed = cutover::claimed(reader, &self.production.namespace, &verified.id()).await;
        claimed.map_err(|e| explain(&e))
    }

    fn admitted(
        &self,
        examined: Examined,
        admission: Admission,
        lasts: SignedDuration,
    ) -> Result<Admitted, Failure> {
        let until = Timestamp::now().saturating_add(lasts).unwrap_or(Timestamp::MAX);
        let target = examined.admit(&admission, &self.production.namespace, until);
        Ok(Admitted { target: target.map_err(|e| explain(&e))?, admission })
    }

    /// The images that production is to run: nothing is built. One that no registry has was not rehearsed.
    async fn images(
        &self,
        examined: &Examined,
        git: Option<&WorkTree>,
    ) -> Result<BTreeMap<String, StackImage>, Failure> {
        let Self { base, loaded, options, .. } = *self;
        let Some((reader, session)) = examined.looking() else { return Ok(BTreeMap::new()) };
        if loaded.project.file.stack.images.is_empty() {
            return Ok(BTreeMap::new());
        }
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
    pub(super) fn lasts(&self) -> SignedDuration {
        let plan = self.loaded.plan.in_production();
        let last = self.production.stop_after.iter().min().copied().unwrap_or(plan.steps.len());
        let watching: Duration = plan.steps.iter().take(last + 1).map(|step| step.bake.at_least).sum();
        SignedDuration::try_from(watching).unwrap_or(SignedDuration::MAX).saturating_add(AT_WORK)
    }
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
