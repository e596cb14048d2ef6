"""Work between agents as real processes: nothing acknowledged is lost, failures are retried, then set aside."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from agent_runtime.figures import find_percentile
from agent_runtime.metrics import AgentMetrics
from agent_runtime.settings import RuntimeSettings
from agent_runtime.work.consumer import Consumer
from agent_runtime.work.entries import compute_wait
from agent_runtime.work.messages import Work

WORKER = {"worker": "agent_runtime.agents.worker"}
LOAD = [sys.executable, "-m", "agent_runtime.load", "--agent", "worker"]


def start_load(process: Any, *arguments: str) -> subprocess.Popen[str]:
    environ = {**process.environ, "GROUNDWORK_INSTANCE_FILE": str(process.instance)}
    return subprocess.Popen([*LOAD, *arguments], env=environ, stdout=subprocess.PIPE, text=True)


def finish(load: subprocess.Popen[str]) -> dict[str, Any]:
    output, _ = load.communicate(timeout=90)
    result: dict[str, Any] = json.loads(output)
    return result


def test_waits_double_up_to_a_minute() -> None:
    for tries, expected in ((1, 0.5), (2, 1), (3, 2), (20, 60)):
        waits = [compute_wait(tries, 0.5) for _ in range(50)]
        assert 0.8 * expected <= min(waits) < max(waits) <= 1.2 * expected


def test_percentiles_are_of_the_nearest_rank() -> None:
    values = [float(number) for number in range(1, 101)]
    assert [find_percentile(values, share) for share in (0.5, 0.95, 0.99, 1.0)] == [50, 95, 99, 100]
    assert find_percentile([7.0], 0.99) == 7
    assert find_percentile([], 0.5) is None


def test_killed_workers_lose_nothing(redis_server: Any, start_runtime: Any) -> None:
    settings = {"WORKER_SECONDS": "0.05", "WORK_IDLE_SECONDS": "1", "LOG_LEVEL": "DEBUG"}
    first = start_runtime("worker-1", WORKER, redis_server.port, replica=1, **settings)
    second = start_runtime("worker-2", WORKER, redis_server.port, replica=2, **settings)
    first.wait_for_message("READY=1")
    second.wait_for_message("READY=1")
    load = start_load(first, "--count", "600", "--concurrency", "40", "--timeout", "2", "--settle", "40")
    for round_number in range(3):
        time.sleep(0.5)
        first.kill()  # in the middle: eight requests are in its hands
        if round_number == 1:
            time.sleep(1.5)  # long enough for the other one to take them over
        first.start()
    time.sleep(0.3)
    second.kill()
    result = finish(load)
    assert result["sent"] == result["acknowledged"] == result["answered"] == 600
    assert result["lost"] == result["failed"] == result["errors"] == 0
    taken_over = (first.log_path.read_text() + second.log_path.read_text()).count("request taken over")
    assert taken_over > 0, "no process was killed in the middle of its work: the test proves nothing"
    time.sleep(2)
    assert redis_server.command("XLEN", "chorus:work:worker") == "0"
    assert redis_server.command("XPENDING", "chorus:work:worker", "workers").split("\n")[0] == "0"


def test_a_restart_of_redis_loses_nothing(redis_server: Any, start_runtime: Any) -> None:
    worker = start_runtime("worker", WORKER, redis_server.port, WORK_IDLE_SECONDS="1")
    worker.wait_for_message("READY=1")
    load = start_load(worker, "--count", "100000", "--seconds", "7", "--concurrency", "10", "--timeout", "2")
    deadline = time.monotonic() + 20
    while not redis_server.command("KEYS", "chorus:result:*"):
        assert time.monotonic() < deadline, "the load has not begun"
        time.sleep(0.1)
    time.sleep(1)
    redis_server.stop()
    time.sleep(2.5)  # longer than the wait for a reply, so that new requests meet the closed port
    redis_server.start()
    result = finish(load)
    assert result["errors"] > 0, "the load never met the restart"
    assert result["acknowledged"] > 200
    assert result["lost"] == 0


def test_failures_are_retried_and_then_set_aside(redis_server: Any, start_runtime: Any) -> None:
    settings = {"WORK_TRIES": "3", "WORK_RETRY_SECONDS": "0.05"}
    flaky = start_runtime("flaky", WORKER, redis_server.port, WORKER_FAILURE_SHARE="0.3", **settings)
    flaky.wait_for_message("READY=1")
    result = finish(start_load(flaky, "--count", "100", "--timeout", "15"))
    dead = int(redis_server.command("XLEN", "chorus:dead:worker"))
    assert result["lost"] == 0
    assert result["answered"] == 100
    assert result["failed"] == dead < 30
    metrics = flaky.call("worker", "/metrics")[1]
    assert f'agent_work_total{{outcome="processed"}} {100.0 - dead}' in metrics
    assert f'agent_work_total{{outcome="dead"}} {float(dead)}' in metrics
    retried = next(line for line in metrics.split("\n") if line.startswith('agent_work_total{outcome="retried"}'))
    assert float(retried.split()[1]) > 5

    # A request that no try can help is set aside at once; a malformed entry does not stop the others.
    redis_server.command("XADD", "chorus:work:worker", "*", "nonsense", "1")
    result = finish(start_load(flaky, "--count", "1", "--payload", '{"seconds": "long"}'))
    assert (result["failed"], result["lost"]) == (1, 0)
    assert redis_server.command("XLEN", "chorus:dead:worker") == str(dead + 2)


def test_a_request_that_kills_its_worker_is_set_aside(redis_server: Any, start_runtime: Any, tmp_path: Path) -> None:
    (tmp_path / "deadly.py").write_text(
        "import os, signal\n"
        "from agent_runtime.agents.worker import Worker\n"
        "class Deadly(Worker):\n"
        "    async def handle(self, work):\n"
        "        if work.body.get('kind') == 'kill':\n"
        "            os.kill(os.getpid(), signal.SIGKILL)\n"
        "        return {}\n"
        "create_agent = Deadly\n"
    )
    process = start_runtime("deadly", {"worker": "deadly"}, redis_server.port, WORK_TRIES="2", WORK_IDLE_SECONDS="1")
    process.wait_for_message("READY=1")
    load = start_load(process, "--count", "1", "--payload", '{"kind":"kill"}', "--timeout", "30")
    for _ in range(2):
        process.process.wait(15)
        process.start()
    result = finish(load)
    assert (result["failed"], result["lost"]) == (1, 0)
    assert process.process.poll() is None
    assert "its worker ended 2 times" in redis_server.command("XRANGE", "chorus:dead:worker", "-", "+")


def test_the_same_identifier_is_handled_once(redis_server: Any, start_runtime: Any) -> None:
    worker = start_runtime("worker", WORKER, redis_server.port)
    worker.wait_for_message("READY=1")
    fields = ["id", "twice", "body", "{}", "submitted", "1.0", "requester", "", "trace", "", "tries", "0"]
    redis_server.command("XADD", "chorus:work:worker", "*", *fields)
    while redis_server.command("EXISTS", "chorus:result:twice") == "0":
        time.sleep(0.05)
    redis_server.command("XADD", "chorus:work:worker", "*", *fields)
    while redis_server.command("XLEN", "chorus:work:worker") != "0":
        time.sleep(0.05)
    time.sleep(0.2)
    metrics = worker.call("worker", "/metrics")[1]
    assert 'agent_work_total{outcome="processed"} 1.0' in metrics
    assert 'agent_work_total{outcome="duplicate"} 1.0' in metrics


class LateStore:
    """A Redis whose answer to the waiting read comes after the consumer was told to stop."""

    prefix = "chorus:"

    def __init__(self) -> None:
        self.committed: list[Any] = []

    def scope(self, name: str) -> str:
        return ""

    async def run(self, *command: Any) -> Any:
        return [] if command[0] == "XPENDING" else 0

    async def run_waiting(self, *command: Any) -> Any:
        await asyncio.sleep(0.4)
        fields = ["id", "late", "body", "{}", "submitted", "1.0"]
        return [["chorus:work:worker", [["1-1", fields]]]]

    async def run_together(self, commands: list[Any]) -> list[Any]:
        self.committed += commands
        return []


def test_a_read_under_way_is_finished_before_the_stop() -> None:
    async def run() -> tuple[int, list[Any]]:
        async def handle(work: Work) -> dict[str, Any]:
            return {}

        store: Any = LateStore()
        metrics = AgentMetrics("worker", 1, "core", "chorus", "lab")
        consumer = Consumer("worker", "w1", handle, store, RuntimeSettings(), metrics)
        fetching = asyncio.create_task(consumer.fetch())
        await asyncio.sleep(0.1)
        left = await consumer.stop(5)
        fetching.cancel()
        return left, store.committed

    left, committed = asyncio.run(run())
    assert left == 0
    assert [command[0] for command in committed] == ["SET", "XACK", "XDEL"]


@pytest.mark.parametrize("arguments", [["--count", "0"], ["--payload", "[]"], ["--rate", "-1"]])
def test_load_refuses_bad_arguments(arguments: list[str]) -> None:
    source = str(Path(__file__).resolve().parents[3] / "examples" / "agent_runtime" / "src")
    done = subprocess.run([*LOAD, *arguments], env={**os.environ, "PYTHONPATH": source}, capture_output=True)
    assert done.returncode == 2
