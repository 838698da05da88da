//! When a CronJob runs. Its pods are a Job's; they become templates, of which the warden makes those of each run.

use envctl_model::finding::Severity;
use envctl_wire::{Concurrency, CronJob};

use crate::cursor::{Cursor, Remark};
use crate::error::Problem;

/// What is said where there is no warden.
pub(crate) fn not_scheduled(why: &str) -> Remark {
    Remark::dropped(Severity::Major, "cron-job", format!("is not scheduled here: {why}"))
        .fix("run the job by hand where it matters: `envctl job run`")
}

/// Reads what is not of its Job.
pub(crate) fn read(root: &Cursor<'_>) -> CronJob {
    let spec = root.get("spec");
    spec.at(&["jobTemplate", "metadata"]).take();
    let schedule = spec.get("schedule");
    let text = schedule.required();
    // Clusters take intervals, too.
    let is_interval = text.starts_with("@every");
    if is_interval {
        let message = "an interval is not run here";
        schedule.remark(
            Remark::dropped(Severity::Major, "cron-job", message)
                .fix("write times, such as `0 * * * *`, in this target's values; or `envctl job run`"),
        );
    } else if schedule.present()
        && let Err(error) = envctl_cron::Schedule::parse(text, envctl_cron::Dialect::Kubernetes)
    {
        schedule.fail(Problem::Schedule(error.to_string()));
    }
    let zone = spec.get("timeZone");
    let time_zone = zone.string().map(str::to_owned);
    if let Some(name) = time_zone.as_deref().filter(|name| envctl_cron::zone(name).is_none()) {
        zone.invalid(name, "a time zone such as Asia/Tokyo");
    }
    let concurrency = spec.get("concurrencyPolicy");
    CronJob {
        name: root.object().name.clone(),
        schedule: text.to_owned(),
        time_zone,
        concurrency: match concurrency.string() {
            None | Some("Allow") => Concurrency::Allow,
            Some("Forbid") => Concurrency::Forbid,
            Some("Replace") => Concurrency::Replace,
            Some(other) => {
                concurrency.invalid(other, "Allow, Forbid or Replace");
                Concurrency::Allow
            }
        },
        starting_deadline_seconds: spec.get("startingDeadlineSeconds").number(),
        suspend: spec.get("suspend").boolean().unwrap_or(false) || is_interval,
        successful_history: spec.get("successfulJobsHistoryLimit").number().unwrap_or(3),
        failed_history: spec.get("failedJobsHistoryLimit").number().unwrap_or(1),
    }
}
