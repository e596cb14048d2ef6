"""The agents' sandbox: what it keeps from them, and what it keeps from others."""

from __future__ import annotations

import re
import shlex
import socket

import pytest
from testinfra.host import Host

from groundwork.engine.port_probe import group_places, probe_from_here, probe_from_host
from groundwork.inventory import InventoryHost
from groundwork.site import Site
from groundwork.topology.model import Process
from groundwork.topology.secrets import process_secrets

# systemd-analyze security: highest exposure of a unit, and of one with a share of a GPU.
HIGHEST_EXPOSURE = 1.2
HIGHEST_EXPOSURE_WITH_GPU = 1.5
NOBODY = "runuser -u nobody --"


def processes(site: Site, host: InventoryHost) -> tuple[Process, ...]:
    """Those that are processes of the host; for containers see test_container_engine.py."""
    return tuple(process for process in site.topology.processes_on(host.name) if not process.in_container)


def show(host: Host, unit: str, *properties: str) -> dict[str, str]:
    output = host.check_output(f"systemctl show --property={','.join(properties)} -- {shlex.quote(unit)}")
    return dict(line.partition("=")[::2] for line in output.splitlines())


@pytest.mark.role("base")
def test_permitted_hosts_get_an_answer_and_others_none(site: Site, host: Host, host_model: InventoryHost) -> None:
    permitted = {(f.destination, f.port) for f in site.topology.flows if f.source_host == host_model.name}
    agents = {
        (agent.address, agent.port or 0): (process, agent)
        for process in site.topology.processes
        for agent in process.agents
        if agent.port is not None and agent.host != host_model.name
    }
    for place, result in probe_from_host(host, group_places(agents), patience=3).items():
        process, agent = agents[place]
        if place in permitted:
            assert result == "open", f"{agent.agent} {agent.replica} does not answer {host_model.name}: {result}"
        # systemd tells addresses apart, not ports: a host that the process itself calls is let in, too.
        elif not _is_peer(site, process, host_model):
            assert result != "open", f"{agent.agent} {agent.replica} answers {host_model.name}"


@pytest.mark.role("agent_runtime")
def test_strangers_get_no_answer(site: Site, host: Host, host_model: InventoryHost) -> None:
    """Asked from here, unless this machine is one that may ask."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as route:
        route.connect((host_model.address, 9))
        here = str(route.getsockname()[0])
    known = {known.address for known in site.inventory.hosts}
    if here in known or f" {here}:" not in host.check_output("ss -Htn state established"):
        pytest.skip("this machine is no stranger to the host, or reaches it by way of another")
    agents = {
        (agent.address, agent.port or 0): f"{agent.agent} {agent.replica}"
        for process in site.topology.processes_on(host_model.name)
        if not _calls_names(site, process)
        for agent in process.agents
        if agent.port is not None
    }
    results = probe_from_here(group_places(agents), patience=2)
    assert [agents[place] for place, result in results.items() if result == "open"] == [], f"let {here} in"


def _calls_names(site: Site, process: Process) -> bool:
    """Whether the process has a flow to a name, which cannot be filtered by address."""
    mine = (f for f in site.topology.flows if (f.source_host, f.source_unit) == (process.host, process.unit_name))
    return any(not re.fullmatch(r"[0-9a-f.:]+", flow.destination) for flow in mine)


def _is_peer(site: Site, process: Process, model: InventoryHost) -> bool:
    """Whether the process has any flow with that host, or any that cannot be told by address."""
    own = {(agent.address, agent.port) for agent in process.agents}
    for flow in site.topology.flows:
        calls = (flow.source_host, flow.source_unit) == (process.host, process.unit_name)
        if calls and flow.destination == model.address:
            return True
        if (flow.destination, flow.port) in own and flow.source_host in ("", model.name):
            return True
    return _calls_names(site, process)


@pytest.mark.role("agent_runtime")
def test_sandbox_leaves_little_exposed(site: Site, host: Host, host_model: InventoryHost) -> None:
    for process in processes(site, host_model):
        gpu = site.platform.groups[process.group].gpu is not None
        limit = HIGHEST_EXPOSURE_WITH_GPU if gpu else HIGHEST_EXPOSURE
        output = host.check_output(f"systemd-analyze security --no-pager {shlex.quote(process.unit_name)}")
        found = re.search(r"Overall exposure level for .*: ([0-9.]+)", output)
        assert found, output[-300:]
        assert float(found[1]) <= limit, process.unit_name


@pytest.mark.role("agent_runtime")
def test_processes_have_no_rights(site: Site, host: Host, host_model: InventoryHost) -> None:
    for process in processes(site, host_model):
        pid = show(host, process.unit_name, "MainPID")["MainPID"]
        status = host.check_output(f"cat /proc/{pid}/status")
        fields = dict(line.partition(":\t")[::2] for line in status.splitlines())
        assert fields["CapEff"].strip("0") == fields["CapBnd"].strip("0") == ""
        assert fields["NoNewPrivs"] == "1"
        assert fields["Seccomp"] == "2"
        assert "0" not in fields["Uid"].split()


@pytest.mark.role("agent_runtime")
def test_groups_have_users_of_their_own(site: Site, host: Host, host_model: InventoryHost) -> None:
    users: dict[str, set[str]] = {}
    for process in processes(site, host_model):
        users.setdefault(process.group, set()).add(show(host, process.unit_name, "User")["User"])
    assert all(len(names) == 1 for names in users.values())
    # Clients of an MPS server have its account; nobody else shares one.
    clients = {process.group for process in processes(site, host_model) if process.sharing == "mps"}
    names = [next(iter(found)) for group, found in users.items() if group not in clients]
    assert len(set(names)) == len(names)
    shared = {next(iter(users[group])) for group in clients}
    assert len(shared) <= 1
    assert not shared & set(names)
    for name in [*names, *shared]:
        assert host.user(name).shell in ("/usr/sbin/nologin", "/bin/false")


@pytest.mark.role("agent_runtime")
def test_no_secret_is_in_an_environment_or_argument(site: Site, host: Host, host_model: InventoryHost) -> None:
    for process in processes(site, host_model):
        secrets = {name: site.secret(name).reveal() for name in process_secrets(site.platform, process)}
        pid = show(host, process.unit_name, "MainPID")["MainPID"]
        text = host.check_output(f"cat /proc/{pid}/environ /proc/{pid}/cmdline | tr '\\0' '\\n'")
        leaked = [name for name, value in secrets.items() if value in text]
        assert not leaked, f"{process.unit_name} shows {', '.join(leaked)}"
        # The processes do get them, and by the way that hides them.
        for name in secrets:
            assert re.search(rf"_FILE=/run/credentials/\S+/{name}$", text, re.MULTILINE), name


@pytest.mark.role("agent_runtime")
def test_credentials_are_out_of_reach_for_others(site: Site, host: Host, host_model: InventoryHost) -> None:
    folder = f"/etc/groundwork/{site.platform.platform}/credentials"
    names = {name for process in processes(site, host_model) for name in process_secrets(site.platform, process)}
    if not names:
        pytest.skip("no process is given a secret")
    for name in names:
        file = host.file(f"{folder}/{name}")
        assert (file.user, file.group, file.mode) == ("root", "root", 0o600)
        assert host.run(f"{NOBODY} cat {folder}/{name}").rc != 0
    for process in processes(site, host_model):
        for name in process_secrets(site.platform, process):
            path = shlex.quote(f"/run/credentials/{process.unit_name}/{name}")
            assert host.run(f"test -s {path}").rc == 0
            assert host.run(f"{NOBODY} cat {path}").rc != 0


@pytest.mark.role("agent_runtime")
def test_release_belongs_to_root(site: Site, host: Host) -> None:
    folder = f"/opt/groundwork/{site.platform.platform}"
    assert host.check_output(f"find {folder}/ -not -user root -print -quit") == ""
    assert host.check_output(f"find {folder}/ -not -type l -perm /022 -print -quit") == ""
