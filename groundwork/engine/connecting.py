"""First stage: log in to every host at once; one that refuses or hangs is left out."""

from __future__ import annotations

import gevent
from pyinfra.api.command import StringCommand
from pyinfra.api.host import Host
from pyinfra.api.state import StateStage
from pyinfra.context import ctx_host

from groundwork.engine.errors import HostFailureError
from groundwork.engine.events import HostConnected, StageStarted
from groundwork.engine.guard import HostGuard
from groundwork.engine.results import Mode
from groundwork.engine.run import Run
from groundwork.engine.session import selected_hosts
from groundwork.engine.uploads import MAKE_UPLOADS, UPLOADS

STAGE = "connect"


def connect_hosts(run: Run) -> None:
    """Connect every selected host, each within ``timeouts.connect`` seconds."""
    hosts = selected_hosts(run.state)
    run.emit(StageStarted(stage=STAGE, hosts=tuple(host.name for host in hosts)))
    run.state.set_stage(StateStage.Connect)
    gevent.joinall([run.state.pool.spawn(_connect, run, host) for host in hosts])


def _connect(run: Run, host: Host) -> None:
    guard = HostGuard(run.state, host, run.request.timeouts)
    run.guards[host] = guard
    try:
        with ctx_host.use(host):
            guard.install()
            host.connect(show_errors=False, raise_exceptions=True)
            guard.watch()
            _make_uploads(run, host)
    except Exception as error:
        guard.close()
        run.fail(host, STAGE, run.explain(host, error))
        return
    run.state.activate_host(host)
    run.emit(HostConnected(host=host.name))


def _make_uploads(run: Run, host: Host) -> None:
    """Make the folder for uploads, where ``config.py`` names ours; a plan uploads nothing."""
    if run.request.mode is Mode.PLAN or run.state.config.TEMP_DIR != UPLOADS:
        return
    sudo = bool(host.data.get("_sudo", run.state.config.SUDO))
    succeeded, output = host.run_shell_command(StringCommand(MAKE_UPLOADS), _sudo=sudo)
    if not succeeded:
        raise HostFailureError(f"the folder for uploads cannot be made: {output.stderr or output.stdout}")
