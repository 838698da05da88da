//! The two sides of a plan, and what lies between and below them.

use std::time::Duration;

use serde_yaml::Spanned;

use super::check::{Reader, Wrong, a, meant, repeated};
use super::file::{NewText, PlanText, RouterText};
use super::plan::{Adapter, Divergence, NewSide, OldSide, Router};
use crate::stack::{ComponentKind, Protected, Stack};
use crate::units;

/// Instances of the old side, if the plan does not say.
const INSTANCES: u16 = 2;
/// After how long without a byte a router gives a connection up, if the plan does not say.
const IDLE_TIMEOUT: Duration = Duration::from_secs(60);

/// Whether components of a kind answer requests, so that a router and load belong to them.
pub(super) fn answers(kind: ComponentKind) -> bool {
    matches!(kind, ComponentKind::Service | ComponentKind::Endpoint)
}

pub(super) fn old(reader: &mut Reader<'_>, kind: ComponentKind, text: &PlanText) -> Result<OldSide, Wrong> {
    let old = &text.old.value;
    let compose = reader.path(&old.compose)?;
    let service = reader.service(old.service.as_ref().unwrap_or(&text.component));
    let port = match (&old.port, answers(kind)) {
        (Some(port), true) => Some(reader.whole(port, "a port", 1..=65_535)?),
        (None, false) => None,
        (Some(port), false) => {
            let message = format!("{} answers no requests, and `port` says where it would", a(kind));
            return Err(reader.at(port, message, "remove it"));
        }
        (None, true) => {
            let message = format!("the old side of {} needs its `port`", a(kind));
            return Err(reader.at(&old.compose, message, "add the port on which it answers: `port: 8080`"));
        }
    };
    let instances = match &old.instances {
        None => INSTANCES,
        Some(zero) if zero.value == "0" => {
            let help = "write how many machines run it now";
            return Err(reader.at(zero, "an old side of 0 instances is none that one could move from", help));
        }
        Some(instances) => reader.whole(instances, "`instances`", 1..=100)?,
    };
    Ok(OldSide { compose, service, port, instances })
}

pub(super) fn new(reader: &mut Reader<'_>, text: &NewText, stack: &Stack) -> Result<NewSide, Wrong> {
    let name = &text.target.value;
    let Some(target) = stack.targets.get(name) else {
        let help = meant(name, stack.targets.keys().map(String::as_str), "targets of the stack");
        return Err(reader.at(&text.target, format!("there is no target `{name}`"), &help));
    };
    if let Some(eks) = target.eks() {
        let rules = &stack.protected;
        let account = Protected::rule(&rules.accounts, eks.account).map(|rule| ("account", rule));
        let cluster = Protected::rule(&rules.clusters, eks.cluster).map(|rule| ("cluster", rule));
        if let Some((what, rule)) = account.or(cluster) {
            let message = format!("target `{name}` is protected: its {what} matches the rule `{rule}`");
            let help =
                "rehearse on a target that nobody depends on; `envctl cutover` is what acts on production";
            return Err(reader.at(&text.target, message, help));
        }
    }
    let values = text.values.iter().map(|path| reader.path(path)).collect::<Result<_, _>>()?;
    Ok(NewSide { target: name.clone(), values })
}

pub(super) fn shared(
    reader: &mut Reader<'_>,
    kind: ComponentKind,
    text: &PlanText,
) -> Result<Vec<String>, Wrong> {
    let needs = match kind {
        ComponentKind::Service => Some("the database, so that either side sees what the other wrote"),
        ComponentKind::Worker => Some("the queue, from which both sides take their jobs"),
        ComponentKind::Schedule | ComponentKind::Endpoint => None,
    };
    if let (true, Some(needs)) = (text.shared.is_empty(), needs) {
        let message = format!("{} of which nothing is `shared` cannot move a part at a time", a(kind));
        let help = format!("name the services of `old.compose` that both sides use: {needs}");
        return Err(reader.at(&text.component, message, &help));
    }
    if let Some(twice) = repeated(&text.shared) {
        return Err(reader.at(twice, format!("`{}` is shared twice", twice.value), "remove one of them"));
    }
    let old = text.old.value.service.as_ref().unwrap_or(&text.component);
    if let Some(itself) = text.shared.iter().find(|service| service.value == old.value) {
        let message = format!("`{}` is the old side itself, which the new one does not use", itself.value);
        return Err(reader.at(itself, message, "name databases, caches and queues"));
    }
    Ok(text.shared.iter().map(|service| reader.service(service)).collect())
}

pub(super) fn router(
    reader: &Reader<'_>,
    kind: ComponentKind,
    text: Option<&RouterText>,
) -> Result<Option<Router>, Wrong> {
    if !answers(kind) {
        return match text {
            None => Ok(None),
            Some(_) => {
                let message = format!("{} gets no requests, and a router would have none to send", a(kind));
                Err(reader.at_key("router", message, "remove `router`"))
            }
        };
    }
    let Some(text) = text else {
        return Ok(Some(Router { adapter: Adapter::Haproxy, max_body: None, idle_timeout: IDLE_TIMEOUT }));
    };
    let known = [(Adapter::Haproxy.as_str(), Adapter::Haproxy)];
    let adapter = text.adapter.as_ref().map(|word| reader.word(word, "adapter", &known)).transpose()?;
    let max_body = text.max_body.as_ref().map(|size| reader.quantity(size, units::size)).transpose()?;
    if let (Some(0), Some(size)) = (max_body, &text.max_body) {
        return Err(reader.at(size, "a limit of 0 bytes refuses every upload", "leave it out for no limit"));
    }
    let idle = text.idle_timeout.as_ref().map(|time| reader.quantity(time, units::duration)).transpose()?;
    if let (Some(Duration::ZERO), Some(time)) = (idle, &text.idle_timeout) {
        return Err(reader.at(
            time,
            "a router that waits 0s gives every connection up",
            "write such as `60s`",
        ));
    }
    Ok(Some(Router {
        adapter: adapter.unwrap_or(Adapter::Haproxy),
        max_body,
        idle_timeout: idle.unwrap_or(IDLE_TIMEOUT),
    }))
}

pub(super) fn divergence(
    reader: &Reader<'_>,
    list: &[Spanned<Divergence>],
) -> Result<Vec<Divergence>, Wrong> {
    for entry in list {
        let Divergence { object, path, reason } = &entry.value;
        let whole = object.split_once('/').is_some_and(|(kind, name)| !kind.is_empty() && !name.is_empty());
        if !whole {
            let message = format!("`{object}` does not name an object");
            return Err(reader.at(entry, message, "write kind and name, such as `Deployment/api`"));
        }
        if path.is_empty() {
            let help = "name the field that differs, such as `spec.replicas`";
            return Err(reader.at(entry, format!("{object} as a whole cannot diverge"), help));
        }
        if reason.trim().is_empty() {
            let message = format!("nothing says why {path} of {object} may differ");
            return Err(reader.at(entry, message, "write a `reason` for who reads the evidence"));
        }
    }
    Ok(list.iter().map(|entry| entry.value.clone()).collect())
}
