"""Third stage of ``apply``: run the operations, all hosts side by side, one operation at a time.

The order is pyinfra's: an operation begins when the one before it has ended on every host. What differs is
that an exception, a lost connection or a timeout fails one host and never the run.
"""

from __future__ import annotations

import time

import gevent
from gevent import GreenletExit
from pyinfra.api.host import Host
from pyinfra.api.operations import run_host_op
from pyinfra.api.state import StateStage
from pyinfra.context import ctx_host, ctx_state

from groundwork.engine.errors import HostFailureError
from groundwork.engine.events import StageStarted
from groundwork.engine.preparing import active_hosts
from groundwork.engine.results import OperationResult, OperationStatus
from groundwork.engine.run import Run
from groundwork.engine.session import EngineState

STAGE = "execute"


def execute_operations(run: Run) -> None:
    """Run every prepared operation; hosts that fail are dropped, their remaining operations not run."""
    state = run.state
    run.emit(StageStarted(stage=STAGE, hosts=tuple(host.name for host in active_hosts(run))))
    state.set_stage(StateStage.Execute)
    state.is_executing = True
    with ctx_state.use(state):
        for operation in _operation_order(state):
            if run.stopping or not state.active_hosts:
                break
            _run_everywhere(run, operation)


def report_not_run(run: Run) -> None:
    """Report the operations that were prepared and never begun, on hosts that failed or when stopped."""
    for host in run.state.inventory:
        for operation in host.op_hash_order:
            if operation in run.state.ops[host] and not run.is_done(host, operation):
                result = OperationResult(name=run.name_of(operation), status=OperationStatus.NOT_RUN)
                run.finish(host, operation, result)


def _operation_order(state: EngineState) -> list[str]:
    order: list[str] = state.get_op_order()  # type: ignore[no-untyped-call]
    return order


def _run_everywhere(run: Run, operation: str) -> None:
    hosts = [host for host in active_hosts(run) if operation in run.state.ops[host]]
    arguments = run.state.get_op_meta(operation).global_arguments
    size = 1 if arguments["_serial"] else arguments["_parallel"] or len(hosts) or 1
    for first in range(0, len(hosts), size):
        if run.stopping:
            return
        batch = hosts[first : first + size]
        gevent.joinall([run.state.pool.spawn(_run_on, run, host, operation) for host in batch])


def _run_on(run: Run, host: Host, operation: str) -> None:
    started = time.monotonic()
    error: BaseException | None = None
    succeeded = False
    name = run.name_of(operation)
    with ctx_host.use(host):
        run.start(host, operation)
        try:
            succeeded = run_host_op(run.state, host, operation)
        except Exception as caught:
            error = caught
        except GreenletExit:
            error = HostFailureError("stopped by the user while it ran")
        seconds = round(time.monotonic() - started, 3)
        lost = run.guards[host].lost
        if succeeded and not lost:
            status, reason = _status(run, host, operation)
        else:
            status, reason = OperationStatus.FAILED, run.explain(host, error) or lost
        _report_nested(run, host, operation)
        run.finish(host, operation, OperationResult(name=name, status=status, seconds=seconds, error=reason))
    if status is OperationStatus.FAILED:
        run.fail(host, STAGE, f"{name}: {reason}")


def _status(run: Run, host: Host, operation: str) -> tuple[OperationStatus, str]:
    meta = run.state.get_op_data_for_host(host, operation).operation_meta
    if not meta.did_succeed():
        return OperationStatus.IGNORED, run.explain(host, None)
    return (OperationStatus.CHANGED if meta.did_change() else OperationStatus.UNCHANGED), ""


def _report_nested(run: Run, host: Host, parent: str) -> None:
    """Report the operations that ran inside a callback of ``parent``."""
    for operation, data in list(run.state.ops[host].items()):
        if data.parent_op_hash != parent or run.is_done(host, operation):
            continue
        meta = data.operation_meta
        status = OperationStatus.FAILED
        if meta.is_complete() and meta.did_succeed():
            status = OperationStatus.CHANGED if meta.did_change() else OperationStatus.UNCHANGED
        run.finish(host, operation, OperationResult(name=run.name_of(operation), status=status))
