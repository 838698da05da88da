"""Answers queries as Prometheus does, from the counters that HAProxy keeps.

    prometheus.py RUNTIME BACKEND FAULTS

RUNTIME is the port of HAProxy's stats socket on loopback. What is in the file FAULTS, a number, is added to what failed
on the new side. Prints the port on which it answers. It ends when its standard input does.

Queries: requests{side="old"}, failed{side="new"}, p99{side="new"}.
"""

import csv
import http.server
import json
import os
import re
import socket
import sys
import threading
import time
import urllib.parse

RUNTIME, BACKEND, FAULTS = int(sys.argv[1]), sys.argv[2], sys.argv[3]


def servers():
    with socket.create_connection(("127.0.0.1", RUNTIME), timeout=5) as haproxy:
        haproxy.sendall(f"show stat {BACKEND} 4 -1\n".encode())
        text = b"".join(iter(lambda: haproxy.recv(65536), b"")).decode()
    return list(csv.DictReader(text.lstrip("# ").splitlines()))


def ask(metric, side):
    ours = [row for row in servers() if row["svname"].startswith(side)]
    number = lambda row, key: int(row.get(key) or 0)
    if metric == "p99":
        return 0.01
    if metric == "failed":
        with open(FAULTS) as faults:
            more = int(faults.read()) if side == "new" else 0
        return more + sum(number(row, key) for row in ours for key in ("hrsp_5xx", "econ", "eresp"))
    return sum(number(row, f"hrsp_{of}xx") for row in ours for of in "12345")


class Api(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        url = urllib.parse.urlparse(self.path)
        query = urllib.parse.parse_qs(url.query).get("query", [""])[0]
        found = re.fullmatch(r'(requests|failed|p99)\{side="(old|new)"\}', query)
        if url.path != "/api/v1/query" or not found:
            return self.answer(400, {"status": "error", "errorType": "bad_data", "error": f"cannot parse {query}"})
        value = [time.time(), str(ask(*found.groups()))]
        data = {"resultType": "vector", "result": [{"metric": {}, "value": value}]}
        self.answer(200, {"status": "success", "data": data})

    def answer(self, status, body):
        body = json.dumps(body).encode()
        self.send_response(status)
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        try:
            self.wfile.write(body)
        except BrokenPipeError:
            pass  # who asked has ended

    def log_message(self, *_):
        pass


server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Api)
threading.Thread(target=server.serve_forever, daemon=True).start()
print(server.server_address[1], flush=True)
sys.stdin.read()
os._exit(0)
