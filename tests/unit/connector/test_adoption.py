"""Hosts of plain names get the connector; those with a prefix keep theirs."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

PROGRAM = """
from groundwork.connector.adoption import adopt_plain_hosts
from pyinfra.api.inventory import Inventory
adopt_plain_hosts()
adopt_plain_hosts()
names = [("a", {"x": 1}), "@ssh/b", "@groundwork/c", "@local"]
inventory = Inventory((names, {}), group=(["a", "@groundwork/c"], {"y": 2}))
for host in inventory:
    print(host.name, host.connector_cls.__name__, sorted(host.groups), host.data.get("x"), host.data.get("y"))
"""


@pytest.mark.parametrize(("chosen", "plain"), [("", "GroundworkConnector"), ("ssh", "SSHConnector")])
def test_connectors_of_hosts(chosen: str, plain: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GROUNDWORK_CONNECTOR", chosen)
    root = Path(__file__).resolve().parents[3]
    done = subprocess.run([sys.executable, "-c", PROGRAM], cwd=root, capture_output=True, text=True, check=True)
    assert done.stdout.splitlines() == [
        f"a {plain} ['group'] 1 2",
        "@ssh/b SSHConnector [] None None",
        "c GroundworkConnector ['group'] None 2",
        "@local LocalConnector ['@local', '@local'] None None",
    ]
