//! What fails on a real kubelet is named, with its cause and what to do. Each row of the table is one way
//! to fail; `docs/waiting.md` is made from what `up` says (`ENVCTL_BLESS=1` writes it anew).

use std::fmt::Write as _;
use std::process::Command;
use std::sync::Mutex;

use serde_json::{Value, json};

use crate::support::cluster::{Cluster, IMAGE};
use crate::support::{House, Ran, root};

/// How many rows run at once.
const AT_ONCE: usize = 6;

struct Row {
    /// What is wrong, in the words of the document.
    title: &'static str,
    /// Objects of a first `up` that works, and what is done after it.
    before: Option<(Vec<Value>, Prepare)>,
    /// The objects that fail.
    objects: Vec<Value>,
    /// Flags of `up`.
    flags: &'static [&'static str],
    /// Exit code of `up`.
    code: i32,
    /// What `up` says.
    says: &'static [&'static str],
}

type Prepare = fn(&Cluster, &str);

fn nothing(_: &Cluster, _: &str) {}

impl Row {
    fn new(title: &'static str, objects: Vec<Value>, says: &'static [&'static str]) -> Self {
        Self { title, before: None, objects, flags: &[], code: 1, says }
    }

    fn flags(mut self, flags: &'static [&'static str]) -> Self {
        self.flags = flags;
        self
    }

    fn after(mut self, objects: Vec<Value>, prepare: Prepare) -> Self {
        self.before = Some((objects, prepare));
        self
    }

    fn exits(mut self, code: i32) -> Self {
        self.code = code;
        self
    }
}

fn deployment(container: Value) -> Value {
    let mut all = json!({"name": "web", "image": IMAGE, "command": ["sleep", "infinity"]});
    for (key, value) in container.as_object().unwrap() {
        all[key] = value.clone();
    }
    let pod = json!({"terminationGracePeriodSeconds": 0, "containers": [all]});
    workload("Deployment", pod)
}

fn workload(kind: &str, pod: Value) -> Value {
    let mut object = json!({
        "apiVersion": "apps/v1",
        "kind": kind,
        "metadata": {"name": "web"},
        "spec": {
            "replicas": 1,
            "selector": {"matchLabels": {"app": "web"}},
            "template": {"metadata": {"labels": {"app": "web"}}, "spec": pod},
        },
    });
    if kind == "StatefulSet" {
        object["spec"]["serviceName"] = "web".into();
    }
    object
}

fn shell(script: &str) -> Value {
    json!({"command": ["sh", "-c", script]})
}

/// A container without a probe is believed when it has run for a second, and on a busy machine that is before
/// it gets as far as failing.
fn never_ready(mut container: Value) -> Value {
    container["readinessProbe"] = json!({"exec": {"command": ["false"]}});
    container
}

/// A pod of `sleep`, with more of a pod's spec.
fn pod(more: Value) -> Value {
    let mut pod = json!({
        "terminationGracePeriodSeconds": 0,
        "containers": [{"name": "web", "image": IMAGE, "command": ["sleep", "infinity"]}],
    });
    for (key, value) in more.as_object().unwrap() {
        pod[key] = value.clone();
    }
    pod
}

fn job(spec: Value, script: &str, hook: Option<&str>) -> Value {
    let mut object = json!({
        "apiVersion": "batch/v1",
        "kind": "Job",
        "metadata": {"name": "migrate", "annotations": {}},
        "spec": {"backoffLimit": 0, "template": {"spec": {
            "restartPolicy": "Never",
            "terminationGracePeriodSeconds": 0,
            "containers": [{"name": "migrate", "image": IMAGE, "command": ["sh", "-c", script]}],
        }}},
    });
    for (key, value) in spec.as_object().unwrap() {
        object["spec"][key] = value.clone();
    }
    if let Some(hook) = hook {
        object["metadata"]["annotations"]["helm.sh/hook"] = hook.into();
    }
    object
}

fn config_map(name: &str) -> Value {
    json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name}, "data": {"port": "1"}})
}

fn from(kind: &str, name: &str, key: &str) -> Value {
    json!({"env": [{"name": "X", "valueFrom": {kind: {"name": name, "key": key}}}]})
}

fn service(selector: &str) -> Vec<Value> {
    vec![
        json!({"apiVersion": "v1", "kind": "Service", "metadata": {"name": "web"},
            "spec": {"selector": {"app": selector}, "ports": [{"port": 80}]}}),
        json!({"apiVersion": "networking.k8s.io/v1", "kind": "Ingress", "metadata": {"name": "web"},
            "spec": {"defaultBackend": {"service": {"name": "web", "port": {"number": 80}}}}}),
    ]
}

#[allow(clippy::too_many_lines, reason = "it is a table")]
fn rows(cluster: &Cluster) -> Vec<Row> {
    let registry = cluster.text("registry");
    let port = registry.rsplit(':').next().unwrap();
    let soon: &[&str] = &["--schedule-grace", "2"];
    vec![
        Row::new(
            "An image does not exist",
            vec![deployment(json!({"image": format!("{registry}/nobody/pushed:it")}))],
            &["Deployment web, pod web-", "container web", "does not exist", "push it, or correct its repository"],
        ),
        Row::new(
            "The name of an image is none",
            vec![deployment(json!({"image": "Not/A Name:1"}))],
            &["image `Not/A Name:1`", "nothing was changed"],
        ),
        Row::new(
            "An image may not be pulled, and the pull secret is missing",
            vec![workload("Deployment", {
                let mut pod = pod(json!({"imagePullSecrets": [{"name": "regcred"}]}));
                // The same registry by a name for which the node has no credentials.
                pod["containers"][0]["image"] = format!("localhost:{port}/private/app:1").into();
                pod
            })],
            &["may not be pulled: the Secret `regcred` does not exist", "imagePullSecrets"],
        ),
        Row::new(
            "A program is made for another processor",
            vec![deployment(json!({"image": "envctl-test/arm64:1", "imagePullPolicy": "Never", "command": null}))],
            &["is not made for the processor of the node", "exec format error"],
        ),
        Row::new(
            "A container crashes over and over",
            vec![deployment(never_ready(shell("echo about to crash; echo no database >&2; exit 3")))],
            &["it crashes over and over (3 times, last exit code 3)", "no database", "its last lines"],
        ),
        Row::new(
            "A command does not exist",
            vec![deployment(json!({"command": ["/does/not/exist"]}))],
            &["its command cannot be started", "no such file or directory"],
        ),
        Row::new(
            "A container takes more memory than its limit",
            vec![deployment(never_ready(json!({
                "command": ["perl", "-e", "$x = 'a' x (200 << 20); sleep 60"],
                "resources": {"limits": {"memory": "32Mi"}},
            })))],
            &["it takes more memory than its limit of 32Mi", "raise resources.limits.memory"],
        ),
        Row::new(
            "A ConfigMap is missing",
            vec![deployment(from("configMapKeyRef", "settings", "port"))],
            &["there is no ConfigMap `settings`"],
        ),
        Row::new(
            "A Secret is missing",
            vec![deployment(from("secretKeyRef", "db", "password"))],
            &["there is no Secret `db`", "name it in `secrets:`"],
        ),
        Row::new(
            "A key is missing",
            vec![config_map("settings"), deployment(from("configMapKeyRef", "settings", "prot"))],
            &["the ConfigMap `settings` has no key `prot`"],
        ),
        Row::new(
            "The Secret of a volume is missing",
            vec![workload("Deployment", {
                let mut pod = pod(json!({"volumes": [{"name": "tls", "secret": {"secretName": "tls"}}]}));
                // The kubelet sets up only what a container mounts.
                pod["containers"][0]["volumeMounts"] = json!([{"name": "tls", "mountPath": "/tls"}]);
                pod
            })],
            &["there is no Secret `tls`"],
        ),
        Row::new(
            "No node has enough CPU",
            vec![deployment(json!({"resources": {"requests": {"cpu": "8500m"}}}))],
            &["no node takes it: it asks for more CPU than any node has left", "Insufficient cpu"],
        )
        .flags(soon),
        Row::new(
            "No node has enough memory",
            vec![deployment(json!({"resources": {"requests": {"memory": "20Gi"}}}))],
            &["no node takes it: it asks for more memory than any node has left", "no node has more than"],
        )
        .flags(soon),
        Row::new(
            "No node has the labels that are asked for",
            vec![workload("Deployment", pod(json!({"nodeSelector": {"disk": "none"}})))],
            &["no node has the labels that it asks for", "correct nodeSelector"],
        )
        .flags(soon),
        Row::new(
            "A claim is not bound",
            vec![
                json!({"apiVersion": "v1", "kind": "PersistentVolumeClaim", "metadata": {"name": "data"},
                    "spec": {"storageClassName": "", "accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}}}}),
                workload("Deployment", pod(json!({"volumes": [{"name": "data", "persistentVolumeClaim": {"claimName": "data"}}]}))),
            ],
            &["its volume claim `data` is not bound"],
        )
        .flags(soon),
        Row::new(
            "A quota is used up",
            vec![workload("Deployment", pod(json!({})))],
            &["its pods do not fit into the namespace's quota", "failed quota: more"],
        )
        .after(vec![config_map("first")], |cluster, namespace| {
            cluster.kubectl(&["-n", namespace, "create", "quota", "more", "--hard=limits.memory=1Gi"]).exits(0);
        }),
        Row::new(
            "A LimitRange is broken",
            vec![deployment(json!({"resources": {"limits": {"memory": "1Gi"}}}))],
            &["its pods break the namespace's LimitRange", "maximum memory usage per Container is 64Mi"],
        )
        .after(vec![config_map("first")], |cluster, namespace| {
            let file = cluster.dir().join(format!("{namespace}-limits.json"));
            let limits = json!({"apiVersion": "v1", "kind": "LimitRange", "metadata": {"name": "small"},
                "spec": {"limits": [{"type": "Container", "max": {"memory": "64Mi"}}]}});
            std::fs::write(&file, limits.to_string()).unwrap();
            cluster.kubectl(&["-n", namespace, "apply", "-f", &file.display().to_string()]).exits(0);
        }),
        Row::new(
            "The Pod Security level is broken",
            vec![deployment(json!({"securityContext": {"privileged": true}}))],
            &["its pods are not allowed by the namespace's Pod Security level", "must not set securityContext.privileged"],
        ),
        Row::new(
            "A service account is missing",
            vec![workload("Deployment", pod(json!({"serviceAccountName": "nobody"})))],
            &["its service account `nobody` does not exist"],
        ),
        Row::new(
            "An admission webhook refuses",
            vec![deployment(json!({}))],
            &["the admission webhook `refuses.example.com` refuses its pods", "not on a Friday"],
        )
        .after(vec![config_map("first")], |cluster, namespace| webhook(cluster, namespace, "refuses")),
        Row::new(
            "An admission webhook does not answer",
            vec![deployment(json!({}))],
            &["the admission webhook `silent.example.com` does not answer", "tell the platform engineer"],
        )
        .after(vec![config_map("first")], |cluster, namespace| webhook(cluster, namespace, "silent")),
        Row::new(
            "A readiness probe never passes",
            vec![deployment(json!({"readinessProbe": {"exec": {"command": ["sh", "-c", "echo warming up; exit 1"]}, "periodSeconds": 1}}))],
            &["not ready after 8 s (--wait-timeout)", "it runs, and its readiness probe fails", "warming up"],
        )
        .flags(&["--wait-timeout", "8"]),
        Row::new(
            "A liveness probe kills",
            vec![deployment(json!({"livenessProbe": {
                "exec": {"command": ["sh", "-c", "echo deadlock; exit 1"]}, "periodSeconds": 1, "failureThreshold": 1
            }}))],
            &["it is killed because its liveness probe fails", "deadlock", "startupProbe"],
        ),
        Row::new(
            "An init container fails",
            vec![workload("Deployment", pod(json!({"initContainers": [
                {"name": "wait", "image": IMAGE, "command": ["sh", "-c", "echo no route to database; exit 4"]}
            ]})))],
            &["container wait: the init container fails over and over", "last exit code 4", "no route to database"],
        ),
        Row::new(
            "A hook fails",
            vec![job(json!({}), "echo relation exists already; exit 7", Some("pre-install,pre-upgrade"))],
            &["Job migrate: the pre-install hook failed (exit code 7)", "relation exists already"],
        ),
        Row::new(
            "A hook fails, and is removed by its own policy",
            vec![{
                let mut job = job(json!({}), "echo relation exists already; exit 7", Some("pre-install"));
                job["metadata"]["annotations"]["helm.sh/hook-delete-policy"] = "hook-failed".into();
                job
            }],
            &["Job migrate: the pre-install hook failed (exit code 7)", "relation exists already"],
        ),
        Row::new(
            "A Job takes too long",
            vec![job(json!({"activeDeadlineSeconds": 2}), "echo working; sleep 100", None)],
            &["it took longer than its deadline of 2 s", "raise activeDeadlineSeconds"],
        ),
        Row::new(
            "A StatefulSet is stuck on its first pod",
            vec![{
                let mut set = workload("StatefulSet", pod(json!({})));
                set["spec"]["replicas"] = 3.into();
                set["spec"]["template"]["spec"]["containers"][0]["image"] = format!("{registry}/nobody/pushed:it").into();
                set
            }],
            &["StatefulSet web, pod web-0", "does not exist", "its other 2 pods wait for this one"],
        ),
        Row::new(
            "A field cannot be changed",
            vec![{
                let mut object = deployment(json!({}));
                object["spec"]["selector"]["matchLabels"] = json!({"app": "other"});
                object["spec"]["template"]["metadata"]["labels"] = json!({"app": "other"});
                object
            }],
            &["Deployment/web", "field is immutable", "kubectl -n", "delete deployment web", "nothing was delivered"],
        )
        .after(vec![deployment(json!({}))], nothing),
        Row::new(
            "An object is wrong",
            vec![{
                let mut object = deployment(json!({}));
                object["spec"]["template"]["spec"]["containers"][0]["name"] = "Not A Name".into();
                object
            }],
            &["Deployment/web", "spec.template.spec.containers[0].name", "nothing was delivered"],
        ),
        Row::new(
            "An object belongs to somebody else",
            vec![config_map("theirs")],
            &["ConfigMap/theirs: it exists already and no release of Helm made it", "give it another name"],
        )
        .after(vec![config_map("first")], |cluster, namespace| {
            cluster.kubectl(&["-n", namespace, "create", "configmap", "theirs"]).exits(0);
        }),
        Row::new(
            "A Service has no endpoints",
            [vec![deployment(json!({}))], service("wbe")].concat(),
            &["Service web: no ready pod stands behind it, and the Ingress `web` leads to it", "app=wbe"],
        ),
        Row::new(
            "An ingress class does not exist",
            vec![json!({"apiVersion": "networking.k8s.io/v1", "kind": "Ingress", "metadata": {"name": "web"}, "spec": {
                "ingressClassName": "nginx", "defaultBackend": {"service": {"name": "web", "port": {"number": 80}}}
            }})],
            &["Ingress/web is of class `nginx`, and the cluster has", "nothing was changed"],
        ),
        Row::new(
            "A kind is not known",
            vec![json!({"apiVersion": "monitoring.coreos.com/v1", "kind": "ServiceMonitor", "metadata": {"name": "web"}})],
            &["ServiceMonitor/web: the cluster knows no kind ServiceMonitor in monitoring.coreos.com/v1"],
        ),
        Row::new(
            "More is asked for than the quota gives",
            vec![{
                let mut object = deployment(json!({"resources": {"requests": {"cpu": "3"}}}));
                object["spec"]["replicas"] = 6.into();
                object
            }],
            &["it needs 18 CPU, and the quota of the environment is 16", "nothing was changed"],
        ),
        Row::new(
            "Rights are missing",
            vec![json!({"apiVersion": "rbac.authorization.k8s.io/v1", "kind": "ClusterRole", "metadata": {"name": "reader"}, "rules": []})],
            &["you may not do all that this needs", "create clusterroles.rbac.authorization.k8s.io"],
        )
        .exits(3),
        Row::new(
            "Slow, but healthy",
            vec![deployment(json!({
                "command": ["sh", "-c", "sleep 12; touch /tmp/ready; sleep infinity"],
                "readinessProbe": {"exec": {"command": ["cat", "/tmp/ready"]}, "periodSeconds": 1},
            }))],
            &["web ✔"],
        )
        .exits(0),
        Row::new(
            "A crash that heals",
            vec![workload("Deployment", pod(json!({
                "containers": [{"name": "web", "image": IMAGE, "volumeMounts": [{"name": "x", "mountPath": "/x"}],
                    "command": ["sh", "-c", "test -e /x/again || { touch /x/again; exit 1; }; sleep infinity"]}],
                "volumes": [{"name": "x", "emptyDir": {}}],
            })))],
            &["web ✔"],
        )
        .exits(0),
    ]
}

/// A webhook for the pods of one namespace: `refuses` says no, `silent` accepts connections and says nothing.
fn webhook(cluster: &Cluster, namespace: &str, kind: &str) {
    let rule = json!({
        "rules": [{"apiGroups": [""], "apiVersions": ["v1"], "operations": ["CREATE"], "resources": ["pods"]}],
        "namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": namespace}},
        "timeoutSeconds": 1,
    });
    cluster.webhook(namespace, kind, &[], &rule);
}

#[test]
fn what_fails_is_named_with_its_cause_and_what_to_do() {
    let Some(cluster) = Cluster::shared() else { return };
    load_foreign_program(cluster);
    let rows = rows(cluster);
    let next = Mutex::new(rows.iter().enumerate());
    let said: Mutex<Vec<(usize, Result<String, String>)>> = Mutex::default();
    std::thread::scope(|scope| {
        for _ in 0..AT_ONCE {
            scope.spawn(|| {
                loop {
                    let Some((index, row)) = next.lock().unwrap().next() else { break };
                    let ran = std::panic::catch_unwind(|| play(cluster, row));
                    let ran = ran.unwrap_or_else(|_| Err(format!("{}: panicked", row.title)));
                    said.lock().unwrap().push((index, ran));
                }
            });
        }
    });
    let mut said = said.into_inner().unwrap();
    said.sort_by_key(|(index, _)| *index);
    let failed: Vec<_> = said.iter().filter_map(|(_, ran)| ran.as_ref().err()).collect();
    assert!(failed.is_empty(), "{}", failed.iter().map(|f| format!("--- {f}\n")).collect::<String>());
    let said: Vec<_> = said.into_iter().map(|(index, ran)| (rows[index].title, ran.unwrap())).collect();
    compare_document(Part::SharedCluster, &said);
}

fn play(cluster: &Cluster, row: &Row) -> Result<String, String> {
    let house = House::raw(cluster, "kwait");
    let name = house.environment();
    if let Some((objects, prepare)) = &row.before {
        house.objects(objects);
        house.envctl(&["up"]).exits(0);
        prepare(cluster, &name);
    }
    house.objects(&row.objects);
    let up = house.envctl(&[&["up"], row.flags].concat());
    let all = format!("{}{}", up.stdout, up.stderr);
    let missing: Vec<_> = row.says.iter().filter(|text| !all.contains(**text)).collect();
    if up.code != row.code || !missing.is_empty() {
        return Err(format!(
            "{}: exit {} instead of {}; not said: {missing:?}\n{all}",
            row.title, up.code, row.code
        ));
    }
    house.envctl(&["down", "--yes"]).exits(0).says("0 left");
    let left = house.in_cluster(cluster);
    if !left.is_empty() {
        return Err(format!("{}: left in the cluster: {left:?}", row.title));
    }
    Ok(normal(&all, &name, cluster))
}

/// What `up` says, without what differs from run to run.
pub(super) fn normal(text: &str, name: &str, cluster: &Cluster) -> String {
    let mut text = text.replace(name, "raw-aki").replace(cluster.text("registry"), "registry.example.com");
    let port = cluster.text("registry").rsplit(':').next().unwrap();
    text = text
        .replace(&format!("localhost:{port}"), "other.example.com")
        .replace(cluster.text("nodeAddress"), "10.0.0.1");
    let shown = text.lines().filter(|line| {
        // The failure, and what stops the run; not what went well before.
        let line = line.trim_start();
        !["plan ", "warning ", "namespace ", "ready "].iter().any(|topic| line.starts_with(topic))
    });
    let hash = |word: &str| {
        // web-7f9c8d6b5-x2x4z
        let parts: Vec<_> = word.split('-').collect();
        let random = |part: &str, least: usize| {
            part.len() >= least
                && part.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit())
                && part.bytes().any(|b| b.is_ascii_digit())
        };
        match parts.as_slice() {
            [name, set, pod] if random(set, 8) && pod.len() >= 5 => {
                Some(format!("{name}-xxxxx-{}", rest(pod)))
            }
            [name, pod] if *name == "migrate" => Some(format!("{name}-{}", rest(pod))),
            _ => None,
        }
    };
    let line = |line: &str| {
        let words = line.split(' ').map(|word| hash(word).unwrap_or_else(|| word.to_owned()));
        let line = words.collect::<Vec<_>>().join(" ");
        // The columns of a step that went well end in its seconds; explanations are indented.
        if line.starts_with("      ") {
            return line;
        }
        match line.rsplit_once(char::is_whitespace) {
            Some((before, "s")) if before.trim_end().ends_with(|c: char| c.is_ascii_digit()) => before
                .trim_end()
                .trim_end_matches(|c: char| c.is_ascii_digit() || c == '.')
                .trim_end()
                .to_owned(),
            _ => line,
        }
    };
    shown.map(line).collect::<Vec<_>>().join("\n")
}

/// `xxxxx` instead of five random characters, with what stands behind them.
fn rest(pod: &str) -> String {
    format!("xxxxx{}", pod.get(5..).unwrap_or_default())
}

const HEAD: &str = "# What fails in a cluster, and what envctl says of it\n\n\
    `envctl up --target` of a cluster waits by watching, and ends as soon as something has failed that waiting does not \
    mend. Each message below is what `up` printed for it on a real kubelet, in the tests of this repository, which also \
    write this page (`ENVCTL_BLESS=1`).\n";

const HEAD_OF_FAULTS: &str = "# What goes wrong around an environment\n\n\
    Nodes, credentials, the API server: in a cluster of the test's own. One that is away for ten seconds is waited for, \
    and so is a node that joins late.\n";

/// The parts of the document: each is written by one test.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Part {
    SharedCluster,
    OwnCluster,
}

pub(super) fn compare_document(part: Part, said: &[(&str, String)]) {
    static WRITING: Mutex<()> = Mutex::new(());
    let _alone = WRITING.lock().unwrap();
    let path = root().join("docs/waiting.md");
    let there = std::fs::read_to_string(&path).unwrap_or_default();
    let (first, second) = there.split_at(there.find(HEAD_OF_FAULTS).unwrap_or(there.len()));
    if std::env::var_os("ENVCTL_BLESS").is_some() {
        let mut text = String::new();
        for (title, message) in said {
            write!(text, "\n## {title}\n\n```\n{message}\n```\n").unwrap();
        }
        let text = match part {
            Part::SharedCluster => format!("{HEAD}{text}\n{second}"),
            Part::OwnCluster => format!("{}\n\n{HEAD_OF_FAULTS}{text}", first.trim_end()),
        };
        std::fs::write(&path, format!("{}\n", text.trim_end())).unwrap();
        return;
    }
    // Words of the kubelet and the scheduler vary with time and load; titles and causes do not.
    let there = if part == Part::SharedCluster { first } else { second };
    for (title, message) in said {
        let headline = message.lines().find(|line| line.contains(": ")).unwrap_or_default().trim();
        assert!(
            there.contains(&format!("\n## {title}\n")),
            "docs/waiting.md has no `{title}`: run with ENVCTL_BLESS=1"
        );
        assert!(there.contains(headline), "docs/waiting.md is out of date for `{title}`: {headline}");
    }
}

/// An image whose program is made for another processor than the node's.
fn load_foreign_program(cluster: &Cluster) {
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("main.go"), "package main\n\nfunc main() {}\n").unwrap();
    std::fs::write(dir.path().join("go.mod"), "module foreign\n\ngo 1.22\n").unwrap();
    std::fs::write(
        dir.path().join("Dockerfile"),
        "FROM scratch\nCOPY foreign /foreign\nENTRYPOINT [\"/foreign\"]\n",
    )
    .unwrap();
    let mut build = Command::new("go");
    build.args(["build", "-o", "foreign", "."]).current_dir(dir.path());
    Ran::of(build.env("GOARCH", "arm64").env("CGO_ENABLED", "0")).exits(0);
    Ran::of(
        Command::new("docker")
            .args(["build", "-q", "-t", "envctl-test/arm64:1", "."])
            .current_dir(dir.path()),
    )
    .exits(0);
    cluster.load("envctl-test/arm64:1");
    Ran::of(Command::new("docker").args(["image", "rm", "envctl-test/arm64:1"])).exits(0);
}
