//! Nothing is dropped in silence.

use envctl_model::finding::{Fate, Severity};
use envctl_translate::{MissingReferences, parse, translate};

use crate::support::{OLD_ENGINE, errors, findings, input, service, translated};

#[test]
fn fields_nobody_reads_are_findings() {
    let translation = translated(
        r#"
apiVersion: apps/v1
kind: Deployment
metadata: {name: api, ownerReferences: [{name: x}], labels: {a: b}}
spec:
  strategy: {type: Recreate}
  futureField: {a: [1, 2], b: {}}
  template:
    spec:
      affinity: {podAntiAffinity: {preferredDuringSchedulingIgnoredDuringExecution: [{weight: 1}]}}
      nodeSelector: {}
      tolerations: null
      containers:
      - name: main
        image: x:1
        terminationMessagePath: /x
        newField: 1
        livenessProbe: {tcpSocket: {port: 80, unheardOf: yes}}
"#,
    );
    assert_eq!(
        findings(&translation, "Deployment/api"),
        [
            "termination-message spec.template.spec.containers[0].terminationMessagePath",
            "update-strategy spec.strategy",
            "metadata metadata.ownerReferences",
            "scheduling spec.template.spec.affinity",
            "unknown-field spec.futureField",
            "unknown-field spec.template.spec.containers[0].livenessProbe.tcpSocket.unheardOf",
            "unknown-field spec.template.spec.containers[0].newField",
        ]
    );
}

#[test]
fn kinds_nobody_acts_on_are_findings() {
    let translation = translated(
        r#"
{apiVersion: networking.k8s.io/v1, kind: NetworkPolicy, metadata: {name: net}, spec: {podSelector: {}}}
---
{apiVersion: rbac.authorization.k8s.io/v1, kind: Role, metadata: {name: r}}
---
{apiVersion: example.org/v1, kind: Widget, metadata: {name: w}}
---
{apiVersion: serving.knative.dev/v1, kind: Service, metadata: {name: s}}
"#,
    );
    let fates: Vec<_> =
        translation.findings.iter().map(|f| (f.object.as_str(), f.code.as_str(), f.fate)).collect();
    assert_eq!(
        fates,
        [
            ("Role/r", "rbac", Fate::Meaningless),
            ("NetworkPolicy/net", "network-policy", Fate::Dropped),
            ("Service/s", "unknown-kind", Fate::Dropped),
            ("Widget/w", "unknown-kind", Fate::Dropped),
        ]
    );
    assert_eq!((translation.objects, translation.dropped), (4, 3));
    let services: Vec<_> = translation.compose["services"].as_object().unwrap().keys().collect();
    assert_eq!(services, ["envctl-gateway", "envctl-warden"]);
}

#[test]
fn what_exposes_the_machine_is_critical() {
    let translation = translated(
        r#"
apiVersion: v1
kind: Pod
metadata: {name: p}
spec:
  hostNetwork: true
  hostPID: true
  containers:
  - name: c
    image: x:1
    securityContext: {privileged: true}
    volumeMounts: [{name: root, mountPath: /host, subPath: etc, mountPropagation: HostToContainer}, {name: nfs, mountPath: /nfs}]
  volumes:
  - {name: root, hostPath: {path: /, type: Directory}}
  - {name: nfs, nfs: {server: s, path: /}}
"#,
    );
    let critical: Vec<_> = translation
        .findings
        .iter()
        .filter(|f| f.severity == Severity::Critical)
        .map(|f| f.code.as_str())
        .collect();
    assert_eq!(critical, ["volume-type", "host-namespace", "host-path", "privileged"]);
    let member = service(&translation, "p.c");
    assert_eq!((&member["privileged"], &member["pid"]), (&true.into(), &"host".into()));
    assert_eq!(member["volumes"][0]["source"], "/etc");
    assert_eq!(member["volumes"][0]["bind"]["propagation"], "rslave");
}

#[test]
fn missing_references_can_be_placeholders() {
    let yaml = "apiVersion: v1\nkind: Pod\nmetadata: {name: p}\nspec: {containers: [{name: c, image: 'x:1', env: [{name: A, valueFrom: {secretKeyRef: {name: s, key: k}}}]}]}\n";
    assert_eq!(errors(yaml).len(), 1);
    let mut input = input(parse(yaml, "t").unwrap(), OLD_ENGINE);
    input.missing_references = MissingReferences::Placeholder;
    let translation = translate(&input).unwrap();
    assert_eq!(service(&translation, "p.c")["environment"]["A"], "");
    assert_eq!(
        findings(&translation, "Pod/p"),
        ["missing-reference spec.containers[0].env[0].valueFrom.secretKeyRef"]
    );
}

#[test]
fn duplicates_are_errors() {
    let one = "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: a}\n";
    assert_eq!(
        errors(&format!("{one}---\n{one}")),
        ["ConfigMap/a metadata.name: is declared twice (also in test.yaml:1) (test.yaml:4)"]
    );
}
