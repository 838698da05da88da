"""An admission webhook: refuses everything, or accepts connections and never answers, or allows everything and runs a
command before its first answer.

    webhook.py refuses|silent|runs ADDRESS DIR [COMMAND...]

Prints the port of loopback it listens on. ADDRESS is what the API server calls it by: its certificate,
made by an authority that is left in DIR/ca.pem, is for that. It ends when its standard output is closed.
"""

import http.server
import json
import os
import socket
import ssl
import subprocess
import sys
import threading
import time

kind, address, directory, *command = sys.argv[1:]
os.chdir(directory)


def openssl(*words):
    subprocess.run(["openssl", *words], check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)


openssl("req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "1", "-subj", "/CN=webhook", "-keyout", "key.pem",
        "-out", "ca.pem", "-addext", f"subjectAltName=IP:{address}")


class Answers(http.server.BaseHTTPRequestHandler):
    def do_POST(self):
        review = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        if command:
            once, command[:] = list(command), []
            subprocess.run(once, check=True, stdout=subprocess.DEVNULL)
        answer = {"uid": review["request"]["uid"], "allowed": kind == "runs", "status": {"message": "not on a Friday"}}
        body = json.dumps({"apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview", "response": answer}).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_):
        pass


if kind != "silent":
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Answers)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain("ca.pem", "key.pem")
    server.socket = context.wrap_socket(server.socket, server_side=True)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    port = server.server_address[1]
else:
    listener = socket.create_server(("127.0.0.1", 0))
    kept = []
    threading.Thread(target=lambda: [kept.append(listener.accept()) for _ in iter(int, 1)], daemon=True).start()
    port = listener.getsockname()[1]
print(port, flush=True)
# Whoever started it reads no more: then it goes, too.
parent = os.getppid()
while os.getppid() == parent:
    time.sleep(1)
