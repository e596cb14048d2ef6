"""What nginx is to serve, decided from the manifest and the topology."""

from __future__ import annotations

from typing import Any

import pytest

from groundwork.inventory import Inventory, InventoryHost
from groundwork.manifest.platform import Platform
from groundwork.problems import ProblemError
from groundwork.topology import derive
from roles.reverse_proxy.addresses import host_names, listen_addresses
from roles.reverse_proxy.deploy import list_items, render_configuration
from roles.reverse_proxy.model import PlannedRoute, ProxyPlan
from roles.reverse_proxy.plan import plan_proxy

SITE: dict[str, Any] = {
    "hosts": "app",
    "server_names": ["web.example.org"],
    "cors_origins": ["https://other.example.org"],
    "routes": {
        "/": {"static": "site", "single_page": True},
        "/api/": {"agent": "api", "timeout": "5s", "rate_limit": {"requests_per_second": 0.5, "burst": 3}},
        "/events/": {"group": "work", "streaming": True},
        "/docs": {"denied": True},
    },
}


def make_plan(exposure: dict[str, Any], address: str = "10.0.0.1", **data: Any) -> ProxyPlan:
    platform = Platform.model_validate(
        {
            "platform": "sample",
            "runtime": {"package": {"wheel": "x.whl"}},
            "groups": {
                "work": {"hosts": "app", "module": "m", "agents": {"api": {"port": 8000, "replicas": 2}, "quiet": {}}},
                "idle": {"hosts": "app", "module": "m", "agents": {"silent": {}}},
            },
            "exposure": exposure,
            "secrets": {"key": {"kind": "provided"}},
            "lab": {"hosts": {"one": ["app"]}},
        }
    )
    hosts = (
        InventoryHost("one", address, frozenset({"app"}), data),
        InventoryHost("two", "10.0.0.2", frozenset({"app", "front"})),
    )
    topology = derive(platform, Inventory(hosts), "test")
    roots = {(name, path): f"/www/{name}{path}" for name, site in exposure.items() for path in site["routes"]}
    plan = plan_proxy(platform, topology, "one", roots)
    assert plan is not None
    return plan


def render(plan: ProxyPlan, **options: Any) -> str:
    return render_configuration("sample", plan, **{"http2_directive": True, **options})


def blocks(text: str, opening: str) -> list[str]:
    """The text of each block that begins with ``opening``, up to its closing brace."""
    found, lines = [], text.splitlines()
    for start, line in enumerate(lines):
        if line.strip().startswith(opening):
            indent = len(line) - len(line.lstrip())
            end = next(n for n in range(start + 1, len(lines)) if lines[n].rstrip() == " " * indent + "}")
            found.append("\n".join(lines[start:end]))
    return found


def test_all_replicas_on_all_hosts_answer() -> None:
    (api, work) = make_plan({"web": SITE}).upstreams
    assert set(api.servers) == {"10.0.0.1:8000", "10.0.0.1:8001", "10.0.0.2:8000", "10.0.0.2:8001"}
    assert api.servers == work.servers
    assert api.name != work.name


def test_nothing_is_planned_where_nothing_is_exposed() -> None:
    platform = Platform.model_validate(
        {
            "platform": "sample",
            "runtime": {"package": {"wheel": "x.whl"}},
            "groups": {"work": {"hosts": "app", "module": "m", "agents": {"api": {}}}},
            "lab": {"hosts": {"one": ["app"]}},
        }
    )
    topology = derive(platform, Inventory((InventoryHost("one", "10.0.0.1", frozenset({"app"})),)), "test")
    assert plan_proxy(platform, topology, "one", {}) is None


@pytest.mark.parametrize(
    ("path", "matches"),
    [("/", ("/",)), ("/api/", ("^~ /api/",)), ("/docs", ("= /docs", "^~ /docs/"))],
)
def test_a_path_means_itself_and_what_is_below(path: str, matches: tuple[str, ...]) -> None:
    assert PlannedRoute(path, "denied").matches == matches


def test_what_no_route_answers_does_not_exist() -> None:
    site = make_plan({"web": {**SITE, "routes": {"/api/": "api", "/idle/": {"group": "idle"}}}}).sites[0]
    assert {route.path: route.kind for route in site.routes} == {"/api/": "agent", "/idle/": "denied", "/": "denied"}


@pytest.mark.parametrize(
    ("rate", "expected"), [(50, "50r/s"), (1.0, "1r/s"), (0.5, "30r/m"), (1.5, "90r/m"), (0.001, "1r/m")]
)
def test_rates_are_whole_numbers(rate: float, expected: str) -> None:
    limit = {"requests_per_second": rate, "burst": 7}
    site = make_plan({"web": {**SITE, "rate_limit": limit}}).sites[0]
    assert (site.zone.rate, site.zone.burst) == (expected, 7)


def test_a_route_has_its_own_counter_in_place_of_the_sites() -> None:
    plan = make_plan({"web": SITE})
    names = [zone.name for zone in plan.zones]
    assert len(set(names)) == len(names) == 2
    (location,) = blocks(render(plan), "location ^~ /api/")
    assert f"limit_req zone={names[1]} burst=3 nodelay;" in location


def test_streams_outlast_the_timeout_and_others_do_not() -> None:
    routes = {route.path: route for route in make_plan({"web": SITE}).sites[0].routes}
    assert routes["/api/"].timeout_ms == 5000
    assert routes["/events/"].timeout_ms == 3_600_000
    text = render(make_plan({"web": SITE}))
    (stream,), (plain,) = blocks(text, "location ^~ /events/"), blocks(text, "location ^~ /api/")
    assert "proxy_buffering off" in stream
    assert "Upgrade" in stream
    assert "Upgrade" not in plain


def test_headers_are_added_in_no_location() -> None:
    """nginx drops the headers of the outer block as soon as an inner one adds a single one."""
    text = render(make_plan({"web": SITE}))
    locations = blocks(text, "location ")
    assert len(locations) >= 5
    assert not [location for location in locations if "add_header" in location]
    assert [line for line in text.splitlines() if "add_header" in line and "always;" not in line] == []


def test_origins_are_compared_whole() -> None:
    text = render(make_plan({"web": SITE}))
    assert '"https://other.example.org" "https://other.example.org";' in text
    assert "Access-Control-Allow-Origin *" not in text
    assert "cors_origin" not in render(make_plan({"web": {**SITE, "cors_origins": []}}))


def test_names_that_differ_only_in_dashes_keep_apart() -> None:
    second = {**SITE, "server_names": ["b.example.org"]}
    plan = make_plan({"a-b": SITE, "a_b": second})
    assert len({site.key for site in plan.sites}) == 2
    assert len({zone.name for zone in plan.zones}) == 4


def test_a_self_signed_site_answers_at_the_bare_host_and_an_uploaded_certificate_does_not() -> None:
    files = {"source": "files", "certificate": "chain.pem", "key_secret": "key"}
    own, uploaded = make_plan({"web": SITE}), make_plan({"web": {**SITE, "tls": files}})
    assert own.sites[0].server_names == ("web.example.org", "one", "10.0.0.1")
    assert own.sites[0].certificate_names == own.sites[0].server_names
    assert uploaded.sites[0].server_names == ("web.example.org",)
    assert "ssl_reject_handshake on;" not in render(own)
    assert "ssl_reject_handshake on;" in render(uploaded)


def test_a_site_can_show_a_certificate_of_the_environments_authority() -> None:
    plan = make_plan({"web": {**SITE, "tls": {"source": "authority"}}}, public_addresses=["192.0.2.7"])
    (site,) = plan.sites
    folder = "/etc/groundwork/sample/certificates/site-web/current"
    assert (site.certificate, site.private_key) == (f"{folder}/certificate.pem", f"{folder}/key.pem")
    assert (site.is_laid_down, site.certificate_input, site.certificate_names) == (False, folder, ())
    # The certificate names the host as the inventory knows it, and no further address.
    assert site.server_names == ("web.example.org", "one", "10.0.0.1")
    text = render(plan)
    assert text.count(f"ssl_certificate {folder}/certificate.pem;") == text.count(
        f"ssl_certificate_key {folder}/key.pem;"
    )
    assert "ssl_reject_handshake on;" not in text


def test_one_site_per_port_answers_at_the_bare_host() -> None:
    plan = make_plan({"web": SITE, "two": {**SITE, "server_names": ["two.example.org"]}})
    assert [site.server_names for site in plan.sites] == [
        ("web.example.org", "one", "10.0.0.1"),
        ("two.example.org",),
    ]
    assert "10.0.0.1" in plan.sites[1].certificate_names


def test_the_strictest_protocols_hold_for_a_shared_port() -> None:
    new = {**SITE, "server_names": ["two.example.org"], "tls": {"protocols": ["TLSv1.3"]}}
    (listener,) = [item for item in make_plan({"web": SITE, "two": new}).listeners if not item.plain]
    assert listener.protocols == ("TLSv1.3",)


def test_every_port_refuses_undeclared_names() -> None:
    plan = make_plan({"web": SITE}, public_addresses=["2001:db8::1"])
    assert {item.socket for item in plan.listeners} == {
        "10.0.0.1:443", "10.0.0.1:80", "[2001:db8::1]:443", "[2001:db8::1]:80",
    }  # fmt: skip
    assert render(plan).count("return 444;") == 4


def test_only_declared_clients_may_reach_it() -> None:
    assert "deny all;" not in render(make_plan({"web": SITE}))
    text = render(make_plan({"web": {**SITE, "clients": ["192.0.2.0/24"]}}))
    assert text.count("allow 192.0.2.0/24;") == text.count("deny all;") == 2
    assert make_plan({"web": {**SITE, "clients": ["0.0.0.0/0"]}}).sites[0].clients == ("0.0.0.0/0",)


def test_addresses_to_listen_on() -> None:
    assert listen_addresses("10.0.0.1", {"public_addresses": "192.0.2.1"}) == ("10.0.0.1", "192.0.2.1")
    assert listen_addresses("app.example.org", {}) == ("*",)
    with pytest.raises(ProblemError, match=r"public_addresses.*192\.0\.2"):
        listen_addresses("10.0.0.1", {"public_addresses": ["192.0.2."]})
    assert host_names("@ssh/App-1.example.org") == ["app-1.example.org"]
    assert host_names("10.0.0.1") == host_names("under_score") == []


def test_both_generations_of_nginx_speak_http2() -> None:
    plan = make_plan({"web": SITE})
    old, new = render(plan, http2_directive=False), render(plan)
    assert "listen 10.0.0.1:443 ssl http2;" in old
    assert "http2 on;" not in old
    assert "listen 10.0.0.1:443 ssl;" in new
    assert "http2 on;" in new


def test_a_dollar_in_the_policy_is_no_variable() -> None:
    text = render(make_plan({"web": {**SITE, "content_security_policy": "script-src $x"}}))
    assert '"script-src ${dollar}x"' in text
    assert "geo $dollar" in text


def test_the_ledger_names_all_that_is_laid_down() -> None:
    names = {item.name for item in list_items("sample", make_plan({"web": SITE}))}
    assert names >= {
        "/etc/groundwork/sample/nginx/nginx.conf",
        "/etc/groundwork/sample/nginx/tls/web.pem",
        "/etc/systemd/system/nginx.service.d/50-groundwork.conf",
        "/www/web/",
    }
