//! The lock of an environment on the Engine, and the agent's image that it is made from.

use envctl_local::agent_image;
use envctl_local::engine::{EngineReader, VerifiedEngine};
use envctl_local::lock::{self, Acquired, Holder, LockRequest};
use envctl_runner::Lock;

use super::agent;
use super::machine::{Machine, explain};
use crate::config::Base;
use crate::ui::Failure;

/// How often the agent's image is loaded when others remove it at that moment.
const ATTEMPTS: usize = 5;

/// The only writer of an environment.
#[derive(Debug)]
pub(crate) struct Locked {
    lock: lock::Lock,
    reader: EngineReader,
    engine: VerifiedEngine,
    /// The agent's image, which the lock and all roles run from.
    pub(crate) agent_image: String,
}

impl Locked {
    /// Loads the agent and takes the lock. A lock whose holder has died is broken.
    pub(crate) async fn acquire(
        base: &Base,
        machine: &Machine,
        name: &str,
        backing: Option<&str>,
        verb: &str,
    ) -> Result<Self, Failure> {
        let binary = agent::for_architecture(&machine.engine.facts().arch)?;
        let host = rustix::system::uname().nodename().to_string_lossy().into_owned();
        let holder = Holder::this_process(&host, &base.variables.user, &format!("envctl {verb}"))
            .map_err(Failure::failed)?;
        for _ in 0..ATTEMPTS {
            let image = agent_image::ensure(&machine.engine, binary).await.map_err(|e| explain(&e))?;
            let request = LockRequest {
                key: name,
                environment: name,
                image: &image.reference,
                backing,
                holder: &holder,
            };
            match lock::acquire(&machine.engine, &request).await {
                Ok(Acquired::Lock(lock)) => {
                    let locked = Self {
                        lock,
                        reader: machine.reader.clone(),
                        engine: machine.engine.clone(),
                        agent_image: image.reference,
                    };
                    // Whoever removed the image while the lock's container was being made did not see that it
                    // is used. From here on everybody does.
                    return match agent_image::ensure(&machine.engine, binary).await {
                        Ok(_) => Ok(locked),
                        Err(error) => {
                            locked.release().await?;
                            Err(explain(&error))
                        }
                    };
                }
                Ok(Acquired::Held(held)) => {
                    return Err(Failure::Refused(format!(
                        "environment `{name}` is {held}\n  wait for it; if you know that it is dead, break the lock with: {}",
                        held.break_command()
                    )));
                }
                // The last environment of somebody else went in between, and the image with it.
                Err(error) if error.is_not_found() => {}
                Err(error) => return Err(explain(&error)),
            }
        }
        Err(Failure::Failed("the agent's image is removed as often as it is loaded".to_owned()))
    }

    /// Gives the lock back.
    pub(crate) async fn release(self) -> Result<(), Failure> {
        self.lock.release(&self.engine).await.map_err(|e| explain(&e))
    }
}

impl Lock for Locked {
    async fn still_held(&self) -> Result<(), String> {
        match self.lock.still_held(&self.reader).await {
            Ok(true) => Ok(()),
            Ok(false) => {
                Err("the lock of this environment was taken away by somebody; nothing more was done"
                    .to_owned())
            }
            Err(error) => Err(error.to_string()),
        }
    }
}
