//! Services and endpoints: requests of clients, by way of a router.

use std::net::IpAddr;

use envctl_model::cutover::{Action, Side};
use jiff::Timestamp;

use super::scene::{SECOND, Scene};
use super::{MadeUp, plans};
use crate::observation::{
    DrillPhase, FaultPhase, Observation, Outcome, Request, Routed, Served, StepPhase, Time,
};

/// One of so many requests is known to be bad.
const CONTROL: u64 = 20;

/// Clients of each kind.
const CLIENTS: u64 = 3;

struct Answering {
    scene: Scene,
    /// The new side's part, 0 to 100.
    weight: u64,
    /// What is left of the old part when a name was switched: until then clients still have its old address.
    forgotten: u64,
    sent: u64,
    controls: u64,
    /// So many of the next requests to the new side fail.
    failing: u64,
}

pub(super) fn service(seed: u64) -> MadeUp {
    let mut answering = Answering::new(Scene::new(plans::service(), Timestamp::UNIX_EPOCH, seed));
    answering.load(2 * SECOND);
    answering.forward(0..4);
    answering.drill(3);
    answering.forward(0..4);
    answering.kill_new();
    answering.forward(4..7);
    answering.scene.finish()
}

pub(super) fn endpoint(seed: u64) -> MadeUp {
    let mut answering = Answering::new(Scene::new(plans::endpoint(), Timestamp::UNIX_EPOCH, seed));
    answering.load(2 * SECOND);
    let address = IpAddr::from([10, 0, 0, 9]);
    let (at, agent, request) = (answering.scene.at(), Some("monitoring/1.0".into()), "GET /health".into());
    answering.scene.see(Observation::Caller { at, address, agent, request });
    answering.forward(0..3);
    answering.drill(2);
    answering.forward(0..4);
    answering.scene.finish()
}

impl Answering {
    fn new(scene: Scene) -> Self {
        let mut answering = Self { scene, weight: 0, forgotten: 0, sent: 0, controls: 0, failing: 0 };
        answering.read_back();
        answering
    }

    fn forward(&mut self, steps: std::ops::Range<usize>) {
        for step in steps {
            self.scene.step(step, StepPhase::Begun);
            let long = match self.scene.plan.steps[step].action.clone() {
                Action::ScaleUpNew => {
                    self.scene.start(Side::New, 2);
                    4
                }
                Action::SameAnswer { sample } => {
                    for number in 0..sample {
                        let (at, request) = (self.scene.at(), format!("GET /photos/{number}"));
                        self.scene.see(Observation::Compared { at, request, differences: Vec::new() });
                        self.scene.now += 1000;
                    }
                    4
                }
                Action::SetWeight { percent } => {
                    self.weight = percent.into();
                    12
                }
                Action::SwitchName { ttl } => {
                    self.weight = 100;
                    self.forgotten = self.scene.now + u64::try_from(ttl.as_micros()).unwrap_or_default();
                    12
                }
                Action::StopOld { .. } => {
                    let ended = self.scene.end(Side::Old, 2);
                    self.scene.gone(Side::Old, &ended);
                    6
                }
                _ => 5,
            };
            self.read_back();
            self.scene.step(step, StepPhase::Verified);
            self.load(long * SECOND);
            self.scene.step(step, StepPhase::Judged);
        }
    }

    fn drill(&mut self, from: usize) {
        self.scene.drill(from, DrillPhase::Begun);
        for step in (0..=from).rev() {
            self.scene.step(step, StepPhase::Undoing);
            if step == from {
                self.weight = 0;
                self.forgotten = 0;
                self.read_back();
                self.load(SECOND);
            }
            if step == 0 {
                let ended = self.scene.end(Side::New, 2);
                self.load(SECOND);
                self.scene.gone(Side::New, &ended);
            }
            self.scene.step(step, StepPhase::Undone);
        }
        self.scene.drill(from, DrillPhase::Back);
        self.load(5 * SECOND);
        self.scene.drill(from, DrillPhase::Over);
    }

    fn kill_new(&mut self) {
        self.scene.fault(FaultPhase::Injected);
        self.scene.kill(Side::New);
        self.failing = self.scene.dice.between(1, 4);
        self.load(SECOND);
        self.scene.fault(FaultPhase::Lifted);
        self.scene.start(Side::New, 1);
        self.load(8 * SECOND);
    }

    /// The router's weights, or where the name leads.
    fn read_back(&mut self) {
        let (at, weight) = (self.scene.at(), u8::try_from(self.weight).unwrap_or(100));
        let named = self.scene.plan.steps.iter().any(|step| matches!(step.action, Action::SwitchName { .. }));
        self.scene.see(if named {
            Observation::Name { at, side: if weight == 100 { Side::New } else { Side::Old } }
        } else {
            Observation::Weight { at, running: weight, configured: weight }
        });
        self.scene.now += 1000;
    }

    fn load(&mut self, long: u64) {
        let gap = SECOND / u64::from(plans::RATE);
        for _ in 0..long / gap {
            self.request();
            self.scene.now += gap;
            if self.sent.is_multiple_of(u64::from(plans::RATE)) {
                self.scene.see_clock();
                let (at, sent) = (self.scene.at(), self.controls);
                self.scene.see(Observation::Control { at, sent, counted: sent });
            }
        }
    }

    fn request(&mut self) {
        let number = self.sent;
        self.sent += 1;
        let kinds =
            self.scene.plan.traffic.as_ref().map(|traffic| traffic.clients.clone()).unwrap_or_default();
        let client = kinds[usize::try_from(number).unwrap_or_default() % kinds.len()];
        // Each kind gets its part by turns, as weighted round robin does, beginning anywhere.
        let turn = (number / kinds.len() as u64 * 37 + self.scene.recording.header.seed) % 100;
        let side = if turn < self.weight && self.scene.now >= self.forgotten { Side::New } else { Side::Old };
        let Some(instance) = self.scene.any(side) else { return };
        let control = number % CONTROL == CONTROL - 1;
        let fails = side == Side::New && !control && self.failing > 0;
        self.failing -= u64::from(fails);
        self.controls += u64::from(control);

        let intended = self.scene.now;
        let sent = intended + self.scene.dice.below(2000);
        let done = sent + self.scene.dice.between(20_000, 60_000);
        let id = format!("r-{number:06}");
        let status = if control { 404 } else { 200 };
        let outcome = if fails { Outcome::Reset } else { Outcome::Answered { status } };
        self.scene.see(Observation::Request(Request {
            id: id.clone(),
            name: "photos".into(),
            client,
            number: u32::try_from(number / kinds.len() as u64 % CLIENTS).unwrap_or_default(),
            intended: Time(intended),
            sent: Time(sent),
            done: Time(done),
            outcome,
            expected: 200,
            control,
        }));
        let (logged, termination) = if fails { (0, "SD") } else { (status, "--") };
        self.scene.see(Observation::Routed(Routed {
            at: Time(done - 1000),
            id: id.clone(),
            side: Some(side),
            status: logged,
            termination: termination.into(),
        }));
        if !fails {
            self.scene.see(Observation::Served(Served { at: Time(done - 2000), id, side, instance, status }));
        }
    }
}
