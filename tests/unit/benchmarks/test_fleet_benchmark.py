"""The fleet's benchmark: every tool is told the same, runs are counted as they are, and nothing is measured twice."""

from __future__ import annotations

import json
import socket
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import yaml

from benchmarks.fleet import contents
from benchmarks.fleet.measuring import Measured, Results, run_tool, start_proxy
from benchmarks.fleet.report import TITLE, report, summarize, write_section
from benchmarks.fleet.tools import NAMES, OURS, Target, Tool, floor_script, make_tools
from groundwork.cli.main import main

RUN = Measured("pyinfra", 10, 0, True, 24.0, 5.0, 9.0, 80, 1000, 600)


def test_every_tool_is_told_the_same(tmp_path: Path) -> None:
    (tmp_path / "lib/python3/site-packages/ansible_mitogen/plugins/strategy").mkdir(parents=True)
    tools = make_tools(tmp_path / "work", tmp_path, [Target("h0", 2222, "debian", "/key", "/known")])
    assert tuple(tool.name for tool in tools) == NAMES
    tasks = yaml.safe_load((tmp_path / "work/site.json").read_text())[0]["tasks"]
    script = floor_script()
    assert len(tasks) == contents.count_operations() == 100
    paths = [*contents.FILES, *contents.UNITS, *contents.TEMPLATES, *contents.LINKS]
    for name in [*paths, *contents.USERS, *contents.LINES, *contents.PACKAGES, *contents.SERVICES]:
        assert name in script
        assert sum(name in task_values(task) for task in tasks) == 1, name
    subprocess.run(["sh", "-n"], input=script, text=True, check=True)


def task_values(task: dict[str, object]) -> list[object]:
    values = [value for part in task.values() if isinstance(part, dict) for value in part.values()]
    # A link's target is the template's path, too.
    return [value for value in values if not ("ansible.builtin.file" in task and value in contents.TEMPLATES)]


def test_results_go_on_where_they_were(tmp_path: Path) -> None:
    results = Results(tmp_path / "runs")
    results.add(RUN)
    again = Results(tmp_path / "runs")
    assert again.runs == [RUN]
    assert again.count("pyinfra", 10, 0, True) == 1
    assert again.count("pyinfra", 10, 20, True) == again.count("pyinfra", 10, 0, False) == 0


def test_a_section_is_replaced_and_nothing_else(tmp_path: Path) -> None:
    document = tmp_path / "benchmarks.md"
    document.write_text(f"# Benchmarks\n\n{TITLE}\n\nold\n\n### old too\n\n## After\n\ntext\n")
    runs = [RUN, Measured(OURS, 10, 0, True, 2.0, 1.0, 2.0, 70, 900, 6)]
    write_section(document, report(runs))
    text = document.read_text()
    assert text.startswith("# Benchmarks\n\n## Runs of a fleet\n") and text.endswith("\n## After\n\ntext\n")
    assert "old" not in text
    assert "| pyinfra | 24.00 | 12.0 | 5.00 | 9.00 | 80 | 1 | 600 |" in text
    write_section(document, report(runs))
    assert document.read_text() == text
    write_section(tmp_path / "new.md", report(runs))
    assert (tmp_path / "new.md").read_text().startswith(TITLE)


def test_medians() -> None:
    runs = [Measured("pyinfra", 1, 0, True, seconds, 1, 1, 1, 1, 1) for seconds in (9.0, 1.0, 2.0)]
    assert [(one["seconds"], one["runs"]) for one in summarize(runs)] == [(2.0, 3)]


@contextmanager
def answering(answer: Callable[[socket.socket], None]) -> Iterator[str]:
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def serve() -> None:
            while True:
                try:
                    client, _ = listener.accept()
                except OSError:
                    return
                with client:
                    answer(client)

        server = threading.Thread(target=serve, daemon=True)
        server.start()
        yield f"127.0.0.1:{listener.getsockname()[1]}"
        # Otherwise the thread would go on to take what comes to the next socket of this number.
        listener.shutdown(socket.SHUT_RDWR)
        server.join()


def echo(client: socket.socket) -> None:
    while data := client.recv(100):
        client.sendall(data)


def test_the_proxy_counts_and_delays() -> None:
    with answering(echo) as target, start_proxy(50, [target, target]) as proxy:
        for _ in range(2):
            with socket.create_connection(("127.0.0.1", proxy.ports[0])) as client:
                started = time.monotonic()
                for _ in range(3):
                    client.sendall(b"question")
                    assert client.recv(100) == b"question"
                assert time.monotonic() - started >= 0.15
        with socket.create_connection(("127.0.0.1", proxy.ports[1])) as client:
            client.sendall(b"question")
            client.recv(100)
        # The most of one target, in all its connections; the bytes of all targets both ways.
        assert proxy.passed() == {"bytes": 7 * 16, "trips": 6}
        assert proxy.passed() == {"bytes": 0, "trips": 0}


@pytest.mark.parametrize(
    ("script", "unchanged", "fault"),
    [
        ("echo 0", True, ""),
        ("echo 5", False, ""),
        ("echo 5", True, "changed 5"),
        ("echo 0", False, "changed 0"),
        ("exit 3", True, "broken"),
    ],
)
def test_a_run_that_is_not_what_it_should_be_does_not_count(
    tmp_path: Path, script: str, unchanged: bool, fault: str
) -> None:
    tool = Tool("broken", ("sh", "-c", script), lambda text: int(text))
    with start_proxy(0, ["127.0.0.1:1"]) as proxy:
        if not fault:
            assert run_tool(tool, tmp_path, 1, 0, unchanged, proxy, lambda: 1.0).remote == 0
            return
        with pytest.raises(AssertionError, match=fault):
            run_tool(tool, tmp_path, 1, 0, unchanged, proxy, lambda: 1.0)


def test_the_command_hands_its_options_on(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    called: list[list[str]] = []

    def run(command: list[str], **options: object) -> subprocess.CompletedProcess[str]:
        called.append(command[1:])
        return subprocess.CompletedProcess(command, 3)

    monkeypatch.setattr("groundwork.cli.bench.subprocess.run", run)
    results = str(tmp_path / "runs")
    assert main(["bench", "--hosts", "2", "--delay", "0", "--tool", OURS, "--results", results, "--json"]) == 3
    expected = ["-m", "benchmarks.fleet_speed", "--repeat", "3", "--first", "1", "--hosts", "2", "--delay", "0"]
    assert called == [[*expected, "--tools", OURS, "--results", results, "--json"]]
    assert main(["bench", "--hosts", "0"]) == 1
    assert json.dumps(called).count("benchmarks") == 1
