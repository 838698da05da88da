"""A queue as SQS is one: what was taken and not deleted within the visibility timeout is given out again. It keeps a
ledger of everything that happened, and another one of runs that it is told of.

    queue.py VISIBILITY

Prints the address it listens on: that of Docker's bridge, which containers reach. It ends when its standard input does.

Each connection is one line and its answer:

    put ID CLASS SECONDS   ok
    take HOST              ID CLASS SECONDS, or - when there is nothing
    effect ID HOST         ok
    delete ID              ok
    run ENTRY ID EVENT HOST  ok
    ledger                 JSON lines without end, from the first on; `runs` are those of runs
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
jobs = {}  # by id: class, seconds, and until when it is hidden
classes = {}  # by id, of deleted jobs, too
ledger = []
runs = []


def tell(job, event, host):
    told = {"job": job, "event": event, "at": time.time(), "instance": host, "class": classes[job]}
    ledger.append(json.dumps(told))
    grown.notify_all()


def answer(verb, *words):
    with grown:
        if verb == "put":
            job, kind, seconds = words
            classes[job] = kind
            jobs[job] = [kind, seconds, 0.0]
        elif verb == "take":
            for job, of in jobs.items():
                if of[2] <= time.monotonic():
                    of[2] = time.monotonic() + VISIBILITY
                    tell(job, "received", words[0])
                    return f"{job} {of[0]} {of[1]}"
            return "-"
        elif verb == "effect":
            tell(words[0], "effect", words[1])
        elif verb == "run":
            entry, run, event, host = words
            told = {"entry": entry, "run": run, "event": event, "at": time.time(), "instance": host}
            runs.append(json.dumps(told))
            grown.notify_all()
        elif verb == "delete":
            jobs.pop(words[0], None)
        return "ok"


def look():
    hidden = sum(of[2] > time.monotonic() for of in jobs.values())
    return json.dumps({"waiting": len(jobs) - hidden, "inFlight": hidden, "at": time.time()})


class Line(socketserver.StreamRequestHandler):
    def handle(self):
        words = self.rfile.readline().decode().split()
        if words == ["ledger"]:
            return self.tell(ledger, look)
        if words == ["runs"]:
            return self.tell(runs, None)
        if words:
            self.wfile.write(f"{answer(*words)}\n".encode())

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
