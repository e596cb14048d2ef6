"""The ymera agents as real processes on real NATS, PostgreSQL, PgBouncer and Redis, with mutual TLS on each hop."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
import time
import uuid
from pathlib import Path
from typing import Any

import pytest

LOAD = [sys.executable, "-m", "agent_runtime.load", "--target", "ymera"]
MODULES = {
    "communication": ("communication", "agent_runtime.ymera.communication"),
    "configuration": ("config-manager", "agent_runtime.ymera.config_manager"),
    "drafting": ("drafting", "agent_runtime.ymera.drafting"),
}


def start(ymera: Any, start_runtime: Any, redis_server: Any, group: str, replica: int = 1, **settings: Any) -> Any:
    agent, module = MODULES[group]
    arguments = {**ymera.describe(group), "redis": {"keys": ["ymera:*"]}}
    return start_runtime(
        f"{group}-{replica}", {agent: module}, redis_server.port, replica=replica, **arguments, **settings
    )


def start_load(process: Any, *arguments: str) -> subprocess.Popen[str]:
    environ = {**process.environ, "GROUNDWORK_INSTANCE_FILE": str(process.instance)}
    return subprocess.Popen([*LOAD, *arguments], env=environ, stdout=subprocess.PIPE, text=True)


def finish(load: subprocess.Popen[str]) -> dict[str, Any]:
    output, _ = load.communicate(timeout=120)
    result: dict[str, Any] = json.loads(output)
    return result


def test_messages_are_carried_and_kept(ymera: Any, start_runtime: Any, redis_server: Any) -> None:
    process = start(ymera, start_runtime, redis_server, "communication")
    process.wait_for_message("READY=1")
    result = finish(start_load(process, "--count", "300", "--concurrency", "30"))
    assert result["sent"] == result["acknowledged"] == result["delivered"] == result["arrived"] == 300
    assert result["lost"] == result["failed"] == result["arrived_twice"] == 0
    assert ymera.database.query("SELECT count(*), count(DISTINCT message_id) FROM message_history") == "300|300"


def test_killed_processes_and_restarted_servers_lose_nothing(ymera: Any, start_runtime: Any, redis_server: Any) -> None:
    settings = {"WORK_IDLE_SECONDS": "2", "LOG_LEVEL": "DEBUG"}
    workers = [start(ymera, start_runtime, redis_server, "communication", n, **settings) for n in (1, 2)]
    for worker in workers:
        worker.wait_for_message("READY=1")
    load = start_load(
        workers[0], "--count", "6000", "--seconds", "25", "--rate", "300", "--concurrency", "100", "--settle", "40"
    )
    time.sleep(4)
    workers[0].kill()
    time.sleep(2)
    workers[0].start()
    time.sleep(1)
    ymera.nats.kill()
    ymera.nats.start()
    time.sleep(4)
    ymera.database.pool.kill()
    time.sleep(0.5)
    ymera.database.pool.start()
    time.sleep(3)
    ymera.database.postgres.kill()  # SIGKILL of the postmaster: it recovers from its log
    time.sleep(1)
    ymera.database.postgres.start()
    result = finish(load)
    assert result["acknowledged"] > 2000
    assert result["lost"] == 0
    assert result["delivered"] == result["arrived"] == result["acknowledged"]
    # What was not acknowledged may have been carried as well, but nothing twice.
    counts = ymera.database.query("SELECT count(*) = count(DISTINCT message_id) FROM message_history")
    assert counts == "t"


def test_one_config_manager_is_primary(ymera: Any, start_runtime: Any, redis_server: Any) -> None:
    settings = {"PRIMARY_LEASE_SECONDS": "2", "WORK_IDLE_SECONDS": "2"}
    managers = [start(ymera, start_runtime, redis_server, "configuration", n, **settings) for n in (1, 2)]
    for manager in managers:
        manager.wait_for_message("READY=1")

    def read_health(manager: Any) -> dict[str, Any]:
        return dict(json.loads(manager.call("config-manager", "/health")[1]))

    def find_primaries(among: list[Any]) -> list[Any]:
        return [manager for manager in among if read_health(manager)["primary"]]

    time.sleep(1)
    primaries = find_primaries(managers)
    assert len(primaries) == 1
    primary = primaries[0]
    other = managers[1 - managers.index(primary)]
    path = "/api/v1/configurations/drafting"
    assert json.loads(other.call("config-manager", path)[1]) == {"version": 0, "values": {}}
    assert other.call("config-manager", path, {"values": {}}, method="PUT")[0] == 409
    code, text = primary.call("config-manager", path, {"values": {"tone": "calm"}, "changed_by": "ann"}, method="PUT")
    assert (code, json.loads(text)) == (200, {"agent": "drafting", "version": 1})
    # The other replica had cached version 0; the notice of the change has made it forget that.
    time.sleep(0.3)
    assert json.loads(other.call("config-manager", path)[1])["values"] == {"tone": "calm"}

    primary.kill()
    deadline = time.monotonic() + 10
    while not find_primaries([other]):
        assert time.monotonic() < deadline, "nobody took over"
        time.sleep(0.1)
    code, text = other.call("config-manager", path, {"values": {"tone": "brisk"}}, method="PUT")
    assert (code, json.loads(text)["version"]) == (200, 2)
    rows = ymera.database.query("SELECT version, active, changed_by FROM agent_configurations ORDER BY version")
    assert rows.split("\n") == ["1|f|ann", "2|t|http"]
    assert other.stop() == 0


def test_drafts_have_revisions_and_save_themselves(ymera: Any, start_runtime: Any, redis_server: Any) -> None:
    first, second = (
        start(ymera, start_runtime, redis_server, "drafting", number, AUTO_SAVE_INTERVAL="2") for number in (1, 2)
    )
    first.wait_for_message("READY=1")
    second.wait_for_message("READY=1")
    code, text = first.call("drafting", "/api/v1/drafts", {"title": "Plan", "owner": "ann", "content": "one"})
    assert code == 200
    path = f"/api/v1/drafts/{json.loads(text)['draft_id']}"
    assert first.call("drafting", path, {"content": "two", "author": "bob"}, method="PUT")[0] == 200
    before = json.loads(second.call("drafting", path)[1])
    assert (before["content"], before["unsaved"]) == ("one", {"content": "two", "author": "bob"})
    # The process that took the edit dies; the other saves it.
    first.kill()
    deadline = time.monotonic() + 8
    while (found := json.loads(second.call("drafting", path)[1]))["revision"] < 2:
        assert time.monotonic() < deadline, "not saved"
        time.sleep(0.2)
    assert (found["content"], found["unsaved"]) == ("two", None)
    assert [(item["revision"], item["author"]) for item in found["revisions"]] == [(2, "bob"), (1, "ann")]
    assert json.loads(second.call("drafting", f"{path}/save", {})[1])["revision"] is None
    assert second.call("drafting", f"/api/v1/drafts/{uuid.uuid4()}")[0] == 404
    assert second.call("drafting", "/api/v1/drafts", {"title": "a\u0000", "owner": "ann"})[0] == 422


async def ask_over_nats(ymera: Any, group: str, subject: str, seconds: float = 2) -> list[dict[str, Any]]:
    import nats
    from agent_runtime.tls import TlsFiles, make_client_context

    errors: list[Exception] = []

    async def note(error: Exception) -> None:
        errors.append(error)

    context = make_client_context(TlsFiles(**{key: Path(path) for key, path in ymera.authority.files(group).items()}))
    client = await nats.connect(
        f"tls://127.0.0.1:{ymera.nats.port}", tls=context, inbox_prefix=f"_INBOX.{group}", error_cb=note
    )
    answers: list[dict[str, Any]] = []

    async def take(message: Any) -> None:
        answers.append(json.loads(message.data))

    await client.subscribe(f"_INBOX.{group}.health", cb=take)
    await client.publish(subject, b"", reply=f"_INBOX.{group}.health")
    await client.flush()
    await asyncio.sleep(seconds)
    await client.close()
    assert errors == [], errors
    return answers


def test_health_is_told_over_http_and_nats(ymera: Any, start_runtime: Any, redis_server: Any) -> None:
    ymera.authority.issue("operator")
    for number in (1, 2):
        start(ymera, start_runtime, redis_server, "communication", number).wait_for_message("READY=1")
    # A user of its own, which may only ask: the agents' groups may not.
    answers = asyncio.run(ask_over_nats(ymera, "operator", "communication.health"))
    assert sorted(answer["replica"] for answer in answers) == [1, 2]
    assert all(answer["ready"] and answer["status"] == "ok" for answer in answers)
    with pytest.raises(AssertionError, match=r"(?i)permissions violation"):
        asyncio.run(ask_over_nats(ymera, "drafting", "communication.health", 0.5))


def test_messages_that_cannot_be_delivered_are_tried_and_set_aside(
    ymera: Any, start_runtime: Any, redis_server: Any
) -> None:
    settings: dict[str, Any] = {"MESSAGE_QUEUE_SIZE": "3", "WORK_RETRY_SECONDS": "0.05", "WORK_TRIES": "3"}
    process = start(ymera, start_runtime, redis_server, "communication", **settings)
    process.wait_for_message("READY=1")
    message = {"type": "note", "sender": "ann", "recipients": ["nobody"], "payload": {"n": 1}}
    identifiers = []
    for _ in range(5):
        code, text = process.call("communication", "/api/v1/messages", message)
        assert code == 202
        identifiers.append(json.loads(text)["message_id"])

    def read_statuses() -> list[str]:
        found = [process.call("communication", f"/api/v1/messages/{identifier}") for identifier in identifiers]
        return sorted(json.loads(text)["status"] if code == 200 else "unknown" for code, text in found)

    deadline = time.monotonic() + 15
    while "unknown" in (statuses := read_statuses()):
        assert time.monotonic() < deadline, statuses
        time.sleep(0.2)
    assert statuses == ["delivered"] * 3 + ["failed"] * 2
    metrics = process.call("communication", "/metrics")[1]
    assert 'agent_work_total{outcome="dead"} 2.0' in metrics
    assert 'agent_work_total{outcome="retried"} 4.0' in metrics
    for bad in ({}, {**message, "recipients": ["a.b"]}, {**message, "subject": "a\u0000"}, {**message, "extra": 1}):
        assert process.call("communication", "/api/v1/messages", bad)[0] == 422
