"""What both sides of a rehearsal share: a queue, a ledger of everything that happened, and a small database.

    shared.py VISIBILITY

The queue is as SQS is one: what was taken and not deleted within the visibility time-out is given out again. Of the
database there are the connections, a table that can be locked, and the format of its last row.

Prints the address it listens on: that of Docker's bridge, which containers reach. It ends when its standard input does.

Each connection is one line and its answer:

    put ID CLASS SECONDS     ok
    take HOST SECONDS CLASSES
                             ID CLASS SECONDS TIMES, or - when there is nothing. It is hidden for so long; - is VISIBILITY.
                             CLASSES are those that HOST takes, with commas; - is all
    effect ID HOST           ok
    once ID HOST             ok: the effect, unless it was had before
    failed ID HOST           ok: it can be taken again in a second
    dead ID HOST             ok: it is given up
    delete ID                ok
    redeliver                ok: all that was taken can be taken again at once
    run ENTRY ID EVENT HOST  ok
    ledger                   JSON lines without end, from the first on; `runs` are those of runs
    open MOST                ok, or full when so many connections are open; it is open as long as this one is
    lock SECONDS             ok: nobody reads or writes for so long
    write FORMAT             ok
    read                     the highest format that was written; 0 before that
"""

import fcntl
import json
import os
import socket
import socketserver
import struct
import sys
import threading
import time

VISIBILITY = float(sys.argv[1])
SIOCGIFADDR = 0x8915  # netdevice(7)

grown = threading.Condition()
jobs = {}  # by id: class, seconds, until when it is hidden, how often it was taken
classes = {}  # by id, of deleted jobs, too
done = set()  # what had its effect
ledger = []
runs = []
database = {"open": 0, "locked": 0.0, "format": 0}


def tell(job, event, host):
    told = {"job": job, "event": event, "at": time.time(), "instance": host, "class": classes[job]}
    ledger.append(json.dumps(told))
    grown.notify_all()


def take(host, seconds, kinds):
    now = time.monotonic()
    for job, of in jobs.items():
        if of[2] <= now and (kinds == "-" or of[0] in kinds.split(",")):
            of[2] = now + (VISIBILITY if seconds == "-" else float(seconds))
            of[3] += 1
            tell(job, "received", host)
            return f"{job} {of[0]} {of[1]} {of[3]}"
    return "-"


def answer(verb, *words):
    with grown:
        if verb == "put":
            job, kind, seconds = words
            classes[job] = kind
            jobs[job] = [kind, seconds, 0.0, 0]
        elif verb == "take":
            return take(*words)
        elif verb == "effect" or verb == "once":
            if verb == "effect" or words[0] not in done:
                tell(words[0], "effect", words[1])
            done.add(words[0])
        elif verb == "failed":
            tell(words[0], "failed", words[1])
            if words[0] in jobs:
                # At once, it would keep everybody from all others.
                jobs[words[0]][2] = time.monotonic() + 1
        elif verb == "dead":
            tell(words[0], "deadLettered", words[1])
            jobs.pop(words[0], None)
        elif verb == "delete":
            jobs.pop(words[0], None)
        elif verb == "redeliver":
            for of in jobs.values():
                of[2] = 0.0
        elif verb == "run":
            entry, run, event, host = words
            told = {"entry": entry, "run": run, "event": event, "at": time.time(), "instance": host}
            runs.append(json.dumps(told))
            grown.notify_all()
        elif verb == "lock":
            database["locked"] = time.monotonic() + float(words[0])
        return "ok"


def ask_table(verb, *words):
    while (left := database["locked"] - time.monotonic()) > 0:
        time.sleep(left)
    if verb == "read":
        return str(database["format"])
    database["format"] = max(database["format"], int(words[0]))
    return "ok"


def look():
    hidden = sum(of[2] > time.monotonic() for of in jobs.values())
    return json.dumps({"waiting": len(jobs) - hidden, "inFlight": hidden, "at": time.time()})


class Line(socketserver.StreamRequestHandler):
    def handle(self):
        words = self.rfile.readline().decode().split()
        if words == ["ledger"]:
            self.tell(ledger, look)
        elif words == ["runs"]:
            self.tell(runs, None)
        elif words[:1] == ["open"]:
            self.hold(int(words[1]))
        elif words[:1] in (["read"], ["write"]):
            self.say(ask_table(*words))
        elif words:
            self.say(answer(*words))

    def say(self, text):
        self.wfile.write(f"{text}\n".encode())

    def hold(self, most):
        with grown:
            if database["open"] >= most:
                return self.say("full")
            database["open"] += 1
        try:
            self.say("ok")
            self.rfile.read()
        finally:
            with grown:
                database["open"] -= 1

    def tell(self, lines, look):
        told = 0
        looked = 0.0
        while True:
            with grown:
                grown.wait_for(lambda: len(lines) > told, timeout=0.3)
                new = lines[told:]
                told += len(new)
                if look and time.monotonic() - looked > 0.3:
                    looked = time.monotonic()
                    new.append(look())
            try:
                self.wfile.write("".join(f"{line}\n" for line in new).encode())
            except OSError:
                return


class Server(socketserver.ThreadingTCPServer):
    daemon_threads = True
    request_queue_size = 128


with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
    asked = fcntl.ioctl(probe.fileno(), SIOCGIFADDR, struct.pack("256s", b"docker0"))
server = Server((socket.inet_ntoa(asked[20:24]), 0), Line)
threading.Thread(target=server.serve_forever, daemon=True).start()
print("%s:%d" % server.server_address, flush=True)
sys.stdin.read()
os._exit(0)
