//! Changes to clean recordings, from which mistakes are made.

use envctl_model::cutover::Side;
use envctl_model::cutover::plan::ClientKind;

use super::MadeUp;
use crate::gates::{During, Window};
use crate::observation::{
    Difference, InstanceState, JobEvent, Observation, Outcome, Request, Routed, RunEvent, Served, Time,
};

/// What a mistake does to one request.
pub(super) struct Fate {
    /// What the client saw.
    pub(super) outcome: Outcome,
    /// How the router ended it, and with which status.
    pub(super) routed: (&'static str, u16),
    /// Where it went; none if to neither side.
    pub(super) side: Option<Side>,
    /// What the application answered; none if it never saw it.
    pub(super) served: Option<u16>,
}

impl Fate {
    /// Answered with this status by a side.
    pub(super) fn answered(side: Side, status: u16) -> Self {
        let outcome = Outcome::Answered { status };
        Self { outcome, routed: ("--", status), side: Some(side), served: Some(status) }
    }

    /// The connection broke on the way to a side.
    pub(super) fn broken(side: Side, outcome: Outcome) -> Self {
        Self { outcome, routed: ("SD", 0), side: Some(side), served: None }
    }
}

impl MadeUp {
    /// The last window in which this step went forward.
    pub(super) fn of_step(&self, step: usize) -> Window {
        self.last(|window| window.during == During::Step && window.step == Some(step))
    }

    pub(super) fn of_drill(&self) -> Window {
        self.last(|window| window.during == During::Drill)
    }

    pub(in crate::gates) fn of_fault(&self) -> Window {
        self.last(|window| matches!(window.during, During::Fault(_)))
    }

    fn last(&self, wanted: impl Fn(&Window) -> bool) -> Window {
        let windows = Window::all(&self.plan, &self.recording);
        windows.into_iter().rev().find(wanted).unwrap_or_else(|| Window::whole(&self.recording))
    }

    pub(super) fn each(&mut self, change: impl FnMut(&mut Observation)) {
        self.recording.observations.iter_mut().for_each(change);
    }

    pub(in crate::gates) fn keep(&mut self, wanted: impl FnMut(&Observation) -> bool) {
        self.recording.observations.retain(wanted);
    }

    pub(super) fn add(&mut self, seen: Observation) {
        self.recording.observations.push(seen);
    }

    /// Ids of requests that begin and end well within a window, in order, of which this is true.
    pub(super) fn requests(&self, window: Window, wanted: impl Fn(&Request) -> bool) -> Vec<String> {
        let ids = self.recording.observations.iter().filter_map(|seen| match seen {
            Observation::Request(request)
                if !request.control
                    && window.from <= request.intended
                    && request.done.0 + 3_000_000 < window.to.0
                    && wanted(request) =>
            {
                Some(request.id.clone())
            }
            _ => None,
        });
        ids.collect()
    }

    /// The same of one side only.
    pub(super) fn requests_to(&self, side: Side, window: Window) -> Vec<String> {
        let routed = self.recording.observations.iter().filter_map(|seen| match seen {
            Observation::Routed(routed) if routed.side == Some(side) => Some(routed.id.clone()),
            _ => None,
        });
        let routed: std::collections::BTreeSet<String> = routed.collect();
        self.requests(window, |request| routed.contains(&request.id))
    }

    /// The same of one kind of client only.
    pub(super) fn requests_of(&self, client: ClientKind, window: Window) -> Vec<String> {
        self.requests(window, |request| request.client == client)
    }

    /// Has requests end in another way.
    pub(super) fn end_otherwise(&mut self, ids: &[String], fate: &Fate) {
        self.each(|seen| match seen {
            Observation::Request(request) if ids.contains(&request.id) => {
                request.outcome = fate.outcome.clone()
            }
            Observation::Routed(routed) if ids.contains(&routed.id) => {
                (routed.side, routed.termination, routed.status) =
                    (fate.side, fate.routed.0.into(), fate.routed.1);
            }
            Observation::Served(served) if ids.contains(&served.id) => {
                served.status = fate.served.unwrap_or(served.status);
                served.side = fate.side.unwrap_or(served.side);
                served.instance = format!("{}-1", served.side);
            }
            _ => {}
        });
        if fate.served.is_none() {
            self.keep(|seen| !matches!(seen, Observation::Served(served) if ids.contains(&served.id)));
        }
    }

    /// Has requests take longer.
    pub(super) fn slow_down(&mut self, ids: &[String], by: u64) {
        self.each(|seen| {
            if let Observation::Request(request) = seen
                && ids.contains(&request.id)
            {
                request.done.0 += by;
            }
        });
    }

    pub(super) fn routed(&mut self, change: impl Fn(&mut Routed)) {
        self.each(|seen| {
            if let Observation::Routed(routed) = seen {
                change(routed);
            }
        });
    }

    pub(super) fn served(&mut self, change: impl Fn(&mut Served)) {
        self.each(|seen| {
            if let Observation::Served(served) = seen {
                change(served);
            }
        });
    }

    /// Something more becomes of an instance.
    pub(super) fn becomes(&mut self, at: Time, side: Side, instance: &str, state: InstanceState) {
        self.add(Observation::Instance { at, side, instance: instance.into(), state });
    }

    /// Both sides answer some requests differently.
    pub(super) fn differ(&mut self, place: &str, old: &str, new: &str) {
        let mut left = 3;
        self.each(|seen| {
            if let Observation::Compared { differences, .. } = seen
                && left > 0
            {
                left -= 1;
                differences.push(Difference { place: place.into(), old: old.into(), new: new.into() });
            }
        });
    }

    /// Jobs that were received once, by a side, and done well within a window: id, when and by whom received, when done.
    pub(super) fn jobs(&self, side: Side, window: Window) -> Vec<(String, Time, String, Time)> {
        let times = |wanted: JobEvent| {
            self.recording.observations.iter().filter_map(move |seen| match seen {
                Observation::Job { at, id, event, side: Some(of), instance: Some(instance), .. }
                    if *event == wanted && *of == side =>
                {
                    Some((id.clone(), *at, instance.clone()))
                }
                _ => None,
            })
        };
        let received: Vec<_> = times(JobEvent::Received).collect();
        let once = |id: &str| received.iter().filter(|received| received.0 == id).count() == 1;
        times(JobEvent::Effect)
            .filter(|(id, at, _)| once(id) && window.contains(*at) && at.0 + 3_000_000 < window.to.0)
            .filter_map(|(id, at, _)| {
                let (_, when, who) = received.iter().find(|received| received.0 == id)?;
                window.contains(*when).then(|| (id.clone(), *when, who.clone(), at))
            })
            .collect()
    }

    /// Something more happens to a job, on the new side.
    pub(super) fn happens(&mut self, at: Time, id: &str, event: JobEvent, instance: Option<&str>) {
        let of = self.recording.observations.iter().find_map(|seen| match seen {
            Observation::Job { id: of, class, .. } if of == id => Some(class.clone()),
            _ => None,
        });
        let side = instance.map(|name| if name.starts_with("old") { Side::Old } else { Side::New });
        self.add(Observation::Job {
            at,
            id: id.into(),
            class: of.unwrap_or_else(|| "mail".into()),
            event,
            side,
            instance: instance.map(ToOwned::to_owned),
        });
    }

    /// Takes away what happened to jobs.
    pub(super) fn forget(&mut self, ids: &[&str], forgotten: &[JobEvent]) {
        self.keep(|seen| {
            !matches!(seen, Observation::Job { id, event, .. } if ids.contains(&&**id) && forgotten.contains(event))
        });
    }

    /// The runs of an entry that began within a window: run, when, and on which side.
    pub(super) fn runs(&self, entry: &str, window: Window) -> Vec<(String, Time, Side)> {
        let runs = self.recording.observations.iter().filter_map(|seen| match seen {
            Observation::Run { at, entry: of, run, event: RunEvent::Started, side, .. }
                if of == entry && window.contains(*at) && at.0 + 60_000_000 < window.to.0 =>
            {
                Some((run.clone(), *at, *side))
            }
            _ => None,
        });
        runs.collect()
    }

    /// One more run, for ten seconds.
    pub(super) fn runs_also(&mut self, at: Time, entry: &str, run: &str, side: Side) {
        let wall = self.recording.wall(at);
        for (at, event) in [(at, RunEvent::Started), (Time(at.0 + 10_000_000), RunEvent::Succeeded)] {
            let (entry, run, instance) = (entry.into(), run.into(), format!("{side}-{entry}"));
            self.add(Observation::Run { at, entry, run, event, side, instance, wall });
        }
    }

    /// Runs begin and end later, or earlier.
    pub(super) fn put_off(&mut self, runs: &[&str], by: i64) {
        let later = |at: Time| Time(at.0.saturating_add_signed(by));
        self.each(|seen| {
            if let Observation::Run { at, run, wall, .. } = seen
                && runs.contains(&&**run)
            {
                *at = later(*at);
                *wall += jiff::SignedDuration::from_micros(by);
            }
        });
    }
}
