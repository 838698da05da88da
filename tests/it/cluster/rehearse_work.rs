//! Rehearsals of cutovers of what answers nobody: workers take jobs from one queue, which is outside of both sides, and
//! what runs at certain times is told there.

use std::io::{BufRead as _, BufReader};
use std::process::{Child, Command, Stdio};
use std::sync::MutexGuard;

use serde_json::{Value, json};

use super::rehearse::alone;
use crate::support::cluster::{Cluster, IMAGE};
use crate::support::{House, Ran, have, root};

/// Asks the queue one thing.
const ASK: &str = r#"
use IO::Socket::INET; $| = 1;
sub ask {
    my $s = IO::Socket::INET->new(PeerAddr => $ENV{QUEUE}) or return '';
    print $s "@_\n"; my $answer = <$s>; chomp($answer //= ''); $answer
}
"#;

/// Takes jobs, and ends when it is asked to and has nothing in hand. `FIRST` has the effect before the work is done.
const WORKER: &str = r#"
chomp(my $host = `hostname`); my $on = 1; $SIG{TERM} = sub { $on = 0 };
while ($on) {
    my ($id, $class, $seconds) = split ' ', ask('take', $host);
    if (!$seconds) { select undef, undef, undef, 0.1; next }
    ask('effect', $id, $host) if $ENV{FIRST};
    # A signal ends a sleep early.
    select undef, undef, undef, 0.05 for 1 .. $seconds / 0.05;
    ask('effect', $id, $host) unless $ENV{FIRST};
    ask('delete', $id);
}
"#;

/// The plan's `work.enqueue`.
const ENQUEUE: &str = r#"
while (my $line = <STDIN>) {
    my ($id, $class, $seconds) = $line =~ /"job":"([^"]+)","class":"([^"]+)","seconds":([0-9.e-]+)/;
    my $is = ask('put', $id, $class, $seconds) eq 'ok' ? '"enqueued":true' : '"error":"the queue does not answer"';
    print "{\"job\":\"$id\",$is}\n";
}
"#;

/// The plan's `work.ledger`.
const LEDGER: &str = r#"
my $s = IO::Socket::INET->new(PeerAddr => $ENV{QUEUE}) or die "no queue at $ENV{QUEUE}";
print $s "ledger\n"; print while <$s>;
"#;

fn script(what: &str) -> Vec<String> {
    ["perl", "-e"].into_iter().map(str::to_owned).chain([format!("{ASK}{what}")]).collect()
}

/// The queue, on this machine. It ends with this.
struct Queue {
    child: Child,
    address: String,
}

impl Queue {
    fn start() -> Self {
        let mut python = Command::new("python3");
        let python = python.arg(root().join("tests/support/queue.py")).arg("20");
        let mut child = python.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        let mut address = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut address).unwrap();
        Self { child, address: address.trim().to_owned() }
    }
}

impl Drop for Queue {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A stack with a worker, and the rehearsal of its cutover.
struct Rehearsal {
    house: House,
    _alone: MutexGuard<'static, ()>,
    plan: Value,
    queue: Queue,
}

impl Rehearsal {
    /// `grace` is what the chart gives a pod to end in, in seconds, and `more` variables of its own.
    fn new(cluster: &Cluster, what: &str, grace: u32, more: &[(&str, &str)]) -> Self {
        let queue = Queue::start();
        let alone = alone();
        let house = House::raw(cluster, what);
        house.edit("envctl.yaml", |text| {
            text.replace("targets:", "components: {worker: {kind: worker, criticality: 3}}\ntargets:")
        });
        let for_pods = cluster.ctl(&["forward", &format!("to={}", queue.address)]);
        let more = more.iter().map(|(name, value)| json!({"name": name, "value": value}));
        let env: Vec<Value> =
            [json!({"name": "QUEUE", "value": for_pods["address"]})].into_iter().chain(more).collect();
        house.objects(&[json!({
            "apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "worker"},
            "spec": {"replicas": 2, "selector": {"matchLabels": {"app": "worker"}}, "template": {
                "metadata": {"labels": {"app": "worker"}},
                "spec": {"terminationGracePeriodSeconds": grace, "containers": [{
                    "name": "worker", "image": IMAGE, "command": script(WORKER), "env": env,
                    "resources": {"requests": {"cpu": "50m", "memory": "64Mi"}},
                }]}
            }}
        })]);
        let command: Vec<_> = script(WORKER).iter().map(|word| word.replace('$', "$$")).collect();
        let environment = json!({"QUEUE": queue.address});
        let old = json!({"services": {
            "worker": {"image": IMAGE, "command": command, "environment": environment, "stop_grace_period": "10s"},
            // Where one looks into the queue from.
            "jobs": {
                "image": IMAGE, "command": ["sleep", "infinity"], "environment": environment,
                "stop_grace_period": "0s",
            },
        }});
        std::fs::create_dir(house.src().join("rehearsal")).unwrap();
        std::fs::write(house.src().join("rehearsal/old.yaml"), old.to_string()).unwrap();
        let plan = json!({
            "apiVersion": "envctl/v1", "kind": "CutoverPlan", "component": "worker",
            "old": {"compose": "old.yaml", "service": "worker", "instances": 2},
            "new": {"target": "dev"},
            "shared": ["jobs"],
            "work": {
                "rate": "5/s",
                "jobs": [{"class": "mail", "longest": "500ms"}, {"class": "thumbnail", "longest": "3s"}],
                "enqueue": {"service": "jobs", "command": script(ENQUEUE)},
                "ledger": {"service": "jobs", "command": script(LEDGER)},
                "backlog": 60,
            },
            "steps": [
                "scaleUpNew",
                {"handover": 1},
                {"drain": {"side": "old", "timeout": "20s"}},
                {"stopOld": {"require": [{"oldIdleFor": "3s"}]}},
            ],
            "faults": [],
            "rollback": {"drill": "everyStep", "maxDuration": "30s", "afterWrites": true},
        });
        Self { house, _alone: alone, plan, queue }
    }

    fn run(&self, arguments: &[&str]) -> Ran {
        std::fs::write(self.house.src().join("rehearsal/worker.yaml"), self.plan.to_string()).unwrap();
        let ran = self.house.envctl(&[&["rehearse", "rehearsal/worker.yaml"], arguments].concat());
        eprintln!("{}{}", ran.stdout, ran.stderr);
        ran
    }
}

#[test]
fn a_worker_that_moves_as_it_should_passes() {
    let Some(cluster) = Cluster::shared() else { return };
    if !have(&["docker", "helm", "python3"]) {
        return;
    }
    let rehearsal = Rehearsal::new(cluster, "kwork", 10, &[]);
    let house = &rehearsal.house;
    let signer = house.envctl(&["evidence", "keygen", "key.pem", "--signer", "aki"]).exits(0);
    std::fs::write(house.src().join("rehearsal/signers"), &signer.stdout).unwrap();
    let ran = rehearsal.run(&["--seed", "7", "--key", "key.pem"]);
    let ran = ran.exits(0).says("verdict    SUCCESSFUL").says("everyJobOnce").says("0 left");
    assert!(!ran.stdout.contains("not everything was seen"), "{}", ran.stdout);
    assert_eq!(house.in_cluster(cluster), Vec::<String>::new());
    assert_eq!(house.on_engine(), Vec::<String>::new());
    let verify = ["evidence", "verify", "rehearsal.intoto.jsonl", "--plan", "rehearsal/worker.yaml"];
    house.envctl(&verify).exits(0);
}

/// A job that is cut off is given out again. Where the effect comes first, the card is charged twice.
#[test]
fn a_grace_period_shorter_than_the_longest_job_is_caught() {
    let Some(cluster) = Cluster::shared() else { return };
    if !have(&["docker", "helm", "python3"]) {
        return;
    }
    let mut rehearsal = Rehearsal::new(cluster, "kgrace", 1, &[("FIRST", "yes")]);
    // Every pod has something in hand when it ends, and what it had comes again while the next step is watched.
    rehearsal.plan["work"]["rate"] = json!("3/s");
    rehearsal.plan["work"]["jobs"] = json!([{"class": "thumbnail", "longest": "6s"}]);
    rehearsal.plan["work"]["backlog"] = json!(300);
    rehearsal.plan["steps"][1] = json!({"handover": 1, "bake": {"atLeast": "30s"}});
    let ran = rehearsal.run(&["--seed", "7"]).exits(4);
    let ran = ran.says("verdict    FAILED").says("at step 2 (handover=1), gate everyJobOnce");
    let ran = ran.says("raise the grace period above");
    assert!(ran.stdout.contains("grace period ran twice"), "{}", ran.stdout);
    assert_eq!(rehearsal.house.in_cluster(cluster), Vec::<String>::new());
    assert_eq!(rehearsal.house.on_engine(), Vec::<String>::new());
}

/// Runs every minute while there is a crontab. One that was taken out of it runs on to its end.
const CRON: &str = r#"
chomp(my $host = `hostname`); my $last = int(time / 60); $SIG{TERM} = sub { exit 0 };
# A machine that starts again has the crontab that it had.
unless (-e '/installed') { open my $f, '>>', $_ for '/installed', '/crontab' }
while (1) {
    select undef, undef, undef, 0.1; my $minute = int(time / 60);
    next if $minute == $last; $last = $minute;
    next unless -e '/crontab';
    ask('run', 'digest', "$host-$minute", 'started', $host); select undef, undef, undef, 1;
    ask('run', 'digest', "$host-$minute", 'succeeded', $host);
}
"#;

/// The same, once.
const RUN: &str = r#"
chomp(my $host = `hostname`);
ask('run', 'digest', $host, 'started', $host); select undef, undef, undef, 1;
ask('run', 'digest', $host, 'succeeded', $host);
"#;

/// The plan's `timetable.ledger`.
const RUNS: &str = r#"
my $s = IO::Socket::INET->new(PeerAddr => $ENV{QUEUE}) or die "no queue at $ENV{QUEUE}";
print $s "runs\n"; print while <$s>;
"#;

#[test]
fn a_crontab_that_moves_as_it_should_misses_and_doubles_no_tick() {
    let Some(cluster) = Cluster::shared() else { return };
    if !have(&["docker", "helm", "python3"]) {
        return;
    }
    let mut rehearsal = Rehearsal::new(cluster, "kcron", 10, &[]);
    let house = &rehearsal.house;
    let queue = &rehearsal.queue.address;
    house.edit("envctl.yaml", |text| {
        text.replace("worker: {kind: worker, criticality: 3}", "batch: {kind: schedule, criticality: 2}")
    });
    let for_pods = cluster.ctl(&["forward", &format!("to={queue}")]);
    house.objects(&[json!({
        "apiVersion": "batch/v1", "kind": "CronJob", "metadata": {"name": "digest"},
        "spec": {
            "schedule": "* * * * *", "timeZone": "Etc/UTC", "suspend": true, "concurrencyPolicy": "Forbid",
            "startingDeadlineSeconds": 10,
            "jobTemplate": {"spec": {"backoffLimit": 0, "template": {"spec": {
                "restartPolicy": "Never", "containers": [{
                    "name": "digest", "image": IMAGE, "command": script(RUN),
                    "env": [{"name": "QUEUE", "value": for_pods["address"]}],
                    "resources": {"requests": {"cpu": "50m", "memory": "64Mi"}},
                }]
            }}}}
        }
    })]);
    let command: Vec<_> = script(CRON).iter().map(|word| word.replace('$', "$$")).collect();
    let environment = json!({"QUEUE": queue});
    let old = json!({"services": {
        "batch": {"image": IMAGE, "command": command, "environment": environment},
        "jobs": {
            "image": IMAGE, "command": ["sleep", "infinity"], "environment": environment, "stop_grace_period": "0s",
        },
    }});
    std::fs::write(house.src().join("rehearsal/old.yaml"), old.to_string()).unwrap();
    rehearsal.plan = json!({
        "apiVersion": "envctl/v1", "kind": "CutoverPlan", "component": "batch",
        "old": {"compose": "old.yaml", "service": "batch", "instances": 1},
        "new": {"target": "dev"},
        "shared": ["jobs"],
        "timetable": {
            "entries": [{"name": "digest", "schedule": "* * * * *"}], "timeZone": "UTC", "tolerance": "10s",
            "ledger": {"service": "jobs", "command": script(RUNS)},
            "disarm": {"service": "batch", "command": ["rm", "-f", "/crontab"]},
            "arm": {"service": "batch", "command": ["touch", "/crontab"]},
        },
        "steps": [
            "scaleUpNew", "disarmOld", "armNew",
            {"stopOld": {"require": [{"oldIdleFor": "3s"}]}, "bake": {"atLeast": "5s"}},
        ],
        "faults": [],
        "rollback": {"drill": "everyStep", "maxDuration": "60s", "afterWrites": true},
    });
    let ran = rehearsal.run(&["--seed", "7"]).exits(0);
    let ran = ran.says("verdict    SUCCESSFUL").says("everyTickOnce").says("0 left");
    assert!(!ran.stdout.contains("not everything was seen"), "{}", ran.stdout);
    assert_eq!(rehearsal.house.in_cluster(cluster), Vec::<String>::new());
    assert_eq!(rehearsal.house.on_engine(), Vec::<String>::new());
}
