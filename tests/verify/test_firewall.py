"""From every host to every other, and from here, exactly the declared ports answer.

Connects for real: a small program on each host tries every port that anything listens on anywhere, every declared
one and a sample of closed ones, against all other hosts at once. What is declared is read from the topology's flows;
what the firewall's role planned or wrote is not looked at. TCP only: a UDP port that is silent says nothing.
"""

from __future__ import annotations

import ipaddress
import json
from collections.abc import Iterator
from dataclasses import dataclass, field

import pytest
from testinfra.host import Host

from groundwork.engine.inspection import UnreachableError, inspect_host
from groundwork.engine.port_probe import Place, Result, probe_from_here, probe_from_host
from groundwork.inventory import InventoryHost
from groundwork.site import Site

SAMPLE = (1, 21, 23, 25, 53, 80, 111, 443, 445, 2375, 3306, 5432, 6379, 8000, 8080, 9100, 10250, 27017, 50000, 65535)
"""Ports that are tried on every host, whatever runs there."""


@dataclass
class Bench:
    """Connections and findings that all checks of a session share."""

    site: Site
    hosts: dict[str, Host] = field(default_factory=dict)
    listening: dict[str, set[int]] = field(default_factory=dict)
    unreachable: dict[str, str] = field(default_factory=dict)

    def connect(self, model: InventoryHost) -> Host | None:
        """The host, connected once; None where it cannot be reached."""
        if model.name not in self.hosts and model.name not in self.unreachable:
            try:
                self.hosts[model.name] = inspect_host(model)
            except UnreachableError as error:
                self.unreachable[model.name] = str(error)
        return self.hosts.get(model.name)

    def listeners(self, model: InventoryHost) -> set[int]:
        """TCP ports that something listens on for others: not on the loopback, nor on another address."""
        if model.name not in self.listening:
            host = self.connect(model)
            lines = host.check_output("ss -Hltn").splitlines() if host else []
            found = (line.split()[3].rpartition(":") for line in lines)
            everywhere = ("0.0.0.0", "*", "[::]", model.address, f"[{model.address}]", f"[::ffff:{model.address}]")
            self.listening[model.name] = {int(p) for address, _, p in found if address.partition("%")[0] in everywhere}
        return self.listening[model.name]


@pytest.fixture(scope="session")
def bench(site: Site) -> Iterator[Bench]:
    yield Bench(site)


def managed(site: Site) -> list[InventoryHost]:
    return [one for one in site.inventory.hosts if one.data.get("firewall_managed", True)]


def controllers(bench: Bench, model: InventoryHost) -> list[str]:
    """Networks that SSH is open to: the declared ones, else the address the host sees us come from; and the host
    that the scheduled passes run on."""
    inside = [one.address for one in bench.site.inventory.group("controller")]
    declared = model.data.get("controllers") or [own_address(bench, model)]
    return [str(network) for network in [*declared, *inside] if network]


def own_address(bench: Bench, model: InventoryHost) -> str:
    """The address that a host sees this session come from; empty where that is not over SSH."""
    host = bench.connect(model)
    client = getattr(host.backend, "client", None) if host else None
    if client is None:
        return ""
    _, output, _ = client.exec_command('echo "$SSH_CONNECTION"', timeout=20)
    words = output.read().decode().split()
    return words[0].removeprefix("::ffff:") if words else ""


def lies_within(address: str, networks: list[str]) -> bool:
    parsed = ipaddress.ip_address(address)
    return any(parsed in ipaddress.ip_network(network) for network in networks)


def declared_ports(bench: Bench, source: str, address: str, target: InventoryHost) -> set[int]:
    """TCP ports of ``target`` that flows open to a host (its name, empty for none) with this address."""
    ports = {
        flow.port
        for flow in bench.site.topology.flows
        if flow.destination_host == target.name
        and flow.protocol == "tcp"
        and (lies_within(address, [flow.source_network]) if flow.source_network else flow.source_host == source != "")
    }
    ssh = int(target.data.get("ssh_port") or 22)
    return ports | {ssh} if lies_within(address, controllers(bench, target)) else ports


def candidate_ports(bench: Bench, target: InventoryHost) -> set[int]:
    """Every port worth trying: what listens on any host, what any flow names, and the sample."""
    declared = {flow.port for flow in bench.site.topology.flows if flow.destination_host == target.name}
    return {*SAMPLE, *declared, *bench.listeners(target)}


def judge(bench: Bench, source: str, address: str, results: dict[Place, Result], leaves: bool) -> list[str]:
    """Say what is not as declared. ``leaves``: whether the source may send anything (it filters nothing itself)."""
    wrong = []
    by_address = {one.address: one for one in managed(bench.site)}
    for (at, port), result in sorted(results.items()):
        target = by_address[at]
        declared = port in declared_ports(bench, source, address, target)
        if declared and port in bench.listeners(target) and result != "open":
            wrong.append(f"{source or 'here'} -> {target.name}:{port} is declared and {result}")
        elif declared and result == "filtered" and leaves:
            wrong.append(f"{source or 'here'} -> {target.name}:{port} is declared and filtered")
        elif not declared and result != "filtered":
            wrong.append(f"{source or 'here'} -> {target.name}:{port} is not declared and {result}")
    return wrong


def test_exactly_the_declared_ports_of_other_hosts_answer(
    host: Host, site: Site, bench: Bench, host_model: InventoryHost
) -> None:
    targets = [one for one in managed(site) if one.name != host_model.name and bench.connect(one)]
    if not targets:
        pytest.skip("there is no other host")
    results = probe_from_host(host, {one.address: candidate_ports(bench, one) for one in targets})
    leaves = site.platform.firewall.outbound == "accept"
    assert judge(bench, host_model.name, host_model.address, results, leaves) == []


@pytest.mark.role("")
def test_exactly_the_declared_ports_answer_from_here(site: Site, bench: Bench) -> None:
    wrong: list[str] = []
    tried = 0
    for target in managed(site):
        own = own_address(bench, target)
        if not own:
            continue
        results = probe_from_here({target.address: candidate_ports(bench, target)})
        ssh = (target.address, int(target.data.get("ssh_port") or 22))
        if results.get(ssh) == "filtered":
            # Reached through another host or another address: nothing can be said from here.
            continue
        tried += 1
        source = next((one.name for one in site.inventory.hosts if one.address == own), "")
        wrong += judge(bench, source, own, results, leaves=True)
    if not tried:
        pytest.skip("no host is reached directly from here")
    assert wrong == []


def test_the_firewall_refuses_by_itself_and_comes_back_with_the_host(host: Host) -> None:
    chains = json.loads(host.check_output("/usr/sbin/nft -j list table inet groundwork"))["nftables"]
    hooks = {c["chain"]["hook"]: c["chain"]["policy"] for c in chains if "hook" in c.get("chain", {})}
    assert hooks["input"] == "drop"
    unit = host.check_output("systemctl show --property=UnitFileState,ActiveState groundwork-firewall.service")
    assert set(unit.split()) == {"UnitFileState=enabled", "ActiveState=active"}
    assert host.run("systemctl is-active --quiet groundwork-firewall-revert.timer").rc != 0
