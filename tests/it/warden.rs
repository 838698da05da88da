//! The warden: what a kubelet and the controllers of a cluster do, on the laptop. All of it in one environment.

use std::process::Command;
use std::time::{Duration, Instant};

use crate::support::{House, Ran, Running, have};

/// Two whose probes are programs, a CronJob that comes each minute, one whose runs take too long, and one whose runs end
/// later than the next one may begin.
const MORE: &str = "
apiVersion: apps/v1
kind: Deployment
metadata: {name: worker}
spec:
  selector: {matchLabels: {app: worker}}
  template:
    metadata: {labels: {app: worker}}
    spec:
      terminationGracePeriodSeconds: 1
      containers:
        - name: worker
          image: debian:bookworm-slim
          command: [sh, -c, 'touch /tmp/alive; exec sleep 600']
          livenessProbe: {exec: {command: [test, -e, /tmp/alive]}, periodSeconds: 1, failureThreshold: 1}
          lifecycle: {preStop: {exec: {command: [sh, -c, 'echo leaving > /proc/1/fd/1']}}}
---
apiVersion: apps/v1
kind: Deployment
metadata: {name: gate}
spec:
  selector: {matchLabels: {app: gate}}
  template:
    metadata: {labels: {app: gate}}
    spec:
      terminationGracePeriodSeconds: 1
      containers:
        - name: gate
          image: debian:bookworm-slim
          command: [perl, -MIO::Socket::INET, -e, 'my $s = IO::Socket::INET->new(LocalPort => 8000, Listen => 9); while (my $c = $s->accept) { print $c q(open); close $c }']
          readinessProbe: {exec: {command: [test, '!', -e, /tmp/shut]}, periodSeconds: 1, failureThreshold: 1}
---
apiVersion: v1
kind: Service
metadata: {name: gate}
spec: {selector: {app: gate}, ports: [{port: 80, targetPort: 8000}]}
---
apiVersion: batch/v1
kind: CronJob
metadata: {name: slow}
spec:
  schedule: '* * * * *'
  failedJobsHistoryLimit: 2
  jobTemplate:
    spec:
      activeDeadlineSeconds: 3
      template:
        spec:
          restartPolicy: OnFailure
          containers: [{name: slow, image: debian:bookworm-slim, command: [sh, -c, 'trap \"exit 0\" TERM; sleep 600 & wait']}]
---
apiVersion: batch/v1
kind: CronJob
metadata: {name: greedy}
spec:
  schedule: '* * * * *'
  concurrencyPolicy: Replace
  startingDeadlineSeconds: 10
  jobTemplate:
    spec:
      template:
        spec:
          restartPolicy: Never
          terminationGracePeriodSeconds: 13
          containers: [{name: greedy, image: debian:bookworm-slim, command: [sh, -c, 'trap \"\" TERM; while :; do sleep 1; done']}]
---
apiVersion: batch/v1
kind: CronJob
metadata: {name: digest}
spec:
  schedule: '* * * * *'
  concurrencyPolicy: Forbid
  jobTemplate:
    spec:
      backoffLimit: 0
      template:
        spec:
          restartPolicy: Never
          initContainers: [{name: prepare, image: debian:bookworm-slim, command: [sh, -c, 'echo $MESSAGE > /work/message']}]
          containers:
            - name: digest
              image: debian:bookworm-slim
              command: [sh, -c, 'echo $NAME digested $(cat /work/message /etc/web/message)']
          volumes: [{name: work, emptyDir: {}}, {name: web, configMap: {name: web}}]
";

/// Waits for what has to become true, and is told to nobody.
#[track_caller]
fn until(what: &str, mut is_true: impl FnMut() -> bool) {
    let begun = Instant::now();
    while !is_true() {
        assert!(begun.elapsed() < Duration::from_secs(60), "{what}");
        // Each look starts programs.
        std::thread::sleep(Duration::from_millis(100));
    }
}

fn docker(arguments: &[&str]) -> Ran {
    Ran::of(Command::new("docker").args(arguments))
}

#[test]
fn what_a_cluster_does_for_pods_a_warden_does() {
    if !have(&["docker", "helm"]) {
        return;
    }
    let house = House::small("ward");
    // A web server that is sick from the moment it is told so, until it is started again.
    house.edit("chart/templates/web.yaml", |text| {
        text.replace("m{^GET /(ready)? HTTP}", "m{^GET /(ready|alive|sicken)? HTTP}")
            .replace("my ($status, $body)", "$request = '' if $sick;\n      $sick ||= $request =~ m{^GET /sicken };\n      my ($status, $body)")
            .replace(
                "          volumeMounts:",
                "          livenessProbe: {httpGet: {path: /alive, port: http}, periodSeconds: 1, failureThreshold: 2}\n          volumeMounts:",
            )
    });
    let env = "env: [{name: MESSAGE, value: hello}, {name: NAME, valueFrom: {fieldRef: {fieldPath: metadata.name}}}]";
    let mounts = "volumeMounts: [{name: work, mountPath: /work}, {name: web, mountPath: /etc/web}]";
    let more = MORE.replace("> /work/message']}", &format!("> /work/message'], {env}, {mounts}}}")).replace(
        "/etc/web/message)']\n",
        &format!("/etc/web/message)']\n              {env}\n              {mounts}\n"),
    );
    std::fs::write(house.src().join("chart/templates/more.yaml"), more).unwrap();
    let name = house.environment();
    let web = format!("web.{name}.localhost");
    let container = |service: &str| format!("{name}-{service}-1");
    house.envctl(&["up"]).exits(0).says("holds the Engine's socket");
    let mut told = Command::new("docker");
    let mut warden = Running::start(told.args(["logs", "--follow", &container("envctl-warden")]));
    let answers = || house.get(&web, "/").0 == 200;
    assert!(answers());

    // Probes that fail restart, whoever makes them.
    let started = |service: &str| {
        docker(&["inspect", "-f", "{{.State.StartedAt}}", &container(service)]).exits(0).stdout
    };
    let before = (started("web-0.web"), started("worker-0.worker"));
    house.get(&web, "/sicken");
    warden.says("web-0, container web: restarting it: liveness probe: HTTP 404");
    until("the web server answers", || started("web-0.web") != before.0 && answers());
    house.envctl(&["exec", "worker", "--", "rm", "/tmp/alive"]).exits(0);
    warden.says("worker-0, container worker: restarting it: liveness probe: exit code 1");
    until("the worker was started again", || started("worker-0.worker") != before.1);
    house.envctl(&["logs", "worker"]).exits(0).says("leaving");

    // A probe that is a program decides whether Services lead to its pod.
    let asks = "my $s = IO::Socket::INET->new(PeerAddr => 'gate:80', Timeout => 5) or exit 1; exit((<$s> // q()) ne q(open))";
    let is_open =
        || house.envctl(&["exec", "worker", "--", "perl", "-MIO::Socket::INET", "-e", asks]).code == 0;
    assert!(is_open(), "up has waited for it");
    house.envctl(&["exec", "gate", "--", "touch", "/tmp/shut"]).exits(0);
    until("the Service leads nowhere", || !is_open());
    let report = house.envctl(&["status", "--json"]).json();
    let gate = report["pods"].as_array().unwrap().iter().find(|pod| pod["workload"] == "Deployment/gate");
    assert_eq!(gate.map(|pod| &pod["ready"]), Some(&false.into()), "{report}");
    let health = |service: &str| {
        docker(&["inspect", "-f", "{{.State.Health.Status}}", &container(service)])
            .exits(0)
            .stdout
            .trim()
            .to_owned()
    };
    until("the sandbox says so, too", || health("gate-0") == "unhealthy");
    // Who was not there when it happened finds it.
    let warden_name = container("envctl-warden");
    docker(&["stop", &warden_name]).exits(0);
    drop(warden);
    house.envctl(&["exec", "gate", "--", "rm", "/tmp/shut"]).exits(0);
    until("it has happened", || health("gate-0.gate") == "healthy");
    assert!(!is_open(), "nobody has told the sandbox");
    docker(&["start", &warden_name]).exits(0);
    until("the Service leads to it", is_open);
    let mut told = Command::new("docker");
    let mut warden = Running::start(told.args(["logs", "--follow", "--tail=0", &warden_name]));

    // A sandbox that is gone takes its pod along, and all of it comes back.
    docker(&["kill", &container("web-0")]).exits(0);
    warden.says("web-0: starting it anew: its sandbox has ended").says("web-0: started");
    until("the web server answers", answers);
    // As after a reboot: the Engine starts what it finds, in any order, and a member before its sandbox not at all.
    docker(&["stop", &warden_name, &container("web-0.web"), &container("web-0")]).exits(0);
    drop(warden);
    assert_ne!(docker(&["start", &container("web-0.web")]).code, 0);
    docker(&["start", &container("web-0")]).exits(0);
    docker(&["start", &warden_name]).exits(0);
    until("the web server answers", answers);

    // Each minute there is a run, with its own name, and volumes that were filled for it. One that takes too long is ended.
    let mut told = Command::new("docker");
    Running::start(told.args(["logs", "--follow", &warden_name]))
        .says("running it")
        .says("ending it: its `activeDeadlineSeconds` are over")
        .says("has ended");
    let report = house.envctl(&["status", "--json"]).exits(0).json();
    let mut pods = report["pods"].as_array().unwrap().iter();
    // That it ended with code 0 when it was told to end does not make it one that is done.
    let slow =
        pods.clone().find(|pod| pod["workload"] == "CronJob/slow").unwrap_or_else(|| panic!("{report}"));
    assert_eq!(
        (&slow["completed"], &slow["containers"][0]["exitCode"]),
        (&false.into(), &0.into()),
        "{slow}"
    );
    let run = pods.find(|pod| pod["workload"] == "CronJob/digest" && pod["completed"] == true);
    let pod = run.unwrap_or_else(|| panic!("{report}"))["name"].as_str().unwrap();
    house.envctl(&["logs", "digest"]).exits(0).says(&format!("{pod} digested hello hello"));

    // One that goes on is ended for the next one, which comes though that takes longer than it may be late; and who has
    // to wait for it waits for nothing else.
    let mut told = Command::new("docker");
    let mut telling = Running::start(told.args(["logs", "--follow", "--tail=0", &warden_name]));
    telling.says("ending it: the next one is due");
    let ended = telling.said().lines().last().unwrap().to_owned();
    let minute: u64 = ended.split(['-', ':']).nth(1).unwrap().parse().unwrap();
    let before = started("worker-0.worker");
    house.envctl(&["exec", "worker", "--", "rm", "/tmp/alive"]).exits(0);
    telling.says("worker-0, container worker: restarting it: liveness probe: exit code 1");
    until("the worker was started again", || started("worker-0.worker") != before);
    let next = format!("greedy-{}: running it", minute + 1);
    until(&next, || docker(&["logs", &warden_name]).stdout.contains(&next));
    drop(telling);

    // It rests while the environment sleeps, and goes first when that is removed, with all that it has made.
    house.envctl(&["sleep"]).exits(0);
    let running = ["ps", "-q", "--filter", &format!("label=dev.envctl.environment={name}"), "--filter"];
    let running = |more: &str| docker(&[&running[..], &[more]].concat()).exits(0).stdout;
    assert_eq!(running("label=dev.envctl.role=warden"), "");
    assert_eq!(running("label=dev.envctl.due"), "");
    house.envctl(&["wake"]).exits(0);
    assert_ne!(running("label=dev.envctl.role=warden"), "");
    house.envctl(&["down", "--yes"]).exits(0).says("0 left");
    assert_eq!(house.on_engine(), [""; 0]);
}
