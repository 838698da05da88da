//! Fields of containers.

use envctl_wire::{BeforeStop, Check};
use serde_json::json;

use crate::support::{errors, findings, service, translated};

fn pod(container: &str) -> String {
    format!(
        "{}\n---\napiVersion: v1\nkind: Pod\nmetadata: {{name: p, labels: {{a/b: c}}}}\nspec:\n  containers:\n  - name: main\n    image: x:1\n{container}\n",
        r#"
apiVersion: v1
kind: ConfigMap
metadata: {name: settings}
data: {LEVEL: info, SHARED: from-map}
---
apiVersion: v1
kind: Secret
metadata: {name: keys}
data: {token: cyRjcmV0}
stringData: {SHARED: from-secret}
---
apiVersion: v1
kind: Service
metadata: {name: my-db}
spec: {selector: {app: db}, ports: [{name: sql, port: 3306}]}
"#
    )
}

#[test]
fn variables_are_the_kubelets() {
    let translation = translated(&pod(r#"
    command: [run, "$(LEVEL)", "$(UNKNOWN)", "$$(LEVEL)", "${HOME}"]
    args: ["$(URL)"]
    envFrom:
    - configMapRef: {name: settings}
    - secretRef: {name: keys}
      prefix: S_
    - configMapRef: {name: absent, optional: true}
    env:
    - {name: TOKEN, valueFrom: {secretKeyRef: {name: keys, key: token}}}
    - {name: ABSENT, valueFrom: {secretKeyRef: {name: keys, key: nope, optional: true}}}
    - {name: URL, value: "http://$(HOST):$(MY_DB_SERVICE_PORT)/$(LATER)"}
    - {name: HOST, value: h}
    - {name: AGAIN, value: "$(HOST)"}
    - {name: LATER, value: l}
    - {name: SHARED, value: own}
    - {name: POD, valueFrom: {fieldRef: {fieldPath: metadata.name}}}
    - {name: LABEL, valueFrom: {fieldRef: {fieldPath: "metadata.labels['a/b']"}}}
    - {name: IP, valueFrom: {fieldRef: {fieldPath: status.podIP}}}
    - {name: CPU, valueFrom: {resourceFieldRef: {resource: limits.cpu}}}
    - {name: CPU_M, valueFrom: {resourceFieldRef: {resource: requests.cpu, divisor: 1m}}}
    - {name: MEM, valueFrom: {resourceFieldRef: {resource: limits.memory, divisor: 1Mi}}}
    resources: {requests: {cpu: 250m}}
"#));
    let main = service(&translation, "p.main");
    assert_eq!(main["entrypoint"], json!(["run", "info", "$$(UNKNOWN)", "$$(LEVEL)", "$${HOME}"]));
    assert_eq!(main["command"], json!(["http://$$(HOST):3306/$$(LATER)"]));
    let address = translation.pods[0].address.to_string();
    let expected = [
        ("TOKEN", "s$$cret"),
        ("LEVEL", "info"),
        ("S_SHARED", "from-secret"),
        ("SHARED", "own"),
        ("AGAIN", "h"),
        ("POD", "p"),
        ("LABEL", "c"),
        ("IP", address.as_str()),
        ("CPU", "2"),
        ("CPU_M", "250"),
        ("MEM", "8192"),
        ("MY_DB_SERVICE_PORT_SQL", "3306"),
        ("MY_DB_PORT_3306_TCP_PROTO", "tcp"),
    ];
    for (name, value) in expected {
        assert_eq!(main["environment"][name], value, "{name}");
    }
    assert_eq!(main["environment"].get("ABSENT"), None);
}

#[test]
fn every_missing_reference_is_named() {
    let errors = errors(&pod(r#"
    envFrom: [{secretRef: {name: absent}}]
    env:
    - {name: A, valueFrom: {configMapKeyRef: {name: settings, key: nope}}}
    - {name: B, value: 5}
    volumeMounts: [{name: nowhere, mountPath: /x}]
"#));
    assert_eq!(
        errors,
        [
            "Pod/p spec.containers[0].envFrom[0].secretRef: Secret `absent` does not exist in namespace `dev-alice` (test.yaml:18)",
            "Pod/p spec.containers[0].env[0].valueFrom.configMapKeyRef: ConfigMap `settings` has no key `nope` (test.yaml:18)",
            "Pod/p spec.containers[0].env[1].value: expected a string, found a number (test.yaml:18)",
            "Pod/p spec.containers[0].volumeMounts[0].name: the pod has no volume `nowhere` (test.yaml:18)",
        ]
    );
}

#[test]
fn resources_are_exact() {
    let translation = translated(&pod(
        "    resources: {limits: {cpu: 1500m, memory: 128M, nvidia.com/gpu: 1}, requests: {cpu: 0.1, memory: 64Mi}}",
    ));
    let main = service(&translation, "p.main");
    assert_eq!(main["cpus"], 1.5);
    assert_eq!(main["mem_limit"], 128_000_000);
    assert_eq!(main["memswap_limit"], 128_000_000);
    assert_eq!(main["mem_reservation"], 64 << 20);
    assert_eq!(main["cpu_shares"], 102);
    assert_eq!(
        findings(&translation, "Pod/p"),
        ["resource spec.containers[0].resources.limits['nvidia.com/gpu']"]
    );
}

#[test]
fn limits_that_the_engine_refuses_are_changed_and_reported() {
    let translation = translated(&pod("    resources: {limits: {cpu: 64, memory: 1Mi}}"));
    let main = service(&translation, "p.main");
    assert_eq!(main.get("cpus"), None);
    assert_eq!(main["mem_limit"], 6 << 20);
    assert_eq!(
        findings(&translation, "Pod/p"),
        [
            "cpu-limit spec.containers[0].resources.limits.cpu",
            "memory-limit spec.containers[0].resources.limits.memory"
        ]
    );
}

#[test]
fn lifecycle_hooks_run_where_compose_can() {
    let translation = translated(&pod(
        "    lifecycle: {postStart: {exec: {command: [a, \"$B\"]}}, preStop: {httpGet: {port: 80}}, stopSignal: SIGINT}",
    ));
    let main = service(&translation, "p.main");
    assert_eq!(main["post_start"], json!([{"command": ["a", "$$B"]}]));
    assert_eq!(main["stop_signal"], "SIGINT");
    let wanted: BeforeStop =
        serde_json::from_str(main["labels"]["dev.envctl.before-stop"].as_str().unwrap()).unwrap();
    let path = "/".to_owned();
    let check = Check::HttpGet { host: None, port: 80, path, tls: false, headers: Vec::new() };
    assert_eq!(wanted, BeforeStop::Request(check));
    assert_eq!(
        findings(&translation, "Pod/p"),
        [
            "lifecycle-hook spec.containers[0].lifecycle.preStop",
            "lifecycle-hook spec.containers[0].lifecycle.postStart"
        ]
    );
}

#[test]
fn what_is_done_before_the_end_is_a_label_and_a_part_of_the_pod() {
    let hash = |hook: &str| {
        let translation = translated(&pod(&format!("    lifecycle: {{preStop: {hook}}}")));
        let label = service(&translation, "p.main")["labels"]["dev.envctl.before-stop"].clone();
        (label, translation.pods[0].hash.clone())
    };
    let (label, one) = hash("{exec: {command: [say, $BYE]}}");
    assert_eq!(label, json!({"exec": ["say", "$$BYE"]}).to_string());
    let (label, other) = hash("{sleep: {seconds: 5}}");
    assert_eq!(label, json!({"sleep": 5}).to_string());
    assert_ne!(one, other);
}
