//! What came of a rehearsal, counted from its recording and from what its gates said: for the evidence.

use envctl_model::cutover::plan::Fault;
use envctl_model::cutover::{CutoverPlan, GateKind, Side};

use crate::director::Judged;
use crate::evidence::{Conclusion, DrillRecord, FaultRecord, GateOutcome, GateRecord, PerSide, StepRecord};
use crate::gates::{During, Outcome, Window};
use crate::observation::{DrillPhase, FaultPhase, JobEvent, Observation, RunEvent, StepPhase, Time};
use crate::recording::Recording;

/// What was counted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tally {
    /// The steps that were begun, in order.
    pub steps: Vec<StepRecord>,
    /// The faults that were injected.
    pub faults: Vec<FaultRecord>,
    /// The rollbacks that were drilled.
    pub drills: Vec<DrillRecord>,
    /// Requests, jobs or runs that ended, on each side.
    pub samples: PerSide,
    /// What came of it all.
    pub verdict: Conclusion,
}

/// How the course of a rehearsal ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Course {
    /// All of it was gone through.
    Whole,
    /// Something could not be done, or could not be undone.
    Broken,
    /// A gate ended it, and it was gone back from: what the gates said is all that there is to say.
    Judged,
    /// Somebody interrupted it.
    Interrupted,
    /// All of it was gone through, and not all of it was seen.
    Unseen,
}

impl Tally {
    /// Counts.
    #[must_use]
    pub fn of(plan: &CutoverPlan, recording: &Recording, judged: &[Judged], course: Course) -> Self {
        let verdicts = || judged.iter().flat_map(|judged| &judged.verdicts);
        let any = |outcome| verdicts().any(|verdict| verdict.outcome == outcome);
        let verdict = if any(Outcome::Failed) || course == Course::Broken {
            Conclusion::Failed
        } else if any(Outcome::Inconclusive)
            || matches!(course, Course::Interrupted | Course::Unseen)
            || judged.is_empty()
        {
            Conclusion::Inconclusive
        } else {
            Conclusion::Successful
        };
        Self {
            steps: steps(plan, recording, judged),
            faults: faults(plan, recording),
            drills: drills(plan, recording, judged),
            samples: samples(recording),
            verdict,
        }
    }
}

fn steps(plan: &CutoverPlan, recording: &Recording, judged: &[Judged]) -> Vec<StepRecord> {
    let mut records = Vec::new();
    for (index, step) in plan.steps.iter().enumerate() {
        let at = |wanted: StepPhase| {
            recording.observations.iter().find_map(|seen| match seen {
                Observation::Step { at, step, phase } if *step == index && *phase == wanted => Some(*at),
                _ => None,
            })
        };
        let Some(begun) = at(StepPhase::Begun) else { continue };
        let of_step = |judged: &&Judged| judged.step == index && judged.window.during == During::Step;
        let gates = judged.iter().filter(of_step).flat_map(|judged| &judged.verdicts);
        let gates = gates.map(|verdict| GateRecord { gate: verdict.gate, outcome: outcome(verdict.outcome) });
        let judged = at(StepPhase::Judged).unwrap_or(begun);
        records.push(StepRecord {
            step: step.name(),
            took_ms: millis(begun, judged),
            gates: gates.collect(),
        });
    }
    records
}

fn outcome(outcome: Outcome) -> GateOutcome {
    match outcome {
        Outcome::Passed => GateOutcome::Passed,
        Outcome::Failed => GateOutcome::Failed,
        Outcome::Inconclusive => GateOutcome::Inconclusive,
    }
}

fn millis(from: Time, to: Time) -> u64 {
    u64::try_from(to.since(from).as_millis()).unwrap_or(u64::MAX)
}

fn faults(plan: &CutoverPlan, recording: &Recording) -> Vec<FaultRecord> {
    let mut records = Vec::new();
    for seen in &recording.observations {
        let Observation::Fault { at, fault, kind, phase: FaultPhase::Injected } = seen else { continue };
        let Some(planned) = plan.faults.get(*fault) else { continue };
        let failed = failures_after(recording, *at, planned);
        let last = failed.iter().max();
        records.push(FaultRecord {
            fault: *kind,
            at: plan.steps[planned.at].name(),
            permitted_failures: planned.failed_requests,
            failures: failed.len() as u64,
            permitted_recovery_ms: u64::try_from(planned.recovery.as_millis()).unwrap_or(u64::MAX),
            recovery_ms: Some(last.map_or(0, |last| millis(*at, *last))),
        });
    }
    records
}

/// When requests failed after a fault, until something else was begun.
fn failures_after(recording: &Recording, from: Time, fault: &Fault) -> Vec<Time> {
    let next = recording.observations.iter().find_map(|seen| match seen {
        Observation::Drill { at, phase: DrillPhase::Begun, .. }
        | Observation::Step { at, phase: StepPhase::Begun, .. }
            if *at > from =>
        {
            Some(*at)
        }
        _ => None,
    });
    let to = next.unwrap_or_else(|| Time::from_secs(from.secs() + fault.recovery.as_secs_f64()));
    let failed = recording.observations.iter().filter_map(|seen| match seen {
        Observation::Request(request) if !request.control && !request.is_well() => Some(request.done),
        Observation::Job { at, event: JobEvent::Failed, .. } => Some(*at),
        _ => None,
    });
    failed.filter(|at| (from..to).contains(at)).collect()
}

fn drills(plan: &CutoverPlan, recording: &Recording, judged: &[Judged]) -> Vec<DrillRecord> {
    let drills = Window::all(plan, recording).into_iter().filter(|window| window.during == During::Drill);
    let mut records = Vec::new();
    for window in drills {
        let Some(from) = window.step else { continue };
        let of = |wanted: DrillPhase| {
            recording.observations.iter().find_map(|seen| match seen {
                Observation::Drill { at, from: step, middle, phase }
                    if *step == from && *phase == wanted && (window.from..=window.to).contains(at) =>
                {
                    Some((*at, *middle))
                }
                _ => None,
            })
        };
        let Some((begun, middle)) = of(DrillPhase::Begun) else { continue };
        let back = of(DrillPhase::Back).map_or(window.to, |(at, _)| at);
        let said = judged.iter().filter(|judged| {
            judged.window.during == During::Drill && (window.from..=window.to).contains(&judged.window.from)
        });
        let against = said
            .flat_map(|judged| &judged.verdicts)
            .flat_map(|verdict| verdict.failures.iter().map(move |failure| (verdict.gate, failure)));
        let (mut lost, mut doubled) = (0, 0);
        for (gate, failure) in against {
            match failure.invariant.as_str() {
                "nothingDoubledGoingBack" => doubled += failure.count,
                "nothingLostGoingBack" => lost += failure.count,
                "everyRequestWell" if gate == GateKind::NoFailedRequestDuringRollback => {
                    lost += failure.count
                }
                _ => {}
            }
        }
        let from = plan.steps[from].name();
        records.push(DrillRecord { from, middle, took_ms: millis(begun, back), lost, doubled });
    }
    records
}

fn samples(recording: &Recording) -> PerSide {
    let mut samples = PerSide { old: 0, new: 0 };
    for seen in &recording.observations {
        let side = match seen {
            Observation::Routed(routed) => routed.side,
            Observation::Job { event: JobEvent::Effect, side, .. } => *side,
            Observation::Run { event: RunEvent::Succeeded | RunEvent::Failed, side, .. } => Some(*side),
            _ => None,
        };
        match side {
            Some(Side::Old) => samples.old += 1,
            Some(Side::New) => samples.new += 1,
            None => {}
        }
    }
    samples
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::gates::{judge, made_up};

    fn service() -> (CutoverPlan, Recording) {
        let made = made_up::clean(made_up::Kind::Service, 7);
        (made.plan, made.recording)
    }

    fn judged(plan: &CutoverPlan, recording: &Recording) -> Vec<Judged> {
        let windows = Window::all(plan, recording).into_iter();
        let judged = windows.filter(|window| window.during != During::Whole).map(|window| Judged {
            step: window.step.unwrap_or_default(),
            verdicts: vec![judge(GateKind::NoFailedRequest, plan, recording, &window)],
            window,
        });
        judged.collect()
    }

    #[test]
    fn a_clean_rehearsal_is_successful_and_every_step_and_drill_is_counted() {
        let (plan, recording) = service();
        let judged = judged(&plan, &recording);
        let tally = Tally::of(&plan, &recording, &judged, Course::Whole);
        assert_eq!(tally.verdict, Conclusion::Successful, "{judged:#?}");
        assert_eq!(tally.steps.len(), plan.steps.len());
        assert!(tally.samples.old > 0 && tally.samples.new > 0, "{:?}", tally.samples);
        assert!(tally.drills.iter().all(|drill| drill.lost == 0 && drill.doubled == 0));
        assert_eq!(tally.faults.len(), plan.faults.len());
    }

    #[test]
    fn what_did_not_go_through_its_course_is_not_successful() {
        let (plan, recording) = service();
        let judged = judged(&plan, &recording);
        let verdict = |course| Tally::of(&plan, &recording, &judged, course).verdict;
        assert_eq!(verdict(Course::Broken), Conclusion::Failed);
        assert_eq!(verdict(Course::Interrupted), Conclusion::Inconclusive);
        assert_eq!(verdict(Course::Unseen), Conclusion::Inconclusive);
        assert_eq!(Tally::of(&plan, &recording, &[], Course::Whole).verdict, Conclusion::Inconclusive);
    }
}
