//! One writer per environment: a container that is created under a name of its own and never
//! started. The Engine gives a name to one container only, so this excludes every user of the same
//! Engine, which a file in somebody's home does not.

use bollard::models::ContainerCreateBody;
use bollard::query_parameters::{CreateContainerOptionsBuilder, RemoveContainerOptionsBuilder};
use envctl_programs::process::start_time;
use serde::{Deserialize, Serialize};

use crate::engine::{EngineError, EngineReader, VerifiedEngine, found};
use envctl_model::labels::{self, Role};

/// Who holds, or wants to hold, a lock.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Holder {
    /// The process.
    pub pid: u32,
    /// When that process started, in the system's own words: with the pid it names one process.
    pub started: String,
    /// The machine's name.
    pub host: String,
    /// The user.
    pub user: String,
    /// Since when, RFC 3339.
    pub since: String,
    /// What it is doing: `envctl up`.
    pub command: String,
}

impl Holder {
    /// This process.
    ///
    /// # Errors
    /// When the system does not say when this process started.
    pub fn this_process(host: &str, user: &str, command: &str) -> std::io::Result<Self> {
        let pid = std::process::id();
        let started = start_time(pid)
            .ok_or_else(|| std::io::Error::other("the system does not say when this process started"))?;
        Ok(Self {
            pid,
            started,
            host: host.to_owned(),
            user: user.to_owned(),
            since: jiff::Timestamp::now().round(jiff::Unit::Second).unwrap_or_default().to_string(),
            command: command.to_owned(),
        })
    }

    /// Whether the process that `self` names is known to be dead. Only a process of this machine
    /// can be known; `here` is who asks.
    #[must_use]
    pub fn is_dead(&self, here: &Self) -> bool {
        self.host == here.host && start_time(self.pid).as_deref() != Some(self.started.as_str())
    }
}

impl std::fmt::Display for Holder {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { pid, host, user, since, command, .. } = self;
        write!(f, "`{command}` of {user} on {host} (process {pid}, since {since})")
    }
}

/// A held lock. It is released by [`release`](Self::release) only: a program that ends without
/// releasing leaves a lock whose holder is dead, which the next one breaks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Lock {
    name: String,
    id: String,
}

/// What came of asking for a lock.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Acquired {
    /// It is ours.
    Lock(Lock),
    /// Somebody has it.
    Held(Held),
}

/// A lock that somebody else holds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Held {
    /// Who. `None` when the container of that name says nothing readable.
    pub holder: Option<Holder>,
    /// The lock's container.
    pub container: String,
    /// Its id.
    pub id: String,
}

impl Held {
    /// The command that breaks the lock, for when its holder is known to be gone.
    #[must_use]
    pub fn break_command(&self) -> String {
        format!("docker rm {}", &self.id[..self.id.len().min(12)])
    }
}

impl std::fmt::Display for Held {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match &self.holder {
            Some(holder) => write!(f, "locked by {holder}"),
            None => write!(f, "locked by the container {}, which does not say who made it", self.container),
        }
    }
}

/// What a lock is asked for.
#[derive(Debug, Clone)]
pub struct LockRequest<'a> {
    /// What distinguishes this lock: the name of the environment, made safe for container names.
    pub key: &'a str,
    /// The environment's name.
    pub environment: &'a str,
    /// The agent's image (never started, but a container needs one).
    pub image: &'a str,
    /// The backing Compose project its holder is using.
    pub backing: Option<&'a str>,
    /// Who asks.
    pub holder: &'a Holder,
}

/// The name of the lock's container.
#[must_use]
pub fn name(key: &str) -> String {
    format!("envctl-lock-{key}")
}

/// Takes the lock, breaking one whose holder was a process of this machine and is dead.
///
/// # Errors
/// When the Engine does not answer. A lock held by somebody is no error.
pub async fn acquire(engine: &VerifiedEngine, request: &LockRequest<'_>) -> Result<Acquired, EngineError> {
    let name = name(request.key);
    loop {
        match create(engine, &name, request).await {
            Ok(id) => return Ok(Acquired::Lock(Lock { name, id })),
            Err(error) if !error.is_conflict() => return Err(error),
            Err(_) => {}
        }
        // It was released in between: try again.
        let Some(held) = holder(engine.reader(), &name).await? else {
            continue;
        };
        match &held.holder {
            // By id: if another process breaks it at the same time and takes the name, the lock
            // with the new id is not touched.
            Some(holder) if holder.is_dead(request.holder) => remove(engine, &held.id).await?,
            _ => return Ok(Acquired::Held(held)),
        }
    }
}

/// Who holds the lock of `key` now.
///
/// # Errors
/// When the Engine does not answer.
pub async fn held(reader: &EngineReader, key: &str) -> Result<Option<Held>, EngineError> {
    holder(reader, &name(key)).await
}

impl Lock {
    /// The lock's container.
    #[must_use]
    pub fn id(&self) -> &str {
        &self.id
    }

    /// Whether the lock is still ours: somebody may have broken it.
    ///
    /// # Errors
    /// When the Engine does not answer.
    pub async fn still_held(&self, reader: &EngineReader) -> Result<bool, EngineError> {
        Ok(holder(reader, &self.name).await?.is_some_and(|held| held.id == self.id))
    }

    /// Gives the lock back. One that is already gone is no error.
    ///
    /// # Errors
    /// When the Engine does not answer.
    pub async fn release(self, engine: &VerifiedEngine) -> Result<(), EngineError> {
        remove(engine, &self.id).await
    }
}

async fn create(
    engine: &VerifiedEngine,
    name: &str,
    request: &LockRequest<'_>,
) -> Result<String, EngineError> {
    let mut marks = std::collections::HashMap::from([
        (labels::ROLE.to_owned(), Role::Lock.as_str().to_owned()),
        (labels::ENVIRONMENT.to_owned(), request.environment.to_owned()),
        (labels::HOLDER.to_owned(), serde_json::json!(request.holder).to_string()),
    ]);
    if let Some(backing) = request.backing {
        marks.insert(labels::BACKING.to_owned(), backing.to_owned());
    }
    let body = ContainerCreateBody {
        image: Some(request.image.to_owned()),
        cmd: Some(vec!["hold".to_owned()]),
        labels: Some(marks),
        network_disabled: Some(true),
        ..ContainerCreateBody::default()
    };
    let options = CreateContainerOptionsBuilder::default().name(name).build();
    let created = engine.docker().create_container(Some(options), body).await;
    Ok(created.map_err(engine.failed("taking the environment's lock"))?.id)
}

async fn holder(reader: &EngineReader, name: &str) -> Result<Option<Held>, EngineError> {
    let inspected = reader.docker().inspect_container(name, None).await;
    let Some(container) = found(inspected.map_err(reader.failed("looking at the environment's lock")))?
    else {
        return Ok(None);
    };
    let label = container.config.and_then(|c| c.labels).and_then(|mut l| l.remove(labels::HOLDER));
    Ok(Some(Held {
        holder: label.and_then(|json| serde_json::from_str(&json).ok()),
        container: name.to_owned(),
        id: container.id.unwrap_or_default(),
    }))
}

async fn remove(engine: &VerifiedEngine, id: &str) -> Result<(), EngineError> {
    let options = RemoveContainerOptionsBuilder::default().build();
    let removed = engine.docker().remove_container(id, Some(options)).await;
    match removed.map_err(engine.failed("removing a lock")) {
        // 409: another process is removing it at this moment.
        Err(error) if !error.is_not_found() && !error.is_conflict() => Err(error),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_process_of_this_machine_can_be_known_to_be_dead() {
        let me = Holder::this_process("here", "me", "envctl up").unwrap();
        assert!(!me.is_dead(&me));
        assert!(Holder { started: "1".into(), ..me.clone() }.is_dead(&me));
        assert!(Holder { started: "earlier".into(), ..me.clone() }.is_dead(&me));
        assert!(!Holder { host: "there".into(), started: "1".into(), ..me.clone() }.is_dead(&me));
    }

    #[test]
    fn a_zombie_is_dead() {
        let mut child = std::process::Command::new("true").spawn().unwrap();
        // It ends by itself; nobody has waited for it, so it stays in the table.
        while start_time(child.id()).is_some() {
            std::thread::yield_now();
        }
        child.wait().unwrap();
    }
}
