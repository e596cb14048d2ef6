"""nginx answers as the manifest's exposure says: asked over real TLS from the controller."""

from __future__ import annotations

import json
import time
import uuid
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from testinfra.host import Host

from groundwork.engine.https_client import Answer, HttpsClient, send
from groundwork.inventory import InventoryHost
from groundwork.manifest.exposure import Exposure
from groundwork.site import Site
from groundwork.topology.scraping import NGINX_STATUS_PORT

Exposed = list[tuple[str, Exposure, HttpsClient]]
SECURITY_HEADERS = {
    "Strict-Transport-Security": "max-age=31536000",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "strict-origin-when-cross-origin",
    # The version is nobody's business.
    "Server": "nginx",
}
AT_ONCE = 8
MOST_REQUESTS = 3000
MOST_SECONDS = 20
"""More are not sent, and no longer, to reach a rate limit."""
CONFINED = 2.3
"""Highest value of systemd-analyze security; 2.3 is what is reached while nginx's master has to start as root."""


def flood(client: HttpsClient, path: str) -> tuple[int, Answer | None, float]:
    """Ask until a request is refused: how many were served, the refusal if there was one, and the seconds it took."""
    refusals: list[Answer] = []
    counts = [0] * AT_ONCE
    started = time.monotonic()

    def ask_on(number: int) -> None:
        connection = client.connect()
        while not refusals and sum(counts) < MOST_REQUESTS and time.monotonic() - started < MOST_SECONDS:
            answer = send(connection, path)
            if answer.status == 429:
                refusals.append(answer)
            else:
                counts[number] += 1
        connection.close()

    with ThreadPoolExecutor(AT_ONCE) as pool:
        list(pool.map(ask_on, range(AT_ONCE)))
    return sum(counts), refusals[0] if refusals else None, time.monotonic() - started


@pytest.fixture
def exposed(site: Site, host_model: InventoryHost) -> Exposed:
    """Every site of the host: its name, what is declared of it, and a client that asks it."""
    placed = [
        (item.exposure, site.platform.exposure[item.exposure]) for item in site.topology.sites_on(host_model.name)
    ]
    return [
        (name, one, HttpsClient(host_model.address, one.port, one.server_names[0].replace("*", "any")))
        for name, one in placed
    ]


def each_route(exposed: Exposed, *kinds: str) -> Iterator[tuple[Exposure, HttpsClient, str]]:
    for _, declared, client in exposed:
        for path, route in declared.routes.items():
            if any(getattr(route, kind) for kind in kinds):
                yield declared, client, path


def assert_headers(declared: Exposure, answer: Answer) -> None:
    for name, value in SECURITY_HEADERS.items():
        assert answer.all(name) == [value], f"{name} on {answer.status}"
    assert answer.all("Content-Security-Policy") == [declared.content_security_policy]
    assert "camera=()" in answer.all("Permissions-Policy")[0]
    assert len(answer.all("X-Request-ID")) == 1


def read_log(host: Host) -> str:
    time.sleep(0.3)
    return str(host.check_output("journalctl --unit nginx --since -10min --output cat --no-pager"))


def requests_logged(host: Host) -> dict[str, dict[str, Any]]:
    lines = [json.loads(line) for line in read_log(host).splitlines() if line.startswith("{")]
    return {line["request_id"]: line for line in lines}


def test_headers_are_on_every_answer(exposed: Exposed) -> None:
    for _, declared, client in exposed:
        for path in declared.routes:
            assert_headers(declared, client.ask(path))
        assert_headers(declared, client.ask("/", "DELETE"))
        missing = client.ask("/no/such/path/anywhere.png")
        assert_headers(declared, missing)
        assert b"Welcome to nginx" not in client.ask("/").body


def test_static_files_are_served_and_revalidated(exposed: Exposed) -> None:
    for _, client, path in each_route(exposed, "static"):
        answer = client.ask(path)
        assert (answer.status, answer.all("Cache-Control")) == (200, ["no-cache"])
        (tag,) = answer.all("ETag")
        assert client.ask(path, If_None_Match=tag).status == 304


def test_denied_paths_do_not_exist(exposed: Exposed) -> None:
    for _, client, path in each_route(exposed, "denied"):
        below = f"{path.rstrip('/')}/below"
        assert [client.ask(p).status for p in (path, below, f"/x/..{path}")] == [404, 404, 404]


def test_agents_answer_through_the_proxy(exposed: Exposed, host: Host, site: Site) -> None:
    for declared, client, path in each_route(exposed, "agent", "group"):
        route = declared.routes[path]
        agents = [route.agent] if route.agent else list(site.platform.groups[str(route.group)].agents)
        endpoints = {f"{e.address}:{e.port}" for agent in agents for e in site.topology.endpoints_of(agent)}
        answers = [client.ask(path) for _ in range(12)]
        assert not {answer.status for answer in answers} & {502, 503, 504}
        logged = requests_logged(host)
        used = {logged[answer.all("X-Request-ID")[0]]["upstream"] for answer in answers}
        assert used <= endpoints
        assert len(used) > 1 or len(endpoints) == 1, "the replicas share the requests"


def test_log_holds_no_query_and_no_credentials(exposed: Exposed, host: Host) -> None:
    for _, _, client in exposed:
        marker = uuid.uuid4().hex
        answer = client.ask(f"/?token={marker}", Authorization=f"Bearer {marker}", Referer=f"https://x/?t={marker}")
        log = read_log(host)
        assert answer.all("X-Request-ID")[0] in log
        assert marker not in log


def test_only_declared_origins_may_call(exposed: Exposed) -> None:
    for _, declared, client in exposed:
        paths = list(declared.routes)
        for origin in declared.cors_origins:
            for path in paths:
                answer = client.ask(path, Origin=origin)
                assert answer.all("Access-Control-Allow-Origin") == [origin]
                assert "Origin" in ", ".join(answer.all("Vary"))
            preflight = client.ask(paths[0], "OPTIONS", Origin=origin, Access_Control_Request_Method="POST")
            assert preflight.status == 204
            assert "POST" in preflight.all("Access-Control-Allow-Methods")[0]
        for origin in ("https://evil.example", "null", f"https://{client.server_name}.evil.example"):
            for method in ("GET", "OPTIONS"):
                answer = client.ask(paths[0], method, Origin=origin, Access_Control_Request_Method="POST")
                assert not [key for key, _ in answer.headers if key.lower().startswith("access-control-")]


def test_too_many_requests_are_refused(exposed: Exposed) -> None:
    for _, declared, client in exposed:
        limit = declared.rate_limit
        paths = [path for path, route in declared.routes.items() if not route.denied and not route.rate_limit]
        if limit.burst > MOST_REQUESTS / 3 or not paths:
            pytest.skip(f"a burst of {limit.burst} is too large to send")
        # What nginx answers by itself costs least, so that more of it gets through.
        path = min(paths, key=lambda one: declared.routes[one].static is None)
        served, refused, seconds = flood(client, path)
        if refused is None and served < limit.requests_per_second * seconds:
            pytest.skip(f"{served / seconds:.0f} requests a second, all that got through, stay below the limit")
        assert refused, f"{served} requests were served in {seconds:.1f} s"
        assert served <= limit.burst + AT_ONCE + limit.requests_per_second * (seconds + 1)
        assert_headers(declared, refused)
        assert refused.all("Retry-After")


def test_large_bodies_and_strange_methods_are_refused(exposed: Exposed) -> None:
    for _, declared, client in exposed:
        size = str(declared.maximum_body + 1)
        for path in (path for path, route in declared.routes.items() if not route.denied):
            assert client.ask(path, "POST", Content_Length=size).status == 413
        assert [client.ask("/", method).status for method in ("TRACE", "PROPFIND")] == [405, 405]


def test_nginx_listens_where_it_is_declared_and_nowhere_else(
    exposed: Exposed, host: Host, host_model: InventoryHost, site: Site
) -> None:
    ports = {port for _, one, _ in exposed for port in (one.port, one.redirect_port) if port}
    lines = [line for line in host.check_output("ss -ltnpH").splitlines() if '"nginx"' in line]
    listening = {line.split()[3] for line in lines}
    public = host_model.data.get("public_addresses") or ()
    addresses = {host_model.address, *([public] if isinstance(public, str) else public)}
    # Its figures, for the exporter beside it alone.
    own = {f"127.0.0.1:{NGINX_STATUS_PORT}"} if site.platform.observability.prometheus else set()
    assert listening == own | {f"[{a}]:{p}" if ":" in a else f"{a}:{p}" for a in addresses for p in ports}


def test_nginx_is_confined(host: Host) -> None:
    shown = host.check_output("systemd-analyze security nginx.service --no-pager | tail -1")
    assert float(shown.rpartition(": ")[2].split()[0]) <= CONFINED, shown
    assert host.service("nginx").is_enabled
