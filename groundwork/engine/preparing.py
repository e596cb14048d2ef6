"""Second stage: run the deploy files for every host, which collects its operations."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import gevent
from gevent import GreenletExit
from pyinfra.api.host import Host
from pyinfra.api.state import StateStage
from pyinfra.context import ctx_config, ctx_host
from pyinfra_cli.util import exec_file

from groundwork.engine.events import HostPrepared, StageStarted
from groundwork.engine.run import Run

STAGE = "prepare"


def prepare_hosts(run: Run) -> None:
    """Load each deploy file for all hosts; an exception in one host's code fails that host alone."""
    state = run.state
    run.emit(StageStarted(stage=STAGE, hosts=_names(run)))
    state.set_stage(StateStage.Prepare)
    for number, deploy in enumerate(run.request.deploys):
        filename = str(deploy)
        state.config.lock_current_state()
        state.current_op_file_number = number
        state.current_deploy_filename = filename
        for_each_host(run, STAGE, partial(_load, filename))
        state.config.reset_locked_state()
    for host in active_hosts(run):
        run.emit(HostPrepared(host=host.name, operations=len(state.ops[host])))


def _load(filename: str, _host: Host) -> None:
    exec_file(filename)


def for_each_host(run: Run, stage: str, work: Callable[[Host], object]) -> None:
    """Do ``work`` for all active hosts at once, each in its own context; whoever fails is dropped."""
    greenlets = [run.state.pool.spawn(_work_on, run, stage, host, work) for host in active_hosts(run)]
    gevent.joinall(greenlets)


def active_hosts(run: Run) -> list[Host]:
    """The hosts still in the run, in the inventory's order."""
    return [host for host in run.state.inventory if host in run.state.active_hosts]


def _work_on(run: Run, stage: str, host: Host, work: Callable[[Host], object]) -> None:
    try:
        with ctx_config.use(run.state.config.copy()), ctx_host.use(host):
            work(host)
    except (Exception, SystemExit) as error:
        run.fail(host, stage, run.explain(host, error))
    except GreenletExit:
        run.fail(host, stage, "stopped by the user")
        raise


def _names(run: Run) -> tuple[str, ...]:
    return tuple(host.name for host in active_hosts(run))
