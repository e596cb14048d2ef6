"""Which worker of pytest-xdist takes which checks: all checks of a host stay together, and so does its connection."""

from __future__ import annotations

from collections.abc import Iterable

import pytest
from xdist.remote import Producer
from xdist.scheduler import LoadScopeScheduling

SITE = "site"
"""Where checks belong that are no single host's."""


def host_of(check: str, hosts: Iterable[str]) -> str:
    """Return the host whose name stands in a check's id (``test_redis.py::test_memory[app-1-redis]``), else SITE.

    Of several names that fit, the longest is meant: ``app-1`` and not ``app``.
    """
    _, bracket, words = check.rstrip("]").partition("[")
    fitting = [name for name in hosts if bracket and f"-{name}-" in f"-{words}-"]
    return max(fitting, key=len, default=SITE)


class HostScheduling(LoadScopeScheduling):  # type: ignore[misc]  # xdist has no types
    """Gives each worker whole hosts; xdist's own groups get lost with releases of pytest from 9 on."""

    def __init__(self, config: pytest.Config, log: Producer, hosts: Iterable[str]) -> None:
        super().__init__(config, log)
        self._hosts = tuple(hosts)

    def _split_scope(self, nodeid: str) -> str:
        return host_of(nodeid, self._hosts)
