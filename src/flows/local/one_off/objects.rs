//! The object that a pod for one command is made from: a component's own template, as it was delivered. Pure.

use envctl_model::selection::{Names, select};
use envctl_translate::Object;
use serde_json::{Map, Value, json};

/// What is asked of a pod for one command.
#[derive(Debug, Clone, Copy)]
pub(super) struct Request<'a> {
    /// The container of the template, if it is not the first.
    pub(super) container: Option<&'a str>,
    /// The command; empty: the container's own.
    pub(super) command: &'a [String],
    /// Whether it gets a terminal.
    pub(super) terminal: bool,
}

/// The kinds of workloads whose pods have a template.
const KINDS: [&str; 6] = ["Deployment", "StatefulSet", "DaemonSet", "ReplicaSet", "Rollout", "Job"];

/// What a container has that belongs to a server, and not to a command: nobody else may have its ports.
const OF_SERVERS: [&str; 5] = ["livenessProbe", "readinessProbe", "startupProbe", "lifecycle", "ports"];

/// The workload's label that a word means: `Deployment/api`.
fn label(object: &Object) -> String {
    format!("{}/{}", object.kind, object.name)
}

fn meant<'a>(objects: &'a [Object], kinds: &[&str], word: &str) -> Result<&'a Object, String> {
    let candidates: Vec<(String, &Object)> = objects
        .iter()
        .filter(|object| kinds.contains(&object.kind.as_str()))
        .map(|object| (label(object), object))
        .collect();
    fn names<'a>((label, _): &'a (String, &Object)) -> Names<'a> {
        Names { workload: Some(label), ..Names::default() }
    }
    let chosen = select(&candidates, names, word).map_err(|e| e.to_string())?;
    // The release may stand before a name, so that one word means several: then the one that is called so.
    let exactly = chosen.iter().find(|(label, object)| object.name == word || label == word);
    match (exactly, chosen.as_slice()) {
        (Some((_, object)), _) | (None, [(_, object)]) => Ok(object),
        (None, several) => {
            let labels: Vec<_> = several.iter().map(|(label, _)| label.as_str()).collect();
            Err(format!("{word} may be {}: say which", labels.join(" or ")))
        }
    }
}

/// A pod with a component's spec. It has the template's containers that initialise it, and of the others the one that
/// runs the command; it has none of the template's labels, so that no Service leads to it. Also the names of its component
/// and of the container that runs the command.
pub(super) fn pod(
    objects: &[Object],
    word: &str,
    request: &Request<'_>,
    unique: &str,
) -> Result<(Value, String), String> {
    let workload = meant(objects, &KINDS, word)?;
    let mut spec = workload.body["spec"]["template"]["spec"].clone();
    let containers = spec["containers"].as_array().cloned().unwrap_or_default();
    let name_of = |container: &Value| container["name"].as_str().unwrap_or_default().to_owned();
    let known: Vec<String> = containers.iter().map(name_of).collect();
    let wanted = request.container.or(known.first().map(String::as_str)).unwrap_or_default().to_owned();
    let Some(mut container) = containers.into_iter().find(|container| name_of(container) == wanted) else {
        return Err(format!("{} has no container {wanted}; it has: {}", workload.name, known.join(", ")));
    };
    if let Some(fields) = container.as_object_mut() {
        fields.retain(|field, _| !OF_SERVERS.contains(&field.as_str()));
        if !request.command.is_empty() {
            fields.insert("command".to_owned(), json!(request.command));
            fields.remove("args");
        }
        fields.insert("stdin".to_owned(), true.into());
        fields.insert("tty".to_owned(), request.terminal.into());
    }
    spec["containers"] = json!([container]);
    spec["restartPolicy"] = "Never".into();
    // A pod of its own has no claims of its own: what it writes there goes with it.
    for claim in workload.body["spec"]["volumeClaimTemplates"].as_array().into_iter().flatten() {
        let volume = json!({"name": claim["metadata"]["name"], "emptyDir": {}});
        match spec["volumes"].as_array_mut() {
            Some(volumes) => volumes.push(volume),
            None => spec["volumes"] = json!([volume]),
        }
    }
    // These are of a controller that makes pods by number.
    for field in ["hostname", "subdomain"] {
        spec.as_object_mut().and_then(|spec| spec.remove(field));
    }
    let metadata = metadata(workload, &format!("{}-run-{unique}", workload.name));
    Ok((json!({"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": spec}), wanted))
}

/// A Job as a CronJob makes it when its time comes.
pub(super) fn job(objects: &[Object], word: &str, unique: &str) -> Result<Value, String> {
    let cron_job = meant(objects, &["CronJob"], word).map_err(|_| {
        let there: Vec<_> = objects
            .iter()
            .filter(|object| object.kind == "CronJob")
            .map(|object| object.name.as_str())
            .collect();
        let there = if there.is_empty() { "it has none".to_owned() } else { there.join(", ") };
        format!("there is no CronJob {word} in this environment; there are: {there}")
    })?;
    let mut spec = cron_job.body["spec"]["jobTemplate"]["spec"].clone();
    spec.as_object_mut().and_then(|spec| spec.remove("suspend"));
    let metadata = metadata(cron_job, &format!("{}-{unique}", cron_job.name));
    Ok(json!({"apiVersion": "batch/v1", "kind": "Job", "metadata": metadata, "spec": spec}))
}

fn metadata(of: &Object, name: &str) -> Value {
    let mut metadata = Map::from_iter([("name".to_owned(), name.into())]);
    if let Some(namespace) = &of.namespace {
        metadata.insert("namespace".to_owned(), namespace.clone().into());
    }
    metadata.into()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::flows::chart::parse;

    const OBJECTS: &str = "
apiVersion: apps/v1
kind: Deployment
metadata: {name: shop-api}
spec:
  replicas: 2
  template:
    metadata: {labels: {app: api}}
    spec:
      initContainers: [{name: wait, image: a}]
      containers:
        - {name: api, image: a, command: [serve], args: [--all], ports: [{containerPort: 80}], readinessProbe: {tcpSocket: {port: 80}}}
        - {name: proxy, image: b}
---
apiVersion: batch/v1
kind: CronJob
metadata: {name: digest, namespace: other}
spec: {schedule: '* * * * *', jobTemplate: {spec: {suspend: true, template: {spec: {containers: [{name: digest, image: a}]}}}}}
";

    fn objects() -> Vec<Object> {
        parse(OBJECTS, "test").unwrap()
    }

    #[test]
    fn a_pod_for_one_command_is_the_template_without_what_serves() {
        let command = ["sh".to_owned(), "-c".to_owned()];
        let request = Request { container: None, command: &command, terminal: true };
        let (pod, container) = pod(&objects(), "api", &request, "x7").unwrap();
        assert_eq!((pod["metadata"]["name"].as_str(), container.as_str()), (Some("shop-api-run-x7"), "api"));
        assert!(pod["metadata"]["labels"].is_null(), "no Service leads to it");
        assert_eq!(
            pod["spec"],
            json!({
                "initContainers": [{"name": "wait", "image": "a"}],
                "containers": [{"name": "api", "image": "a", "command": command, "stdin": true, "tty": true}],
                "restartPolicy": "Never",
            })
        );
    }

    #[test]
    fn without_a_command_the_container_runs_its_own() {
        let request = Request { container: Some("proxy"), command: &[], terminal: false };
        let (pod, container) = pod(&objects(), "Deployment/shop-api", &request, "x7").unwrap();
        assert_eq!(container, "proxy");
        assert!(pod["spec"]["containers"][0]["command"].is_null());
    }

    #[test]
    fn a_word_that_means_several_is_asked_about_and_never_guessed() {
        let deployment = |name: &str| {
            let containers = json!([{"name": "a", "image": "a"}]);
            json!({"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": name},
                "spec": {"template": {"spec": {"containers": containers}}}})
        };
        let of = |names: &[&str]| -> Vec<Object> {
            names.iter().flat_map(|name| parse(&deployment(name).to_string(), "test").unwrap()).collect()
        };
        let request = Request { container: None, command: &[], terminal: false };
        let error = pod(&of(&["shop-api", "admin-api"]), "api", &request, "x").unwrap_err();
        assert_eq!(error, "api may be Deployment/shop-api or Deployment/admin-api: say which");
        let (pod, _) = pod(&of(&["admin-api", "api"]), "api", &request, "x").unwrap();
        assert_eq!(pod["metadata"]["name"], "api-run-x");
    }

    #[test]
    fn claims_of_a_template_are_empty_volumes_of_the_pod() {
        let containers =
            json!([{"name": "db", "image": "a", "volumeMounts": [{"name": "data", "mountPath": "/d"}]}]);
        let stateful = json!({"apiVersion": "apps/v1", "kind": "StatefulSet", "metadata": {"name": "db"}, "spec": {
            "template": {"spec": {"containers": containers}},
            "volumeClaimTemplates": [{"metadata": {"name": "data"}}]}});
        let request = Request { container: None, command: &[], terminal: false };
        let objects = parse(&stateful.to_string(), "test").unwrap();
        let (pod, _) = pod(&objects, "db", &request, "x").unwrap();
        assert_eq!(pod["spec"]["volumes"], json!([{"name": "data", "emptyDir": {}}]));
    }

    #[test]
    fn what_is_not_there_is_told_with_what_is() {
        let request = |container| Request { container, command: &[], terminal: false };
        let error = |word, container| pod(&objects(), word, &request(container), "x").unwrap_err();
        assert!(
            error("web", None).contains("there is no component web")
                && error("web", None).contains("shop-api")
        );
        assert_eq!(error("api", Some("x")), "shop-api has no container x; it has: api, proxy");
        let error = job(&objects(), "api", "x").unwrap_err();
        assert_eq!(error, "there is no CronJob api in this environment; there are: digest");
    }

    #[test]
    fn a_job_is_what_the_cron_job_makes() {
        let job = job(&objects(), "digest", "x7").unwrap();
        assert_eq!(job["metadata"], json!({"name": "digest-x7", "namespace": "other"}));
        assert_eq!(
            job["spec"],
            json!({"template": {"spec": {"containers": [{"name": "digest", "image": "a"}]}}})
        );
    }
}
