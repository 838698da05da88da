"""What envctl's own containers cost the machine and the application, and ten environments at once."""

import json
import sys
import threading
import time

from measure import Failed, run, say

# Of each of the agent's containers when nobody asks anything of it.
ANONYMOUS_MB = 5
AT_ONCE = 10
CONNECTIONS = 2000

# Each connection is made anew, so that each goes the whole way: through the ClusterIP, and to the pod, in turns.
CALLER = """
import socket, sys, time
count, *places = sys.argv[1:]
took = [[] for _ in places]
for n in range(int(count) * len(places)):
    at = n % len(places)
    host, port = places[at].split(":")
    begun = time.perf_counter()
    with socket.create_connection((host, int(port))) as connection:
        connection.sendall(b"GET /healthz HTTP/1.1\\r\\nHost: bench\\r\\nConnection: close\\r\\n\\r\\n")
        answer = b"".join(iter(lambda: connection.recv(65536), b""))
    took[at].append(time.perf_counter() - begun)
    if not answer.startswith((b"HTTP/1.1 2", b"HTTP/1.1 3")):
        sys.exit(f"{places[at]} answers {answer[:100]}")
for one in took:
    print(*one)
"""


class Beside:
    """Measures the environment of a benchmark that is up, and copies of it."""

    def __init__(self, bench):
        self.bench, self.table = bench, bench.table

    def containers(self, *filters):
        words = [word for one in filters for word in ("--filter", f"label=dev.envctl.{one}")]
        ids = self.bench.docker("ps", "--quiet", *words).split()
        return json.loads(self.bench.docker("inspect", *ids)) if ids else []

    def of_role(self, container):
        return container["Config"]["Labels"].get("dev.envctl.role", "")

    def agent(self):
        """The anonymous memory of the agent's roles."""
        most = {}
        for container in self.containers(f"environment={self.bench.name}"):
            role = self.of_role(container)
            if role not in ("sandbox", "gateway", "warden"):
                continue
            with open(f"/proc/{container['State']['Pid']}/smaps_rollup", encoding="ascii") as file:
                anonymous = next(int(line.split()[1]) for line in file if line.startswith("Anonymous:"))
            most.setdefault(role, []).append(anonymous / 1024)
        if not most:
            raise Failed("the environment has no container of the agent's")
        for role, found in sorted(most.items()):
            verdict = "met" if max(found) <= ANONYMOUS_MB else "MISSED"
            self.table.plain(f"anonymous memory of a {role} at most, {len(found)} there", f"{max(found):.1f} MB, {ANONYMOUS_MB} MB {verdict}")

    def service(self):
        """A Service of one pod against that pod, from another pod."""
        compose = json.loads(self.bench.compose_text)
        pods = [one for one in self.containers(f"environment={self.bench.name}") if self.of_role(one) == "sandbox"]
        workload = lambda pod: pod["Config"]["Labels"]["dev.envctl.workload"]
        callee = next(pod for pod in pods if workload(pod) == "Deployment/album-api")
        caller = next(pod for pod in pods if workload(pod) == "Deployment/album-worker")
        address = callee["NetworkSettings"]["Networks"][compose["networks"]["default"]["name"]]["IPAddress"]
        objects = run([self.bench.envctl, "render", "--format", "objects", "--name", self.bench.name], cwd=self.bench.album, env=self.bench.env)
        # JSON documents in a YAML stream.
        objects = [json.loads(text) for text in objects.split("---\n") if text.strip()]
        port = next(port for one in objects if one["kind"] == "Service" and one["metadata"]["name"] == "album-api" for port in one["spec"]["ports"])
        target = next(
            named["containerPort"] for one in objects if one["kind"] == "Deployment" and one["metadata"]["name"] == "album-api"
            for container in one["spec"]["template"]["spec"]["containers"] for named in container["ports"]
            if port["targetPort"] in (named.get("name"), named["containerPort"])
        )
        # In the network of a pod, from which names of Services are asked as its programs do.
        resolved = self.bench.docker("run", "--rm", "--network", f"container:{caller['Id']}", "debian:bookworm-slim", "getent", "ahostsv4", "album-api")
        words = ["nsenter", "--net", "--target", str(caller["State"]["Pid"]), sys.executable, "-c", CALLER]
        told = run([*words, str(CONNECTIONS), f"{address}:{target}", f"{resolved.split()[0]}:{port['port']}"], cwd=self.bench.album, env=self.bench.env)
        direct, through = ([float(one) for one in line.split()] for line in told.splitlines())
        for part, at in (("p50", 0.5), ("p99", 0.99)):
            one, other = (sorted(side)[int(len(side) * at)] * 1000 for side in (direct, through))
            self.table.plain(f"a request to a pod, {part}: direct, by its ClusterIP", f"{one:.2f} ms, {other:.2f} ms: {other - one:+.2f} ms")

    def ten(self):
        """Copies of the environment that come up and go down at once, and what they hold."""
        names = [f"{self.bench.project}-n{i}" for i in range(AT_ONCE)]
        before = available()
        one = self.each("up", names[:1])
        of_one = before - available()
        self.each("down", names[:1])
        before = available()
        took = self.each("up", names)
        of_all = before - available()
        there = self.containers(f"project={self.bench.project}")
        took_down = self.each("down", names)
        left = [one for one in self.containers(f"project={self.bench.project}") if one["Config"]["Labels"]["dev.envctl.environment"] in names]
        if left:
            raise Failed(f"{len(left)} containers are left of {AT_ONCE} environments")
        self.table.plain("one environment: up", f"{one:.0f} s")
        self.table.plain(f"{AT_ONCE} at once: up, down", f"{took:.0f} s, {took_down:.0f} s: {took / one:.1f}x one")
        self.table.plain(f"memory of one, of {AT_ONCE} ({len(there)} containers)", f"{of_one:.0f} MB, {of_all:.0f} MB")

    def each(self, verb, names):
        """How long a verb takes for all of these at once."""
        say(verb, f"{len(names)} at once")
        failures = []

        def go(name):
            try:
                run([self.bench.envctl, verb, "--yes", "--name", name], cwd=self.bench.album, env=self.bench.env)
            except Failed as failed:
                failures.append(failed)

        threads = [threading.Thread(target=go, args=(name,)) for name in names]
        begun = time.perf_counter()
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        if failures:
            raise failures[0]
        return time.perf_counter() - begun


def available():
    """Memory that programs could have, in MB."""
    with open("/proc/meminfo", encoding="ascii") as file:
        return next(int(line.split()[1]) for line in file if line.startswith("MemAvailable:")) / 1024
