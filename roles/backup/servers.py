"""What a job must know of a server of Redis or NATS on its host: where it answers, by what root gets in, its files.

The roles of those services lay these down and say them in their own plans; tests/unit/roles/backup compares the two.
"""

from __future__ import annotations

from groundwork.authority import paths
from groundwork.topology.model import ServiceNode


def describe_server(platform: str, node: ServiceNode) -> dict[str, object]:
    """The facts of one server as plain data. Raises ValueError for a kind that is backed up by other means."""
    identity = f"{node.service}-{node.index}"
    instance = f"{platform}-{identity}"
    common: dict[str, object] = {"instance": instance, "address": node.address, "port": node.port}
    if node.kind == "redis":
        return common | {
            "unit": f"redis-server@{instance}.service",
            "password_file": f"{paths.CONFIGURATION}/{platform}/credentials/{instance}_operator",
            "data_folder": f"/var/lib/redis/{instance}",
        }
    if node.kind == "nats":
        certificate, key = paths.certificate(platform, identity), paths.key(platform, identity)
        return common | {"unit": f"{instance}.service", "certificate": certificate, "key": key}
    raise ValueError(f"{node.kind} is not backed up through its server")
