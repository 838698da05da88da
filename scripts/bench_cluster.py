"""The part `cluster` of the benchmark: envctl against kubectl, Terraform and helm, on a test cluster of its own.

up, down   A small stack: two Deployments with readiness probes, a Service, a volume, a migration as a hook, and a
           queue by Terraform, whose state is in S3. By hand, one after the other: `kubectl create namespace`,
           `terraform init`, `workspace new`, `apply` and `output`, `helm upgrade --install --wait`; and `helm
           uninstall --wait`, `kubectl delete namespace --wait`, `terraform destroy`, `workspace delete`. By
           hand there is no guard, no quota, no lock, no record, and nothing is looked up afterwards. kubectl and
           helm sign in as everybody does at EKS, by an exec plugin, and as somebody who may do all.
message    From the moment at which a watch of the API shows that a hook's Job has failed, or that a node has no
           such image, to the line in which envctl says so.
list       `envctl list` of 300 environments with a pod each, on a node that does not exist (kwok).
"""

import json
import os
import shutil
import subprocess
import threading
import time

from measure import PASSED, ROOT, Failed, run, say, spawned, timed

PROGRAM = ROOT / ".tools/bin/envctl-test-cluster"
IMAGE = "debian:bookworm-slim"
BUCKET = "bench-states"
MANY = 300


def deployment(name, **more):
    container = {
        "name": name, "image": IMAGE, "command": ["sh", "-c", "touch /tmp/ready; exec sleep infinity"],
        "env": [{"name": "QUEUE", "value": "{{ .Values.queue }}"}],
        "readinessProbe": {"exec": {"command": ["cat", "/tmp/ready"]}, "periodSeconds": 1},
        "resources": {"requests": {"cpu": "10m", "memory": "16Mi"}}, **more,
    }
    pod = {"terminationGracePeriodSeconds": 0, "containers": [container]}
    if "volumeMounts" in more:
        pod["volumes"] = [{"name": "data", "persistentVolumeClaim": {"claimName": "data"}}]
    return {
        "apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": name},
        "spec": {"replicas": 1 if "volumeMounts" in more else 2, "selector": {"matchLabels": {"app": name}},
                 "template": {"metadata": {"labels": {"app": name}}, "spec": pod}},
    }


def hook(command, image=IMAGE):
    pod = {"restartPolicy": "Never", "containers": [{"name": "migrate", "image": image, "command": command}]}
    return {
        "apiVersion": "batch/v1", "kind": "Job",
        "metadata": {"name": "migrate", "annotations": {"helm.sh/hook": "post-install,post-upgrade", "helm.sh/hook-delete-policy": "before-hook-creation"}},
        "spec": {"backoffLimit": 0, "template": {"spec": pod}},
    }


SERVICE = {"apiVersion": "v1", "kind": "Service", "metadata": {"name": "web"}, "spec": {"selector": {"app": "web"}, "ports": [{"port": 80}]}}
CLAIM = {"apiVersion": "v1", "kind": "PersistentVolumeClaim", "metadata": {"name": "data"}, "spec": {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}}}}
MOUNTED = {"volumeMounts": [{"name": "data", "mountPath": "/data"}]}


class Cluster:
    """One that is gone when this process is."""

    def __init__(self, house):
        self.dir = house / "c"
        command = [PROGRAM, "up", "--until-stdin-closes", "--name", "shared-dev", "--dir", self.dir, "--with", "kwok"]
        self.child = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        if not self.child.stdout.readline():
            raise Failed("the test cluster does not start")
        self.ready = json.loads((self.dir / "ready").read_text())
        run([PROGRAM, "load", "--dir", self.dir, IMAGE])

    def kubectl(self, *words):
        return run([*self.kubectl_words(), *words])

    def kubectl_words(self):
        return [PROGRAM, "kubectl", "--kubeconfig", self.ready["kubeconfig"]]

    def stop(self):
        self.child.stdin.close()
        self.child.wait()


class Stack:
    """The stack's files, and what an environment is called."""

    def __init__(self, house, cluster, envctl):
        self.dir, self.cluster, self.envctl, self.name = house / "stack", cluster, envctl, "bench-aki"
        self.env = {name: os.environ[name] for name in PASSED if name in os.environ}
        self.env |= cluster.ready["environment"] | {
            "HOME": str(house / "home"), "NO_COLOR": "1", "CHECKPOINT_DISABLE": "1", "AWS_EC2_METADATA_DISABLED": "true",
            "ENVCTL_STATE_DIR": str(house / "cluster-state"), "ENVCTL_USER": "aki",
            "TF_CLI_CONFIG_FILE": str(ROOT / ".tools/providers/terraform.rc"), "AWS_PROFILE": "aki",
        }
        (self.dir / "chart/templates").mkdir(parents=True)
        shutil.copytree(ROOT / "tests/fixtures/queue", self.dir / "terraform")
        (self.dir / "chart/Chart.yaml").write_text("apiVersion: v2\nname: bench\nversion: 0.1.0\n")
        (self.dir / "chart/values.yaml").write_text('queue: ""\n')
        self.backend = {"bucket": BUCKET, "key": "bench.tfstate", "region": cluster.ready["region"], "use_path_style": "true", "use_lockfile": "true"}
        target = {
            "kind": "eks", "account": cluster.ready["account"], "region": cluster.ready["region"], "cluster": "shared-dev",
            "clusterUid": cluster.ready["kubeSystemUid"], "aws": {"profile": "aki"}, "domain": "dev.example.com",
            "terraform": {"path": "terraform", "backendConfig": self.backend},
            "inputs": {"values": {"queue": "{{ terraform.queue }}"}, "terraform": {"vars": {"environment": "{{ env.name }}"}}},
        }
        stack = {"apiVersion": "envctl/v1", "kind": "Stack", "project": "bench", "chart": {"path": "chart"}, "targets": {"dev": target}, "defaults": {"target": "dev", "ttl": "4h"}}
        (self.dir / "envctl.yaml").write_text(json.dumps(stack))
        self.objects([deployment("web"), deployment("worker", **MOUNTED), SERVICE, CLAIM, hook(["true"])])

    def objects(self, objects):
        (self.dir / "chart/templates/all.yaml").write_text("---\n".join(json.dumps(one) + "\n" for one in objects))

    def prepare(self):
        """What the platform's team does once."""
        run([self.envctl, "init", "--platform", "--out", self.dir / "platform"], cwd=self.dir, env=self.env | {"AWS_PROFILE": "platform"})
        for file in sorted((self.dir / "platform").glob("*.yaml")):
            self.cluster.kubectl("apply", "--server-side", "-f", file)
        make = f"import boto3; boto3.client('s3').create_bucket(Bucket='{BUCKET}', CreateBucketConfiguration={{'LocationConstraint': '{self.backend['region']}'}})"
        env = self.env | {"AWS_PROFILE": "platform", "AWS_REGION": self.backend["region"], "AWS_DEFAULT_REGION": self.backend["region"]}
        run([ROOT / ".tools/venv/bin/python3", "-c", make], env=env)

    # --- by envctl

    def up(self):
        run([self.envctl, "up", "--yes"], cwd=self.dir, env=self.env)

    def down(self):
        run([self.envctl, "down", "--yes"], cwd=self.dir, env=self.env)

    # --- by hand

    def terraform(self, *words, workspace=None):
        env = self.env | {"TF_DATA_DIR": str(self.dir / "data"), "TF_INPUT": "0"}
        if workspace:
            env["TF_WORKSPACE"] = workspace
        return run([os.environ.get("ENVCTL_TERRAFORM", "terraform"), *words], cwd=self.dir / "terraform", env=env)

    def helm(self, *words):
        return run(["helm", *words, "--namespace", self.name, "--kubeconfig", self.signing_in()], cwd=self.dir, env=self.env)

    def kubectl(self, *words):
        return run([PROGRAM, "kubectl", "--kubeconfig", self.signing_in(), *words], env=self.env)

    def signing_in(self):
        return self.cluster.ready["profileKubeconfigs"]["platform"]

    def up_by_hand(self):
        self.kubectl("create", "namespace", self.name)
        self.terraform("init", *(f"-backend-config={key}={value}" for key, value in self.backend.items()))
        self.terraform("workspace", "new", self.name)
        self.terraform("apply", "-auto-approve", f"-var=environment={self.name}", workspace=self.name)
        queue = json.loads(self.terraform("output", "-json", workspace=self.name))["queue"]["value"]
        self.helm("upgrade", "--install", "--wait", self.name, "chart", "--set", f"queue={queue}")

    def down_by_hand(self):
        self.helm("uninstall", "--wait", self.name)
        self.kubectl("delete", "namespace", self.name, "--wait")
        self.terraform("destroy", "-auto-approve", f"-var=environment={self.name}", workspace=self.name)
        self.terraform("workspace", "select", "default")
        self.terraform("workspace", "delete", self.name)
        for left in ("data", "terraform/.terraform.lock.hcl"):
            path = self.dir / left
            shutil.rmtree(path) if path.is_dir() else path.unlink(missing_ok=True)


class ClusterBench:
    def __init__(self, options, house, envctl, table):
        self.options, self.table = options, table
        if not PROGRAM.exists():
            raise Failed("there is no test cluster: scripts/cluster build")
        say("cluster", "starting")
        (house / "home").mkdir(exist_ok=True)
        self.cluster = Cluster(house)
        self.stack = Stack(house, self.cluster, envctl)

    def all(self):
        self.stack.prepare()
        self.up_and_down()
        self.messages()
        self.list()

    def stop(self):
        self.cluster.stop()

    def up_and_down(self):
        stack, times = self.stack, {"up": [], "down": [], "up by hand": [], "down by hand": []}
        sides = [("", stack.up, stack.down), (" by hand", stack.up_by_hand, stack.down_by_hand)]
        for i in range(self.options.runs + 1):
            say("cluster", f"{i} of {self.options.runs}" if i else "once to warm up")
            for side, up, down in sides if i % 2 == 0 else sides[::-1]:
                one = timed(up), timed(down)
                if i:
                    times[f"up{side}"].append(one[0])
                    times[f"down{side}"].append(one[1])
        for verb, limit in (("up", 0.9), ("down", 1.1)):
            self.table.add(f"cluster: envctl {verb}", times[verb], ratio=times[f"{verb} by hand"], limit=limit)
            self.table.add("  by hand", times[f"{verb} by hand"])

    # --- how soon a failure is told

    def messages(self):
        failed_job = [hook(["sh", "-c", "sleep 1; exit 3"])]
        absent = [deployment("web", image="nobody/absent:1", imagePullPolicy="Never")]
        cases = [
            ("a hook's Job failed", failed_job, "jobs", is_failed, "migrate"),
            ("a node has no such image", absent, "pods", is_absent, "nobody/absent:1 does not exist"),
        ]
        for what, objects, kind, shows, words in cases:
            say("message", what)
            self.stack.objects(objects)
            samples = [self.message(kind, shows, words) for _ in range(self.options.runs)]
            self.table.add(f"cluster: message that {what}", samples, limit=1)

    def message(self, kind, shows, words):
        seen = {}
        command = [*self.cluster.kubectl_words(), "get", kind, "--all-namespaces", "--watch", "--output-watch-events", "-o", "json"]
        watch = subprocess.Popen([str(word) for word in command], stdout=subprocess.PIPE, text=True)

        def read():
            for event in objects_of(watch.stdout):
                if event["object"]["metadata"].get("namespace") == self.stack.name and shows(event["object"]):
                    seen.setdefault("at", time.perf_counter())

        reader = threading.Thread(target=read, daemon=True)
        reader.start()
        command = [str(self.stack.envctl), "up", "--yes"]
        child = subprocess.Popen(command, cwd=self.stack.dir, env=self.stack.env, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        said, lines = None, []
        for line in child.stdout:
            lines.append(line)
            if said is None and words in line:
                said = time.perf_counter()
        child.wait()
        # What it shows may be a moment behind what envctl saw by itself.
        reader.join(timeout=0 if "at" in seen else 5)
        watch.kill()
        self.stack.down()
        if said is None or "at" not in seen:
            raise Failed(f"envctl did not say `{words}`, or the API did not show it:\n{''.join(lines)}")
        return max(0.0, said - seen["at"])

    # --- many environments

    def list(self):
        self.stack.objects([deployment("web")])
        self.stack.up()
        record = json.loads(self.cluster.kubectl("get", "configmap", self.stack.name, "-n", "envctl-system", "-o", "json"))
        namespace = json.loads(self.cluster.kubectl("get", "namespace", self.stack.name, "-o", "json"))
        quota = json.loads(self.cluster.kubectl("get", "resourcequota", "-n", self.stack.name, "-o", "json"))["items"][0]
        say("list", f"making {MANY} environments")
        fake = {
            "apiVersion": "v1", "kind": "Node", "metadata": {"name": "fake", "annotations": {"kwok.x-k8s.io/node": "fake"}, "labels": {"fake": "node"}},
            "spec": {"taints": [{"key": "fake", "effect": "NoSchedule"}]},
            "status": {kind: {"cpu": "64", "memory": "256Gi", "pods": "1000"} for kind in ("allocatable", "capacity")},
        }
        objects, identity = [fake], record["metadata"]["annotations"]["envctl.dev/identity"]
        for i in range(MANY - 1):
            name = f"bench-{i:03}"
            for one in (namespace, quota, record):
                text = json.dumps({key: one[key] for key in ("apiVersion", "kind", "spec", "data") if key in one})
                metadata = {key: one["metadata"][key] for key in ("name", "namespace", "labels", "annotations") if key in one["metadata"]}
                copy = json.dumps(json.loads(text) | {"metadata": metadata})
                objects.append(json.loads(copy.replace(self.stack.name, name).replace(identity, f"{i:032x}")))
            resources = {kind: {"cpu": "10m", "memory": "16Mi"} for kind in ("requests", "limits")}
            container = {"name": "fake", "image": "none", "resources": resources}
            spec = {"nodeSelector": {"fake": "node"}, "tolerations": [{"operator": "Exists"}], "containers": [container]}
            objects.append({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "fake", "namespace": name}, "spec": spec})
        file = self.stack.dir / "many.json"
        file.write_text(json.dumps({"apiVersion": "v1", "kind": "List", "items": objects}))
        self.cluster.kubectl("apply", "--server-side", "-f", file)
        words = [self.stack.envctl, "list", "--target", "dev"]
        while True:
            rows = json.loads(run([*words, "--json"], cwd=self.stack.dir, env=self.stack.env))
            if len(rows) != MANY:
                raise Failed(f"list shows {len(rows)} environments instead of {MANY}")
            if all(row.get("running") for row in rows):
                break
        os.chdir(self.stack.dir)
        samples = [spawned(words, self.stack.env) for _ in range(20)]
        self.table.add(f"cluster: envctl list, {MANY} environments", samples, limit=1)
        self.stack.down()


def objects_of(stream):
    """JSON objects one after the other."""
    decoder, text = json.JSONDecoder(), ""
    for line in stream:
        text += line
        if not line.rstrip().endswith("}"):
            continue
        try:
            value, _ = decoder.raw_decode(text)
        except ValueError:
            continue
        text = ""
        yield value


def is_failed(job):
    return any(one["type"] == "Failed" and one["status"] == "True" for one in job.get("status", {}).get("conditions", []))


def is_absent(pod):
    states = (one.get("state", {}).get("waiting", {}) for one in pod.get("status", {}).get("containerStatuses", []))
    return any(state.get("reason") == "ErrImageNeverPull" for state in states)
