//! Live source in containers (`up --dev`).

use envctl_translate::{Input, LiveSource, parse, translate};
use serde_json::json;

use crate::support::{NEW_ENGINE, findings, hashes, input, service};

const STACK: &str = "
apiVersion: apps/v1
kind: Deployment
metadata: {name: web}
spec:
  template:
    metadata: {labels: {app: web}}
    spec:
      initContainers: [{name: wait, image: web:1}]
      containers:
      - name: web
        image: web:1
        command: [serve]
        args: [--all]
        securityContext: {runAsUser: 1000, readOnlyRootFilesystem: true}
        volumeMounts: [{name: tmp, mountPath: /tmp}, {name: tmp, mountPath: /srv/app}]
      - {name: proxy, image: proxy:1}
      volumes: [{name: tmp, emptyDir: {}}]
---
apiVersion: apps/v1
kind: Deployment
metadata: {name: other}
spec: {template: {metadata: {labels: {app: other}}, spec: {containers: [{name: other, image: web:1}]}}}
";

#[test]
fn it_is_in_the_first_container_of_the_workload_alone_and_findings_say_what_differs() {
    let live = LiveSource {
        workload: ("Deployment".into(), "web".into()),
        mounts: vec![("/home/aki/app".into(), "/srv/app".into())],
        command: Some(vec!["bin/dev".into(), "--reload".into()]),
    };
    let plain = input(parse(STACK, "t").unwrap(), NEW_ENGINE);
    let without = translate(&plain).unwrap();
    let with = translate(&Input { live: vec![live], ..plain }).unwrap();

    let web = service(&with, "web-0.web");
    assert_eq!(web["entrypoint"], json!(["bin/dev", "--reload"]));
    assert!(web["command"].is_null(), "neither its own arguments nor the image's: {web}");
    let mounts: Vec<_> =
        web["volumes"].as_array().unwrap().iter().map(|m| (&m["source"], &m["target"])).collect();
    assert_eq!(
        mounts,
        [(&json!("web-0.tmp"), &json!("/tmp")), (&json!("/home/aki/app"), &json!("/srv/app"))],
        "what the pod mounts in its place is hidden"
    );
    assert_eq!(web["volumes"][1]["bind"], json!({"create_host_path": false}));
    for untouched in ["web-0.wait", "web-0.proxy", "other-0.other"] {
        let run = |translation| {
            let service = service(translation, untouched);
            (service["entrypoint"].clone(), service["volumes"].clone())
        };
        assert_eq!(run(&with), run(&without), "{untouched}");
    }
    let new: Vec<_> = findings(&with, "Deployment/web");
    let old = findings(&without, "Deployment/web");
    let new: Vec<_> = new.into_iter().filter(|finding| !old.contains(finding)).collect();
    assert_eq!(
        new,
        [
            "live-source-owner spec.template.spec.containers[0].securityContext.runAsUser",
            "live-source-writable spec.template.spec.containers[0].securityContext.readOnlyRootFilesystem",
            "live-command spec.template.spec.containers[0].command",
            "live-source spec.template.spec.containers[0]",
        ]
    );
    let changed: Vec<_> = hashes(&with)
        .into_iter()
        .filter(|(pod, hash)| hashes(&without)[pod] != *hash)
        .map(|(pod, _)| pod)
        .collect();
    assert_eq!(changed, ["web-0"], "only pods that run it are made anew");
}
