"""Containers are confined, reach their flows, and have what is declared: asked of the engine, the kernel, the network.

The numbers are recommendations of the CIS Docker Benchmark 1.6.
"""

from __future__ import annotations

import json
import re
import shlex
from ipaddress import ip_address, ip_network
from typing import Any

import pytest
from testinfra.host import Host

from groundwork.authority import paths
from groundwork.inventory import InventoryHost
from groundwork.site import Site
from groundwork.topology.containers import container_pool, container_processes
from groundwork.topology.model import Process
from groundwork.topology.secrets import process_secrets

pytestmark = pytest.mark.role("container_engine")

NOBODY = "runuser -u nobody --"
# Runs in a container, with the Python of its image.
REACH = "import socket, sys; socket.create_connection((sys.argv[1], int(sys.argv[2])), timeout=3)"


def processes(site: Site, model: InventoryHost) -> tuple[Process, ...]:
    return container_processes(site.topology, model.name)


def container(process: Process) -> str:
    return process.unit_name.removesuffix(".service").replace("@", "-")


def inspect(host: Host, process: Process) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(host.check_output(f"docker inspect {shlex.quote(container(process))}"))[0]
    return found


def info(host: Host) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(host.check_output("docker info --format '{{json .}}'"))
    return found


def status(host: Host, pid: int) -> dict[str, str]:
    text = host.check_output(f"cat /proc/{pid}/status")
    return dict(line.partition(":\t")[::2] for line in text.splitlines())


def agent_pid(host: Host, process: Process) -> int:
    """The agent's own process: the child of the container's init."""
    first = int(inspect(host, process)["State"]["Pid"])
    children = host.check_output(f"cat /proc/{first}/task/{first}/children").split()
    return int(children[0]) if children else first


def test_only_declared_containers_run(site: Site, host: Host, host_model: InventoryHost) -> None:
    label = f"label=groundwork.platform={site.platform.platform}"
    listed = host.check_output(f"docker ps --all --format '{{{{.Names}}}} {{{{.State}}}}' --filter {label}")
    found = dict(line.split() for line in listed.splitlines())
    assert found == {container(process): "running" for process in processes(site, host_model)}


def test_5_containers_are_confined(site: Site, host: Host, host_model: InventoryHost) -> None:
    for process in processes(site, host_model):
        found = inspect(host, process)
        settings = found["HostConfig"]
        name = container(process)
        assert settings["Privileged"] is False, f"{name}: 5.5"
        assert settings["CapDrop"] == ["ALL"] and not settings["CapAdd"], f"{name}: 5.4"
        assert settings["ReadonlyRootfs"] is True, f"{name}: 5.13"
        assert not {"host"} & {settings["NetworkMode"], settings["PidMode"], settings["IpcMode"], settings["UTSMode"]}
        assert settings["UsernsMode"] != "host", f"{name}: 5.31"
        assert not settings["Devices"], f"{name}: 5.18"
        assert any(option.startswith("no-new-privileges") for option in settings["SecurityOpt"]), f"{name}: 5.26"
        assert not any("unconfined" in option for option in settings["SecurityOpt"]), f"{name}: 5.2, 5.22"
        assert settings["RestartPolicy"]["Name"] in ("", "no"), f"{name}: 5.15, systemd restarts it"
        assert settings["CgroupParent"].startswith("groundwork-"), f"{name}: 5.25"
        mounts = {mount["Destination"]: mount for mount in found["Mounts"]}
        assert not any("docker.sock" in mount["Source"] for mount in found["Mounts"]), f"{name}: 5.32"
        written = {where for where, mount in mounts.items() if mount["RW"]}
        assert all(where.startswith(("/var/lib/", "/var/log/")) for where in written), f"{name}: {written}"
        assert f"/etc/groundwork/{site.platform.platform}" in mounts


def test_5_limits_are_as_declared(site: Site, host: Host, host_model: InventoryHost) -> None:
    engine = info(host)
    for process in processes(site, host_model):
        settings = inspect(host, process)["HostConfig"]
        if engine["PidsLimit"]:
            assert settings["PidsLimit"] > 0, f"{container(process)}: 5.29"
        if process.packed:
            continue
        declared = site.platform.groups[process.group].agents[process.agents[0].agent].resources
        if declared.memory_max is not None and engine["MemoryLimit"]:
            assert settings["Memory"] == settings["MemorySwap"] == declared.memory_max, f"{container(process)}: 5.11"
    if not engine["MemoryLimit"]:
        pytest.skip("the kernel limits no memory here: there is no such controller")


def test_processes_in_containers_have_no_rights(site: Site, host: Host, host_model: InventoryHost) -> None:
    for process in processes(site, host_model):
        fields = status(host, agent_pid(host, process))
        assert fields["CapEff"].strip("0") == fields["CapPrm"].strip("0") == fields["CapBnd"].strip("0") == ""
        assert fields["NoNewPrivs"] == "1"
        assert fields["Seccomp"] == "2"
        assert "0" not in fields["Uid"].split() + fields["Gid"].split()


def test_processes_are_in_the_groups_slice(site: Site, host: Host, host_model: InventoryHost) -> None:
    for process in processes(site, host_model):
        group = process.group.replace("-", "_")
        lines = host.check_output(f"cat /proc/{agent_pid(host, process)}/cgroup")
        assert f"/groundwork-{site.platform.platform.replace('-', '_')}-{group}.slice/" in lines


def test_users_are_shifted_as_the_engine_says(site: Site, host: Host, host_model: InventoryHost) -> None:
    engine = info(host)
    mapped = any(option.startswith("name=userns") for option in engine["SecurityOptions"])
    offset = int(engine["DockerRootDir"].rpartition("/")[2].partition(".")[0]) if mapped else 0
    for process in processes(site, host_model):
        uid = int(status(host, agent_pid(host, process))["Uid"].split()[0])
        inside = int(inspect(host, process)["Config"]["User"].partition(":")[0])
        assert uid == inside + offset
        assert inside > 0


def test_nothing_but_data_can_be_written(site: Site, host: Host, host_model: InventoryHost) -> None:
    for process in processes(site, host_model):
        name = shlex.quote(container(process))
        for folder in ("/", "/usr", "/etc", f"/etc/groundwork/{site.platform.platform}", "/run/secrets"):
            probe = f"open({folder!r} + '/x', 'w')"
            assert host.run(f'docker exec {name} python3 -c "{probe}"').rc != 0, f"{container(process)}: {folder}"


def test_secrets_are_files_and_nowhere_else(site: Site, host: Host, host_model: InventoryHost) -> None:
    for process in processes(site, host_model):
        secrets = {name: site.secret(name).reveal() for name in process_secrets(site.platform, process)}
        pid = agent_pid(host, process)
        text = host.check_output(f"cat /proc/{pid}/environ /proc/{pid}/cmdline | tr '\\0' '\\n'")
        told = json.dumps(inspect(host, process))
        for name, value in secrets.items():
            assert value not in text and value not in told, f"{container(process)} shows {name}"
            assert re.search(rf"_FILE=/run/secrets/{name}$", text, re.MULTILINE), name
            copy = f"/run/groundwork/containers/{process.unit_name.removesuffix('.service')}/secrets/{name}"
            assert host.run(f"test -s {shlex.quote(copy)}").rc == 0
            assert host.run(f"{NOBODY} cat {shlex.quote(copy)}").rc != 0
            assert host.file(copy).mode == 0o400


def test_images_hold_no_secret(site: Site, host: Host, host_model: InventoryHost) -> None:
    images = {inspect(host, process)["Image"] for process in processes(site, host_model)}
    names = {name for process in processes(site, host_model) for name in process_secrets(site.platform, process)}
    for image in images:
        text = host.check_output(f"docker history --no-trunc {image}; docker image inspect {image}")
        assert not [name for name in names if site.secret(name).reveal() in text]


def test_4_5_images_of_registries_are_by_digest(site: Site, host: Host, host_model: InventoryHost) -> None:
    for process in processes(site, host_model):
        declared = site.platform.groups[process.group].container
        image = inspect(host, process)["Config"]["Image"]
        if declared and declared.is_pulled:
            assert image == declared.image
        elif declared:
            assert (
                host.check_output(
                    f"docker image inspect --format '{{{{index .Config.Labels \"groundwork.platform\"}}}}' {image}"
                )
                == site.platform.platform
            )


def test_5_27_health_is_asked_for(site: Site, host: Host, host_model: InventoryHost) -> None:
    for process in processes(site, host_model):
        found = inspect(host, process)
        if found["Config"].get("Healthcheck"):
            assert found["State"]["Health"]["Status"] in ("healthy", "starting"), container(process)


def test_ports_are_published_at_the_hosts_address(site: Site, host: Host, host_model: InventoryHost) -> None:
    for process in processes(site, host_model):
        bindings = inspect(host, process)["HostConfig"]["PortBindings"] or {}
        found = {(one["HostIp"], int(one["HostPort"])) for ports in bindings.values() for one in ports}
        assert found == {(agent.address, agent.port) for agent in process.agents if agent.port is not None}


def test_containers_have_addresses_of_the_pool(site: Site, host: Host, host_model: InventoryHost) -> None:
    pool = ip_network(container_pool(host_model))
    for process in processes(site, host_model):
        networks = inspect(host, process)["NetworkSettings"]["Networks"]
        assert list(networks) == [f"{site.platform.platform}-{process.group}"]
        assert all(ip_address(network["IPAddress"]) in pool for network in networks.values())


def test_containers_reach_their_flows_and_nothing_else(site: Site, host: Host, host_model: InventoryHost) -> None:
    answering = {(e.address, e.port) for e in site.topology.endpoints if e.protocol == "tcp" and e.host}
    for process in processes(site, host_model):
        flows = [f for f in site.topology.flows if (f.source_host, f.source_unit) == (process.host, process.unit_name)]
        permitted = {(flow.destination, flow.port) for flow in flows}
        own = {(agent.address, agent.port) for agent in process.agents}
        name = shlex.quote(container(process))
        addresses = {flow.destination for flow in flows}
        for address, port in sorted(answering - own):
            reached = host.run(f"docker exec {name} python3 -c {shlex.quote(REACH)} {address} {port}").rc == 0
            if (address, port) in permitted:
                assert reached, f"{container(process)} does not reach {address}:{port}"
            # The kernel tells addresses apart here, and the firewall of the other host tells hosts apart.
            elif address not in addresses | {host_model.address}:
                assert not reached, f"{container(process)} reaches {address}:{port}"


def test_a_renewed_certificate_is_seen_inside(site: Site, host: Host, host_model: InventoryHost) -> None:
    platform = site.platform.platform
    for process in processes(site, host_model):
        path = paths.certificate(platform, process.unit_name.removesuffix(".service"))
        inside = host.check_output(
            f"docker exec {shlex.quote(container(process))} python3 -c "
            + shlex.quote(f"import hashlib; print(hashlib.sha256(open({path!r}, 'rb').read()).hexdigest())")
        )
        assert inside == host.check_output(f"sha256sum {shlex.quote(path)}").split()[0]
