//! What a developer does with an environment that is up, on the laptop: one-off commands, CronJobs, restarts, ports, sleep.

use std::process::{Command, Stdio};

use crate::support::{House, Ran, Running, envctl, have, http};

const CRON_JOB: &str = "
apiVersion: batch/v1
kind: CronJob
metadata: {name: digest}
spec:
  schedule: '0 0 1 1 *'
  jobTemplate:
    spec:
      backoffLimit: 0
      template:
        spec:
          restartPolicy: Never
          containers:
            - name: digest
              image: debian:bookworm-slim
              command: [sh, -c, 'echo digested $MESSAGE; exit {{ .Values.jobExit }}']
              env: [{name: MESSAGE, valueFrom: {configMapKeyRef: {name: web, key: message}}}]
";

/// An environment of the small stack with a CronJob, which is up.
fn up(what: &str) -> House {
    let house = House::small(what);
    std::fs::write(house.src().join("chart/templates/cron.yaml"), CRON_JOB).unwrap();
    house.envctl(&["up"]).exits(0);
    house
}

/// Runs envctl with this as its standard input.
fn fed(house: &House, arguments: &[&str], input: &[u8]) -> Ran {
    let mut command = house.command(envctl());
    command.args(arguments).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().unwrap();
    std::io::Write::write_all(&mut child.stdin.take().unwrap(), input).unwrap();
    Ran::from(child.wait_with_output().unwrap())
}

/// Containers and volumes of the house.
fn made(house: &House) -> Vec<String> {
    let mut all = house.on_engine();
    all.retain(|line| !line.starts_with("image "));
    all
}

/// When the container of the application was started; nothing if none runs.
fn started(house: &House) -> String {
    started_of(house, "web")
}

/// Likewise, of a container of another name.
fn started_of(house: &House, container: &str) -> String {
    let label = format!("label=dev.envctl.environment={}", house.environment());
    let container = format!("label=dev.envctl.container={container}");
    let mut list = Command::new("docker");
    list.args(["ps", "-q", "--filter", &label, "--filter", &container]);
    let ids = Ran::of(&mut list).exits(0).stdout;
    if ids.is_empty() {
        return ids;
    }
    let mut inspect = Command::new("docker");
    inspect.args(["inspect", "--format", "{{.State.StartedAt}}"]).args(ids.split_whitespace());
    Ran::of(&mut inspect).exits(0).stdout
}

#[test]
fn a_command_and_a_job_run_in_pods_of_their_own_and_leave_nothing() {
    if !have(&["docker", "helm"]) {
        return;
    }
    let house = up("oneoff");
    let before = made(&house);
    // What is run is what was delivered, whatever the files say by now.
    house.edit("chart/values.yaml", |text| text.replace("message: hello", "message: edited"));
    let say = "echo $MESSAGE from $HOSTNAME with $(ls /etc/web) and ${#PASSWORD}; exit 4";
    let ran = house.envctl(&["run", "web", "--", "sh", "-c", say]).exits(4);
    let said = ran.stdout.trim();
    assert!(
        said.starts_with("hello from web-run-") && said.ends_with("with message server.pl and 24"),
        "{said}"
    );
    assert_eq!(fed(&house, &["run", "web", "--", "wc", "-c"], b"twelve bytes").exits(0).stdout.trim(), "12");
    house.envctl(&["job", "run", "digest"]).exits(0).says("digested hello");
    assert_eq!(made(&house), before);
    // Ctrl-C removes what was made for it.
    let mut command = house.command(envctl());
    let mut running = Running::start(command.args(["run", "web", "--", "sh", "-c", "echo begun; sleep 600"]));
    running.says("begun");
    Ran::of(Command::new("kill").args(["-INT", &running.id().to_string()])).exits(0);
    running.ends().exits(130);
    assert_eq!(made(&house), before);

    house.envctl(&["run", "shop", "--", "true"]).exits(2).says("there is no component shop").says("web");
    house.envctl(&["job", "run", "web"]).exits(2).says("there is no CronJob web").says("digest");
    house.envctl(&["run", "web", "--container", "x", "--", "true"]).exits(2).says("web has no container x");

    house.envctl(&["up", "--set", "jobExit=3"]).exits(1);
    house.edit("chart/templates/web.yaml", |text| text.replace("exit {{ .Values.jobExit }}", "exit 0"));
    house.envctl(&["up", "--set", "jobExit=3"]).exits(0);
    let before = made(&house);
    let ran = house.envctl(&["job", "run", "digest"]).exits(1).says("exit code 3");
    assert!(ran.stdout.contains("digested edited"), "{}{}", ran.stdout, ran.stderr);
    assert_eq!(made(&house), before);
}

#[test]
fn a_session_goes_on_while_the_environment_is_changed() {
    if !have(&["docker", "helm"]) {
        return;
    }
    let house = up("session");
    let mut command = house.command(envctl());
    command.args(["run", "web", "--", "sh", "-c", "echo begun; read line; echo got $line"]);
    let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    let mut input = child.stdin.take().unwrap();
    let mut out = std::io::BufReader::new(child.stdout.take().unwrap());
    let mut line = String::new();
    std::io::BufRead::read_line(&mut out, &mut line).unwrap();
    assert_eq!(line, "begun\n");
    house.envctl(&["up", "--set", "message=changed"]).exits(0);
    std::io::Write::write_all(&mut input, b"something\n").unwrap();
    line.clear();
    std::io::BufRead::read_line(&mut out, &mut line).unwrap();
    assert_eq!(line, "got something\n");
    assert!(child.wait().unwrap().success());
    house.envctl(&["down", "--yes"]).exits(0).says("0 left");
    assert_eq!(house.on_engine(), [""; 0]);
}

#[test]
fn an_environment_restarts_sleeps_wakes_and_is_reached_by_its_ports() {
    if !have(&["docker", "helm", "curl"]) {
        return;
    }
    let house = up("sleepy");
    let web = format!("web.{}.localhost", house.environment());
    let mut forward = house.command(envctl());
    let mut forward = Running::start(forward.args(["port-forward", "web", ":80"]));
    let said = forward.says("-> web:80").said().to_owned();
    let port = said.split_once(" ->").and_then(|(at, _)| at.rsplit_once(':')?.1.parse().ok()).unwrap();
    for _ in 0..3 {
        let (status, body) = http(port, "anything", "GET", "/", &[], &[]);
        assert_eq!((status, body.starts_with("hello from web")), (200, true), "{body}");
    }

    let before = started(&house);
    house.envctl(&["restart", "web"]).exits(0).says("Deployment/web ✔");
    assert_ne!(started(&house), before);
    assert_eq!(house.get(&web, "/").0, 200);
    assert_eq!(http(port, "anything", "GET", "/", &[], &[]).0, 200, "it leads to who is there by then");
    drop(forward);
    house.envctl(&["restart", "shop"]).exits(2).says("there is no component shop").says("Deployment/web");

    house.envctl(&["sleep"]).exits(0).says("Deployment/web: 1 -> 0").says("sleeps; `envctl wake` wakes it");
    assert_eq!(started(&house), "");
    assert!(house.envctl(&["status", "--json"]).exits(0).json()["asleep"].is_string());
    house
        .envctl(&["restart"])
        .exits(3)
        .says("sleeps: there is nothing to restart")
        .says("type `envctl wake`");
    // As often as one likes.
    house.envctl(&["sleep"]).exits(0);
    house.envctl(&["wake"]).exits(0).says("Deployment/web: 1").says("is awake and ready");
    assert_eq!(house.get(&web, "/").0, 200);
    house.envctl(&["wake"]).exits(0).says("was awake");
    // `up` wakes it, too.
    house.envctl(&["sleep"]).exits(0);
    house.envctl(&["up"]).exits(0);
    assert_eq!(house.get(&web, "/").0, 200);
    assert!(house.envctl(&["status", "--json"]).exits(0).json()["asleep"].is_null());

    house
        .envctl(&["port-forward", "web", "81"])
        .exits(2)
        .says("Service web has no port 81")
        .says("its ports: 80");
    house
        .envctl(&["port-forward", "shop", "80"])
        .exits(2)
        .says("there is no Service and no component `shop`");
    house.envctl(&["down", "--yes"]).exits(0).says("0 left");
    assert_eq!(house.on_engine(), [""; 0]);
}

const MAILER: &str = "
{{- if .Values.mailer.enabled }}
apiVersion: v1
kind: Secret
metadata: {name: mailer}
stringData: {password: {{ randAlphaNum 24 }}}
---
apiVersion: apps/v1
kind: Deployment
metadata: {name: mailer}
spec:
  selector: {matchLabels: {app: mailer}}
  template:
    metadata: {labels: {app: mailer}}
    spec:
      terminationGracePeriodSeconds: 0
      containers:
        - name: mailer
          image: debian:bookworm-slim
          command: [sleep, infinity]
          env: [{name: PASSWORD, valueFrom: {secretKeyRef: {name: mailer, key: password}}}]
{{- end }}
";

#[test]
fn a_part_runs_live_source_and_the_next_up_adds_the_rest_and_takes_it_away() {
    if !have(&["docker", "helm", "curl"]) {
        return;
    }
    let house = House::small("daily");
    std::fs::write(house.src().join("chart/templates/mailer.yaml"), MAILER).unwrap();
    house.edit("chart/values.yaml", |text| text + "mailer: {enabled: true}\n");
    let live = house.src().join("live");
    std::fs::create_dir(&live).unwrap();
    std::fs::write(live.join("message"), "first").unwrap();
    house.edit("envctl.yaml", |text| {
        let command = "[sh, -c, 'MESSAGE=$(cat /live/message) exec perl /etc/web/server.pl']";
        let dev = format!("dev: {{web: {{mounts: ['./live:/live'], command: {command}}}}}");
        text.replace(
            "web: {kind: service}",
            "web: {kind: service}\n  mailer: {kind: worker, enabledBy: mailer.enabled}",
        )
        .replace("{kind: compose}", &format!("{{kind: compose, {dev}}}"))
    });
    let web = format!("web.{}.localhost", house.environment());
    let said = || house.get(&web, "/").1.split(' ').next().unwrap().to_owned();
    let status = || {
        let status = house.envctl(&["status", "--json"]).exits(0).json();
        (status["leftOut"].to_string(), status["live"].to_string())
    };
    let part = ["--only", "web", "--dev"];
    let with = |verb: &'static str, more: &'static str| house.envctl(&[&[verb], &part[..], &[more]].concat());

    assert_eq!(with("plan", "--json").exits(0).json()["leftOut"], serde_json::json!(["mailer"]));
    with("parity", "--json").exits(0).says("live-source").says("not what the image holds");
    with("up", "--json").exits(0);
    assert_eq!(said(), "first");
    assert_eq!(status(), (r#"["mailer"]"#.to_owned(), r#"["web"]"#.to_owned()));
    assert_eq!(started_of(&house, "mailer"), "");
    std::fs::write(live.join("message"), "second").unwrap();
    house.envctl(&["restart", "web"]).exits(0);
    assert_eq!(said(), "second");
    house.envctl(&["logs", "web"]).exits(0).says("listening");

    house.envctl(&["up"]).exits(0).says("mailer ✔");
    assert_eq!(said(), "hello");
    assert_eq!(status(), ("[]".to_owned(), "[]".to_owned()));
    let password = || house.envctl(&["exec", "mailer", "--", "printenv", "PASSWORD"]).exits(0).stdout;
    let drawn = password();
    house.envctl(&["up", "--only", "web"]).exits(0);
    assert_eq!(started_of(&house, "mailer"), "", "each `up` says what runs");
    house.envctl(&["status"]).exits(0).says("left out (--only): mailer; `envctl up` starts all");
    house.envctl(&["up"]).exits(0).says("mailer ✔");
    assert_eq!(password(), drawn, "what was drawn for it is the same when it is back");
    house.envctl(&["down", "--yes"]).exits(0).says("0 left");
    assert_eq!(house.on_engine(), [""; 0]);
}
