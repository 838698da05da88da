//! What the steps of `down` do. Each adds to the receipt.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use envctl_cluster::balancers;
use envctl_cluster::namespace::{self, Found};
use envctl_cluster::objects::{Kinds, ObjectRef, Presence};
use envctl_cluster::release;
use envctl_cluster::remove::{self, Blocked, Lingering, Removed, Volume};
use envctl_cluster::terraform::guard::Allowed;
use envctl_cluster::{ClusterError, VerifiedCluster};
use envctl_model::receipt::{End, Item};
use envctl_model::record::{Place as Lives, Record};
use envctl_model::{Receipt, Step, Thing, ThingKind};
use envctl_programs::helm::Template;
use envctl_runner::{Context, Done, StepError, World};
use serde::{Deserialize, Serialize};

use super::Options;
use super::plan::Action;
use crate::config::Base;
use crate::flows::Home;
use crate::flows::accounts::Guard;
use crate::flows::chart::SCRATCH;
use crate::flows::cluster::patiently::patiently;
use crate::flows::cluster::target::cluster;
use crate::flows::cluster::terraform::{self, remove_command};
use crate::flows::interrupts::Interrupts;
use crate::flows::run::supervisor;
use crate::flows::step_error::{failed, failure};
use crate::flows::terraform::{Place, Steps};

/// The cluster target, as `down` acts on it.
#[derive(Debug)]
pub(super) struct DownWorld<'a> {
    pub(super) base: &'a Base,
    pub(super) options: &'a Options,
    pub(super) interrupts: &'a Interrupts,
    pub(super) cluster: &'a VerifiedCluster,
    pub(super) home: &'a Home,
    pub(super) record: &'a Record,
    /// Everything the journal of this machine says was created or meant to be.
    pub(super) things: BTreeSet<Thing>,
    pub(super) progress: Mutex<Progress>,
    pub(super) receipt: Mutex<Receipt>,
}

/// What steps have learnt for those after them.
#[derive(Debug, Default)]
pub(super) struct Progress {
    uid: Option<String>,
    /// Our rights in a namespace that is going are gone.
    terminating: bool,
    inventory: Inventory,
    /// Why AWS cannot be asked what load balancer controllers made there.
    unasked: Option<String>,
}

/// What there was before anything was removed. It is kept until all of it is gone: a run that was
/// killed half-way must not make the next one forget.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(default)]
struct Inventory {
    objects: BTreeSet<String>,
    volumes: BTreeSet<Volume>,
    /// Who removes the environment may not list volumes.
    volumes_unseen: bool,
    /// Ingresses and Services with load balancers.
    front: BTreeSet<String>,
    /// What their controllers made in AWS.
    balancers: BTreeSet<String>,
    /// Objects whose finalizers were taken off, and these.
    stripped: BTreeMap<String, Vec<String>>,
}

const INVENTORY: &str = "inventory.json";
/// How objects of claims begin.
const CLAIM: &str = "PersistentVolumeClaim/";

/// How long what Helm has deleted from the cluster may take to go.
const GOES_WITHIN: Duration = Duration::from_secs(10);
/// How often it is looked up meanwhile.
const LOOK_AGAIN: Duration = Duration::from_millis(500);
/// How long AWS' lists of what has a tag may lag behind what its controller has removed.
const LISTS_LAG: Duration = Duration::from_secs(60);

impl World for DownWorld<'_> {
    type Action = Action;

    async fn perform(&self, step: &Step<Action>, context: &Context) -> Result<Done, StepError> {
        match step.action {
            Action::Inventory => self.inventory().await,
            Action::Front => self.front(context).await,
            Action::Balancers => self.balancers(context).await,
            Action::Contents => self.contents(context).await,
            Action::Uninstall => self.uninstall(context).await,
            Action::Namespace => self.namespace(context).await,
            Action::Volumes => self.volumes(context).await,
            Action::PlanDestroy => self.plan_destroy(context).await,
            Action::FindResources => self.find(context).await,
            Action::DestroyTerraform => self.destroy(context).await,
            Action::DeleteWorkspace => self.delete_workspace(context).await,
            Action::Images => Ok(self.images()),
        }
    }
}

impl DownWorld<'_> {
    fn progress(&self) -> MutexGuard<'_, Progress> {
        self.progress.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn add(&self, end: End, item: Item) {
        self.receipt.lock().unwrap_or_else(PoisonError::into_inner).add(end, item);
    }

    fn name(&self) -> &str {
        self.record.name.as_str()
    }

    fn deadline(&self) -> Instant {
        Instant::now() + self.options.timeout
    }

    async fn inventory(&self) -> Result<Done, StepError> {
        let reader = self.cluster.reader();
        let mut known: Inventory = self.home.read_json(INVENTORY).map_err(failure)?.unwrap_or_default();
        // Load balancers and volumes outlive the namespace: a run that was killed on another machine has
        // left no word of them.
        let (found, made, volumes) = tokio::join!(
            namespace::find(reader, self.name(), &self.record.identity),
            balancers::of_namespace(self.cluster, self.name()),
            remove::volumes(reader, self.name())
        );
        match volumes.map_err(cluster)? {
            Some(volumes) => known.volumes.extend(volumes),
            None => known.volumes_unseen = true,
        }
        match made {
            Ok(made) => known.balancers.extend(made),
            Err(error) => self.progress().unasked = Some(error.to_string()),
        }
        if let Found::Ours { uid, terminating } = found.map_err(cluster)? {
            let kinds = Kinds::discover(reader).await.map_err(cluster)?;
            let (objects, front) =
                tokio::join!(kinds.list(reader, self.name()), remove::front(reader, self.name()));
            let objects = objects.map_err(cluster)?;
            known.objects.extend(objects.iter().map(|(object, _)| object.to_string()));
            known.front.extend(front.map_err(cluster)?);
            let mut progress = self.progress();
            (progress.uid, progress.terminating) = (Some(uid), terminating);
        }
        self.home.write_json(INVENTORY, &known).map_err(failure)?;
        let count = known.objects.len();
        self.progress().inventory = known;
        Ok(Done::quiet(format!("{count} objects")))
    }

    /// Tells soon what is in the way, and goes on waiting.
    fn blocked(context: &Context) -> impl Fn(&[Blocked]) {
        move |blocked: &[Blocked]| {
            for one in blocked {
                context.warn(one.to_string());
            }
            if blocked.is_empty() {
                context.progress("takes longer than usual; nothing says why yet");
            }
        }
    }

    fn still_blocked(&self, what: &str, blocked: &[Blocked]) -> StepError {
        let mut lines = vec![format!("{what} after {} s:", self.options.timeout.as_secs())];
        lines.extend(blocked.iter().map(|one| format!("  {one}")));
        lines.push(
            "start the controller again, or fix what it waits for, and type the same command again"
                .to_owned(),
        );
        if blocked.iter().all(|one| one.object.starts_with("Namespace/")) {
            lines.push(format!(
                "in a namespace that is going nobody but the platform engineer may look: kubectl -n {} get what is named above",
                self.name()
            ));
        }
        let strippable = blocked.iter().filter(|one| one.strippable);
        let strip: Vec<_> = strippable.map(|one| format!(" --strip-finalizers {}", one.object)).collect();
        if !strip.is_empty() {
            lines.push(format!(
                "or give up what the finalizers protect, which then stays behind outside of the cluster: \
                 envctl down --name {}{}",
                self.name(),
                strip.concat()
            ));
        }
        StepError::Stuck(lines.join("\n"))
    }

    /// Waits until something is gone, unless the user has had enough, or the cluster has had enough of us.
    async fn gone(
        &self,
        context: &Context,
        still_there: &str,
        removing: impl Future<Output = Result<Removed, ClusterError>>,
    ) -> Result<(), StepError> {
        let removed = tokio::select! {
            removed = removing => removed.map_err(cluster)?,
            () = context.interrupted.cancelled() => return Err(StepError::Interrupted),
            error = self.cluster.reader().credentials_end() => return Err(cluster(error)),
        };
        match removed {
            Removed::Gone => Ok(()),
            Removed::Blocked(blocked) => Err(self.still_blocked(still_there, &blocked)),
        }
    }

    async fn strip(&self, context: &Context) -> Result<(), StepError> {
        for object in &self.options.strip {
            let finalizers =
                remove::strip_finalizers(self.cluster, self.name(), object).await.map_err(cluster)?;
            if finalizers.is_empty() {
                context.warn(format!("there is no {object} with finalizers: nothing was taken off"));
                continue;
            }
            context.warn(format!(
                "the finalizers of {object} were taken off, as you asked: what its controller made outside of the cluster stays"
            ));
            let known = {
                let mut progress = self.progress();
                progress.inventory.stripped.insert(object.clone(), finalizers);
                progress.inventory.clone()
            };
            self.home.write_json(INVENTORY, &known).map_err(failure)?;
        }
        Ok(())
    }

    async fn front(&self, context: &Context) -> Result<Done, StepError> {
        if self.progress().uid.is_none() {
            return Ok(Done::quiet("no namespace"));
        }
        self.strip(context).await?;
        let names = remove::front(self.cluster.reader(), self.name()).await.map_err(cluster)?;
        if names.is_empty() {
            return Ok(Done::quiet("none"));
        }
        let tell = Self::blocked(context);
        let removing = remove::remove_front(self.cluster, self.name(), &names, self.deadline(), tell);
        self.gone(context, "Ingresses and load balancers are still there", removing).await?;
        Ok(Done::shown(format!("{} removed", names.len())))
    }

    /// What controllers made in AWS is theirs to remove. Whether they did is asked of AWS.
    async fn balancers(&self, context: &Context) -> Result<Done, StepError> {
        let (inventory, unasked) = {
            let progress = self.progress();
            (progress.inventory.clone(), progress.unasked.clone())
        };
        let item = |id: String, evidence: String, remove| Item {
            kind: ThingKind::Resource,
            id,
            evidence,
            used_by: vec![],
            remove,
        };
        // What was given up, nobody removes any more.
        let patience =
            if inventory.stripped.is_empty() { LISTS_LAG.min(self.options.timeout) } else { Duration::ZERO };
        let left = match unasked {
            Some(error) => Err(error),
            None if inventory.balancers.is_empty() && inventory.front.is_empty() => {
                return Ok(Done::quiet("none"));
            }
            None => {
                let deadline = Instant::now() + patience;
                let gone = balancers::await_gone(self.cluster, self.name(), deadline);
                tokio::select! {
                    left = gone => left.map_err(|error| error.to_string()),
                    () = context.interrupted.cancelled() => return Err(StepError::Interrupted),
                }
            }
        };
        let left = match left {
            Ok(left) => left,
            Err(error) => {
                for object in inventory.front {
                    let evidence = format!("AWS could not be asked what its controller left there: {error}");
                    self.add(End::Unverified, item(format!("load balancer of {object}"), evidence, None));
                }
                return Ok(Done::quiet("not looked up"));
            }
        };
        for arn in inventory.balancers.difference(&left) {
            let evidence = "AWS lists no such thing under the tags of the cluster's controllers";
            self.add(End::Gone, item(arn.clone(), evidence.to_owned(), None));
        }
        // In the order in which they can be removed: load balancer, its target groups, its security groups.
        let mut ordered: Vec<_> = left.iter().collect();
        ordered.sort_by_key(|arn| (arn.contains(":security-group/"), arn.contains(":targetgroup/")));
        for arn in ordered {
            let evidence = "AWS still lists it under the tags of the cluster's controllers".to_owned();
            self.add(End::Left, item(arn.clone(), evidence, Some(remove_command(arn))));
        }
        Ok(match inventory.balancers.len() {
            0 => Done::quiet("none"),
            made if left.is_empty() => Done::shown(format!("{made} things of theirs gone")),
            _ => Done::shown(format!("{} things of theirs left", left.len())),
        })
    }

    async fn uninstall(&self, context: &Context) -> Result<Done, StepError> {
        let reader = self.cluster.reader();
        if self.progress().uid.is_none() || self.progress().terminating {
            return Ok(Done::quiet("no namespace, or one that is going"));
        }
        let newest = release::newest(reader, self.name(), self.name(), &self.record.identity);
        if newest.await.map_err(cluster)?.is_none() {
            return Ok(Done::quiet("no release"));
        }
        let plugin = std::env::current_exe().map_err(failed)?;
        let access = release::access(self.cluster, &self.home.file(SCRATCH), &plugin).map_err(failed)?;
        let by = supervisor(self.interrupts, context);
        let template = Template::new(&self.base.programs.helm.value, "", self.name(), self.name());
        let (template, access, by) = (&template, &access, &by);
        patiently(reader, self.name(), context, || async move {
            release::recover(self.cluster, self.name(), self.name(), &self.record.identity)
                .await
                .map_err(cluster)?;
            Ok(template.uninstall(access, self.options.timeout, self.options.hooks, by).await)
        })
        .await
        .map_err(|error| self.without_hooks(error))?;
        Ok(Done::shown("uninstalled"))
    }

    /// A hook that fails must not keep an environment for ever.
    fn without_hooks(&self, error: StepError) -> StepError {
        match error {
            StepError::Failed(message) if self.options.hooks => StepError::Failed(format!(
                "{message}\nif it is a hook that fails, `envctl down --name {} --no-hooks` goes on without them",
                self.name()
            )),
            error => error,
        }
    }

    /// When this is done, nothing in the namespace uses anything outside of it. Most of it goes before the
    /// namespace, in which we may not look any more once it is going, and which takes at least five seconds:
    /// <https://github.com/kubernetes/kubernetes/blob/v1.35.4/pkg/controller/namespace/namespace_controller.go>
    async fn contents(&self, context: &Context) -> Result<Done, StepError> {
        let reader = self.cluster.reader();
        let (uid, terminating) = {
            let progress = self.progress();
            (progress.uid.clone(), progress.terminating)
        };
        let Some(uid) = uid else { return Ok(Done::quiet("no namespace")) };
        if terminating {
            self.remove_namespace(context, &uid).await?;
            return Ok(Done::quiet("gone with the namespace"));
        }
        let kinds = Kinds::discover(reader).await.map_err(cluster)?;
        let lingering = Lingering::of(&kinds.list(reader, self.name()).await.map_err(cluster)?);
        let (still_there, tell) =
            ("what has to go before the namespace is still there", Self::blocked(context));
        if !lingering.is_empty() {
            let removing = lingering.remove(self.cluster, self.name(), &kinds, self.deadline(), &tell);
            self.gone(context, still_there, removing).await?;
        }
        if !remove::is_idle(reader, self.name()).await.map_err(cluster)? {
            // Somebody has made more than the release.
            self.remove_namespace(context, &uid).await?;
            return Ok(Done::quiet("gone with the namespace"));
        }
        let removing = remove::remove_claims(self.cluster, self.name(), self.deadline(), &tell);
        self.gone(context, still_there, removing).await?;
        Ok(Done::quiet("gone"))
    }

    async fn remove_namespace(&self, context: &Context, uid: &str) -> Result<(), StepError> {
        let tell = Self::blocked(context);
        let removing = remove::remove_namespace(self.cluster, self.name(), uid, self.deadline(), tell);
        self.gone(context, "the namespace is still there", removing).await
    }

    async fn namespace(&self, context: &Context) -> Result<Done, StepError> {
        let (uid, inventory) = {
            let progress = self.progress();
            (progress.uid.clone(), progress.inventory.clone())
        };
        if let Some(uid) = &uid {
            self.remove_namespace(context, uid).await?;
        }
        let item =
            |kind, id: String, evidence: String| Item { kind, id, evidence, used_by: vec![], remove: None };
        let found = namespace::find(self.cluster.reader(), self.name(), &self.record.identity);
        let evidence = match found.await.map_err(cluster)? {
            Found::Missing => format!("the API server has no namespace {}", self.name()),
            Found::NotOurs { whose } => format!("the namespace of that name is another one by now: {whose}"),
            Found::Ours { .. } => {
                let remove = Some(format!("kubectl delete namespace {}", self.name()));
                let left =
                    item(ThingKind::Namespace, self.name().to_owned(), "still in the cluster".to_owned());
                self.add(End::Left, Item { remove, ..left });
                return Ok(Done::quiet("still there"));
            }
        };
        let was_made = uid.is_some() || self.things.iter().any(|t| t.kind == ThingKind::Namespace);
        if was_made {
            self.add(End::Gone, item(ThingKind::Namespace, self.name().to_owned(), evidence.clone()));
        }
        for object in inventory.objects {
            self.add(End::Gone, item(ThingKind::Object, object, evidence.clone()));
        }
        for (object, finalizers) in inventory.stripped {
            let evidence = format!(
                "it is gone, but its controller did not take part: {} was taken off as you asked, and what it made outside of the cluster may still be there",
                finalizers.iter().map(|f| format!("`{f}`")).collect::<Vec<_>>().join(", ")
            );
            self.add(End::Unverified, item(ThingKind::Object, object, evidence));
        }
        self.look_up_cluster_wide().await?;
        Ok(if uid.is_some() { Done::shown("removed") } else { Done::quiet("there was none") })
    }

    /// What belongs to the whole cluster goes with the release, not with the namespace.
    async fn look_up_cluster_wide(&self) -> Result<(), StepError> {
        let Lives::Eks(place) = &self.record.place else { return Ok(()) };
        if place.cluster_wide.is_empty() {
            return Ok(());
        }
        let reader = self.cluster.reader();
        let kinds = Kinds::discover(reader).await.map_err(cluster)?;
        for object in &place.cluster_wide {
            let reference = ObjectRef {
                api_version: object.api_version.clone(),
                kind: object.kind.clone(),
                namespace: None,
                name: object.name.clone(),
            };
            let item = |evidence: &str, remove| Item {
                kind: ThingKind::Object,
                id: reference.to_string(),
                evidence: evidence.to_owned(),
                used_by: vec![],
                remove,
            };
            let exists = || kinds.exists(reader, &reference, self.name(), self.name());
            let looked_until = Instant::now() + GOES_WITHIN;
            let mut presence = exists().await.map_err(cluster)?;
            while presence == Presence::OfRelease && Instant::now() < looked_until {
                tokio::time::sleep(LOOK_AGAIN).await;
                presence = exists().await.map_err(cluster)?;
            }
            let remove = format!("kubectl delete {} {}", object.kind.to_lowercase(), object.name);
            match presence {
                Presence::OfRelease => self.add(End::Left, item("still in the cluster", Some(remove))),
                Presence::Missing => self.add(End::Gone, item("the API server has no such object", None)),
                Presence::NotMarked if object.hook => {
                    let evidence = format!(
                        "one of this name is in the cluster: Helm leaves hooks behind, and nothing says whose it is; \
                         if it is nobody else's: {remove}"
                    );
                    self.add(End::Unverified, item(&evidence, None));
                }
                Presence::NotMarked => {
                    let evidence = "that of this name in the cluster is not of this release";
                    self.add(End::Gone, item(evidence, None));
                }
                Presence::KindUnknown => {
                    let evidence = format!("the cluster no longer knows the kind {}", object.kind);
                    self.add(End::Unverified, item(&evidence, None));
                }
            }
        }
        Ok(())
    }

    async fn volumes(&self, context: &Context) -> Result<Done, StepError> {
        let Inventory { volumes, objects, volumes_unseen, .. } = self.progress().inventory.clone();
        for claim in objects.iter().filter(|object| volumes_unseen && object.starts_with(CLAIM)) {
            let evidence = format!("you may not list volumes, so that nobody could look for that of {claim}");
            let (kind, used_by) = (ThingKind::PersistentVolume, vec![]);
            self.add(End::Unverified, Item { kind, id: claim.clone(), evidence, used_by, remove: None });
        }
        let deleted: BTreeSet<_> = volumes
            .iter()
            .filter(|volume| volume.policy == "Delete")
            .map(|volume| volume.name.clone())
            .collect();
        if !deleted.is_empty() {
            context.progress(format!("{} volumes go", deleted.len()));
        }
        let left = tokio::select! {
            left = remove::await_volumes(self.cluster.reader(), deleted, self.deadline()) => left.map_err(cluster)?,
            () = context.interrupted.cancelled() => return Err(StepError::Interrupted),
        };
        for Volume { name, policy, claim, disk } in volumes {
            let item = |evidence: String, remove| Item {
                kind: ThingKind::PersistentVolume,
                id: name.clone(),
                evidence,
                used_by: vec![],
                remove,
            };
            let remove = format!("kubectl delete persistentvolume {name}");
            if policy != "Delete" {
                let disk = disk.map_or_else(String::new, |disk| format!(" on {disk}"));
                let evidence = format!(
                    "its reclaim policy is {policy}: the data of claim {claim} stays{disk} until somebody removes it, \
                     first the volume ({remove}), then what holds the data"
                );
                self.add(End::Retained, item(evidence, None));
            } else if left.contains(&name) {
                let evidence = format!("still in the cluster; it was bound to claim {claim}");
                self.add(End::Left, item(evidence, Some(remove)));
            } else {
                self.add(End::Gone, item("the API server has no such volume".to_owned(), None));
            }
        }
        Ok(Done::quiet("looked up"))
    }

    /// `None` where `up` died before the workspace was ours: then nothing was made by it either.
    async fn terraform(&self) -> Result<Option<Steps<'_>>, StepError> {
        let Some(record) = self.record.terraform.as_ref().filter(|record| record.claimed) else {
            return Ok(None);
        };
        let place = Place::of(self.home);
        terraform::fetch(self.cluster, self.record, &place).await?;
        let Some(copy) = place.archived().map_err(failure)? else {
            return Err(StepError::Stuck(
                "the Terraform root of this environment is neither on this machine nor kept in the cluster\n\
                 type `envctl down` on the machine that brought it up"
                    .to_owned(),
            ));
        };
        let vars = place.variables(self.home).map_err(failure)?;
        let mut equipped = place.terraform(&self.base.programs, record, &copy, vars);
        terraform::equip(&mut equipped, self.cluster, self.record);
        let (home, interrupts) = (self.home, self.interrupts);
        Ok(Some(Steps { place, home, terraform: equipped, digest: copy.digest, interrupts }))
    }

    async fn plan_destroy(&self, context: &Context) -> Result<Done, StepError> {
        let Some(steps) = self.terraform().await? else { return Ok(Done::quiet("nothing to destroy")) };
        let allowed = self.allowed();
        let by = supervisor(self.interrupts, context);
        steps.init(context).await?;
        terraform::state(self.cluster, &steps.terraform, &allowed).await?;
        let guard = Guard { terraform: &steps.terraform, allowed: &allowed, by };
        steps.plan_destroy(context, &guard).await
    }

    async fn find(&self, context: &Context) -> Result<Done, StepError> {
        let Some(steps) = self.terraform().await? else { return Ok(Done::quiet("nothing to destroy")) };
        steps.find(context).await
    }

    async fn destroy(&self, context: &Context) -> Result<Done, StepError> {
        let (Some(steps), Some(record)) = (self.terraform().await?, &self.record.terraform) else {
            return Ok(Done::quiet("nothing to destroy"));
        };
        let (known, done) = steps.destroy(context).await?;
        let ends = steps.look_up(context, &known, &record.lookup).await?;
        let regions = steps.regions();
        for (end, item) in terraform::look_up_by_tag(self.cluster, self.record, &known, ends, regions).await {
            self.add(end, item);
        }
        Ok(done)
    }

    fn allowed(&self) -> Allowed {
        terraform::allowed_by_record(self.cluster, self.record.terraform.as_ref())
    }

    async fn delete_workspace(&self, context: &Context) -> Result<Done, StepError> {
        let Some(steps) = self.terraform().await? else { return Ok(Done::quiet("not ours")) };
        let (end, item) = steps.delete_workspace(context).await?;
        self.add(end, item);
        Ok(Done::quiet("deleted"))
    }

    /// Images are shared by all that run the same content, and by the next `up`.
    fn images(&self) -> Done {
        for reference in self.record.images.values() {
            self.add(
                End::Kept,
                Item {
                    kind: ThingKind::Image,
                    id: reference.clone(),
                    evidence: "in the registry, by its content; the registry's own rules expire it"
                        .to_owned(),
                    used_by: vec![],
                    remove: None,
                },
            );
        }
        Done::quiet("kept")
    }

    /// The receipt. `before` is that of the run before this one.
    pub(super) fn finish(&self, before: Option<&Receipt>) -> Receipt {
        // What Terraform made was looked up by a run that died after it had written its receipt.
        let before = before.filter(|_| self.record.terraform.as_ref().is_some_and(|t| !t.claimed));
        let mut receipt = self.receipt.lock().unwrap_or_else(PoisonError::into_inner).clone();
        for thing in &self.things {
            let known = receipt.items().any(|(_, item)| item.kind == thing.kind && item.id == thing.id);
            if !known && matches!(thing.kind, ThingKind::Workspace | ThingKind::Resource) {
                let seen = before.and_then(|before| {
                    before.items().find(|(_, item)| item.kind == thing.kind && item.id == thing.id)
                });
                if let Some((end, item)) = seen {
                    receipt.add(end, item.clone());
                    continue;
                }
                receipt.add(
                    End::Unverified,
                    Item {
                        kind: thing.kind,
                        id: thing.id.clone(),
                        evidence: "only the journal knows of it; nothing could be looked up".to_owned(),
                        used_by: vec![],
                        remove: None,
                    },
                );
            }
        }
        receipt
    }

    /// Whether the next `down` may still find something, by what the record and this environment's directory
    /// say of it.
    pub(super) fn lost_sight(&self, receipt: &Receipt) -> bool {
        let mut unverified = receipt.unverified.iter();
        unverified.any(|item| item.kind == ThingKind::Workspace || item.id == terraform::tag_of(self.record))
    }
}
