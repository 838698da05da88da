//! What the Engine tells.

use std::collections::HashMap;

use anyhow::{Context, bail};
use envctl_wire::labels::{self, Role};
use hyper::Method;
use serde::Deserialize;
use serde_json::json;

use super::engine::{Chunks, Engine, query};

/// What happens to the containers of an environment.
pub(super) struct Events {
    chunks: Chunks,
    bytes: Vec<u8>,
}

/// One event.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct Event {
    pub(super) action: String,
    pub(super) actor: Actor,
}

#[derive(Debug, Deserialize)]
pub(super) struct Actor {
    #[serde(rename = "ID")]
    pub(super) id: String,
    #[serde(rename = "Attributes")]
    attributes: HashMap<String, String>,
}

impl Event {
    pub(super) fn label(&self, key: &str) -> Option<&str> {
        self.actor.attributes.get(key).map(String::as_str)
    }

    pub(super) fn role(&self) -> Option<Role> {
        Role::parse(self.label(labels::ROLE)?)
    }
}

impl Events {
    /// The environment's lock has its name and no identity.
    pub(super) async fn of(engine: &Engine, environment: &str) -> anyhow::Result<Self> {
        let filters = json!({
            "type": ["container"],
            "event": ["start", "die", "destroy", "health_status", "pause", "unpause"],
            "label": [format!("{}={environment}", labels::ENVIRONMENT)],
        });
        let path = format!("/events?filters={}", query(&filters.to_string()));
        Ok(Self { chunks: engine.stream(Method::GET, &path, None).await?, bytes: Vec::new() })
    }

    /// The next one. Cancelling this loses nothing.
    pub(super) async fn next(&mut self) -> anyhow::Result<Event> {
        loop {
            if let Some(end) = self.bytes.iter().position(|byte| *byte == b'\n') {
                let line: Vec<u8> = self.bytes.drain(..=end).collect();
                return serde_json::from_slice(&line).context("an event is not understood");
            }
            match self.chunks.next().await {
                Some(chunk) => self.bytes.extend_from_slice(&chunk?),
                None => bail!("the Engine is going away"),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_event_says_what_happened_to_whom() {
        let line = r#"{"status":"die","id":"x","Type":"container","Action":"die","Actor":{"ID":"x","Attributes":
            {"dev.envctl.role":"sandbox","dev.envctl.pod":"web-0","exitCode":"137"}},"scope":"local","time":1}"#;
        let event: Event = serde_json::from_str(line).unwrap();
        assert_eq!(
            (event.action.as_str(), event.actor.id.as_str(), event.role()),
            ("die", "x", Some(Role::Sandbox))
        );
        assert_eq!((event.label(labels::POD), event.label(labels::ONE_OFF)), (Some("web-0"), None));
    }
}
