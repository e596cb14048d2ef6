"""What collects traces on one host, decided from the manifest and the topology alone."""

from __future__ import annotations

import math
from dataclasses import dataclass

from groundwork.addresses import is_address
from groundwork.authority import paths
from groundwork.manifest.platform import Platform
from groundwork.operations.ledger_items import Item
from groundwork.problems import Problem, ProblemError
from groundwork.topology.identities import TRACES
from groundwork.topology.model import Topology

DAY_SECONDS = 86_400
KEY = "observability.traces"
# What it could do for people at its interface, and what would talk to somebody outside.
_SILENT = {
    "PHOENIX_TELEMETRY_ENABLED": "false",
    "PHOENIX_ALLOW_EXTERNAL_RESOURCES": "false",
    "PHOENIX_DISABLE_AGENT_ASSISTANT": "true",
    "PHOENIX_AGENTS_DISABLE_WEB_ACCESS": "true",
    "PHOENIX_AGENTS_DISABLE_BASH": "true",
    "PHOENIX_AGENTS_DISABLE_GITHUB": "true",
    "PHOENIX_ENABLE_MCP_SERVER": "false",
    "PHOENIX_ALLOWED_SANDBOX_PROVIDERS": "NONE",
}


@dataclass(frozen=True)
class Collector(paths.WithCertificate):
    """The Phoenix of one platform: everything its unit says."""

    platform: str
    host: str
    address: str
    port: int
    days: int
    """How long traces stay."""
    peers: tuple[str, ...]
    """Addresses that send to it, this host's own aside."""

    @property
    def identity(self) -> str:
        """The unit in its certificate."""
        return TRACES

    @property
    def name(self) -> str:
        """Its name on the host: ``chorus-traces``."""
        return f"{self.platform}-traces"

    @property
    def unit(self) -> str:
        """Its unit."""
        return f"{self.name}.service"

    @property
    def launcher(self) -> str:
        """The program of the unit."""
        return f"/usr/local/lib/groundwork/{self.platform}/phoenix-serve"

    @property
    def watcher(self) -> str:
        """The program that tells whether it answers, and sets how long traces stay."""
        return f"/usr/local/lib/groundwork/{self.platform}/phoenix-ready"

    @property
    def folder(self) -> str:
        """Where its releases are."""
        return releases_folder(self.platform)

    @property
    def state(self) -> str:
        """Where its database lies."""
        return f"/var/lib/{self.name}"

    @property
    def environment(self) -> dict[str, str]:
        """Its settings (Arize Phoenix, "Environment Variables")."""
        return {
            "PHOENIX_HOST": self.address,
            "PHOENIX_PORT": str(self.port),
            "PHOENIX_WORKING_DIR": self.state,
            "PHOENIX_TLS_ENABLED": "true",
            "PHOENIX_TLS_CERT_FILE": self.certificate,
            "PHOENIX_TLS_KEY_FILE": self.key,
            "PHOENIX_TLS_CA_FILE": self.authority,
            "PHOENIX_TLS_VERIFY_CLIENT": "true",
            "PHOENIX_DEFAULT_RETENTION_POLICY_DAYS": str(self.days),
            **_SILENT,
        }

    @property
    def inputs(self) -> list[str]:
        """Paths whose change it takes up with a restart; it reads no certificate while it runs."""
        certificate = paths.certificate_folder(self.platform, self.identity)
        return [f"/etc/systemd/system/{self.unit}", self.launcher, certificate, self.authority]


def releases_folder(platform: str) -> str:
    """Where the releases are: not below the agents' folder, which goes with the agents."""
    return f"/opt/groundwork/{platform}-traces"


def check_platform(platform: Platform, topology: Topology) -> None:
    """Raise ProblemError with everything that this role cannot set up."""
    traces = platform.observability.traces
    if traces is None:
        return
    problems: list[Problem] = []
    machines = topology.inventory.group(traces.hosts)
    if len(machines) != 1:
        given = f"{traces.hosts} with {len(machines)} hosts"
        problems.append(Problem("a platform's traces are in one place", key=f"{KEY}.hosts", given=given, allowed="one"))
    if traces.backend != "phoenix":
        message = "this version cannot set it up yet"
        problems.append(Problem(message, key=f"{KEY}.backend", given=traces.backend, allowed="phoenix"))
    for machine in machines:
        if not is_address(machine.address):
            message = "Phoenix needs the IP address of this host"
            problems.append(Problem(message, key=f"host {machine.name}: address", given=machine.address))
    if problems:
        raise ProblemError(problems)


def plan_collector(platform: Platform, topology: Topology, host: str) -> Collector | None:
    """Return the Phoenix of one host, or None where it has none."""
    traces = platform.observability.traces
    found = topology.inventory.group(traces.hosts) if traces else ()
    machine = next((one for one in found if one.name == host), None)
    if traces is None or machine is None:
        return None
    addresses = {one.name: one.address for one in topology.hosts}
    wanted = (host, traces.port)
    senders = {addresses[f.source_host] for f in topology.flows if (f.destination_host, f.port) == wanted}
    return Collector(
        platform=platform.platform,
        host=host,
        address=machine.address,
        port=traces.port,
        days=max(1, math.ceil(traces.retention / DAY_SECONDS)),
        peers=tuple(sorted(senders - {machine.address})),
    )


def list_items(one: Collector | None) -> list[Item]:
    """What is removed when it is no longer declared: not the traces."""
    if one is None:
        return []
    files = [Item("file", path) for path in (one.launcher, one.watcher)]
    return [Item("directory", one.folder), *files, Item("unit", one.unit)]
