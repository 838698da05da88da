//! `up` for the local target: check all that can be checked, then run the plan.

mod deliver;
mod plan;
mod preflight;
mod world;

use std::collections::BTreeMap;
use std::sync::Mutex;
use std::time::{Duration, Instant};

use envctl_model::Event;
use envctl_model::name::hash;
use envctl_model::record::{Phase, RECORD_VERSION, Record};
use envctl_model::stack::parse_ttl;
use jiff::Timestamp;

pub(crate) use preflight::{Checked, check};
use world::UpWorld;
pub(crate) use world::{engine, failed, failure, program, terraform_failed};

use super::machine::Interrupts;
use super::run::{Locked, Run, Screen, open_journal};
use super::{Home, Store, down};
use crate::config::{Base, Project, Settings};
use crate::ui::{Failure, Format};

/// How `up` was asked for.
#[derive(Debug, Clone)]
pub(crate) struct Options {
    /// `--set`, in order.
    pub(crate) set: Vec<String>,
    /// Whether images are built or taken as the values say.
    pub(crate) images: Images,
    /// `--image NAME=REF`.
    pub(crate) image: BTreeMap<String, String>,
    /// Consent to what destroys something.
    pub(crate) yes: bool,
    /// Remove everything again if it fails.
    pub(crate) rollback: bool,
    /// How long to wait until all pods are ready.
    pub(crate) timeout: Duration,
}

/// Where images come from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Images {
    /// Build the working tree.
    Build,
    /// Take what the values say.
    Pinned,
}

/// Brings the environment up.
pub(crate) async fn up(base: &Base, options: &Options, format: Format) -> Result<(), Failure> {
    let begun = Instant::now();
    let interrupts = Interrupts::listen()?;
    let project = base.stack()?;
    let settings = base.settings(&project)?;
    let checked = check(base, &project, &settings, options).await?;
    // What was ready once holds data that this run did not make.
    let existed = checked.former.as_ref().is_some_and(|f| Phase::begin(Some(f.phase)) == Phase::Updating);
    let screen = Screen::new(format);
    let result = run(base, &project, &settings, options, &interrupts, &screen, checked, begun).await;
    let failed = matches!(&result, Err(f) if !matches!(f, Failure::Refused(_) | Failure::Usage(_) | Failure::Input(_)));
    if failed && options.rollback {
        if existed {
            let message = "`up` failed; the environment was there before, so --rollback removes nothing";
            screen.show(Event::Warning { message: message.to_owned() });
        } else {
            let message = "`up` failed; removing what it made (--rollback)";
            screen.show(Event::Warning { message: message.to_owned() });
            // An interrupt of `up` was not meant for this; another one is.
            let interrupts = Interrupts::listen()?;
            if let Err(failure) = down::remove(base, &settings.name.value, &interrupts, &screen).await {
                screen.finish().await;
                return Err(failure);
            }
        }
    }
    screen.finish().await;
    result
}

#[allow(clippy::too_many_arguments, reason = "all of them live for one call")]
async fn run(
    base: &Base,
    project: &Project,
    settings: &Settings,
    options: &Options,
    interrupts: &Interrupts,
    screen: &Screen,
    checked: Checked,
    begun: Instant,
) -> Result<(), Failure> {
    for not_yet in &checked.not_yet {
        screen.show(Event::Warning { message: format!("`{}`: {}", not_yet.key, not_yet.message) });
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
        let record = begin(base, project, settings, &checked, &home)?;
        let journal = open_journal(&home, screen, interrupts).await?;
        home.save_record(&record)?;
        let plan = checked.plan()?;
        screen.show(Event::Planned {
            verb: "up".to_owned(),
            environment: name.to_string(),
            target: format!("{} (compose)", settings.target.value),
            steps: plan.steps.len(),
            expires: Some(record.expires.map_or_else(
                || "never expires".to_owned(),
                |at| format!("expires in {}", crate::ui::ago(Timestamp::now(), at)),
            )),
        });
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
        let failpoint = base.variables.failpoint.as_deref();
        let run = Run { verb: "up", lock: &locked, journal, screen, interrupts, failpoint };
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

/// The record with which this run begins: the former one's identity, and what is known now.
fn begin(
    base: &Base,
    project: &Project,
    settings: &Settings,
    checked: &Checked,
    home: &Home,
) -> Result<Record, Failure> {
    let now = Timestamp::now();
    // Read again under the lock: another `up` may have been first.
    let former = home.record()?;
    let expires = match (&former, base.flags.ttl.is_some()) {
        (Some(former), false) => former.expires,
        _ => {
            parse_ttl(&settings.ttl.value).map_err(Failure::Usage)?.and_then(|ttl| now.checked_add(ttl).ok())
        }
    };
    let identity = former.as_ref().map_or_else(
        || hash(&format!("{} {} {now} {}", settings.name.value, base.owner, std::process::id()), 32),
        |former| former.identity.clone(),
    );
    Ok(Record {
        version: RECORD_VERSION,
        name: settings.name.value.clone(),
        identity,
        project: project.file.stack.project.value.clone(),
        owner: former.as_ref().map_or_else(|| base.owner.clone(), |f| f.owner.clone()),
        target: settings.target.value.clone(),
        created: former.as_ref().map_or(now, |f| f.created),
        expires,
        stack_file: project.path.clone(),
        phase: Phase::begin(former.as_ref().map(|f| f.phase)),
        engine_id: checked.machine.engine.facts().id.clone(),
        router_port: settings.router_port.value,
        backing: checked.backing_record(home),
        terraform: checked.terraform_record(base, project, settings),
        images: checked.images.iter().map(|(name, image)| (name.clone(), image.fact.reference())).collect(),
        urls: former.map(|f| f.urls).unwrap_or_default(),
    })
}
