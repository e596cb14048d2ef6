"""Every host of the inventory answers over SSH with the host key that is expected of it."""

from __future__ import annotations

from testinfra.host import Host


def test_host_answers(host: Host) -> None:
    assert host.run("id -u").stdout.strip() == "0"
