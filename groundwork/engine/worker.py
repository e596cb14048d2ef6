"""The process that runs pyinfra: reads a request from standard input, writes events to a pipe.

A process of its own because pyinfra needs gevent's patched standard library, works on process-wide state, and
must not take the command's progress display down with it.
"""

# gevent must replace the standard library's blocking calls before anything else imports them.
from gevent import monkey

monkey.patch_all()

import logging  # noqa: E402
import os  # noqa: E402
import signal  # noqa: E402
import sys  # noqa: E402
import traceback  # noqa: E402
from collections.abc import Callable  # noqa: E402
from typing import NoReturn  # noqa: E402

import click  # noqa: E402
import gevent  # noqa: E402
import pyinfra  # noqa: E402
from gevent.socket import wait_read  # noqa: E402
from pyinfra.api.exceptions import PyinfraError  # noqa: E402
from pyinfra.api.output import set_formatter  # noqa: E402
from pyinfra.connectors import ssh_util  # noqa: E402
from pyinfra.connectors import util as connector_util  # noqa: E402

from groundwork.connector.ssh import GroundworkConnector  # noqa: E402
from groundwork.engine.connecting import connect_hosts  # noqa: E402
from groundwork.engine.errors import describe_error  # noqa: E402
from groundwork.engine.events import Event, RunFinished  # noqa: E402
from groundwork.engine.executing import execute_operations, report_not_run  # noqa: E402
from groundwork.engine.planning import answer_from_plan, plan_operations  # noqa: E402
from groundwork.engine.preparing import prepare_hosts  # noqa: E402
from groundwork.engine.request import RunRequest  # noqa: E402
from groundwork.engine.results import Mode  # noqa: E402
from groundwork.engine.run import Run  # noqa: E402
from groundwork.engine.secrets import load_redactor  # noqa: E402
from groundwork.engine.session import open_session  # noqa: E402
from groundwork.problems import Problem, ProblemError  # noqa: E402


def main() -> int:
    """Do the run that standard input asks for; the only argument is the descriptor that takes the events."""
    pipe = int(sys.argv[1])
    request = RunRequest.model_validate_json(sys.stdin.buffer.readline())
    run = Run(request, lambda event: _write(pipe, event))
    _prepare_process(run)
    work = gevent.spawn(_work, run)
    gevent.signal_handler(signal.SIGTERM, lambda: _stop(run, work))
    gevent.spawn(_die_with_parent)
    work.join()
    report_not_run_if_known(run)
    run.emit(RunFinished(problems=tuple(run.problems), interrupted=run.stopping))
    remember_facts(run)
    for guard in run.guards.values():
        guard.close()
    sys.stdout.flush()
    sys.stderr.flush()
    # Skips waiting for connections that no longer answer; nothing is left to be written.
    os._exit(0)


def report_not_run_if_known(run: Run) -> None:
    """Report the operations that were never begun, when the run got as far as knowing them."""
    if run.request.mode is Mode.APPLY and hasattr(run, "state"):
        report_not_run(run)


def remember_facts(run: Run) -> None:
    """Have the next run ask ahead of time what this one asked; without that, it is only slower."""
    for host in run.guards:
        connector = host.connector
        if isinstance(connector, GroundworkConnector):
            connector.remember()


def _work(run: Run) -> None:
    stages: list[Callable[[Run], None]] = [connect_hosts, prepare_hosts]
    stages.append(plan_operations if run.request.mode is Mode.PLAN else execute_operations)
    try:
        run.state = open_session(run.request)
        for stage in stages:
            # Again before each stage: preparing may have made secrets that did not exist before.
            run.redact = load_redactor()
            if run.stopping or (run.guards and not run.state.active_hosts):
                break
            stage(run)
    except ProblemError as error:
        run.problems += error.problems
    except Exception as error:
        if os.environ.get("GROUNDWORK_DEBUG"):
            print(run.redact(traceback.format_exc()), file=sys.stderr)
        cause = getattr(error, "exception", None)
        if isinstance(cause, ProblemError):
            run.problems += cause.problems
        else:
            run.problems.append(Problem(run.redact(describe_error(error))))


def _prepare_process(run: Run) -> None:
    pyinfra.is_cli = True
    sys.dont_write_bytecode = True
    os.environ["PYINFRA_PROGRESS"] = "off"
    # Colours are how pyinfra marks the two sides of some differences.
    set_formatter(click.style)
    logger = logging.getLogger("pyinfra")
    logger.setLevel(logging.INFO)
    logger.propagate = False
    logger.addHandler(run.capture)
    if run.request.mode is Mode.PLAN:
        run.capture.keep_diffs = True
        answer_from_plan()
    for module in (connector_util, ssh_util):
        module.getpass = _refuse_prompt  # type: ignore[attr-defined]


def _refuse_prompt(prompt: str = "") -> NoReturn:
    raise PyinfraError(f"a password is asked for and nobody is there to type it ({prompt.strip()})")


def _stop(run: Run, work: gevent.Greenlet) -> None:
    """Begin nothing new, give what is under way a moment, then cut it off."""
    if run.stopping:
        return
    run.stopping = True
    executing = hasattr(run, "state") and run.state.is_executing
    if executing:
        work.join(timeout=run.request.timeouts.stop)
    if not work.dead:
        if hasattr(run, "state"):
            run.state.pool.kill(timeout=2)
        work.kill(block=False)


def _die_with_parent() -> None:
    """End at once when the parent is gone: nobody reads the events, and the next run must find no rival."""
    while True:
        wait_read(sys.stdin.fileno())
        if not os.read(sys.stdin.fileno(), 4096):
            os._exit(1)


def _write(pipe: int, event: Event) -> None:
    data = event.model_dump_json().encode() + b"\n"
    while data:
        try:
            data = data[os.write(pipe, data) :]
        except BrokenPipeError:
            os._exit(1)


if __name__ == "__main__":
    main()
