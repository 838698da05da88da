//! HAProxy: its configuration, its weights, its log.
//!
//! A share is set in two places: by the runtime API, where it counts at once, and in the configuration, where it
//! counts after a restart. Both are read back, for either is easily forgotten.

pub mod config;
mod log;
pub mod runtime;
pub mod share;

use std::collections::BTreeMap;
use std::io::{self, Write as _};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use envctl_model::cutover::Side;

pub use config::Config;
pub use log::Log;
pub use runtime::{Runtime, RuntimeError};

use config::side_of;
use runtime::{Condition, Server};
use share::NoServer;

/// A HAProxy with the servers of both sides in one backend, named as [`Config`] names them.
#[derive(Debug, Clone)]
pub struct Router {
    runtime: Runtime,
    file: PathBuf,
    backend: String,
}

/// The new side's part as it was read back, in percent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Share {
    /// Of what the router does now.
    pub running: u8,
    /// Of its configuration, which counts after a restart.
    pub configured: u8,
}

/// The router could not be changed, or not be read.
#[derive(Debug, thiserror::Error)]
pub enum RouterError {
    /// HAProxy did not do it.
    #[error(transparent)]
    Runtime(#[from] RuntimeError),
    /// The configuration cannot be read or written.
    #[error("HAProxy's configuration {path}: {error}")]
    Io {
        /// The file.
        path: String,
        /// Why.
        error: io::Error,
    },
    /// A side that is to get something has nobody to take it.
    #[error(transparent)]
    NoServer(#[from] NoServer),
    /// No server of either side gets anything.
    #[error(
        "no server of backend `{backend}` gets any request, as {place} has it: give one a weight above 0"
    )]
    Nobody {
        /// The backend.
        backend: String,
        /// Which of both: `HAProxy`, or the configuration's path.
        place: String,
    },
    /// There are more servers than the configuration has lines for.
    #[error(
        "{wanted} servers of the {side} side are more than the {slots} that the configuration has room for"
    )]
    Slots {
        /// Which side.
        side: Side,
        /// How many there are.
        wanted: usize,
        /// How many there can be.
        slots: usize,
    },
}

impl Router {
    /// A HAProxy that runs with the configuration in this file.
    #[must_use]
    pub fn new(runtime: Runtime, file: &Path, backend: &str) -> Self {
        Self { runtime, file: file.to_owned(), backend: backend.to_owned() }
    }

    /// Has the new side get so many percent: in the configuration first, so that a restart in between loses nothing.
    /// Servers in maintenance count for nothing.
    ///
    /// # Errors
    /// When either place cannot be changed, or a side without a server is to get something.
    pub async fn set_share(&self, percent: u8) -> Result<(), RouterError> {
        let changes = self.configure_share(percent).await?;
        // Who gets more comes first: at no moment does nobody get anything.
        let mut changes: Vec<_> = changes.iter().collect();
        changes.sort_by_key(|(server, weight)| i32::from(server.weight) - i32::from(*weight));
        for (server, weight) in changes {
            self.runtime.set_weight(&self.backend, &server.name, *weight).await?;
        }
        Ok(())
    }

    /// Has the configuration alone give the new side so many percent, as one does who dies before he has told HAProxy.
    /// Returns the weight that each server has to get.
    ///
    /// # Errors
    /// As [`Router::set_share`].
    pub async fn configure_share(&self, percent: u8) -> Result<Vec<(Server, u16)>, RouterError> {
        let servers = self.runtime.servers(&self.backend).await?;
        let of = |side| {
            servers.iter().filter(move |one| is_of(one, side) && one.condition != Condition::Maintenance)
        };
        let [old, new] = share::weights(percent, of(Side::Old).count(), of(Side::New).count())?;
        let mut weights: BTreeMap<String, u16> = servers.iter().map(|one| (one.name.clone(), 0)).collect();
        for (server, weight) in of(Side::Old).zip(old).chain(of(Side::New).zip(new)) {
            weights.insert(server.name.clone(), weight);
        }
        self.configure(|line| {
            if let Some(weight) = weights.get(line.name.as_str()) {
                line.weight = *weight;
            }
        })?;
        Ok(servers
            .into_iter()
            .map(|server| {
                let weight = weights[&server.name];
                (server, weight)
            })
            .collect())
    }

    /// Reads back what the new side gets, in both places.
    ///
    /// # Errors
    /// When either cannot be read, or has nobody who gets anything.
    pub async fn share(&self) -> Result<Share, RouterError> {
        let servers = self.runtime.servers(&self.backend).await?;
        let ready = servers.iter().filter(|one| one.condition == Condition::Ready);
        let running = self.part(ready.map(|one| (one.name.as_str(), one.weight)), "HAProxy")?;
        Ok(Share { running, configured: self.configured()? })
    }

    fn configured(&self) -> Result<u8, RouterError> {
        let lines = config::servers(&self.text()?, &self.backend);
        let enabled = lines.iter().filter(|line| !line.disabled);
        self.part(enabled.map(|line| (line.name.as_str(), line.weight)), &self.file.display().to_string())
    }

    fn part<'a>(
        &self,
        weights: impl Iterator<Item = (&'a str, u16)>,
        place: &str,
    ) -> Result<u8, RouterError> {
        let mut sums = [0, 0];
        for (name, weight) in weights {
            match side_of(name) {
                Some(Side::Old) => sums[0] += u64::from(weight),
                Some(Side::New) => sums[1] += u64::from(weight),
                None => {}
            }
        }
        share::percent(sums[0], sums[1])
            .ok_or_else(|| RouterError::Nobody { backend: self.backend.clone(), place: place.to_owned() })
    }

    /// Gives a side nothing new; what it has it may finish. Its weights stay, for [`Router::undrain`].
    ///
    /// # Errors
    /// When HAProxy does not do it.
    pub async fn drain(&self, side: Side) -> Result<(), RouterError> {
        self.turn(side, Condition::Ready, Condition::Drain).await
    }

    /// Gives a side work again, as its weights say.
    ///
    /// # Errors
    /// When HAProxy does not do it.
    pub async fn undrain(&self, side: Side) -> Result<(), RouterError> {
        self.turn(side, Condition::Drain, Condition::Ready).await
    }

    async fn turn(&self, side: Side, from: Condition, to: Condition) -> Result<(), RouterError> {
        for server in self.runtime.servers(&self.backend).await? {
            if is_of(&server, side) && server.condition == from {
                self.runtime.set_condition(&self.backend, &server.name, to).await?;
            }
        }
        Ok(())
    }

    /// How many requests a side has at this moment.
    ///
    /// # Errors
    /// When HAProxy does not answer.
    pub async fn current(&self, side: Side) -> Result<u64, RouterError> {
        let counters = self.runtime.counters(&self.backend).await?;
        Ok(counters.iter().filter(|one| side_of(&one.name) == Some(side)).map(|one| one.current).sum())
    }

    /// Has a side be at these addresses, in both places: those that are known stay with their servers, and who has
    /// none gets nothing. Both sides get what the configuration gave them before.
    ///
    /// # Errors
    /// When either place cannot be changed, when there are too many, or when a side that gets something has none.
    pub async fn set_addresses(&self, side: Side, addresses: &[SocketAddr]) -> Result<(), RouterError> {
        let percent = self.configured()?;
        let servers = self.runtime.servers(&self.backend).await?;
        let slots: Vec<_> = servers.iter().filter(|one| is_of(one, side)).collect();
        if addresses.len() > slots.len() {
            return Err(RouterError::Slots { side, wanted: addresses.len(), slots: slots.len() });
        }
        let placed = placed(&slots, addresses);
        self.configure(|line| {
            if let Some(address) = placed.get(line.name.as_str()) {
                line.disabled = address.is_none();
                line.address = address.map_or_else(|| line.address.clone(), |address| address.to_string());
            }
        })?;
        for server in &slots {
            let name = &server.name;
            match placed[name.as_str()] {
                None => self.runtime.set_condition(&self.backend, name, Condition::Maintenance).await?,
                Some(address) => {
                    if server.address != address {
                        self.runtime.set_address(&self.backend, name, address).await?;
                    }
                    if server.condition == Condition::Maintenance {
                        // Its weight comes with the share.
                        self.runtime.set_weight(&self.backend, name, 0).await?;
                        self.runtime.set_condition(&self.backend, name, Condition::Ready).await?;
                    }
                }
            }
        }
        self.set_share(percent).await
    }

    fn text(&self) -> Result<String, RouterError> {
        std::fs::read_to_string(&self.file).map_err(|error| self.io(error))
    }

    /// Changes the servers in the configuration, whose file is the old one or the new one at every moment.
    fn configure(&self, change: impl FnMut(&mut config::ServerLine)) -> Result<(), RouterError> {
        let text = config::changed(&self.text()?, &self.backend, change);
        let write = || {
            let directory = self.file.parent().filter(|parent| !parent.as_os_str().is_empty());
            let mut file = tempfile::NamedTempFile::new_in(directory.unwrap_or(Path::new(".")))?;
            file.write_all(text.as_bytes())?;
            // HAProxy may be another user.
            file.as_file().set_permissions(std::fs::metadata(&self.file)?.permissions())?;
            file.as_file().sync_all()?;
            file.persist(&self.file)?;
            Ok(())
        };
        write().map_err(|error| self.io(error))
    }

    fn io(&self, error: io::Error) -> RouterError {
        RouterError::Io { path: self.file.display().to_string(), error }
    }
}

fn is_of(server: &Server, side: Side) -> bool {
    side_of(&server.name) == Some(side)
}

/// Which address each server has: those that have one of these already keep it, the rest go to who is free.
fn placed<'a>(slots: &[&'a Server], addresses: &[SocketAddr]) -> BTreeMap<&'a str, Option<SocketAddr>> {
    let keeps = |one: &Server| one.condition != Condition::Maintenance && addresses.contains(&one.address);
    let mut coming =
        addresses.iter().filter(|address| !slots.iter().any(|one| keeps(one) && one.address == **address));
    let place = |one: &&'a Server| {
        let address = if keeps(one) { Some(one.address) } else { coming.next().copied() };
        (one.name.as_str(), address)
    };
    slots.iter().map(place).collect()
}
