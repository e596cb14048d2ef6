#!/usr/bin/env python3
"""Looks after a NATS server from its own host, with the standard library alone.

nats-admin ready PORT           wait until the server with this monitoring port works (at most 30 s)
nats-admin reload PORT PROCESS  have it read its configuration again; fail when it refuses
nats-admin loaded PORT          print when it last read its configuration (seconds since 1970)
nats-admin streams FILE         print how JetStream's streams and consumers differ from FILE
nats-admin apply FILE           make and change them until they do not; none is removed

Protocols: docs.nats.io, "NATS Protocol" (client) and "Monitoring"; JetStream's requests are JSON.
"""

from __future__ import annotations

import json
import os
import secrets
import signal
import socket
import ssl
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from datetime import datetime
from pathlib import Path
from typing import Any

PATIENCE = 30.0
# JetStream's codes for "no stream of that name" and "no leader yet" (server/errors.json).
NOT_FOUND, NO_LEADER = 404, 503
ABSENT = "absent"


class AdminError(Exception):
    """What went wrong, in one line."""


def ask_monitoring(port: int, path: str) -> dict[str, Any]:
    """The answer of the monitoring port as an object. Raises OSError where there is none, or a bad status."""
    # Never through a proxy that the environment may name.
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    with opener.open(f"http://127.0.0.1:{port}/{path}", timeout=5) as answer:
        return dict(json.loads(answer.read()))


def wait_until(done: Callable[[], bool], patience: float, pause: float = 0.1) -> bool:
    """Whether it came true within ``patience`` seconds; unanswered questions count as not yet."""
    end = time.monotonic() + patience
    while True:
        try:
            if done():
                return True
        except OSError:
            pass
        if time.monotonic() > end:
            return False
        time.sleep(pause)


def parse_time(text: str) -> float:
    """Seconds since 1970 from ``2026-11-21T02:12:32.123456789Z``, which has more digits than Python takes."""
    whole, _, rest = text.removesuffix("Z").partition(".")
    return datetime.fromisoformat(f"{whole}+00:00").timestamp() + float(f"0.{rest or 0}")


def ask_loaded(port: int) -> float:
    """When the server last read its configuration."""
    return parse_time(str(ask_monitoring(port, "varz")["config_load_time"]))


def ready(port: int) -> None:
    """Wait until JetStream works; a member of a cluster may wait for the others longer than this does."""
    if not wait_until(lambda: ask_monitoring(port, "healthz").get("status") == "ok", PATIENCE):
        ask_monitoring(port, "varz")
        print("answers, but does not call itself healthy yet: are the other servers of the cluster up?")


def reload(port: int, process: int) -> None:
    """Send SIGHUP and wait until the server says that it has read its configuration; it refuses silently."""
    before = ask_loaded(port)
    os.kill(process, signal.SIGHUP)
    if not wait_until(lambda: ask_loaded(port) > before, 10):
        raise AdminError("the server kept its former configuration; its log says why")


class Client:
    """One connection that asks one question at a time."""

    def __init__(self, settings: dict[str, Any]) -> None:
        self.inbox = f"_INBOX.admin.{secrets.token_hex(8)}"
        raw = socket.create_connection((settings["address"], settings["port"]), 10)
        info = raw.makefile("rb", buffering=0).readline()
        if not info.startswith(b"INFO "):
            raise AdminError("is no NATS server")
        context = ssl.create_default_context(cafile=settings["authority"])
        context.load_cert_chain(settings["certificate"], settings["key"])
        self.stream = context.wrap_socket(raw, server_hostname=settings["address"]).makefile("rwb")
        options: dict[str, object] = {"verbose": False, "pedantic": False, "protocol": 1}
        options |= {"headers": True, "no_responders": True}
        options |= {"lang": "python", "version": "1", "name": "nats-admin", "tls_required": True}
        self.send(f"CONNECT {json.dumps(options)}\r\nSUB {self.inbox} 1\r\n")

    def send(self, text: str) -> None:
        """Send protocol lines."""
        self.stream.write(text.encode())
        self.stream.flush()

    def ask(self, subject: str, question: object = None) -> dict[str, Any]:
        """Ask JetStream and return its answer. Raises AdminError when the server refuses or nobody listens."""
        body = "" if question is None else json.dumps(question)
        self.send(f"PUB {subject} {self.inbox} {len(body.encode())}\r\n{body}\r\n")
        while True:
            line = self.stream.readline().decode().split()
            verb = line[0] if line else ""
            if verb == "PING":
                self.send("PONG\r\n")
            elif verb == "MSG":
                return dict(json.loads(self.stream.read(int(line[-1]) + 2)))
            elif verb == "HMSG":
                # Only a status comes with headers: nobody answers on the subject yet.
                self.stream.read(int(line[-1]) + 2)
                return {"error": {"code": NO_LEADER, "description": "JetStream does not answer"}}
            elif verb in ("", "-ERR"):
                raise AdminError(" ".join(line) or "the server closed the connection")


def compare(client: Client, name: str, subject: str, wanted: dict[str, Any]) -> str:
    """How what is there differs from what is wanted; an empty string where it does not."""
    answer = client.ask(subject)
    error = answer.get("error")
    if error and error["code"] != NOT_FOUND:
        raise AdminError(f"{name}: {error['description']}")
    if error:
        return ABSENT
    # What is false or 0 is left out of an answer.
    config = answer.get("config", {})
    differing = [key for key, value in wanted.items() if config.get(key, type(value)()) != value]
    return "differs in " + ", ".join(sorted(differing)) if differing else ""


def find_differences(client: Client, streams: list[dict[str, Any]]) -> dict[str, str]:
    """By the stream's name how it differs from what is declared."""
    found = {one["name"]: compare(client, one["name"], f"$JS.API.STREAM.INFO.{one['name']}", one) for one in streams}
    return {name: text for name, text in found.items() if text}


def name_consumer(consumer: dict[str, Any]) -> str:
    """Where JetStream has a consumer: ``STREAM.CONSUMER``."""
    return f"{consumer['stream']}.{consumer['config']['durable_name']}"


def find_consumer_differences(client: Client, consumers: list[dict[str, Any]]) -> dict[str, str]:
    """By the consumer's place how it differs; those of streams that are not there yet are absent."""
    names = {name_consumer(one): one["config"] for one in consumers}
    found = {name: compare(client, name, f"$JS.API.CONSUMER.INFO.{name}", one) for name, one in names.items()}
    return {name: text for name, text in found.items() if text}


def find_all_differences(client: Client, settings: dict[str, Any]) -> dict[str, str]:
    """How streams and consumers differ from what is declared."""
    streams = find_differences(client, settings["streams"])
    return streams | find_consumer_differences(client, settings.get("consumers", []))


def send_deed(client: Client, name: str, subject: str, content: dict[str, Any]) -> None:
    """Have JetStream make or change something. Raises AdminError with its reason when it refuses."""
    answer = client.ask(subject, content)
    if "error" in answer:
        raise AdminError(f"{name}: {answer['error']['description']}")


def apply_streams(settings: dict[str, Any]) -> None:
    """Make what is absent and change what differs. Those that give space back come first, consumers last."""
    client = Client(settings)
    differences = find_differences(client, settings["streams"])
    wanted = [stream for stream in settings["streams"] if stream["name"] in differences]
    for stream in sorted(wanted, key=lambda one: differences[one["name"]] == ABSENT):
        verb = "CREATE" if differences[stream["name"]] == ABSENT else "UPDATE"
        send_deed(client, stream["name"], f"$JS.API.STREAM.{verb}.{stream['name']}", stream)
    consumers = settings.get("consumers", [])
    differences = find_consumer_differences(client, consumers)
    for consumer in consumers:
        name = name_consumer(consumer)
        if name in differences:
            # One subject for both: a consumer that is there is changed (docs.nats.io, "JetStream wire API").
            content = {"stream_name": consumer["stream"], "config": consumer["config"]}
            send_deed(client, name, f"$JS.API.CONSUMER.DURABLE.CREATE.{name}", content)
    if left := find_all_differences(client, settings):
        raise AdminError("; ".join(f"{name}: {text}" for name, text in left.items()))


def apply(settings: dict[str, Any]) -> None:
    """Apply streams and consumers, again while a cluster that has just started elects its leaders."""
    end = time.monotonic() + PATIENCE
    while True:
        try:
            return apply_streams(settings)
        except (AdminError, OSError):
            if time.monotonic() > end:
                raise
            time.sleep(1)


def main(arguments: list[str]) -> int:
    """Run one command; exit status 1 with a line on standard error when it fails."""
    try:
        match arguments:
            case ["ready", port]:
                ready(int(port))
            case ["reload", port, process]:
                reload(int(port), int(process))
            case ["loaded", port]:
                print(ask_loaded(int(port)))
            case ["streams" | "apply" as command, path]:
                settings = json.loads(Path(path).read_text())
                if command == "apply":
                    apply(settings)
                else:
                    for name, text in find_all_differences(Client(settings), settings).items():
                        print(f"{name} {text}")
            case _:
                raise AdminError((__doc__ or "").strip())
    except (AdminError, OSError, ValueError) as error:
        print(f"nats-admin: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
