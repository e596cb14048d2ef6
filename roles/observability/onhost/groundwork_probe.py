#!/usr/bin/python3
"""Is what this host needs well? Prints one line of JSON for each check; needs Python's standard library alone.

    groundwork-probe [--file FILE ...] [--only WORD ...] [--metrics FILE]

FILE holds a list of checks (``-`` is standard input); without one, those that groundwork put on this host are taken.
``--only`` takes the checks whose name or kind is one of the words. ``--metrics`` writes the results for Prometheus's
textfile collector, too. Exit status: 0 all is well, 2 something is not, 1 the checks cannot be read. A check with
``"required": false`` tells what it found, and all is well without it.
"""

from __future__ import annotations

import argparse
import http.client
import json
import os
import socket
import ssl
import subprocess
import sys
import tempfile
import time
import urllib.parse
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

Check = dict[str, Any]
FILES = "*/observability/probes.json"
CONFIGURATION = Path("/etc/groundwork")
TIMEOUT = 5.0
"""Seconds for a check that does not say."""
AT_ONCE = 8


class NotWellError(Exception):
    """What a check looked at is not as it should be; the message says why."""


def make_context(check: Check) -> ssl.SSLContext:
    """TLS as the check's ``identity`` says: whom to trust, and which certificate to show."""
    identity = check.get("identity") or {}
    context = ssl.create_default_context(cafile=identity.get("authority"))
    context.check_hostname = bool(check.get("server_name") or identity.get("authority"))
    if identity.get("certificate"):
        context.load_cert_chain(identity["certificate"], identity["key"])
    return context


def connect(check: Check) -> socket.socket:
    """A TCP connection to the check's address and port."""
    return socket.create_connection((check["address"], int(check["port"])), float(check.get("timeout", TIMEOUT)))


def start_tls(check: Check, plain: socket.socket) -> ssl.SSLSocket:
    """Speak TLS on an open connection."""
    return make_context(check).wrap_socket(plain, server_hostname=check.get("server_name") or check["address"])


def judge_end(end: float, check: Check) -> Check:
    """Whether a certificate that ends at ``end`` (seconds since 1970) lasts long enough, and when it ends."""
    left = end - time.time()
    if left < float(check.get("days", 0)) * 86400:
        raise NotWellError(f"the certificate ends in {left / 86400:.1f} days")
    return {"expires": end}


def check_tcp(check: Check) -> Check:
    """Something accepts connections."""
    connect(check).close()
    return {}


def check_tls(check: Check) -> Check:
    """A server's certificate is trusted, has the name asked for, and lasts for ``days`` more."""
    with connect(check) as plain, start_tls(check, plain) as stream:
        served = stream.getpeercert() or {}
        return judge_end(ssl.cert_time_to_seconds(str(served["notAfter"])), check)


def check_http(check: Check) -> Check:
    """A URL answers with one of ``status`` (200)."""
    parts = urllib.parse.urlsplit(check["url"])
    timeout = float(check.get("timeout", TIMEOUT))
    connection = http.client.HTTPConnection(parts.hostname or "", parts.port, timeout=timeout)
    if parts.scheme == "https":
        context = make_context(check)
        connection = http.client.HTTPSConnection(parts.hostname or "", parts.port, timeout=timeout, context=context)
    try:
        connection.request("GET", (parts.path or "/") + (f"?{parts.query}" if parts.query else ""))
        status = connection.getresponse().status
    finally:
        connection.close()
    if status not in check.get("status", [200]):
        raise NotWellError(f"answers {status}")
    return {}


def check_redis(check: Check) -> Check:
    """A Redis answers PING over TLS; that it wants a password first is an answer, too."""
    with connect(check) as plain, start_tls(check, plain) as stream:
        stream.sendall(b"PING\r\n")
        answer = stream.recv(200).decode("latin-1").strip()
    if not answer.startswith(("+PONG", "-NOAUTH")):
        raise NotWellError(f"answers {answer[:80]!r}")
    return {}


def check_postgresql(check: Check) -> Check:
    """A PostgreSQL agrees to speak TLS (protocol, "SSL Session Encryption") and shows a trusted certificate."""
    with connect(check) as plain:
        plain.sendall(b"\x00\x00\x00\x08\x04\xd2\x16\x2f")
        answer = plain.recv(1)
        if answer != b"S":
            raise NotWellError(f"does not offer TLS: {answer!r}")
        with start_tls(check, plain):
            return {}


def check_nats(check: Check) -> Check:
    """A NATS greets, and shows a trusted certificate."""
    with connect(check) as plain:
        greeting = plain.recv(4096)
        if not greeting.startswith(b"INFO "):
            raise NotWellError(f"greets with {greeting[:40]!r}")
        with start_tls(check, plain):
            return {}


def run(check: Check, *command: str) -> str:
    """Run a program and return its output."""
    timeout = float(check.get("timeout", TIMEOUT))
    done = subprocess.run(command, capture_output=True, text=True, timeout=timeout, check=False)
    if done.returncode:
        raise NotWellError((done.stdout.strip() or done.stderr.strip() or f"exit status {done.returncode}")[:200])
    return done.stdout


def check_unit(check: Check) -> Check:
    """A unit of systemd is active."""
    run(check, "systemctl", "is-active", "--", check["unit"])
    return {}


def check_certificate(check: Check) -> Check:
    """A certificate's file lasts for ``days`` more."""
    output = run(check, "openssl", "x509", "-noout", "-enddate", "-in", check["path"])
    return judge_end(ssl.cert_time_to_seconds(output.strip().partition("=")[2]), check)


def check_gpu(check: Check) -> Check:
    """The driver answers, and shows at least ``count`` GPUs (1)."""
    found = len(run(check, "nvidia-smi", "--query-gpu=uuid", "--format=csv,noheader").split())
    if found < int(check.get("count", 1)):
        raise NotWellError(f"shows {found} GPUs")
    return {}


KINDS = {
    "tcp": check_tcp, "tls": check_tls, "http": check_http, "redis": check_redis, "postgresql": check_postgresql,
    "nats": check_nats, "unit": check_unit, "certificate": check_certificate, "gpu": check_gpu,
}  # fmt: skip


def carry_out(check: Check) -> Check:
    """Carry out one check and return its result, whatever happens."""
    started = time.monotonic()
    result: Check = {"name": check["name"], "kind": check["kind"], "ok": True, "detail": ""}
    result["required"] = check.get("required", True) is not False
    try:
        result.update(KINDS[check["kind"]](check))
    except NotWellError as error:
        result.update(ok=False, detail=str(error))
    except (OSError, subprocess.SubprocessError, http.client.HTTPException, KeyError, ValueError) as error:
        result.update(ok=False, detail=f"{type(error).__name__}: {error}"[:200])
    result["seconds"] = round(time.monotonic() - started, 4)
    return result


def read_checks(files: Iterable[str]) -> list[Check]:
    """The checks of all files. Raises ValueError for what is no check, OSError for what cannot be read."""
    checks: list[Check] = []
    for name in files:
        found = json.loads(sys.stdin.read() if name == "-" else Path(name).read_text(encoding="utf-8"))
        for check in found if isinstance(found, list) else [found]:
            kind = check.get("kind") if isinstance(check, dict) else None
            if kind not in KINDS:
                raise ValueError(f"{name}: {kind!r} is no kind of check; there are {', '.join(KINDS)}")
            checks.append({"name": kind, **check})
    return checks


def quote(text: object) -> str:
    """A label's value in Prometheus's text format."""
    return str(text).replace("\\", "\\\\").replace('"', '\\"').replace("\n", " ")


def render_metrics(results: list[Check]) -> str:
    """The results in Prometheus's text format."""
    lines: list[str] = []
    families: tuple[tuple[str, str, Callable[[Check], Any]], ...] = (
        ("groundwork_probe_success", "1 if the check found all well.", lambda one: int(one["ok"])),
        ("groundwork_probe_duration_seconds", "Time that the check took.", lambda one: one["seconds"]),
        ("groundwork_probe_expires_timestamp_seconds", "When the certificate ends.", lambda one: one.get("expires")),
    )
    for family, told, read in families:
        lines += [f"# HELP {family} {told}", f"# TYPE {family} gauge"]
        for one in results:
            if read(one) is not None:
                required = "" if one["required"] else ',required="false"'
                lines.append(f'{family}{{name="{quote(one["name"])}",kind="{one["kind"]}"{required}}} {read(one)}')
    lines += ["# TYPE groundwork_probe_last_run_timestamp_seconds gauge"]
    lines += [f"groundwork_probe_last_run_timestamp_seconds {time.time():.0f}", ""]
    return "\n".join(lines)


def write_metrics(path: Path, text: str) -> None:
    """Replace the file in one step, so that no half of it is collected."""
    handle, candidate = tempfile.mkstemp(dir=path.parent)
    with os.fdopen(handle, "w", encoding="utf-8") as file:
        file.write(text)
    Path(candidate).chmod(0o644)
    Path(candidate).replace(path)


def main() -> int:
    """Carry the checks out side by side and return the exit status."""
    parser = argparse.ArgumentParser(prog="groundwork-probe", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--file", action="append", help="file with checks; - is standard input")
    parser.add_argument("--only", action="append", help="name or kind of the checks to carry out")
    parser.add_argument("--metrics", help="file for the textfile collector")
    arguments = parser.parse_args()
    try:
        checks = read_checks(arguments.file or sorted(map(str, CONFIGURATION.glob(FILES))))
    except (OSError, ValueError) as error:
        print(f"groundwork-probe: {error}", file=sys.stderr)
        return 1
    chosen = [one for one in checks if not arguments.only or {one["name"], one["kind"]} & set(arguments.only)]
    if not chosen:
        print("groundwork-probe: there are no such checks", file=sys.stderr)
        return 1
    with ThreadPoolExecutor(AT_ONCE) as pool:
        results = list(pool.map(carry_out, chosen))
    for result in results:
        print(json.dumps(result))
    if arguments.metrics:
        write_metrics(Path(arguments.metrics), render_metrics(results))
    return 0 if all(result["ok"] or not result["required"] for result in results) else 2


if __name__ == "__main__":
    sys.exit(main())
