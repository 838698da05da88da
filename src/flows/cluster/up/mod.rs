//! `up` for the cluster target: check all that can be checked, then run the plan.

mod deliver;
mod fits;
mod plan;
mod preflight;
mod world;

use std::sync::Mutex;

use envctl_cluster::{namespace, records};
use envctl_model::Event;
use envctl_model::name::EnvironmentName;
use envctl_model::record::Place as Lives;

use preflight::former;
pub(crate) use preflight::{Checked, build_platform, check, image_source};
use world::UpWorld;

use super::down;
use super::lock::Locked;
use super::target::{explain, place};
use crate::flows::Home;
use crate::flows::locate;
use crate::flows::run::{Run, failpoints, open_journal, reach};
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
    let Call { base, settings, options, screen, .. } = call;
    let former = checked.former.clone();
    let destination = checked.destination.clone();
    let result = run(call, checked).await;
    roll_back(call, former.as_ref(), result, async |interrupts| {
        let options = down::Options::within(options.timeout);
        down::remove(base, &destination, &settings.name.value, &options, interrupts, screen).await
    })
    .await
}

async fn run(call: Call<'_>, checked: Checked) -> Result<(), Failure> {
    let Call { base, project, settings, options, interrupts, screen, .. } = call;
    for warning in checked.cluster.warnings().iter().chain(&checked.warnings) {
        screen.warn(warning.clone());
    }
    let name = &settings.name.value;
    let locked = Locked::acquire(base, &checked.cluster, name.as_str(), "up", |w| screen.warn(w)).await?;
    let work = async {
        // Somebody else's run may have ended while this one waited: then what was checked is of before it.
        let again = former(&checked.cluster, project, name.as_str()).await?;
        let checked =
            if again == checked.former { checked } else { check(base, project, settings, options).await? };
        locked_up(call, &checked, &locked).await
    };
    let result = locked.hold(interrupts, work).await;
    let released = locked.release().await;
    result.and(released)
}

/// Empties the directory of an environment that was removed without this machine's knowledge.
fn forget_earlier(home: &Home, name: &EnvironmentName) -> Result<(), Failure> {
    if Place::of(home).holds_a_state() {
        return Err(Failure::Refused(format!(
            "this machine has the Terraform state of an earlier environment `{name}`, which the cluster no longer \
             knows\n  see what it still holds, destroy that, and remove {}; or choose another name with --name",
            home.file("terraform/root").display()
        )));
    }
    home.remove()?;
    home.create()
}

async fn locked_up(call: Call<'_>, checked: &Checked, locked: &Locked) -> Result<(), Failure> {
    let Call { base, project, settings, options, interrupts, screen, begun } = call;
    let name = &settings.name.value;
    let home = &checked.home;
    let failpoints = failpoints(&base.variables);
    reach(&failpoints, "up", "locked")?;
    home.create()?;
    let former = checked.former.clone();
    let images = checked.images.iter().map(|(name, image)| (name.clone(), image.fact.reference()));
    // What an earlier chart made is still to be looked up when all goes.
    let mut cluster_wide = checked.cluster_wide.clone();
    if let Some(Lives::Eks(before)) = former.as_ref().map(|former| &former.place) {
        cluster_wide.extend(before.cluster_wide.iter().cloned());
        cluster_wide.sort();
        cluster_wide.dedup();
    }
    let lives = Lives::Eks(place(checked.cluster.facts(), &project.file.stack.protected, cluster_wide));
    let has_state = checked.has_state();
    let mut record = begin(base, project, settings, former, lives, images.collect(), has_state)?;
    record.owner.clone_from(&checked.cluster.facts().username);
    record.left_out = checked.part.left_out();
    let mut journal = open_journal(home, screen, interrupts).await?;
    if !home.is_of(Some(&record.identity))? {
        // What an earlier environment left here would be taken for this one's: its workspace, its outputs.
        drop(journal);
        forget_earlier(home, name)?;
        journal = open_journal(home, screen, interrupts).await?;
    }
    if checked.former.as_ref().is_some_and(|former| former.expires != record.expires) {
        // The platform's rules judge the namespace's: it comes before the record.
        match namespace::extend(&checked.cluster, name.as_str(), record.expires).await {
            Err(error) if error.is_not_found() => {}
            extended => extended.map_err(|e| explain(&e))?,
        }
    }
    // First of all: from here on any machine can see what was begun, and remove it.
    records::save(&checked.cluster, &record).await.map_err(|e| explain(&e))?;
    reach(&failpoints, "up", "recorded")?;
    home.save_record(&record)?;
    checked.secrets.keep(home)?;
    locate::remember(home, &checked.destination.by)?;
    let plan = checked.plan(settings, project)?;
    screen.show(Event::Planned {
        verb: "up".to_owned(),
        environment: name.to_string(),
        target: format!("{} (eks {})", settings.target.value, checked.cluster.facts().cluster),
        steps: plan.steps.len(),
        expires: Some(lifetime(&record)),
    });
    let world = UpWorld {
        base,
        project,
        settings,
        options,
        interrupts,
        checked,
        record: Mutex::new(record),
        progress: Mutex::default(),
    };
    let run =
        Run { verb: "up", lock: locked, journal, screen, interrupts, failpoints: failpoints.clone(), home };
    run.execute(&world, &plan).await?;
    reach(&failpoints, "up", "done")?;
    let record = world.finish().await?;
    reach(&failpoints, "up", "finished")?;
    screen.show(Event::Ready {
        environment: name.to_string(),
        urls: record.urls,
        seconds: begun.elapsed().as_secs_f64(),
    });
    Ok(())
}
