//! Labels by which envctl finds again what it made.

use std::collections::BTreeMap;

use crate::input::Input;
use crate::output::{PodService, Role};
use crate::workload::PodPlan;

/// The environment's name.
pub const ENVIRONMENT: &str = "dev.envctl.environment";
/// What a container is there for: [`Role`].
pub const ROLE: &str = "dev.envctl.role";
/// The pod's name.
pub const POD: &str = "dev.envctl.pod";
/// Digest of the pod; on the gateway, of its configuration.
pub const POD_HASH: &str = "dev.envctl.pod-hash";
/// The pod's workload: `Deployment/api`.
pub const WORKLOAD: &str = "dev.envctl.workload";
/// The container's name in the pod.
pub const CONTAINER: &str = "dev.envctl.container";
/// The container's place in its pod's spec, init containers first.
pub const INDEX: &str = "dev.envctl.index";
/// On volumes: namespace and name of the claim.
pub const CLAIM: &str = "dev.envctl.claim";

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
    if let Some(container) = &member.container {
        labels.insert(CONTAINER.to_owned(), container.clone());
    }
    labels
}

pub(crate) fn gateway(input: &Input, hash: &str) -> BTreeMap<String, String> {
    let mut labels = all(input);
    labels.insert(ROLE.to_owned(), Role::Gateway.to_string());
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
