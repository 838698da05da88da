//! Jobs that are lost, doubled, stranded or misunderstood.

use envctl_model::cutover::{GateKind, Side};

use super::super::{Kind, MadeUp, Mistake};
use crate::observation::{InstanceState, JobEvent, Observation, Time};

/// A job has its effect, and an hour of nothing after it: what nobody will finish.
fn unfinished(made: &mut MadeUp, id: &str) {
    made.forget(&[id], &[JobEvent::Effect, JobEvent::Failed, JobEvent::DeadLettered]);
    // The queue counts it, too.
    made.each(|seen| {
        if let Observation::Backlog { in_flight, .. } = seen {
            *in_flight += 1;
        }
    });
}

/// The second delivery of a job, to an instance of the new side, with its effect after that.
fn again(made: &mut MadeUp, id: &str, at: u64) {
    made.happens(Time(at), id, JobEvent::Received, Some("new-7"));
    made.happens(Time(at + 300_000), id, JobEvent::Effect, Some("new-7"));
}

pub(super) const MISTAKES: &[Mistake] = &[
    Mistake {
        name: "the grace period is shorter than the longest job",
        kind: Kind::Worker,
        make: |made| {
            let jobs = made.jobs(Side::Old, made.of_step(1));
            let (id, received, holder, done) = jobs[jobs.len() / 2].clone();
            made.becomes(Time(received.0 + 1000), Side::Old, &holder, InstanceState::Ending);
            made.becomes(Time(done.0 + 1000), Side::Old, &holder, InstanceState::Killed);
            again(made, &id, done.0 + 500_000);
        },
        gate: GateKind::EveryJobOnce,
        invariant: "oneEffect",
    },
    Mistake {
        name: "the visibility time-out is shorter than the job",
        kind: Kind::Worker,
        make: |made| {
            let jobs = made.jobs(Side::New, made.of_step(2));
            let (id, received, _, done) = jobs[3].clone();
            again(made, &id, u64::midpoint(received.0, done.0));
        },
        gate: GateKind::EveryJobOnce,
        invariant: "oneEffect",
    },
    Mistake {
        name: "a charge is doubled when it is delivered again",
        kind: Kind::Worker,
        make: |made| {
            let jobs = made.jobs(Side::New, made.of_step(2));
            for job in &jobs[..3] {
                again(made, &job.0, job.3.0 + 200_000);
            }
        },
        gate: GateKind::EveryJobOnce,
        invariant: "oneEffect",
    },
    Mistake {
        name: "a receive is cancelled in flight, and its message lost",
        kind: Kind::Worker,
        make: |made| {
            let jobs = made.jobs(Side::Old, made.of_step(1));
            for job in &jobs[..3] {
                made.forget(&[&job.0], &[JobEvent::Effect]);
            }
        },
        gate: GateKind::EveryJobOnce,
        invariant: "nothingLost",
    },
    Mistake {
        name: "the producer dies between intent and queue",
        kind: Kind::Worker,
        make: |made| {
            let jobs = made.jobs(Side::New, made.of_step(2));
            let later = [JobEvent::Enqueued, JobEvent::Received, JobEvent::Effect];
            made.forget(&[&jobs[4].0, &jobs[5].0], &later);
        },
        gate: GateKind::EveryJobOnce,
        invariant: "intendedIsEnqueued",
    },
    Mistake {
        name: "a job is given up after its effect",
        kind: Kind::Worker,
        make: |made| {
            let jobs = made.jobs(Side::New, made.of_step(2));
            made.happens(Time(jobs[4].3.0 + 100_000), &jobs[4].0, JobEvent::DeadLettered, None);
        },
        gate: GateKind::EveryJobOnce,
        invariant: "effectOrDeadLetter",
    },
    Mistake {
        name: "the queue holds jobs from before",
        kind: Kind::Worker,
        make: |made| {
            let at = Time(made.of_step(2).from.0 + 4_000_000);
            made.happens(at, "left-over", JobEvent::Effect, Some("new-7"));
        },
        gate: GateKind::EveryJobOnce,
        invariant: "onlyIntended",
    },
    Mistake {
        name: "a fault delivers more jobs again than it may",
        kind: Kind::Worker,
        make: |made| {
            let jobs = made.jobs(Side::New, made.of_fault());
            for job in jobs.iter().take(4) {
                made.happens(Time(job.3.0 - 1000), &job.0, JobEvent::Received, Some("new-7"));
            }
        },
        gate: GateKind::EveryJobOnce,
        invariant: "deliveriesWithinPermit",
    },
    Mistake {
        name: "too few workers run during the handover",
        kind: Kind::Worker,
        make: |made| {
            let window = made.of_step(1);
            made.each(|seen| {
                if let Observation::Backlog { at, waiting, .. } = seen
                    && window.contains(*at)
                {
                    *waiting += 40;
                }
            });
        },
        gate: GateKind::BacklogSLO,
        invariant: "backlogWithin",
    },
    Mistake {
        name: "the queue is not asked how much waits",
        kind: Kind::Worker,
        make: |made| made.keep(|seen| !matches!(seen, Observation::Backlog { .. })),
        gate: GateKind::BacklogSLO,
        invariant: "backlogKnown",
    },
    Mistake {
        name: "no ledger is read of what jobs did",
        kind: Kind::Worker,
        make: |made| {
            made.keep(|seen| !matches!(seen, Observation::Job { event: JobEvent::Effect, .. }));
        },
        gate: GateKind::Samples,
        invariant: "nothingMissing",
    },
    Mistake {
        name: "the new side does not consume a queue of the old one",
        kind: Kind::Worker,
        make: |made| {
            let jobs = made.jobs(Side::New, made.of_step(1));
            unfinished(made, &jobs[0].0);
            made.forget(&[&jobs[0].0], &[JobEvent::Received]);
        },
        gate: GateKind::NothingStranded,
        invariant: "everyJobIsTaken",
    },
    Mistake {
        name: "an instance is lost, and what it held never comes back",
        kind: Kind::Worker,
        make: |made| {
            let jobs = made.jobs(Side::Old, made.of_step(1));
            let (id, received, holder, _) = jobs[0].clone();
            unfinished(made, &id);
            made.becomes(Time(received.0 + 100), Side::Old, &holder, InstanceState::Killed);
        },
        gate: GateKind::NothingStranded,
        invariant: "heldByTheLiving",
    },
    Mistake {
        name: "a worker hangs in a job",
        kind: Kind::Worker,
        make: |made| {
            let jobs = made.jobs(Side::New, made.of_step(2));
            unfinished(made, &jobs[0].0);
        },
        gate: GateKind::NothingStranded,
        invariant: "holdersFinish",
    },
    Mistake {
        name: "a poison message comes back for ever",
        kind: Kind::Worker,
        make: |made| {
            let jobs = made.jobs(Side::New, made.of_step(2));
            let (id, received, holder, _) = jobs[0].clone();
            unfinished(made, &id);
            for attempt in 1..7 {
                made.happens(Time(received.0 + attempt * 100_000), &id, JobEvent::Failed, Some(&holder));
            }
        },
        gate: GateKind::NothingStranded,
        invariant: "failingIsGivenUp",
    },
    Mistake {
        name: "old workers do not know a new class of jobs",
        kind: Kind::Worker,
        make: |made| {
            let window = made.of_step(1);
            made.each(|seen| {
                if let Observation::Job { at, class, event, side: Some(Side::Old), .. } = seen
                    && class == "mail"
                    && *event == JobEvent::Effect
                    && window.contains(*at)
                {
                    *event = JobEvent::Failed;
                }
            });
        },
        gate: GateKind::CrossConsume,
        invariant: "noClassUnknown",
    },
    Mistake {
        name: "the new side does not subscribe to a class",
        kind: Kind::Worker,
        make: |made| {
            let window = made.of_step(1);
            made.each(|seen| {
                if let Observation::Job { at, class, side: side @ Some(Side::New), .. } = seen
                    && class == "thumbnail"
                    && window.contains(*at)
                {
                    *side = Some(Side::Old);
                }
            });
        },
        gate: GateKind::CrossConsume,
        invariant: "everyClassTried",
    },
    Mistake {
        name: "an old worker goes on after the handover",
        kind: Kind::Worker,
        make: |made| {
            let at = Time(made.of_step(3).from.0 + 6_000_000);
            let jobs = made.jobs(Side::New, made.of_step(3));
            made.happens(at, &jobs[0].0, JobEvent::Received, Some("old-1"));
        },
        gate: GateKind::OldSilent,
        invariant: "nothingWorked",
    },
    Mistake {
        name: "going back loses what the new side held",
        kind: Kind::Worker,
        make: |made| {
            let jobs = made.jobs(Side::Old, made.of_drill());
            made.forget(&[&jobs[0].0, &jobs[1].0], &[JobEvent::Effect]);
        },
        gate: GateKind::RollbackLossless,
        invariant: "nothingLostGoingBack",
    },
    Mistake {
        name: "going back does again what the new side did",
        kind: Kind::Worker,
        make: |made| {
            let jobs = made.jobs(Side::Old, made.of_drill());
            again(made, &jobs[0].0, jobs[0].3.0 + 100_000);
        },
        gate: GateKind::RollbackLossless,
        invariant: "nothingDoubledGoingBack",
    },
];
