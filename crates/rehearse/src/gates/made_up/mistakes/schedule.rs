//! Runs that are missed, doubled, late, at the wrong hour, or too many.

use envctl_model::cutover::{GateKind, Side};

use super::super::{Kind, Mistake};
use crate::observation::{Observation, RunEvent, Time};

const HOUR: i64 = 3_600_000_000;

pub(super) const MISTAKES: &[Mistake] = &[
    Mistake {
        name: "an entry is moved, and both sides run it",
        kind: Kind::Schedule,
        make: |made| {
            for (run, at, _) in made.runs("sweep", made.of_step(2)) {
                made.runs_also(Time(at.0 + 100_000), "sweep", &format!("old-{run}"), Side::Old);
            }
        },
        gate: GateKind::EveryTickOnce,
        invariant: "noneDoubled",
    },
    Mistake {
        name: "an entry is moved, and neither side runs it",
        kind: Kind::Schedule,
        make: |made| {
            let runs = made.runs("sweep", made.of_step(2));
            made.keep(|seen| !matches!(seen, Observation::Run { run, .. } if *run == runs[2].0));
        },
        gate: GateKind::EveryTickOnce,
        invariant: "noneMissed",
    },
    Mistake {
        name: "a CronJob makes up for what it missed when it is no longer suspended",
        kind: Kind::Schedule,
        make: |made| {
            let begun = made.of_step(2).from;
            for number in 0..4 {
                let at = Time(begun.0 + 2_000_000 + number * 300_000);
                made.runs_also(at, "digest", &format!("catch-up-{number}"), Side::New);
            }
        },
        gate: GateKind::EveryTickOnce,
        invariant: "noCatchUp",
    },
    Mistake {
        name: "the CronJob is in another time zone",
        kind: Kind::Schedule,
        make: |made| {
            let runs: Vec<String> = made
                .recording
                .observations
                .iter()
                .filter_map(|seen| match seen {
                    Observation::Run { entry, run, .. } if entry == "digest" => Some(run.clone()),
                    _ => None,
                })
                .collect();
            let runs: Vec<&str> = runs.iter().map(String::as_str).collect();
            made.put_off(&runs, HOUR);
        },
        gate: GateKind::EveryTickOnce,
        invariant: "rightTimeZone",
    },
    Mistake {
        name: "the entries run so seldom that a step sees too few ticks",
        kind: Kind::Schedule,
        // Of two hours.
        make: |made| made.plan.steps[2].bake.min_ticks = 26,
        gate: GateKind::Samples,
        invariant: "enoughTicks",
    },
    Mistake {
        name: "a pod takes too long to start",
        kind: Kind::Schedule,
        make: |made| {
            let runs = made.runs("sweep", made.of_step(2));
            made.put_off(&[&runs[1].0], 30_000_000);
        },
        gate: GateKind::EveryTickOnce,
        invariant: "onTime",
    },
    Mistake {
        name: "somebody starts a run by hand",
        kind: Kind::Schedule,
        make: |made| {
            let runs = made.runs("sweep", made.of_step(2));
            made.runs_also(Time(runs[1].1.0 + 90_000_000), "sweep", "by-hand", Side::New);
        },
        gate: GateKind::EveryTickOnce,
        invariant: "onlyAtTicks",
    },
    Mistake {
        name: "a run of the new side fails",
        kind: Kind::Schedule,
        make: |made| {
            let runs = made.runs("digest", made.of_step(0));
            let of = runs.first().cloned().or_else(|| made.runs("sweep", made.of_step(2)).first().cloned());
            made.each(|seen| {
                if let Observation::Run { run, event, .. } = seen
                    && of.as_ref().is_some_and(|of| of.0 == *run)
                    && *event == RunEvent::Succeeded
                {
                    *event = RunEvent::Failed;
                }
            });
        },
        gate: GateKind::EveryTickOnce,
        invariant: "runsSucceed",
    },
    Mistake {
        name: "the plan's crontab cannot be read",
        kind: Kind::Schedule,
        make: |made| {
            if let Some(timetable) = &mut made.plan.timetable {
                timetable.entries[1].schedule = "0 3 * *".into();
            }
        },
        gate: GateKind::EveryTickOnce,
        invariant: "timetableReadable",
    },
    Mistake {
        name: "runs take longer than the time to the next one",
        kind: Kind::Schedule,
        make: |made| {
            let runs = made.runs("sweep", made.of_step(2));
            made.each(|seen| {
                if let Observation::Run { at, run, event: RunEvent::Succeeded, .. } = seen
                    && *run == runs[1].0
                {
                    at.0 += 310_000_000;
                }
            });
        },
        gate: GateKind::NoOverlap,
        invariant: "oneAtATime",
    },
    Mistake {
        name: "the entry is still in another user's crontab of the old side",
        kind: Kind::Schedule,
        make: |made| {
            let runs = made.runs("sweep", made.of_step(3));
            made.runs_also(Time(runs[0].1.0 + 200_000), "sweep", "another-user", Side::Old);
        },
        gate: GateKind::OldSilent,
        invariant: "nothingRan",
    },
    Mistake {
        name: "going back leaves a tick without a run",
        kind: Kind::Schedule,
        make: |made| {
            let runs = made.runs("sweep", made.of_drill());
            made.keep(|seen| !matches!(seen, Observation::Run { run, .. } if *run == runs[0].0));
        },
        gate: GateKind::RollbackLossless,
        invariant: "nothingLostGoingBack",
    },
    Mistake {
        name: "going back leaves both sides armed",
        kind: Kind::Schedule,
        make: |made| {
            let runs = made.runs("sweep", made.of_drill());
            made.runs_also(Time(runs[0].1.0 + 50_000), "sweep", "still-armed", Side::New);
        },
        gate: GateKind::RollbackLossless,
        invariant: "nothingDoubledGoingBack",
    },
];
