"""What of the role runs on one host, decided from the manifest and the topology alone."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from groundwork.addresses import is_address, join
from groundwork.authority import paths as authority
from groundwork.manifest.platform import Platform
from groundwork.objectives.derivation import derive_objectives
from groundwork.operations.ledger_items import Item
from groundwork.problems import Problem, ProblemError
from groundwork.topology.identities import ALERTMANAGER, EXPORTER, PROMETHEUS
from groundwork.topology.model import ServiceNode, Topology
from groundwork.topology.scraping import EXPORTER_PORTS, PROBE, list_exporters
from roles.observability import paths
from roles.observability.figures import list_modules, list_own_figures
from roles.observability.maintenance import make_intervals
from roles.observability.scraping import list_jobs, list_rules

LARGEST_FILES = 65_536


@dataclass(frozen=True)
class Server:
    """One server of the role: everything its unit says."""

    kind: str
    """``prometheus``, ``alertmanager``, ``node``, ``blackbox``, ``redis``, ``postgresql`` or ``service``."""
    platform: str
    identity: str
    package: str
    program: str
    arguments: tuple[str, ...]
    inputs: tuple[str, ...] = ()
    """Files that it reads at its start."""
    reloads: tuple[str, ...] = ()
    """Files that it reads again while it runs."""
    state: bool = False
    peers: tuple[str, ...] | None = ()
    """Addresses it talks with, this host's own aside; None where they cannot be listed."""
    environment: tuple[str, ...] = ()
    credential: str = ""
    """File with its password, given to it by systemd."""
    node: ServiceNode | None = None

    @property
    def name(self) -> str:
        """Its name on the host: ``chorus-node-exporter``."""
        word = self.kind if self.kind in (PROMETHEUS, ALERTMANAGER) else f"{self.kind}-exporter"
        number = f"-{self.node.service}-{self.node.index}" if self.node and self.kind == "redis" else ""
        return f"{self.platform}-{word}{number}"

    @property
    def unit(self) -> str:
        """Its unit."""
        return f"{self.name}.service"

    @property
    def package_unit(self) -> str:
        """The package's own unit, which listens to everybody over plain HTTP and never starts; empty without one."""
        return "" if self.kind == "service" else f"{self.package}.service"


def check_platform(platform: Platform, topology: Topology) -> None:
    """Raise ProblemError with everything that this role cannot set up, for all hosts at once."""
    observability = platform.observability
    problems: list[Problem] = []
    if observability.alertmanager:
        hosts = topology.inventory.group(observability.alertmanager.hosts)
        if len(hosts) > 1:
            key, given = "observability.alertmanager.hosts", f"{len(hosts)} hosts"
            problems.append(Problem("two would tell everything twice", key=key, given=given, allowed="1"))
        if observability.prometheus is None:
            key = "observability.prometheus"
            problems.append(Problem("is required where there is an Alertmanager", key=key))
    if observability.prometheus:
        for host in topology.hosts:
            if not is_address(host.address):
                message = "metrics are collected from the IP address of this host"
                problems.append(Problem(message, key=f"host {host.name}: address", given=host.address))
        for check in (lambda: derive_objectives(platform), lambda: make_intervals(platform.maintenance)):
            try:
                check()
            except ProblemError as error:
                problems += error.problems
    if problems:
        raise ProblemError(problems)


def plan_servers(platform: Platform, topology: Topology, host: str) -> list[Server]:
    """Return the servers of one host; none where the platform declares no Prometheus."""
    observability, name = platform.observability, platform.platform
    if observability.prometheus is None:
        return []
    watchers = _addresses(topology, observability.prometheus.hosts)
    address = topology.inventory.host(host).address
    servers = [_node_exporter(name, address, watchers)]
    exporters = {"redis": _redis_exporter, "postgresql": _postgresql_exporter}
    for node, port in list_exporters(topology.nodes_on(host)).items():
        servers.append(exporters[node.kind](name, node, port, watchers))
    if list_own_figures(platform, topology, host):
        servers.append(_service_exporter(name, address, watchers))
    if address in watchers:
        servers += [_blackbox(name, address, topology, watchers), _prometheus(platform, topology, address)]
    if observability.alertmanager and address in _addresses(topology, observability.alertmanager.hosts):
        servers.append(_alertmanager(name, address, observability.alertmanager.port))
    return servers


def list_items(platform: str, servers: list[Server]) -> list[Item]:
    """What is removed when it is no longer declared: no data, and no package."""
    folder = paths.folder(platform)
    items: list[Item] = []
    for server in servers:
        read = (*server.inputs, *server.reloads, *([server.credential] if server.credential else []))
        # Certificates, which some of them read, are not this role's.
        library = f"{paths.libraries(platform)}/{paths.EXPORTER}"
        items += [Item("directory", library)] if server.kind == "service" else []
        items += [Item("unit", server.unit), *(Item("file", path) for path in read if path.startswith(f"{folder}/"))]
    if servers:
        items += [Item("unit", f"{probe_unit(platform)}.timer"), Item("unit", f"{probe_unit(platform)}.service")]
        # The probe itself stays in its place only while a platform of this host wants it.
        items += [Item("file", paths.checks(platform)), Item("file", paths.PROBE), Item("directory", folder)]
    return list(dict.fromkeys(items))


def probe_unit(platform: str) -> str:
    """Name of the unit and the timer of a platform's checks."""
    return f"{platform}-probe"


def _addresses(topology: Topology, group: str) -> tuple[str, ...]:
    return tuple(host.address for host in topology.inventory.group(group))


def _listed(addresses: Iterable[str]) -> tuple[str, ...] | None:
    """Addresses for systemd, or None where one is a name: what it resolves to may change."""
    found = sorted(set(addresses))
    return tuple(found) if all(map(is_address, found)) else None


def _node_exporter(platform: str, address: str, watchers: tuple[str, ...]) -> Server:
    web = paths.web(platform, EXPORTER)
    return Server(
        kind="node",
        platform=platform,
        identity=EXPORTER,
        package="prometheus-node-exporter",
        program="/usr/bin/prometheus-node-exporter",
        arguments=(
            f"--web.listen-address={join(address, EXPORTER_PORTS['node'])}",
            f"--web.config.file={web}",
            "--collector.systemd",
            f"--collector.textfile.directory={paths.METRICS}",
            "--no-collector.btrfs",
            "--no-collector.infiniband",
            "--no-collector.nfs",
            "--no-collector.nfsd",
            "--no-collector.zfs",
        ),
        inputs=(web,),
        peers=watchers,
    )


def _redis_exporter(platform: str, node: ServiceNode, port: int, watchers: tuple[str, ...]) -> Server:
    certificate, key = authority.certificate(platform, EXPORTER), authority.key(platform, EXPORTER)
    trusted = authority.bundle(platform)
    return Server(
        kind="redis",
        platform=platform,
        identity=EXPORTER,
        package="prometheus-redis-exporter",
        program="/usr/bin/prometheus-redis-exporter",
        arguments=(
            f"-web.listen-address={join(node.address, port)}",
            f"-redis.addr={redis_addresses(node)[0]}",
            "-redis.user=prometheus",
            "-redis.password-file=${CREDENTIALS_DIRECTORY}/passwords",
            # The exporter would read passwords with it; its user may not, either.
            "-config-command=-",
            f"-tls-client-cert-file={certificate}",
            f"-tls-client-key-file={key}",
            f"-tls-ca-cert-file={trusted}",
            f"-tls-server-cert-file={certificate}",
            f"-tls-server-key-file={key}",
            f"-tls-server-ca-cert-file={trusted}",
            "-tls-server-min-version=TLS1.2",
        ),
        # It reads its certificate once.
        inputs=(authority.certificate_folder(platform, EXPORTER), trusted),
        peers=watchers,
        credential=paths.redis_password(platform, node.service, node.index),
        node=node,
    )


def redis_addresses(node: ServiceNode) -> tuple[str, str]:
    """How an exporter calls its Redis, and how newer ones look it up in the file of passwords: with the user."""
    place = join(node.address, node.port)
    return f"rediss://{place}", f"rediss://prometheus@{place}"


def _postgresql_exporter(platform: str, node: ServiceNode, port: int, watchers: tuple[str, ...]) -> Server:
    web = paths.web(platform, EXPORTER)
    source = f"host=/run/postgresql port={node.port} user=prometheus dbname=postgres sslmode=disable"
    return Server(
        kind="postgresql",
        platform=platform,
        identity=EXPORTER,
        package="prometheus-postgres-exporter",
        program="/usr/bin/prometheus-postgres-exporter",
        arguments=(
            f"--web.listen-address={join(node.address, port)}",
            f"--web.config.file={web}",
        ),
        inputs=(web,),
        peers=watchers,
        # By the socket as the account it runs as: there is no password.
        environment=(f"DATA_SOURCE_NAME={source}",),
        node=node,
    )


def _service_exporter(platform: str, address: str, watchers: tuple[str, ...]) -> Server:
    return Server(
        kind="service",
        platform=platform,
        identity=EXPORTER,
        package="python3",
        program="/usr/bin/python3",
        arguments=("-B", "-m", paths.EXPORTER, paths.figures(platform)),
        # It sees by itself that its certificate was renewed.
        inputs=(paths.figures(platform), *list_modules(platform)),
        peers=watchers,
        environment=(f"PYTHONPATH={paths.libraries(platform)}",),
    )


def _blackbox(platform: str, address: str, topology: Topology, watchers: tuple[str, ...]) -> Server:
    web, modules = paths.web(platform, EXPORTER), paths.blackbox(platform)
    probed = [target.address for target in topology.scrape_targets if target.job == PROBE]
    return Server(
        kind="blackbox",
        platform=platform,
        identity=EXPORTER,
        package="prometheus-blackbox-exporter",
        program="/usr/bin/prometheus-blackbox-exporter",
        arguments=(
            f"--web.listen-address={join(address, EXPORTER_PORTS['blackbox'])}",
            f"--web.config.file={web}",
            f"--config.file={modules}",
        ),
        inputs=(web,),
        reloads=(modules,),
        peers=_listed([*watchers, *probed]),
    )


def _prometheus(platform: Platform, topology: Topology, address: str) -> Server:
    name, declared = platform.platform, platform.observability.prometheus
    assert declared is not None
    web = paths.web(name, PROMETHEUS)
    asked = [target.address for target in topology.scrape_targets if target.job != PROBE]
    for part in (platform.observability.alertmanager, platform.observability.dashboards):
        asked += _addresses(topology, part.hosts) if part else ()
    size = (f"--storage.tsdb.retention.size={declared.retention_size}B",) if declared.retention_size else ()
    return Server(
        kind="prometheus",
        platform=name,
        identity=PROMETHEUS,
        package="prometheus",
        program="/usr/bin/prometheus",
        arguments=(
            f"--config.file={paths.prometheus(name)}",
            f"--web.listen-address={join(address, declared.port)}",
            f"--web.external-url=https://{join(address, declared.port)}/",
            f"--web.config.file={web}",
            f"--storage.tsdb.path=/var/lib/{name}-prometheus",
            f"--storage.tsdb.retention.time={int(declared.retention)}s",
            *size,
        ),
        inputs=(web,),
        reloads=(
            *(paths.rules(name, part) for part in list_rules(declared)),
            *(paths.targets(name, job) for job in list_jobs(topology)),
            paths.prometheus(name),
        ),
        state=True,
        peers=_listed(asked),
    )


def _alertmanager(platform: str, address: str, port: int) -> Server:
    web = paths.web(platform, ALERTMANAGER)
    return Server(
        kind="alertmanager",
        platform=platform,
        identity=ALERTMANAGER,
        package="prometheus-alertmanager",
        program="/usr/bin/prometheus-alertmanager",
        arguments=(
            f"--config.file={paths.alertmanager(platform)}",
            f"--web.listen-address={join(address, port)}",
            f"--web.external-url=https://{join(address, port)}/",
            f"--web.config.file={web}",
            f"--storage.path=/var/lib/{platform}-alertmanager",
            # It stands alone; without this it would listen for others on every address.
            "--cluster.listen-address=",
        ),
        inputs=(web,),
        reloads=(paths.alertmanager(platform),),
        state=True,
        # Its receivers are anywhere.
        peers=None,
    )
