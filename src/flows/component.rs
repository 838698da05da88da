//! Which component of the stack an object belongs to. Pure.

use std::collections::BTreeMap;

use envctl_model::selection::means;
use envctl_model::stack::Component;
use envctl_translate::Object;
use serde_json::Value;

/// The kinds that make pods.
const WORKLOADS: [&str; 8] =
    ["Deployment", "StatefulSet", "DaemonSet", "ReplicaSet", "Rollout", "Pod", "Job", "CronJob"];

/// Whether pods come from it.
pub(crate) fn is_workload(object: &Object) -> bool {
    WORKLOADS.contains(&object.kind.as_str())
}

/// Whether Helm runs it beside the release.
pub(crate) fn is_hook(object: &Object) -> bool {
    !object.body["metadata"]["annotations"]["helm.sh/hook"].is_null()
}

/// The pod that an object of a workload describes: its labels are in `metadata`, its containers in `spec`.
pub(crate) fn pod(object: &Object) -> &Value {
    match object.kind.as_str() {
        "Pod" => &object.body,
        "CronJob" => &object.body["spec"]["jobTemplate"]["spec"]["template"],
        _ => &object.body["spec"]["template"],
    }
}

/// The component that a workload is of: by its label `app.kubernetes.io/component`, else by its name, before which
/// charts put the release.
pub(crate) fn of<'a>(components: &'a BTreeMap<String, Component>, workload: &Object) -> Option<&'a str> {
    let label = |of: &Value| {
        let label = of["metadata"]["labels"]["app.kubernetes.io/component"].as_str()?;
        components.get_key_value(label).map(|(name, _)| name.as_str())
    };
    let by_name = || {
        let id = workload.id();
        // `api` and `admin-api` are both the end of `shop-admin-api`: the longer one says more.
        components.keys().filter(|name| means(name, &id)).max_by_key(|name| name.len()).map(String::as_str)
    };
    label(&workload.body).or_else(|| label(pod(workload))).or_else(by_name)
}

/// Whether a selector of labels means the pods of a workload.
pub(crate) fn selects(selector: &Value, workload: &Object) -> bool {
    let labels = &pod(workload)["metadata"]["labels"];
    let wanted = selector.as_object().filter(|wanted| !wanted.is_empty());
    wanted.is_some_and(|wanted| wanted.iter().all(|(key, value)| labels.get(key) == Some(value)))
}

#[cfg(test)]
mod tests {
    use envctl_model::stack::ComponentKind;
    use serde_json::json;

    use super::*;
    use crate::flows::chart::parse;

    fn workload(name: &str, labels: &Value) -> Object {
        let template = json!({"metadata": {"labels": labels}});
        let deployment = json!({"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": name},
            "spec": {"template": template}});
        parse(&deployment.to_string(), "test").unwrap().remove(0)
    }

    #[test]
    fn a_workload_is_of_a_component_by_label_or_name() {
        let component = |_| Component { kind: ComponentKind::Service, criticality: None, enabled_by: None };
        let components: BTreeMap<_, _> =
            ["api", "admin-api", "mail"].map(|name| (name.to_owned(), component(name))).into();
        let component =
            |name: &str, labels: &Value| of(&components, &workload(name, labels)).map(str::to_owned);
        assert_eq!(component("api", &json!({})).as_deref(), Some("api"));
        assert_eq!(component("shop-admin-api", &json!({})).as_deref(), Some("admin-api"), "not `api`");
        let labelled = json!({"app.kubernetes.io/component": "mail"});
        assert_eq!(component("shop-sidekiq", &labelled).as_deref(), Some("mail"));
        let unknown = json!({"app.kubernetes.io/component": "server"});
        assert_eq!(
            component("shop-api", &unknown).as_deref(),
            Some("api"),
            "a label of the chart's own says nothing"
        );
        assert_eq!(component("shop-db", &json!({})), None);
    }

    #[test]
    fn a_selector_means_pods_that_have_all_of_its_labels() {
        let api = workload("api", &json!({"app": "api", "tier": "web"}));
        assert!(selects(&json!({"app": "api"}), &api));
        assert!(!selects(&json!({"app": "api", "tier": "db"}), &api));
        assert!(
            !selects(&json!({}), &api) && !selects(&Value::Null, &api),
            "one that is empty selects nothing"
        );
    }
}
