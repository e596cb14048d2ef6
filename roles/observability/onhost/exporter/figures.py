"""What nginx, PgBouncer and NATS say of themselves, and how Prometheus reads it.

Metrics have the names that the usual exporters give them (nginxinc/nginx-prometheus-exporter,
prometheus-community/pgbouncer_exporter, nats-io/prometheus-nats-exporter), so that dashboards for those fit.
"""

from __future__ import annotations

import http.client
import json
import os
import re
import resource
import ssl
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from .console import TIMEOUT, Console, UnreadableError

STARTED = time.time()
Target = dict[str, Any]
Sample = tuple[str, dict[str, str], float]
"""Name, labels, value; a name that ends in ``_total``, and those of COUNTERS, only ever grow."""
COUNTERS = re.compile(r".*_total|nginx_connections_(accepted|handled)|gnatsd_varz_(in|out)_(msgs|bytes)")


def ask_http(target: Target, path: str) -> bytes:
    """Body of a plain HTTP answer from this host."""
    connection = http.client.HTTPConnection(target["address"], int(target["port"]), timeout=TIMEOUT)
    try:
        connection.request("GET", path)
        answer = connection.getresponse()
        body = answer.read()
    finally:
        connection.close()
    if answer.status != 200:
        raise UnreadableError(f"{path} answers {answer.status}")
    return body


def read_nginx(target: Target) -> Iterator[Sample]:
    """Figures of nginx's module stub_status."""
    text = ask_http(target, "/stub_status").decode("ascii", "replace")
    found = re.fullmatch(
        r"Active connections: (\d+) \nserver accepts handled requests\n (\d+) (\d+) (\d+) \n"
        r"Reading: (\d+) Writing: (\d+) Waiting: (\d+) \n",
        text,
    )
    if found is None:
        raise UnreadableError("does not answer as stub_status does")
    names = ("active", "accepted", "handled", "", "reading", "writing", "waiting")
    for name, value in zip(names, found.groups(), strict=True):
        yield f"nginx_connections_{name}" if name else "nginx_http_requests_total", {}, float(value)


def read_nats(target: Target) -> Iterator[Sample]:
    """Figures of NATS's monitoring: the server's own, and those of JetStream where it runs."""
    server = json.loads(ask_http(target, "/varz"))
    labels = {"server_id": str(server["server_name"])}
    for name in ("connections", "subscriptions", "slow_consumers", "routes", "mem", "cpu", "max_connections"):
        yield f"gnatsd_varz_{name}", labels, float(server.get(name) or 0)
    for name in ("in_msgs", "out_msgs", "in_bytes", "out_bytes"):
        yield f"gnatsd_varz_{name}", labels, float(server[name])
    stream = json.loads(ask_http(target, "/jsz"))
    if not stream.get("disabled"):
        for name in ("streams", "consumers", "messages", "bytes", "memory", "storage"):
            yield f"jetstream_server_total_{name}", labels, float(stream.get(name) or 0)
        for name, key in (("max_memory", "max_memory"), ("max_storage", "max_storage")):
            yield f"jetstream_server_{name}", labels, float((stream.get("config") or {}).get(key) or 0)


# Columns of SHOW STATS and SHOW POOLS (pgbouncer(5)), with the exporter's name of each and what makes seconds of it.
STATS = {
    "total_query_count": ("pgbouncer_stats_queries_total", 1.0),
    "total_xact_count": ("pgbouncer_stats_transactions_total", 1.0),
    "total_received": ("pgbouncer_stats_received_bytes_total", 1.0),
    "total_sent": ("pgbouncer_stats_sent_bytes_total", 1.0),
    "total_query_time": ("pgbouncer_stats_queries_duration_seconds_total", 1e-6),
    "total_xact_time": ("pgbouncer_stats_transactions_duration_seconds_total", 1e-6),
    "total_wait_time": ("pgbouncer_stats_client_wait_seconds_total", 1e-6),
}
POOLS = {
    "cl_active": "client_active_connections",
    "cl_waiting": "client_waiting_connections",
    "sv_active": "server_active_connections",
    "sv_idle": "server_idle_connections",
    "sv_used": "server_used_connections",
    "sv_login": "server_login_connections",
    "maxwait": "client_maxwait_seconds",
}


def read_pgbouncer(target: Target, context: ssl.SSLContext) -> Iterator[Sample]:
    """Figures of PgBouncer, by database, and by pool."""
    console = Console(target, context)
    try:
        stats, pools = console.ask("SHOW STATS"), console.ask("SHOW POOLS")
    finally:
        console.close()
    for row in stats:
        for column, (name, factor) in STATS.items():
            yield name, {"database": row["database"]}, float(row[column]) * factor
    for row in pools:
        labels = {"database": row["database"], "user": row["user"]}
        for column, name in POOLS.items():
            yield f"pgbouncer_pools_{name}", labels, float(row[column])


def read_own() -> Iterator[Sample]:
    """What this program takes itself."""
    usage = resource.getrusage(resource.RUSAGE_SELF)
    pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1])
    yield "process_cpu_seconds_total", {}, usage.ru_utime + usage.ru_stime
    yield "process_resident_memory_bytes", {}, float(pages * os.sysconf("SC_PAGE_SIZE"))
    yield "process_start_time_seconds", {}, STARTED


def render(samples: Iterator[Sample]) -> str:
    """Samples in Prometheus's text format (version 0.0.4); a type once, before the first of each name."""
    groups: dict[str, list[str]] = {}
    for name, labels, value in samples:
        escaped = {k: v.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n") for k, v in labels.items()}
        shown = ",".join(f'{key}="{text}"' for key, text in escaped.items())
        groups.setdefault(name, []).append(f"{name}{{{shown}}} {value!r}" if shown else f"{name} {value!r}")
    lines: list[str] = []
    for name, found in groups.items():
        lines += [f"# TYPE {name} {'counter' if COUNTERS.fullmatch(name) else 'gauge'}", *found]
    return "\n".join(lines) + "\n"
