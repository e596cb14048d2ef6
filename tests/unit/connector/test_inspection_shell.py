"""testinfra's commands go over one remote shell per user."""

from __future__ import annotations

import os
import shutil
import signal
import time
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

import pytest

from groundwork.engine.inspection import inspect_host
from groundwork.inventory import InventoryHost

if TYPE_CHECKING:
    from conftest import Server


def model(server: Server, **more: object) -> InventoryHost:
    return InventoryHost("one", "127.0.0.1", frozenset(), server.data | more)


def test_one_process_runs_all_commands(server: Server) -> None:
    host = inspect_host(model(server))
    assert len({host.run("echo $PPID").stdout for _ in range(3)}) == 1
    done = host.run("echo %s; echo %s; echo err >&2; exit 3", "x", "it's")
    assert (done.rc, done.stdout, done.stderr) == (3, "x\nit's\n", "err\n")
    assert host.run("printf 'a\\000b\\377'").stdout_bytes == b"a\0b\xff"
    assert host.file("/etc/passwd").exists


def test_a_shell_that_dies(server: Server) -> None:
    host = inspect_host(model(server))
    os.kill(int(host.run("echo $PPID").stdout), signal.SIGKILL)
    time.sleep(0.3)
    assert host.run("echo alive").stdout == "alive\n"
    assert host.run("kill -KILL $PPID; sleep 1").rc == -1
    assert host.run("echo alive").stdout == "alive\n"


@pytest.mark.skipif(os.geteuid() != 0 or shutil.which("sudo") is None, reason="needs root and sudo")
def test_other_users(server: Server) -> None:
    host = inspect_host(model(server, _sudo=True))
    assert host.run("id -un; echo $SUDO_USER").stdout == "root\nroot\n"
    with host.sudo("nobody"):
        assert host.check_output("id -un") == "nobody"
    assert host.run("id -un").stdout == "root\n"
    with host.sudo("no-such-user"):
        assert "unknown user" in host.run("true").stderr


def test_without_perl(server: Server) -> None:
    server.stop()
    server.options = ['ForceCommand PATH=/nonexistent /bin/sh -c "$SSH_ORIGINAL_COMMAND"']
    server.start()
    host = inspect_host(model(server))
    for _ in range(2):
        assert host.run("echo alone").stdout == "alone\n"


def test_threads_do_not_mix(server: Server) -> None:
    host = inspect_host(model(server))
    with ThreadPoolExecutor(6) as pool:
        answers = list(pool.map(lambda number: host.run(f"sleep 0.1; echo {number}").stdout, range(12)))
    assert answers == [f"{number}\n" for number in range(12)]
