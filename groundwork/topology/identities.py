"""One identity for each unit of each host: what its certificate will say."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from ipaddress import ip_address

from groundwork.manifest.platform import Platform
from groundwork.topology.model import Identity, Process, ServiceNode, Site


def list_identities(
    platform: Platform,
    environment: str,
    processes: Iterable[Process],
    nodes: Iterable[ServiceNode],
    sites: Iterable[Site],
) -> Iterator[Identity]:
    """Yield one identity per unit and host: host names, addresses, and a SPIFFE URI of the unit."""

    def identity(unit: str, host: str, address: str, names: tuple[str, ...] = ()) -> Identity:
        addresses = (address,) if _is_address(address) else ()
        uri = f"spiffe://{environment}/{platform.platform}/{unit}"
        return Identity(unit, host, (host, *names), addresses, uri)

    for process in processes:
        unit = process.unit_name.removesuffix(".service")
        yield identity(unit, process.host, process.agents[0].address)
    for node in nodes:
        yield identity(f"{node.service}-{node.index}", node.host, node.address)
    for site in sites:
        names = tuple(platform.exposure[site.exposure].server_names)
        yield identity(f"site-{site.exposure}", site.host, site.address, names)


def _is_address(text: str) -> bool:
    try:
        ip_address(text)
    except ValueError:
        return False
    return True
