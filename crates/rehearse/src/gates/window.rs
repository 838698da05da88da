//! Windows of a recording: what is judged together.

use envctl_model::cutover::{Action, CutoverPlan, GateKind};
use envctl_model::stack::ComponentKind;
use serde::{Deserialize, Serialize};

use crate::observation::{DrillPhase, FaultPhase, Observation, StepPhase, Time};
use crate::recording::Recording;

/// The observations of a window of one recording: those of [`Window::from`] and later, and before [`Window::to`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Window {
    /// From when.
    pub from: Time,
    /// Until when, this moment excluded.
    pub to: Time,
    /// The step that is judged, that was gone back from, or after which a fault was injected: an index into the
    /// plan's steps.
    pub step: Option<usize>,
    /// What went on.
    pub during: During,
}

/// What goes on in a window.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum During {
    /// A step forward.
    Step,
    /// A drill: going back, and a while after it.
    Drill,
    /// A fault: an index into the plan's faults.
    Fault(usize),
    /// The whole rehearsal, after the load has ended and what was under way is over.
    Whole,
}

impl Window {
    /// All of a recording.
    #[must_use]
    pub fn whole(recording: &Recording) -> Self {
        let last = recording.observations.iter().map(Observation::at).max().unwrap_or_default();
        Self { from: Time(0), to: Time(last.0 + 1), step: None, during: During::Whole }
    }

    /// The windows of a finished recording, in order: each step that was judged, each fault, each drill. A step that
    /// was gone through several times has several.
    #[must_use]
    pub fn all(plan: &CutoverPlan, recording: &Recording) -> Vec<Self> {
        let mut windows: Vec<Self> = Vec::new();
        let mut open: Option<Self> = None;
        let end = Self::whole(recording).to;
        let mut turns: Vec<_> = recording.observations.iter().filter(|seen| is_turn(seen)).collect();
        turns.sort_by_key(|seen| seen.at());
        for seen in turns {
            let at = seen.at();
            let (step, during) = match seen {
                Observation::Step { phase: StepPhase::Judged, step, .. } => {
                    let judged = |window: &Self| window.during == During::Step && window.step == Some(*step);
                    windows.extend(
                        open.take_if(|window| judged(window)).map(|window| Self { to: at, ..window }),
                    );
                    continue;
                }
                Observation::Drill { phase: DrillPhase::Over, .. } => {
                    let drill = open.take_if(|window| window.during == During::Drill);
                    windows.extend(drill.map(|window| Self { to: at, ..window }));
                    continue;
                }
                Observation::Step { phase: StepPhase::Begun, step, .. } => (Some(*step), During::Step),
                Observation::Drill { phase: DrillPhase::Begun, from, .. } => (Some(*from), During::Drill),
                Observation::Fault { phase: FaultPhase::Injected, fault, .. } => {
                    (plan.faults.get(*fault).map(|fault| fault.at), During::Fault(*fault))
                }
                _ => continue,
            };
            let fault = open.take_if(|window| matches!(window.during, During::Fault(_)));
            windows.extend(fault.map(|window| Self { to: at, ..window }));
            open = Some(Self { from: at, to: end, step, during });
        }
        windows.extend(open.filter(|window| window.during != During::Step));
        windows
    }

    /// The gates that judge this window. The plan says those of a step; samples are judged always; after a drill, and
    /// at the end of all, the component's kind decides.
    #[must_use]
    pub fn gates(&self, plan: &CutoverPlan) -> Vec<GateKind> {
        let said = || self.step.and_then(|step| plan.steps.get(step)).map(|step| step.gates.clone());
        let answers = matches!(plan.kind, ComponentKind::Service | ComponentKind::Endpoint);
        let mut gates = match self.during {
            During::Step => said().unwrap_or_default(),
            During::Drill if answers => {
                vec![GateKind::RollbackLossless, GateKind::NoFailedRequestDuringRollback]
            }
            During::Drill => vec![GateKind::RollbackLossless],
            During::Fault(_) => {
                let mut gates = said().unwrap_or_default();
                // A fault moves load and compares nothing.
                gates.retain(|gate| !matches!(gate, GateKind::ObservedShare | GateKind::SameAnswer));
                return gates;
            }
            During::Whole => match plan.kind {
                ComponentKind::Service | ComponentKind::Endpoint => vec![GateKind::NoFailedRequest],
                ComponentKind::Worker => vec![GateKind::EveryJobOnce, GateKind::NothingStranded],
                ComponentKind::Schedule => vec![GateKind::EveryTickOnce, GateKind::NoOverlap],
            },
        };
        if !gates.contains(&GateKind::Samples) {
            gates.push(GateKind::Samples);
        }
        gates
    }

    /// Whether a moment is in it.
    #[must_use]
    pub fn contains(&self, at: Time) -> bool {
        self.from <= at && at < self.to
    }

    /// How long it is.
    #[must_use]
    pub fn length(&self) -> std::time::Duration {
        self.to.since(self.from)
    }

    /// What the step does that is judged.
    #[must_use]
    pub fn action<'a>(&self, plan: &'a CutoverPlan) -> Option<&'a Action> {
        self.step.and_then(|step| plan.steps.get(step)).map(|step| &step.action)
    }
}

fn is_turn(seen: &Observation) -> bool {
    matches!(seen, Observation::Step { .. } | Observation::Drill { .. } | Observation::Fault { .. })
}
