//! Helm hooks: what is run before and after a release.

use envctl_model::finding::{Fate, Severity};

use crate::cursor::{Cursor, Remark};
use crate::input::Stage;
use crate::output::Phase;

/// What Helm does with an object.
#[derive(Debug)]
pub(crate) enum Schedule {
    /// A part of the release, or a hook of this stage.
    At(Phase),
    /// A hook of another stage: its data may still be there, its pods are not.
    Elsewhere(Remark),
}

pub(crate) fn schedule(root: &Cursor<'_>, stage: Stage) -> Schedule {
    let annotations = root.at(&["metadata", "annotations"]);
    let Some(events) = annotations.get("helm.sh/hook").string() else {
        return Schedule::At(Phase::Main);
    };
    let weight = annotations.get("helm.sh/hook-weight");
    let weight = weight.int_or_string().map_or(0, |text| {
        text.parse().unwrap_or_else(|_| {
            weight.invalid(&text, "an integer");
            0
        })
    });
    let events: Vec<&str> = events.split(',').map(str::trim).collect();
    let (before, after) = match stage {
        Stage::Install => ("pre-install", "post-install"),
        Stage::Upgrade => ("pre-upgrade", "post-upgrade"),
    };
    if events.contains(&before) {
        Schedule::At(Phase::PreHook(weight))
    } else if events.contains(&after) {
        Schedule::At(Phase::PostHook(weight))
    } else {
        Schedule::Elsewhere(remark(&events))
    }
}

fn remark(events: &[&str]) -> Remark {
    let any = |names: &[&str]| events.iter().any(|event| names.contains(event));
    if any(&["test", "test-success", "test-failure"]) {
        Remark::new(Fate::Meaningless, Severity::Info, "helm-test", "runs only when asked for: `helm test`")
    } else if any(&["pre-install", "post-install", "pre-upgrade", "post-upgrade"]) {
        Remark::new(
            Fate::Meaningless,
            Severity::Info,
            "hook-of-other-stage",
            "runs at the first `up` only, or at later ones only",
        )
    } else if any(&["pre-delete", "post-delete"]) {
        Remark::dropped(Severity::Minor, "delete-hook", "is not run: `down` removes the whole environment")
    } else {
        Remark::dropped(Severity::Minor, "hook", format!("hook {} is not run", events.join(",")))
    }
}
