"""An agent as Prometheus sees it: mutual TLS, ``agent_ready`` and requests, of which a file decides how many fail.

Started on a lab host with one argument, a JSON object; stops when it is terminated.
"""

import http.server
import json
import pathlib
import ssl
import sys
import threading
import time

SETTINGS = json.loads(sys.argv[1])
COUNTS = {"200": 0, "500": 0}


def follow_certificate() -> None:
    """Serve the expired certificate for as long as a file says so."""
    expired = False
    while True:
        wanted = pathlib.Path(SETTINGS["failing"] + "-expired").exists()
        if wanted != expired:
            expired = wanted
            files = ("/run/agent-expired.pem",) if expired else (SETTINGS["certificate"], SETTINGS["key"])
            context.load_cert_chain(*files)
        time.sleep(0.5)


def serve_requests() -> None:
    """Make as if so many requests a second were answered; while the file is there, all of them fail."""
    while True:
        failing = pathlib.Path(SETTINGS["failing"]).exists()
        COUNTS["500" if failing else "200"] += 5
        time.sleep(0.5)


class Agent(http.server.BaseHTTPRequestHandler):
    """Shows the metrics."""

    def do_GET(self) -> None:
        """Answer a scrape."""
        unready = pathlib.Path(SETTINGS["failing"] + "-unready").exists()
        lines = [f"agent_ready {0 if unready else 1}"]
        for status, count in COUNTS.items():
            if count:
                lines.append(f'agent_requests_total{{method="GET",route="/work",status="{status}"}} {count}')
        body = ("\n".join(lines) + "\n").encode()
        self.send_response(200)
        self.send_header("Content-Type", "text/plain; version=0.0.4")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *arguments: object) -> None:
        """Say nothing."""


server = http.server.ThreadingHTTPServer((SETTINGS["address"], SETTINGS["port"]), Agent)
context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
context.load_cert_chain(SETTINGS["certificate"], SETTINGS["key"])
context.load_verify_locations(SETTINGS["authority"])
context.verify_mode = ssl.CERT_REQUIRED
server.socket = context.wrap_socket(server.socket, server_side=True)
threading.Thread(target=follow_certificate, daemon=True).start()
threading.Thread(target=serve_requests, daemon=True).start()
server.serve_forever()
