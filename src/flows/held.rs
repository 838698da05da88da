//! What a process keeps of long work on a plan, so that another one can see it, go on with it, and end it.

use std::fs::File;
use std::path::Path;

use envctl_rehearse::director::Judged;
use rustix::fs::{FlockOperation, flock};
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::{Home, Store};
use crate::config::Base;
use crate::ui::Failure;

const JUDGED: &str = "judged.json";

/// What is kept.
pub(crate) trait Kept: Serialize + DeserializeOwned {
    /// The verb that does the work: also what the work is called.
    const VERB: &'static str;
    /// What the work is called: `rehearsal`.
    const NOUN: &'static str;
    /// The directory of all work of this kind, in the state directory.
    const DIRECTORY: &'static str;

    /// Its name, which no other work of this kind has.
    fn name(&self) -> &str;
    /// The plan's file.
    fn plan(&self) -> &Path;
}

/// The directory of some work, held by this process alone.
#[derive(Debug)]
pub(crate) struct Held<K> {
    /// What is kept.
    pub(crate) kept: K,
    /// Where.
    pub(crate) home: Home,
    // Released when the process ends, however that ends.
    _lock: File,
}

impl<K: Kept> Held<K> {
    /// Begins work of that name.
    pub(crate) fn begin(base: &Base, kept: K) -> Result<Self, Failure> {
        let home = store(base).held(K::DIRECTORY, kept.name());
        home.create()?;
        let lock = lock(&home)?.ok_or_else(|| busy(&kept))?;
        let held = Self { kept, home, _lock: lock };
        held.save()?;
        Ok(held)
    }

    /// What is kept of work on a plan, by whichever process.
    pub(crate) fn of_plan(base: &Base, plan: &Path) -> Result<Vec<(Home, K)>, Failure> {
        let mut found = Vec::new();
        for home in store(base).all_held(K::DIRECTORY)? {
            let Some(kept) = home.read_json::<K>(&file::<K>())? else { continue };
            if kept.plan() == plan {
                found.push((home, kept));
            }
        }
        Ok(found)
    }

    /// Takes over the work on a plan that a process left which died.
    pub(crate) fn take_over(base: &Base, plan: &Path) -> Result<Self, Failure> {
        let mut found = Self::of_plan(base, plan)?;
        if found.len() > 1 {
            let names: Vec<_> = found.iter().map(|(_, kept)| kept.name().to_owned()).collect();
            found.retain(|(_, kept)| base.flags.name.as_deref() == Some(kept.name()));
            if found.len() != 1 {
                return Err(Failure::Usage(format!(
                    "there are several {}s of {}\n  say which one with --name: {}",
                    K::NOUN,
                    plan.display(),
                    names.join(", ")
                )));
            }
        }
        let Some((home, kept)) = found.pop() else {
            return Err(Failure::Usage(format!(
                "no {} of {} was left unfinished on this machine\n  begin one: envctl {} {}",
                K::NOUN,
                plan.display(),
                K::VERB,
                plan.display()
            )));
        };
        let lock = lock(&home)?.ok_or_else(|| busy(&kept))?;
        Ok(Self { kept, home, _lock: lock })
    }

    /// Writes down all that was judged up to now.
    pub(crate) fn keep(&self, judged: &[Judged]) -> Result<(), Failure> {
        self.home.write_json(JUDGED, &judged)
    }

    /// What was judged by the processes that were at work on it before.
    pub(crate) fn judged(&self) -> Result<Vec<Judged>, Failure> {
        Ok(self.home.read_json(JUDGED)?.unwrap_or_default())
    }

    /// Writes down what is kept.
    pub(crate) fn save(&self) -> Result<(), Failure> {
        self.home.write_json(&file::<K>(), &self.kept)
    }
}

fn file<K: Kept>() -> String {
    format!("{}.json", K::NOUN)
}

fn store(base: &Base) -> Store {
    Store::new(base.state_dir.value.clone())
}

fn lock(home: &Home) -> Result<Option<File>, Failure> {
    let path = home.file("lock");
    let open = File::options().create(true).truncate(false).write(true).open(&path);
    let file = open.map_err(|e| Failure::Failed(format!("cannot write {}: {e}", path.display())))?;
    match flock(&file, FlockOperation::NonBlockingLockExclusive) {
        Ok(()) => Ok(Some(file)),
        Err(rustix::io::Errno::WOULDBLOCK) => Ok(None),
        Err(e) => Err(Failure::Failed(format!("cannot lock {}: {e}", path.display()))),
    }
}

fn busy<K: Kept>(kept: &K) -> Failure {
    Failure::Taken(format!(
        "the {} {} is at work, in another process of this machine\n  wait for its end, or interrupt it with Ctrl-C",
        K::NOUN,
        kept.name()
    ))
}
