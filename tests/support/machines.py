"""Operates the machines of production, which are containers here: `production.old.command` of a cutover plan.

    machines.py PREFIX [NAME]

The containers are PREFIX-1, PREFIX-2 and so on. NAME is a file that says to which side the component's name leads.
"""

import json
import pathlib
import subprocess
import sys

PREFIX = sys.argv[1]
NAME = pathlib.Path(sys.argv[2]) if len(sys.argv) > 2 else None


def docker(*words):
    return subprocess.run(["docker", *words], check=True, capture_output=True, text=True).stdout


def machines(*flags):
    names = docker("ps", *flags, "--filter", f"name=^{PREFIX}-[0-9]+$", "--format", "{{.Names}}").split()
    return sorted(names)


def crontab():
    """Whether the first machine has its crontab; none where it does not run, or has never had one."""
    asked = ["docker", "exec", f"{PREFIX}-1", "ls", "/installed", "/crontab"]
    listed = subprocess.run(asked, capture_output=True, text=True).stdout.split()
    return {"armed": "/crontab" in listed} if "/installed" in listed else {}


told = json.loads(sys.stdin.readline())
if told.get("ask") == "state":
    name = {"leadsTo": NAME.read_text()} if NAME else {}
    print(json.dumps({"running": len(machines()), **crontab(), **name}))
elif told.get("do") == "lead" and NAME:
    NAME.write_text(told["to"])
    print("{}")
elif told.get("do") == "disarm":
    docker("exec", f"{PREFIX}-1", "rm", "-f", "/crontab")
    print("{}")
elif told.get("do") == "arm":
    docker("exec", f"{PREFIX}-1", "touch", "/crontab")
    print("{}")
elif told.get("do") == "keep":
    on, off = machines("-a")[: told["running"]], machines("-a")[told["running"] :]
    if on:
        docker("start", *on)
    if off:
        docker("stop", "--time", "10", *off)
    print("{}")
else:
    print(json.dumps({"error": f"nobody has taught me {told}"}))
