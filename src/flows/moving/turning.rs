//! What steps do to a router, and what they wait for: read back, never assumed. The same in a sandbox and in production.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use envctl_model::cutover::Side;
use envctl_rehearse::director::Trouble;
use envctl_rehearse::haproxy::Router;
use envctl_rehearse::observation::{Observation, RunEvent, Time};
use envctl_rehearse::{Recorder, Recording};
use jiff::{SignedDuration, Timestamp};

/// Sets the new side's part, and reads it back in both places.
pub(crate) async fn weigh(router: &Router, recorder: &Recorder, percent: u8) -> Result<(), Trouble> {
    router.set_share(percent).await.map_err(|e| Trouble(e.to_string()))?;
    let share = router.share().await.map_err(|e| Trouble(e.to_string()))?;
    let (running, configured) = (share.running, share.configured);
    recorder.see(Observation::Weight { at: recorder.now(), running, configured });
    if running == percent && configured == percent {
        return Ok(());
    }
    Err(Trouble(format!(
        "the router was told {percent} % for the new side; it does {running} % and has {configured} % in its \
         configuration"
    )))
}

/// Reads the router's weights back, again and again: somebody else may change them.
pub(crate) async fn watch_weights(router: Router, recorder: Recorder) {
    let mut often = tokio::time::interval(Duration::from_millis(500));
    loop {
        often.tick().await;
        // While the router is away there is nothing to read.
        if let Ok(share) = router.share().await {
            let (running, configured) = (share.running, share.configured);
            recorder.see(Observation::Weight { at: recorder.now(), running, configured });
        }
    }
}

/// Gives the old side no new requests, and waits until it has answered those that it has.
pub(crate) async fn drain(router: &Router, within: Duration) -> Result<(), Trouble> {
    router.drain(Side::Old).await.map_err(|e| Trouble(e.to_string()))?;
    let deadline = Instant::now() + within;
    loop {
        let current = router.current(Side::Old).await.map_err(|e| Trouble(e.to_string()))?;
        if current == 0 {
            return Ok(());
        }
        if Instant::now() > deadline {
            return Err(Trouble(format!(
                "the old side still has {current} requests {} s after it was drained\n  raise the timeout of `drain`, \
                 or find out what takes so long",
                within.as_secs()
            )));
        }
        // HAProxy tells nobody when a request ends.
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

/// How long a run of the old side that is under way may take to end.
const RUN_WITHIN: Duration = Duration::from_secs(3600);

/// A run that began longer ago than this and has no end in the ledger is one of which nobody wrote down how it ended.
const RUN_FORGOTTEN: SignedDuration = SignedDuration::from_hours(24);

/// Waits until no run of the old side is under way.
async fn no_run(recorder: &Recorder) -> Result<(), Trouble> {
    let since = Timestamp::now().saturating_sub(RUN_FORGOTTEN).unwrap_or(Timestamp::MIN);
    let mut under_way = BTreeMap::new();
    let none = |new: &[Observation]| {
        for seen in new {
            match seen {
                Observation::Run { side: Side::Old, event: RunEvent::Started, run, entry, wall, .. }
                    if *wall > since =>
                {
                    under_way.insert(run.clone(), format!("{entry}, begun at {wall}"));
                }
                Observation::Run { event: RunEvent::Succeeded | RunEvent::Failed, run, .. } => {
                    under_way.remove(run);
                }
                _ => {}
            }
        }
        under_way.is_empty()
    };
    if recorder.until(RUN_WITHIN, none).await {
        return Ok(());
    }
    let runs: Vec<_> = under_way.into_values().collect();
    Err(Trouble(format!(
        "a run of the old side has been under way for {} min: {}\n  move it when it is over, or write its end into the \
         ledger",
        RUN_WITHIN.as_secs() / 60,
        runs.join("; ")
    )))
}

/// Waits until the old side has had nothing to do for this long, and no run of it is under way.
pub(crate) async fn idle(recorder: &Recorder, idle_for: Duration, within: Duration) -> Result<(), Trouble> {
    no_run(recorder).await?;
    let deadline = Instant::now() + within;
    loop {
        let idle = recorder.now().since(recorder.read(last_busy));
        if idle >= idle_for {
            return Ok(());
        }
        let wait = idle_for - idle;
        if Instant::now() + wait > deadline {
            return Err(Trouble(format!(
                "the old side still had something to do {:.1} s ago, and has to have had nothing for {} s\n  see who \
                 still goes there, or wait longer before this step",
                idle.as_secs_f64(),
                idle_for.as_secs()
            )));
        }
        tokio::time::sleep(wait).await;
    }
}

/// When the old side had something to do for the last time.
fn last_busy(recording: &Recording) -> Time {
    let seen = &recording.observations;
    let counters = counters_moved(seen);
    seen.iter().rev().find_map(busy_old).unwrap_or_default().max(counters)
}

/// When the old side had something to do, if this shows it.
fn busy_old(seen: &Observation) -> Option<Time> {
    match seen {
        Observation::Routed(routed) if routed.side == Some(Side::Old) => Some(routed.at),
        Observation::Served(served) if served.side == Side::Old => Some(served.at),
        Observation::Job { at, side: Some(Side::Old), .. } | Observation::Run { at, side: Side::Old, .. } => {
            Some(*at)
        }
        _ => None,
    }
}

/// When the counter of the old side's requests was seen to have moved for the last time.
fn counters_moved(seen: &[Observation]) -> Time {
    let read = seen.iter().rev().filter_map(|seen| match seen {
        Observation::Counted { at, side: Side::Old, requests, .. } => Some((*at, *requests)),
        _ => None,
    });
    let mut later = None;
    for (at, requests) in read {
        match later {
            Some((moved, after)) if after != requests => return moved,
            _ => later = Some((at, requests)),
        }
    }
    Time::default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn nothing_is_idle_while_a_run_is_under_way_but_one_of_which_nobody_wrote_the_end() {
        let dir = tempfile::tempdir().unwrap();
        let recorder = Recorder::begin(&dir.path().join("recording.jsonl"), 7).unwrap();
        let run = |run: &str, event, wall: Timestamp| Observation::Run {
            at: Time(0),
            entry: "digest".to_owned(),
            run: run.to_owned(),
            event,
            side: Side::Old,
            instance: "machine".to_owned(),
            wall,
        };
        let now = Timestamp::now();
        recorder.see(run("1", RunEvent::Started, now - SignedDuration::from_hours(30)));
        recorder.see(run("2", RunEvent::Started, now - SignedDuration::from_hours(2)));
        let idle = || idle(&recorder, Duration::ZERO, Duration::from_secs(1));
        // What ends only with the run is not there before it.
        assert!(tokio::time::timeout(Duration::from_millis(50), idle()).await.is_err());
        recorder.see(run("2", RunEvent::Failed, now));
        idle().await.unwrap();
    }
}
