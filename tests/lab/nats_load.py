"""Writes to a key-value bucket of NATS for a while, through crashes, and says what was acknowledged and what is left.

Runs on a lab host with the certificate of an agent: ``python3 nats_load.py JSON``, standard library only.
"""

from __future__ import annotations

import json
import socket
import ssl
import sys
import time
from pathlib import Path
from typing import Any

INBOX = "_INBOX.sales.load"


class Connection:
    """One connection to one server."""

    def __init__(self, settings: dict[str, Any], address: str) -> None:
        raw = socket.create_connection((address, settings["port"]), 1)
        raw.makefile("rb", buffering=0).readline()
        context = ssl.create_default_context(cafile=settings["authority"])
        context.load_cert_chain(settings["certificate"], settings["key"])
        self.stream = context.wrap_socket(raw, server_hostname=address).makefile("rwb")
        self.send('CONNECT {"verbose":false,"pedantic":false,"headers":true,"no_responders":true}\r\n')
        self.send(f"SUB {INBOX}.* 1\r\nPING\r\n")

    def send(self, text: str) -> None:
        self.stream.write(text.encode())
        self.stream.flush()

    def ask(self, subject: str, body: str, mark: str) -> dict[str, Any]:
        """Ask and return the answer to this very question. OSError when there is none within a second."""
        self.send(f"PUB {subject} {INBOX}.{mark} {len(body)}\r\n{body}\r\n")
        while True:
            line = self.stream.readline().decode().split()
            if not line or line[0] == "-ERR":
                raise OSError(" ".join(line) or "closed")
            if line[0] == "PING":
                self.send("PONG\r\n")
            if line[0] in ("MSG", "HMSG"):
                content = self.stream.read(int(line[-1]) + 2).decode()
                if line[0] == "HMSG":
                    raise OSError("nobody answers")
                if line[1] == f"{INBOX}.{mark}":
                    return dict(json.loads(content))


class Cluster:
    """Keeps one connection to whichever server takes it."""

    def __init__(self, settings: dict[str, Any]) -> None:
        self.settings = settings
        self.next = 0
        self.connection: Connection | None = None

    def ask(self, subject: str, body: str, mark: str) -> dict[str, Any]:
        try:
            if self.connection is None:
                addresses = self.settings["addresses"]
                self.next += 1
                self.connection = Connection(self.settings, addresses[self.next % len(addresses)])
            return self.connection.ask(subject, body, mark)
        except OSError:
            self.connection = None
            raise


def main() -> None:
    settings = json.loads(sys.argv[1])
    cluster = Cluster(settings)
    acknowledged: list[int] = []
    longest, last, number = 0.0, time.monotonic(), 0
    Path(settings["started"]).touch()
    end = time.monotonic() + settings["seconds"]
    while time.monotonic() < end and not Path(settings["stop"]).exists():
        number += 1
        try:
            answer = cluster.ask(f"$KV.configuration.load-{number}", str(number), f"w{number}")
        except OSError:
            time.sleep(0.05)
            continue
        if "error" in answer:
            continue
        now = time.monotonic()
        longest, last = max(longest, now - last), now
        acknowledged.append(number)
    lost = []
    for number in acknowledged:
        for attempt in range(50):
            try:
                question = json.dumps({"last_by_subj": f"$KV.configuration.load-{number}"})
                answer = cluster.ask("$JS.API.STREAM.MSG.GET.KV_configuration", question, f"r{number}-{attempt}")
                break
            except OSError:
                time.sleep(0.1)
        else:
            raise SystemExit("the bucket cannot be read")
        if "message" not in answer:
            lost.append(number)
    print(json.dumps({"sent": number, "acknowledged": len(acknowledged), "lost": lost, "longest": round(longest, 3)}))


if __name__ == "__main__":
    main()
