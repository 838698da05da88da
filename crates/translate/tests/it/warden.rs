//! What the warden is given, and what is said where there is none.

use envctl_model::finding::Fate;
use envctl_translate::{Warden, parse, translate};
use envctl_wire::{Concurrency, CronJob, ExecProbe, HealthCheck, ProbeKind, SandboxConfig, WardenConfig};
use serde_json::json;

use crate::support::{OLD_ENGINE, config, errors, findings, hashes, input, service, translated};

const STACK: &str = r#"
apiVersion: batch/v1
kind: CronJob
metadata: {name: digest}
spec:
  schedule: "0 7 * * 1-5"
  timeZone: Asia/Tokyo
  concurrencyPolicy: Forbid
  startingDeadlineSeconds: 300
  failedJobsHistoryLimit: 0
  jobTemplate:
    metadata: {labels: {a: b}}
    spec:
      backoffLimit: 2
      activeDeadlineSeconds: 60
      ttlSecondsAfterFinished: 60
      template:
        metadata: {labels: {app: web}}
        spec:
          restartPolicy: Never
          activeDeadlineSeconds: 90
          nodeSelector: {a: b}
          containers: [{name: main, image: "x:1"}]
---
apiVersion: apps/v1
kind: Deployment
metadata: {name: web}
spec:
  template:
    metadata: {labels: {app: web}}
    spec:
      containers:
      - name: main
        image: "x:1"
        livenessProbe: {exec: {command: [check, "$HOME"]}, periodSeconds: 5}
---
apiVersion: v1
kind: Service
metadata: {name: web}
spec: {selector: {app: web}, ports: [{port: 80}]}
"#;

#[test]
fn the_pods_of_a_cron_job_are_made_and_not_started() {
    let translation = translated(STACK);
    let names = |pods: &[envctl_translate::Pod]| pods.iter().map(|pod| pod.name.clone()).collect::<Vec<_>>();
    assert_eq!(
        (names(&translation.pods), names(&translation.templates)),
        (vec!["web-0".to_owned()], vec!["digest-0".to_owned()])
    );
    let main = service(&translation, "digest-0.main");
    let schedule: CronJob =
        serde_json::from_str(main["labels"]["dev.envctl.schedule"].as_str().unwrap()).unwrap();
    assert_eq!(
        schedule,
        CronJob {
            name: "digest".to_owned(),
            schedule: "0 7 * * 1-5".to_owned(),
            time_zone: Some("Asia/Tokyo".to_owned()),
            concurrency: Concurrency::Forbid,
            starting_deadline_seconds: Some(300),
            suspend: false,
            successful_history: 3,
            failed_history: 0,
        }
    );
    assert_eq!(
        (&main["restart"], &main["labels"]["dev.envctl.workload"]),
        (&json!("on-failure:2"), &json!("CronJob/digest"))
    );
    assert!(service(&translation, "web-0.main")["labels"].get("dev.envctl.schedule").is_none());
    // The shorter of the Job's and its pods', on what the pod's time counts from.
    assert_eq!(service(&translation, "digest-0")["labels"]["dev.envctl.deadline"], "60");
    assert_eq!(service(&translation, "web-0")["labels"].get("dev.envctl.deadline"), None);
    assert_eq!(translation.services[0].backends.len(), 1, "no Service leads to what comes and goes");
    assert_eq!(
        findings(&translation, "CronJob/digest"),
        [
            "deadline spec.jobTemplate.spec.activeDeadlineSeconds",
            "deadline spec.jobTemplate.spec.template.spec.activeDeadlineSeconds",
            "job-retry spec.jobTemplate.spec.template.spec.restartPolicy",
            "job-retention spec.jobTemplate.spec.ttlSecondsAfterFinished",
            "scheduling spec.jobTemplate.spec.template.spec.nodeSelector",
        ]
    );
    // Another time is another template, and no other pod.
    let later = translated(&STACK.replace("0 7 * * 1-5", "0 8 * * 1-5"));
    assert_eq!(hashes(&later), hashes(&translation));
    assert_ne!(later.templates[0].hash, translation.templates[0].hash);
}

#[test]
fn times_that_a_cluster_refuses_are_errors_with_their_place() {
    let wrong = STACK
        .replace("0 7 * * 1-5", "0 25 * * *")
        .replace("Asia/Tokyo", "Asia/Tokio")
        .replace("Forbid", "Wait");
    assert_eq!(
        errors(&wrong),
        [
            "CronJob/digest spec.schedule: `25` is no hour: 0 to 23, a range such as 0-23, or a step such as */2 (test.yaml:1)",
            "CronJob/digest spec.timeZone: `Asia/Tokio` is not a time zone such as Asia/Tokyo (test.yaml:1)",
            "CronJob/digest spec.concurrencyPolicy: `Wait` is not Allow, Forbid or Replace (test.yaml:1)",
        ]
    );
}

#[test]
fn the_warden_has_the_socket_and_no_network() {
    let translation = translated(STACK);
    let warden = service(&translation, "envctl-warden");
    assert_eq!((&warden["network_mode"], &warden["cap_drop"]), (&json!("none"), &json!(["ALL"])));
    assert_eq!(warden["volumes"][0]["source"], "/var/run/docker.sock");
    let config: WardenConfig = config(&translation, "envctl-warden");
    assert_eq!(config.lock, "envctl-lock-album-aki");
    let label = service(&translation, "web-0.main")["labels"]["dev.envctl.probes"]
        .as_str()
        .unwrap()
        .replace("$$", "$");
    let probes: Vec<ExecProbe> = serde_json::from_str(&label).unwrap();
    assert_eq!(probes[0].check.command, ["check", "$HOME"]);
    assert_ne!(
        hashes(&translation),
        hashes(&translated(&STACK.replace("periodSeconds: 5", "periodSeconds: 6")))
    );
}

#[test]
fn a_sandbox_waits_for_the_health_checks_of_which_a_warden_tells() {
    let probed = |probes: &str| STACK.replace("livenessProbe:", &format!("{probes}\n        livenessProbe:"));
    let checks = |yaml: &str| {
        let translation = translated(yaml);
        let told = translation.findings.iter().any(|finding| finding.code == "exec-probe");
        (config::<SandboxConfig>(&translation, "web-0").health_checks, told)
    };
    let check = |kind| vec![HealthCheck { container: "main".to_owned(), kind }];
    let (startup, readiness) =
        ("startupProbe: {exec: {command: [a]}}", "readinessProbe: {exec: {command: [b]}}");
    assert_eq!(checks(STACK), (vec![], false));
    assert_eq!(checks(&probed(startup)), (check(ProbeKind::Startup), false));
    assert_eq!(checks(&probed(readiness)), (check(ProbeKind::Readiness), false));
    let both = checks(&probed(&format!("{startup}\n        {readiness}")));
    assert_eq!(both, (check(ProbeKind::Readiness), true), "a container has one health check");
    let mut input = input(parse(&probed(readiness), "test.yaml").unwrap(), OLD_ENGINE);
    input.warden = Warden::Off("not here");
    let translation = translate(&input).unwrap();
    assert_eq!(config::<SandboxConfig>(&translation, "web-0").health_checks, []);
    let told = translation.findings.iter().find(|finding| finding.code == "exec-probe").unwrap();
    assert_eq!(told.message, "Services send requests before it has succeeded: not here");
}

#[test]
fn without_a_warden_all_that_it_would_do_is_a_finding_with_the_reason() {
    let mut input = input(parse(STACK, "test.yaml").unwrap(), OLD_ENGINE);
    input.warden = Warden::Off("the target says `warden: false`");
    let translation = translate(&input).unwrap();
    assert!(
        translation.compose["services"].get("envctl-warden").is_none() && translation.templates.is_empty()
    );
    let told: Vec<_> = translation
        .findings
        .iter()
        .map(|finding| (finding.code.as_str(), finding.fate, finding.message.as_str()))
        .collect();
    assert!(
        told.contains(&("cron-job", Fate::Dropped, "is not scheduled here: the target says `warden: false`")),
        "{told:?}"
    );
    let liveness = (
        "liveness-not-restarted",
        Fate::Approximated,
        "the probe is not run: the target says `warden: false`",
    );
    assert!(told.contains(&liveness), "{told:?}");
    let members =
        "the target says `warden: false`: a pod whose sandbox is restarted stays out of the network";
    assert!(told.contains(&("no-warden", Fate::Approximated, members)), "{told:?}");
}

#[test]
fn an_interval_is_no_reason_to_refuse_a_chart() {
    let translation = translated(&STACK.replace("0 7 * * 1-5", "@every 1h"));
    let main = service(&translation, "digest-0.main");
    let schedule: CronJob =
        serde_json::from_str(main["labels"]["dev.envctl.schedule"].as_str().unwrap()).unwrap();
    assert!(schedule.suspend);
    let said = findings(&translation, "CronJob/digest");
    assert!(said.iter().any(|finding| finding == "cron-job spec.schedule"), "{said:?}");
}
