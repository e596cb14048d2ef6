"""The predictor as real processes on a real Redis: exact sums, one leader, checked input, secrets kept."""

from __future__ import annotations

import json
import random
import time
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from agent_runtime.chorus.prediction import compute_risk
from agent_runtime.chorus.trust import change_score

PREDICTOR = {"predictor": "agent_runtime.chorus.predictor"}


def test_risk_weighs_the_newest_most() -> None:
    assert compute_risk([]) == 0
    assert compute_risk(["conflict"] * 20) == 1
    newest = compute_risk(["conflict", *["cooperation"] * 9])
    oldest = compute_risk([*["cooperation"] * 9, "conflict"])
    assert newest == pytest.approx(10 / 55, abs=1e-4)
    assert oldest == pytest.approx(1 / 55, abs=1e-4)
    assert compute_risk(["conflict"]) == pytest.approx(5 / 15, abs=1e-4)


def test_score_stays_within_bounds() -> None:
    assert change_score(100, "cooperation", 10, 1) == 100
    assert change_score(100, "conflict", 10, 1) == 90
    assert change_score(4, "conflict", 10, 1) == 0
    assert change_score(0.1, "cooperation", 10, 0.2) == 0.3


def test_four_replicas_keep_exact_sums(redis_server: Any, start_runtime: Any) -> None:
    replicas = [
        start_runtime(f"predictor-{number}", PREDICTOR, redis_server.port, replica=number, PREDICTION_INTERVAL="0.2")
        for number in range(1, 5)
    ]
    for replica in replicas:
        replica.wait_for_message("READY=1")
    random.seed(7)
    names = ["ann", "bob", "cid"]  # few agents, so that the replicas collide all the time
    posts = []
    for number in range(400):
        agent, peer = random.sample(names, 2)
        kind = random.choices(["conflict", "cooperation"], [1, 9])[0]
        posts.append({"id": f"interaction-{number}", "agent": agent, "peer": peer, "kind": kind})
    # Each fifth is sent twice, to two replicas at once: it must count once.
    sent = [*posts, *posts[::5]]
    random.shuffle(sent)

    def post(place: int) -> int:
        return int(replicas[place % 4].call("predictor", "/api/v1/interactions", sent[place])[0])

    with ThreadPoolExecutor(16) as pool:
        statuses = list(pool.map(post, range(len(sent))))
    assert statuses.count(201) == len(posts)
    assert statuses.count(200) == len(sent) - len(posts)

    _, text = replicas[2].call("predictor", "/api/v1/agents")
    agents = {row["agent"]: row for row in json.loads(text)["agents"]}
    assert sorted(agents) == names
    for name, row in agents.items():
        mine = [post for post in posts if name in (post["agent"], post["peer"])]
        assert row["interactions"] == len(mine)
        assert row["conflicts"] == sum(post["kind"] == "conflict" for post in mine)
        assert row["cooperations"] == row["interactions"] - row["conflicts"]

    # The audit is written in the same transactions: replayed in its order it must give the same scores.
    lines = redis_server.command("XRANGE", "chorus:audit", "-", "+").split("\n")
    kinds = {post["id"]: post for post in posts}
    identifiers = [lines[place + 1] for place, word in enumerate(lines) if word == "id"]
    assert sorted(identifiers) == sorted(kinds)
    scores = dict.fromkeys(names, 100.0)
    for identifier in identifiers:
        entry = kinds[identifier]
        for name in (entry["agent"], entry["peer"]):
            scores[name] = change_score(scores[name], entry["kind"], 10, 1)
    assert scores == {name: row["score"] for name, row in agents.items()}

    # One leader only; when it is killed, another follows.
    leader = json.loads(replicas[0].call("predictor", "/api/v1/system/status")[1])["leader"]
    assert leader == json.loads(replicas[3].call("predictor", "/api/v1/system/status")[1])["leader"]
    number = int(leader.rpartition("/")[2])
    replicas[number - 1].kill()
    survivor = replicas[number % 4]
    deadline = time.monotonic() + 10
    while json.loads(survivor.call("predictor", "/api/v1/system/status")[1])["leader"] in (leader, None):
        assert time.monotonic() < deadline, "nobody took the lead over"
        time.sleep(0.1)


def test_api_predicts_refuses_and_hides(redis_server: Any, start_runtime: Any, tmp_path: Any) -> None:
    log_file = tmp_path / "chorus.log"
    process = start_runtime(
        "api", PREDICTOR, redis_server.port, PREDICTION_INTERVAL="0.2", LOG_LEVEL="DEBUG", LOG_FILE=str(log_file)
    )
    process.wait_for_message("READY=1")
    for number in range(8):
        body = {"agent": "eve", "peer": f"peer-{number}", "kind": "conflict"}
        assert process.call("predictor", "/api/v1/interactions", body)[0] == 201
    deadline = time.monotonic() + 5
    recent: list[dict[str, Any]] = []
    while not recent and time.monotonic() < deadline:
        time.sleep(0.1)
        recent = json.loads(process.call("predictor", "/api/v1/predictions")[1])["recent"]
    assert [item["agent"] for item in recent] == ["eve"]
    eve = json.loads(process.call("predictor", "/api/v1/agents/eve")[1])
    assert (eve["score"], eve["trusted"], eve["conflicts"]) == (20, False, 8)
    status = json.loads(process.call("predictor", "/api/v1/system/status")[1])
    assert (status["agents"], status["untrusted"], status["conflicts"]) == (9, 1, 8)
    assert process.call("predictor", "/api/v1/system/health") == (200, '{"status":"healthy","problems":[]}')

    refused: dict[int, list[Any]] = {
        422: [{}, {"agent": "a", "peer": "a", "kind": "conflict"}, {"agent": "a\n", "peer": "b", "kind": "conflict"}],
        400: [b"{", b"[]", b"[" * 60000],
        413: [{"agent": "a" * 70000}],
    }
    for expected, bodies in refused.items():
        for bad in bodies:
            code, text = process.call("predictor", "/api/v1/interactions", bad)
            assert code == expected
            assert json.loads(text)["error"]["status"] == expected
    extra = {"agent": "a", "peer": "b", "kind": "fight", "admin": True}
    assert (
        "admin: unknown; kind: one of conflict, cooperation"
        in process.call("predictor", "/api/v1/interactions", extra)[1]
    )
    assert process.call("predictor", "/api/v1/agents?limit=-1")[0] == 400
    assert process.call("predictor", "/api/v1/agents/nobody")[0] == 404
    for path in ("/docs", "/openapi.json", "/api/v1/nothing"):
        code, text = process.call("predictor", path)
        assert (code, json.loads(text)["error"]["status"]) == (404, 404)

    metrics = process.call("predictor", "/metrics")[1]
    assert 'agent_requests_total{method="POST",route="/api/v1/interactions",status="201"} 8.0' in metrics
    for bound in ("0.1", "0.3", "0.5", "1.0", "2.0"):
        assert f'agent_request_duration_seconds_bucket{{le="{bound}",route="/api/v1/interactions"}}' in metrics
    assert 'agent_info{agent="predictor"' in metrics

    # A database that goes away: the API says so, liveness stays, and all comes back without a restart.
    redis_server.stop()
    assert process.call("predictor", "/api/v1/agents")[0] == 503
    assert process.call("predictor", "/health")[0] == 200
    time.sleep(2.5)
    assert process.call("predictor", "/ready")[0] == 503
    redis_server.start()
    deadline = time.monotonic() + 10
    while process.call("predictor", "/ready")[0] != 200:
        assert time.monotonic() < deadline
        time.sleep(0.1)
    assert process.call("predictor", "/api/v1/agents/eve")[0] == 200
    assert process.stop() == 0

    lines = [json.loads(line) for line in log_file.read_text().splitlines()]
    assert {"time", "level", "agent", "message"} <= lines[0].keys()
    audit = [line["message"] for line in lines if line.get("audit") and line["agent"] == "predictor"]
    assert (audit.count("interaction counted"), audit.count("conflict predicted")) == (8, 1)
    seen = log_file.read_text() + process.log_path.read_text() + "\n".join(process.messages) + metrics

    for path in (tmp_path / "credentials").iterdir():
        assert path.read_text().strip() not in seen


def test_simulated_agents_meet_ask_and_report(redis_server: Any, start_runtime: Any) -> None:
    # Peers are called by the manifest's names, over HTTP and through the queue.
    module = {"agent-predictor": "agent_runtime.chorus.predictor"}
    predictor = start_runtime("api", module, redis_server.port, PREDICTION_INTERVAL="0.2")
    predictor.wait_for_message("READY=1")
    simulator = start_runtime(
        "simulator",
        {"simulator": "agent_runtime.chorus.simulator"},
        redis_server.port,
        peers={"agent-predictor": [{"address": "127.0.0.1", "port": predictor.ports["agent-predictor"]}]},
        API_PORT="1",
        AGENTS_MIN="10",
        AGENTS_MAX="10",
        AGENT_REQUEST_INTERVAL_MIN="0.1",
        AGENT_REQUEST_INTERVAL_MAX="0.2",
    )
    simulator.wait_for_message("READY=1")
    deadline = time.monotonic() + 20
    status: dict[str, Any] = {"agents": 0}
    while status["agents"] < 10 or status["conflicts"] == 0 or status["cooperations"] < 50:
        assert time.monotonic() < deadline, status
        time.sleep(0.2)
        status = json.loads(predictor.call("agent-predictor", "/api/v1/system/status")[1])
    assert status["agents"] == 10
    metrics = predictor.call("agent-predictor", "/metrics")[1]
    assessed = next(line for line in metrics.split("\n") if line.startswith('agent_work_total{outcome="processed"}'))
    assert float(assessed.split()[1]) >= 50
    assert simulator.stop() == 0
    # Each request's identifier is in the log lines of both sides.
    lines = [json.loads(line) for line in predictor.log_path.read_text().splitlines()]
    counted = [line for line in lines if line["message"] == "interaction counted"]
    assert all(line["trace_id"] == line["interaction"] for line in counted)
    assert [line for line in simulator.log_path.read_text().splitlines() if '"warning"' in line] == []
