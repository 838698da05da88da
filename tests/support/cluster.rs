//! A real Kubernetes for tests, and the AWS that judges its users: `tests/cluster`.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::OnceLock;

use serde_json::{Value, json};

use super::{House, Ran, root, skip};

/// A running cluster, prepared by what `envctl init --platform` writes.
#[derive(Debug)]
pub(crate) struct Cluster {
    dir: PathBuf,
    /// What it says about itself: `tests/cluster/cluster/ready.go`.
    pub(crate) ready: Value,
    // Its standard input is a pipe of ours: the cluster goes when this process does, however that ends.
    _supervisor: Option<Child>,
    _dir: Option<tempfile::TempDir>,
}

fn program() -> PathBuf {
    root().join(".tools/bin/envctl-test-cluster")
}

/// The images that tests run, and the name under which the node knows them.
pub(crate) const IMAGE: &str = "debian:bookworm-slim";

/// The networks between this machine and nodes of test clusters: routers outside of them come from there.
pub(crate) const MACHINES: &str = "198.18.0.0/15";

/// Set while there may be no cluster yet.
const BEFORE_CLUSTER: &str = "ENVCTL_TEST_BEFORE_CLUSTER";

impl Cluster {
    /// The cluster that all tests of this process share; `None`, after saying so, where there is none.
    /// `ENVCTL_TEST_CLUSTER` names the directory of one that runs already (`make cluster-up`).
    pub(crate) fn shared() -> Option<&'static Self> {
        static SHARED: OnceLock<Option<Cluster>> = OnceLock::new();
        let shared = SHARED.get_or_init(|| match std::env::var_os("ENVCTL_TEST_CLUSTER") {
            Some(dir) => Some(Self::at(PathBuf::from(dir), None, None)),
            None => Self::start("shared-dev", &[]),
        });
        if shared.is_none() {
            skip("there is no test cluster (scripts/cluster build)");
        }
        shared.as_ref()
    }

    /// A cluster of its own, for a test that breaks it.
    pub(crate) fn own(name: &str, arguments: &[&str]) -> Option<Self> {
        let own = Self::start(name, arguments);
        if own.is_none() {
            skip("there is no test cluster (scripts/cluster build)");
        }
        own
    }

    fn start(name: &str, arguments: &[&str]) -> Option<Self> {
        assert!(
            std::env::var_os(BEFORE_CLUSTER).is_none(),
            "a test that needs a cluster stands below tests/it/cluster: scripts/test runs the others while it is built"
        );
        if !program().exists() {
            return None;
        }
        let dir = tempfile::Builder::new().prefix("envctl-cluster-").tempdir().unwrap();
        let mut command = Command::new(program());
        command.args(["up", "--until-stdin-closes", "--name", name, "--dir"]).arg(dir.path().join("c"));
        command.args(arguments).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut supervisor = command.spawn().unwrap();
        // It prints one line when it is ready, and the end of the guilty log when it is not.
        let mut first = String::new();
        let out = supervisor.stdout.take().unwrap();
        std::io::BufRead::read_line(&mut std::io::BufReader::new(out), &mut first).unwrap();
        if first.is_empty() {
            let output = supervisor.wait_with_output().unwrap();
            panic!("the test cluster did not start:\n{}", String::from_utf8_lossy(&output.stderr));
        }
        // Nobody reads what it says from now on, and it must not stand still for that.
        let mut err = supervisor.stderr.take().unwrap();
        std::thread::spawn(move || std::io::copy(&mut err, &mut std::io::sink()));
        Some(Self::at(dir.path().join("c"), Some(supervisor), Some(dir)))
    }

    fn at(dir: PathBuf, supervisor: Option<Child>, temporary: Option<tempfile::TempDir>) -> Self {
        let text = std::fs::read_to_string(dir.join("ready")).unwrap();
        let ready = serde_json::from_str(&text).unwrap();
        let cluster = Self { dir, ready, _supervisor: supervisor, _dir: temporary };
        cluster.load(IMAGE);
        cluster.prepare();
        cluster
    }

    /// Has the platform engineer apply what `envctl init --platform` writes.
    fn prepare(&self) {
        let house = House::on_cluster(self, "platform");
        // Each test keeps its states in a bucket of its own.
        let terraform = "terraform: {path: terraform, backendConfig: {bucket: '*', key: '*.tfstate'}}";
        let more =
            format!("domain: dev.example.com, {terraform}, guardrails: {{allowIngressFrom: [{MACHINES}]}}");
        house.edit("envctl.yaml", |text| text.replace("domain: dev.example.com", &more));
        let of_the_stack = root().join("tests/fixtures/iam-stack.json");
        self.apply_platform(house.dir(), &mut house.command(super::envctl()), &of_the_stack);
        // Policies are enforced a moment after they were made: when one refuses what it should.
        let refused = |user: &str| {
            let mut command = self.kubectl_as(user);
            let ran = Ran::of(command.args(["create", "namespace", "not-marked", "--dry-run=server"]));
            ran.stderr.contains("envctl-namespaces")
        };
        while !refused("aki") {
            std::thread::sleep(std::time::Duration::from_millis(50));
        }
    }

    /// Applies what `envctl`, in a stack's directory, writes for its platform. From then on developers may do
    /// in AWS what that says and what `of_the_stack`, another IAM policy, says, and nothing else.
    pub(crate) fn apply_platform(&self, scratch: &Path, envctl: &mut Command, of_the_stack: &Path) {
        let out = scratch.join("platform");
        let arguments = ["init", "--platform", "--max-ttl", "168h", "--out"];
        Ran::of(envctl.args(arguments).arg(&out)).exits(0);
        for file in ["00-namespace.yaml", "10-rbac.yaml", "20-policies.yaml", "30-gc.yaml"] {
            self.kubectl(&[
                "apply",
                "--server-side",
                "--force-conflicts",
                "-f",
                &out.join(file).display().to_string(),
            ])
            .exits(0);
        }
        let files = format!("files={},{}", out.join("iam-developer.json").display(), of_the_stack.display());
        self.ctl(&["policy", "role=Developer", &files]);
    }

    /// A text of `ready`.
    pub(crate) fn text(&self, key: &str) -> &str {
        self.ready[key].as_str().unwrap_or_else(|| panic!("ready has no {key}"))
    }

    /// The ARN.
    pub(crate) fn arn(&self) -> String {
        let (region, account, name) = (self.text("region"), self.text("account"), self.text("name"));
        format!("arn:aws:eks:{region}:{account}:cluster/{name}")
    }

    /// The administrator's kubectl.
    pub(crate) fn kubectl(&self, arguments: &[&str]) -> Ran {
        let words = self.kubectl_words(arguments);
        Ran::of(Command::new(&words[0]).args(&words[1..]))
    }

    /// The words of a call of the administrator's kubectl.
    pub(crate) fn kubectl_words(&self, arguments: &[&str]) -> Vec<String> {
        let program = program().to_string_lossy().into_owned();
        let words = [program.as_str(), "kubectl", "--kubeconfig", self.text("kubeconfig")];
        words.iter().chain(arguments).map(|word| (*word).to_owned()).collect()
    }

    /// Runs `webhook.py KIND` on this machine, where the node reaches it by a forward, and registers it as a
    /// validating webhook with this rule: operations, resources, and whom it is for.
    pub(crate) fn webhook(&self, name: &str, kind: &str, command: &[String], rule: &Value) {
        let dir = self.dir().join(format!("webhook-{name}"));
        std::fs::create_dir_all(&dir).unwrap();
        let mut server = Command::new("python3");
        server.arg(root().join("tests/support/webhook.py")).arg(kind).arg(self.text("nodeAddress")).arg(&dir);
        let mut child = server.args(command).stdout(Stdio::piped()).spawn().unwrap();
        let mut line = String::new();
        let mut out = std::io::BufReader::new(child.stdout.take().unwrap());
        std::io::BufRead::read_line(&mut out, &mut line).unwrap();
        // It goes when this process does.
        std::thread::spawn(move || child.wait());
        let address = self.ctl(&["forward", &format!("to=127.0.0.1:{}", line.trim())]);
        let encoded = Ran::of(Command::new("base64").args(["-w0"]).arg(dir.join("ca.pem"))).exits(0).stdout;
        assert!(!encoded.is_empty());
        let url = format!("https://{}/", address["address"].as_str().unwrap());
        let mut hook = json!({
            "name": format!("{kind}.example.com"),
            "clientConfig": {"url": url, "caBundle": encoded.trim()},
            "admissionReviewVersions": ["v1"], "sideEffects": "None", "failurePolicy": "Fail",
        });
        hook.as_object_mut().unwrap().extend(rule.as_object().unwrap().clone());
        self.apply(&json!({
            "apiVersion": "admissionregistration.k8s.io/v1",
            "kind": "ValidatingWebhookConfiguration",
            "metadata": {"name": format!("{kind}-{name}")},
            "webhooks": [hook],
        }));
    }

    /// Raw kubectl with an AWS identity, by the real authenticator.
    pub(crate) fn kubectl_as(&self, profile: &str) -> Command {
        let kubeconfig = self.ready["profileKubeconfigs"][profile].as_str().unwrap();
        let mut command = Command::new(program());
        command.args(["kubectl", "--kubeconfig", kubeconfig]);
        for (key, value) in self.environment() {
            command.env(key, value);
        }
        command
    }

    /// An object as JSON; null where there is none.
    pub(crate) fn object(&self, arguments: &[&str]) -> Value {
        let ran = self.kubectl(&[&["get", "--ignore-not-found", "-o", "json"], arguments].concat()).exits(0);
        if ran.stdout.trim().is_empty() { Value::Null } else { ran.json() }
    }

    /// Waits until the pods of `app=web` in a namespace are as `condition` says, as kubectl writes it.
    pub(crate) fn await_web(&self, namespace: &str, condition: &str) {
        let arguments = ["-n", namespace, "wait", condition, "--timeout=60s", "pod", "-l", "app=web"];
        // Until a pod is there, there is nothing that kubectl would wait for.
        while !self.kubectl(&arguments).stdout.contains("condition met") {}
    }

    /// Makes an object.
    pub(crate) fn apply(&self, object: &Value) {
        let mut file = tempfile::NamedTempFile::new().unwrap();
        std::io::Write::write_all(&mut file, object.to_string().as_bytes()).unwrap();
        self.kubectl(&["apply", "-f", &file.path().display().to_string()]).exits(0);
    }

    /// A verb of the control socket.
    pub(crate) fn ctl(&self, arguments: &[&str]) -> Value {
        let mut command = Command::new(program());
        command.args(["ctl", "--dir"]).arg(&self.dir).args(arguments);
        let ran = Ran::of(&mut command).exits(0);
        serde_json::from_str(&ran.stdout).unwrap_or(Value::Null)
    }

    /// Brings an image of Docker's onto the node.
    pub(crate) fn load(&self, image: &str) {
        let mut command = Command::new(program());
        Ran::of(command.args(["load", "--dir"]).arg(&self.dir).arg(image)).exits(0);
    }

    /// The variables that lead AWS tools to the test's AWS.
    pub(crate) fn environment(&self) -> Vec<(String, String)> {
        let variables = self.ready["environment"].as_object().unwrap();
        variables.iter().map(|(key, value)| (key.clone(), value.as_str().unwrap().to_owned())).collect()
    }

    /// What one call of an AWS API answers: service and method by boto3's names.
    pub(crate) fn aws(&self, profile: &str, service: &str, method: &str, parameters: &Value) -> Value {
        self.call_aws(profile, service, method, parameters).exits(0).json()
    }

    /// One call of an AWS API.
    pub(crate) fn call_aws(&self, profile: &str, service: &str, method: &str, parameters: &Value) -> Ran {
        const CALL: &str = "import boto3, json, sys\n\
            call = getattr(boto3.client(sys.argv[1]), sys.argv[2])\n\
            print(json.dumps(call(**json.loads(sys.argv[3])), default=str))";
        let mut command = Command::new(root().join(".tools/venv/bin/python3"));
        command.args(["-c", CALL, service, method, &parameters.to_string()]);
        for (key, value) in self.environment() {
            command.env(key, value);
        }
        command.env("AWS_PROFILE", profile).env("AWS_REGION", self.text("region"));
        command.env("AWS_DEFAULT_REGION", self.text("region"));
        Ran::of(&mut command)
    }

    /// The lines of a log of JSON lines from byte `from` on.
    pub(crate) fn log(&self, key: &str, from: u64) -> Vec<Value> {
        use std::io::{Read, Seek, SeekFrom};
        let mut file = std::fs::File::open(self.text(key)).unwrap();
        file.seek(SeekFrom::Start(from)).unwrap();
        let mut text = String::new();
        file.read_to_string(&mut text).unwrap();
        text.lines().filter_map(|line| serde_json::from_str(line).ok()).collect()
    }

    /// How long a log is now.
    pub(crate) fn log_length(&self, key: &str) -> u64 {
        std::fs::metadata(self.text(key)).map_or(0, |meta| meta.len())
    }

    /// The cluster's directory.
    pub(crate) fn dir(&self) -> &Path {
        &self.dir
    }

    /// The target of the stack file for this cluster, as YAML of one line, with `more` in it.
    pub(crate) fn target(&self, profile: &str, more: &str) -> String {
        format!(
            "{{kind: eks, account: \"{}\", region: {}, cluster: {}, clusterUid: {}, aws: {{profile: {profile}}}, \
             domain: dev.example.com{more}}}",
            self.text("account"),
            self.text("region"),
            self.text("name"),
            self.text("kubeSystemUid"),
        )
    }
}

impl House {
    /// A house with the small stack, whose default target is a cluster, used by the developer aki.
    pub(crate) fn on_cluster(cluster: &Cluster, what: &str) -> Self {
        let mut house = Self::small(what);
        house.environment = cluster.environment();
        let target = cluster.target("aki", "");
        house.edit("envctl.yaml", |text| {
            text.replace("  local: {kind: compose}", &format!("  local: {{kind: compose}}\n  dev: {target}"))
                .replace("target: local", "target: dev")
        });
        house
    }

    /// A house with a chart that renders whatever objects it is given, on a cluster.
    pub(crate) fn raw(cluster: &Cluster, what: &str) -> Self {
        let mut house = Self::with_sources(what, &root().join("tests/fixtures/raw"), "raw");
        house.environment = cluster.environment();
        // More than the node has: so that it is the scheduler who refuses.
        let target = cluster.target("aki", ", guardrails: {quota: {cpu: \"16\", memory: 32Gi}}");
        house.edit("envctl.yaml", |text| {
            text.replace("  local: {kind: compose}", &format!("  dev: {target}"))
                .replace("target: local", "target: dev")
        });
        house.objects(&[]);
        house
    }

    /// Sets the objects that the raw chart renders.
    pub(crate) fn objects(&self, objects: &[Value]) {
        let values = serde_json::json!({"objects": objects});
        std::fs::write(self.src().join("values.json"), values.to_string()).unwrap();
    }

    /// Everything in the cluster with this house's project in its name.
    pub(crate) fn in_cluster(&self, cluster: &Cluster) -> Vec<String> {
        let list = |arguments: &[&str]| {
            let ran = cluster.kubectl(&[&["get", "-o", "name"], arguments].concat()).exits(0);
            ran.stdout.lines().map(str::to_owned).collect::<Vec<_>>()
        };
        let mut all = list(&["namespaces"]);
        all.extend(list(&["configmaps,secrets,leases", "-n", "envctl-system"]));
        all.retain(|line| line.contains(&self.project));
        all
    }
}
