"""Operates the machines of production, which are containers here: `production.old.command` of a cutover plan.

    machines.py PREFIX

The containers are PREFIX-1, PREFIX-2 and so on.
"""

import json
import subprocess
import sys

PREFIX = sys.argv[1]


def docker(*words):
    return subprocess.run(["docker", *words], check=True, capture_output=True, text=True).stdout


def machines(*flags):
    names = docker("ps", *flags, "--filter", f"name=^{PREFIX}-[0-9]+$", "--format", "{{.Names}}").split()
    return sorted(names)


told = json.loads(sys.stdin.readline())
if told.get("ask") == "state":
    print(json.dumps({"running": len(machines())}))
elif told.get("do") == "keep":
    on, off = machines("-a")[: told["running"]], machines("-a")[told["running"] :]
    if on:
        docker("start", *on)
    if off:
        docker("stop", "--time", "10", *off)
    print("{}")
else:
    print(json.dumps({"error": f"nobody has taught me {told}"}))
