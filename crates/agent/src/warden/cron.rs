//! When a CronJob runs: the rules of the cluster's controller. Pure.

use envctl_cron::{Dialect, Schedule};
use envctl_wire::{Concurrency, CronJob};
use jiff::tz::TimeZone;
use jiff::{SignedDuration, Timestamp};

/// A CronJob whose times are known.
#[derive(Debug)]
pub(super) struct Cron {
    pub(super) job: CronJob,
    schedule: Schedule,
    zone: TimeZone,
    /// What was due until then has been run.
    handled: Timestamp,
}

/// What to do now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Decision {
    /// It is not time, or it has to wait.
    Wait,
    /// Begin the run that was due then.
    Run(Timestamp),
    /// End those that still go on, and begin that one then.
    Replace(Timestamp),
}

impl Cron {
    /// Reads a schedule. What was due until `handled` is not made up for.
    pub(super) fn new(job: CronJob, handled: Timestamp) -> anyhow::Result<Self> {
        let schedule = Schedule::parse(&job.schedule, Dialect::Kubernetes)?;
        let name = job.time_zone.as_deref().unwrap_or("UTC");
        let Some(zone) = envctl_cron::zone(name) else { anyhow::bail!("there is no time zone `{name}`") };
        Ok(Self { job, schedule, zone, handled })
    }

    /// Until when what was due has been run.
    pub(super) fn handled(&self) -> Timestamp {
        self.handled
    }

    /// What to do while `running` of its runs go on. Of several that were missed the last one is made up for, if it is not
    /// too late.
    pub(super) fn decide(&self, now: Timestamp, running: usize) -> Decision {
        if self.job.suspend {
            return Decision::Wait;
        }
        let deadline =
            self.job.starting_deadline_seconds.map(|seconds| SignedDuration::from_secs(seconds.into()));
        // The moment of the deadline itself is still in time.
        let earliest = deadline
            .and_then(|deadline| now.checked_sub(deadline + SignedDuration::from_nanos(1)).ok())
            .map_or(self.handled, |earliest| earliest.max(self.handled));
        match (self.schedule.latest(&self.zone, earliest, now), self.job.concurrency) {
            (None, _) => Decision::Wait,
            (Some(due), Concurrency::Replace) if running > 0 => Decision::Replace(due),
            (Some(_), Concurrency::Forbid) if running > 0 => Decision::Wait,
            (Some(due), _) => Decision::Run(due),
        }
    }

    /// A run was begun.
    pub(super) fn begun(&mut self, due: Timestamp) {
        self.handled = self.handled.max(due);
    }

    /// When to decide again.
    pub(super) fn next(&self, now: Timestamp) -> Option<Timestamp> {
        if self.job.suspend { None } else { self.schedule.next(&self.zone, now) }
    }
}

/// A run, as far as it matters for what is kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Past {
    pub(super) run: String,
    pub(super) due: i64,
    pub(super) succeeded: bool,
}

/// The ended runs that are too many: the oldest. The newest stays in any case: it tells a later warden what has run.
pub(super) fn too_old(mut ended: Vec<Past>, job: &CronJob) -> Vec<String> {
    ended.sort_by_key(|past| std::cmp::Reverse(past.due));
    let newest = ended.first().map(|past| past.run.clone());
    let (succeeded, failed): (Vec<_>, Vec<_>) = ended.into_iter().partition(|past| past.succeeded);
    let succeeded = succeeded.into_iter().skip(job.successful_history);
    let old = succeeded.chain(failed.into_iter().skip(job.failed_history)).map(|past| past.run);
    old.filter(|run| Some(run) != newest.as_ref()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn job(schedule: &str) -> CronJob {
        CronJob {
            name: "digest".to_owned(),
            schedule: schedule.to_owned(),
            time_zone: None,
            concurrency: Concurrency::Allow,
            starting_deadline_seconds: None,
            suspend: false,
            successful_history: 3,
            failed_history: 1,
        }
    }

    fn at(text: &str) -> Timestamp {
        format!("2026-11-30T{text}Z").parse().unwrap()
    }

    #[test]
    fn the_last_of_what_was_missed_runs_once() {
        let mut cron = Cron::new(job("*/10 * * * *"), at("10:05:00")).unwrap();
        assert_eq!(cron.decide(at("10:09:59"), 0), Decision::Wait);
        assert_eq!(cron.next(at("10:09:59")), Some(at("10:10:00")));
        assert_eq!(cron.decide(at("10:10:00"), 0), Decision::Run(at("10:10:00")));
        // The machine slept.
        assert_eq!(cron.decide(at("12:34:00"), 0), Decision::Run(at("12:30:00")));
        cron.begun(at("12:30:00"));
        assert_eq!(cron.decide(at("12:34:00"), 1), Decision::Wait);
    }

    #[test]
    fn who_is_too_late_does_not_run() {
        let late = |seconds| {
            let job = CronJob { starting_deadline_seconds: Some(seconds), ..job("0 * * * *") };
            Cron::new(job, at("10:30:00")).unwrap().decide(at("12:01:40"), 0)
        };
        assert_eq!(late(99), Decision::Wait);
        assert_eq!(late(100), Decision::Run(at("12:00:00")));
    }

    #[test]
    fn a_run_that_goes_on_is_joined_waited_for_or_replaced() {
        let decide = |concurrency, running| {
            let job = CronJob { concurrency, ..job("* * * * *") };
            Cron::new(job, at("10:00:00")).unwrap().decide(at("10:02:30"), running)
        };
        let due = at("10:02:00");
        assert_eq!(decide(Concurrency::Allow, 2), Decision::Run(due));
        assert_eq!(decide(Concurrency::Forbid, 1), Decision::Wait);
        assert_eq!(decide(Concurrency::Forbid, 0), Decision::Run(due), "late, when the last one has ended");
        assert_eq!(decide(Concurrency::Replace, 1), Decision::Replace(due));
        assert_eq!(decide(Concurrency::Replace, 0), Decision::Run(due));
    }

    #[test]
    fn what_is_suspended_does_not_run_and_zones_are_those_of_the_clock_on_the_wall() {
        let suspended = Cron::new(CronJob { suspend: true, ..job("* * * * *") }, at("10:00:00")).unwrap();
        assert_eq!(
            (suspended.decide(at("11:00:00"), 0), suspended.next(at("11:00:00"))),
            (Decision::Wait, None)
        );
        let tokyo = CronJob { time_zone: Some("Asia/Tokyo".to_owned()), ..job("0 9 * * *") };
        assert_eq!(
            Cron::new(tokyo, at("10:00:00")).unwrap().next(at("10:00:00")),
            "2026-12-01T00:00:00Z".parse().ok()
        );
        let nowhere = CronJob { time_zone: Some("Asia/Tokio".to_owned()), ..job("0 9 * * *") };
        assert_eq!(
            Cron::new(nowhere, at("10:00:00")).unwrap_err().to_string(),
            "there is no time zone `Asia/Tokio`"
        );
    }

    #[test]
    fn the_newest_of_each_kind_are_kept() {
        let past = |due, succeeded| Past { run: format!("r{due}"), due, succeeded };
        let ended =
            vec![past(1, false), past(2, true), past(3, true), past(4, false), past(5, true), past(6, true)];
        assert_eq!(too_old(ended.clone(), &job("* * * * *")), ["r2", "r1"]);
        let none = CronJob { successful_history: 0, failed_history: 0, ..job("* * * * *") };
        assert_eq!(
            too_old(ended, &none),
            ["r5", "r3", "r2", "r4", "r1"],
            "what has run is known by the newest"
        );
    }
}
