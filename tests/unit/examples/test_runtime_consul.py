"""Configuration, leases and registration with a real Consul: the runtime's client against a server of its own."""

from __future__ import annotations

import asyncio
import json
import shutil
import socket
import subprocess
import time
import urllib.parse
import urllib.request
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from agent_runtime.bus.errors import BusError
from agent_runtime.bus.lease import Lease
from agent_runtime.instance import AgentEntry, Endpoint, Instance, Service
from agent_runtime.secret import Secret
from agent_runtime.stores import consul as module
from agent_runtime.stores.consul import Consul, register
from nats.js.errors import KeyNotFoundError

from roles.consul.access import _render
from tests.real_consul import NoConsulError, fetch_consul

ROOT = Path(__file__).resolve().parents[3]


@dataclass
class Server:
    """A Consul on loopback, plain HTTP, with tokens."""

    port: int
    management: str
    token: str

    def ask(self, method: str, path: str, body: object = None) -> Any:
        data = json.dumps(body).encode() if body is not None else None
        headers = {"X-Consul-Token": self.management}
        request = urllib.request.Request(f"http://127.0.0.1:{self.port}/v1/{path}", data, headers, method=method)
        with urllib.request.urlopen(request, timeout=10) as answer:
            return json.loads(answer.read() or b"null")

    def client(self, token: str | None = None, port: int | None = None) -> Consul:
        closed, open_ = Endpoint("a", "127.0.0.1", 1), Endpoint("b", "127.0.0.1", port or self.port)
        service = Service("consul", "consul", (closed, open_), keys=("ymera/*",))
        return Consul(service, Secret(token or self.token), 5.0, None)


def free_ports(count: int) -> list[int]:
    sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    ports = [one.getsockname()[1] for one in sockets]
    for one in sockets:
        one.close()
    return ports


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    if shutil.which("dpkg-deb") is None:
        pytest.skip("dpkg-deb is not installed")
    try:
        package = fetch_consul(ROOT / ".cache/consul")
    except NoConsulError as error:
        pytest.skip(f"no real Consul can be had: {error}")
    folder = tmp_path_factory.mktemp("consul")
    subprocess.run(["dpkg-deb", "-x", str(package), str(folder / "tree")], check=True)
    http, rpc, gossip = free_ports(3)
    found = Server(http, str(uuid.uuid4()), str(uuid.uuid4()))
    settings = {
        "server": True, "bootstrap_expect": 1, "datacenter": "ymera", "node_name": "one", 
        "data_dir": str(folder / "data"),
        "bind_addr": "127.0.0.1", "client_addr": "127.0.0.1", "disable_update_check": True,
        "ports": {"http": http, "dns": -1, "grpc": -1, "serf_wan": -1, "server": rpc, "serf_lan": gossip},
        "acl": {"enabled": True, "default_policy": "deny", "tokens": {"master": found.management}},
    }  # fmt: skip
    (folder / "server.json").write_text(json.dumps(settings))
    with (folder / "log").open("w") as log:
        command = [str(folder / "tree/usr/bin/consul"), "agent", f"-config-file={folder}/server.json"]
        process = subprocess.Popen(command, stdout=log, stderr=subprocess.STDOUT)
    try:
        deadline = time.monotonic() + 60
        while True:
            try:
                rules = _render({"ymera/*": "write"}, ["config-manager"])
                found.ask("PUT", "acl/policy", {"Name": "ours", "Rules": rules})
                break
            except OSError:
                assert time.monotonic() < deadline and process.poll() is None, (folder / "log").read_text()[-2000:]
                time.sleep(0.2)
        found.ask("PUT", "acl/token", {"SecretID": found.token, "Policies": [{"Name": "ours"}]})
        yield found
    finally:
        process.terminate()
        process.wait(timeout=30)


def test_keys_are_written_read_and_guarded(server: Server) -> None:
    async def run() -> None:
        client = server.client()
        await client.check()
        bucket = await client.bucket("configuration")
        with pytest.raises(KeyNotFoundError):
            await bucket.get("drafting")
        await bucket.put("drafting", b'{"version": 1}')
        entry = await bucket.get("drafting")
        assert entry.value == b'{"version": 1}'
        revision = await bucket.update("drafting", b"2", last=entry.revision)
        assert revision > (entry.revision or 0)
        with pytest.raises(BusError, match="wrong last sequence"):
            await bucket.update("drafting", b"3", last=entry.revision)
        with pytest.raises(BusError, match="wrong last sequence"):
            await bucket.update("drafting", b"3", last=0)
        assert (await bucket.get("drafting")).value == b"2"

    asyncio.run(run())
    assert server.ask("GET", "kv/ymera/?keys") == ["ymera/configuration/drafting"]


def test_one_holds_the_lease_and_another_takes_it_over(server: Server) -> None:
    async def run() -> None:
        client = server.client()
        first, second = (Lease(client, "discovery", "primary.config-manager", name, 1.0) for name in ("a", "b"))
        assert await first.take() and not await second.take()
        assert second.holder == "a"
        assert await first.take()
        await first.release()
        assert await second.take() and not await first.take()
        await asyncio.sleep(1.2)
        # The holder fell silent.
        assert not await first.take() or first.held
        deadline = time.monotonic() + 10
        while not first.held and time.monotonic() < deadline:
            await asyncio.sleep(0.2)
            await first.take()
        assert first.held and not second.held

    asyncio.run(run())


def test_an_agent_is_registered_while_it_lives(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "RENEW_SECONDS", 0.2)
    entry = AgentEntry("config-manager", 2, "m", "127.0.0.1", 8091)
    instance = Instance("ymera", "lab", "configuration", "ymera-config-manager@2", "app", "127.0.0.1", (entry,))
    problems: list[str] = []

    def look(state: str) -> list[Any]:
        found = server.ask("GET", "health/service/config-manager")
        return [one for one in found if {check["Status"] for check in one["Checks"] if check["ServiceID"]} == {state}]

    async def until(state: str) -> dict[str, Any]:
        deadline = time.monotonic() + 20
        while not (found := await asyncio.to_thread(look, state)):
            assert time.monotonic() < deadline
            await asyncio.sleep(0.1)
        return dict(found[0]["Service"])

    async def run() -> None:
        task = asyncio.create_task(register(server.client(), instance, entry, lambda: problems))
        service = await until("passing")
        assert (service["Address"], service["Port"], service["Meta"]["replica"]) == ("127.0.0.1", 8091, "2")
        problems.append("it broke")
        await until("critical")
        problems.clear()
        await until("passing")
        server.ask("PUT", f"agent/service/deregister/{urllib.parse.quote(service['ID'], safe='')}")
        await until("passing")
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)

    asyncio.run(run())
    assert server.ask("GET", "health/service/config-manager") == []


def test_a_foreign_token_and_a_missing_server_are_told(server: Server) -> None:
    async def run() -> None:
        bucket = await server.client(token=str(uuid.uuid4())).bucket("configuration")
        for act in (bucket.get("x"), bucket.put("x", b"1")):
            with pytest.raises(BusError, match="403"):
                await act
        away = server.client(port=2)
        with pytest.raises(BusError, match="Consul"):
            await away.check()

    asyncio.run(run())
