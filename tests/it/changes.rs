//! What a change replaces: the pods that a cluster would replace, and no other.

use std::collections::BTreeMap;
use std::process::Command;

use crate::support::{House, Ran, have};

/// Beside the small chart: workloads that differ in how they read what changes.
const MORE: &str = r#"
apiVersion: v1
kind: ConfigMap
metadata: {name: settings}
data: {word: {{ .Values.word | quote }}, {{ .Values.key }}: "$5"}
---
{{- $ca := genCA "shelf" 365 }}
{{- $cert := genSignedCert "shelf.example" nil nil 365 $ca }}
apiVersion: v1
kind: Secret
metadata: {name: tls}
stringData:
  ca.crt: {{ $ca.Cert | quote }}
  tls.crt: {{ $cert.Cert | quote }}
  users: {{ htpasswd "admin" (randAlphaNum 12) | quote }}
{{- range $name, $how := dict
  "mounted" "volumeMounts: [{name: settings, mountPath: /settings}]"
  "variable" "env: [{name: WORD, valueFrom: {configMapKeyRef: {name: settings, key: word}}}], lifecycle: {postStart: {exec: {command: [sh, -c, 'echo $WORD > /tmp/started']}}}"
  "summed" "volumeMounts: [{name: settings, mountPath: /settings}]"
  "drawn" "volumeMounts: [{name: tls, mountPath: /tls}]"
  "plain" "" }}
---
apiVersion: apps/v1
kind: Deployment
metadata: {name: {{ $name }}, labels: {app.kubernetes.io/component: {{ $name }}}}
spec:
  replicas: {{ if eq $name "plain" }}{{ $.Values.plain.replicas }}{{ else }}1{{ end }}
  selector: {matchLabels: {app: {{ $name }}}}
  template:
    metadata:
      labels: {app: {{ $name }}}
      annotations:
        {{- if eq $name "summed" }}
        checksum/settings: {{ $.Values.word | sha256sum }}
        {{- end }}
        {{- if eq $name "drawn" }}
        checksum/tls: {{ $cert.Cert | sha256sum }}
        {{- end }}
    spec:
      terminationGracePeriodSeconds: 0
      containers:
        - name: main
          image: {{ if eq $name "plain" }}{{ $.Values.plain.image }}{{ else }}{{ $.Values.image }}{{ end }}
          command: [sleep, infinity]
          {{- if eq $name "plain" }}
          readinessProbe: {exec: {command: ["true"]}, periodSeconds: {{ $.Values.plain.period }}}
          {{- end }}
          {{- range splitList "], " $how }}
          {{ . }}{{ if hasPrefix "env" . }}]{{ end }}
          {{- end }}
      volumes:
        - {name: settings, configMap: {name: settings}}
        - {name: tls, secret: {secretName: tls}}
{{- end }}
{{- if .Values.service }}
---
apiVersion: v1
kind: Service
metadata: {name: plain}
spec: {selector: {app: plain}, ports: [{port: 80}]}
{{- end }}
"#;

/// The containers of each pod, by the pod's name.
fn pods(house: &House) -> BTreeMap<String, Vec<String>> {
    let filter = format!("label=dev.envctl.environment={}", house.environment());
    let format = r#"{{.Label "dev.envctl.pod"}} {{.ID}}"#;
    let listed =
        Command::new("docker").args(["ps", "--all", "--filter", &filter, "--format", format]).output();
    let listed = String::from_utf8_lossy(&listed.unwrap().stdout).into_owned();
    let mut pods: BTreeMap<String, Vec<String>> = BTreeMap::new();
    // Gateway and warden are in no pod, and a hook runs each time.
    for (pod, id) in listed.lines().filter_map(|line| line.split_once(' ')) {
        if !pod.is_empty() && !pod.starts_with("migrate") {
            pods.entry(pod.to_owned()).or_default().push(id.to_owned());
        }
    }
    pods.values_mut().for_each(|ids| ids.sort());
    pods
}

/// The pods that are not what they were, or were not.
fn replaced(before: &BTreeMap<String, Vec<String>>, after: &BTreeMap<String, Vec<String>>) -> Vec<String> {
    after.iter().filter(|(pod, ids)| before.get(*pod) != Some(ids)).map(|(pod, _)| pod.clone()).collect()
}

fn read(house: &House, component: &str, command: &str) -> String {
    house.envctl(&["exec", component, "--", "sh", "-c", command]).exits(0).stdout.trim().to_owned()
}

#[test]
fn a_change_replaces_what_a_cluster_would_replace_and_nothing_else() {
    if !have(&["docker", "helm"]) {
        return;
    }
    let house = House::small("chg");
    let image = format!("{}/other:1", house.project);
    std::fs::write(house.src().join("chart/templates/more.yaml"), MORE).unwrap();
    house.edit("chart/values.yaml", |text| {
        format!(
            "{text}word: one\nkey: price\nservice: false\nplain: {{replicas: 1, period: 10, image: \"debian:bookworm-slim\"}}\n"
        )
    });
    house.envctl(&["up"]).exits(0);
    let mut before = pods(&house);
    assert_eq!(before.len(), 6, "{before:?}");
    let drawn = read(&house, "drawn", "cat /tls/*");
    assert!(drawn.contains("BEGIN CERTIFICATE") && drawn.contains("admin:$2a$"), "{drawn}");
    let mut set = Vec::new();
    let mut up = |change: &str, expected: &[&str]| -> Ran {
        set.extend((!change.is_empty()).then(|| change.to_owned()));
        let ran = house.envctl(&["up", "--set", &set.join(",")]).exits(0);
        let after = pods(&house);
        assert_eq!(replaced(&before, &after), expected, "by {change:?}\n{}{}", ran.stdout, ran.stderr);
        before = after;
        ran
    };
    // What the chart draws anew each time, and that another checksum annotation comes of it, is as it was.
    up("message=hello", &[]).says("no changes");

    let ran = up("word=two", &["summed-0"]);
    let said = format!("{}{}", ran.stdout, ran.stderr);
    assert!(said.contains("Deployment/variable keeps the variables that it was started with"), "{said}");
    assert!(said.contains("envctl restart variable"), "{said}");
    assert_eq!(read(&house, "mounted", "cat /settings/word"), "two");
    assert_eq!(read(&house, "variable", "echo $WORD"), "one");

    // A key that comes and one that goes, in a pod that stays; what has a `$` is written as it is.
    up("key=cost", &[]).says("new files in mounted, summed");
    assert_eq!(read(&house, "mounted", "cd /settings; echo *; cat cost"), "cost word\n$5");

    house.envctl(&["restart", "variable"]).exits(0);
    assert_eq!(read(&house, "variable", "echo $WORD; cat /tmp/started"), "two\ntwo");
    // Its containers are others now.
    let ran = up("", &["variable-0"]).says("no changes");
    assert!(!format!("{}{}", ran.stdout, ran.stderr).contains("keeps the variables"), "{}", ran.stderr);

    let tagged = Command::new("docker").args(["tag", "debian:bookworm-slim", &image]).status();
    assert!(tagged.unwrap().success());
    up("service=true", &[]);
    up("plain.replicas=2", &["plain-1"]);
    up("plain.period=11", &["plain-0", "plain-1"]);
    up(&format!("plain.image={image}"), &["plain-0", "plain-1"]);
    assert_eq!(read(&house, "drawn", "cat /tls/*"), drawn);
    house.envctl(&["down", "--yes"]).exits(0).says("0 left");
    let _ = Command::new("docker").args(["rmi", &image]).output();
}
