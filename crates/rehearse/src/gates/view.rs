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

/// How an instance ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Ending {
    /// When it was asked to, if it was.
    pub(super) asked: Option<Time>,
    /// When it was over, by itself or killed.
    pub(super) over: Option<Time>,
}

impl Ending {
    /// When it began.
    pub(super) fn began(self) -> Option<Time> {
        self.asked.or(self.over)
    }
}

impl Life {
    /// Its ends: when each began, and when it was over, unless that was not seen. What is started again has several.
    pub(super) fn endings(&self) -> Vec<Ending> {
        let mut endings = Vec::new();
        let mut began = None;
        for (at, state) in &self.turns {
            match state {
                InstanceState::Ending => began = began.or(Some(*at)),
                InstanceState::Ended | InstanceState::Killed => {
                    endings.push(Ending { asked: began.take(), over: Some(*at) });
                }
                InstanceState::Started if began.is_some() => {
                    endings.push(Ending { asked: began.take(), over: None });
                }
                InstanceState::Started | InstanceState::Ready => {}
            }
        }
        endings.extend(began.map(|asked| Ending { asked: Some(asked), over: None }));
        endings
    }

    /// How it ended for the first time after a moment at which it ran.
    pub(super) fn end_after(&self, at: Time) -> Option<Ending> {
        self.endings().into_iter().find(|ending| ending.over.is_some_and(|over| over >= at))
    }

    /// Whether it was over at a moment, by itself or killed.
    pub(super) fn over_at(&self, at: Time) -> bool {
        let over = |state| matches!(state, InstanceState::Ended | InstanceState::Killed);
        self.turns.iter().rev().find(|turn| turn.0 <= at).is_some_and(|turn| over(turn.1))
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_started_again_ends_several_times() {
        use InstanceState::{Ended, Ending as Asked, Killed, Ready, Started};
        let turns = [(1, Started), (2, Ready), (3, Asked), (4, Ended), (5, Started), (6, Ready), (7, Killed)];
        let turns = turns.map(|(at, state)| (Time(at), state)).to_vec();
        let life = Life { side: Side::Old, turns };
        let end = |after| life.end_after(Time(after)).map(|end| (end.asked, end.over));
        assert_eq!(end(2), Some((Some(Time(3)), Some(Time(4)))));
        assert_eq!(end(6), Some((None, Some(Time(7)))), "nobody asked it to");
        assert_eq!(end(8), None);
        assert!(life.over_at(Time(4)) && !life.over_at(Time(6)) && life.over_at(Time(9)));
        let going = Life { side: Side::Old, turns: vec![(Time(1), Ready), (Time(2), Asked)] };
        assert_eq!(going.endings(), [Ending { asked: Some(Time(2)), over: None }]);
    }
}
