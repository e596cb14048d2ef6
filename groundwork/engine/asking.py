"""Asks many hosts the same thing at once, outside a deploy."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

import paramiko

from groundwork.engine.inspection import UnreachableError, inspect_host
from groundwork.inventory import InventoryHost
from groundwork.problems import Problem, ProblemError

AT_ONCE = 8
"""Hosts that are asked side by side."""
SILENCE = 120
"""Seconds that a command may stay silent."""
Answer = TypeVar("Answer")


def ask_hosts(
    hosts: Iterable[InventoryHost], question: Callable[[InventoryHost], Answer]
) -> tuple[dict[str, Answer], list[Problem]]:
    """Put a question to every host; return the answers by host, and a Problem for each that gave none."""

    def ask(host: InventoryHost) -> Answer | Problem:
        try:
            return question(host)
        except (UnreachableError, OSError, paramiko.SSHException) as error:
            return Problem(f"cannot be asked: {error or type(error).__name__}", key=host.name)
        except ProblemError as error:
            return Problem(str(error), key=host.name)

    chosen = list(hosts)
    with ThreadPoolExecutor(AT_ONCE) as pool:
        results = list(pool.map(ask, chosen))
    answers: dict[str, Answer] = {}
    problems: list[Problem] = []
    for host, result in zip(chosen, results, strict=True):
        if isinstance(result, Problem):
            problems.append(result)
        else:
            answers[host.name] = result
    return answers, problems


def run_command(host: InventoryHost, command: str, given: str = "", silence: float = SILENCE) -> str:
    """Run a command as the inventory says (with sudo where it does) and return its standard output.

    ``given`` goes to its standard input; ``silence`` is how many seconds it may print nothing. Raises
    UnreachableError, and ProblemError when the command fails.
    """
    inspected = inspect_host(host)
    backend = inspected.backend
    client = getattr(backend, "client", None)
    if client is None:
        # A local host: standard input cannot be given through testinfra.
        import subprocess

        words = ["sudo", "-n"] if host.data.get("_sudo") else []
        done = subprocess.run(
            [*words, "sh", "-c", command], input=given, capture_output=True, text=True, timeout=silence, check=False
        )
        status, output, errors = done.returncode, done.stdout, done.stderr
    else:
        try:
            text = backend.get_sudo_command(command, None) if host.data.get("_sudo") else command
            stdin, stdout, stderr = client.exec_command(text, timeout=silence)
            stdin.write(given)
            stdin.channel.shutdown_write()
            output, errors = stdout.read().decode(), stderr.read().decode(errors="replace")
            status = stdout.channel.recv_exit_status()
        finally:
            client.close()
    if status:
        raise ProblemError([Problem(f"a command ended with {status}: {errors.strip()[-300:]}", key=host.name)])
    return output
