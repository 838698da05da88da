//! The templates of CronJobs: made by Compose as they would run, and never started. The warden makes each run of them.

use std::collections::BTreeSet;

use envctl_local::compose::ComposeProject;
use envctl_local::{remove, seed, state, warden};
use envctl_model::labels::Role;
use envctl_runner::{Context, StepError};
use envctl_translate::{Translation, WARDEN};

use super::deliver::{described, pod_volumes};
use super::world::UpWorld;
use crate::flows::local::compose;
use crate::flows::local::machine::engine;
use crate::flows::run::supervisor;
use crate::flows::step_error::program;

impl UpWorld<'_> {
    /// Makes those that changed, and gives their names. Runs that go on are left alone, as on a cluster; without a warden
    /// they have to go.
    pub(super) async fn make_templates(
        &self,
        context: &Context,
        translation: &Translation,
    ) -> Result<Vec<String>, StepError> {
        let machine = &self.checked.machine;
        let identity = self.identity();
        if translation.compose["services"].get(WARDEN).is_none() {
            warden::remove_runs(&machine.engine, &identity).await.map_err(engine)?;
        }
        let desired: Vec<_> = described(translation, &translation.templates).collect();
        let actual = state::templates(&machine.reader, &identity).await.map_err(engine)?;
        let is_there = |service: &str, hash: &str| {
            actual
                .iter()
                .any(|there| there.service.as_deref() == Some(service) && there.hash.as_deref() == Some(hash))
        };
        let changed: Vec<_> = desired
            .iter()
            .filter(|pod| {
                self.network_is_new() || !pod.containers.iter().all(|one| is_there(&one.service, &pod.hash))
            })
            .collect();
        let kept: BTreeSet<_> = desired
            .iter()
            .filter(|pod| changed.iter().all(|changed| changed.name != pod.name))
            .map(|pod| pod.name.as_str())
            .collect();
        let stale: Vec<_> = actual
            .into_iter()
            .filter(|there| there.pod.as_deref().is_none_or(|pod| !kept.contains(pod)))
            .collect();
        let pods = stale.iter().filter_map(|there| there.pod.clone()).collect();
        remove::containers(&machine.engine, stale).await.map_err(engine)?;
        let volumes = pod_volumes(translation, self.name(), &pods);
        remove::volumes(&machine.engine, &identity, &volumes).await.map_err(engine)?;
        let services: Vec<String> = changed
            .iter()
            .flat_map(|pod| pod.containers.iter().map(|container| container.service.clone()))
            .collect();
        let file = self.compose_file();
        let project = ComposeProject { name: self.name(), file: &file };
        let by = supervisor(self.interrupts, context);
        project.create(&machine.cli, &by, &services).await.map_err(program)?;
        // All of them: this may have been interrupted before.
        for seeder in desired.iter().flat_map(|pod| &pod.containers).filter(|one| one.role == Role::Seeder) {
            let container = compose::container_name(self.name(), &seeder.service);
            let content = compose::seed(&translation.compose, &seeder.service);
            seed::put(&machine.engine, &container, content.as_bytes()).await.map_err(engine)?;
        }
        Ok(changed.into_iter().map(|pod| pod.name.clone()).collect())
    }
}
