//! What all kinds of recordings are made with: a clock, a dice, and the turns of steps.

use std::collections::BTreeMap;

use envctl_model::cutover::{CutoverPlan, Side};
use jiff::Timestamp;

use super::MadeUp;
use crate::observation::{DrillPhase, FaultPhase, InstanceState, Observation, StepPhase, Time};
use crate::recording::{Header, Recording};

/// Draws numbers from a seed (SplitMix64 of Steele, Lea and Flood): recordings need variety, not secrets.
pub(super) struct Dice(u64);

impl Dice {
    /// From zero on, below `end`.
    pub(super) fn below(&mut self, end: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut drawn = self.0;
        drawn = (drawn ^ (drawn >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        drawn = (drawn ^ (drawn >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (drawn ^ (drawn >> 31)) % end
    }

    /// From the one on, below the other.
    pub(super) fn between(&mut self, from: u64, end: u64) -> u64 {
        from + self.below(end - from)
    }
}

/// One second.
pub(super) const SECOND: u64 = 1_000_000;

/// A recording that is being made.
pub(super) struct Scene {
    pub(super) plan: CutoverPlan,
    pub(super) recording: Recording,
    pub(super) dice: Dice,
    pub(super) now: u64,
    /// Instances that are ready, of each side.
    pub(super) ready: BTreeMap<Side, Vec<String>>,
    instances: u32,
}

impl Scene {
    /// Begins with the old side ready.
    pub(super) fn new(plan: CutoverPlan, began: Timestamp, seed: u64) -> Self {
        let recording = Recording::new(Header { began, seed });
        let mut scene =
            Self { plan, recording, dice: Dice(seed), now: 0, ready: BTreeMap::new(), instances: 0 };
        scene.see_clock();
        scene.start(Side::Old, 2);
        scene
    }

    pub(super) fn finish(mut self) -> MadeUp {
        self.see_clock();
        MadeUp { plan: self.plan, recording: self.recording }
    }

    pub(super) fn at(&self) -> Time {
        Time(self.now)
    }

    pub(super) fn see(&mut self, seen: Observation) {
        self.recording.observations.push(seen);
    }

    pub(super) fn see_clock(&mut self) {
        // Two clocks never tick quite alike.
        let wall = self.recording.wall(Time(self.now + self.dice.below(20_000)));
        self.see(Observation::Clock { at: self.at(), wall });
    }

    pub(super) fn step(&mut self, step: usize, phase: StepPhase) {
        self.see(Observation::Step { at: self.at(), step, phase });
        self.now += 1000;
    }

    pub(super) fn fault(&mut self, phase: FaultPhase) {
        let kind = self.plan.faults[0].inject;
        self.see(Observation::Fault { at: self.at(), fault: 0, kind, phase });
        self.now += 1000;
    }

    pub(super) fn drill(&mut self, from: usize, phase: DrillPhase) {
        self.see(Observation::Drill { at: self.at(), from, middle: false, phase });
        self.now += 1000;
    }

    fn became(&mut self, side: Side, instance: &str, state: InstanceState) {
        self.see(Observation::Instance { at: self.at(), side, instance: instance.into(), state });
    }

    /// New instances of a side are ready, and how they are configured is read.
    pub(super) fn start(&mut self, side: Side, how_many: usize) {
        for _ in 0..how_many {
            self.instances += 1;
            let name = format!("{side}-{}", self.instances);
            self.became(side, &name, InstanceState::Started);
            self.now += 1000;
            self.became(side, &name, InstanceState::Ready);
            let settings = [("LANG", "7d1a"), ("TZ", "03be"), ("REDIS_URL", "c44f")];
            let settings = settings.into_iter().map(|(key, digest)| (key.into(), digest.into())).collect();
            self.see(Observation::Configured { at: self.at(), side, instance: name.clone(), settings });
            self.ready.entry(side).or_default().push(name);
        }
    }

    /// Instances of a side are asked to end; gives their names. They are gone with [`Scene::gone`].
    pub(super) fn end(&mut self, side: Side, how_many: usize) -> Vec<String> {
        let ready = self.ready.entry(side).or_default();
        let names: Vec<String> = ready.drain(..how_many.min(ready.len())).collect();
        for name in &names {
            self.became(side, name, InstanceState::Ending);
        }
        self.now += 1000;
        names
    }

    pub(super) fn gone(&mut self, side: Side, names: &[String]) {
        for name in names {
            self.became(side, name, InstanceState::Ended);
        }
    }

    /// One instance of a side is killed.
    pub(super) fn kill(&mut self, side: Side) {
        let name = self.ready.entry(side).or_default().remove(0);
        self.became(side, &name, InstanceState::Killed);
    }

    /// One of the instances that are ready.
    pub(super) fn any(&mut self, side: Side) -> Option<String> {
        let ready = self.ready.get(&side).filter(|ready| !ready.is_empty())?;
        let index = usize::try_from(self.dice.below(ready.len() as u64)).unwrap_or_default();
        ready.get(index).cloned()
    }
}
