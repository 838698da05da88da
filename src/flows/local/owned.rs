//! Changes to an environment that is there, under its lock.

use envctl_model::name::EnvironmentName;
use envctl_model::record::{Phase, Place, Record};

use super::lock::Locked;
use super::machine::Machine;
use crate::config::Base;
use crate::flows::subject::local_record;
use crate::flows::{Home, Store};
use crate::ui::Failure;

/// An environment on the Engine, locked.
pub(crate) struct Owned {
    /// The Engine that holds it.
    pub(crate) machine: Machine,
    /// Where its record is.
    pub(crate) home: Home,
    /// Its record, as it is now.
    pub(crate) record: Record,
}

/// Changes something, while nobody else does. `verb` is told to who has to wait.
pub(crate) async fn change<T>(
    base: &Base,
    name: &EnvironmentName,
    verb: &str,
    change: impl AsyncFnOnce(Owned) -> Result<T, Failure>,
) -> Result<T, Failure> {
    let Place::Compose(place) = local_record(base, name)?.place else {
        return Err(Failure::Failed(format!("environment `{name}` does not live on a Docker Engine")));
    };
    let machine = Machine::connect(base, Some(&place.engine_id)).await?;
    let locked = Locked::acquire(base, &machine, name.as_str(), None, verb).await?;
    let changed = async {
        // Read again under the lock: an `up` may have written it meanwhile.
        let record = local_record(base, name)?;
        if record.phase == Phase::Removing {
            return Err(Failure::Refused(format!(
                "environment `{name}` is being removed: `envctl down` goes on with that"
            )));
        }
        let home = Store::new(base.state_dir.value.clone()).home(name);
        change(Owned { machine, home, record }).await
    }
    .await;
    let released = locked.release().await;
    let changed = changed?;
    released?;
    Ok(changed)
}
