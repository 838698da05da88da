//! Rehearsals of a cutover: machines on Docker, pods on a real Kubernetes, a real HAProxy between them.

use std::path::PathBuf;

use serde_json::{Value, json};

use crate::support::cluster::{Cluster, IMAGE};
use crate::support::{House, Ran, have};

/// Answers HTTP on port 8000 from a few processes, writes a JSON line for each request, and goes on for a while after
/// it was asked to end: until then endpoints have noticed.
const SERVER: &str = r#"
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
        my $status = $path eq '/missing' ? 404 : 200;
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

/// A stack with one component, and the rehearsal of its cutover.
struct Rehearsal {
    house: House,
    plan: Value,
}

impl Rehearsal {
    fn new(cluster: &Cluster, what: &str) -> Self {
        let house = House::raw(cluster, what);
        house.edit("envctl.yaml", |text| {
            text.replace("targets:", "components: {api: {kind: service, criticality: 5}}\ntargets:")
        });
        house.objects(&[
            json!({
                "apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "api"},
                "spec": {"replicas": 2, "selector": {"matchLabels": {"app": "api"}}, "template": {
                    "metadata": {"labels": {"app": "api"}},
                    "spec": {"terminationGracePeriodSeconds": 10, "containers": [{
                        "name": "api", "image": IMAGE, "command": ["perl", "-e", SERVER],
                        "env": [{"name": "GREETING", "value": "hello"}],
                        "readinessProbe": {"tcpSocket": {"port": 8000}, "periodSeconds": 1},
                        "resources": {"requests": {"cpu": "50m", "memory": "64Mi"}},
                    }]}
                }}
            }),
            json!({
                "apiVersion": "v1", "kind": "Service", "metadata": {"name": "api"},
                "spec": {"selector": {"app": "api"}, "ports": [{"port": 80, "targetPort": 8000}]}
            }),
        ]);
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
        std::fs::create_dir(house.src().join("rehearsal")).unwrap();
        for (name, content) in [("old.yaml", &old), ("requests.yaml", &mix)] {
            std::fs::write(house.src().join("rehearsal").join(name), content.to_string()).unwrap();
        }
        let plan = json!({
            "apiVersion": "envctl/v1", "kind": "CutoverPlan", "component": "api",
            "old": {"compose": "old.yaml", "service": "api", "port": 8000, "instances": 2},
            "new": {"target": "dev"},
            "shared": ["store"],
            "router": {"adapter": "haproxy"},
            "traffic": {"rate": "60/s", "clients": ["fresh", "keepalive", "sticky", "ttlIgnoring"], "mix": "requests.yaml"},
            // A busy machine is slow. What is promised here is not what is tried.
            "slo": {"availability": "99%", "p99": "5s"},
            "steps": [
                {"scaleUpNew": {"verify": "everyReplicaReady"}},
                {"sameAnswer": {"sample": 40}},
                {"setWeight": 50, "bake": {"minSamplesPerSide": 120}},
                {"setWeight": 100, "bake": {"minSamplesPerSide": 300}},
                {"drain": {"side": "old", "timeout": "20s"}},
                {"stopOld": {"require": [{"oldIdleFor": "3s"}]}},
            ],
            "faults": [],
            "rollback": {"drill": "everyStep", "maxDuration": "30s", "afterWrites": true},
        });
        Self { house, plan }
    }

    fn path(&self) -> PathBuf {
        self.house.src().join("rehearsal/api.yaml")
    }

    fn run(&self, arguments: &[&str]) -> Ran {
        std::fs::write(self.path(), self.plan.to_string()).unwrap();
        self.house.envctl(&[&["rehearse", "rehearsal/api.yaml"], arguments].concat())
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
    std::fs::write(house.src().join("rehearsal/signers"), &signer.stdout).unwrap();
    let ran = rehearsal.run(&["--seed", "7", "--key", "key.pem"]);
    eprintln!("{}{}", ran.stdout, ran.stderr);
    let ran = ran.exits(0).says("verdict    SUCCESSFUL").says("drill").says("0 left");
    assert!(!ran.stdout.contains("not everything was seen"), "{}", ran.stdout);
    assert_eq!(house.in_cluster(cluster), Vec::<String>::new());
    assert_eq!(house.on_engine(), Vec::<String>::new());

    let verify = ["evidence", "verify", "rehearsal.intoto.jsonl", "--plan", "rehearsal/api.yaml"];
    house.envctl(&verify).exits(0);
    let report = std::fs::read_to_string(house.src().join("rehearsal-report.html")).unwrap();
    assert!(report.contains("setWeight=50") && !report.contains("http://"), "the report is of this plan");
}
