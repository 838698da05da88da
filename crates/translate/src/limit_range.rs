//! LimitRanges: requests and limits of containers that declare none.
//!
//! On a cluster an admission plugin writes the defaults into pods before anybody sees them. So it is
//! here: [`defaulted`] gives objects with the defaults written in, and nothing else knows of them.

use std::borrow::Cow;
use std::collections::BTreeMap;

use envctl_model::finding::Severity;
use serde_json::{Map, Value};

use crate::cursor::{Cursor, Remark};
use crate::objects::Object;

/// Defaults by resource.
type Amounts = BTreeMap<String, Value>;

#[derive(Debug, Default)]
struct Defaults {
    limits: Amounts,
    requests: Amounts,
}

/// The objects as the API server would store them. `namespace` is that of objects that name none.
pub(crate) fn defaulted<'a>(objects: &'a [Object], namespace: &str) -> Cow<'a, [Object]> {
    let mut defaults: BTreeMap<&str, Defaults> = BTreeMap::new();
    let of = |object: &'a Object| object.namespace.as_deref().unwrap_or_default();
    for object in objects.iter().filter(|object| is_limit_range(object)) {
        let own = defaults.entry(of(object)).or_default();
        for item in items(&object.body) {
            collect(item, own);
        }
    }
    if defaults.is_empty() {
        return objects.into();
    }
    // An object without a namespace is of the environment's.
    let same =
        |a: &str, b: &str| a == b || (a.is_empty() && b == namespace) || (b.is_empty() && a == namespace);
    let mut objects = objects.to_vec();
    for object in &mut objects {
        let own = object.namespace.clone().unwrap_or_default();
        for (of, defaults) in &defaults {
            if same(of, &own) {
                containers(&mut object.body, &object.kind, defaults);
            }
        }
    }
    objects.into()
}

fn is_limit_range(object: &Object) -> bool {
    object.group().is_empty() && object.kind == "LimitRange"
}

fn items(body: &Value) -> impl Iterator<Item = &Value> {
    let items = body.pointer("/spec/limits").and_then(Value::as_array).into_iter().flatten();
    items.filter(|item| item["type"] == "Container")
}

/// The defaults of one item, in the order in which the API server fills the gaps of a LimitRange: a
/// default limit is the maximum, a default request the default limit or else the minimum.
fn collect(item: &Value, defaults: &mut Defaults) {
    let amounts = |key: &str| -> Amounts {
        let fields = item[key].as_object().into_iter().flatten();
        fields.map(|(resource, amount)| (resource.clone(), amount.clone())).collect()
    };
    let mut limits = amounts("default");
    add(&mut limits, &amounts("max"));
    let mut requests = amounts("defaultRequest");
    add(&mut requests, &limits);
    add(&mut requests, &amounts("min"));
    // Of several LimitRanges the first that says something counts.
    add(&mut defaults.limits, &limits);
    add(&mut defaults.requests, &requests);
}

/// Adds what is not there.
fn add(to: &mut Amounts, from: &Amounts) {
    for (resource, amount) in from {
        to.entry(resource.clone()).or_insert_with(|| amount.clone());
    }
}

fn containers(body: &mut Value, kind: &str, defaults: &Defaults) {
    let pod = match kind {
        "Pod" => "/spec",
        "CronJob" => "/spec/jobTemplate/spec/template/spec",
        _ => "/spec/template/spec",
    };
    for list in ["containers", "initContainers"] {
        let containers = body.pointer_mut(&format!("{pod}/{list}")).and_then(Value::as_array_mut);
        for container in containers.into_iter().flatten().filter_map(Value::as_object_mut) {
            fill(container, defaults);
        }
    }
}

fn fill(container: &mut Map<String, Value>, defaults: &Defaults) {
    let resources = container.entry("resources").or_insert_with(empty);
    if resources.is_null() {
        *resources = empty();
    }
    let Some(resources) = resources.as_object_mut() else {
        return; // of a wrong type: said where it is read
    };
    // What is requested is what is limited, where only that is written: before any LimitRange.
    let written = resources.get("limits").and_then(Value::as_object).cloned().unwrap_or_default();
    let written: Amounts = written.into_iter().collect();
    for (group, amounts) in
        [("requests", &written), ("limits", &defaults.limits), ("requests", &defaults.requests)]
    {
        if amounts.is_empty() {
            continue;
        }
        let group = resources.entry(group).or_insert_with(empty);
        if group.is_null() {
            *group = empty();
        }
        if let Some(group) = group.as_object_mut() {
            for (resource, amount) in amounts {
                group.entry(resource).or_insert_with(|| amount.clone());
            }
        }
    }
}

fn empty() -> Value {
    Value::Object(Map::new())
}

/// Reads a LimitRange, whose defaults are in the pods already.
pub(crate) fn read(root: &Cursor<'_>) {
    for item in root.at(&["spec", "limits"]).items() {
        if item.get("type").string() != Some("Container") {
            item.take();
            item.remark(Remark::dropped(
                Severity::Info,
                "limit-range",
                "only the defaults of containers are applied",
            ));
            continue;
        }
        for field in ["default", "defaultRequest"] {
            item.get(field).take();
        }
        for field in ["min", "max", "maxLimitRequestRatio"] {
            let bound = item.get(field);
            if bound.present() {
                bound.take();
                bound.remark(Remark::dropped(
                    Severity::Minor,
                    "limit-range",
                    "what is beyond it is not refused here",
                ));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::objects::parse;

    fn resources(range: &str, container: &str) -> Value {
        let text = format!(
            "apiVersion: v1\nkind: LimitRange\nmetadata: {{name: r}}\nspec: {{limits: [{range}]}}\n---\n\
             apiVersion: v1\nkind: Pod\nmetadata: {{name: p, namespace: own}}\nspec: {{containers: [{container}]}}\n"
        );
        let objects = parse(&text, "t").expect("parses");
        defaulted(&objects, "own")[1].body["spec"]["containers"][0]["resources"].clone()
    }

    #[test]
    fn gaps_are_filled_as_the_api_server_fills_them() {
        let range = "{type: Container, default: {cpu: 500m}, defaultRequest: {cpu: 100m}, max: {memory: 1Gi}, min: {ephemeral-storage: 1Mi}}";
        assert_eq!(
            resources(range, "{name: c}"),
            json!({"limits": {"cpu": "500m", "memory": "1Gi"},
                "requests": {"cpu": "100m", "memory": "1Gi", "ephemeral-storage": "1Mi"}})
        );
        assert_eq!(
            resources(range, "{name: c, resources: {limits: {cpu: 2}, requests: null}}"),
            json!({"limits": {"cpu": 2, "memory": "1Gi"},
                "requests": {"cpu": 2, "memory": "1Gi", "ephemeral-storage": "1Mi"}}),
            "a limit that is written is the request as well"
        );
        assert_eq!(resources("{type: Pod, max: {cpu: 1}}", "{name: c}"), json!({}));
    }

    #[test]
    fn other_namespaces_are_left_alone() {
        let text = "apiVersion: v1\nkind: LimitRange\nmetadata: {name: r, namespace: other}\nspec: {limits: [{type: Container, default: {cpu: 1}}]}\n---\n\
                    apiVersion: v1\nkind: Pod\nmetadata: {name: p}\nspec: {containers: [{name: c}]}\n";
        let objects = parse(text, "t").expect("parses");
        assert_eq!(defaulted(&objects, "own")[1].body["spec"]["containers"][0].get("resources"), None);
    }
}
