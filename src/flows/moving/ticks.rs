//! When a crontab may be changed: not while something is about to start, or may just have.

use std::time::Duration;

use envctl_model::cutover::plan::Timetable;
use envctl_rehearse::director::Trouble;
use envctl_rehearse::timetable::ticks;
use jiff::{SignedDuration, Timestamp};

/// How far the next tick has to be when a crontab is changed.
const ROOM: SignedDuration = SignedDuration::from_secs(12);

/// How far ahead a moment without a tick is looked for.
const AHEAD: SignedDuration = SignedDuration::from_mins(3);

/// Waits for a moment at which the last tick is over and the next one is far enough for what takes so `long` before the
/// crontab is changed again.
pub(in crate::flows) async fn between_ticks(timetable: &Timetable, long: Duration) -> Result<(), Trouble> {
    let now = Timestamp::now();
    let room = ROOM.saturating_add(SignedDuration::try_from(long).unwrap_or(SignedDuration::MAX));
    let quiet = quiet(timetable, now, room).map_err(|Trouble(why)| {
        Trouble(if long.is_zero() { why } else { format!("{why}; or watch `disarmOld` for a shorter time") })
    })?;
    let quiet = quiet.duration_since(now);
    tokio::time::sleep(Duration::try_from(quiet).unwrap_or_default()).await;
    Ok(())
}

/// Refuses to let CronJobs run that would make up for a tick that the crontab has run. A CronJob that is no later than the
/// timetable tolerates makes up for none that [`between_ticks`] has not waited for.
pub(in crate::flows) fn makes_up_for_none(
    timetable: &Timetable,
    catching_up: &[(String, Option<Duration>)],
    now: Timestamp,
) -> Result<(), Trouble> {
    for (job, deadline) in catching_up {
        let Some(deadline) = deadline else {
            return Err(Trouble(format!(
                "the CronJob {job} has no `startingDeadlineSeconds`: as soon as it may run, it makes up for its last tick, \
                 however long ago that was\n  set it in the chart, to less than the time from a tick to the move"
            )));
        };
        if *deadline <= timetable.tolerance {
            continue;
        }
        let long = SignedDuration::try_from(*deadline).map_err(|e| Trouble(e.to_string()))?;
        let from = now.saturating_sub(long).map_err(|e| Trouble(e.to_string()))?;
        let ticks = ticks(timetable, from, now).map_err(|e| Trouble(e.to_string()))?;
        if let Some(tick) = ticks.last() {
            return Err(Trouble(format!(
                "the CronJob {job} would make up for the tick of {tick}, which the crontab has run: its \
                 `startingDeadlineSeconds` are {}\n  begin so long after a tick, or set it lower in the chart",
                deadline.as_secs()
            )));
        }
    }
    Ok(())
}

/// The first such moment from `now` on.
fn quiet(timetable: &Timetable, now: Timestamp, room: SignedDuration) -> Result<Timestamp, Trouble> {
    let over = SignedDuration::try_from(timetable.tolerance).map_err(|e| Trouble(e.to_string()))?;
    let to = now.saturating_add(AHEAD.saturating_add(room)).map_err(|e| Trouble(e.to_string()))?;
    let ticks = ticks(timetable, now - over, to).map_err(|e| Trouble(e.to_string()))?;
    let mut moment = now;
    for tick in ticks {
        if tick.duration_since(moment) > room {
            break;
        }
        moment = tick + over;
    }
    if moment <= now + AHEAD {
        return Ok(moment);
    }
    Err(Trouble(format!(
        "no moment of the next {} s is {} s after a tick and {} s before the next one\n  lower `timetable.tolerance`, or \
         rehearse with entries that run less often",
        AHEAD.as_secs(),
        over.as_secs(),
        room.as_secs()
    )))
}

#[cfg(test)]
mod tests {
    use envctl_model::cutover::plan::{TimetableEntry, Tool};

    use super::*;

    fn timetable(schedules: &[&str], tolerance: u64) -> Timetable {
        let tool = || Tool { service: "cron".to_owned(), command: Vec::new() };
        let entry =
            |schedule: &&str| TimetableEntry { name: "digest".to_owned(), schedule: (*schedule).to_owned() };
        Timetable {
            entries: schedules.iter().map(entry).collect(),
            time_zone: "UTC".to_owned(),
            ledger: tool(),
            tolerance: Duration::from_secs(tolerance),
            disarm: tool(),
            arm: tool(),
        }
    }

    fn second(schedules: &[&str], tolerance: u64, now: &str) -> Result<String, Trouble> {
        let now = format!("2026-03-01T09:00:{now}Z").parse().unwrap();
        quiet(&timetable(schedules, tolerance), now, SignedDuration::from_secs(20))
            .map(|moment| moment.to_string())
    }

    #[test]
    fn a_cron_job_that_would_make_up_for_a_tick_is_not_let_run() {
        let timetable = timetable(&["0 4 * * *"], 10);
        let refused = |deadline: Option<u64>, now: &str| {
            let job = ("digest".to_owned(), deadline.map(Duration::from_secs));
            let now = format!("2026-03-01T{now}Z").parse().unwrap();
            makes_up_for_none(&timetable, &[job], now).map_err(|trouble| trouble.0)
        };
        refused(Some(3600), "05:00:01").unwrap();
        refused(Some(10), "04:00:05").unwrap();
        let why = refused(Some(3600), "04:30:00").unwrap_err();
        assert!(why.contains("would make up for the tick of 2026-03-01T04:00:00Z"), "{why}");
        let why = refused(None, "23:00:00").unwrap_err();
        assert!(why.contains("the CronJob digest has no `startingDeadlineSeconds`"), "{why}");
    }

    #[test]
    fn a_crontab_is_changed_when_the_last_tick_is_over_and_the_next_one_is_far() {
        let every_minute = &["* * * * *"];
        assert_eq!(second(every_minute, 10, "20").unwrap(), "2026-03-01T09:00:20Z");
        assert_eq!(second(every_minute, 10, "04").unwrap(), "2026-03-01T09:00:10Z");
        assert_eq!(second(every_minute, 10, "50").unwrap(), "2026-03-01T09:01:10Z");
        assert_eq!(second(&["1 9 * * *", "30 4 * * *"], 10, "50").unwrap(), "2026-03-01T09:01:10Z");
        let never = second(every_minute, 55, "20").unwrap_err().to_string();
        assert!(never.contains("lower `timetable.tolerance`"), "{never}");
    }
}
