"""What watches the platform: Prometheus, its exporters and prober, Alertmanager. Mutual TLS between all of them."""

from __future__ import annotations

import json
from functools import partial
from pathlib import Path

from pyinfra import host
from pyinfra.api import deploy
from pyinfra.api.operation import OperationMeta
from pyinfra.operations import files

from groundwork.objectives.derivation import derive_objectives
from groundwork.objectives.files import HEADER, dump, render_platform_rules
from groundwork.objectives.given import read_given, render_given_rules
from groundwork.operations import apt, ledger, secret_files, systemd_units, validated_files
from groundwork.operations.refusals import refusing
from groundwork.operations.rendering import render_template
from groundwork.secrets.value import SecretValue
from groundwork.site import Site
from groundwork.topology.identities import ALERTMANAGER, PROMETHEUS
from groundwork.topology.secrets import METRICS, credential_name
from roles.observability import figures, paths, plan, routing, scraping
from roles.observability.facts import DebianVersion
from roles.observability.probes import list_checks
from roles.observability.rules import make_platform_rules

# From Debian 13 on, promtool is a package of its own.
PROMTOOL_SINCE = 13
GROUP = "prometheus"
PROBE = Path(__file__).parent / "onhost" / "groundwork_probe.py"


@deploy("Watch the platform")
def observability(site: Site) -> None:
    """Set up what watches on this host, and take away what it no longer has; what was recorded stays."""
    with refusing():
        plan.check_platform(site.platform, site.topology)
        read_given(site.platform, site.folder)
        servers = plan.plan_servers(site.platform, site.topology, host.name)
        secrets = _read_secrets(site, servers)
    name = site.platform.platform
    role, items = f"observability-{name}", plan.list_items(name, servers)
    ledger.begin(name="Note what observability lays down", role=role, items=items)
    if servers:
        _prepare_host(servers)
        _write_web(name, servers)
    kinds = {server.kind for server in servers}
    if "blackbox" in kinds:
        _write_modules(site)
    if PROMETHEUS in kinds:
        _write_prometheus(site)
    if ALERTMANAGER in kinds:
        _write_alertmanager(site, secrets)
    if "service" in kinds:
        _write_exporter(site)
    for server in servers:
        _run_server(site, server, secrets)
    if servers:
        _check_health(site)
    ledger.finish(name="Remove what observability no longer declares", role=role, items=items)


def _read_secrets(site: Site, servers: list[plan.Server]) -> dict[str, SecretValue]:
    """Passwords of Redis exporters by service, and secrets of receivers by name."""
    found: dict[str, SecretValue] = {}
    for server in servers:
        if server.kind == "redis" and server.node:
            found[server.node.service] = site.secret(credential_name(server.node.service, METRICS))
        if server.kind == ALERTMANAGER and site.platform.observability.alertmanager:
            receivers = site.platform.observability.alertmanager.receivers
            found |= {f"receiver {name}": site.secret(one.secret) for name, one in receivers.items()}
    return found


def _prepare_host(servers: list[plan.Server]) -> None:
    packages = [*dict.fromkeys(server.package for server in servers), "python3", "openssl"]
    own = list(dict.fromkeys(server.package_unit for server in servers if server.package_unit))
    if "prometheus" in packages and host.get_fact(DebianVersion) >= PROMTOOL_SINCE:
        packages.append("promtool")
    apt.packages(name="Install what watches", packages=packages, hold_services=own)
    # Where a package was there before: its own server listens to anybody.
    systemd_units.service(name="Stop the packages' own servers", units=own, running=False, enabled=False)
    for unit in own:
        files.link(
            name=f"Keep {unit} from starting",
            path=f"/etc/systemd/system/{unit}",
            target="/dev/null",
            force=True,
            force_backup=False,
        )
    files.directory(name="Make the folder of metrics in files", path=paths.METRICS, mode="0755")


def _write_web(platform: str, servers: list[plan.Server]) -> None:
    for identity in dict.fromkeys(server.identity for server in servers):
        content = HEADER + dump(scraping.make_web(platform, identity))
        dest = paths.web(platform, identity)
        validated_files.validated_file(
            name=f"Give {identity} its TLS", dest=dest, content=content, group=GROUP, mode="0640"
        )


def _write_modules(site: Site) -> None:
    validated_files.validated_file(
        name="Tell the prober how to look",
        dest=paths.blackbox(site.platform.platform),
        content=HEADER + dump(scraping.make_blackbox(site.platform)),
        check=["/usr/bin/prometheus-blackbox-exporter", "--config.check", "--config.file={candidate}"],
        check_user="prometheus",
        group=GROUP,
        mode="0640",
    )


def _write_prometheus(site: Site) -> None:
    platform, name = site.platform, site.platform.platform
    rules = {
        "objectives": render_platform_rules(platform) or HEADER + dump({"groups": []}),
        "platform": HEADER + dump(make_platform_rules(platform, site.topology)),
    }
    given = read_given(platform, site.folder)
    rules |= {"given": render_given_rules(given)} if given else {}
    for part, content in rules.items():
        validated_files.validated_file(
            name=f"Write the rules about {part}",
            dest=paths.rules(name, part),
            content=content,
            check=["promtool", "check", "rules", "{candidate}"],
            group=GROUP,
            mode="0640",
        )
    for job, targets in scraping.list_jobs(site.topology).items():
        # Prometheus sees a changed file by itself.
        validated_files.validated_file(
            name=f"List the targets of {job}",
            dest=paths.targets(name, job),
            content=scraping.render_targets(targets),
            group=GROUP,
            mode="0640",
        )
    address = site.topology.inventory.host(host.name).address
    validated_files.validated_file(
        name="Configure Prometheus",
        dest=paths.prometheus(name),
        content=HEADER + dump(scraping.make_prometheus(platform, site.topology, address)),
        check=["promtool", "check", "config", "{candidate}"],
        check_user="prometheus",
        group=GROUP,
        mode="0640",
    )


def _write_alertmanager(site: Site, secrets: dict[str, SecretValue]) -> None:
    platform = site.platform
    with refusing():
        derived = derive_objectives(platform)
        prefix = "receiver "
        own = {key.removeprefix(prefix): value for key, value in secrets.items() if key.startswith(prefix)}
        configuration = routing.make_configuration(platform, derived, own)
    secret_files.secret_file(
        name="Configure Alertmanager",
        dest=paths.alertmanager(platform.platform),
        content=SecretValue(HEADER + dump(configuration)),
        check=["amtool", "check-config", "{candidate}"],
        group=GROUP,
        mode="0640",
    )


def _write_exporter(site: Site) -> None:
    """The exporter of nginx, PgBouncer and NATS, and what it shows here."""
    name = site.platform.platform
    for dest, source in figures.list_modules(name).items():
        validated_files.validated_file(
            name=f"Install the exporter of services ({source.name})",
            dest=dest,
            content=source.read_text(encoding="utf-8"),
            check=["python3", "-c", "import ast, sys; ast.parse(open(sys.argv[1]).read())", "{candidate}"],
        )
    validated_files.validated_file(
        name="Say which figures are shown on this host",
        dest=paths.figures(name),
        content=json.dumps(figures.make_figures(site.platform, site.topology, host.name), indent=1) + "\n",
        group=GROUP,
        mode="0640",
        check=["python3", "-m", "json.tool", "{candidate}", "/dev/null"],
    )


def _check_health(site: Site) -> None:
    """The probe, what it checks here, and the timer that has it do so."""
    name = site.platform.platform
    validated_files.validated_file(
        name="Install groundwork-probe",
        dest=paths.PROBE,
        content=PROBE.read_text(encoding="utf-8"),
        mode="0755",
        check=["python3", "-c", "import ast, sys; ast.parse(open(sys.argv[1]).read())", "{candidate}"],
    )
    validated_files.validated_file(
        name="Say what is checked on this host",
        dest=paths.checks(name),
        content=json.dumps(list_checks(site.topology, host.name), indent=1) + "\n",
        group=GROUP,
        mode="0640",
        check=["python3", "-m", "json.tool", "{candidate}", "/dev/null"],
    )
    unit = plan.probe_unit(name)
    data = {"platform": name, "program": paths.PROBE, "checks": paths.checks(name)}
    data |= {"metrics": paths.probe_metrics(name), "folder": paths.METRICS}
    for kind in ("service", "timer"):
        content = render_template(f"observability/probe.{kind}.j2", **data)
        systemd_units.unit(name=f"Describe the checks to systemd ({kind})", unit=f"{unit}.{kind}", content=content)
    systemd_units.service(
        name="Check every minute",
        units=f"{unit}.timer",
        restart_inputs=[f"/etc/systemd/system/{unit}.timer"],
    )


def _run_server(site: Site, server: plan.Server, secrets: dict[str, SecretValue]) -> None:
    inputs: list[OperationMeta] = []
    if server.credential and server.node:
        password = secrets[server.node.service].reveal()
        content = json.dumps(dict.fromkeys(plan.redis_addresses(server.node), password))
        write = partial(secret_files.secret_file, dest=server.credential, content=SecretValue(content))
        inputs.append(write(name=f"Give {server.name} its password"))
    address = site.topology.inventory.host(host.name).address
    unit = systemd_units.unit(
        name=f"Describe {server.name} to systemd",
        unit=server.unit,
        content=render_template(
            "observability/unit.service.j2", server=server, address=address, open_files=plan.LARGEST_FILES
        ),
    )
    credential = [server.credential] if server.credential else []
    systemd_units.service(
        name=f"Run {server.name}",
        units=server.unit,
        restart_inputs=[*server.inputs, *credential, f"/etc/systemd/system/{server.unit}", server.program],
        after=[*inputs, unit],
    )
    if server.reloads:
        systemd_units.service(
            name=f"Have {server.name} read its configuration",
            units=server.unit,
            enabled=None,
            reload_inputs=list(server.reloads),
        )
