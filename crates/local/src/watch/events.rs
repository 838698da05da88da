//! Docker's events about one environment's containers, typed.

use std::collections::HashMap;

use bollard::models::EventMessage;
use bollard::query_parameters::EventsOptionsBuilder;
use futures_util::{Stream, StreamExt as _};
use jiff::Timestamp;

use crate::engine::{EngineError, EngineReader};
use crate::state::Health;
use envctl_model::labels;

/// What happened to a container.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Change {
    /// It was made.
    Created,
    /// It was started.
    Started,
    /// Somebody asked it to end: what follows is no crash.
    Stopping,
    /// It ended with this code.
    Died {
        /// The exit code.
        exit_code: i64,
    },
    /// The kernel ended a process of it for taking more memory than it may.
    OutOfMemory,
    /// Its health check changed its mind.
    Health(Health),
    /// It was removed.
    Destroyed,
}

/// Signals that ask a process to do something other than to end (SIGHUP, SIGUSR1, SIGUSR2), and the one that ends it
/// unasked (SIGKILL): that is known when it has died.
const NO_REQUEST: [&str; 4] = ["1", "10", "12", "9"];

/// Whether a signal, by its number as the Engine tells it, asks a process to end.
pub(crate) fn asks_to_end(signal: Option<&str>) -> bool {
    signal.is_none_or(|signal| !NO_REQUEST.contains(&signal))
}

/// One event about a container of an environment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ContainerEvent {
    /// When it happened.
    pub at: Timestamp,
    /// Its id.
    pub id: String,
    /// Its name.
    pub name: String,
    /// Its Compose service.
    pub service: Option<String>,
    /// Its pod.
    pub pod: Option<String>,
    /// The pod's hash it was made for.
    pub hash: Option<String>,
    /// The number of the signal that it was sent, if that is what happened.
    pub signal: Option<String>,
    /// What happened.
    pub change: Change,
}

/// The events of an environment's containers from `since` on, without end.
pub fn events(
    reader: &EngineReader,
    identity: &str,
    since: Timestamp,
) -> impl Stream<Item = Result<ContainerEvent, EngineError>> + use<> {
    let filters = HashMap::from([
        ("type".to_owned(), vec!["container".to_owned()]),
        ("label".to_owned(), vec![format!("{}={identity}", labels::IDENTITY)]),
    ]);
    let since = format!("{}.{:09}", since.as_second(), since.subsec_nanosecond());
    let options = EventsOptionsBuilder::default().since(&since).filters(&filters).build();
    let failed = reader.failed("waiting for its events");
    let stream = reader.docker().events(Some(options));
    stream.filter_map(move |event| {
        let event = event.map_err(&failed).map(typed).transpose();
        async move { event }
    })
}

fn typed(event: EventMessage) -> Option<ContainerEvent> {
    let actor = event.actor?;
    let mut attributes = actor.attributes.unwrap_or_default();
    let action = event.action?;
    let (action, detail) = action.split_once(": ").unwrap_or((&action, ""));
    let change = match action {
        "create" => Change::Created,
        "start" => Change::Started,
        "kill" => Change::Stopping,
        "die" => {
            Change::Died { exit_code: attributes.get("exitCode").and_then(|c| c.parse().ok()).unwrap_or(-1) }
        }
        "oom" => Change::OutOfMemory,
        "destroy" => Change::Destroyed,
        "health_status" => Change::Health(match detail {
            "healthy" => Health::Healthy,
            "unhealthy" => Health::Unhealthy,
            _ => Health::Starting,
        }),
        _ => return None, // exec_*, attach, rename, ...
    };
    Some(ContainerEvent {
        at: event
            .time_nano
            .and_then(|nanos| Timestamp::from_nanosecond(nanos.into()).ok())
            .unwrap_or_default(),
        id: actor.id.unwrap_or_default(),
        name: attributes.remove("name").unwrap_or_default(),
        service: attributes.remove("com.docker.compose.service"),
        pod: attributes.remove(labels::POD),
        hash: attributes.remove(labels::POD_HASH),
        signal: attributes.remove("signal"),
        change,
    })
}

#[cfg(test)]
mod tests {
    use bollard::models::EventActor;

    use super::*;

    fn change(action: &str) -> Option<Change> {
        let attributes = HashMap::from([("exitCode".to_owned(), "3".to_owned())]);
        let actor = EventActor { id: Some("x".into()), attributes: Some(attributes) };
        let event =
            EventMessage { action: Some(action.into()), actor: Some(actor), ..EventMessage::default() };
        typed(event).map(|event| event.change)
    }

    #[test]
    fn actions_become_changes() {
        assert_eq!(change("die"), Some(Change::Died { exit_code: 3 }));
        assert_eq!(change("health_status: healthy"), Some(Change::Health(Health::Healthy)));
        assert_eq!(change("health_status: unhealthy"), Some(Change::Health(Health::Unhealthy)));
        assert_eq!(change("exec_create: /envctl-agent health"), None);
    }
}
