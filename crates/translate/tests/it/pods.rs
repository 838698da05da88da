//! Workloads, their pods, and the order in which those run.

use envctl_model::labels::Role;
use envctl_translate::{Phase, Stage, parse, translate};
use serde_json::json;

use crate::support::{NEW_ENGINE, errors, findings, hashes, input, service, translated};

const STACK: &str = r#"
apiVersion: apps/v1
kind: Deployment
metadata: {name: api}
spec:
  replicas: 2
  selector: {matchLabels: {app: api}}
  template:
    metadata: {labels: {app: api}, annotations: {checksum/config: "1"}}
    spec:
      terminationGracePeriodSeconds: 45
      initContainers:
      - {name: wait, image: busybox:1, command: [sh, -c, "true"]}
      - {name: proxy, image: envoy:1, restartPolicy: Always}
      - {name: warm, image: busybox:1}
      containers:
      - {name: main, image: api}
      - {name: log, image: "log@sha256:00", imagePullPolicy: Always}
---
apiVersion: apps/v1
kind: StatefulSet
metadata: {name: db}
spec:
  replicas: 2
  serviceName: db
  selector: {matchLabels: {app: db}}
  template:
    metadata: {labels: {app: db}}
    spec:
      containers:
      - name: db
        image: db:1
        readinessProbe: {exec: {command: [check, "$HOME"]}, initialDelaySeconds: 5, periodSeconds: 20}
---
apiVersion: batch/v1
kind: Job
metadata: {name: migrate, annotations: {helm.sh/hook: "pre-install,pre-upgrade", helm.sh/hook-weight: "-5"}}
spec:
  backoffLimit: 2
  template: {spec: {restartPolicy: Never, containers: [{name: migrate, image: "api:1"}]}}
---
apiVersion: batch/v1
kind: Job
metadata: {name: check, annotations: {helm.sh/hook: pre-install}}
spec:
  backoffLimit: 0
  template: {spec: {restartPolicy: Never, containers: [{name: check, image: "api:1"}]}}
---
apiVersion: batch/v1
kind: Job
metadata: {name: announce, annotations: {helm.sh/hook: post-install}}
spec: {template: {spec: {restartPolicy: OnFailure, containers: [{name: announce, image: "api:1"}]}}}
---
apiVersion: v1
kind: Pod
metadata: {name: smoke, annotations: {helm.sh/hook: test}}
spec: {containers: [{name: smoke, image: "api:1"}]}
"#;

#[test]
fn pods_are_described_in_starting_order() {
    let translation = translated(STACK);
    let pods: Vec<_> =
        translation.pods.iter().map(|pod| (pod.name.as_str(), pod.phase, pod.run_once)).collect();
    assert_eq!(
        pods,
        [
            ("migrate-0", Phase::PreHook(-5), true),
            ("check-0", Phase::PreHook(0), true),
            ("api-0", Phase::Main, false),
            ("api-1", Phase::Main, false),
            ("db-0", Phase::Main, false),
            ("db-1", Phase::Main, false),
            ("announce-0", Phase::PostHook(0), true),
        ]
    );
    let api = &translation.pods[2];
    let services: Vec<_> =
        api.services.iter().map(|service| (service.service.as_str(), service.role)).collect();
    assert_eq!(
        services,
        [
            ("api-0", Role::Sandbox),
            ("api-0.wait", Role::Init),
            ("api-0.proxy", Role::Sidecar),
            ("api-0.warm", Role::Init),
            ("api-0.main", Role::Container),
            ("api-0.log", Role::Container),
        ]
    );
    assert_eq!(api.workload, ("Deployment".to_owned(), "api".to_owned()));
}

#[test]
fn a_container_joins_its_sandbox() {
    let translation = translated(STACK);
    let main = service(&translation, "api-0.main");
    assert_eq!(main["network_mode"], "service:api-0");
    assert_eq!(main["ipc"], "service:api-0");
    assert_eq!(main["pull_policy"], "always", "no tag is latest");
    assert_eq!(main["restart"], "unless-stopped");
    assert_eq!(main["stop_grace_period"], "45s");
    assert_eq!(main["healthcheck"], json!({"disable": true}), "Kubernetes ignores the image's own");
    assert_eq!(service(&translation, "api-0.log")["pull_policy"], "always");
    assert_eq!(service(&translation, "api-0.wait")["pull_policy"], "missing");
    let started = json!({"condition": "service_started", "restart": true, "required": true});
    assert_eq!(main["depends_on"]["api-0"], started);
    let sandbox = service(&translation, "api-0");
    assert_eq!(sandbox["hostname"], "api-0");
    let address = translation.pods[2].address.to_string();
    assert_eq!(sandbox["networks"], json!({"default": {"ipv4_address": address}}));
    for name in ["api-0", "api-0.main"] {
        let labels = &service(&translation, name)["labels"];
        assert_eq!(labels["dev.envctl.pod-hash"], translation.pods[2].hash);
        assert_eq!(labels["dev.envctl.workload"], "Deployment/api");
        assert_eq!(labels["dev.envctl.owner"], "aki");
    }
}

fn conditions(depends_on: &serde_json::Value) -> Vec<String> {
    let depends_on = depends_on.as_object().unwrap();
    depends_on
        .iter()
        .map(|(name, needed)| format!("{name} {}", needed["condition"].as_str().unwrap()))
        .collect()
}

#[test]
fn init_containers_run_one_after_another() {
    let translation = translated(STACK);
    let wait = conditions(&service(&translation, "api-0.wait")["depends_on"]);
    assert_eq!(wait, ["api-0 service_started"]);
    let main = conditions(&service(&translation, "api-0.main")["depends_on"]);
    assert_eq!(
        main,
        [
            "api-0 service_started",
            "api-0.proxy service_started",
            "api-0.wait service_completed_successfully",
            "api-0.warm service_completed_successfully",
        ]
    );
    assert_eq!(service(&translation, "api-0.wait")["restart"], "on-failure");
    assert_eq!(service(&translation, "api-0.proxy")["restart"], "unless-stopped");
}

#[test]
fn nothing_waits_for_a_sidecars_probe_of_the_network() {
    let pod = "apiVersion: v1\nkind: Pod\nmetadata: {name: p}\nspec:\n  containers: [{name: c, image: 'x:1'}]\n  \
               initContainers: [{name: s, image: 'x:1', restartPolicy: Always, startupProbe: {tcpSocket: {port: 1}}}]\n";
    assert_eq!(findings(&translated(pod), "Pod/p"), ["sidecar-order spec.initContainers[0].startupProbe"]);
}

#[test]
fn hooks_and_ordinals_wait_for_each_other() {
    let translation = translated(STACK);
    let of = |name: &str| conditions(&service(&translation, name)["depends_on"]);
    assert_eq!(of("migrate-0"), ["envctl-gateway service_healthy"]);
    assert_eq!(
        of("check-0"),
        ["envctl-gateway service_healthy", "migrate-0.migrate service_completed_successfully"]
    );
    assert_eq!(
        of("api-1"),
        ["check-0.check service_completed_successfully", "envctl-gateway service_healthy"]
    );
    assert_eq!(
        of("db-1"),
        [
            "check-0.check service_completed_successfully",
            "db-0 service_healthy",
            "db-0.db service_healthy",
            "envctl-gateway service_healthy"
        ]
    );
    let announce = of("announce-0");
    for needed in ["api-0", "api-1", "db-0", "db-1", "db-1.db"] {
        assert!(announce.contains(&format!("{needed} service_healthy")), "{announce:?}");
    }
    assert_eq!(service(&translation, "migrate-0.migrate")["restart"], "on-failure:2");
    assert_eq!(service(&translation, "check-0.check")["restart"], "no");
    assert_eq!(service(&translation, "announce-0.announce")["restart"], "on-failure:6");
}

#[test]
fn an_upgrade_runs_the_hooks_of_upgrades() {
    let mut input = input(parse(STACK, "t").unwrap(), NEW_ENGINE);
    input.stage = Stage::Upgrade;
    let translation = translate(&input).unwrap();
    let hooks: Vec<_> =
        translation.pods.iter().filter(|pod| pod.phase != Phase::Main).map(|pod| &pod.name).collect();
    assert_eq!(hooks, ["migrate-0"]);
    let finding = translation.findings.iter().find(|finding| finding.object == "Job/check").unwrap();
    assert_eq!(finding.code, "hook-of-other-stage");
}

#[test]
fn only_what_changed_gets_another_hash() {
    let before = hashes(&translated(STACK));
    let changed = |from: &str, to: &str| -> Vec<String> {
        let after = hashes(&translated(&STACK.replace(from, to)));
        after
            .into_iter()
            .filter(|(name, hash)| before.get(name) != Some(hash))
            .map(|(name, _)| name)
            .collect()
    };
    assert_eq!(changed("image: api}", "image: api2}"), ["api-0", "api-1"]);
    assert_eq!(changed("checksum/config: \"1\"", "checksum/config: \"2\""), ["api-0", "api-1"]);
    assert_eq!(changed("replicas: 2\n  serviceName", "replicas: 3\n  serviceName"), ["db-2"]);
    let with_service = format!(
        "{STACK}---\napiVersion: v1\nkind: Service\nmetadata: {{name: api}}\nspec: {{selector: {{app: api}}, ports: [{{port: 80}}]}}\n"
    );
    assert_eq!(hashes(&translated(&with_service)), before, "a Service is the gateway's business");
}

#[test]
fn an_exec_probe_is_the_members_own_health_check() {
    let translation = translated(STACK);
    assert_eq!(
        service(&translation, "db-0.db")["healthcheck"],
        json!({"test": ["CMD", "check", "$$HOME"], "interval": "5s", "timeout": "3s", "retries": 12, "start_period": "5s"})
    );
    let mut input = input(parse(STACK, "t").unwrap(), NEW_ENGINE);
    input.stage = Stage::Upgrade;
    let translation = translate(&input).unwrap();
    assert_eq!(service(&translation, "db-0.db")["healthcheck"]["start_interval"], "5s");
}

#[test]
fn names_are_unique_and_fit() {
    let long = "a".repeat(80);
    let yaml = format!(
        r#"
apiVersion: apps/v1
kind: Deployment
metadata: {{name: web}}
spec: {{template: {{spec: {{containers: [{{name: x, image: "x:1"}}]}}}}}}
---
apiVersion: apps/v1
kind: StatefulSet
metadata: {{name: web}}
spec: {{template: {{spec: {{containers: [{{name: x, image: "x:1"}}]}}}}}}
---
apiVersion: apps/v1
kind: Deployment
metadata: {{name: {long}}}
spec: {{template: {{spec: {{containers: [{{name: x, image: "x:1"}}]}}}}}}
"#
    );
    let translation = translated(&yaml);
    let mut names: Vec<_> = translation.pods.iter().map(|pod| pod.name.clone()).collect();
    assert!(names.iter().all(|name| name.len() <= 63));
    let stateful = translation.pods.iter().find(|pod| pod.workload.0 == "StatefulSet").unwrap();
    assert_eq!(stateful.name, "web-0", "the API fixes the names of StatefulSet pods");
    names.sort();
    names.dedup();
    assert_eq!(names.len(), 3);
}

#[test]
fn a_job_runs_so_many_pods_at_a_time() {
    let job = |fields: &str| {
        format!(
            "apiVersion: batch/v1\nkind: Job\nmetadata: {{name: j}}\nspec:\n  {fields}\n  template: {{spec: {{restartPolicy: Never, \
             initContainers: [{{name: side, image: 'x:1', restartPolicy: Always}}], containers: [{{name: c, image: 'x:1'}}]}}}}\n"
        )
    };
    let translation = translated(&job("completions: 3\n  parallelism: 2\n  completionMode: Indexed"));
    let of = |name: &str| conditions(&service(&translation, name)["depends_on"]);
    assert_eq!(of("j-1"), ["envctl-gateway service_healthy"]);
    assert_eq!(of("j-2"), ["envctl-gateway service_healthy", "j-0.c service_completed_successfully"]);
    assert_eq!(service(&translation, "j-2.c")["environment"]["JOB_COMPLETION_INDEX"], "2");
    assert!(translation.findings.iter().all(|finding| finding.code != "job-parallelism"));
    assert!(translated(&job("completions: 3\n  parallelism: 0")).pods.is_empty());
}

#[test]
fn the_whole_name_is_the_host_name_where_it_fits() {
    let pod = |name: &str| {
        format!(
            "apiVersion: v1\nkind: Pod\nmetadata: {{name: {name}}}\nspec: {{setHostnameAsFQDN: true, subdomain: far, containers: [{{name: c, image: 'x:1'}}]}}\n"
        )
    };
    assert_eq!(service(&translated(&pod("p")), "p")["hostname"], "p.far.dev-alice.svc.cluster.local");
    let errors = errors(&pod(&"p".repeat(40)));
    assert!(
        errors[0].contains("setHostnameAsFQDN") && errors[0].contains("more than 63 characters"),
        "{errors:?}"
    );
}

#[test]
fn what_the_api_server_refuses_is_refused() {
    let deployment = |fields: &str| {
        format!(
            "apiVersion: apps/v1\nkind: Deployment\nmetadata: {{name: d}}\nspec: {{template: {{spec: {{{fields} containers: [{{name: c, image: 'x:1', \
             livenessProbe: {{tcpSocket: {{port: 1}}, successThreshold: 2}}}}]}}}}}}\n"
        )
    };
    assert_eq!(
        errors(&deployment("restartPolicy: Never,")),
        [
            "Deployment/d spec.template.spec.restartPolicy: `Never` is not `Always`, as pods of this kind must have (test.yaml:1)",
            "Deployment/d spec.template.spec.containers[0].livenessProbe.successThreshold: `2` is not 1, as it must be here (test.yaml:1)",
        ]
    );
}
