"""The lab's private network on the engine."""

from __future__ import annotations

from ipaddress import IPv4Network
from pathlib import Path

import docker
from docker.errors import APIError, DockerException
from docker.models.networks import Network
from docker.types import IPAMConfig, IPAMPool

from groundwork.lab.errors import lab_error
from groundwork.lab.labels import LAB_LABEL, ROOT_LABEL, lab_filter, object_prefix, root_label
from groundwork.lab.subnets import parse_routes
from groundwork.problems import Problem, ProblemError


class SubnetTakenError(ProblemError):
    """Another network, perhaps of a lab that came up at the same moment, has the subnet."""


def taken_networks(client: docker.DockerClient) -> list[IPv4Network]:
    """Return what a new network must not overlap: the machine's routes and every network of the engine."""
    networks = parse_routes(Path("/proc/net/route").read_text())
    for network in client.networks.list():
        for pool in (network.attrs.get("IPAM") or {}).get("Config") or []:
            if "." in pool.get("Subnet", ""):
                networks.append(IPv4Network(pool["Subnet"], strict=False))
    return networks


def ensure_network(client: docker.DockerClient, root: Path, lab: str, subnet: str) -> Network:
    """Return the lab's network, making it where it is missing; SubnetTakenError where it is in use."""
    name = object_prefix(root, lab)
    for network in client.networks.list(filters=lab_filter(root, lab)):
        return network
    network_range = IPv4Network(subnet)
    pool = IPAMPool(subnet=subnet, gateway=str(network_range.network_address + 1))
    try:
        return client.networks.create(
            name,
            driver="bridge",
            ipam=IPAMConfig(pool_configs=[pool]),
            labels={LAB_LABEL: lab, ROOT_LABEL: root_label(root)},
            check_duplicate=True,
        )
    except APIError as error:
        message = f"the lab's network could not be made: {error.explanation}"
        if "overlaps" in str(error.explanation):
            raise SubnetTakenError([Problem(message, given=subnet)]) from error
        raise lab_error(message, given=subnet) from error


def remove_networks(client: docker.DockerClient, root: Path, lab: str) -> int:
    """Remove the lab's networks; returns how many there were."""
    removed = 0
    for network in client.networks.list(filters=lab_filter(root, lab)):
        try:
            network.remove()
        except DockerException as error:
            raise lab_error(f"network {network.name} could not be removed: {error}") from error
        removed += 1
    return removed
