"""The helper against a server that says what the real one says."""

from __future__ import annotations

import io
import json
from typing import Any

import pytest

from roles.nats.onhost import nats_admin


class FakeClient(nats_admin.Client):
    """JetStream with some streams, as far as the helper asks it."""

    def __init__(self, streams: dict[str, dict[str, Any]]) -> None:
        self.streams = streams
        self.asked: list[str] = []

    def ask(self, subject: str, question: object = None) -> dict[str, Any]:
        self.asked.append(subject)
        if ".CONSUMER." in subject:
            return self.ask_consumer(subject, question)
        *_, verb, name = subject.split(".")
        if verb in ("CREATE", "UPDATE"):
            assert isinstance(question, dict)
            self.streams[name] = {**self.streams.get(name, {}), **question}
        if name not in self.streams:
            return {"error": {"code": 404, "description": "stream not found"}}
        return {"config": {key: value for key, value in self.streams[name].items() if value}}

    def ask_consumer(self, subject: str, question: object) -> dict[str, Any]:
        stream, name = subject.split(".")[-2:]
        if stream not in self.streams:
            return {"error": {"code": 404, "description": "stream not found"}}
        consumers = self.streams[stream].setdefault("consumers", {})
        if ".CREATE." in subject:
            assert isinstance(question, dict)
            assert question["stream_name"] == stream
            consumers[name] = question["config"]
        if name not in consumers:
            return {"error": {"code": 404, "description": "consumer not found"}}
        return {"config": consumers[name]}


def test_differences_name_what_differs() -> None:
    client = FakeClient({"KV_a": {"name": "KV_a", "max_bytes": 1, "allow_direct": True}})
    wanted: list[dict[str, Any]] = [{"name": "KV_a", "max_bytes": 2, "allow_direct": False}, {"name": "KV_b"}]
    assert nats_admin.find_differences(client, wanted) == {
        "KV_a": "differs in allow_direct, max_bytes",
        "KV_b": "absent",
    }


def test_what_is_false_counts_when_it_is_left_out() -> None:
    client = FakeClient({"KV_a": {"name": "KV_a", "deny_delete": False}})
    assert nats_admin.find_differences(client, [{"name": "KV_a", "deny_delete": False, "max_bytes": 0}]) == {}


def test_space_is_given_back_before_it_is_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    client = FakeClient({"KV_b": {"name": "KV_b", "max_bytes": 9}})
    monkeypatch.setattr(nats_admin, "Client", lambda settings: client)
    nats_admin.apply_streams({"streams": [{"name": "KV_a", "max_bytes": 4}, {"name": "KV_b", "max_bytes": 4}]})
    deeds = [subject for subject in client.asked if ".INFO." not in subject]
    assert deeds == ["$JS.API.STREAM.UPDATE.KV_b", "$JS.API.STREAM.CREATE.KV_a"]


def test_a_stream_that_is_not_declared_is_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    client = FakeClient({"KV_old": {"name": "KV_old"}})
    monkeypatch.setattr(nats_admin, "Client", lambda settings: client)
    nats_admin.apply_streams({"streams": []})
    assert client.asked == []


def test_consumers_come_after_their_streams_and_once(monkeypatch: pytest.MonkeyPatch) -> None:
    client = FakeClient({})
    monkeypatch.setattr(nats_admin, "Client", lambda settings: client)
    consumer = {"stream": "orders", "config": {"durable_name": "fast", "ack_wait": 5}}
    settings: dict[str, Any] = {"streams": [{"name": "orders"}], "consumers": [consumer]}
    assert nats_admin.find_all_differences(client, settings) == {"orders": "absent", "orders.fast": "absent"}
    for _ in range(2):
        nats_admin.apply_streams(settings)
    deeds = [subject for subject in client.asked if ".INFO." not in subject]
    assert deeds == ["$JS.API.STREAM.CREATE.orders", "$JS.API.CONSUMER.DURABLE.CREATE.orders.fast"]
    client.streams["orders"]["consumers"]["fast"] = {"durable_name": "fast", "ack_wait": 4}
    assert nats_admin.find_all_differences(client, settings) == {"orders.fast": "differs in ack_wait"}
    nats_admin.apply_streams(settings)
    assert nats_admin.find_all_differences(client, settings) == {}


class Wire(nats_admin.Client):
    """A connection whose server has said all that it will say."""

    def __init__(self, said: bytes) -> None:
        self.inbox = "_INBOX.admin.1"
        self.sent: list[str] = []
        self.stream = io.BufferedRWPair(io.BytesIO(said), io.BytesIO())

    def send(self, text: str) -> None:
        self.sent.append(text)


def test_answers_are_found_among_pings() -> None:
    body = json.dumps({"config": {}}).encode()
    wire = Wire(b"PING\r\n+OK\r\nMSG _INBOX.admin.1 1 %d\r\n%s\r\n" % (len(body), body))
    assert wire.ask("$JS.API.STREAM.INFO.KV_a") == {"config": {}}
    assert wire.sent == ["PUB $JS.API.STREAM.INFO.KV_a _INBOX.admin.1 0\r\n\r\n", "PONG\r\n"]


def test_nobody_there_is_an_error_of_its_own() -> None:
    header = b"NATS/1.0 503\r\n\r\n"
    wire = Wire(b"HMSG _INBOX.admin.1 1 %d %d\r\n%s\r\n" % (len(header), len(header), header))
    assert wire.ask("$JS.API.INFO")["error"]["code"] == nats_admin.NO_LEADER


@pytest.mark.parametrize("said", [b"", b"-ERR 'Authorization Violation'\r\n"])
def test_refusals_are_told(said: bytes) -> None:
    with pytest.raises(nats_admin.AdminError, match=r"closed|Authorization"):
        Wire(said).ask("$JS.API.INFO")


def test_times_with_nine_digits_are_read() -> None:
    assert nats_admin.parse_time("1970-01-01T00:00:01.250000000Z") == 1.25
    assert nats_admin.parse_time("1970-01-01T00:00:01Z") == 1.0


def test_mistakes_end_with_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    assert nats_admin.main(["streams", "/nowhere"]) == 1
    assert capsys.readouterr().err.count("\n") == 1
    assert nats_admin.main([]) == 1
