//! What a cutover needs to know of production, beside what was rehearsed.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use schemars::JsonSchema;
use serde::Deserialize;
use serde_yaml::Spanned;

use super::check::{Reader, Wrong, a, meant};
use super::file::{EntryText, Text};
use super::load::read_entry;
use super::plan::{Action, CutoverPlan, GateKind, Step, TimetableEntry};
use super::sides::answers;
use crate::stack::Stack;
use crate::units;

/// Production, as a cutover acts on it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Production {
    /// A target of the stack file, of kind `eks`. Its account may be protected: no other verb changes anything there.
    pub target: String,
    /// The namespace in which the chart is installed there, with nothing of the component running yet.
    pub namespace: String,
    /// Values files on top of those of the target, in place of `new.values`, as paths from the plan's directory. What they
    /// make differ has to be declared as divergence.
    pub values: Vec<PathBuf>,
    /// The machines of today.
    pub old: ProductionOld,
    /// The router. For services and endpoints.
    pub router: Option<ProductionRouter>,
    /// How requests are counted. For services and endpoints.
    pub metrics: Option<Metrics>,
    /// A program and its arguments that prints what the plan's ledger prints. For workers and schedules.
    pub ledger: Option<Vec<String>>,
    /// The entries of the crontab there, by the names of the plan's, where they run at other times than in a rehearsal.
    pub entries: Option<Vec<TimetableEntry>>,
    /// Each step is watched at least so long, but for `disarmOld`.
    pub bake: Duration,
    /// After these steps, by index, the cutover stops and waits for somebody to go on.
    pub stop_after: Vec<usize>,
}

/// The machines of production.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ProductionOld {
    /// How many there are.
    pub instances: u16,
    /// A program and its arguments that operates them: it is told one JSON object, and answers one.
    pub command: Vec<String>,
}

/// The HAProxy of production.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ProductionRouter {
    /// Where it takes commands: its `stats socket`, at level `admin`.
    pub runtime: SocketAddr,
    /// Its configuration, as a path on this machine.
    pub configuration: PathBuf,
    /// The backend in which both sides have servers, named `old` and `new` with a number.
    pub backend: String,
}

/// Where counters of requests are read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Metrics {
    /// The command that operates the old side tells them, too.
    Command,
    /// Prometheus answers queries, in which `$side` is `old` or `new`.
    Prometheus {
        /// Where, without `/api/v1`.
        url: String,
        /// Requests that were answered up to now: a counter.
        requests: String,
        /// Those of them that failed: a counter.
        failed: String,
        /// The latency within which 99 of 100 are answered now, in seconds.
        p99: Option<String>,
        /// How old what it answers may be: it has asked those that it watches some time ago.
        lag: Duration,
    },
}

/// How old an answer of Prometheus may be, if the plan does not say: its usual interval is a minute.
/// <https://prometheus.io/docs/prometheus/latest/configuration/configuration/#configuration-file>
const USUAL_LAG: Duration = Duration::from_secs(60);

impl Metrics {
    /// How old what is read of it may be.
    #[must_use]
    pub fn lag(&self) -> Duration {
        match self {
            Self::Command => Duration::ZERO,
            Self::Prometheus { lag, .. } => *lag,
        }
    }
}

impl Production {
    /// How old what is counted of requests may be.
    #[must_use]
    pub fn lag(&self) -> Duration {
        self.metrics.as_ref().map_or(Duration::ZERO, Metrics::lag)
    }
}

impl CutoverPlan {
    /// The plan as it is gone through in production: with its number of machines, and watched for as long as is said
    /// for there. Without a section `production` it is as it was.
    #[must_use]
    pub fn in_production(&self) -> Self {
        let mut plan = self.clone();
        let Some(production) = &self.production else { return plan };
        let (here, there) = (u32::from(self.old.instances.max(1)), u32::from(production.old.instances));
        plan.old.instances = production.old.instances;
        if let (Some(timetable), Some(entries)) = (&mut plan.timetable, &production.entries) {
            timetable.entries.clone_from(entries);
        }
        for step in &mut plan.steps {
            // Between the two that move a crontab nobody runs it: that is not made longer.
            if step.action != Action::DisarmOld {
                // What was counted before the step held is not of the step.
                step.bake.at_least = step.bake.at_least.max(production.bake) + production.lag();
            }
            if let Action::StopOld { idle_for } = &mut step.action {
                *idle_for += production.lag();
            }
            if let Action::Handover { old } = &mut step.action {
                // The same part of them goes on.
                *old = u16::try_from((u32::from(*old) * there).div_ceil(here)).unwrap_or(u16::MAX);
            }
        }
        plan
    }
}

#[derive(Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[schemars(rename = "Production")]
pub(super) struct ProductionText {
    /// A target of the stack file, of kind `eks`. Its account may be protected.
    #[schemars(with = "String")]
    target: Text,
    /// The namespace in which the chart is installed there, with nothing of the component running yet.
    #[schemars(with = "String")]
    namespace: Text,
    /// Values files on top of those of the target, relative to the plan; `new.values` if left out. What they make differ has
    /// to be declared in `divergence`.
    #[schemars(with = "Option<Vec<String>>")]
    values: Option<Vec<Text>>,
    /// The machines of today.
    old: ProductionOldText,
    /// The router. Services and endpoints need it.
    #[schemars(with = "Option<ProductionRouterText>")]
    router: Option<ProductionRouterText>,
    /// How requests are counted. Services and endpoints need it.
    #[schemars(with = "Option<MetricsText>")]
    metrics: Option<Spanned<MetricsText>>,
    /// A program and its arguments, run in the plan's directory, that prints what the plan's ledger prints. Workers and
    /// schedules need it.
    #[schemars(with = "Option<Vec<String>>")]
    ledger: Option<Spanned<Vec<String>>>,
    /// The entries of the crontab there, all of those that the plan's timetable names, where they run at other times than in
    /// a rehearsal.
    #[schemars(with = "Option<Vec<EntryText>>")]
    entries: Option<Vec<EntryText>>,
    /// Each step is watched at least so long, such as `10m`, but for `disarmOld`; as long as in the rehearsal if left out.
    #[schemars(with = "Option<String>")]
    bake: Option<Text>,
    /// Names of steps, such as `setWeight=50`, but not `disarmOld`: after each of these the cutover stops until somebody
    /// goes on.
    #[serde(default)]
    #[schemars(with = "Vec<String>")]
    stop_after: Vec<Text>,
}

#[derive(Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[schemars(rename = "ProductionOld")]
struct ProductionOldText {
    /// How many machines there are.
    #[schemars(with = "u16")]
    instances: Text,
    /// A program and its arguments that operates them, run in the plan's directory: it is told one JSON object on its
    /// standard input, and answers with one.
    #[schemars(with = "Vec<String>")]
    command: Spanned<Vec<String>>,
}

#[derive(Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[schemars(rename = "ProductionRouter")]
struct ProductionRouterText {
    /// Address and port of its `stats socket`, at level `admin`, such as `10.0.0.7:9999`.
    #[schemars(with = "String")]
    runtime: Text,
    /// Its configuration, as a path on the machine where `envctl cutover` runs.
    configuration: PathBuf,
    /// The backend in which both sides have servers, named `old` and `new` with a number.
    backend: String,
}

#[derive(Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[schemars(rename = "Metrics")]
struct MetricsText {
    /// Where Prometheus answers, such as `http://prometheus.internal:9090`. Left out, `old.command` tells the counters.
    prometheus: Option<String>,
    /// The query for requests that were answered up to now, a counter; `$side` is `old` or `new`.
    requests: Option<String>,
    /// The query for those of them that failed, a counter.
    failed: Option<String>,
    /// The query for the latency in seconds within which 99 of 100 are answered now.
    p99: Option<String>,
    /// How old what Prometheus answers may be: its scrape interval and some. `1m` if left out. Each step is watched for so
    /// much longer.
    #[schemars(with = "Option<String>")]
    lag: Option<Text>,
}

pub(super) fn read(
    reader: &mut Reader<'_>,
    plan: &CutoverPlan,
    text: &ProductionText,
    stack: &Stack,
) -> Result<Production, Wrong> {
    let target = &text.target;
    let names = stack.targets.keys().map(String::as_str);
    match stack.targets.get(&target.value) {
        None => {
            let help = meant(&target.value, names, "targets of the stack");
            return Err(reader.at(target, format!("there is no target `{}`", target.value), &help));
        }
        Some(found) if found.eks().is_none() => {
            let message = format!("production is on a cluster, and target `{}` is not", target.value);
            return Err(reader.at(target, message, "name a target of kind `eks`"));
        }
        Some(_) => {}
    }
    if let Err(message) = crate::name::EnvironmentName::from_text(&text.namespace.value) {
        return Err(reader.at(&text.namespace, message.to_string(), ""));
    }
    let old = &text.old;
    let values = match &text.values {
        Some(files) => files.iter().map(|path| reader.path(path)).collect::<Result<_, _>>()?,
        None => plan.new.values.clone(),
    };
    let bake = text.bake.as_ref().map(|time| reader.quantity(time, units::duration)).transpose()?;
    Ok(Production {
        target: target.value.clone(),
        namespace: text.namespace.value.clone(),
        values,
        old: ProductionOld {
            instances: reader.whole(&old.instances, "`instances`", 1..=10_000)?,
            command: command(reader, &old.command)?,
        },
        router: router(reader, plan, text)?,
        metrics: metrics(reader, plan, text)?,
        ledger: ledger(reader, plan, text)?,
        entries: text
            .entries
            .as_ref()
            .map(|entries| read_entries(reader, plan, text, entries))
            .transpose()?,
        bake: bake.unwrap_or_default(),
        stop_after: stops(reader, plan, &text.stop_after)?,
    })
}

fn command(reader: &Reader<'_>, words: &Spanned<Vec<String>>) -> Result<Vec<String>, Wrong> {
    if words.value.first().is_none_or(String::is_empty) {
        return Err(reader.at(words, "a command needs a program", "write such as `[./production.sh]`"));
    }
    Ok(words.value.clone())
}

fn router(
    reader: &Reader<'_>,
    plan: &CutoverPlan,
    text: &ProductionText,
) -> Result<Option<ProductionRouter>, Wrong> {
    let Some(router) = &text.router else {
        if !answers(plan.kind) {
            return Ok(None);
        }
        let message = format!("{} in production needs its `router`", a(plan.kind));
        let help = "add `router: {runtime: \"10.0.0.7:9999\", configuration: /etc/haproxy/haproxy.cfg, backend: NAME}`";
        return Err(reader.at(&text.target, message, help));
    };
    if !answers(plan.kind) {
        let message = format!("{} gets no requests, and a router would have none to send", a(plan.kind));
        return Err(reader.at(&router.runtime, message, "remove `router`"));
    }
    let Ok(runtime) = router.runtime.value.parse() else {
        let message = format!("`{}` is not an address with a port", router.runtime.value);
        return Err(reader.at(&router.runtime, message, "write such as `10.0.0.7:9999`"));
    };
    let (configuration, backend) = (router.configuration.clone(), router.backend.clone());
    Ok(Some(ProductionRouter { runtime, configuration, backend }))
}

fn metrics(reader: &Reader<'_>, plan: &CutoverPlan, text: &ProductionText) -> Result<Option<Metrics>, Wrong> {
    let Some(given) = &text.metrics else {
        if !answers(plan.kind) {
            return Ok(None);
        }
        let message = format!("nothing says how requests of {} are counted in production", a(plan.kind));
        let help = "add `metrics: {prometheus: URL, requests: QUERY, failed: QUERY, p99: QUERY}`, or `metrics: {}` if \
                    `old.command` tells them";
        return Err(reader.at(&text.target, message, help));
    };
    if !answers(plan.kind) {
        return Err(reader.at(given, format!("{} gets no requests", a(plan.kind)), "remove `metrics`"));
    }
    let MetricsText { prometheus, requests, failed, p99, lag } = &given.value;
    let metrics = match (prometheus, requests, failed) {
        (None, None, None) if p99.is_none() && lag.is_none() => Metrics::Command,
        (Some(url), Some(requests), Some(failed)) => Metrics::Prometheus {
            url: url.trim_end_matches('/').to_owned(),
            requests: requests.clone(),
            failed: failed.clone(),
            p99: p99.clone(),
            lag: lag.as_ref().map_or(Ok(USUAL_LAG), |lag| reader.quantity(lag, units::duration))?,
        },
        _ => {
            let help = "write all three, in which `$side` is `old` or `new`";
            return Err(reader.at(given, "Prometheus needs `prometheus`, `requests` and `failed`", help));
        }
    };
    let wants_p99 = plan.steps.iter().any(|step| step.gates.contains(&GateKind::LatencySLO));
    if wants_p99 && matches!(metrics, Metrics::Prometheus { p99: None, .. }) {
        let help = "add the query, such as `p99: histogram_quantile(0.99, ...)`";
        return Err(reader.at(given, "the gate `latencySLO` needs the query `p99`", help));
    }
    Ok(Some(metrics))
}

fn ledger(
    reader: &Reader<'_>,
    plan: &CutoverPlan,
    text: &ProductionText,
) -> Result<Option<Vec<String>>, Wrong> {
    match (&text.ledger, answers(plan.kind)) {
        (None, true) => Ok(None),
        (Some(words), false) => command(reader, words).map(Some),
        (Some(words), true) => {
            let message = format!("{} has no ledger: its requests are counted", a(plan.kind));
            Err(reader.at(words, message, "remove `ledger`"))
        }
        (None, false) => {
            let message = format!("nothing tells what {} does in production", a(plan.kind));
            let help = "add `ledger: [PROGRAM]`, which prints what the plan's ledger prints";
            Err(reader.at(&text.target, message, help))
        }
    }
}

fn read_entries(
    reader: &Reader<'_>,
    plan: &CutoverPlan,
    text: &ProductionText,
    entries: &[EntryText],
) -> Result<Vec<TimetableEntry>, Wrong> {
    let Some(timetable) = &plan.timetable else {
        let message = format!("{} has no timetable", a(plan.kind));
        return Err(reader.at(&text.target, message, "remove `production.entries`"));
    };
    let known = |name: &str| timetable.entries.iter().any(|entry| entry.name == name);
    if let Some(unknown) = entries.iter().find(|entry| !known(&entry.name.value)) {
        let names = timetable.entries.iter().map(|entry| entry.name.as_str());
        let help = meant(&unknown.name.value, names, "entries of the plan's timetable");
        let message = format!("`{}` is rehearsed as no entry", unknown.name.value);
        return Err(reader.at(&unknown.name, message, &help));
    }
    let given = |name: &str| entries.iter().any(|entry| entry.name.value == name);
    if let Some(missing) = timetable.entries.iter().find(|entry| !given(&entry.name)) {
        let message = format!("`production.entries` does not say when `{}` runs", missing.name);
        return Err(reader.at(
            &text.target,
            message,
            "write all entries of the crontab, also those that are alike",
        ));
    }
    entries.iter().map(|entry| read_entry(reader, entry)).collect()
}

fn stops(reader: &Reader<'_>, plan: &CutoverPlan, list: &[Text]) -> Result<Vec<usize>, Wrong> {
    let names: Vec<_> = plan.steps.iter().map(Step::name).collect();
    let at = |text: &Text| {
        names.iter().position(|name| *name == text.value).ok_or_else(|| {
            let help = meant(&text.value, names.iter().map(String::as_str), "steps of this plan");
            reader.at(text, format!("there is no step `{}`", text.value), &help)
        })
    };
    let stops = list.iter().map(at).collect::<Result<Vec<_>, _>>()?;
    let nobody_runs = |stop: &usize| plan.steps[*stop].action == Action::DisarmOld;
    match stops.iter().position(nobody_runs) {
        None => Ok(stops),
        Some(which) => {
            let message = "after `disarmOld` neither side runs anything: ticks would be lost for as long as it stops there";
            Err(reader.at(&list[which], message, "write `armNew`, which follows it"))
        }
    }
}
