"""The life of a process: readiness, watchdog, orderly stop, packed agents, log lines, bad instances."""

from __future__ import annotations

import json
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from agent_runtime.instance import InstanceError, parse_instance
from agent_runtime.secret import Secret, SecretError, read_secret, redact
from agent_runtime.web import find_trace

WORKER = "agent_runtime.agents.worker"


def test_ready_only_when_the_services_answer(redis_server: Any, start_runtime: Any) -> None:
    redis_server.stop()
    process = start_runtime("early", {"worker": WORKER}, redis_server.port)
    process.wait_for_message("STATUS=waiting for services")
    time.sleep(1)
    process.read_messages()
    assert "READY=1" not in process.messages
    assert process.call("worker", "/health")[0] == 200
    code, text = process.call("worker", "/ready")
    assert code == 503
    assert json.loads(text)["checks"]["process"] == "starting"
    redis_server.start()
    process.wait_for_message("READY=1")
    assert process.call("worker", "/ready")[0] == 200
    assert process.stop() == 0
    process.read_messages()
    assert "STOPPING=1" in process.messages


def test_a_service_that_is_not_required_holds_nothing_up(redis_server: Any, start_runtime: Any) -> None:
    nobody = {"address": "model.invalid", "port": 443}
    model = {"kind": "external", "required": False, "endpoints": [nobody]}
    process = start_runtime("optional", {"worker": WORKER}, redis_server.port, services={"model": model})
    process.wait_for_message("READY=1")
    code, text = process.call("worker", "/ready")
    assert (code, set(json.loads(text)["checks"])) == (200, {"process", "redis"})
    assert process.stop() == 0


def test_watchdog_is_fed_until_the_loop_hangs(redis_server: Any, start_runtime: Any, tmp_path: Path) -> None:
    (tmp_path / "hanging.py").write_text(
        "import time\n"
        "from agent_runtime.agents.worker import Worker\n"
        "class Hanging(Worker):\n"
        "    async def handle(self, work):\n"
        "        time.sleep(4)\n"
        "        return {}\n"
        "create_agent = Hanging\n"
    )
    process = start_runtime("hanging", {"worker": "hanging"}, redis_server.port, WATCHDOG_USEC="400000")
    process.wait_for_message("READY=1")
    time.sleep(1)
    assert process.read_messages().count("WATCHDOG=1") >= 3  # due: five, at half of 0.4 s
    with ThreadPoolExecutor(1) as pool:
        hung = pool.submit(process.call, "worker", "/api/v1/echo", {})
        time.sleep(0.3)
        process.read_messages()
        time.sleep(2)
        assert process.read_messages().count("WATCHDOG=1") == 0
        assert hung.result()[0] == 200
    time.sleep(0.5)
    assert process.read_messages().count("WATCHDOG=1") >= 1


def test_watchdog_is_starved_by_an_ill_agent(redis_server: Any, start_runtime: Any, tmp_path: Path) -> None:
    (tmp_path / "failing.py").write_text(
        "import asyncio\n"
        "from agent_runtime.agents.worker import Worker\n"
        "class Failing(Worker):\n"
        "    async def start(self):\n"
        "        self.context.spawn(self.fail(), 'main loop')\n"
        "    async def fail(self):\n"
        "        await asyncio.sleep(1)\n"
        "        raise RuntimeError('out of order')\n"
        "create_agent = Failing\n"
    )
    modules = {"good": WORKER, "worker": "failing"}
    process = start_runtime("failing", modules, redis_server.port, WATCHDOG_USEC="200000")
    process.wait_for_message("READY=1")
    process.wait_for_message("WATCHDOG=1")
    time.sleep(1.5)
    process.read_messages()
    time.sleep(0.6)
    assert "WATCHDOG=1" not in process.read_messages()
    code, text = process.call("worker", "/health")
    assert code == 503
    assert "main loop failed: RuntimeError: out of order" in text
    assert process.call("good", "/health")[0] == 200


def test_stop_finishes_what_is_in_flight(redis_server: Any, start_runtime: Any) -> None:
    process = start_runtime("slow", {"worker": WORKER}, redis_server.port, WORKER_SECONDS="4")
    process.wait_for_message("READY=1")
    for number in range(3):
        fields = ["id", f"slow-{number}", "body", "{}", "submitted", "1.0"]
        redis_server.command("XADD", "chorus:work:worker", "*", *fields)
    with ThreadPoolExecutor(1) as pool:
        answer = pool.submit(process.call, "worker", "/api/v1/echo", {"seconds": 1.5})
        time.sleep(0.7)
        started = time.monotonic()
        assert process.stop() == 0
        assert 2 < time.monotonic() - started < 10
        assert answer.result()[0] == 200
    for number in range(3):
        assert '"done":true' in redis_server.command("GET", f"chorus:result:slow-{number}")
    assert redis_server.command("XLEN", "chorus:work:worker") == "0"


def test_stop_under_load_leaves_nothing_pending(redis_server: Any, start_runtime: Any) -> None:
    process = start_runtime("busy", {"worker": WORKER}, redis_server.port, WORKER_SECONDS="0.02")
    process.wait_for_message("READY=1")
    for round_number in range(3):
        for number in range(100):
            fields = ["id", f"busy-{round_number}-{number}", "body", "{}", "submitted", "1.0"]
            redis_server.command("XADD", "chorus:work:worker", "*", *fields)
        assert process.stop() == 0
        assert redis_server.command("XPENDING", "chorus:work:worker", "workers").split("\n")[0] == "0"
        # What was not begun waits in the stream, and each that was begun has its result.
        left = int(redis_server.command("XLEN", "chorus:work:worker"))
        done = len(redis_server.command("KEYS", "chorus:result:*").split())
        assert left + done == 100 * (round_number + 1)
        process.messages.clear()
        process.start()
        # Before it has begun, a signal ends it as any other program.
        process.wait_for_message("READY=1")


def test_failures_name_the_exception_only_in_debug(redis_server: Any, start_runtime: Any, tmp_path: Path) -> None:
    (tmp_path / "broken.py").write_text(
        "from starlette.routing import Route\n"
        "from agent_runtime.agents.worker import Worker\n"
        "class Broken(Worker):\n"
        "    def routes(self):\n"
        "        return [Route('/broken', self.fail)]\n"
        "    async def fail(self, request):\n"
        "        raise KeyError('inner detail')\n"
        "create_agent = Broken\n"
    )
    for debug, shown in (("false", False), ("true", True)):
        process = start_runtime(f"broken-{debug}", {"worker": "broken"}, redis_server.port, DEBUG=debug)
        process.wait_for_message("READY=1")
        code, text = process.call("worker", "/broken", **{"X-Request-Id": "trace-77"})
        assert (code, "inner detail" in text) == (500, shown)
        lines = [json.loads(line) for line in process.log_path.read_text().splitlines()]
        failure = next(line for line in lines if line["message"] == "request failed")
        assert (failure["agent"], failure["trace_id"], failure["level"]) == ("worker", "trace-77", "error")
        assert "inner detail" in failure["exception"]


def test_stop_is_bounded_and_leaves_work_pending(redis_server: Any, start_runtime: Any) -> None:
    settings = {"WORKER_SECONDS": "50", "WORK_TIMEOUT": "60", "STOP_TIMEOUT": "3"}
    process = start_runtime("endless", {"worker": WORKER}, redis_server.port, **settings)
    process.wait_for_message("READY=1")
    redis_server.command("XADD", "chorus:work:worker", "*", "id", "endless", "body", "{}", "submitted", "1.0")
    time.sleep(0.7)
    started = time.monotonic()
    assert process.stop() == 1
    assert time.monotonic() - started < 5
    assert redis_server.command("XPENDING", "chorus:work:worker", "workers").split("\n")[0] == "1"


def test_packed_agents_have_their_own_ports_and_names(redis_server: Any, start_runtime: Any) -> None:
    names = [f"agent-{number}" for number in range(20)]
    process = start_runtime("packed", dict.fromkeys(names, WORKER), redis_server.port, REDIS_POOL_SIZE="2")
    process.wait_for_message("READY=1")
    for name in names:
        assert json.loads(process.call(name, "/ready")[1])["agent"] == name
        assert f'agent_info{{agent="{name}"' in process.call(name, "/metrics")[1]
    for name in names:
        redis_server.command("XADD", f"chorus:work:{name}", "*", "id", name, "body", "{}", "submitted", "1.0")
    time.sleep(1)
    for name in names:
        assert f'"agent":"{name}"' in redis_server.command("GET", f"chorus:result:{name}")
    assert process.stop() == 0


def test_bad_starts_say_why(redis_server: Any, start_runtime: Any) -> None:
    taken = start_runtime("taken", {"worker": WORKER}, redis_server.port)
    taken.wait_for_message("READY=1")
    cases = [
        ({"worker": "no.such.module"}, {}, "no.such.module: ModuleNotFoundError"),
        ({"worker": WORKER}, {"WORK_TRIES": "many"}, "WORK_TRIES: given many; allowed: a whole number from 1 to 100"),
        ({"worker": WORKER}, {"CREDENTIALS_DIRECTORY": "/nonexistent"}, "/nonexistent/redis-password: No such file"),
        ({"worker": WORKER}, {"GROUNDWORK_INSTANCE_FILE": str(taken.instance)}, "Address already in use"),
    ]
    for number, (modules, settings, expected) in enumerate(cases):
        process = start_runtime(f"bad-{number}", modules, redis_server.port, **settings)
        assert process.process.wait(15) == 1
        assert expected in process.log_path.read_text()
        assert "Traceback" not in process.log_path.read_text()


def test_instance_reports_every_problem() -> None:
    agent = {"name": "a", "replica": 1, "module": "m", "bind": "127.0.0.1", "port": 8000}
    top = dict.fromkeys(("platform", "environment", "group", "unit", "host", "address"), "x")
    assert parse_instance({**top, "agents": [agent]}).agents[0].port == 8000
    bad = {**top, "unit": "", "agents": [{**agent, "port": 0}, {**agent, "module": None}], "peers": []}
    with pytest.raises(InstanceError) as caught:
        parse_instance(bad)
    assert caught.value.problems == [
        "agents[0].port: a whole number from 1 to 65535 is needed",
        "agents[1].module: a non-empty string is needed",
        "peers: an object is needed",
        "instance.unit: a non-empty string is needed",
    ]
    with pytest.raises(InstanceError, match="used more than once"):
        parse_instance({**top, "agents": [agent, {**agent, "name": "b"}]})
    with pytest.raises(InstanceError, match="an object is needed"):
        parse_instance([])


def test_secrets_do_not_show(tmp_path: Path) -> None:
    path = tmp_path / "secret"
    path.write_text("canary-value\n")
    secret = read_secret(path)
    assert secret.reveal() == "canary-value"
    assert "canary" not in f"{secret!r} {secret} {[secret]}"
    assert redact("login with canary-value failed") == "login with *** failed"
    for content in (b"", b"\xff\xfe", b"x" * 70000):
        path.write_bytes(content)
        with pytest.raises(SecretError):
            read_secret(path)
    assert Secret("a") == Secret("a") != Secret("b")


def test_trace_comes_from_well_formed_headers_only() -> None:
    trace = "4bf92f3577b34da6a3ce929d0e0e4736"
    assert find_trace({"traceparent": f"00-{trace}-00f067aa0ba902b7-01"}) == trace
    assert find_trace({"traceparent": "00-zz", "x-request-id": "abc-1"}) == "abc-1"
    assert find_trace({"x-request-id": 'a"\n{'}) is None
