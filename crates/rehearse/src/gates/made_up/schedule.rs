//! Schedules: runs at ticks, for some hours.

use envctl_model::cutover::Side;
use jiff::Timestamp;

use super::scene::{SECOND, Scene};
use super::{MadeUp, plans};
use crate::observation::{DrillPhase, Observation, RunEvent, StepPhase, Time};

const MINUTE: u64 = 60 * SECOND;

struct Ticking {
    scene: Scene,
    runs: u32,
}

/// Begins at 1:51 in Tokyo: the digest of three o'clock falls to the new side.
pub(super) fn schedule(seed: u64) -> MadeUp {
    let began = Timestamp::UNIX_EPOCH + jiff::SignedDuration::from_mins(16 * 60 + 51);
    let mut ticking = Ticking { scene: Scene::new(plans::schedule(), began, seed), runs: 0 };
    ticking.step(0, Some(Side::Old), 30);
    ticking.step(1, None, 0);
    ticking.step(2, Some(Side::New), 120);
    ticking.drill();
    ticking.step(0, Some(Side::Old), 10);
    ticking.step(1, None, 0);
    ticking.step(2, Some(Side::New), 30);
    ticking.step(3, Some(Side::New), 20);
    ticking.scene.finish()
}

impl Ticking {
    fn step(&mut self, step: usize, armed: Option<Side>, minutes: u64) {
        self.scene.step(step, StepPhase::Begun);
        self.scene.now += SECOND;
        match step {
            0 => self.scene.start(Side::New, 1),
            3 => {
                let ended = self.scene.end(Side::Old, 2);
                self.scene.gone(Side::Old, &ended);
            }
            _ => {}
        }
        self.scene.step(step, StepPhase::Verified);
        self.run(armed, minutes);
        self.scene.step(step, StepPhase::Judged);
    }

    fn drill(&mut self) {
        self.scene.drill(2, DrillPhase::Begun);
        for step in [2, 1, 0] {
            self.scene.step(step, StepPhase::Undoing);
            self.scene.now += SECOND;
            self.scene.step(step, StepPhase::Undone);
        }
        let ended = self.scene.end(Side::New, 1);
        self.scene.gone(Side::New, &ended);
        self.scene.drill(2, DrillPhase::Back);
        self.run(Some(Side::Old), 20);
        self.scene.drill(2, DrillPhase::Over);
    }

    /// Goes on for some minutes, with one side armed.
    fn run(&mut self, armed: Option<Side>, minutes: u64) {
        let (from, to) = (self.scene.now, self.scene.now + minutes * MINUTE + 5 * SECOND);
        // Ticks are at whole minutes of the wall clock; the recording began at one.
        for minute in from.div_ceil(MINUTE)..to.div_ceil(MINUTE) {
            let of_day = 16 * 60 + 51 + minute;
            let Some(side) = armed else { continue };
            if of_day.is_multiple_of(5) {
                self.starts("sweep", minute * MINUTE, side);
            }
            if of_day == 18 * 60 {
                self.starts("digest", minute * MINUTE, side);
            }
            self.scene.now = minute * MINUTE;
            self.scene.see_clock();
        }
        self.scene.now = to;
    }

    fn starts(&mut self, entry: &str, tick: u64, side: Side) {
        self.runs += 1;
        let began = tick + self.scene.dice.between(SECOND / 2, 4 * SECOND);
        let ended = began + self.scene.dice.between(5 * SECOND, 40 * SECOND);
        let wall = self.scene.recording.wall(Time(began));
        let (run, instance) = (format!("{entry}-{:03}", self.runs), format!("{side}-{entry}"));
        for (at, event) in [(began, RunEvent::Started), (ended, RunEvent::Succeeded)] {
            self.scene.see(Observation::Run {
                at: Time(at),
                entry: entry.into(),
                run: run.clone(),
                event,
                side,
                instance: instance.clone(),
                wall,
            });
        }
    }
}
