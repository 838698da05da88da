//! What a component is given to do during a rehearsal: requests, jobs or ticks; and what users are promised.

use std::time::Duration;

use super::check::{Reader, Wrong, a, meant, repeated};
use super::file::{EntryText, PlanText, SloText, Text, TimetableText, ToolText, TrafficText, WorkText};
use super::plan::{ClientKind, JobClass, Slo, Timetable, TimetableEntry, Tool, Traffic, Work};
use super::sides::answers;
use crate::stack::ComponentKind;
use crate::units;

/// Requests per second, if the plan does not say.
const REQUESTS: f64 = 50.0;
/// Jobs per second, if the plan does not say.
const JOBS: f64 = 20.0;
/// How many seconds' worth of jobs may wait, if the plan does not say how many.
const BACKLOG_SECONDS: f64 = 30.0;
/// What is promised, if the plan does not say.
const SLO: Slo = Slo { availability: 0.999, p99: Duration::from_secs(1) };
/// How late a run may start, if the plan does not say.
const TOLERANCE: Duration = Duration::from_secs(10);
/// Ticks of a crontab are a minute apart: a tolerance must tell them apart.
const TICK: Duration = Duration::from_secs(60);

const CLIENTS: [(&str, ClientKind); 4] = [
    ("fresh", ClientKind::Fresh),
    ("keepalive", ClientKind::Keepalive),
    ("sticky", ClientKind::Sticky),
    ("ttlIgnoring", ClientKind::TtlIgnoring),
];

/// What the kind of a component decides.
#[derive(Debug)]
pub(super) struct Sections {
    pub(super) traffic: Option<Traffic>,
    pub(super) work: Option<Work>,
    pub(super) timetable: Option<Timetable>,
    pub(super) promise: Promise,
}

/// What users are promised.
#[derive(Debug)]
pub(super) struct Promise {
    pub(super) slo: Slo,
    pub(super) given: Given,
}

/// Which promises the plan itself makes: others are defaults, which nobody is held to.
#[derive(Debug, Clone, Copy)]
pub(super) struct Given {
    pub(super) availability: bool,
    pub(super) p99: bool,
}

pub(super) fn read(reader: &mut Reader<'_>, kind: ComponentKind, text: &PlanText) -> Result<Sections, Wrong> {
    let requests = answers(kind);
    let example = "`traffic: {rate: 200/s, mix: requests.yaml}`";
    let traffic = section(reader, kind, text, ("traffic", text.traffic.as_ref(), requests, example))?;
    let example = "`work: {jobs: [{class: NAME, longest: 9s}], enqueue: ..., ledger: ...}`";
    let worker = kind == ComponentKind::Worker;
    let work = section(reader, kind, text, ("work", text.work.as_ref(), worker, example))?;
    let example = "`timetable: {entries: [{name: NAME, schedule: \"0 3 * * *\"}], timeZone: ..., ledger: ..., disarm: ..., arm: ...}`";
    let schedule = kind == ComponentKind::Schedule;
    let timetable = section(reader, kind, text, ("timetable", text.timetable.as_ref(), schedule, example))?;
    if text.slo.is_some() && !requests {
        let instead = if worker {
            "`work.backlog` is the promise of a worker"
        } else {
            "`timetable.tolerance` is the promise of a schedule"
        };
        let message = format!("`slo` is about requests, and {} gets none", a(kind));
        return Err(reader.at_key("slo", message, instead));
    }
    Ok(Sections {
        traffic: traffic.map(|text| read_traffic(reader, text)).transpose()?,
        work: work.map(|text| read_work(reader, text)).transpose()?,
        timetable: timetable.map(|text| read_timetable(reader, text)).transpose()?,
        promise: promise(reader, text.slo.as_ref())?,
    })
}

/// A section that belongs to some kinds only, and which those need.
fn section<'t, T>(
    reader: &Reader<'_>,
    kind: ComponentKind,
    plan: &PlanText,
    (key, given, belongs, example): (&str, Option<&'t T>, bool, &str),
) -> Result<Option<&'t T>, Wrong> {
    match (given, belongs) {
        (Some(_), false) => {
            let own = match kind {
                ComponentKind::Service | ComponentKind::Endpoint => "traffic",
                ComponentKind::Worker => "work",
                ComponentKind::Schedule => "timetable",
            };
            let message = format!("`{key}` makes no sense for {}", a(kind));
            Err(reader.at_key(key, message, &format!("what it is given to do stands in `{own}`")))
        }
        (None, true) => {
            let message = format!("{} needs `{key}`: nothing would happen in the rehearsal", a(kind));
            Err(reader.at(&plan.component, message, &format!("add {example}")))
        }
        (given, _) => Ok(given),
    }
}

fn read_traffic(reader: &mut Reader<'_>, text: &TrafficText) -> Result<Traffic, Wrong> {
    let rate = text.rate.as_ref().map(|rate| reader.quantity(rate, units::rate)).transpose()?;
    let clients = match &text.clients {
        None => CLIENTS.iter().map(|(_, kind)| *kind).collect(),
        Some(list) if list.is_empty() => {
            return Err(reader.at(
                &text.mix,
                "without `clients` nobody sends requests",
                "leave `clients` out for all",
            ));
        }
        Some(list) => {
            if let Some(twice) = repeated(list) {
                let message = format!("clients of kind `{}` are there already", twice.value);
                return Err(reader.at(twice, message, "each kind has an equal part of the rate; remove one"));
            }
            list.iter().map(|word| reader.word(word, "kind of client", &CLIENTS)).collect::<Result<_, _>>()?
        }
    };
    Ok(Traffic { rate: rate.unwrap_or(REQUESTS), clients, mix: reader.path(&text.mix)? })
}

fn read_work(reader: &mut Reader<'_>, text: &WorkText) -> Result<Work, Wrong> {
    let rate = text.rate.as_ref().map(|rate| reader.quantity(rate, units::rate)).transpose()?.unwrap_or(JOBS);
    if text.jobs.is_empty() {
        return Err(reader.at_key("work", "`work.jobs` is empty", "name at least one class of jobs"));
    }
    if let Some(twice) = repeated(text.jobs.iter().map(|job| &job.class)) {
        let message = format!("jobs of class `{}` are there already", twice.value);
        return Err(reader.at(twice, message, "remove one of them"));
    }
    let mut jobs = Vec::new();
    for job in &text.jobs {
        let longest = reader.quantity(&job.longest, units::duration)?;
        let weight = job.weight.as_ref().map(|weight| reader.whole(weight, "`weight`", 1..=1_000_000));
        jobs.push(JobClass {
            class: job.class.value.clone(),
            weight: weight.transpose()?.unwrap_or(1),
            longest_seconds: longest.as_secs_f64(),
        });
    }
    #[allow(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "positive, and huge ones saturate"
    )]
    let usual = (rate * BACKLOG_SECONDS).ceil() as u64;
    let backlog = text.backlog.as_ref().map(|number| reader.whole(number, "`backlog`", 1..=1_000_000_000));
    Ok(Work {
        rate,
        jobs,
        enqueue: tool(reader, "work.enqueue", &text.enqueue)?,
        ledger: tool(reader, "work.ledger", &text.ledger)?,
        backlog: backlog.transpose()?.unwrap_or(usual),
    })
}

pub(super) fn tool(reader: &mut Reader<'_>, what: &str, text: &ToolText) -> Result<Tool, Wrong> {
    if text.command.first().is_none_or(String::is_empty) {
        let help = "write a program and its arguments: `command: [program, argument]`";
        return Err(reader.at(&text.service, format!("`{what}` has no command"), help));
    }
    Ok(Tool { service: reader.service(&text.service), command: text.command.clone() })
}

fn read_timetable(reader: &mut Reader<'_>, text: &TimetableText) -> Result<Timetable, Wrong> {
    if text.entries.is_empty() {
        return Err(reader.at_key(
            "timetable",
            "`timetable.entries` is empty",
            "copy the old side's crontab",
        ));
    }
    if let Some(twice) = repeated(text.entries.iter().map(|entry| &entry.name)) {
        let message = format!("an entry `{}` is there already", twice.value);
        return Err(reader.at(
            twice,
            message,
            "give each its own name: its runs stand in the ledger under it",
        ));
    }
    let tolerance = text.tolerance.as_ref().map(|time| reader.quantity(time, units::duration)).transpose()?;
    if let Some(time) = text.tolerance.as_ref().filter(|_| tolerance.is_some_and(|given| given >= TICK)) {
        let message = "a run that may be a minute late cannot be told from that of the next tick";
        return Err(reader.at(time, message, "write less than `60s`"));
    }
    Ok(Timetable {
        entries: text.entries.iter().map(|entry| read_entry(reader, entry)).collect::<Result<_, _>>()?,
        time_zone: time_zone(reader, &text.time_zone)?,
        ledger: tool(reader, "timetable.ledger", &text.ledger)?,
        tolerance: tolerance.unwrap_or(TOLERANCE),
        disarm: tool(reader, "timetable.disarm", &text.disarm)?,
        arm: tool(reader, "timetable.arm", &text.arm)?,
    })
}

/// Looks at the five fields only as far as one that was forgotten or put elsewhere is found.
pub(super) fn read_entry(reader: &Reader<'_>, text: &EntryText) -> Result<TimetableEntry, Wrong> {
    let schedule = &text.schedule.value;
    let fields: Vec<_> = schedule.split_whitespace().collect();
    if fields.len() != 5 {
        let message = format!("`{schedule}` is not an entry of a crontab, which has five fields");
        let help = "write minute, hour, day of month, month and day of week: `0 3 * * *`";
        return Err(reader.at(&text.schedule, message, help));
    }
    let highest = [("minute", 59), ("hour", 23), ("day of month", 31), ("month", 12), ("day of week", 7)];
    for (field, (name, highest)) in fields.iter().zip(highest) {
        let numbers = field.split(|c: char| !c.is_ascii_digit()).filter(|digits| !digits.is_empty());
        let beyond =
            numbers.into_iter().any(|digits| digits.parse::<u32>().is_ok_and(|number| number > highest));
        let odd = field.contains(|c: char| !c.is_ascii_alphanumeric() && !"*/,-".contains(c));
        if beyond || odd {
            let message = format!("`{field}` is not the {name} of an entry of a crontab");
            let help = format!("numbers go up to {highest}; `*`, `1-5`, `1,2` and `*/10` are known too");
            return Err(reader.at(&text.schedule, message, &help));
        }
    }
    Ok(TimetableEntry { name: text.name.value.clone(), schedule: schedule.clone() })
}

fn time_zone(reader: &Reader<'_>, text: &Text) -> Result<String, Wrong> {
    let known: Vec<_> = jiff::tz::db().available().map(|name| name.to_string()).collect();
    // A machine without the database cannot tell; the rehearsal, which needs it, says so.
    if !known.is_empty() && jiff::tz::TimeZone::get(&text.value).is_err() {
        let help = match meant(&text.value, known.iter().map(String::as_str), "") {
            suggestion if suggestion.starts_with("did") => suggestion,
            _ => "write an IANA name, such as `Asia/Tokyo` or `UTC`".to_owned(),
        };
        return Err(reader.at(text, format!("there is no time zone `{}`", text.value), &help));
    }
    Ok(text.value.clone())
}

fn promise(reader: &Reader<'_>, text: Option<&SloText>) -> Result<Promise, Wrong> {
    let availability = text.and_then(|slo| slo.availability.as_ref());
    let p99 = text.and_then(|slo| slo.p99.as_ref());
    let mut slo = SLO;
    if let Some(text) = availability {
        slo.availability = reader.quantity(text, units::percentage)?;
        if slo.availability >= 1.0 {
            let message = "no number of requests proves that none of all to come will fail";
            return Err(reader.at(text, message, "promise less, such as `99.9%`, which 3000 requests prove"));
        }
    }
    if let Some(text) = p99 {
        slo.p99 = reader.quantity(text, units::duration)?;
        if slo.p99.is_zero() {
            return Err(reader.at(text, "nothing is faster than 0s", "write such as `400ms`"));
        }
    }
    Ok(Promise { slo, given: Given { availability: availability.is_some(), p99: p99.is_some() } })
}
