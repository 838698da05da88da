//! Volumes, sub paths, seeds.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use envctl_translate::{Input, Translation, parse, translate};
use serde_json::json;

use crate::support::{NEW_ENGINE, OLD_ENGINE, findings, input, seed, service, translated};

const STACK: &str = r#"
apiVersion: v1
kind: ConfigMap
metadata: {name: conf}
data: {app.conf: "a=$b", extra: x}
binaryData: {blob: AAE=}
---
apiVersion: v1
kind: Secret
metadata: {name: tls}
data: {tls.key: a2V5}
---
apiVersion: apps/v1
kind: StatefulSet
metadata: {name: db}
spec:
  serviceName: db
  volumeClaimTemplates:
  - metadata: {name: data}
    spec: {accessModes: [ReadWriteOnce], resources: {requests: {storage: 1Gi}}}
  template:
    spec:
      securityContext: {fsGroup: 1001, fsGroupChangePolicy: OnRootMismatch}
      initContainers:
      - name: prepare
        image: x:1
        volumeMounts: [{name: scratch, mountPath: /all}]
      containers:
      - name: main
        image: x:1
        volumeMounts:
        - {name: data, mountPath: /data}
        - {name: scratch, mountPath: /tmp, subPath: tmp-dir}
        - {name: scratch, mountPath: /cache, subPath: tmp-dir/cache}
        - {name: conf, mountPath: /etc/app}
        - {name: conf, mountPath: /etc/app.conf, subPath: app.conf}
        - {name: all, mountPath: /all}
        - {name: shm, mountPath: /dev/shm}
      volumes:
      - {name: scratch, emptyDir: {}}
      - {name: shm, emptyDir: {medium: Memory, sizeLimit: 64Mi}}
      - {name: conf, configMap: {name: conf, defaultMode: 0440}}
      - name: all
        projected:
          sources:
          - configMap: {name: conf, items: [{key: extra, path: sub/extra, mode: 0600}]}
          - secret: {name: tls}
          - downwardAPI: {items: [{path: name, fieldRef: {fieldPath: metadata.name}}]}
"#;

fn on(engine: envctl_translate::EngineFacts) -> Translation {
    translate(&input(parse(STACK, "t").unwrap(), engine)).unwrap()
}

#[test]
fn the_seeder_writes_what_the_kubelet_would() {
    let config = seed(&on(NEW_ENGINE), "db-0");
    let by_files = |first: &str| {
        config.volumes.iter().find(|v| v.files.first().is_some_and(|f| f.path == first)).unwrap()
    };
    let conf = by_files("app.conf");
    assert!(conf.replace && conf.atomic_links);
    assert_eq!((conf.mode, conf.fs_group), (0o755, Some(1001)));
    let files: Vec<_> = conf
        .files
        .iter()
        .map(|file| (file.path.as_str(), file.mode, STANDARD.decode(&file.content).unwrap()))
        .collect();
    assert_eq!(
        files,
        [("app.conf", 0o440, b"a=$b".to_vec()), ("blob", 0o440, vec![0, 1]), ("extra", 0o440, b"x".to_vec())]
    );
    let all = by_files("name");
    let files: Vec<_> = all.files.iter().map(|file| (file.path.as_str(), file.mode)).collect();
    assert_eq!(files, [("name", 0o644), ("sub/extra", 0o600), ("tls.key", 0o644)]);
    let scratch =
        config.volumes.iter().find(|volume| volume.directories == ["tmp-dir", "tmp-dir/cache"]).unwrap();
    assert_eq!((scratch.mode, scratch.replace), (0o777, false));
    let seeder = service(&on(NEW_ENGINE), "db-0.envctl-seed").clone();
    assert_eq!((&seeder["network_mode"], &seeder["user"]), (&json!("none"), &json!("0")));
    assert_eq!(seeder["configs"], json!([{"source": "db-0.envctl-seed", "target": "/envctl-seed.json"}]));
}

#[test]
fn sub_paths_are_the_engines_own_where_it_can() {
    let translation = on(NEW_ENGINE);
    let volumes = &service(&translation, "db-0.main")["volumes"];
    assert_eq!(
        volumes[0],
        json!({"type": "volume", "source": "claim.dev-alice.data-db-0", "target": "/data", "volume": {"nocopy": true}})
    );
    assert_eq!(volumes[1]["volume"]["subpath"], "tmp-dir");
    assert_eq!(volumes[4]["volume"]["subpath"], "app.conf");
    assert_eq!(volumes[4]["read_only"], true);
    assert!(translation.host_files.is_empty());
    assert_eq!(
        translation.compose["volumes"]["claim.dev-alice.data-db-0"]["labels"]["dev.envctl.claim"],
        "dev-alice/data-db-0"
    );
}

#[test]
fn older_engines_get_volumes_split_along_sub_paths() {
    let translation = on(OLD_ENGINE);
    let mounts = |name: &str| -> Vec<String> {
        let volumes = service(&translation, name)["volumes"].as_array().unwrap();
        volumes
            .iter()
            .map(|mount| {
                format!("{} {}", mount["source"].as_str().unwrap(), mount["target"].as_str().unwrap())
            })
            .collect()
    };
    assert!(!translation.compose.to_string().contains("subpath"));
    let split = translation.compose["volumes"]
        .as_object()
        .unwrap()
        .keys()
        .find(|key| key.starts_with("db-0.scratch.tmp-dir-"))
        .unwrap();
    assert_eq!(
        mounts("db-0.prepare"),
        [
            "db-0.scratch /all".to_owned(),
            "db-0.scratch.tmp-dir /all/tmp-dir".to_owned(),
            format!("{split} /all/tmp-dir/cache")
        ]
    );
    let main = mounts("db-0.main");
    assert!(main.contains(&"db-0.scratch.tmp-dir /tmp".to_owned()), "{main:?}");
    assert!(main.contains(&format!("{split} /tmp/cache")), "{main:?}");
    assert!(main.contains(&format!("{split} /cache")), "{main:?}");
    let file = &translation.host_files[0];
    assert_eq!((file.mode, file.content.as_slice()), (0o444, b"a=$b".as_slice()));
    assert!(main.contains(&format!("{} /etc/app.conf", file.path.display())), "{main:?}");
}

#[test]
fn without_a_place_for_files_the_mount_is_a_critical_finding() {
    let input = Input { host_files: None, ..input(parse(STACK, "t").unwrap(), OLD_ENGINE) };
    let translation = translate(&input).unwrap();
    let finding = translation.findings.iter().find(|finding| finding.code == "file-sub-path").unwrap();
    assert_eq!(finding.path, "spec.template.spec.containers[0].volumeMounts[4].subPath");
    assert!(finding.fix.as_ref().unwrap().contains("26"));
}

#[test]
fn memory_is_held_by_the_sandbox() {
    let translation = on(OLD_ENGINE);
    assert_eq!(
        translation.compose["volumes"]["db-0.shm"]["driver_opts"],
        json!({"device": "tmpfs", "o": "mode=0777,size=67108864", "type": "tmpfs"})
    );
    assert_eq!(service(&translation, "db-0")["volumes"][0]["source"], "db-0.shm");
    assert_eq!(
        service(&translation, "db-0.envctl-seed")["depends_on"]["db-0"]["condition"],
        "service_started"
    );
}

#[test]
fn a_claim_is_shared_and_split_alike_for_all_its_pods() {
    let pod = |name: &str, sub_path: &str| {
        format!(
            "---\napiVersion: v1\nkind: Pod\nmetadata: {{name: {name}}}\nspec:\n  containers:\n  - {{name: c, image: 'x:1', volumeMounts: [{{name: v, mountPath: /v{sub_path}}}]}}\n  volumes: [{{name: v, persistentVolumeClaim: {{claimName: shared}}}}]\n"
        )
    };
    let translation = translated(&format!("{}{}", pod("a", ", subPath: s"), pod("b", "")));
    let sources = |name: &str| -> Vec<&str> {
        service(&translation, name)["volumes"]
            .as_array()
            .unwrap()
            .iter()
            .map(|mount| mount["source"].as_str().unwrap())
            .collect()
    };
    assert_eq!(sources("a.c"), ["claim.dev-alice.shared.s"]);
    assert_eq!(sources("b.c"), ["claim.dev-alice.shared", "claim.dev-alice.shared.s"]);
    assert!(
        findings(&translation, "Pod/a")
            .contains(&"undeclared-claim spec.volumes[0].persistentVolumeClaim.claimName".to_owned())
    );
}
