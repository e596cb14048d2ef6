"""Has hosts of plain names use this connector, as pyinfra itself has them use ``@ssh``."""

from __future__ import annotations

import os
from typing import Any

from pyinfra.api.inventory import Inventory
from pyinfra.connectors.ssh import SSHConnector

from groundwork.connector.ssh import GroundworkConnector

CONNECTOR = "GROUNDWORK_CONNECTOR"
"""Environment variable: ``ssh`` leaves plain names to pyinfra's own connector."""

_done = False


def adopt_plain_hosts() -> None:
    """From now on, hosts without a connector's prefix are reached as ``@groundwork``; ``@ssh/name`` stays pyinfra's.

    Called by ``config.py``, which pyinfra and ``groundwork`` read before the inventory. pyinfra has no setting for
    the connector of plain names, so the method that makes an inventory's hosts is wrapped, once.
    """
    global _done
    if _done or os.environ.get(CONNECTOR) == "ssh":
        return
    _done = True
    original = Inventory.make_hosts_and_groups

    def make_hosts_and_groups(self: Inventory, names: Any, groups: Any) -> None:
        original(self, names, groups)
        for host in self:
            if host.connector_cls is SSHConnector and not host.name.startswith("@"):
                host.connector_cls = GroundworkConnector

    Inventory.make_hosts_and_groups = make_hosts_and_groups  # type: ignore[method-assign]
