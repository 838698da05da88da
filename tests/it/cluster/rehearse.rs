//! Rehearsals of a cutover: machines on Docker, pods on a real Kubernetes, a real HAProxy between them.

mod deaths;
mod mistakes;
mod unfit;

use std::process::Command;
use std::sync::{Mutex, MutexGuard, PoisonError};

use serde_json::{Value, json};

use crate::support::cluster::{Cluster, IMAGE};
use crate::support::{House, Ran, envctl, have};

/// Answers HTTP on port 8000 from a few processes, writes a JSON line for each request, and goes on for a while after
/// it was asked to end: until then endpoints have noticed.
pub(super) const SERVER: &str = r#"
use IO::Socket::INET; use Socket; $| = 1;
my $s = IO::Socket::INET->new(LocalPort => 8000, Listen => 512, ReuseAddr => 1) or die "no port: $!";
my @kids;
for (1 .. 6) {
    my $pid = fork; if ($pid) { push @kids, $pid; next }
    $SIG{TERM} = 'IGNORE';
    while (1) {
        my $c = $s->accept or next;
        my ($head, $buffer) = ('', '');
        while ($head !~ /\r\n\r\n/) { sysread($c, $buffer, 65536) or last; $head .= $buffer }
        my ($first, $body) = split /\r\n\r\n/, $head, 2; $body //= '';
        my ($length) = $first =~ /content-length: *(\d+)/i; $length ||= 0;
        while (length $body < $length) { sysread($c, $buffer, 65536) or last; $body .= $buffer }
        my ($id) = $first =~ /x-request-id: *(\S+)/i; $id //= '';
        my ($path) = $first =~ m{^\S+ (\S+)};
        my $status = $path eq '/missing' ? 404 : $ENV{FAILS} && rand() < $ENV{FAILS} ? 500 : 200;
        my $text = $path eq '/greeting' ? "{\"greeting\":\"$ENV{GREETING}\"}" : "{\"path\":\"$path\"}";
        print $c "HTTP/1.1 $status OK\r\nContent-Type: application/json\r\nContent-Length: " . length($text) .
            "\r\nConnection: close\r\n\r\n$text";
        print "{\"request_id\":\"$id\",\"status\":$status}\n";
        shutdown $c, 1; close $c;
    }
}
$SIG{TERM} = sub { sleep 3; kill 'KILL', @kids; exit 0 };
sleep 1 while 1;
"#;

/// Rehearsals measure: on a small machine two at a time would disturb each other.
pub(super) fn alone() -> MutexGuard<'static, ()> {
    static ALONE: Mutex<()> = Mutex::new(());
    ALONE.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A stack with one component, and the rehearsal of its cutover.
pub(super) struct Rehearsal {
    pub(super) house: House,
    _alone: MutexGuard<'static, ()>,
    /// `plan`, `mix` and `old` are files; `new` says how the Deployment's container is made.
    pub(super) all: Value,
}

impl Rehearsal {
    pub(super) fn new(cluster: &Cluster, what: &str) -> Self {
        let alone = alone();
        let house = House::raw(cluster, what);
        // Called like the house: whatever is made for it can be found.
        let component = house.project.clone();
        house.edit("envctl.yaml", |text| {
            let components = format!("components: {{{component}: {{kind: service, criticality: 5}}}}");
            text.replace("targets:", &format!("{components}\ntargets:"))
        });
        let old = json!({"services": {
            "api": {
                "image": IMAGE, "command": ["perl", "-e", SERVER.replace('$', "$$")],
                "environment": {"GREETING": "hello"},
                "stop_grace_period": "10s", "depends_on": ["store"],
                "healthcheck": {
                    "test": ["CMD", "perl", "-MIO::Socket::INET", "-e",
                        "exit !IO::Socket::INET->new('127.0.0.1:8000')"],
                    "interval": "1s",
                },
            },
            "store": {"image": IMAGE, "command": ["sleep", "infinity"], "stop_grace_period": "0s"},
        }});
        let mix = json!({
            "requests": [
                {"name": "greeting", "weight": 3, "path": "/greeting"},
                {"name": "page", "weight": 5, "path": "/pages/{{ n }}"},
                {"name": "upload", "weight": 2, "method": "POST", "path": "/uploads", "bodySize": 2000},
            ],
            "control": {"every": 50, "request": {"name": "missing", "path": "/missing"}},
        });
        let new = json!({
            "command": ["sh", "-c", "exec perl -e \"$SERVER\""],
            "environment": {"GREETING": "hello", "SERVER": SERVER},
        });
        let plan = json!({
            "apiVersion": "envctl/v1", "kind": "CutoverPlan", "component": component,
            "old": {"compose": "old.yaml", "service": "api", "port": 8000, "instances": 2},
            "new": {"target": "dev"},
            "shared": ["store"],
            "router": {"adapter": "haproxy"},
            "traffic": {"rate": "60/s", "clients": ["fresh", "keepalive", "sticky", "ttlIgnoring"], "mix": "mix.yaml"},
            // A busy machine is slow. What is promised here is not what is tried.
            "slo": {"availability": "99%", "p99": "60s"},
            "steps": [
                {"scaleUpNew": {"verify": "everyReplicaReady"}},
                {"sameAnswer": {"sample": 40}},
                {"setWeight": 50, "bake": {"minSamplesPerSide": 120}},
                {"setWeight": 100, "bake": {"minSamplesPerSide": 300}},
                {"drain": {"side": "old", "timeout": "20s"}},
                {"stopOld": {"require": [{"oldIdleFor": "3s"}]}},
            ],
            "faults": [
                {"at": "setWeight=50", "inject": "killNewPod", "permits": {"failedRequests": 60, "recovery": "5s"}},
                {"at": "setWeight=50", "inject": "slowNew", "permits": {"failedRequests": 0, "recovery": "2s"}},
            ],
            "rollback": {"drill": "everyStep", "maxDuration": "30s", "afterWrites": true},
        });
        let all = json!({"plan": plan, "old": old, "mix": mix, "new": new});
        Self { house, _alone: alone, all }
    }

    /// With a plan that is quickly gone through.
    pub(super) fn short(cluster: &Cluster, what: &str) -> Self {
        let mut rehearsal = Self::new(cluster, what);
        let plan = &mut rehearsal.all["plan"];
        plan["steps"].as_array_mut().unwrap().truncate(4);
        plan["rollback"]["drill"] = json!("lastStep");
        plan["faults"] = json!([]);
        rehearsal
    }

    pub(super) fn objects(&self) -> [Value; 2] {
        let new = &self.all["new"];
        let name = self.house.project.as_str();
        let environment = new["environment"].as_object().unwrap().iter();
        let environment: Vec<_> =
            environment.map(|(key, value)| json!({"name": key, "value": value})).collect();
        [
            json!({
                "apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": name},
                "spec": {"replicas": 2, "selector": {"matchLabels": {"app": name}}, "template": {
                    "metadata": {"labels": {"app": name}},
                    "spec": {"terminationGracePeriodSeconds": 10, "containers": [{
                        "name": name, "image": IMAGE, "command": new["command"], "env": environment,
                        "readinessProbe": {"tcpSocket": {"port": 8000}, "periodSeconds": 1},
                        "resources": {"requests": {"cpu": "50m", "memory": "64Mi"}},
                    }]}
                }}
            }),
            json!({
                "apiVersion": "v1", "kind": "Service", "metadata": {"name": name},
                "spec": {"selector": {"app": name}, "ports": [{"port": 80, "targetPort": 8000}]}
            }),
        ]
    }

    /// `envctl rehearse PLAN ARGUMENTS`, with everything as it is now.
    pub(super) fn command(&self, arguments: &[&str]) -> Command {
        self.house.objects(&self.objects());
        let directory = self.house.src().join("rehearsal");
        std::fs::create_dir_all(&directory).unwrap();
        for name in ["plan", "old", "mix"] {
            std::fs::write(directory.join(format!("{name}.yaml")), self.all[name].to_string()).unwrap();
        }
        let mut command = self.house.command(envctl());
        command.args(["rehearse", "rehearsal/plan.yaml"]).args(arguments);
        command
    }

    pub(super) fn run(&self, arguments: &[&str]) -> Ran {
        Ran::of(&mut self.command(arguments))
    }

    /// What there is because of it: in the cluster, on the Engine, in the state directory.
    pub(super) fn left(&self, cluster: &Cluster) -> Vec<String> {
        let mut left = self.house.in_cluster(cluster);
        left.extend(self.house.on_engine());
        let kept = std::fs::read_dir(self.house.state().join("rehearsals")).into_iter().flatten();
        left.extend(kept.map(|entry| entry.unwrap().path().display().to_string()));
        left
    }
}

impl Drop for Rehearsal {
    fn drop(&mut self) {
        let mut kept = std::fs::read_dir(self.house.state().join("rehearsals")).into_iter().flatten();
        if kept.next().is_some() {
            self.run(&["--abort"]);
        }
    }
}

#[test]
fn a_service_that_moves_as_it_should_passes_and_leaves_nothing() {
    let Some(cluster) = Cluster::shared() else { return };
    if !have(&["docker", "helm"]) {
        return;
    }
    let rehearsal = Rehearsal::new(cluster, "krehearse");
    let house = &rehearsal.house;
    let signer = house.envctl(&["evidence", "keygen", "key.pem", "--signer", "aki"]).exits(0);
    std::fs::create_dir(house.src().join("rehearsal")).unwrap();
    std::fs::write(house.src().join("rehearsal/signers"), &signer.stdout).unwrap();
    let ran = rehearsal.run(&["--seed", "7", "--key", "key.pem"]);
    eprintln!("{}{}", ran.stdout, ran.stderr);
    let ran = ran.exits(0).says("verdict    SUCCESSFUL").says("drill").says("0 left");
    assert!(!ran.stdout.contains("not everything was seen"), "{}", ran.stdout);
    assert_eq!(rehearsal.left(cluster), [""; 0]);

    let verify = ["evidence", "verify", "rehearsal.intoto.jsonl", "--plan", "rehearsal/plan.yaml"];
    house.envctl(&verify).exits(0);
    let report = std::fs::read_to_string(house.src().join("rehearsal-report.html")).unwrap();
    assert!(report.contains("setWeight=50") && !report.contains("http://"), "the report is of this plan");
}
