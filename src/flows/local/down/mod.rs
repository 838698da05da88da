//! `down` for the local target: remove, look everything up, write the receipt.

mod plan;
mod world;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Mutex, PoisonError};

use envctl_local::agent_image;
use envctl_local::lookup::{self, Existence};
use envctl_model::name::EnvironmentName;
use envctl_model::receipt::{End, Item};
use envctl_model::record::{Phase, Place as Lives, Record};
use envctl_model::{Event, Receipt, Thing, ThingKind};

use super::lock::Locked;
use super::machine::{Machine, explain, look};
use crate::config::Base;
use crate::flows::interrupts::Interrupts;
use crate::flows::run::{Run, Screen, failpoints, open_journal};
use crate::flows::terraform::Place;
use crate::flows::{Home, Store};
use crate::ui::Failure;
use world::DownWorld;

/// Removes an environment; what happens goes to `screen`.
pub(crate) async fn remove(
    base: &Base,
    name: &EnvironmentName,
    interrupts: &Interrupts,
    screen: &Screen,
) -> Result<(), Failure> {
    let store = Store::new(base.state_dir.value.clone());
    let home = store.home(name);
    let Some(mut record) = home.record()? else {
        return nothing(base, &store, &home, name, screen).await;
    };
    let Lives::Compose(compose) = record.place.clone() else {
        return Err(Failure::Failed(format!("environment `{name}` does not live on a Docker Engine")));
    };
    let machine = Machine::connect(base, Some(&compose.engine_id)).await?;
    if compose.backing.is_some() {
        // Before anything is removed: without it the backing services could not be released.
        machine.compose_version().await?;
    }
    let backing = compose.backing.as_ref().map(|b| b.project.clone());
    let locked = Locked::acquire(base, &machine, name.as_str(), backing.as_deref(), "down").await?;
    let receipt = async {
        let journal = open_journal(&home, screen, interrupts).await?;
        let things = journal.lock().unwrap_or_else(PoisonError::into_inner).things().clone();
        record.phase = Phase::Removing;
        // A disk that is full holds nothing up here: removing is what makes room.
        if let Err(failure) = home.save_record(&record) {
            screen.warn(failure.message().unwrap_or_default());
        }
        let resources = match &record.terraform {
            Some(terraform) => {
                things.contains(&Thing::new(ThingKind::Workspace, terraform.workspace.clone()))
                    || Place::of(&home).owns_workspace(&home, &terraform.workspace)?
            }
            None => false,
        };
        let plan = plan::plan(&record, &compose, resources).map_err(Failure::failed)?;
        screen.show(Event::Planned {
            verb: "down".to_owned(),
            environment: name.to_string(),
            target: format!("{} (compose)", record.target),
            steps: plan.steps.len(),
            expires: None,
        });
        let world = DownWorld {
            base,
            interrupts,
            machine: &machine,
            store: &store,
            home: &home,
            record: &record,
            compose: &compose,
            things: things.clone(),
            images_in_use: images_in_use(&store, name)?,
            receipt: Mutex::new(Receipt::new(name.as_str())),
        };
        let failpoints = failpoints(&base.variables);
        let run = Run { verb: "down", lock: &locked, journal, screen, interrupts, failpoints, home: &home };
        run.whatever_the_disk_says().execute(&world, &plan).await?;
        let mut receipt = world.receipt.into_inner().unwrap_or_else(PoisonError::into_inner);
        look_up_the_rest(&machine, &record.identity, &things, &mut receipt).await?;
        Ok::<_, Failure>(receipt)
    }
    .await;
    let released = locked.release().await;
    let mut receipt = receipt?;
    released?;
    for (end, item) in agent_image::remove_unused(&machine.engine).await.map_err(|e| explain(&e))? {
        receipt.add(end, item);
    }
    let lost_sight = receipt.unverified.iter().any(|item| item.kind == ThingKind::Workspace);
    let saved = store.save_receipt(&receipt);
    let left = !receipt.left.is_empty();
    // A resource that nobody could look up may still be there: its state file says where.
    if !left && !lost_sight {
        home.remove()?;
    }
    // There may be room now.
    let saved = saved.or_else(|_| store.save_receipt(&receipt));
    screen.show(Event::Receipt(receipt));
    saved?;
    if left { Err(Failure::Left) } else { Ok(()) }
}

/// There is no record. Things on the Engine may still carry the name: say so, and whose they are.
async fn nothing(
    base: &Base,
    store: &Store,
    home: &Home,
    name: &EnvironmentName,
    screen: &Screen,
) -> Result<(), Failure> {
    if home.file("terraform").exists() {
        return Err(Failure::Failed(format!(
            "the record of environment `{name}` is missing, and its Terraform state is still in {}\n  \
             put record.json back, or type `envctl up` with its stack file once more, then `envctl down`",
            home.file("").display()
        )));
    }
    let reader = look(base).await?;
    let found = lookup::named(&reader, name.as_str()).await.map_err(|e| explain(&e))?;
    if !found.is_empty() {
        return Err(Failure::Refused(format!(
            "there is no record of environment `{name}` in {}, and containers on the Engine carry its name: {}\n  \
             another user or state directory made them, or the record was lost; \
             `docker rm -f` removes them by hand",
            base.state_dir.value.display(),
            found.join(", ")
        )));
    }
    // `up` died between making the directory and writing the record: nothing else exists.
    home.remove()?;
    let mut message = format!("there is no environment `{name}`; nothing was removed");
    let names: Vec<_> = store.records()?.into_iter().map(|(name, _)| name).collect();
    if !names.is_empty() {
        message.push_str(&format!("\nenvironments: {}", names.join(", ")));
    }
    screen.show(Event::Warning { message });
    screen.show(Event::Receipt(Receipt::new(name.as_str())));
    Ok(())
}

/// Which images other environments' records name.
fn images_in_use(store: &Store, me: &EnvironmentName) -> Result<BTreeMap<String, BTreeSet<String>>, Failure> {
    let mut used: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for (name, record) in store.records()? {
        let Ok(Record { images, .. }) = record else { continue };
        if name == me.as_str() {
            continue;
        }
        for reference in images.into_values() {
            used.entry(reference).or_default().insert(name.clone());
        }
    }
    Ok(used)
}

/// Looks up, one by one, what the journal knows and no step has said anything about: containers of
/// earlier versions of the chart, a network whose `up` died.
async fn look_up_the_rest(
    machine: &Machine,
    identity: &str,
    things: &BTreeSet<Thing>,
    receipt: &mut Receipt,
) -> Result<(), Failure> {
    let known: BTreeSet<Thing> =
        receipt.items().map(|(_, item)| Thing::new(item.kind, item.id.clone())).collect();
    for thing in things.difference(&known) {
        let item = |evidence: &str, remove| Item {
            kind: thing.kind,
            id: thing.id.clone(),
            evidence: evidence.to_owned(),
            used_by: vec![],
            remove,
        };
        let exists = match thing.kind {
            ThingKind::Container | ThingKind::Network | ThingKind::Volume => {
                lookup::exists(&machine.reader, thing, identity).await.map_err(|e| explain(&e))?
            }
            // No step has looked these up, so that nothing but the journal speaks of them.
            ThingKind::Workspace | ThingKind::Resource => {
                receipt.add(
                    End::Unverified,
                    item("only the journal knows of it; nothing could be looked up", None),
                );
                continue;
            }
            // Steps have looked these up themselves, or they were never made.
            ThingKind::Image | ThingKind::BackingService | ThingKind::Router => continue,
            ThingKind::Namespace | ThingKind::Object | ThingKind::PersistentVolume => continue,
        };
        let (end, item) = match exists {
            Existence::None => (End::Gone, item(&format!("the Engine has no such {}", thing.kind), None)),
            // Somebody else's by now: a name is not an identity.
            Existence::NotOurs => continue,
            Existence::Ours => {
                let remove = format!("docker {} rm {}", thing.kind, thing.id);
                (End::Left, item("still on the Engine", Some(remove)))
            }
        };
        receipt.add(end, item);
    }
    Ok(())
}
