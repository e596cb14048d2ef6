"""The agents serve, within their limits, from a complete release, and log as declared."""

from __future__ import annotations

import json
import re
import shlex
import time
from datetime import UTC, datetime, timedelta

import pytest
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from testinfra.host import Host

from groundwork.authority import paths
from groundwork.authority.creation import Issuer, create_intermediate, create_root
from groundwork.authority.leaves import make_leaf
from groundwork.inventory import InventoryHost
from groundwork.manifest.agents import Resources
from groundwork.site import Site
from groundwork.topology.identities import OPERATOR
from groundwork.topology.model import AgentInstance, Identity, Process

NOBODY = "runuser -u nobody --"
# Asks each URL and prints a JSON list of [status or null, answer or error]; Python is there, curl may not be. One
# process asks them all: a host may have hundreds of agents.
REQUESTS = """
import json, ssl, sys, urllib.error, urllib.request
urls, certificate, key, authority = json.loads(sys.argv[1])
context = ssl.create_default_context(cafile=authority)
if certificate:
    context.load_cert_chain(certificate, key)
secure = urllib.request.HTTPSHandler(context=context)
opener = urllib.request.build_opener(urllib.request.ProxyHandler({}), secure)
answers = []
for url in urls:
    try:
        with opener.open(url, timeout=10) as answer:
            answers.append((answer.status, answer.read(20000).decode()))
    except urllib.error.HTTPError as error:
        answers.append((error.code, ""))
    except OSError as error:
        answers.append((None, str(error)))
print(json.dumps(answers))
"""


def processes(site: Site, host: InventoryHost) -> tuple[Process, ...]:
    return site.topology.processes_on(host.name)


def listening(site: Site, host: InventoryHost) -> list[AgentInstance]:
    return [agent for process in processes(site, host) for agent in process.agents if agent.port is not None]


def show(host: Host, unit: str, *properties: str) -> dict[str, str]:
    output = host.check_output(f"systemctl show --property={','.join(properties)} -- {shlex.quote(unit)}")
    return dict(line.partition("=")[::2] for line in output.splitlines())


def request(host: Host, urls: list[str], certificate: str, key: str, authority: str) -> list[tuple[int | None, str]]:
    """Status and answer of each URL; None and the reason where none came. No certificate where it is empty."""
    asked = json.dumps([urls, certificate, key, authority])
    return [tuple(one) for one in json.loads(host.check_output(shlex.join(["python3", "-c", REQUESTS, asked])))]


def health_urls(agents: list[AgentInstance]) -> list[str]:
    return [f"https://{agent.address}:{agent.port}{agent.health_path}" for agent in agents]


def test_every_unit_runs_and_goes_on_running(site: Site, host: Host, host_model: InventoryHost) -> None:
    pids = {}
    for process in processes(site, host_model):
        state = show(host, process.unit_name, "ActiveState", "SubState", "Type", "MainPID", "WatchdogUSec")
        assert (state["ActiveState"], state["SubState"]) == ("active", "running"), process.unit_name
        assert state["Type"] == "notify"
        assert state["WatchdogUSec"] not in ("0", "infinity"), f"{process.unit_name} has no watchdog"
        pids[process.unit_name] = state["MainPID"]
    # Longer than the first pauses between restarts: a unit that keeps ending has another process by then.
    time.sleep(3)
    assert {unit: show(host, unit, "MainPID")["MainPID"] for unit in pids} == pids


def test_units_are_started_again_within_limits(site: Site, host: Host, host_model: InventoryHost) -> None:
    declared = site.platform.runtime.restart
    for process in processes(site, host_model):
        state = show(host, process.unit_name, "Restart", "StartLimitBurst", "NotifyAccess")
        assert state == {"Restart": "always", "StartLimitBurst": str(declared.burst), "NotifyAccess": "main"}


def test_no_other_instance_runs(site: Site, host: Host, host_model: InventoryHost) -> None:
    declared = {process.unit_name for process in processes(site, host_model)}
    patterns = " ".join(shlex.quote(f"{process.unit}@*.service") for process in processes(site, host_model))
    listed = host.check_output(f"systemctl list-units --all --plain --no-legend -- {patterns}")
    assert {line.split()[0] for line in listed.splitlines()} == declared


def test_targets_hold_all_units_and_start_with_the_host(site: Site, host: Host, host_model: InventoryHost) -> None:
    platform = site.platform.platform
    assert host.check_output(f"systemctl is-enabled {platform}.target") == "enabled"
    groups = {process.group for process in processes(site, host_model)}
    wanted = set(show(host, f"{platform}.target", "Wants", "ActiveState")["Wants"].split())
    assert {f"{platform}-{group}.target" for group in groups} <= wanted
    for group in groups:
        state = show(host, f"{platform}-{group}.target", "Wants", "ActiveState")
        assert state["ActiveState"] == "active"
        units = {process.unit_name for process in processes(site, host_model) if process.group == group}
        assert units <= set(state["Wants"].split())


def test_health_ready_and_metrics_answer(site: Site, host: Host, host_model: InventoryHost) -> None:
    platform = site.platform.platform
    files = (paths.certificate(platform, OPERATOR), paths.key(platform, OPERATOR), paths.bundle(platform))
    asked = {
        f"https://{agent.address}:{agent.port}{path}": path == agent.metrics_path
        for agent in listening(site, host_model)
        for path in (agent.health_path, agent.ready_path, agent.metrics_path)
        if path
    }
    for (url, measured), (status, body) in zip(asked.items(), request(host, list(asked), *files), strict=True):
        assert status == 200, f"{url}: {body}"
        if measured:
            assert re.search(r"^# TYPE \w+ (counter|gauge|histogram)", body, re.MULTILINE), url


def test_agents_answer_nobody_without_a_certificate(site: Site, host: Host, host_model: InventoryHost) -> None:
    authority = paths.bundle(site.platform.platform)
    urls = health_urls(listening(site, host_model))
    for asked in (urls, [url.replace("https:", "http:") for url in urls]):
        answers = zip(asked, request(host, asked, "", "", authority), strict=True)
        assert [url for url, (status, _) in answers if status is not None] == []


def test_agents_refuse_foreign_and_expired_certificates(site: Site, host: Host, host_model: InventoryHost) -> None:
    agents = listening(site, host_model)
    if not agents:
        pytest.skip("no agent listens")
    now, authority = datetime.now(UTC), paths.bundle(site.platform.platform)
    operator = next(i for i in site.topology.identities if (i.host, i.unit) == (host_model.name, OPERATOR))
    foreign = create_intermediate(create_root(site.environment, "other", now), site.environment, "other", now)
    own, minute = site.authority.issuer(), timedelta(minutes=1)
    folder = host.check_output("mktemp -d /run/groundwork-verify-XXXXXX")
    try:
        for name, issuer, start, life in (
            ("foreign", foreign, now, 15 * minute),
            ("expired", own, now - 3 * minute, minute),
            ("valid", own, now, 15 * minute),
        ):
            pem, file = forge(issuer, operator, start, life), f"{folder}/{name}.pem"
            host.run(f"umask 077; printf %s {shlex.quote(pem)} > {file}")
            urls = health_urls(agents)
            for url, (status, body) in zip(urls, request(host, urls, file, file, authority), strict=True):
                # The valid one shows that it is the issuer and the time that are refused.
                assert status == (200 if name == "valid" else None), f"{url}: {name}: {body}"
    finally:
        host.check_output(f"rm -rf -- {folder}")


def forge(issuer: Issuer, identity: Identity, start: datetime, life: timedelta) -> str:
    """A throw-away certificate with its key and its issuer's."""
    leaf, key = make_leaf(issuer, identity, start, life)
    private = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    return b"".join((private, leaf.public_bytes(Encoding.PEM), issuer.certificate.public_bytes(Encoding.PEM))).decode()


def test_agents_listen_on_their_address_only(site: Site, host: Host, host_model: InventoryHost) -> None:
    sockets = [line.split()[3] for line in host.check_output("ss -Hltn").splitlines()]
    boxed = {agent for p in processes(site, host_model) if p.in_container for agent in p.agents}
    for agent in listening(site, host_model):
        # A published port needs no socket: Docker's rules lead to the container's.
        if agent not in boxed:
            assert [s for s in sockets if s.endswith(f":{agent.port}")] == [f"{agent.address}:{agent.port}"]


def test_limits_are_as_declared(site: Site, host: Host, host_model: InventoryHost) -> None:
    platform = site.platform.platform.replace("-", "_")
    for group in {process.group for process in processes(site, host_model)}:
        check_limits(
            host, f"groundwork-{platform}-{group.replace('-', '_')}.slice", site.platform.groups[group].resources
        )
    for process in processes(site, host_model):
        unit_slice = show(host, process.unit_name, "Slice")["Slice"]
        assert unit_slice == f"groundwork-{platform}-{process.group.replace('-', '_')}.slice"
        if not process.packed and not process.in_container:
            agent = site.platform.groups[process.group].agents[process.agents[0].agent]
            check_limits(host, process.unit_name, agent.resources)


def check_limits(host: Host, unit: str, declared: Resources) -> None:
    found = show(host, unit, "CPUWeight", "MemoryMax", "MemoryHigh", "TasksMax", "CPUQuotaPerSecUSec")
    wanted = {
        "CPUWeight": declared.cpu_weight,
        "MemoryMax": declared.memory_max,
        "MemoryHigh": declared.memory_high,
        "TasksMax": declared.tasks_max,
    }
    for key, value in wanted.items():
        if value is not None:
            # The kernel counts memory in pages.
            given = int(found[key])
            assert value - 4096 < given <= value, f"{unit}: {key}"
    if declared.cpu_quota is not None:
        assert found["CPUQuotaPerSecUSec"] != "infinity"


def test_current_release_is_complete_and_runs(site: Site, host: Host, host_model: InventoryHost) -> None:
    folder = f"/opt/groundwork/{site.platform.platform}"
    release = host.check_output(f"readlink {folder}/current")
    assert re.fullmatch(r"releases/[0-9][^/]*\+[0-9a-f]{8}", release)
    assert host.file(f"{folder}/{release}/.complete").exists
    listed = host.check_output(f"ls {folder}/releases").split()
    assert 1 <= len(listed) <= site.platform.runtime.keep_releases
    host.check_output(f"{folder}/current/bin/python -m pip check")
    for process in processes(site, host_model):
        if process.in_container:
            continue
        pid = show(host, process.unit_name, "MainPID")["MainPID"]
        arguments = host.check_output(f"tr '\\0' ' ' < /proc/{pid}/cmdline")
        assert arguments.startswith(f"{folder}/current/bin/python -m ")


def test_instance_files_say_what_the_topology_says(site: Site, host: Host, host_model: InventoryHost) -> None:
    folder = f"/etc/groundwork/{site.platform.platform}/instances"
    names = {process.unit_name.removesuffix(".service") for process in processes(site, host_model)}
    assert {name.removesuffix(".json") for name in host.check_output(f"ls {folder}/").split()} == names
    for process in processes(site, host_model):
        path = shlex.quote(f"{folder}/{process.unit_name.removesuffix('.service')}.json")
        content = json.loads(host.check_output(f"cat {path}"))
        assert [(a["name"], a["replica"], a["port"]) for a in content["agents"]] == [
            (agent.agent, agent.replica, agent.port) for agent in process.agents
        ]
        assert (content["environment"], content["host"]) == (site.environment, host_model.name)


def test_log_lines_are_json_in_the_journal(site: Site, host: Host, host_model: InventoryHost) -> None:
    for process in processes(site, host_model):
        unit = shlex.quote(process.unit_name)
        lines = host.check_output(f"journalctl -q --no-pager -o cat -u {unit} _SYSTEMD_UNIT={unit}").splitlines()
        assert lines, f"{process.unit_name} has logged nothing"
        assert all(isinstance(json.loads(line), dict) for line in lines[-20:])


def test_log_files_are_written_and_limited(site: Site, host: Host, host_model: InventoryHost) -> None:
    platform = site.platform.platform
    groups = {process.group for process in processes(site, host_model)}
    logs = [log for name in groups if (log := site.platform.groups[name].log_file)]
    if not logs:
        pytest.skip("no group has a log file")
    assert host.service(f"groundwork-logrotate-{platform}.timer").is_running
    for log in logs:
        assert host.file(log.path).size > 0
        assert host.run(f"{NOBODY} cat {log.path}").rc != 0
        told = host.run(f"logrotate --debug --state /dev/null /etc/groundwork/{platform}/logrotate.conf")
        assert f"considering log {log.path}" in told.stdout + told.stderr
        rotated = host.check_output(f"find {log.path.rpartition('/')[0]} -name '{log.path.rpartition('/')[2]}.*'")
        assert len(rotated.splitlines()) <= log.backups
