"""Lab hosts on the engine: containers whose process 1 is systemd, set up like a cloud provider's machine."""

from __future__ import annotations

import uuid
from dataclasses import dataclass
from pathlib import Path

import docker
from docker.errors import APIError, DockerException, NotFound
from docker.models.containers import Container

from groundwork.lab.archives import FileEntry, pack_files
from groundwork.lab.cards import double_files
from groundwork.lab.errors import lab_error
from groundwork.lab.keys import KeyPair
from groundwork.lab.labels import HOST_LABEL, LAB_LABEL, ROOT_LABEL, lab_filter, object_prefix, root_label
from groundwork.lab.recipe import INIT_PATH
from groundwork.lab.state import LabHost, LabSpec

# Beyond Docker's defaults. --privileged is not asked for: it fails on machines without CAP_SYS_RESOURCE, and
# would let a host change the machine (devices, clock, modules).
CAPABILITIES = ("SYS_ADMIN", "NET_ADMIN", "SYS_PTRACE", "SYS_NICE", "AUDIT_WRITE", "AUDIT_CONTROL", "IPC_LOCK")
TMPFS = {"/run": "mode=755", "/run/lock": "mode=1777", "/tmp": "exec,mode=1777"}
# PostgreSQL's shared memory needs more than Docker's 64 MB.
SHM_SIZE = "512m"
# Docker opens all ports to everyone; a server has the kernel's default.
SYSCTLS = {"net.ipv4.ip_unprivileged_port_start": "1024"}
# A host's own containers: Docker's layers cannot lie on the layers of the host's own file system.
VOLUMES = ("/var/lib/docker",)
DEBIAN_UID = 1000


@dataclass(frozen=True)
class HostStatus:
    """What the engine says about one host: ``running``, ``exited``, ``created``, ... or ``missing``."""

    host: LabHost
    state: str


def container_name(root: Path, lab: str, host: str) -> str:
    """Return the name of a host's container."""
    return f"{object_prefix(root, lab)}-{host}"


def find_container(client: docker.DockerClient, root: Path, lab: str, host: str) -> Container | None:
    """Return the host's container, or None where there is none."""
    try:
        return client.containers.get(container_name(root, lab, host))
    except NotFound:
        return None


def read_status(client: docker.DockerClient, root: Path, spec: LabSpec) -> list[HostStatus]:
    """Return each host's state, in the lab's order."""
    containers = client.containers.list(all=True, filters=lab_filter(root, spec.name))
    states = {container.labels.get(HOST_LABEL): container.status for container in containers}
    return [HostStatus(host, states.get(host.name, "missing")) for host in spec.hosts]


def ensure_host(
    client: docker.DockerClient, root: Path, spec: LabSpec, host: LabHost, host_key: KeyPair, login: str
) -> str:
    """Bring one host up; returns what was done: ``kept``, ``started`` or ``created``.

    ``login`` is the public key that the user ``debian`` accepts. A container that never started may lack its
    keys (a killed run), so it is made anew.
    """
    container = find_container(client, root, spec.name, host.name)
    if container is not None and container.status == "created":
        container.remove(force=True, v=True)
        container = None
    try:
        if container is not None:
            if container.status == "running":
                return "kept"
            container.start()
            return "started"
        container = _create(client, root, spec, host)
        files = _identity_files(host_key, login)
        if host.gpus:
            files += double_files(root, host.gpus, f"{spec.name}/{host.name}")
        container.put_archive("/", pack_files(files))
        container.start()
    except APIError as error:
        raise lab_error(f"could not be started: {error.explanation}", key=host.name) from error
    return "created"


def _create(client: docker.DockerClient, root: Path, spec: LabSpec, host: LabHost) -> Container:
    network = object_prefix(root, spec.name)
    endpoint = client.api.create_endpoint_config(ipv4_address=host.address)
    return client.containers.create(
        spec.image,
        [INIT_PATH],
        name=container_name(root, spec.name, host.name),
        hostname=host.name,
        labels={LAB_LABEL: spec.name, ROOT_LABEL: root_label(root), HOST_LABEL: host.name},
        network=network,
        networking_config={network: endpoint},
        cgroupns="private",
        cap_add=list(CAPABILITIES),
        security_opt=["seccomp=unconfined", "apparmor=unconfined"],
        tmpfs=TMPFS,
        volumes=list(VOLUMES),
        shm_size=SHM_SIZE,
        sysctls=SYSCTLS,
        environment={"container": "docker"},
        stop_signal="SIGRTMIN+3",
        detach=True,
    )


def _identity_files(host_key: KeyPair, login: str) -> list[FileEntry]:
    return [
        FileEntry("/etc/ssh/ssh_host_ed25519_key", host_key.private, 0o600),
        FileEntry("/etc/ssh/ssh_host_ed25519_key.pub", f"{host_key.public}\n"),
        FileEntry("/etc/machine-id", f"{uuid.uuid4().hex}\n", 0o444),
        FileEntry("/home/debian/.ssh/authorized_keys", f"{login}\n", 0o600, DEBIAN_UID),
    ]


def remove_hosts(client: docker.DockerClient, root: Path, lab: str) -> int:
    """Remove all containers of a lab with their volumes; returns how many there were."""
    containers = client.containers.list(all=True, filters=lab_filter(root, lab))
    for container in containers:
        try:
            container.remove(force=True, v=True)
        except NotFound:
            continue
        except DockerException as error:
            raise lab_error(f"container {container.name} could not be removed: {error}") from error
    for volume in client.volumes.list(filters=lab_filter(root, lab)):
        volume.remove(force=True)
    return len(containers)
