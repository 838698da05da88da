//! The order among pods: hooks before and after the release, StatefulSets one by one, Jobs so many at
//! a time.

use std::collections::BTreeMap;

use crate::compose::{Condition, Dependency, Service};
use crate::gateway::GATEWAY;
use crate::output::{Phase, Pod};
use crate::workload::After;
use envctl_model::labels::Role;

type Dependencies = BTreeMap<String, Dependency>;

/// Adds `depends_on` between pods. `pods` are sorted in starting order; `after` names the pod that
/// each of them follows.
pub(crate) fn arrange(
    pods: &[Pod],
    after: &BTreeMap<&str, &After>,
    services: &mut BTreeMap<String, Service>,
) {
    let by_name: BTreeMap<&str, &Pod> = pods.iter().map(|pod| (pod.name.as_str(), pod)).collect();
    let release: Dependencies =
        pods.iter().filter(|pod| pod.phase == Phase::Main && !pod.run_once).flat_map(ready).collect();
    let mut last_hook = Dependencies::new();
    // The pods of one hook run together, the next hook waits for all of them.
    for group in
        pods.chunk_by(|a, b| a.phase == b.phase && (a.phase == Phase::Main || a.workload == b.workload))
    {
        let mut completed = Dependencies::new();
        for pod in group {
            let mut needed = last_hook.clone();
            needed.insert(GATEWAY.to_owned(), Dependency::after(Condition::Healthy));
            needed.extend(
                match after.get(pod.name.as_str()) {
                    Some(After::Ready(name)) => by_name.get(name.as_str()).map(|before| ready(before)),
                    Some(After::Completed(name)) => {
                        by_name.get(name.as_str()).map(|before| self::completed(before))
                    }
                    None => None,
                }
                .unwrap_or_default(),
            );
            if matches!(pod.phase, Phase::PostHook(_)) {
                needed.extend(release.clone());
            }
            if let Some(sandbox) = services.get_mut(&pod.sandbox) {
                sandbox.depends_on.extend(needed);
            }
            completed.extend(self::completed(pod));
        }
        if group.iter().any(|pod| pod.phase != Phase::Main) {
            last_hook = completed;
        }
    }
}

fn ready(pod: &Pod) -> Dependencies {
    let healthy = pod.services.iter().filter(|service| service.health);
    healthy.map(|service| (service.service.clone(), Dependency::after(Condition::Healthy))).collect()
}

fn completed(pod: &Pod) -> Dependencies {
    let mains = pod.services.iter().filter(|service| service.role == Role::Container);
    mains.map(|main| (main.service.clone(), Dependency::after(Condition::Completed))).collect()
}
