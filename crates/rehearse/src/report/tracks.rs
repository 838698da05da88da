//! The tracks below the steps: what there is to see of each kind of component.

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::fmt::Write as _;
use std::time::Duration;

use envctl_model::cutover::{CutoverPlan, Side};

use super::axis::{Axis, Scale, Tick, rounded};
use super::figures::{Sample, Summary, summary};
use super::timeline::{Shape, Track};
use super::words;
use crate::observation::{InstanceState, JobEvent, RunEvent};
use crate::{Observation, Time};

/// So many columns can be told apart.
const COLUMNS: u64 = 480;

/// The tracks for which anything was seen.
pub(super) fn of(plan: &CutoverPlan, seen: &[&Observation], samples: &[Sample], axis: Axis) -> Vec<Track> {
    let columns = Columns::of(axis);
    let mut tracks = Vec::new();
    tracks.extend(weights(seen, axis));
    tracks.extend(names(seen, axis));
    if !samples.is_empty() {
        tracks.push(latencies(plan, samples, axis, columns));
        tracks.push(failures(samples, axis, columns));
    }
    tracks.extend(jobs(seen, axis, columns));
    tracks.extend(backlog(plan, seen, axis));
    tracks.extend(runs(plan, seen, axis));
    tracks.extend(instances(seen, axis));
    tracks
}

/// Time in equal parts of whole seconds.
#[derive(Debug, Clone, Copy)]
struct Columns {
    seconds: u64,
}

impl Columns {
    fn of(axis: Axis) -> Self {
        Self { seconds: (axis.end.0 / 1_000_000).div_ceil(COLUMNS).max(1) }
    }

    fn index(self, at: Time) -> u64 {
        at.0 / 1_000_000 / self.seconds
    }

    /// Left and right edge.
    fn edges(self, axis: Axis, index: u64) -> (f64, f64) {
        let at = |index: u64| axis.x(Time(index * self.seconds * 1_000_000));
        (at(index), at(index + 1))
    }

    fn each(self) -> String {
        if self.seconds == 1 { "each second".to_owned() } else { format!("each {} s", self.seconds) }
    }
}

/// A line that keeps its height until the next point.
fn stairs(axis: Axis, scale: Scale, points: &[(Time, f64)]) -> String {
    let mut d = String::new();
    for (at, figure) in points {
        let (x, y) = (axis.x(*at), scale.y(*figure));
        let _ = if d.is_empty() { write!(d, "M{x} {y}") } else { write!(d, "H{x}V{y}") };
    }
    if !d.is_empty() {
        let _ = write!(d, "H{}", axis.x(axis.end));
    }
    d
}

fn level(axis: Axis, y: f64) -> String {
    format!("M{} {y}H{}", axis.x(Time(0)), axis.x(axis.end))
}

fn guides(scale: Scale, figures: impl IntoIterator<Item = (f64, String)>) -> Vec<Tick> {
    figures.into_iter().map(|(figure, label)| Tick { at: scale.y(figure), label }).collect()
}

fn class(side: Side) -> &'static str {
    side.as_str()
}

#[allow(clippy::cast_precision_loss, reason = "counts that a person could count")]
fn figure(count: u64) -> f64 {
    count as f64
}

/// The next round number: where an axis ends.
fn round_up(count: u64) -> u64 {
    let power = 10_u64.pow(count.max(1).ilog10());
    [1, 2, 5, 10].into_iter().map(|n| n * power).find(|round| *round >= count).unwrap_or(count)
}

fn weights(seen: &[&Observation], axis: Axis) -> Option<Track> {
    let (mut running, mut configured) = (Vec::new(), Vec::new());
    for observation in seen.iter().copied() {
        if let Observation::Weight { at, running: now, configured: after } = observation {
            running.push((*at, f64::from(*now)));
            configured.push((*at, f64::from(*after)));
        }
    }
    running.first()?;
    let scale = Scale { height: 64.0, low: 0.0, high: 100.0 };
    let line = stairs(axis, scale, &running);
    let mut changes = running.clone();
    changes.dedup_by_key(|(_, weight)| *weight);
    let changes: Vec<_> =
        changes.iter().map(|(at, weight)| format!("{weight} % at {}", words::clock(*at))).collect();
    let area = format!("{line}V{}H{}Z", scale.height, axis.x(running[0].0));
    let mut shapes = vec![
        Shape::Path { class: "area new", d: area, title: String::new() },
        Shape::Path {
            class: "line new",
            d: line,
            title: format!("weight of the new side: {}", changes.join(", ")),
        },
    ];
    if configured != running {
        let title =
            "weight of the new side in the router's configuration, which a restart would bring".to_owned();
        shapes.push(Shape::Path { class: "line limit", d: stairs(axis, scale, &configured), title });
    }
    let guides = guides(scale, [0.0, 50.0, 100.0].map(|percent| (percent, format!("{percent} %"))));
    Some(Track { title: "Weight of the new side".to_owned(), top: 0.0, height: scale.height, guides, shapes })
}

fn names(seen: &[&Observation], axis: Axis) -> Option<Track> {
    let read = |observation: &Observation| match observation {
        Observation::Name { at, side } => Some((*at, *side)),
        _ => None,
    };
    let mut leads: Vec<_> = seen.iter().copied().filter_map(read).collect();
    leads.dedup_by_key(|(_, side)| *side);
    leads.first()?;
    let height = 22.0;
    let ends = leads.iter().skip(1).map(|(at, _)| *at).chain([axis.end]);
    let shapes = leads.iter().zip(ends).map(|((at, side), end)| Shape::Box {
        class: class(*side),
        x: axis.x(*at),
        y: 0.0,
        width: rounded(axis.x(end) - axis.x(*at)),
        height,
        title: format!("from {} the name leads to the {side} side", words::clock(*at)),
        label: format!("{side} side"),
    });
    let shapes = shapes.collect();
    Some(Track { title: "Where the name leads".to_owned(), top: 0.0, height, guides: Vec::new(), shapes })
}

fn latencies(plan: &CutoverPlan, samples: &[Sample], axis: Axis, columns: Columns) -> Track {
    let mut parts: BTreeMap<(Side, u64), Vec<&Sample>> = BTreeMap::new();
    for sample in samples {
        if let Some(side) = sample.side.filter(|_| sample.well) {
            parts.entry((side, columns.index(sample.at))).or_default().push(sample);
        }
    }
    let parts: Vec<(Side, u64, Summary)> =
        parts.into_iter().map(|((side, at), part)| (side, at, summary(part.into_iter()))).collect();
    // Latencies differ by orders of magnitude: the scale is one of them.
    let height = |latency: Duration| latency.as_secs_f64().max(1e-4).log10();
    let of_all = parts.iter().flat_map(|(_, _, part)| [part.p50, part.p99]).chain([plan.slo.p99]);
    let (low, high) =
        of_all.map(height).fold((0.0_f64, -4.0_f64), |(low, high), y| (low.min(y), high.max(y)));
    let scale = Scale { height: 130.0, low: low.floor(), high: high + 0.1 };
    let mut shapes = Vec::new();
    for side in [Side::Old, Side::New] {
        let (mut band, mut edge) = (String::new(), String::new());
        let mut worst = Duration::ZERO;
        for (_, at, part) in parts.iter().filter(|(of, _, _)| *of == side) {
            let (x, end) = columns.edges(axis, *at);
            let (top, bottom) = (scale.y(height(part.p99)), scale.y(height(part.p50)));
            let _ = write!(band, "M{x} {top}H{end}V{bottom}H{x}Z");
            let _ = write!(edge, "M{x} {top}H{end}M{x} {bottom}H{end}");
            worst = worst.max(part.p99);
        }
        if !band.is_empty() {
            let title = format!(
                "{side} side: from p50 to p99 of {}; the worst p99 is {}",
                columns.each(),
                words::latency(worst)
            );
            shapes.push(Shape::Path {
                class: if side == Side::Old { "area old" } else { "area new" },
                d: band,
                title,
            });
            let class = if side == Side::Old { "line old" } else { "line new" };
            shapes.push(Shape::Path { class, d: edge, title: String::new() });
        }
    }
    let objective = words::latency(plan.slo.p99);
    let title = format!("the objective: p99 below {objective}");
    shapes.push(Shape::Path { class: "line limit", d: level(axis, scale.y(height(plan.slo.p99))), title });
    let decades = (-4..=2).map(f64::from).filter(|power| (scale.low..=scale.high).contains(power));
    let decades = decades.map(|power| (power, words::latency(Duration::from_secs_f64(10_f64.powf(power)))));
    Track {
        title: format!(
            "Latency from the intended send, p50 to p99 of {}, by side; objective {objective}",
            columns.each()
        ),
        top: 0.0,
        height: scale.height,
        guides: guides(scale, decades),
        shapes,
    }
}

fn failures(samples: &[Sample], axis: Axis, columns: Columns) -> Track {
    let mut failed: BTreeMap<u64, u64> = BTreeMap::new();
    for sample in samples.iter().filter(|sample| !sample.well) {
        *failed.entry(columns.index(sample.at)).or_default() += 1;
    }
    let high = round_up(failed.values().copied().max().unwrap_or_default().max(4));
    let scale = Scale { height: 44.0, low: 0.0, high: figure(high) };
    let bars = failed.iter().map(|(at, count)| {
        let ((x, end), y) = (columns.edges(axis, *at), scale.y(figure(*count)));
        Shape::Box {
            class: "bad",
            x,
            y,
            width: rounded((end - x).max(1.5)),
            height: rounded(scale.height - y),
            title: format!("{count} failed at {}", words::clock(Time(at * columns.seconds * 1_000_000))),
            label: String::new(),
        }
    });
    let shapes = bars.collect();
    let guides = guides(scale, [(0.0, "0".to_owned()), (figure(high), high.to_string())]);
    Track {
        title: format!("Failed requests, {}", columns.each()),
        top: 0.0,
        height: scale.height,
        guides,
        shapes,
    }
}

fn jobs(seen: &[&Observation], axis: Axis, columns: Columns) -> Option<Track> {
    let mut parts: BTreeMap<(Side, u64), u64> = BTreeMap::new();
    let (mut done, mut doubled) = (HashSet::new(), Vec::new());
    for observation in seen.iter().copied() {
        if let Observation::Job { at, id, event: JobEvent::Effect, side: Some(side), .. } = observation {
            *parts.entry((*side, columns.index(*at))).or_default() += 1;
            if !done.insert(id) {
                doubled.push((*at, id));
            }
        }
    }
    let high = round_up(*parts.values().max()?);
    let scale = Scale { height: 80.0, low: 0.0, high: figure(high) };
    let mut shapes = Vec::new();
    for side in [Side::Old, Side::New] {
        let mut d = String::new();
        for ((_, at), count) in parts.iter().filter(|((of, _), _)| *of == side) {
            let ((x, end), y) = (columns.edges(axis, *at), scale.y(figure(*count)));
            let _ = write!(d, "M{x} {y}H{end}V{}H{x}Z", scale.height);
        }
        let class = if side == Side::Old { "area old" } else { "area new" };
        shapes.push(Shape::Path {
            class,
            d,
            title: format!("jobs that the {side} side finished, {}", columns.each()),
        });
    }
    shapes.extend(doubled.into_iter().map(|(at, id)| Shape::Square {
        class: "bad",
        x: axis.x(at),
        y: 6.0,
        title: format!("job {id} had its effect again at {}", words::clock(at)),
    }));
    let guides = guides(scale, [(0.0, "0".to_owned()), (figure(high), words::number(high))]);
    let title = format!("Jobs finished {}, by side; squares are effects that were doubled", columns.each());
    Some(Track { title, top: 0.0, height: scale.height, guides, shapes })
}

fn backlog(plan: &CutoverPlan, seen: &[&Observation], axis: Axis) -> Option<Track> {
    let read = |observation: &Observation| match observation {
        Observation::Backlog { at, waiting, .. } => Some((*at, *waiting)),
        _ => None,
    };
    let waiting: Vec<_> = seen.iter().copied().filter_map(read).collect();
    let most = waiting.iter().map(|(_, waiting)| *waiting).max()?;
    let limit = plan.work.as_ref().map(|work| work.backlog);
    let high = round_up(most.max(limit.unwrap_or_default()).max(4));
    let scale = Scale { height: 56.0, low: 0.0, high: figure(high) };
    let points: Vec<_> = waiting.into_iter().map(|(at, waiting)| (at, figure(waiting))).collect();
    let mut shapes = vec![Shape::Path {
        class: "line plain",
        d: stairs(axis, scale, &points),
        title: format!("jobs that wait; {} at most", words::number(most)),
    }];
    shapes.extend(limit.map(|limit| Shape::Path {
        class: "line limit",
        d: level(axis, scale.y(figure(limit))),
        title: format!("{} may wait", words::number(limit)),
    }));
    let title = match limit {
        Some(limit) => format!("Jobs that wait; {} may", words::number(limit)),
        None => "Jobs that wait".to_owned(),
    };
    let guides = guides(scale, [(0.0, "0".to_owned()), (figure(high), words::number(high))]);
    Some(Track { title, top: 0.0, height: scale.height, guides, shapes })
}

fn runs(plan: &CutoverPlan, seen: &[&Observation], axis: Axis) -> Option<Track> {
    const ROW: f64 = 22.0;
    let entries = &plan.timetable.as_ref()?.entries;
    let y = |index: usize| ROW * (figure(index as u64) + 0.5);
    let failed: HashSet<_> = seen
        .iter()
        .copied()
        .filter_map(|observation| match observation {
            Observation::Run { run, event: RunEvent::Failed, .. } => Some(run),
            _ => None,
        })
        .collect();
    let shape = |observation: &Observation| {
        let Observation::Run { at, entry, run, event: RunEvent::Started, side, instance, .. } = observation
        else {
            return None;
        };
        let (x, y) = (axis.x(*at), y(entries.iter().position(|known| known.name == *entry)?));
        let how = if failed.contains(run) { ", and failed" } else { "" };
        let title = format!("{entry} began on the {side} side ({instance}) at {}{how}", words::clock(*at));
        let class = if how.is_empty() { class(*side) } else { "bad" };
        Some(match side {
            Side::Old => Shape::Dot { class, x, y, title },
            Side::New => Shape::Square { class, x, y, title },
        })
    };
    let shapes = seen.iter().copied().filter_map(shape).collect();
    let name = |text: &str| match text.char_indices().nth(13) {
        Some((end, _)) if text.chars().count() > 14 => format!("{}…", &text[..end]),
        _ => text.to_owned(),
    };
    let guides = entries.iter().enumerate().map(|(at, entry)| Tick { at: y(at), label: name(&entry.name) });
    Some(Track {
        title: "Runs: dots on the old side, squares on the new one".to_owned(),
        top: 0.0,
        height: ROW * figure(entries.len() as u64),
        guides: guides.collect(),
        shapes,
    })
}

fn instances(seen: &[&Observation], axis: Axis) -> Option<Track> {
    let mut running: BTreeMap<Side, BTreeSet<&str>> = BTreeMap::new();
    let mut points: BTreeMap<Side, Vec<(Time, f64)>> = BTreeMap::new();
    let mut most = 1;
    for observation in seen.iter().copied() {
        if let Observation::Instance { at, side, instance, state } = observation {
            let now = running.entry(*side).or_default();
            match state {
                InstanceState::Started | InstanceState::Ready => _ = now.insert(instance),
                InstanceState::Ended | InstanceState::Killed => _ = now.remove(instance.as_str()),
                InstanceState::Ending => {}
            }
            most = most.max(now.len() as u64);
            points.entry(*side).or_default().push((*at, figure(now.len() as u64)));
        }
    }
    if points.is_empty() {
        return None;
    }
    let scale = Scale { height: 40.0, low: 0.0, high: figure(most) };
    let line = |(side, points): (&Side, &Vec<_>)| Shape::Path {
        // Both sides often have as many: the old one shows through.
        class: if *side == Side::Old { "line old" } else { "line new over" },
        d: stairs(axis, scale, points),
        title: format!("instances of the {side} side that run"),
    };
    let shapes = points.iter().map(line).collect();
    let guides = guides(scale, [(0.0, "0".to_owned()), (figure(most), most.to_string())]);
    Some(Track {
        title: "Instances that run, by side".to_owned(),
        top: 0.0,
        height: scale.height,
        guides,
        shapes,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_axis_ends_at_a_round_number() {
        assert_eq!([0, 1, 3, 5, 11, 99, 501].map(round_up), [1, 1, 5, 5, 20, 100, 1000]);
    }
}
