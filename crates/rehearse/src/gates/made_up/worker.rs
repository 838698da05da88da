//! Workers: jobs that a queue gives to instances.

use envctl_model::cutover::{Action, Side};
use jiff::Timestamp;

use super::scene::{SECOND, Scene};
use super::{MadeUp, plans};
use crate::observation::{DrillPhase, FaultPhase, JobEvent, Observation, StepPhase, Time};

struct Working {
    scene: Scene,
    jobs: u64,
    /// Jobs are given out twice.
    redelivers: bool,
}

pub(super) fn worker(seed: u64) -> MadeUp {
    let mut working = Working {
        scene: Scene::new(plans::worker(), Timestamp::UNIX_EPOCH, seed),
        jobs: 0,
        redelivers: false,
    };
    working.load(3 * SECOND);
    working.forward(0..2);
    working.drill();
    working.forward(0..2);
    working.redeliver();
    working.forward(2..4);
    working.settle();
    working.count_backlog();
    working.scene.finish()
}

impl Working {
    fn forward(&mut self, steps: std::ops::Range<usize>) {
        for step in steps {
            self.scene.step(step, StepPhase::Begun);
            let ending = match self.scene.plan.steps[step].action {
                Action::ScaleUpNew => {
                    self.scene.start(Side::New, 2);
                    Vec::new()
                }
                Action::Handover { .. } => self.scene.end(Side::Old, 1),
                _ => Vec::new(),
            };
            self.scene.step(step, StepPhase::Verified);
            self.load(4 * SECOND);
            self.scene.gone(Side::Old, &ending);
            self.load(16 * SECOND);
            self.scene.step(step, StepPhase::Judged);
        }
    }

    fn drill(&mut self) {
        self.scene.drill(1, DrillPhase::Begun);
        self.scene.step(1, StepPhase::Undoing);
        self.scene.start(Side::Old, 1);
        self.scene.step(1, StepPhase::Undone);
        self.scene.step(0, StepPhase::Undoing);
        let ending = self.scene.end(Side::New, 2);
        self.load(4 * SECOND);
        self.scene.gone(Side::New, &ending);
        self.scene.step(0, StepPhase::Undone);
        self.scene.drill(1, DrillPhase::Back);
        self.load(5 * SECOND);
        self.scene.drill(1, DrillPhase::Over);
    }

    fn redeliver(&mut self) {
        self.scene.fault(FaultPhase::Injected);
        self.redelivers = true;
        self.load(SECOND / 2);
        self.redelivers = false;
        self.scene.fault(FaultPhase::Lifted);
        self.load(10 * SECOND);
    }

    fn load(&mut self, long: u64) {
        for _ in 0..long / (SECOND / 5) {
            self.job();
            self.scene.now += SECOND / 5;
            if self.jobs.is_multiple_of(5) {
                self.scene.see_clock();
            }
        }
    }

    /// What is under way comes to its end, with nothing new.
    fn settle(&mut self) {
        self.scene.now += 5 * SECOND;
    }

    fn job(&mut self) {
        let (number, now) = (self.jobs, self.scene.now);
        self.jobs += 1;
        let (class, longest) = if number % 5 < 3 { ("thumbnail", 2_000_000) } else { ("mail", 1_000_000) };
        let sides: Vec<Side> =
            self.scene.ready.iter().filter(|(_, ready)| !ready.is_empty()).map(|(side, _)| *side).collect();
        let side = sides[usize::try_from(self.scene.dice.below(sides.len() as u64)).unwrap_or_default()];
        let Some(instance) = self.scene.any(side) else { return };
        let id = format!("j-{number:05}");
        let received = now + self.scene.dice.between(20_000, 200_000);
        let took = self.scene.dice.between(longest / 10, longest * 9 / 10);
        let mut see = |at, event, by: Option<&str>| {
            self.scene.recording.observations.push(Observation::Job {
                at: Time(at),
                id: id.clone(),
                class: class.into(),
                event,
                side: by.map(|_| side),
                instance: by.map(ToOwned::to_owned),
            });
        };
        see(now, JobEvent::Intended, None);
        see(now + 10_000, JobEvent::Enqueued, None);
        see(received, JobEvent::Received, Some(&instance));
        // Some fail once and are tried again, one of many is poison, and a few are given out again before their end:
        // none of this is a failure.
        match number % 101 {
            100 => {
                for attempt in 1..3 {
                    see(received + attempt * 100_000, JobEvent::Failed, Some(&instance));
                    see(received + attempt * 100_000 + 50_000, JobEvent::Received, Some(&instance));
                }
                see(received + 400_000, JobEvent::Failed, Some(&instance));
                see(received + 410_000, JobEvent::DeadLettered, None);
            }
            40 | 60 => {
                see(received + 50_000, JobEvent::Failed, Some(&instance));
                see(received + 90_000, JobEvent::Received, Some(&instance));
                see(received + 90_000 + took, JobEvent::Effect, Some(&instance));
            }
            _ => {
                if self.redelivers {
                    see(received + 30_000, JobEvent::Received, Some(&instance));
                }
                see(received + took, JobEvent::Effect, Some(&instance));
            }
        }
    }

    /// What a queue says of itself each second, from what happened to jobs.
    fn count_backlog(&mut self) {
        let of = |event: JobEvent| {
            let times = self.scene.recording.observations.iter().filter_map(move |seen| match seen {
                Observation::Job { at, id, event: of, .. } if *of == event => Some((id.clone(), *at)),
                _ => None,
            });
            // The first of each: later ones come from being tried again.
            times.rev().collect::<std::collections::BTreeMap<String, Time>>()
        };
        let (enqueued, received) = (of(JobEvent::Enqueued), of(JobEvent::Received));
        let mut ended = of(JobEvent::Effect);
        ended.extend(of(JobEvent::DeadLettered));
        for second in 0..self.scene.now / SECOND {
            let at = Time(second * SECOND);
            let until = |times: &std::collections::BTreeMap<String, Time>| {
                times.values().filter(|time| **time <= at).count() as u64
            };
            let (waiting, in_flight) =
                (until(&enqueued) - until(&received), until(&received) - until(&ended));
            self.scene.see(Observation::Backlog { at, waiting, in_flight });
        }
    }
}
