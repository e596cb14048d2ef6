"""Sets pyinfra up the way its own command does: config, inventory, limit, state."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable
from fnmatch import fnmatch
from pathlib import Path
from typing import Any, NoReturn

from pyinfra.api.config import Config
from pyinfra.api.exceptions import NoGroupError
from pyinfra.api.host import Host
from pyinfra.api.inventory import Inventory
from pyinfra.api.state import State
from pyinfra.context import ctx_config, ctx_inventory, ctx_state
from pyinfra_cli.inventory import make_inventory
from pyinfra_cli.util import exec_file

from groundwork.connector.adoption import adopt_plain_hosts
from groundwork.engine.errors import HostFailureError
from groundwork.engine.request import RunRequest
from groundwork.engine.results import Mode
from groundwork.problems import Problem, ProblemError


class EngineState(State):
    """pyinfra's state, but a host that fails is stopped at once.

    Stock pyinfra notes that a fact could not be read and lets the operation go on with the fact's default, so
    that it decides on data that was never read. Here the host's work ends where the fact failed.
    """

    def fail_hosts(self, hosts_to_fail: Iterable[Host], activated_count: int | None = None) -> None:
        """Called by pyinfra's facts, within the failing host's own greenlet."""
        names = ", ".join(sorted(host.name for host in hosts_to_fail))
        if names:
            raise HostFailureError(f"a fact could not be read on {names}")

    def drop(self, host: Host) -> None:
        """Take a host out of the rest of the run."""
        self.failed_hosts.add(host)
        self.active_hosts.discard(host)


def open_session(request: RunRequest) -> EngineState:
    """Load config and inventory; contacts nothing.

    Raises:
        ProblemError: no inventory or deploy file, no hosts, or a limit that matches none.
    """
    os.chdir(request.root)
    if str(request.root) not in sys.path:
        sys.path.append(str(request.root))
    _check_files(request)
    state = EngineState(check_for_changes=request.mode is Mode.PLAN)
    state.cwd = str(request.root)
    ctx_state.set(state)
    config = Config()
    ctx_config.set(config)
    config_file = request.root / "config.py"
    if config_file.exists():
        exec_file(str(config_file))
    config.CONNECT_TIMEOUT = max(1, round(request.timeouts.connect))
    config.FAIL_PERCENT = None
    config.DIFF = request.mode is Mode.PLAN
    config.lock_current_state()
    adopt_plain_hosts()
    inventory = make_inventory(str(request.inventory), override_data=_override_data(request), cwd=str(request.root))
    ctx_inventory.set(inventory)
    if not len(inventory):
        raise ProblemError([Problem("the inventory names no hosts", file=str(request.inventory))])
    state.init(inventory, config, initial_limit=_match(inventory, request))
    return state


def selected_hosts(state: State) -> list[Host]:
    """The hosts of the run: all of the inventory's, or those within the limit."""
    return [host for host in state.inventory if state.is_host_in_limit(host)]


def _override_data(request: RunRequest) -> dict[str, Any]:
    return dict(request.data) | ({} if request.snapshot else {"groundwork_snapshot": False})


def _check_files(request: RunRequest) -> None:
    problems = [
        Problem("no such file", file=str(path))
        for path in (request.inventory, *request.deploys)
        if not (request.root / Path(path)).is_file()
    ]
    if problems:
        raise ProblemError(problems)


def _match(inventory: Inventory, request: RunRequest) -> list[Host] | None:
    if not request.limit:
        return None
    matched: list[Host] = []
    unknown: list[str] = []
    for pattern in request.limit:
        try:
            hosts = list(inventory.get_group(pattern))
        except NoGroupError:
            hosts = [host for host in inventory if fnmatch(host.name, pattern)]
        if not hosts:
            unknown.append(pattern)
        matched += [host for host in hosts if host not in matched]
    if unknown:
        _refuse_limit(unknown, inventory, request)
    return matched


def _refuse_limit(unknown: list[str], inventory: Inventory, request: RunRequest) -> NoReturn:
    groups = {name for name, members in inventory.groups.items() if members}
    known = sorted({host.name for host in inventory} | groups)
    raise ProblemError(
        Problem(
            "no host or group of that name",
            file=str(request.inventory),
            key="--limit",
            given=name,
            allowed=", ".join(known),
        )
        for name in unknown
    )
