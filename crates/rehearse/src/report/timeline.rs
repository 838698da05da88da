//! Everything over one time axis: steps, drills and faults on top, then the tracks of the component's kind.

use envctl_model::cutover::CutoverPlan;
use serde::Serialize;

use super::axis::{Axis, LEFT, RIGHT, Tick, WIDTH, rounded};
use super::figures::Sample;
use super::{tracks, words};
use crate::observation::{DrillPhase, FaultPhase, StepPhase};
use crate::{Observation, Time};

/// Between two tracks: room for the title of the lower one.
const GAP: f64 = 38.0;
/// What one letter of a label takes, more or less.
const LETTER: f64 = 6.6;

/// The drawing.
#[derive(Debug, Serialize)]
pub(super) struct Timeline {
    width: f64,
    height: f64,
    left: f64,
    right: f64,
    /// Where the axis is, below all tracks.
    base: f64,
    /// Where the tracks begin, below the steps.
    top: f64,
    ticks: Vec<Tick>,
    /// Drills and faults, over all tracks.
    shades: Vec<Shape>,
    tracks: Vec<Track>,
}

/// One row of the drawing. What is in it is placed from its own upper edge.
#[derive(Debug, Serialize)]
pub(super) struct Track {
    /// Above it; empty where the label beside it says enough.
    pub(super) title: String,
    pub(super) top: f64,
    pub(super) height: f64,
    /// Heights with a label beside them.
    pub(super) guides: Vec<Tick>,
    pub(super) shapes: Vec<Shape>,
}

/// Something that is drawn. Its title is what a reader without eyes, or with a pointer, gets.
#[derive(Debug, Serialize)]
#[serde(tag = "shape", rename_all = "camelCase")]
pub(super) enum Shape {
    Path { class: &'static str, d: String, title: String },
    Box { class: &'static str, x: f64, y: f64, width: f64, height: f64, title: String, label: String },
    Text { x: f64, y: f64, label: String },
    Dot { class: &'static str, x: f64, y: f64, title: String },
    Square { class: &'static str, x: f64, y: f64, title: String },
}

/// From when to when something was.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Span {
    pub(super) index: usize,
    pub(super) from: Time,
    pub(super) to: Time,
}

impl Timeline {
    pub(super) fn of(plan: &CutoverPlan, seen: &[&Observation], samples: &[Sample]) -> Self {
        let axis = Axis::new(end(seen));
        let (mut tracks, mut shades, mut top) = (Vec::new(), Vec::new(), 8.0);
        let rows = [
            ("steps", 24.0, steps(plan, seen, axis)),
            ("drills", 16.0, drills(plan, seen, axis)),
            ("faults", 16.0, faults(plan, seen, axis)),
        ];
        for (label, row, mut shapes) in rows.into_iter().filter(|(_, _, shapes)| !shapes.is_empty()) {
            for shape in &mut shapes {
                if let Shape::Box { class, x, width, height, .. } = shape {
                    *height = row;
                    if *class == "drill" || *class == "fault" {
                        shades.push((*class, *x, *width));
                    }
                }
            }
            let guides = vec![Tick { at: row / 2.0, label: label.to_owned() }];
            tracks.push(Track { title: String::new(), top, height: row, guides, shapes });
            top += row + 6.0;
        }
        top += GAP - 6.0;
        let begin = top;
        for mut track in tracks::of(plan, seen, samples, axis) {
            track.top = top;
            top += track.height + GAP;
            tracks.push(track);
        }
        let base = top - GAP + 8.0;
        let shade = |(class, x, width)| Shape::Box {
            class,
            x,
            y: begin,
            width,
            height: base - begin,
            title: String::new(),
            label: String::new(),
        };
        let shades = shades.into_iter().map(shade).collect();
        Self {
            width: WIDTH,
            height: base + 24.0,
            left: LEFT,
            right: RIGHT,
            base,
            top: begin,
            ticks: axis.ticks(),
            shades,
            tracks,
        }
    }
}

#[allow(clippy::cast_precision_loss, reason = "lengths of labels")]
fn length(label: &str) -> f64 {
    label.chars().count() as f64 * LETTER
}

fn bar(axis: Axis, span: &Span, class: &'static str, names: [String; 2], title: String) -> Shape {
    let (x, end) = (axis.x(span.from), axis.x(span.to));
    let width = rounded((end - x).max(2.0));
    let fits = |name: &String| length(name) + 6.0 <= width;
    let label = names.into_iter().find(fits).unwrap_or_default();
    Shape::Box { class, x, y: 0.0, width, height: 0.0, title, label }
}

fn between(span: &Span) -> String {
    format!("{} to {}", words::clock(span.from), words::clock(span.to))
}

fn steps(plan: &CutoverPlan, seen: &[&Observation], axis: Axis) -> Vec<Shape> {
    let name = |span: &Span| plan.steps.get(span.index).map(|step| step.name()).unwrap_or_default();
    let done = spans(seen, |observation| match observation {
        Observation::Step { step, phase: StepPhase::Begun, .. } => Some((*step, true)),
        Observation::Step { step, phase: StepPhase::Judged | StepPhase::Undoing, .. } => Some((*step, false)),
        _ => None,
    });
    let undone = spans(seen, |observation| match observation {
        Observation::Step { step, phase: StepPhase::Undoing, .. } => Some((*step, true)),
        Observation::Step { step, phase: StepPhase::Undone, .. } => Some((*step, false)),
        _ => None,
    });
    let step = |span: &Span| {
        let number = span.index + 1;
        let title = format!("step {number}, {}: {}", name(span), between(span));
        bar(axis, span, "step", [format!("{number} {}", name(span)), number.to_string()], title)
    };
    let undo = |span: &Span| {
        let title = format!("step {} undone: {}", span.index + 1, between(span));
        bar(axis, span, "undo", [format!("undo {}", span.index + 1), String::new()], title)
    };
    done.iter().map(step).chain(undone.iter().map(undo)).collect()
}

fn drills(plan: &CutoverPlan, seen: &[&Observation], axis: Axis) -> Vec<Shape> {
    let spans = spans(seen, |observation| match observation {
        Observation::Drill { from, phase: DrillPhase::Begun, .. } => Some((*from, true)),
        Observation::Drill { from, phase: DrillPhase::Over, .. } => Some((*from, false)),
        _ => None,
    });
    let drill = |span: &Span| {
        let step = plan.steps.get(span.index).map(|step| step.name()).unwrap_or_default();
        let title = format!("rollback drilled from step {}, {step}: {}", span.index + 1, between(span));
        bar(axis, span, "drill", [format!("from {}", span.index + 1), (span.index + 1).to_string()], title)
    };
    spans.iter().map(drill).collect()
}

fn faults(plan: &CutoverPlan, seen: &[&Observation], axis: Axis) -> Vec<Shape> {
    let spans = spans(seen, |observation| match observation {
        Observation::Fault { fault, phase: FaultPhase::Injected, .. } => Some((*fault, true)),
        Observation::Fault { fault, phase: FaultPhase::Lifted, .. } => Some((*fault, false)),
        _ => None,
    });
    let mut shapes = Vec::new();
    for (at, span) in spans.iter().enumerate() {
        let name = plan.faults.get(span.index).map(|fault| words::word(fault.inject)).unwrap_or_default();
        let title = format!("fault {name}: {}", between(span));
        // Faults are short: their names stand beside them, if the next one leaves room.
        let x = axis.x(span.to) + 6.0;
        let next = spans.get(at + 1).map_or(RIGHT, |next| axis.x(next.from));
        if x + length(&name) <= next {
            shapes.push(bar(axis, span, "fault", [String::new(), String::new()], title));
            shapes.push(Shape::Text { x, y: 12.0, label: name });
        } else {
            shapes.push(bar(axis, span, "fault", [name, (span.index + 1).to_string()], title));
        }
    }
    shapes
}

/// From where something begins to where the same thing ends. What has no end goes on until the last observation.
pub(super) fn spans(
    seen: &[&Observation],
    mark: impl Fn(&Observation) -> Option<(usize, bool)>,
) -> Vec<Span> {
    let end = end(seen);
    let mut spans: Vec<Span> = Vec::new();
    let mut open: Vec<usize> = Vec::new();
    for observation in seen.iter().copied() {
        match mark(observation) {
            Some((index, true)) => {
                open.push(spans.len());
                spans.push(Span { index, from: observation.at(), to: end });
            }
            Some((index, false)) => {
                if let Some(place) = open.iter().rposition(|&at| spans[at].index == index) {
                    spans[open.remove(place)].to = observation.at();
                }
            }
            None => {}
        }
    }
    spans
}

/// When the last thing was seen.
fn end(seen: &[&Observation]) -> Time {
    seen.last().map(|last| last.at()).unwrap_or_default()
}
