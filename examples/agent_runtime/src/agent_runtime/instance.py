"""The instance file: which agents this process hosts, and where its services and peers are."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from agent_runtime.tls import TlsFiles

REDIS_MODES = ("standalone", "replicated", "cluster")


class InstanceError(Exception):
    """The instance file cannot be used; `problems` has one line for each reason."""

    def __init__(self, problems: list[str]) -> None:
        super().__init__("; ".join(problems))
        self.problems = problems


@dataclass(frozen=True)
class Endpoint:
    """Where a service or a peer listens."""

    host: str
    address: str
    port: int


@dataclass(frozen=True)
class Service:
    """A data service that the process may use."""

    name: str
    kind: str
    endpoints: tuple[Endpoint, ...]
    username: str | None = None
    credential: str | None = None
    keys: tuple[str, ...] = ()
    tls: bool = False
    mode: str = "standalone"
    database: str | None = None
    publish: tuple[str, ...] = ()
    subscribe: tuple[str, ...] = ()
    required: bool = True
    """Whether the process is ready only while it answers."""


@dataclass(frozen=True)
class AgentEntry:
    """One agent to host."""

    name: str
    replica: int
    module: str
    bind: str
    port: int
    health_subject: str | None = None


@dataclass(frozen=True)
class Instance:
    """Everything that the instance file says."""

    platform: str
    environment: str
    group: str
    unit: str
    host: str
    address: str
    agents: tuple[AgentEntry, ...]
    services: Mapping[str, Service] = field(default_factory=dict)
    peers: Mapping[str, tuple[Endpoint, ...]] = field(default_factory=dict)
    tls: TlsFiles | None = None

    def first_service(self, kind: str) -> Service | None:
        """Return the first service of a kind, in the file's order."""
        return next((service for service in self.services.values() if service.kind == kind), None)


class _Reader:
    """Takes typed values out of parsed JSON and collects what is wrong."""

    def __init__(self) -> None:
        self.problems: list[str] = []

    def table(self, value: object, place: str) -> dict[str, Any]:
        if isinstance(value, dict):
            return value
        self.problems.append(f"{place}: an object is needed")
        return {}

    def items(self, value: object, place: str) -> list[Any]:
        if isinstance(value, list):
            return value
        self.problems.append(f"{place}: a list is needed")
        return []

    def text(self, table: Mapping[str, Any], key: str, place: str) -> str:
        value = table.get(key)
        if isinstance(value, str) and value:
            return value
        self.problems.append(f"{place}.{key}: a non-empty string is needed")
        return ""

    def number(self, table: Mapping[str, Any], key: str, place: str, lowest: int, highest: int) -> int:
        value = table.get(key)
        # A replica number may come as text, because systemd instance names are text.
        if isinstance(value, str) and value.isdecimal():
            value = int(value)
        if isinstance(value, int) and not isinstance(value, bool) and lowest <= value <= highest:
            return value
        self.problems.append(f"{place}.{key}: a whole number from {lowest} to {highest} is needed")
        return lowest

    def texts(self, table: Mapping[str, Any], key: str, place: str) -> tuple[str, ...]:
        values = self.items(table.get(key) or [], f"{place}.{key}")
        if not all(isinstance(value, str) and value for value in values):
            self.problems.append(f"{place}.{key}: a list of non-empty strings is needed")
        return tuple(str(value) for value in values)

    def service(self, name: str, value: object) -> Service:
        place = f"services.{name}"
        entry = self.table(value, place)
        mode = entry.get("mode") or "standalone"
        if mode not in REDIS_MODES:
            self.problems.append(f"{place}.mode: one of {', '.join(REDIS_MODES)} is needed")
        found = Service(
            name=name,
            kind=self.text(entry, "kind", place),
            endpoints=self.endpoints(entry.get("endpoints"), f"{place}.endpoints"),
            required=entry.get("required") is not False,
            username=entry.get("username") or None,
            credential=entry.get("credential") or None,
            keys=self.texts(entry, "keys", place),
            tls=entry.get("tls") is True,
            mode=str(mode),
            database=entry.get("database") or None,
            publish=self.texts(entry, "publish", place),
            subscribe=self.texts(entry, "subscribe", place),
        )
        if not found.endpoints and not self.problems:
            self.problems.append(f"{place}.endpoints: at least one endpoint is needed")
        return found

    def tls_files(self, value: object) -> TlsFiles | None:
        if value is None:
            return None
        table = self.table(value, "tls")
        return TlsFiles(*(Path(self.text(table, key, "tls")) for key in ("certificate", "key", "authority")))

    def endpoints(self, value: object, place: str) -> tuple[Endpoint, ...]:
        found = []
        for position, item in enumerate(self.items(value, place)):
            where = f"{place}[{position}]"
            table = self.table(item, where)
            address = self.text(table, "address", where)
            port = self.number(table, "port", where, 1, 65535)
            found.append(Endpoint(str(table.get("host") or address), address, port))
        return tuple(found)


def parse_instance(content: object) -> Instance:
    """Check parsed JSON and return the instance.

    Raises:
        InstanceError: with every problem found.
    """
    reader = _Reader()
    top = reader.table(content, "instance")
    if reader.problems:
        raise InstanceError(reader.problems)
    agents = []
    for position, item in enumerate(reader.items(top.get("agents"), "agents")):
        place = f"agents[{position}]"
        entry = reader.table(item, place)
        name, module = reader.text(entry, "name", place), reader.text(entry, "module", place)
        bind, port = reader.text(entry, "bind", place), reader.number(entry, "port", place, 1, 65535)
        replica = reader.number(entry, "replica", place, 0, 100000)
        agents.append(AgentEntry(name, replica, module, bind, port, entry.get("health_subject") or None))
    if not agents and not reader.problems:
        reader.problems.append("agents: at least one agent is needed")
    taken: dict[tuple[str, int], str] = {}
    for agent in agents:
        other = taken.setdefault((agent.bind, agent.port), agent.name)
        if other != agent.name or sum(a.bind == agent.bind and a.port == agent.port for a in agents) > 1:
            reader.problems.append(f"agents: {agent.bind}:{agent.port} is used more than once")
            break
    services = {
        name: reader.service(name, item) for name, item in reader.table(top.get("services", {}), "services").items()
    }
    peers = {
        name: reader.endpoints(value, f"peers.{name}")
        for name, value in reader.table(top.get("peers", {}), "peers").items()
    }
    tls = reader.tls_files(top.get("tls"))
    if tls is None:
        needing = [name for name, service in services.items() if service.tls]
        reader.problems += [f"services.{name}.tls: the instance has no tls" for name in needing]
    keys = ("platform", "environment", "group", "unit", "host", "address")
    texts = {key: reader.text(top, key, "instance") for key in keys}
    if reader.problems:
        raise InstanceError(reader.problems)
    return Instance(**texts, agents=tuple(agents), services=services, peers=peers, tls=tls)


def read_instance(path: Path) -> Instance:
    """Read and check an instance file.

    Raises:
        InstanceError: the file is missing, not JSON, or says something that cannot be used.
    """
    try:
        return parse_instance(json.loads(path.read_text("utf-8")))
    except OSError as error:
        raise InstanceError([f"{path}: {error.strerror}"]) from None
    except ValueError as error:
        raise InstanceError([f"{path}: not JSON: {error}"]) from None
    except InstanceError as error:
        raise InstanceError([f"{path}: {problem}" for problem in error.problems]) from None
