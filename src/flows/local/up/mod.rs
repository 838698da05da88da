//! `up` for the local target: check all that can be checked, then run the plan.

mod deliver;
mod plan;
mod preflight;
mod templates;
mod world;

use std::sync::Mutex;

use envctl_local::warden;
use envctl_model::Event;
use envctl_model::record::{ComposePlace, Place as Lives};
use envctl_translate::Warden;

pub(crate) use deliver::{desired, pod_volumes};
pub(crate) use preflight::{Checked, check};
use world::UpWorld;

use super::down;
use super::lock::Locked;
use super::machine::explain;
use crate::flows::Store;
use crate::flows::run::{Run, failpoints, open_journal};
use crate::flows::terraform::Place;
use crate::flows::up::{Call, begin, lifetime, roll_back};
use crate::ui::Failure;

/// Brings the environment up.
pub(crate) async fn up(call: Call<'_>) -> Result<(), Failure> {
    let Call { base, project, settings, options, .. } = call;
    let checked = check(base, project, settings, options).await?;
    up_checked(call, checked).await
}

/// The same with what was checked just now.
pub(crate) async fn up_checked(call: Call<'_>, checked: Checked) -> Result<(), Failure> {
    let Call { base, settings, screen, .. } = call;
    let former = checked.former.clone();
    let result = run(call, checked).await;
    roll_back(call, former.as_ref(), result, async |interrupts| {
        down::remove(base, &settings.name.value, interrupts, screen).await
    })
    .await
}

async fn run(call: Call<'_>, checked: Checked) -> Result<(), Failure> {
    let Call { base, project, settings, options, interrupts, screen, begun } = call;
    for warning in &checked.warnings {
        screen.show(Event::Warning { message: warning.clone() });
    }
    let name = &settings.name.value;
    let backing = checked.backing.as_ref().map(|b| b.project.clone());
    let locked = Locked::acquire(base, &checked.machine, name.as_str(), backing.as_deref(), "up").await?;
    let result = async {
        let store = Store::new(base.state_dir.value.clone());
        let home = store.home(name);
        home.create()?;
        if let Some(former) = checked.former.as_ref().filter(|f| f.stack_file != project.path) {
            let message = format!("this environment was made from {}", former.stack_file.display());
            screen.show(Event::Warning { message });
        }
        // Read again under the lock: another `up` may have been first.
        let former = home.record()?;
        let images = checked.images.iter().map(|(name, image)| (name.clone(), image.fact.reference()));
        let place = Lives::Compose(ComposePlace {
            engine_id: checked.machine.engine.facts().id.clone(),
            router_port: settings.router_port.value,
            backing: checked.backing_record(&home),
            protected: project.file.stack.protected.clone(),
        });
        let has_state = Place::of(&home).claims(&home);
        let mut record = begin(base, project, settings, former, place, images.collect(), has_state)?;
        record.left_out = checked.part.left_out();
        record.live = checked.live.components(&checked.objects.list);
        let journal = open_journal(&home, screen, interrupts).await?;
        home.save_record(&record)?;
        checked.secrets.keep(&home)?;
        let plan = checked.plan()?;
        screen.show(Event::Planned {
            verb: "up".to_owned(),
            environment: name.to_string(),
            target: format!("{} (compose)", settings.target.value),
            steps: plan.steps.len(),
            expires: Some(lifetime(&record)),
        });
        let is_guarded = warden::is_there(&checked.machine.engine, &record.identity).await;
        let is_guarded = is_guarded.map_err(|e| explain(&e))?;
        if let (false, Warden::At { socket, .. }) = (is_guarded, checked.machine.warden(settings, None)) {
            let message = format!(
                "a container of this environment, its warden, holds the Engine's socket {socket}; \
                 `warden: false` in the target forbids it"
            );
            screen.show(Event::Warning { message });
        }
        let world = UpWorld {
            base,
            project,
            settings,
            options,
            interrupts,
            checked: &checked,
            store: &store,
            home: &home,
            agent_image: &locked.agent_image,
            record: Mutex::new(record),
            progress: Mutex::default(),
        };
        let failpoints = failpoints(&base.variables);
        let run = Run { verb: "up", lock: &locked, journal, screen, interrupts, failpoints, home: &home };
        run.execute(&world, &plan).await?;
        let record = world.finish()?;
        screen.show(Event::Ready {
            environment: name.to_string(),
            urls: record.urls,
            seconds: begun.elapsed().as_secs_f64(),
        });
        Ok(())
    }
    .await;
    let released = locked.release().await;
    result.and(released)
}
