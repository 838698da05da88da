//! A plan in words.

use std::fmt::Write as _;
use std::time::Duration;

use super::catalogue::{self, FAULTS, GATES};
use super::check::a;
use super::plan::{Action, ClientKind, CutoverPlan, Drill, Fault, GateKind, Step};
use super::production::{Metrics, Production};
use super::samples::{proof, proven, rounded, time_for};
use super::usual::drill_gates;
use crate::stack::ComponentKind;
use crate::units::{show_duration, show_percentage, show_rate, show_size};

/// Tells the plan: who moves, what happens at each step, what judges it and what undoes it, what is broken, and what
/// will not be exercised. Lines end in a newline.
#[must_use]
pub fn explain(plan: &CutoverPlan) -> String {
    let mut text =
        format!("{} is {} and moves in {} steps.\n\n", plan.component, a(plan.kind), plan.steps.len());
    sides(&mut text, plan);
    load(&mut text, plan);
    text.push_str("\nsteps\n");
    for index in 0..plan.steps.len() {
        step(&mut text, plan, index);
    }
    if !plan.faults.is_empty() {
        text.push_str("\nfaults\n");
        for fault in &plan.faults {
            tell_fault(&mut text, plan, fault);
        }
    }
    text.push_str("\ngoing back\n");
    going_back(&mut text, plan);
    row(&mut text, "duration", &duration(plan));
    if let Some(production) = &plan.production {
        text.push_str("\nin production\n");
        in_production(&mut text, plan, production);
    }
    text.push_str("\nnot exercised\n");
    for item in not_exercised(plan) {
        let _ = writeln!(text, "  - {item}");
    }
    text
}

fn row(text: &mut String, name: &str, value: &str) {
    let _ = writeln!(text, "  {name:<12} {value}");
}

fn sides(text: &mut String, plan: &CutoverPlan) {
    let old = &plan.old;
    let port = old.port.map(|port| format!(", port {port}")).unwrap_or_default();
    let compose = old.compose.display();
    row(text, "old side", &format!("{} × {} of {compose}{port}", old.instances, old.service));
    let values: Vec<_> = plan.new.values.iter().map(|path| path.display().to_string()).collect();
    let with = if values.is_empty() { String::new() } else { format!(", with {}", values.join(", ")) };
    row(text, "new side", &format!("the chart on target {}{with}", plan.new.target));
    let shared = if plan.shared.is_empty() { "nothing".to_owned() } else { plan.shared.join(", ") };
    row(text, "shared", &shared);
    if let Some(router) = &plan.router {
        let body =
            router.max_body.map_or("no limit".to_owned(), |bytes| format!("at most {}", show_size(bytes)));
        let idle = show_duration(router.idle_timeout);
        row(
            text,
            "router",
            &format!("{}, bodies: {body}, idle connections: {idle}", router.adapter.as_str()),
        );
    }
    for entry in &plan.divergence {
        row(text, "may differ", &format!("{} of {}: {}", entry.path, entry.object, entry.reason));
    }
}

fn load(text: &mut String, plan: &CutoverPlan) {
    if let Some(traffic) = &plan.traffic {
        let clients: Vec<_> = traffic.clients.iter().map(|kind| client(*kind)).collect();
        let rate = show_rate(traffic.rate);
        row(
            text,
            "load",
            &format!("{rate} out of {}, whether or not earlier ones were answered", traffic.mix.display()),
        );
        row(text, "clients", &clients.join("; "));
        let (availability, p99) = (show_percentage(plan.slo.availability), show_duration(plan.slo.p99));
        row(text, "promised", &format!("{availability} are answered well, 99 of 100 within {p99}"));
    }
    if let Some(work) = &plan.work {
        let parts: Vec<_> = work
            .jobs
            .iter()
            .map(|job| format!("{} (weight {}, up to {} s)", job.class, job.weight, job.longest_seconds))
            .collect();
        row(text, "load", &format!("{} jobs: {}", show_rate(work.rate), parts.join(", ")));
        row(text, "promised", &format!("at most {} jobs wait", work.backlog));
    }
    if let Some(timetable) = &plan.timetable {
        for entry in &timetable.entries {
            row(text, "runs", &format!("{} at `{}` ({})", entry.name, entry.schedule, timetable.time_zone));
        }
        row(text, "promised", &format!("a run starts at most {} late", show_duration(timetable.tolerance)));
    }
}

fn client(kind: ClientKind) -> &'static str {
    match kind {
        ClientKind::Fresh => "a connection for each request",
        ClientKind::Keepalive => "one connection that is kept",
        ClientKind::Sticky => "cookies sent back",
        ClientKind::TtlIgnoring => "names resolved once, and never again",
    }
}

fn step(text: &mut String, plan: &CutoverPlan, index: usize) {
    let step = &plan.steps[index];
    let _ = writeln!(text, "  {}. {}", index + 1, step.name());
    let Some(entry) = catalogue::step(step.action.word()) else { return };
    let detail = match &step.action {
        Action::SetWeight { percent } => format!(": {percent} %"),
        Action::SameAnswer { sample } => format!(": {sample} requests"),
        Action::SwitchName { ttl } => format!("; resolvers may keep it for {}", show_duration(*ttl)),
        Action::Handover { old } => format!(": {old} of {}", plan.old.instances),
        Action::Drain { timeout } => format!(", for {} at most", show_duration(*timeout)),
        Action::StopOld { idle_for } => format!(": {}", show_duration(*idle_for)),
        Action::ScaleUpNew | Action::DisarmOld | Action::ArmNew => String::new(),
    };
    let line = |text: &mut String, name: &str, value: &str| {
        let _ = writeln!(text, "     {name:<9} {value}");
    };
    line(text, "does", &format!("{}{detail}", entry.does));
    line(text, "verify", entry.verify);
    line(text, "watch", &watched(plan, index));
    for gate in &step.gates {
        let proves = GATES.iter().find(|entry| entry.gate == *gate).map_or("", |entry| entry.proves);
        line(text, "gate", &format!("{}: {proves}", gate.as_str()));
    }
    line(text, "undo", entry.undo.unwrap_or("nothing to undo"));
}

/// How long a step is watched, and what that proves.
fn watched(plan: &CutoverPlan, index: usize) -> String {
    let Step { bake, gates, .. } = &plan.steps[index];
    let (samples, at_least) = (bake.min_samples_per_side, show_duration(bake.at_least));
    if let (Some(timetable), 1..) = (&plan.timetable, bake.min_ticks) {
        let (ticks, tolerance) = (bake.min_ticks, show_duration(timetable.tolerance));
        let noun = if ticks == 1 { "tick was" } else { "ticks were" };
        return format!("for {at_least} and until {ticks} {noun} {tolerance} ago");
    }
    if samples == 0 {
        return if bake.at_least.is_zero() { "judged at once".to_owned() } else { format!("for {at_least}") };
    }
    let about = rounded(watch(plan, index));
    if plan.work.is_some() {
        return format!("for {at_least} and until each side that works ended {samples} jobs: about {about}");
    }
    let proof = if gates.contains(&GateKind::NoFailedRequest) {
        format!("; none failed of {samples} proves that less than {} fail", show_percentage(proven(samples)))
    } else {
        String::new()
    };
    format!("for {at_least} and until each side that gets any answered {samples}: about {about}{proof}")
}

/// How long a step is watched.
fn watch(plan: &CutoverPlan, index: usize) -> Duration {
    let bake = plan.steps[index].bake;
    bake.at_least.max(time_for(plan, index + 1, bake.min_samples_per_side))
}

fn tell_fault(text: &mut String, plan: &CutoverPlan, fault: &Fault) {
    let Some(entry) = FAULTS.iter().find(|entry| entry.fault == fault.inject) else { return };
    let _ = writeln!(text, "  {} at {}", entry.word, plan.steps[fault.at].name());
    let costs = match plan.kind {
        ComponentKind::Service | ComponentKind::Endpoint => {
            format!("{} failed requests", fault.failed_requests)
        }
        ComponentKind::Worker => format!("{} jobs delivered twice", fault.failed_requests),
        ComponentKind::Schedule => "no run missed or doubled".to_owned(),
    };
    let recovery = show_duration(fault.recovery);
    let _ = writeln!(text, "     does      {}", entry.does);
    if let Some(tool) = &fault.with {
        let _ = writeln!(text, "     by        `{}` in {}", tool.command.join(" "), tool.service);
    }
    let _ = writeln!(text, "     finds     {}", entry.finds);
    let _ = writeln!(text, "     permits   {costs}, all well again within {recovery}");
}

fn drills(plan: &CutoverPlan) -> usize {
    let changing = plan.steps.iter().filter(|step| !matches!(step.action, Action::SameAnswer { .. })).count();
    match plan.rollback.drill {
        // And one from the middle of a step.
        Drill::EveryStep => changing + 1,
        Drill::LastStep => 1,
    }
}

fn going_back(text: &mut String, plan: &CutoverPlan) {
    let from = match plan.rollback.drill {
        Drill::EveryStep => "from every step that changes something, and from the middle of one",
        Drill::LastStep => "from the last step",
    };
    row(text, "tried", &format!("{from}: {} times", drills(plan)));
    row(text, "within", &show_duration(plan.rollback.max_duration));
    if plan.rollback.after_writes {
        row(text, "after", "writes of the new side, which the old side has to read");
    }
    let gates: Vec<_> = drill_gates(plan.kind).iter().map(|gate| gate.as_str()).collect();
    row(text, "judged by", &gates.join(", "));
}

fn in_production(text: &mut String, plan: &CutoverPlan, production: &Production) {
    let Production { target, namespace, old, bake, stop_after, .. } = production;
    row(text, "new side", &format!("namespace {namespace} of target {target}"));
    row(text, "old side", &format!("{} machines, operated by {}", old.instances, old.command.join(" ")));
    let counted = match (&production.metrics, &production.ledger) {
        (Some(Metrics::Prometheus { url, .. }), _) => format!("by Prometheus at {url}"),
        (Some(Metrics::Command), _) => "by the command that operates the machines".to_owned(),
        (None, Some(ledger)) => format!("by {}", ledger.join(" ")),
        (None, None) => "by nobody".to_owned(),
    };
    row(text, "counted", &counted);
    let but = if plan.kind == ComponentKind::Schedule { ", but for `disarmOld`" } else { "" };
    row(text, "watched", &format!("each step for {} at least{but}", show_duration(*bake)));
    let stops: Vec<_> = stop_after.iter().map(|step| plan.steps[*step].name()).collect();
    row(text, "stops after", &if stops.is_empty() { "the last step".to_owned() } else { stops.join(", ") });
}

fn duration(plan: &CutoverPlan) -> String {
    let watching: Duration = (0..plan.steps.len()).map(|index| watch(plan, index)).sum();
    let back = plan.rollback.max_duration * u32::try_from(drills(plan)).unwrap_or(u32::MAX);
    let ticks: u32 = plan.steps.iter().map(|step| step.bake.min_ticks).sum();
    let ticks = match ticks {
        0 => String::new(),
        1 => ", the time until a tick".to_owned(),
        ticks => format!(", the time until {ticks} ticks"),
    };
    format!(
        "about {} of watching{ticks}, and at most {} of going back; bringing both sides up is not counted",
        rounded(watching),
        rounded(back)
    )
}

/// What a rehearsal by this plan says nothing about, a line each: for the reader, and for the evidence.
#[must_use]
pub fn not_exercised(plan: &CutoverPlan) -> Vec<String> {
    let mut list = Vec::new();
    let fitting = FAULTS.iter().filter(|entry| entry.kinds.contains(&plan.kind));
    for entry in fitting.filter(|entry| plan.faults.iter().all(|fault| fault.inject != entry.fault)) {
        list.push(format!("fault {}: {}", entry.word, entry.does));
    }
    if let Some(traffic) = &plan.traffic {
        let all = [ClientKind::Fresh, ClientKind::Keepalive, ClientKind::Sticky, ClientKind::TtlIgnoring];
        for kind in all.into_iter().filter(|kind| !traffic.clients.contains(kind)) {
            list.push(format!("clients with {}", client(kind)));
        }
        let most = plan.steps.iter().map(|step| step.bake.min_samples_per_side).max().unwrap_or(0);
        if most < proof(plan.slo.availability) {
            let (promised, proven) =
                (show_percentage(plan.slo.availability), show_percentage(1.0 - proven(most)));
            list.push(format!("availability of {promised}: no step waits for more than proves {proven}"));
        }
    }
    if plan.rollback.drill == Drill::LastStep {
        list.push("going back from any step but the last".to_owned());
    }
    if !plan.rollback.after_writes {
        list.push("going back after the new side wrote to what is shared".to_owned());
    }
    if !plan.steps.iter().any(|step| matches!(step.action, Action::StopOld { .. })) {
        list.push("stopping the old side, which this plan leaves running without work".to_owned());
    }
    for entry in &plan.divergence {
        list.push(format!("{} of {} as it is in production", entry.path, entry.object));
    }
    list.push("the amount of data, the network and the machines of production".to_owned());
    list
}
