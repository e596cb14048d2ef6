"""What a process finds in its environment, its configuration file and its instance file. No secret's value."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from decimal import Decimal
from typing import Any
from urllib.parse import quote

from groundwork.addresses import join
from groundwork.authority import paths
from groundwork.manifest.agents import Configuration, Need
from groundwork.manifest.platform import Platform
from groundwork.manifest.services import ConsulService, ExternalService, NatsService, PostgresqlService, RedisService
from groundwork.manifest.values import Reference, Value
from groundwork.topology.flows import needs_of
from groundwork.topology.model import AgentInstance, Endpoint, Process, Topology
from groundwork.topology.secrets import credential_name
from roles.agent_runtime.quoting import format_environment_line, format_scalar

Variables = dict[str, str]
_SCHEMES = {"redis": "rediss", "postgresql": "postgresql", "pgbouncer": "postgresql", "nats": "tls", "agent": "https"}


def credential_path(name: str) -> str:
    """Where a unit finds a credential: ``%d`` is its own folder of credentials (systemd.unit(5), 250 and later)."""
    return f"%d/{name}"


def bind_address(agent: AgentInstance, in_container: bool) -> str:
    """Where an agent listens: at its host's address, or in a container at all of the container's own."""
    if not in_container:
        return agent.address
    return "::" if ":" in agent.address else "0.0.0.0"  # published at one address of the host


def nearest_endpoints(topology: Topology, name: str, host: str) -> tuple[Endpoint, ...]:
    """Where a service or agent answers, those on the same host first."""
    return tuple(sorted(topology.endpoints_of(name), key=lambda endpoint: endpoint.host != host))


def resolve_value(platform: Platform, topology: Topology, host: str, value: Value) -> str:
    """A value of the manifest as text. ValueError for a secret, and for a name that answers nowhere."""
    if not isinstance(value, Reference):
        return format_scalar(value)
    if value.kind == "secret":
        raise ValueError(f"the secret {value.target} is no text")
    found = nearest_endpoints(topology, value.target, host)
    if not found:
        raise ValueError(f"{value.target} has no address and port")
    endpoint = found[0]
    if value.kind == "address_of":
        return endpoint.address
    if value.kind == "port_of":
        return str(endpoint.port)
    service = platform.services.get(value.target)
    scheme = service.scheme if isinstance(service, ExternalService) else _SCHEMES.get(endpoint.kind, "https")
    return f"{scheme}://{join(endpoint.address, endpoint.port)}"


def split_values(
    platform: Platform, topology: Topology, host: str, values: Mapping[str, Value]
) -> tuple[Variables, Variables]:
    """Separate plain values (as text) from secrets (``KEY_FILE`` to the credential's name)."""
    plain: Variables = {}
    secrets: Variables = {}
    for key, value in values.items():
        if isinstance(value, Reference) and value.kind == "secret":
            secrets[f"{key}_FILE"] = value.target
        else:
            plain[key] = resolve_value(platform, topology, host, value)
    return plain, secrets


def describe_needs(platform: Platform, topology: Topology, process: Process) -> tuple[Variables, Variables]:
    """Variables that a process's needs bring: plain ones, and ``*_PASSWORD_FILE`` to the credential's name."""
    plain: Variables = {}
    secrets: Variables = {}
    for name in needs_of(platform, process):
        prefix = name.upper().replace("-", "_")
        found = nearest_endpoints(topology, name, process.host)
        if found:
            plain |= {f"{prefix}_HOST": found[0].address, f"{prefix}_PORT": str(found[0].port)}
        if isinstance(platform.services.get(name), RedisService):
            plain[f"{prefix}_USERNAME"] = process.group
            secrets[f"{prefix}_PASSWORD_FILE"] = credential_name(name, process.group)
        if isinstance(platform.services.get(name), ConsulService):
            secrets[f"{prefix}_TOKEN_FILE"] = credential_name(name, process.group)
    return plain, secrets


def describe_traces(platform: Platform, topology: Topology, process: Process) -> Variables:
    """OpenTelemetry's own variables (its specification, "Environment Variables"), which any of its SDKs reads.

    None where no traces are declared. Spans are sent with the unit's certificate; Phoenix keeps them in a project of
    the platform's name.
    """
    traces = platform.observability.traces
    collectors = topology.inventory.group(traces.hosts) if traces else ()
    if traces is None or not collectors:
        return {}
    address, unit = collectors[0].address, process.unit_name.removesuffix(".service")
    attributes = {
        "service.namespace": platform.platform,
        "service.instance.id": f"{process.host}/{unit}",
        "deployment.environment.name": topology.environment,
        "host.name": process.host,
    }
    if traces.backend == "phoenix":
        attributes["openinference.project.name"] = platform.platform
    share = Decimal(100) if traces.sample_percent is None else traces.sample_percent
    prefix = "OTEL_EXPORTER_OTLP_TRACES"
    return {
        f"{prefix}_ENDPOINT": f"https://{join(address, traces.port)}/v1/traces",
        f"{prefix}_PROTOCOL": "http/protobuf",
        f"{prefix}_CERTIFICATE": paths.bundle(platform.platform),
        f"{prefix}_CLIENT_CERTIFICATE": paths.certificate(platform.platform, unit),
        f"{prefix}_CLIENT_KEY": paths.key(platform.platform, unit),
        "OTEL_SERVICE_NAME": process.group,
        "OTEL_RESOURCE_ATTRIBUTES": ",".join(f"{key}={quote(value, safe='/')}" for key, value in attributes.items()),
        "OTEL_PROPAGATORS": "tracecontext,baggage",
        "OTEL_TRACES_SAMPLER": "parentbased_traceidratio",
        "OTEL_TRACES_SAMPLER_ARG": f"{(share / 100).normalize():f}",
    }


def process_variables(platform: Platform, topology: Topology, process: Process) -> tuple[Variables, Variables]:
    """All of one process's variables besides its configuration file: plain ones, and credentials by ``KEY_FILE``."""
    group = platform.groups[process.group]
    plain, secrets = describe_needs(platform, topology, process)
    declared = [group.environment, *(group.agents[agent.agent].environment for agent in process.agents)]
    for values in declared:
        more, more_secrets = split_values(platform, topology, process.host, values)
        plain |= more
        secrets |= more_secrets
    if group.configuration:
        secrets |= split_values(platform, topology, process.host, group.configuration.values)[1]
    if group.log_file:
        plain.setdefault("LOG_FILE", group.log_file.path)
    unit = process.unit_name.removesuffix(".service")
    folder = f"/etc/groundwork/{platform.platform}"
    plain |= {
        "GROUNDWORK_PLATFORM": platform.platform,
        "GROUNDWORK_ENVIRONMENT": topology.environment,
        "GROUNDWORK_GROUP": process.group,
        "GROUNDWORK_UNIT": unit,
        "GROUNDWORK_INSTANCE_FILE": f"{folder}/instances/{unit}.json",
    }
    plain |= describe_traces(platform, topology, process)
    if group.configuration:
        plain["GROUNDWORK_CONFIGURATION_FILE"] = f"{folder}/{group.configuration.file}"
    if not process.packed:
        agent = process.agents[0]
        plain |= {"AGENT_NAME": agent.agent, "AGENT_REPLICA": str(agent.replica)}
        plain["AGENT_BIND"] = bind_address(agent, process.in_container)
        plain |= {"AGENT_PORT": str(agent.port)} if agent.port is not None else {}
    # A secret wins over a plain value of the same name; both would leave open which one the process takes.
    return {key: value for key, value in plain.items() if key not in secrets}, secrets


def render_configuration(
    platform: Platform, topology: Topology, host: str, configuration: Configuration
) -> tuple[str, str]:
    """A group's configuration file, and the same as its check sees it: with the ``KEY_FILE`` that units add.

    systemd does not expand ``%d`` in an EnvironmentFile, so secrets' paths come from the unit.
    """
    plain, secrets = split_values(platform, topology, host, configuration.values)
    paths = {key: credential_path(name) for key, name in secrets.items()}
    if configuration.format == "json":
        typed: dict[str, Any] = {
            key: plain[key] if isinstance(value, Reference) else value
            for key, value in configuration.values.items()
            if key in plain
        }
        return _as_json(typed), _as_json(typed | paths)
    head = ["# Written by Groundwork from the platform's manifest; edits are replaced."]
    lines = [format_environment_line(key, value) for key, value in plain.items()]
    noted = [f"# The units set {key} to their credential {name}." for key, name in secrets.items()]
    added = [format_environment_line(key, path) for key, path in paths.items()]
    return "\n".join([*head, *lines, *noted]) + "\n", "\n".join([*head, *lines, *added]) + "\n"


def _as_json(content: object) -> str:
    return json.dumps(content, indent=2, sort_keys=True) + "\n"


def render_instance(platform: Platform, topology: Topology, process: Process) -> str:
    """The instance file of one process."""
    needs = needs_of(platform, process)
    services: dict[str, Any] = {}
    peers: dict[str, Any] = {}
    for name, need in needs.items():
        declared = platform.services.get(name)
        if declared is None:
            members = [name] if name in platform.agents() else list(platform.groups[name].agents)
            for member in members:
                peers[member] = _as_endpoints(nearest_endpoints(topology, member, process.host))
            continue
        endpoints = _as_endpoints(nearest_endpoints(topology, name, process.host))
        known = {"kind": declared.kind, "required": need.required, "endpoints": endpoints}
        services[name] = {**known, **_describe_access(platform, process, need)}
    unit = process.unit_name.removesuffix(".service")
    return _as_json(
        {
            "platform": platform.platform,
            "environment": topology.environment,
            "group": process.group,
            "unit": unit,
            "host": process.host,
            "address": process.agents[0].address,
            "agents": [
                {
                    "name": a.agent,
                    "replica": a.replica,
                    "module": a.module,
                    "bind": bind_address(a, process.in_container),
                    "port": a.port,
                    "health_subject": platform.groups[a.group].agents[a.agent].health_subject,
                }
                for a in process.agents
            ],
            "services": services,
            "peers": peers,
            "tls": {
                "certificate": paths.certificate(platform.platform, unit),
                "key": paths.key(platform.platform, unit),
                "authority": paths.bundle(platform.platform),
            },
        }
    )


def _describe_access(platform: Platform, process: Process, need: Need) -> dict[str, Any]:
    """How a process gets into a service it needs: its account there and what it may use."""
    match platform.services[need.name]:
        case RedisService() as redis:
            return {
                "username": process.group,
                "credential": credential_name(need.name, process.group),
                "keys": need.keys or [f"{platform.platform}:*"],
                "mode": redis.mode,
                "tls": True,
            }
        case PostgresqlService() as postgresql:
            database = need.database or next(iter(postgresql.databases))
            return {"username": process.group, "database": database, "access": need.access, "tls": True}
        case ConsulService():
            return {
                "credential": credential_name(need.name, process.group),
                "keys": need.keys or [f"{platform.platform}/*"],
                "tls": True,
            }
        case NatsService():
            return {"publish": need.publish, "subscribe": need.subscribe, "tls": True}
        case _:
            return {}


def _as_endpoints(endpoints: Iterable[Endpoint]) -> list[dict[str, Any]]:
    return [{"host": e.host or e.address, "address": e.address, "port": e.port} for e in endpoints]
