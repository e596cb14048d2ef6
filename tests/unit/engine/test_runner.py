from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from groundwork.engine.events import Event, OperationStarted
from groundwork.engine.results import ExitCode, HostResult, Mode, OperationStatus, RunResult

if TYPE_CHECKING:
    from conftest import Bench

AddServer = Callable[[str], "subprocess.Popen[str]"]


def host_of(result: RunResult, name: str) -> HostResult:
    return next(host for host in result.hosts if host.name == name)


def statuses(host: HostResult) -> list[str]:
    return [str(operation.status) for operation in host.operations]


def test_apply_changes_once_and_then_nothing(bench: Bench) -> None:
    bench.add_local()
    target = bench.root / "motd"
    bench.deploy(
        f"a = files.put(name='write', src=StringIO('hello\\n'), dest={str(target)!r}, mode='644')\n"
        "server.shell(name='restart', commands=['true'], _if=a.did_change)\n"
    )
    first = bench.run()
    assert statuses(first.hosts[0]) == ["changed", "changed"]
    assert first.exit_code is ExitCode.GOOD
    assert target.read_text() == "hello\n"
    assert statuses(bench.run().hosts[0]) == ["unchanged", "unchanged"]


def test_plan_has_diff_and_exit_code_and_changes_nothing(bench: Bench) -> None:
    bench.add_local()
    target = bench.root / "new" / "motd"
    bench.deploy(
        f"a = files.put(name='write', src=StringIO('one\\ntwo\\n'), dest={str(target)!r}, mode='644')\n"
        "b = server.shell(name='restart', commands=['true'], _if=a.did_change)\n"
        "server.shell(name='then', commands=['true'], _if=lambda: b.did_change())\n"
    )
    plan = bench.run(Mode.PLAN)
    assert plan.exit_code is ExitCode.FINDINGS
    assert statuses(plan.hosts[0]) == ["would_change"] * 3
    # Change detection alone ends at the command that makes the directory, before there is a diff.
    assert plan.hosts[0].operations[0].diff[-2:] == ("+ one", "+ two")
    assert not target.parent.exists()

    target.parent.mkdir()
    target.write_text("one\nTWO\n")
    target.chmod(0o644)
    assert "- TWO" in bench.run(Mode.PLAN).hosts[0].operations[0].diff

    target.write_text("one\ntwo\n")
    settled = bench.run(Mode.PLAN)
    assert statuses(settled.hosts[0]) == ["unchanged"] * 3
    assert settled.exit_code is ExitCode.GOOD


def test_plan_never_shows_a_private_file(bench: Bench) -> None:
    bench.add_local()
    target = bench.root / "credential"
    target.write_text("old-canary\n")
    bench.deploy(f"files.put(name='write', src=StringIO('new-canary\\n'), dest={str(target)!r}, mode='600')\n")
    events: list[Event] = []
    plan = bench.run(Mode.PLAN, on_event=events.append)
    assert plan.hosts[0].operations[0].status is OperationStatus.WOULD_CHANGE
    said = plan.to_json() + "".join(event.model_dump_json() for event in events)
    assert "canary" not in said
    assert "content not shown" in said


def test_condition_on_output_is_only_a_possible_change(bench: Bench) -> None:
    bench.add_local()
    bench.deploy(
        "a = server.shell(name='ask', commands=['echo yes'], _if=lambda: False)\n"
        "server.shell(name='act', commands=['true'], _if=lambda: 'yes' in a.stdout)\n"
    )
    plan = bench.run(Mode.PLAN)
    assert statuses(plan.hosts[0]) == ["unchanged", "may_change"]
    assert plan.exit_code is ExitCode.GOOD


def test_failed_operation_ends_its_host_alone(bench: Bench, add_server: AddServer) -> None:
    add_server("bad")
    add_server("good")
    bench.deploy(
        "command = 'echo broken >&2; exit 3' if host.name == 'bad' else 'true'\n"
        "server.shell(name='try', commands=[command])\n"
        f"server.shell(name='after', commands=['touch {bench.root}/after-' + host.name])\n"
    )
    result = bench.run()
    assert statuses(host_of(result, "bad")) == ["failed", "not_run"]
    assert "broken" in host_of(result, "bad").operations[0].error
    assert statuses(host_of(result, "good")) == ["changed", "changed"]
    assert (bench.root / "after-good").exists()
    assert not (bench.root / "after-bad").exists()
    assert result.exit_code is ExitCode.ERROR
    assert result.retry == "--limit bad"


def test_hosts_that_refuse_or_hang_do_not_stop_the_others(
    bench: Bench, add_server: AddServer, silent_port: int, closed_port: int
) -> None:
    add_server("good")
    bench.hosts["hangs"] = bench.hosts["good"] | {"ssh_port": silent_port}
    bench.hosts["refuses"] = bench.hosts["good"] | {"ssh_port": closed_port}
    bench.hosts["other-key"] = bench.hosts["good"] | {"ssh_known_hosts_file": "/dev/null"}
    bench.hosts["no-key"] = bench.hosts["good"] | {"ssh_key": "/nonexistent"}
    bench.deploy("server.shell(name='work', commands=['true'])\n")
    result = bench.run()
    assert statuses(host_of(result, "good")) == ["changed"]
    assert {host.name: host.stage for host in result.failed_hosts} == dict.fromkeys(
        ["hangs", "refuses", "other-key", "no-key"], "connect"
    )
    assert "does not answer" in host_of(result, "hangs").reason
    assert "Could not connect" in host_of(result, "refuses").reason
    assert "host key" in host_of(result, "other-key").reason
    assert result.stage_seconds["connect"] < 10


@pytest.mark.parametrize(("signal_name", "reason"), [("STOP", "stopped answering"), ("KILL", "connection broke")])
def test_host_that_goes_away_during_an_operation(
    bench: Bench, add_server: AddServer, signal_name: str, reason: str
) -> None:
    add_server("bad")
    add_server("good")
    bench.deploy(
        f"leave = 'kill -{signal_name} $SERVER_PID; sleep 0.2' if host.name == 'bad' else 'true'\n"
        "server.shell(name='leave', commands=[leave], _ignore_errors=True)\n"
        "server.shell(name='after', commands=['true'])\n"
    )
    result = bench.run()
    assert statuses(host_of(result, "good")) == ["changed", "changed"]
    assert statuses(host_of(result, "bad")) == ["failed", "not_run"]
    assert reason in host_of(result, "bad").reason
    assert result.seconds < 30


def test_slow_command_is_cut_off(bench: Bench, add_server: AddServer) -> None:
    add_server("slow")
    bench.deploy("server.shell(name='sleep', commands=['sleep 60'], _timeout=1)\n")
    result = bench.run()
    assert "within 1 s" in result.hosts[0].reason
    assert result.seconds < 15


def test_exception_while_preparing_fails_one_host(bench: Bench, add_server: AddServer) -> None:
    add_server("bad")
    add_server("good")
    bench.deploy(
        "server.shell(name='work', commands=['true'])\nif host.name == 'bad':\n    raise ValueError('no such thing')\n"
    )
    result = bench.run()
    assert statuses(host_of(result, "good")) == ["changed"]
    assert statuses(host_of(result, "bad")) == ["not_run"]
    assert host_of(result, "bad").stage == "prepare"
    assert host_of(result, "bad").reason == "deploy.py:6: ValueError: no such thing"


def test_fact_that_fails_stops_the_host_before_it_decides_on_a_default(bench: Bench) -> None:
    bench.add_local()
    bench.deploy(
        "from pyinfra.api import FactBase\n"
        "class Broken(FactBase):\n"
        "    def command(self):\n"
        "        return 'echo cannot read it >&2; exit 1'\n"
        "host.get_fact(Broken)\n"
        f"server.shell(name='work', commands=['touch {bench.root}/wrong'])\n"
    )
    result = bench.run()
    assert "cannot read it" in result.hosts[0].reason
    assert not (bench.root / "wrong").exists()


def test_limit_and_its_mistakes(bench: Bench, add_server: AddServer) -> None:
    add_server("one")
    add_server("two")
    bench.deploy("server.shell(name='work', commands=['true'])\n")
    assert [host.name for host in bench.run(limit=["t*"]).hosts] == ["two"]
    wrong = bench.run(limit=["three"])
    assert wrong.exit_code is ExitCode.ERROR
    assert [problem.given for problem in wrong.problems] == ["three"]
    assert "hosts, inventory, one, two" in wrong.problems[0].allowed


def test_empty_inventory_is_one_clear_error(bench: Bench) -> None:
    bench.deploy("")
    result = bench.run()
    assert [str(problem) for problem in result.problems] == ["inventory.py: the inventory names no hosts"]
    assert result.exit_code is ExitCode.ERROR


def test_interrupt_lets_nothing_new_begin_and_says_what_was_done(bench: Bench) -> None:
    bench.add_local()
    bench.deploy(
        "server.shell(name='first', commands=['true'])\n"
        "server.shell(name='long', commands=['sleep 30'])\n"
        f"server.shell(name='after', commands=['touch {bench.root}/after'])\n"
    )

    def interrupt(event: Event) -> None:
        if isinstance(event, OperationStarted) and event.name == "long":
            os.kill(os.getpid(), signal.SIGINT)

    result = bench.run(on_event=interrupt)
    assert statuses(result.hosts[0]) == ["changed", "failed", "not_run"]
    assert result.interrupted
    assert result.exit_code is ExitCode.INTERRUPTED
    assert result.seconds < 15
    assert not (bench.root / "after").exists()


def test_worker_ends_when_its_parent_is_killed(bench: Bench) -> None:
    bench.add_local()
    marker = bench.root / "worker"
    bench.deploy(
        "import os, pathlib\n"
        f"pathlib.Path({str(marker)!r}).write_text(str(os.getpid()))\n"
        "server.shell(name='long', commands=['sleep 30'])\n"
    )
    code = (
        "import sys\n"
        "from groundwork.engine.request import RunRequest\n"
        "from groundwork.engine.runner import run\n"
        "run(RunRequest.model_validate_json(sys.argv[1]))\n"
    )
    parent = subprocess.Popen([sys.executable, "-c", code, bench.request().model_dump_json()])
    deadline = time.monotonic() + 20
    while not (marker.exists() and marker.read_text()) and time.monotonic() < deadline:
        time.sleep(0.05)
    worker = int(marker.read_text())
    parent.kill()
    parent.wait()
    while _is_running(worker) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not _is_running(worker)


def _is_running(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    return Path(f"/proc/{process}/stat").read_text().rsplit(") ", 1)[1][0] != "Z"
