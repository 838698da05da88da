//! Waiting: until there is enough to judge by, and until the logs have it.

use std::collections::{HashMap, HashSet};
use std::time::Duration;

use envctl_model::cutover::plan::Action;
use envctl_model::cutover::{CutoverPlan, Side};
use envctl_model::stack::ComponentKind;
use envctl_runner::{Context, StepError};

use crate::gates::Window;
use crate::observation::{JobEvent, Observation, Outcome, RunEvent, Time};
use crate::recorder::Recorder;
use crate::recording::Recording;

/// What a step is watched at least: less than this shows nothing of it.
const AT_LEAST: Duration = Duration::from_secs(3);

/// How long the logs of router and application may take to be read.
const LOGS_WITHIN: Duration = Duration::from_secs(3);

/// Watches a step that holds since `from` for as long as its bake says. Samples that do not come are not waited for
/// for ever: the gate of samples says that they are missing.
pub(super) async fn bake(
    plan: &CutoverPlan,
    recorder: &Recorder,
    step: usize,
    from: Time,
    context: &Context,
) -> Result<(), StepError> {
    let bake = plan.steps[step].bake;
    let least = bake.at_least.max(AT_LEAST).saturating_sub(recorder.now().since(from));
    super::pause(least, context).await;
    let sides = sides_that_get_any(plan, step);
    let (mut samples, mut ended) = (Samples::default(), [0_u32; 2]);
    let enough = |new: &[Observation]| {
        for (side, at) in new.iter().filter_map(|seen| samples.read(seen)) {
            if at >= from {
                ended[usize::from(side == Side::New)] += 1;
            }
        }
        sides.iter().all(|side| ended[usize::from(*side == Side::New)] >= bake.min_samples_per_side)
    };
    let patience = patience(plan, step);
    tokio::select! {
        _ = recorder.until(patience, enough) => {}
        () = context.interrupted.cancelled() => return Err(StepError::Interrupted),
    }
    Ok(())
}

/// Three times what the samples should take, and a while for a start.
fn patience(plan: &CutoverPlan, step: usize) -> Duration {
    let rate = plan.traffic.as_ref().map(|t| t.rate).or(plan.work.as_ref().map(|w| w.rate)).unwrap_or(1.0);
    let weight = f64::from(plan.weight_before(step + 1));
    let least = [weight, 100.0 - weight].into_iter().filter(|w| *w > 0.0).fold(100.0, f64::min) / 100.0;
    let seconds = f64::from(plan.steps[step].bake.min_samples_per_side) / (rate * least).max(0.1);
    Duration::from_secs_f64((seconds * 3.0).min(3600.0)) + Duration::from_secs(10)
}

fn sides_that_get_any(plan: &CutoverPlan, step: usize) -> Vec<Side> {
    match plan.kind {
        ComponentKind::Service | ComponentKind::Endpoint => {
            let weight = plan.weight_before(step + 1);
            let mut sides = Vec::new();
            sides.extend((weight < 100).then_some(Side::Old));
            sides.extend((weight > 0).then_some(Side::New));
            sides
        }
        ComponentKind::Worker => {
            let new = plan.steps[..=step].iter().any(|step| step.action == Action::ScaleUpNew);
            let mut sides = Vec::new();
            sides.extend((plan.old_instances_before(step + 1) > 0).then_some(Side::Old));
            sides.extend(new.then_some(Side::New));
            sides
        }
        // Its samples are ticks, which come when they come: `atLeast` says for how many to wait.
        ComponentKind::Schedule => Vec::new(),
    }
}

/// What counts as a sample of a side. A request does when its client and the router have told of it, and it is not one
/// that is known to be bad: those the gates do not count either.
#[derive(Default)]
struct Samples {
    /// Requests of which only the router has told, by id.
    routed: HashMap<String, (Side, Time)>,
    /// Those of which only the client has told.
    asked: HashSet<String>,
}

impl Samples {
    /// The sample that this completes.
    fn read(&mut self, seen: &Observation) -> Option<(Side, Time)> {
        match seen {
            Observation::Request(request) if !request.control => {
                let routed = self.routed.remove(&request.id);
                if routed.is_none() {
                    self.asked.insert(request.id.clone());
                }
                routed
            }
            Observation::Routed(routed) => {
                let sample = (routed.side?, routed.at);
                if self.asked.remove(&routed.id) {
                    return Some(sample);
                }
                self.routed.insert(routed.id.clone(), sample);
                None
            }
            Observation::Job { at, event: JobEvent::Effect, side: Some(side), .. } => Some((*side, *at)),
            Observation::Run { at, event: RunEvent::Succeeded, side, .. } => Some((*side, *at)),
            _ => None,
        }
    }
}

/// Waits until the router's log has every request that was answered up to this moment. What it never gets is for the
/// gates to find.
pub(super) async fn logs(recorder: &Recorder, to: Time) {
    let mut missing: HashSet<String> = HashSet::new();
    let mut early: HashSet<String> = HashSet::new();
    let mut moved_on = false;
    let mut has_router = false;
    let complete = |new: &[Observation]| {
        for observation in new {
            moved_on |= observation.at() > to;
            match observation {
                Observation::Request(request)
                    if request.done <= to && matches!(request.outcome, Outcome::Answered { .. }) =>
                {
                    let is_logged = early.remove(&request.id);
                    if !is_logged {
                        missing.insert(request.id.clone());
                    }
                }
                Observation::Routed(routed) => {
                    has_router = true;
                    if !missing.remove(&routed.id) {
                        early.insert(routed.id.clone());
                    }
                }
                _ => {}
            }
        }
        !has_router || (moved_on && missing.is_empty())
    };
    recorder.until(LOGS_WITHIN, complete).await;
}

/// What was counted in a window, for the screen.
pub(super) fn figures(plan: &CutoverPlan, recording: &Recording, window: &Window) -> String {
    let within = recording.observations.iter().filter(|seen| (window.from..=window.to).contains(&seen.at()));
    match plan.kind {
        ComponentKind::Service | ComponentKind::Endpoint => {
            let requests: Vec<_> = within
                .filter_map(|seen| match seen {
                    Observation::Request(request) if !request.control => Some(request.is_well()),
                    _ => None,
                })
                .collect();
            let failed = requests.iter().filter(|well| !**well).count();
            format!("{} requests  {failed} failed", requests.len())
        }
        ComponentKind::Worker => {
            let count = |event| {
                let is =
                    |seen: &&Observation| matches!(seen, Observation::Job { event: of, .. } if *of == event);
                within.clone().filter(is).count()
            };
            format!("enqueued {}  completed {}", count(JobEvent::Enqueued), count(JobEvent::Effect))
        }
        ComponentKind::Schedule => {
            let started = within
                .filter(|seen| matches!(seen, Observation::Run { event: RunEvent::Started, .. }))
                .count();
            format!("{started} runs")
        }
    }
}

#[cfg(test)]
mod tests {
    use envctl_model::cutover::plan::ClientKind;

    use super::*;
    use crate::observation::{Request, Routed};

    #[test]
    fn a_request_is_a_sample_once_both_have_told_of_it_and_a_known_bad_one_is_none() {
        let request = |id: &str, control| {
            Observation::Request(Request {
                id: id.to_owned(),
                name: "page".to_owned(),
                client: ClientKind::Fresh,
                number: 0,
                intended: Time(1),
                sent: Time(1),
                done: Time(9),
                outcome: Outcome::Answered { status: 200 },
                expected: 200,
                control,
            })
        };
        let routed = |id: &str| {
            let termination = "--".to_owned();
            Observation::Routed(Routed {
                at: Time(8),
                id: id.to_owned(),
                side: Some(Side::New),
                status: 200,
                termination,
            })
        };
        let mut samples = Samples::default();
        let seen = [
            request("7-1", false),
            routed("7-1"),
            routed("7-2"),
            request("7-2", false),
            routed("7-3"),
            request("7-3", true),
        ];
        let told: Vec<_> = seen.iter().map(|seen| samples.read(seen).is_some()).collect();
        assert_eq!(told, [false, true, false, true, false, false]);
    }
}
