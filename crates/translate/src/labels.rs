//! The labels of what a Compose file describes.

use std::collections::BTreeMap;

use envctl_model::labels::{
    CLAIM, CONTAINER, ENVIRONMENT, INDEX, POD, POD_HASH, ROLE, Role, SCHEDULE, WORKLOAD,
};

use crate::input::Input;
use crate::output::PodService;
use crate::sandbox::json;
use crate::workload::PodPlan;

fn all(input: &Input) -> BTreeMap<String, String> {
    let mut labels = input.environment.labels.clone();
    labels.insert(ENVIRONMENT.to_owned(), input.environment.name.clone());
    labels
}

pub(crate) fn member(
    input: &Input,
    pod: &PodPlan<'_>,
    member: &PodService,
    index: usize,
    hash: &str,
) -> BTreeMap<String, String> {
    let mut labels = all(input);
    labels.insert(INDEX.to_owned(), index.to_string());
    labels.insert(ROLE.to_owned(), member.role.to_string());
    labels.insert(POD.to_owned(), pod.name.clone());
    labels.insert(POD_HASH.to_owned(), hash.to_owned());
    labels.insert(WORKLOAD.to_owned(), format!("{}/{}", pod.workload.0, pod.workload.1));
    if let Some(schedule) = &pod.schedule {
        labels.insert(SCHEDULE.to_owned(), json(schedule));
    }
    if let Some(container) = &member.container {
        labels.insert(CONTAINER.to_owned(), container.clone());
    }
    labels
}

/// Of what the environment has one of.
pub(crate) fn role(input: &Input, role: Role, hash: &str) -> BTreeMap<String, String> {
    let mut labels = all(input);
    labels.insert(ROLE.to_owned(), role.to_string());
    labels.insert(POD_HASH.to_owned(), hash.to_owned());
    labels
}

pub(crate) fn volume(input: &Input, claim: Option<&str>) -> BTreeMap<String, String> {
    let mut labels = all(input);
    if let Some(claim) = claim {
        labels.insert(CLAIM.to_owned(), claim.to_owned());
    }
    labels
}
