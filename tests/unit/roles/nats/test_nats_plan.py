from __future__ import annotations

import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest

from groundwork.inventory import make_inventory
from groundwork.manifest.platform import Platform
from groundwork.operations.ledger_items import check_item
from groundwork.operations.rendering import render_template
from groundwork.problems import ProblemError
from groundwork.topology import Topology, derive
from roles.nats import plan


def make(members: int = 1, address: str = "10.0.0.2", **service: Any) -> tuple[Platform, Topology]:
    platform = Platform.model_validate(
        {
            "platform": "shop",
            "runtime": {"package": {"directory": "."}, "launcher": "shop"},
            "services": {"nats": {"hosts": "data", "mode": "cluster" if members > 1 else "standalone", **service}},
            "groups": {
                "sales": {
                    "hosts": "app",
                    "module": "shop.sales",
                    "needs": [{"name": "nats", "publish": ["orders.>"]}],
                    "agents": {"seller": {"port": 8000, "replicas": 2}},
                },
                "idle": {
                    "hosts": "app",
                    "module": "m",
                    "needs": ["nats"],
                    "agents": {"waiter": {"port": 8100}, "walker": {"port": 8200}},
                },
                "other": {"hosts": "other", "module": "m", "agents": {"lone": {"port": 8300}}},
            },
            "lab": {"hosts": {"app": ["app"], "data": ["data"], "other": ["other"]}},
        }
    )
    hosts: dict[str, Any] = {"app": (frozenset(["app"]), {"ssh_hostname": "10.0.0.1"})}
    hosts["app2"] = (frozenset(["app"]), {"ssh_hostname": "10.0.0.9"})
    hosts["other"] = (frozenset(["other"]), {"ssh_hostname": "10.0.0.8"})
    for number in range(members):
        own = address if number == 0 else f"10.0.0.{2 + number}"
        hosts[f"data{number + 1}"] = (frozenset(["data"]), {"ssh_hostname": own})
    return platform, derive(platform, make_inventory(hosts, "inventory"), "test")


def one_server(members: int = 1, host: str = "data1", **service: Any) -> plan.Server:
    platform, topology = make(members, **service)
    plan.check_platform(platform, topology)
    (server,) = plan.plan_servers(platform, topology, host)
    return server


def render_clients(server: plan.Server) -> str:
    return render_template(
        "nats/clients.conf.j2", server=server, declared=server.declared, maximum_connections=plan.MAXIMUM_CONNECTIONS
    )


def render_server(server: plan.Server, always_sync: bool = False) -> str:
    return render_template(
        "nats/server.conf.j2", server=server, declared=server.declared, clients="clients.conf", always_sync=always_sync
    )


def test_each_process_is_one_user_by_its_uri() -> None:
    assert [user.uri for user in one_server().users] == [
        "spiffe://test/shop/shop-seller@1",
        "spiffe://test/shop/shop-seller@2",
        "spiffe://test/shop/shop-waiter@1",
        "spiffe://test/shop/shop-walker@1",
    ]


def test_only_hosts_with_the_need_and_members_may_connect() -> None:
    assert one_server().peers == ("10.0.0.1", "10.0.0.9")
    assert one_server(3).peers == ("10.0.0.1", "10.0.0.3", "10.0.0.4", "10.0.0.9")


def test_a_group_that_may_publish_nothing_is_denied_everything() -> None:
    # An empty list of what is allowed would allow everything (docs.nats.io, "Authorization").
    text = render_clients(one_server())
    assert "allow: []" not in "".join(text.split()).replace("allow:[]", "allow: []")
    idle = text[text.index("shop-waiter@1") :]
    assert 'publish: { deny: ">" }' in idle[: idle.index("subscribe")]


def test_there_is_no_way_in_without_a_certificate() -> None:
    text = render_clients(one_server()) + render_server(one_server(3))
    for word in ("no_auth_user", "token", "websocket", "mqtt", "leafnodes", "https"):
        assert word not in text
    assert text.count("verify_and_map: true") == 2
    assert 'http: "127.0.0.1:8222"' in text


def test_buckets_share_half_of_the_space_and_have_three_copies_in_a_cluster() -> None:
    service: dict[str, Any] = {"jetstream": {"file_max": 1000}, "key_value_buckets": ["a", "b"]}
    streams = plan.describe_streams(one_server(3, **service))["streams"]
    assert isinstance(streams, list)
    assert [(s["name"], s["max_bytes"], s["num_replicas"]) for s in streams] == [("KV_a", 250, 3), ("KV_b", 250, 3)]
    alone = plan.describe_streams(one_server(**service))["streams"]
    assert isinstance(alone, list)
    assert {s["num_replicas"] for s in alone} == {1}


def test_one_member_makes_the_buckets() -> None:
    assert [one_server(3, host).first for host in ("data1", "data2", "data3")] == [True, False, False]


def test_items_are_removable_and_hold_no_data() -> None:
    items = plan.list_items([one_server()])
    assert [check_item(item) for item in items] == [""] * len(items)
    assert not [item for item in items if item.name.startswith("/var/lib")]
    assert plan.list_items([]) == []


@pytest.mark.parametrize(
    ("service", "key"),
    [
        ({"key_value_buckets": ["a"]}, "services.nats.jetstream"),
        ({"maximum_payload": "65MiB"}, "services.nats.maximum_payload"),
    ],
)
def test_what_nats_would_refuse_is_refused_before(service: dict[str, Any], key: str) -> None:
    with pytest.raises(ProblemError) as caught:
        plan.check_platform(*make(**service))
    assert [problem.key for problem in caught.value.problems] == [key]


def test_hosts_need_addresses() -> None:
    with pytest.raises(ProblemError, match="IP address"):
        plan.check_platform(*make(address="data.example"))


@pytest.mark.skipif(shutil.which("nats-server") is None, reason="nats-server is not installed")
@pytest.mark.parametrize("members", [1, 3])
def test_nats_accepts_the_configuration(tmp_path: Path, members: int) -> None:
    server = one_server(members, jetstream={}, key_value_buckets=["a"])
    key, certificate = tmp_path / "key.pem", tmp_path / "certificate.pem"
    call = [
        "openssl",
        "req",
        "-x509",
        "-newkey",
        "ec",
        "-pkeyopt",
        "ec_paramgen_curve:P-256",
        "-nodes",
        "-subj",
        "/CN=t",
    ]
    subprocess.run([*call, "-keyout", key, "-out", certificate], check=True, capture_output=True)
    for name, text in (("clients.conf", render_clients(server)), ("server.conf", render_server(server))):
        text = text.replace(server.key, str(key)).replace(server.certificate, str(certificate))
        (tmp_path / name).write_text(text.replace(server.authority, str(certificate)))
    found = subprocess.run(["nats-server", "-t", "-c", tmp_path / "server.conf"], capture_output=True, text=True)
    assert found.returncode == 0, found.stderr
