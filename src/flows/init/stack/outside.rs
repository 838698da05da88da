//! What the chart needs from outside, and what stands in for it on this machine.

use std::collections::BTreeMap;

use serde_json::Value;

use super::backing::Backing;
use super::file::{Local, flow};
use super::found::words;
use super::study::Study;
use super::values::{Leaf, Overrides, leaves};
use super::{BACKING_FILE, shown};

/// Values that look like addresses and lead to nothing that is known.
pub(super) fn addresses(
    values: &Value,
    set: &[&Overrides],
    study: &Study,
    backing: Option<&Backing>,
) -> Vec<String> {
    const KEYS: [&str; 8] = ["host", "hostname", "url", "uri", "endpoint", "address", "addr", "server"];
    let services = backing.map(|backing| &backing.services);
    let is_known = |text: &str| {
        let parts = words(text);
        let mut known = study.services.iter().chain(services.into_iter().flat_map(BTreeMap::keys));
        known.any(|name| text == name || words(name).iter().all(|word| parts.contains(word)))
            || ["localhost", "127", "0"].iter().any(|own| parts.first().is_some_and(|first| first == own))
    };
    let is_set = |leaf: &Leaf| {
        let path = leaf.to_string();
        set.iter()
            .flat_map(|set| set.iter())
            .any(|(set, _)| path == set || path.starts_with(&format!("{set}[")))
    };
    let stand_ins = services.filter(|services| !services.is_empty()).map(|services| {
        format!(
            "; which backing service stands in for it? {}",
            services.keys().cloned().collect::<Vec<_>>().join(", ")
        )
    });
    leaves(values)
        .into_iter()
        .filter(|leaf| words(leaf.key()).last().is_some_and(|word| KEYS.contains(&word.as_str())))
        .filter(|leaf| {
            leaf.text().is_some_and(|text| !is_known(text) && (!text.is_empty() || stand_ins.is_some()))
        })
        .filter(|leaf| !is_set(leaf) && !study.missing.contains(&leaf.to_string()))
        .map(|leaf| {
            // What stands before an `@` is a password, most likely.
            let now = leaf.text().and_then(|text| text.rsplit('@').next()).unwrap_or_default();
            format!(
                "{leaf}: \"\"  # TODO is {} now{}",
                Value::from(now),
                stand_ins.as_deref().unwrap_or_default()
            )
        })
        .collect()
}

/// Notes what backs the environments.
pub(super) fn back(local: &mut Local, backing: &Backing) -> Vec<(&'static str, String)> {
    let with_ports = |(name, ports): (&String, &Vec<String>)| match ports.as_slice() {
        [] => name.clone(),
        ports => format!("{name}:{}", ports.join(",")),
    };
    local.services = backing.services.iter().map(with_ports).collect::<Vec<_>>().join(", ");
    local.left_out = backing.left_out.iter().map(|(name, why)| format!("{name}, {why}")).collect();
    if backing.services.is_empty() {
        return Vec::new();
    }
    let file = if backing.left_out.is_empty() { shown(&backing.from) } else { BACKING_FILE.to_owned() };
    let told = format!("{} from {}", local.services, shown(&backing.from));
    local.backing = Some(flow(&file.into()));
    vec![("backing", told)]
}
