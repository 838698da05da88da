//! What fields mean, by behaviour: mimics tell what they see, in one environment for all rows.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{Read as _, Write as _};
use std::net::{Ipv4Addr, TcpListener};
use std::time::{Duration, Instant};

use crate::support::disk::SmallDisk;
use crate::support::{House, Ran, free_port, have, root};

/// A row: what it is about, what shows it in the container, and what has to be seen.
type Row = (&'static str, &'static str, &'static str);

/// Seen by `box-0`.
const BOX: &[Row] = &[
    ("command, args, $(VAR)", "cat /work/said", "hello box $(GREETING)"),
    ("workingDir", "pwd", "/srv"),
    ("env, envFrom, secretKeyRef", "echo $TOKEN $P_LEVEL", "s$cret info"),
    (
        "fieldRef",
        "echo $POD $NS $NODE $ACCOUNT $TIER $NOTE",
        "box-0 ENVIRONMENT localhost teller v1 remarkable",
    ),
    ("fieldRef status.podIP", "getent ahostsv4 box-0.box | grep -q \"^$IP \" && echo mine", "mine"),
    ("resourceFieldRef, divisor", "echo $CPU", "1500"),
    ("LimitRange: limits", "echo $MEMORY", "96"),
    (
        "LimitRange: enforced",
        "cat /sys/fs/cgroup/memory/memory.limit_in_bytes /sys/fs/cgroup/memory.max 2>/dev/null",
        "100663296",
    ),
    ("service links", "echo $WEB_SERVICE_PORT $WEB_SERVICE_PORT_HTTP $WEB_PORT_80_TCP_PROTO", "80 80 tcp"),
    ("initContainers, native sidecar: order", "tr '\\n' ' ' < /work/order", "first proxy second "),
    ("native sidecar: runs on", "grep -ls ^sleep /proc/[0-9]*/comm | wc -l", "1"),
    ("shareProcessNamespace", "tr '\\0' ' ' < /proc/1/cmdline", "/envctl-agent pause "),
    ("lifecycle.postStart", "cat /work/started", "box-0"),
    ("runAsUser, runAsGroup", "echo $(id -u) $(id -g)", "1000 1001"),
    ("supplementalGroups, fsGroup", "id -G | tr ' ' '\\n' | sort -n | tr '\\n' ' '", "1001 3000 4000 "),
    ("allowPrivilegeEscalation", "grep NoNewPrivs /proc/self/status | tr -d '[:space:]'", "NoNewPrivs:1"),
    ("capabilities", "grep CapBnd /proc/self/status | tr -d '[:space:]'", "CapBnd:0000000000000400"),
    ("seccompProfile RuntimeDefault", "grep ^Seccomp: /proc/self/status | tr -d '[:space:]'", "Seccomp:2"),
    ("readOnlyRootFilesystem", "touch /x 2>&1 | grep -o 'Read-only file system'", "Read-only file system"),
    ("sysctls", "cat /proc/sys/net/core/somaxconn", "1777"),
    ("hostAliases", "getent hosts alias.example | tr -s ' '", "192.0.2.7 alias.example"),
    (
        "dnsConfig, search list",
        "grep -v ^nameserver /etc/resolv.conf",
        "search ENVIRONMENT.svc.cluster.local svc.cluster.local cluster.local\noptions ndots:3 timeout:2",
    ),
    ("hostname, subdomain", "hostname; hostname -f", "box-0\nbox-0.box.ENVIRONMENT.svc.cluster.local"),
    (
        "headless Service: per-pod names",
        "getent hosts box-1.box.ENVIRONMENT | tr -s ' ' | cut -d' ' -f2",
        "box-1.box.ENVIRONMENT.svc.cluster.local",
    ),
    ("emptyDir, fsGroup", "stat -c '%a %g' /work", "2777 3000"),
    ("emptyDir Memory, sizeLimit", "df --output=fstype,size -k /memory | tail -1 | tr -s ' '", "tmpfs 8192"),
    ("volumeClaimTemplates, fsGroup", "touch /data/x && stat -c %g /data/x", "3000"),
    (
        "configMap, defaultMode",
        "cd /settings && ls && stat -Lc '%a %g' LEVEL && cat app.conf && wc -c < blob",
        "LEVEL\napp.conf\nblob\nextra\n440 3000\na=$b3",
    ),
    ("..data", "readlink /settings/LEVEL", "..data/LEVEL"),
    ("secret, items, defaultMode", "cat /keys/deep/token; stat -Lc ' %a' /keys/deep/token", "s$cret 440"),
    ("projected", "cd /all && cat sub/extra user && stat -Lc ' %a' sub/extra user", "moreme 444\n 640"),
    ("serviceAccountToken", "cat /all/token", "no-api-server"),
    ("downwardAPI", "cat /all/cpu; grep tier /all/labels", "2tier=\"v1\""),
    ("subPath of a file", "cat /etc/app.conf", "a=$b"),
    ("subPath of a directory", "echo seen > /cache/f && cat /whole/a/b/f", "seen"),
    ("subPathExpr", "echo own > /own/f && cat /whole/$POD/f", "own"),
    (
        "volumeMounts.readOnly",
        "touch /read-only/x 2>&1 | grep -o 'Read-only file system'",
        "Read-only file system",
    ),
    (
        "Service: targetPort, replicas",
        "for i in 1 2 3 4 5 6; do perl /mimic/get.pl web 80; done | sort -u",
        "web-0 /\nweb-1 /",
    ),
    ("sessionAffinity", "for i in 1 2 3 4 5 6; do perl /mimic/get.pl sticky 80; done | sort -u | wc -l", "1"),
    ("ExternalName", "perl /mimic/get.pl other 80 | cut -c1-4", "web-"),
    ("Service without selector, EndpointSlice", "perl /mimic/get.pl outside 80", "outside"),
    ("defaultBackend", "perl /mimic/get.pl 127.0.0.1 ROUTER_PORT | cut -c1-4", "web-"),
    ("Job: completions, parallelism, Indexed, backoffLimit", "tr '\\n' ' ' < /ledger/jobs", "0 0 1 1 2 2 "),
];

/// Seen by the pod of `bare`, a ReplicaSet.
const BARE: &[Row] = &[
    ("tty, stdin", "readlink /proc/1/fd/0 | tr -d 0-9", "/dev/pts/"),
    ("setHostnameAsFQDN", "hostname", "bare.far.ENVIRONMENT.svc.cluster.local"),
    ("enableServiceLinks: false", "env | grep -c _SERVICE_HOST", "0"),
    ("dnsPolicy None", "cat /etc/resolv.conf", "nameserver 192.0.2.53\nsearch example.test\noptions rotate"),
    ("seccompProfile Unconfined", "grep ^Seccomp: /proc/self/status | tr -d '[:space:]'", "Seccomp:0"),
];

/// Seen by the pod of `rough`, a Rollout. What stands in capitals the test knows of itself: it is on the Engine's machine.
const ROUGH: &[Row] = &[
    ("hostPID", "[ -d /proc/TEST_PID ] && echo seen", "seen"),
    ("hostIPC", "readlink /proc/self/ns/ipc", "TEST_IPC"),
    ("hostPath", "cat /host/greeting; touch /host/x 2>&1 | grep -o 'Read-only'", "hello\nRead-only"),
    ("restartPolicy Always", "until [ -e /own/starts ]; do sleep 0.1; done; cat /own/starts", "again"),
    ("readinessProbe grpc", "cat /own/asked", "asked"),
    ("ephemeral", "touch /own/x && stat -c %a /own", "755"),
    (
        "Certificate",
        "cd /tls && grep -c 'BEGIN CERT' tls.crt ca.crt && grep -c 'BEGIN PRIVATE' tls.key",
        "tls.crt:1\nca.crt:1\n1",
    ),
];

/// Seen by the pods of `odd`, a StatefulSet that asks for what is not there on one machine.
const ODD: &[Row] = &[
    ("podManagementPolicy OrderedReady", "head -3 /ledger/odd", "odd-0 begins\nodd-0 is ready\nodd-1 begins"),
    ("hostNetwork", "net=$(readlink /proc/self/ns/net) && [ $net != TEST_NET ] && echo own", "own"),
    ("image, csi, nfs", "touch /image/x /csi/x /nfs/x && find /image /csi /nfs -type f | wc -l", "3"),
    ("volumeDevices", "ls /dev/block 2>&1 | grep -o 'No such file'", "No such file"),
    ("suspend", "ls /ledger/held 2>&1 | grep -o 'No such file'", "No such file"),
    ("NetworkPolicy", "getent hosts web | wc -l", "1"),
];

/// What is told of it.
const TOLD: &[(&str, &str)] = &[
    ("StatefulSet/odd", "host-network"),
    ("StatefulSet/odd", "scheduling"),
    ("StatefulSet/odd", "runtime-class"),
    ("StatefulSet/odd", "image-pull-secret"),
    ("StatefulSet/odd", "readiness-gate"),
    ("StatefulSet/odd", "stdin-once"),
    ("StatefulSet/odd", "resource"),
    ("StatefulSet/odd", "security-profile"),
    ("StatefulSet/odd", "termination-message"),
    ("StatefulSet/odd", "block-volume"),
    ("StatefulSet/odd", "volume-type"),
    ("StatefulSet/odd", "update-strategy"),
    ("StatefulSet/odd", "claim-retention"),
    ("Job/held", "suspended"),
    ("Job/held", "job-retention"),
    ("Job/held", "job-retry"),
    ("NetworkPolicy/nobody", "network-policy"),
    ("PodDisruptionBudget/odd", "disruption-budget"),
    ("HorizontalPodAutoscaler/odd", "autoscaling"),
    ("ResourceQuota/nothing", "resource-quota"),
    ("PriorityClass/high", "scheduling"),
    ("Role/reader", "rbac"),
    ("ServiceMonitor/odd", "monitoring"),
    ("CustomResourceDefinition/things.example.test", "custom-resource-definition"),
    ("Thing/one", "unknown-kind"),
];

const MARK: &str = "@@";

/// Asks a component for all of its rows at once, and compares each.
fn judge(house: &House, component: &str, rows: &[Row]) -> Vec<String> {
    let told = |text: &str| {
        text.replace("ENVIRONMENT", &house.environment())
            .replace("ROUTER_PORT", &house.port.to_string())
            .replace("TEST_PID", &std::process::id().to_string())
            .replace("TEST_IPC", &std::fs::read_link("/proc/self/ns/ipc").unwrap().to_string_lossy())
            .replace("TEST_NET", &std::fs::read_link("/proc/self/ns/net").unwrap().to_string_lossy())
    };
    let script: String = rows
        .iter()
        .enumerate()
        .map(|(n, (_, ask, _))| format!("echo; echo {MARK}{n}; ( {} ) 2>&1\n", told(ask)))
        .collect();
    let said = house.envctl(&["exec", component, "--", "sh", "-c", &script]).stdout;
    let answers: BTreeMap<usize, &str> = said
        .split(&format!("\n{MARK}"))
        .filter_map(|part| {
            let (number, answer) = part.split_once('\n')?;
            Some((number.trim_start_matches(MARK).parse().ok()?, answer.trim_end_matches('\n')))
        })
        .collect();
    rows.iter()
        .enumerate()
        .filter_map(|(n, (row, _, wanted))| {
            let (wanted, answer) = (told(wanted), answers.get(&n).copied().unwrap_or("nothing was said"));
            (wanted.trim_end_matches('\n') != answer).then(|| format!("{row}: {answer:?}, not {wanted:?}"))
        })
        .collect()
}

/// What a component answers to one question.
fn asked(house: &House, component: &str, question: &str) -> String {
    house.envctl(&["exec", component, "--", "sh", "-c", question]).stdout.trim().to_owned()
}

/// Asks until the answer is this.
#[track_caller]
fn until(row: &str, wanted: &str, ask: impl Fn() -> String) {
    let deadline = Instant::now() + Duration::from_secs(20);
    loop {
        let answer = ask();
        if answer == wanted {
            return;
        }
        assert!(Instant::now() < deadline, "{row}: {answer:?}, not {wanted:?}");
    }
}

/// A server beside the Engine's containers. Its port.
fn outside() -> u16 {
    let listener = TcpListener::bind("0.0.0.0:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    std::thread::spawn(move || {
        for mut stream in listener.incoming().flatten() {
            let _ = stream.read(&mut [0; 1024]);
            let _ = stream.write_all(b"HTTP/1.0 200 OK\r\n\r\noutside\n");
        }
    });
    port
}

fn docker(arguments: &[&str]) -> String {
    Ran::of(std::process::Command::new("docker").args(arguments)).exits(0).stdout.trim().to_owned()
}

#[test]
fn every_field_means_what_it_means_on_a_cluster() {
    if !have(&["docker", "curl"]) {
        return;
    }
    let house = House::with_sources("rows", &root().join("tests/fixtures/rows"), "rows");
    let (host_port, outside_port) = (free_port(), outside());
    let bridge = docker(&["network", "inspect", "bridge", "--format", "{{(index .IPAM.Config 0).Subnet}}"]);
    let (network, _) = bridge.split_once('/').unwrap();
    // The first address of a bridge is the host's.
    let host = Ipv4Addr::from(u32::from(network.parse::<Ipv4Addr>().unwrap()) + 1);
    let shown = house.dir().join("shown");
    // Only a mount of its own can be one that passes mounts on.
    let disk = SmallDisk::at(&shown, "64k");
    if disk.is_some() {
        Ran::of(std::process::Command::new("mount").arg("--make-shared").arg(&shown)).exits(0);
    }
    std::fs::write(shown.join("greeting"), "hello\n").unwrap();
    house.edit("objects.yaml", |text| {
        text.replace("ENVIRONMENT", &house.environment())
            .replace("HOST_PATH", &shown.display().to_string())
            .replace("HOST_PORT", &host_port.to_string())
            .replace("PROPAGATION", if disk.is_some() { "HostToContainer" } else { "None" })
            .replace("OUTSIDE_PORT", &outside_port.to_string())
            .replace("OUTSIDE_ADDRESS", &host.to_string())
    });
    house.envctl(&["up"]).exits(0);
    let mut wrong = judge(&house, "box", BOX);
    wrong.extend(judge(&house, "bare", BARE));
    wrong.extend(judge(&house, "rough", ROUGH));
    wrong.extend(judge(&house, "odd", ODD));
    let parity = house.envctl(&["parity", "--json"]).exits(0).json();
    let told: BTreeSet<_> = parity["findings"]
        .as_array()
        .unwrap()
        .iter()
        .map(|finding| (finding["object"].as_str().unwrap(), finding["code"].as_str().unwrap()))
        .collect();
    wrong.extend(TOLD.iter().filter(|row| !told.contains(*row)).map(|row| format!("{row:?} is not told")));

    // From outside.
    let mut is = |row: &str, answer: &str, wanted: &str| {
        // Any of the two.
        let answer = answer.replace("web-1", "web-0");
        if answer.trim_end() != wanted {
            wrong.push(format!("{row}: {answer:?}, not {wanted:?}"));
        }
    };
    let at = |url: &str| Ran::of(house.command("curl").args(["--silent", "--max-time", "10", url])).stdout;
    is("hostPort", at(&format!("http://127.0.0.1:{host_port}/")).split('.').next().unwrap(), "bare");
    let status = house.envctl(&["status", "--json"]).exits(0).json();
    let published = |port: u16| {
        let urls = status["urls"].as_array().unwrap().iter().filter_map(|url| url.as_str());
        let found =
            urls.filter(|url| url.ends_with(&format!(":{port}"))).find_map(|url| url.strip_prefix("tcp://"));
        at(&format!("http://{}/", found.unwrap_or("127.0.0.1:9")))
    };
    is("LoadBalancer", &published(18080), "web-0 /");
    is("NodePort", &published(31080), "web-0 /");
    let routed = |name: &str, path: &str| {
        let (status, body) = house.get(&format!("{name}.{}.localhost", house.environment()), path);
        format!("{status} {body}")
    };
    is("Ingress: Exact", &routed("web", "/exact"), "200 web-0 /exact");
    is("Ingress: not Exact", &routed("web", "/exact/more")[..3], "404");
    is("Ingress: Prefix", &routed("web", "/prefix/more"), "200 web-0 /prefix/more");
    is("rewrite-target", &routed("web", "/old/x?y=z"), "200 web-0 /new/x?y=z");
    is("HTTPRoute: listener's hostname, URLRewrite", &routed("edge", "/v1/x"), "200 web-0 /whole");
    is("HTTPRoute: other paths", &routed("edge", "/v2")[..3], "404");
    let rough = format!("{}-rough-0.rough-1", house.environment());
    let asks = docker(&[
        "inspect",
        "--format",
        "{{.HostConfig.CpuShares}} {{.HostConfig.MemoryReservation}}",
        &rough,
    ]);
    is("resources.requests", &asks, "256 33554432");
    let label = format!("label=dev.envctl.environment={}", house.environment());
    let helpers = docker(&[
        "ps",
        "-a",
        "--filter",
        &label,
        "--filter",
        "label=dev.envctl.container=helper",
        "--format",
        "{{.State}}",
    ]);
    is("native sidecar of a Job ends with it", &helpers, "exited\nexited\nexited");
    let late = disk.as_ref().and_then(|_| SmallDisk::at(&shown.join("late"), "64k"));
    if late.is_some() {
        is("mountPropagation", &asked(&house, "rough", "grep -c ' /host/late ' /proc/self/mountinfo"), "1");
    }
    drop(late);
    assert!(wrong.is_empty(), "{wrong:#?}");

    // What was issued stays, and commands see it.
    let issued = || asked(&house, "rough", "cat /tls/*");
    let before = issued();
    house.envctl(&["up"]).exits(0).says("no changes");
    assert!(issued() == before, "another certificate");
    house
        .envctl(&["run", "rough", "--", "sh", "-c", "cat /tls/*"])
        .exits(0)
        .says(before.lines().next().unwrap());

    // A pod that is not ready any more.
    asked(&house, "web", "touch /work/sulk");
    let found = |service: &str| asked(&house, "box", &format!("getent ahostsv4 {service} | grep -c STREAM"));
    until("readinessProbe: not ready", "1", || found("ready"));
    assert_eq!(found("all"), "2", "publishNotReadyAddresses");
    until("Service: ready pods only", "web-1 /", || {
        asked(&house, "box", "for i in 1 2 3 4; do perl /mimic/get.pl web 80; done | sort -u")
    });

    // A pod that ends.
    house.envctl(&["restart", "bare", "noter"]).exits(0);
    assert_eq!(asked(&house, "box", "tr '\\n' ' ' < /ledger/end"), "before signal", "preStop, stopSignal");
    assert_eq!(asked(&house, "box", "cat /ledger/noted"), "leaving", "preStop httpGet");
    house.envctl(&["down", "--yes"]).exits(0).says("0 left");
    assert_eq!(house.on_engine(), [""; 0]);
}
