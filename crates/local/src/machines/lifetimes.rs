//! What becomes of machines, by the Engine's events, without polling.

use std::collections::BTreeSet;
use std::pin::pin;
use std::time::{Duration, Instant};

use bollard::models::EventMessage;
use bollard::query_parameters::EventsOptionsBuilder;
use envctl_model::lifetime::{Change, State};
use envctl_model::log::LogOptions;
use futures_util::stream;
use futures_util::{Stream, StreamExt as _, TryStreamExt as _};
use jiff::Timestamp;

use super::{Machines, MachinesError};
use crate::engine::{EngineError, EngineReader};
use crate::watch::asks_to_end;
use crate::{logs, state};

/// How much of a machine's log an error shows.
const LAST_LINES: u64 = 20;

/// What one event of the Engine says of a machine.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Said {
    Started,
    Is(State),
}

impl Machines {
    /// What becomes of the machines from `since` on, without end. A machine without a health check is ready as soon
    /// as it runs.
    pub fn changes(
        &self,
        since: Timestamp,
    ) -> impl Stream<Item = Result<Change, EngineError>> + Send + use<> {
        let since = format!("{}.{:09}", since.as_second(), since.subsec_nanosecond());
        let mut filters = self.filter();
        filters.insert("type".to_owned(), vec!["container".to_owned()]);
        let options = EventsOptionsBuilder::default().since(&since).filters(&filters).build();
        let reader = self.reader().clone();
        let failed = reader.failed("waiting for its events");
        let events = reader.docker().events(Some(options)).map_err(failed);
        let said = events.try_filter_map(|event| async { Ok(read(event)) });
        said.map_ok(move |event| told(reader.clone(), event)).try_buffered(1).map_ok(stream_of).try_flatten()
    }

    /// Waits until those machines that are `meant` are ready. `since` is a moment before anything was started.
    pub(super) async fn ready(
        &self,
        since: Timestamp,
        within: Duration,
        meant: impl Fn(&str) -> bool,
    ) -> Result<(), MachinesError> {
        let deadline = Instant::now() + within;
        let mut changes = pin!(self.changes(since));
        let listed = self.list().await?;
        let waiting = listed.into_iter().filter(|machine| meant(&machine.instance) && !machine.is_ready);
        let mut waiting: BTreeSet<String> = waiting.map(|machine| machine.instance).collect();
        while !waiting.is_empty() {
            let Ok(next) = tokio::time::timeout_at(deadline.into(), changes.next()).await else {
                return Err(MachinesError::NotReady { instances: waiting.into_iter().collect(), within });
            };
            let Some(change) = next.transpose()? else {
                return Err(self.reader().lost("waiting for its events").into());
            };
            match change.state {
                State::Ready => drop(waiting.remove(&change.instance)),
                State::Ended | State::Killed if waiting.contains(&change.instance) => {
                    return Err(self.ended(change.instance).await?);
                }
                _ => {}
            }
        }
        Ok(())
    }

    async fn ended(&self, instance: String) -> Result<MachinesError, EngineError> {
        let reader = self.reader();
        let Some(container) = state::container(reader, &instance).await? else {
            return Ok(MachinesError::Ended { instance, code: -1, said: "it was removed".to_owned() });
        };
        let code = container.exit_code.unwrap_or(-1);
        let options = LogOptions { tail: Some(LAST_LINES), ..LogOptions::default() };
        let lines: Vec<_> = logs::lines(reader, &[container], options).try_collect().await?;
        let said: Vec<_> = lines.iter().map(|line| format!("  {}", line.text)).collect();
        Ok(MachinesError::Ended { instance, code, said: said.join("\n") })
    }
}

fn read(event: EventMessage) -> Option<(Timestamp, String, Said)> {
    let at = Timestamp::from_nanosecond(event.time_nano?.into()).ok()?;
    let mut attributes = event.actor?.attributes?;
    let action = event.action?;
    let said = match action.as_str() {
        "start" => Said::Started,
        "kill" if !asks_to_end(attributes.get("signal").map(String::as_str)) => return None,
        "kill" => Said::Is(State::Ending),
        "die" => Said::Is(State::of_exit(attributes.get("exitCode")?.parse().ok()?)),
        "health_status: healthy" => Said::Is(State::Ready),
        "health_status: unhealthy" => Said::Is(State::Unready),
        _ => return None, // create, exec_*, stop, destroy, ...
    };
    Some((at, attributes.remove("name")?, said))
}

/// Looks up what an event does not say: the machine's address, and whether it has a health check.
async fn told(
    reader: EngineReader,
    (at, instance, said): (Timestamp, String, Said),
) -> Result<Vec<Change>, EngineError> {
    let change = |state, address| Change { at, instance: instance.clone(), address, state };
    match said {
        Said::Is(state) => Ok(vec![change(state, None)]),
        Said::Started => {
            let inspected = reader.docker().inspect_container(&instance, None).await;
            let inspected = crate::engine::found(inspected.map_err(reader.failed("inspecting a machine")))?;
            let has_check = inspected.as_ref().and_then(|c| c.state.as_ref()?.health.as_ref());
            let has_check = has_check.and_then(|health| health.status);
            let has_check = has_check.is_some_and(|s| s != bollard::models::HealthStatusEnum::NONE);
            let endpoints = inspected.and_then(|c| c.network_settings?.networks).unwrap_or_default();
            let address = endpoints.values().find_map(|e| e.ip_address.as_ref()?.parse().ok());
            let states = if has_check { &[State::Started][..] } else { &[State::Started, State::Ready] };
            Ok(states.iter().map(|state| change(*state, address)).collect())
        }
    }
}

fn stream_of(changes: Vec<Change>) -> impl Stream<Item = Result<Change, EngineError>> {
    stream::iter(changes.into_iter().map(Ok))
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use bollard::models::EventActor;

    use super::*;

    fn said(action: &str, attributes: &[(&str, &str)]) -> Option<Said> {
        let attributes = attributes.iter().chain(&[("name", "old-api-1")]);
        let attributes: HashMap<_, _> = attributes.map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect();
        let actor = EventActor { id: None, attributes: Some(attributes) };
        let action = Some(action.to_owned());
        let event =
            EventMessage { action, actor: Some(actor), time_nano: Some(1), ..EventMessage::default() };
        let read = read(event)?;
        assert_eq!(read.1, "old-api-1");
        Some(read.2)
    }

    #[test]
    fn one_that_was_killed_is_told_from_one_that_ended() {
        assert_eq!(said("die", &[("exitCode", "0")]), Some(Said::Is(State::Ended)));
        assert_eq!(said("die", &[("exitCode", "143")]), Some(Said::Is(State::Ended)));
        assert_eq!(said("die", &[("exitCode", "137")]), Some(Said::Is(State::Killed)));
    }

    #[test]
    fn only_a_signal_that_asks_for_the_end_is_the_beginning_of_it() {
        assert_eq!(said("kill", &[("signal", "15")]), Some(Said::Is(State::Ending)));
        assert_eq!(said("kill", &[("signal", "3")]), Some(Said::Is(State::Ending)));
        assert_eq!(said("kill", &[("signal", "1")]), None);
        assert_eq!(said("kill", &[("signal", "9")]), None);
    }

    #[test]
    fn health_is_readiness() {
        assert_eq!(said("start", &[]), Some(Said::Started));
        assert_eq!(said("health_status: healthy", &[]), Some(Said::Is(State::Ready)));
        assert_eq!(said("health_status: unhealthy", &[]), Some(Said::Is(State::Unready)));
        assert_eq!(said("exec_create: curl", &[]), None);
    }
}
