//! The environment that the new side is: as `up` checks it, brings it up, and `down` removes it.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use envctl_model::facts::Facts;
use envctl_model::name::EnvironmentName;
use envctl_model::stack::{ComponentKind, TargetKind};
use envctl_programs::git::WorkTree;
use envctl_rehearse::evidence::TerraformIdentity;
use envctl_translate::Warden;

use super::{New, OnCluster, OnEngine};
use crate::config::{Base, Settings};
use crate::flows::chart::Objects;
use crate::flows::cluster::target::Destination;
use crate::flows::cluster::{down as cluster_down, up as on_cluster};
use crate::flows::images::StackImage;
use crate::flows::interrupts::Interrupts;
use crate::flows::local::{down as local_down, up as on_engine};
use crate::flows::rehearse::plan::Loaded;
use crate::flows::run::Screen;
use crate::flows::terraform::Place;
use crate::flows::up::{Call, Options};
use crate::flows::{Home, Store, known};
use crate::ui::Failure;

/// How long the new side may take to come up.
const UP_WITHIN: Duration = Duration::from_secs(600);

/// How long the cluster may take to end what was there.
const DOWN_WITHIN: Duration = Duration::from_secs(300);

/// The environment that the new side is.
pub(in crate::flows::rehearse) struct Environment<'a> {
    /// Flags, variables, programs; of this environment.
    pub(in crate::flows::rehearse) base: &'a Base,
    /// Its name, its target and the like.
    pub(in crate::flows::rehearse) settings: &'a Settings,
    /// The plan.
    pub(in crate::flows::rehearse) loaded: &'a Loaded,
    /// Ctrl-C.
    pub(in crate::flows::rehearse) interrupts: &'a Interrupts,
    /// Where to publish.
    pub(in crate::flows::rehearse) screen: &'a Screen,
}

/// What `up` checked, and learnt of it.
pub(in crate::flows::rehearse) enum Checked {
    /// Of an environment in a cluster.
    Cluster(Box<on_cluster::Checked>),
    /// Of one on this machine's Engine.
    Engine(Box<on_engine::Checked>),
}

impl Environment<'_> {
    /// Checks all that `up` checks, and changes nothing.
    pub(in crate::flows::rehearse) async fn check(&self) -> Result<Checked, Failure> {
        let Self { base, settings, loaded, .. } = *self;
        let (project, options) = (&loaded.project, &self.options());
        Ok(match loaded.target {
            TargetKind::Eks => {
                Checked::Cluster(Box::new(on_cluster::check(base, project, settings, options).await?))
            }
            TargetKind::Compose => {
                let checked = on_engine::check(base, project, settings, options).await?;
                if let (ComponentKind::Schedule, Warden::Off(why)) =
                    (loaded.plan.kind, checked.machine.warden(settings, None))
                {
                    return Err(Failure::Usage(format!(
                        "a draft of a schedule needs the warden, which runs CronJobs on a target of kind `compose`: {why}\n  \
                         name a target of kind `eks` in `new.target`, or let the warden run"
                    )));
                }
                Checked::Engine(Box::new(checked))
            }
        })
    }

    /// Brings it up, as `up` does, with what was checked just now.
    pub(in crate::flows::rehearse) async fn up(&self, checked: Checked) -> Result<(), Failure> {
        let Self { base, settings, loaded, interrupts, screen } = *self;
        let options = &self.options();
        let (project, begun) = (&loaded.project, Instant::now());
        let call = Call { base, project, settings, options, interrupts, screen, begun };
        match checked {
            Checked::Cluster(checked) => on_cluster::up_checked(call, *checked).await,
            Checked::Engine(checked) => on_engine::up_checked(call, *checked).await,
        }
    }

    /// All facts of one that is up, Terraform's outputs among them.
    pub(in crate::flows::rehearse) fn facts(&self, checked: &Checked) -> Result<Facts, Failure> {
        let Self { base, settings, loaded, .. } = *self;
        let target = &loaded.project.file.stack.targets[&settings.target.value];
        let facts = match checked {
            Checked::Cluster(checked) => checked.facts(base, target, settings),
            Checked::Engine(checked) => checked.facts(base, settings),
        };
        let home = self.home(checked);
        Ok(known::with_outputs(facts, &Place::of(&home).outputs(&home)?))
    }

    /// What Terraform made it with, if anything.
    pub(in crate::flows::rehearse) fn terraform(
        &self,
        checked: &Checked,
    ) -> Result<Option<TerraformIdentity>, Failure> {
        let target = &self.loaded.project.file.stack.targets[&self.settings.target.value];
        let Some(root) = &target.terraform else { return Ok(None) };
        let home = self.home(checked);
        let place = Place::of(&home);
        let configuration = place.configuration(root)?;
        let plan = place.planned(&home)?;
        Ok(configuration.map(|configuration| TerraformIdentity { configuration, plan }))
    }

    fn home(&self, checked: &Checked) -> Home {
        match checked {
            Checked::Cluster(checked) => checked.home.clone(),
            Checked::Engine(_) => {
                Store::new(self.base.state_dir.value.clone()).home(&self.settings.name.value)
            }
        }
    }

    /// The component in one that is up.
    pub(in crate::flows::rehearse) async fn new_side(&self, checked: &Checked) -> Result<New, Failure> {
        let plan = &self.loaded.plan;
        Ok(match checked {
            Checked::Cluster(checked) => {
                let namespace = self.settings.name.value.as_str();
                New::Cluster(Box::new(OnCluster::find(checked.cluster.clone(), namespace, plan).await?))
            }
            Checked::Engine(checked) => {
                let record = checked.former.as_ref().ok_or_else(|| {
                    Failure::Failed(format!("the environment `{}` is not there", self.settings.name.value))
                })?;
                let engine = &checked.machine.engine;
                let (objects, services) = (&checked.objects.list, checked.translation.services.clone());
                let found = OnEngine::find(engine, &record.identity, plan, objects, services).await?;
                New::Draft(Box::new(found))
            }
        })
    }

    /// Removes it, however far it came.
    pub(in crate::flows::rehearse) async fn remove(&self) -> Result<(), Failure> {
        let Self { base, loaded, interrupts, screen, .. } = *self;
        let name: &EnvironmentName = &self.settings.name.value;
        let stack = &loaded.project.file.stack;
        let target = &stack.targets[&self.settings.target.value];
        match Destination::of_target(base, &stack.protected, target) {
            Some(destination) => {
                let options = cluster_down::Options::within(DOWN_WITHIN);
                cluster_down::remove(base, &destination, name, &options, interrupts, screen).await
            }
            None => local_down::remove(base, name, interrupts, screen).await,
        }
    }

    fn options(&self) -> Options {
        Options { values: self.loaded.values(), yes: true, timeout: UP_WITHIN, ..Options::plain() }
    }
}

impl Checked {
    /// The images of the stack, by name.
    pub(in crate::flows::rehearse) fn images(&self) -> &BTreeMap<String, StackImage> {
        match self {
            Self::Cluster(checked) => &checked.images,
            Self::Engine(checked) => &checked.images,
        }
    }

    /// The git working tree.
    pub(in crate::flows::rehearse) fn git(&self) -> Option<&WorkTree> {
        match self {
            Self::Cluster(checked) => checked.git.as_ref(),
            Self::Engine(checked) => checked.git.as_ref(),
        }
    }

    /// What was rendered.
    pub(in crate::flows::rehearse) fn objects(&self) -> &Objects {
        match self {
            Self::Cluster(checked) => &checked.objects,
            Self::Engine(checked) => &checked.objects,
        }
    }

    /// The networks on which is what both sides share, where machines cannot reach it without: by name.
    pub(in crate::flows::rehearse) fn networks(&self) -> Vec<String> {
        match self {
            Self::Cluster(_) => Vec::new(),
            Self::Engine(checked) => checked.backing.iter().map(|backing| backing.network.clone()).collect(),
        }
    }
}
