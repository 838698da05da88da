//! A window of a recording, with what its gates ask of it.

use std::cell::OnceCell;
use std::collections::{BTreeMap, HashMap};

use envctl_model::cutover::{Action, CutoverPlan, Side};

use super::window::{During, Window};
use crate::observation::{InstanceState, Observation, Request, Routed, Served, StepPhase, Time};
use crate::recording::Recording;

/// Logs of router and application may be behind the clients by so much, and what is under way when a setting changes
/// may take so long: two seconds.
pub(super) const SETTLING: u64 = 2_000_000;

/// A window, and all that was seen before and after it.
pub(super) struct View<'a> {
    pub(super) plan: &'a CutoverPlan,
    pub(super) recording: &'a Recording,
    pub(super) window: &'a Window,
    by_id: OnceCell<ById<'a>>,
    instances: OnceCell<BTreeMap<&'a str, Life>>,
    turns: OnceCell<Vec<Turn>>,
}

/// A step's turn: when, of which step, and what of it.
pub(super) type Turn = (Time, usize, StepPhase);

/// What each of the three saw of a request.
#[derive(Default)]
pub(super) struct Sightings<'a> {
    pub(super) client: Option<&'a Request>,
    pub(super) router: Vec<&'a Routed>,
    pub(super) application: Vec<&'a Served>,
}

type ById<'a> = HashMap<&'a str, Sightings<'a>>;

/// What became of an instance, in the order of time.
pub(super) struct Life {
    pub(super) side: Side,
    pub(super) turns: Vec<(Time, InstanceState)>,
}

impl Life {
    /// When it first came to this state.
    pub(super) fn first(&self, state: InstanceState) -> Option<Time> {
        self.turns.iter().find(|turn| turn.1 == state).map(|turn| turn.0)
    }

    /// When it was gone, by itself or killed.
    pub(super) fn gone(&self) -> Option<Time> {
        let over = |state| matches!(state, InstanceState::Ended | InstanceState::Killed);
        self.turns.iter().find(|turn| over(turn.1)).map(|turn| turn.0)
    }

    /// Whether it could serve at a moment.
    pub(super) fn ready_at(&self, at: Time) -> bool {
        self.turns.iter().rev().find(|turn| turn.0 <= at).is_some_and(|turn| turn.1 == InstanceState::Ready)
    }
}

impl<'a> View<'a> {
    pub(super) fn new(plan: &'a CutoverPlan, recording: &'a Recording, window: &'a Window) -> Self {
        Self {
            plan,
            recording,
            window,
            by_id: OnceCell::new(),
            instances: OnceCell::new(),
            turns: OnceCell::new(),
        }
    }

    /// Everything that was seen, also outside of the window.
    pub(super) fn all(&self) -> impl Iterator<Item = &'a Observation> + use<'a> {
        self.recording.observations.iter()
    }

    /// What was seen in the window.
    pub(super) fn seen(&self) -> impl Iterator<Item = &'a Observation> + use<'a> {
        let window = *self.window;
        self.all().filter(move |seen| window.contains(seen.at()))
    }

    /// The requests that were over in the window, without the known bad ones.
    pub(super) fn requests(&self) -> impl Iterator<Item = &'a Request> + use<'a> {
        self.seen().filter_map(as_request).filter(|request| !request.control)
    }

    /// The known bad requests that were over in the window.
    pub(super) fn controls(&self) -> impl Iterator<Item = &'a Request> + use<'a> {
        self.seen().filter_map(as_request).filter(|request| request.control)
    }

    /// What the router logged in the window.
    pub(super) fn routed(&self) -> impl Iterator<Item = &'a Routed> + use<'a> {
        self.seen().filter_map(|seen| match seen {
            Observation::Routed(routed) => Some(routed),
            _ => None,
        })
    }

    /// What the application logged in the window.
    pub(super) fn served(&self) -> impl Iterator<Item = &'a Served> + use<'a> {
        self.seen().filter_map(|seen| match seen {
            Observation::Served(served) => Some(served),
            _ => None,
        })
    }

    /// What all three saw of each request, over the whole recording.
    pub(super) fn by_id(&self) -> &ById<'a> {
        self.by_id.get_or_init(|| {
            let mut by_id = ById::new();
            for seen in self.all() {
                match seen {
                    Observation::Request(request) => {
                        by_id.entry(&request.id).or_default().client = Some(request);
                    }
                    Observation::Routed(routed) => by_id.entry(&routed.id).or_default().router.push(routed),
                    Observation::Served(served) => {
                        by_id.entry(&served.id).or_default().application.push(served);
                    }
                    _ => {}
                }
            }
            by_id
        })
    }

    /// The side that a request went to: as the router says, else as the application does.
    pub(super) fn side_of(&self, id: &str) -> Option<Side> {
        let sightings = self.by_id().get(id)?;
        let routed = sightings.router.iter().rev().find_map(|routed| routed.side);
        routed.or_else(|| sightings.application.last().map(|served| served.side))
    }

    /// What became of each instance, by name.
    pub(super) fn instances(&self) -> &BTreeMap<&'a str, Life> {
        self.instances.get_or_init(|| {
            let mut lives: BTreeMap<&str, Life> = BTreeMap::new();
            for seen in self.all() {
                if let Observation::Instance { at, side, instance, state } = seen {
                    let life = lives.entry(instance).or_insert(Life { side: *side, turns: Vec::new() });
                    life.turns.push((*at, *state));
                }
            }
            for life in lives.values_mut() {
                life.turns.sort_by_key(|turn| turn.0);
            }
            lives
        })
    }

    /// What is reconciled in this window: the logs of the last moments may not be read yet, and are reconciled in the
    /// next window. At the end of all there is nothing to wait for.
    pub(super) fn reconciled(&self) -> Window {
        let shift = if self.window.during == During::Whole { 0 } else { SETTLING };
        let back = |at: Time| Time(at.0.saturating_sub(shift));
        Window { from: back(self.window.from), to: back(self.window.to), ..*self.window }
    }

    /// The turns of steps up to the end of the window, in the order of time.
    pub(super) fn turns(&self) -> &[Turn] {
        self.turns.get_or_init(|| {
            let turn = |seen: &Observation| match seen {
                Observation::Step { at, step, phase } if *at < self.window.to => Some((*at, *step, *phase)),
                _ => None,
            };
            let mut turns: Vec<_> = self.all().filter_map(turn).collect();
            turns.sort_by_key(|turn| turn.0);
            turns
        })
    }

    /// When the effect of the window's step was read back; the window's beginning when there is no step.
    pub(super) fn verified(&self) -> Time {
        let of_step = |turn: &&Turn| {
            turn.2 == StepPhase::Verified && Some(turn.1) == self.window.step && self.window.contains(turn.0)
        };
        self.turns().iter().rev().find(of_step).map_or(self.window.from, |turn| turn.0)
    }

    /// The last moment up to `until` at which an effect of this kind was read back, and not undone since.
    pub(super) fn in_force(&self, until: Time, wanted: impl Fn(&Action) -> bool) -> Option<Time> {
        let mut since = None;
        for (at, step, phase) in self.turns().iter().copied() {
            if at > until || !self.plan.steps.get(step).is_some_and(|step| wanted(&step.action)) {
                continue;
            }
            match phase {
                StepPhase::Verified => since = Some(at),
                StepPhase::Undoing | StepPhase::Undone => since = None,
                StepPhase::Begun | StepPhase::Judged => {}
            }
        }
        since
    }

    /// The new side's part that the plan says for the window's step, 0 to 100.
    pub(super) fn planned_share(&self) -> u8 {
        let steps = self.window.step.map_or(0, |step| step + 1);
        let weight = |action: &Action| match action {
            Action::SetWeight { percent } => Some(*percent),
            Action::SwitchName { .. } => Some(100),
            _ => None,
        };
        self.plan.steps.iter().take(steps).rev().find_map(|step| weight(&step.action)).unwrap_or(0)
    }
}

fn as_request(seen: &Observation) -> Option<&Request> {
    match seen {
        Observation::Request(request) => Some(request),
        _ => None,
    }
}
