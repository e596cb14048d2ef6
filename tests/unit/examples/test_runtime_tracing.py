"""Traces of the example runtime: one over HTTP, NATS, Redis and the database, sent with the process's certificate."""

from __future__ import annotations

import json
import subprocess
import sys
import time
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from agent_runtime.instance import Instance
from agent_runtime.logs import current_trace
from agent_runtime.tracing import conventions, spans
from agent_runtime.tracing.exporting import Traces
from opentelemetry import trace
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.semconv import schemas
from opentelemetry.semconv._incubating.attributes import (
    db_attributes,
    error_attributes,
    gen_ai_attributes,
    http_attributes,
    messaging_attributes,
    server_attributes,
)

from tests.unit.examples.support.certificates import Authority
from tests.unit.examples.support.spans import Received, Receiver
from tests.unit.examples.test_ymera import start as start_ymera

SERVER, CLIENT, CONSUMER = 2, 3, 5  # SpanKind of opentelemetry.proto.trace.v1
TRACE = "4bf92f3577b34da6a3ce929d0e0e4736"
PARENT = f"00-{TRACE}-00f067aa0ba902b7-01"


@pytest.fixture
def kept() -> Iterator[InMemorySpanExporter]:
    """Spans of this process, as an agent of chorus makes them."""
    exporter = InMemorySpanExporter()
    instance = Instance("chorus", "lab", "prediction", "unit", "app", "127.0.0.1", ())
    traces = Traces(instance, SimpleSpanProcessor(exporter))
    spans.use(traces.tracer)
    # Spans that begin a task leave their identifier to its log lines.
    before = current_trace.set(None)
    yield exporter
    current_trace.reset(before)
    spans.use(None)
    traces.stop(1)


def test_attributes_are_those_of_the_pinned_conventions() -> None:
    assert schemas.Schemas.V1_44_0.value == conventions.SCHEMA
    assert gen_ai_attributes.GEN_AI_OPERATION_NAME == conventions.OPERATION
    assert gen_ai_attributes.GEN_AI_AGENT_NAME == conventions.AGENT
    assert gen_ai_attributes.GenAiOperationNameValues.INVOKE_AGENT.value == conventions.INVOKE_AGENT
    assert messaging_attributes.MESSAGING_SYSTEM == conventions.MESSAGING
    assert messaging_attributes.MESSAGING_DESTINATION_NAME == conventions.DESTINATION
    assert messaging_attributes.MESSAGING_MESSAGE_ID == conventions.MESSAGE
    assert db_attributes.DB_SYSTEM_NAME == conventions.DATABASE
    assert db_attributes.DB_NAMESPACE == conventions.NAMESPACE
    assert db_attributes.DB_OPERATION_NAME == conventions.STATEMENT_KIND
    assert http_attributes.HTTP_REQUEST_METHOD == conventions.METHOD
    assert http_attributes.HTTP_ROUTE == conventions.ROUTE
    assert http_attributes.HTTP_RESPONSE_STATUS_CODE == conventions.STATUS
    assert server_attributes.SERVER_ADDRESS == conventions.SERVER_ADDRESS
    assert server_attributes.SERVER_PORT == conventions.SERVER_PORT
    assert error_attributes.ERROR_TYPE == conventions.ERROR


def test_without_traces_nothing_is_made_carried_or_imported() -> None:
    # The client of Redis imports OpenTelemetry's metrics by itself where they are installed.
    with spans.span("anything", "server", {}, {"traceparent": PARENT}) as one:
        one.set("key", 1)
        one.fail("kind")
        assert current_trace.get() is None
    assert spans.carry() == {}
    assert not spans.is_inside()
    code = (
        "import sys; import agent_runtime.launcher, agent_runtime.web, agent_runtime.bus.requests, "
        "agent_runtime.stores.database, agent_runtime.chorus.predictor; "
        "heavy = ('opentelemetry.sdk.trace', 'opentelemetry.exporter', 'google.protobuf', 'requests'); "
        "print([m for m in sys.modules if m.startswith(heavy)])"
    )
    environ = {"PYTHONPATH": ":".join(sys.path)}
    assert subprocess.check_output([sys.executable, "-c", code], env=environ, text=True).strip() == "[]"


def test_a_span_belongs_to_the_one_in_the_headers_and_keeps_the_origin(kept: InMemorySpanExporter) -> None:
    arrived = {"traceparent": PARENT, "baggage": "groundwork.platform=ymera,groundwork.group=drafting,other=1"}
    with spans.span("outer", "consumer", {}, arrived):
        headers = spans.carry()
        assert current_trace.get() == TRACE
        with spans.span("inner", "client"):
            assert spans.carry()["traceparent"] != headers["traceparent"]
    inner, outer = kept.get_finished_spans()
    assert {trace.format_trace_id(one.context.trace_id) for one in (inner, outer)} == {TRACE}
    assert inner.parent is not None and outer.parent is not None
    assert inner.parent.span_id == outer.context.span_id
    assert trace.format_span_id(outer.parent.span_id) == "00f067aa0ba902b7"
    for one in (inner, outer):
        assert one.attributes is not None
        assert (one.attributes["groundwork.platform"], one.attributes["groundwork.group"]) == ("ymera", "drafting")
    # What others put into the baggage goes on as well.
    assert "other=1" in headers["baggage"]


def test_a_request_that_begins_here_says_so(kept: InMemorySpanExporter) -> None:
    with spans.span("first"):
        assert set(spans.carry()["baggage"].split(",")) == {
            "groundwork.platform=chorus",
            "groundwork.group=prediction",
        }


@pytest.mark.parametrize("header", ["", "00-zz", f"00-{'0' * 32}-00f067aa0ba902b7-01", "x" * 9000])
def test_malformed_headers_begin_a_new_trace(kept: InMemorySpanExporter, header: str) -> None:
    with spans.span("one", "server", {}, {"traceparent": header, "baggage": ",=;" + header}):
        pass
    assert kept.get_finished_spans()[0].parent is None


def test_a_failure_is_told_without_its_traceback(kept: InMemorySpanExporter) -> None:
    with pytest.raises(ValueError), spans.span("one"):
        raise ValueError("what went wrong")
    one = kept.get_finished_spans()[0]
    assert (one.status.status_code, one.status.description) == (trace.StatusCode.ERROR, "what went wrong")
    assert one.attributes is not None and one.attributes["error.type"] == "ValueError"
    assert one.events == ()
    assert current_trace.get() is None


def find_trace(found: list[Received], identifier: str, names: set[str]) -> list[Received]:
    """The spans of a trace, once all of these names are among them."""
    own = [one for one in found if one.trace == identifier]
    return own if names <= {one.name for one in own} else []


def is_chain(found: list[Received]) -> bool:
    """Whether every span but one has its parent among the others."""
    known = {one.identifier for one in found}
    return sum(one.parent not in known for one in found) == 1


def test_a_message_is_one_trace_from_http_over_nats_to_the_database(
    ymera: Any, start_runtime: Any, redis_server: Any
) -> None:
    receiver = Receiver(ymera.authority)
    ymera.database.query("ALTER SYSTEM SET log_statement = 'all'")
    ymera.database.query("SELECT pg_reload_conf()")
    settings = receiver.environ(ymera.authority.files("communication"), "communication")
    # Two replicas: one takes the request over HTTP, either may carry the message.
    processes = [start_ymera(ymera, start_runtime, redis_server, "communication", n, **settings) for n in (1, 2)]
    for process in processes:
        process.wait_for_message("READY=1")
    body = {"type": "note", "sender": "planner", "recipients": ["writer"], "payload": {}}
    names = {"POST /api/v1/messages", "invoke_agent communication", "INSERT ymera", "wait for the batch"}
    status, text = processes[0].call("communication", "/api/v1/messages", body, "POST", traceparent=PARENT)
    assert status in (200, 202), text
    found = receiver.wait_for(lambda all_spans: find_trace(all_spans, TRACE, names))
    assert is_chain(found)
    by_kind = {(one.name, one.kind): one for one in found}
    server, asked = by_kind["POST /api/v1/messages", SERVER], by_kind["invoke_agent communication", CLIENT]
    worked, insert = by_kind["invoke_agent communication", CONSUMER], by_kind["INSERT ymera", CLIENT]
    assert server.parent == "00f067aa0ba902b7"
    assert (asked.parent, worked.parent) == (server.identifier, asked.identifier)
    assert worked.attributes["gen_ai.operation.name"] == "invoke_agent"
    assert worked.attributes["gen_ai.agent.name"] == worked.attributes["agent"] == "communication"
    assert worked.attributes["messaging.system"] == "nats"
    assert insert.attributes["db.system.name"] == "postgresql"
    for one in found:
        assert one.resource["service.name"] == one.sender == "communication"
        assert one.attributes["groundwork.platform"] == "ymera"
        assert one.schema == conventions.SCHEMA
        assert not one.failed
    # The statement itself says which span it belongs to.
    log = (ymera.folder / "database" / "postgres.log").read_text()
    assert f"/*traceparent='00-{TRACE}-{insert.identifier}-01'*/" in log
    assert "BEGIN; /*" not in log
    assert not [one for one in receiver.received if "/health" in one.text or "/ready" in one.text]
    for process in processes:
        assert process.stop() == 0


def test_simulated_agents_are_one_trace_over_redis_and_http(
    redis_server: Any, start_runtime: Any, tmp_path: Path
) -> None:
    authority = Authority(tmp_path / "authority")
    receiver = Receiver(authority)
    for account in ("prediction", "simulation"):
        authority.issue(account)
    module = {"predictor": "agent_runtime.chorus.predictor"}
    sending = receiver.environ(authority.files("prediction"), "prediction")
    predictor = start_runtime("api", module, redis_server.port, tls=authority.files("prediction"), **sending)
    predictor.wait_for_message("READY=1")
    simulator = start_runtime(
        "simulator",
        {"simulator": "agent_runtime.chorus.simulator"},
        redis_server.port,
        tls=authority.files("simulation"),
        peers={"predictor": [{"address": "127.0.0.1", "port": predictor.ports["predictor"]}]},
        AGENTS_MIN="10",
        AGENTS_MAX="10",
        AGENT_REQUEST_INTERVAL_MIN="0.2",
        AGENT_REQUEST_INTERVAL_MAX="0.3",
        group="simulation",
        **receiver.environ(authority.files("simulation"), "simulation"),
    )
    simulator.wait_for_message("READY=1")
    names = {"meet", "invoke_agent predictor", "POST", "POST /api/v1/interactions"}

    def find_meeting(found: list[Received]) -> list[Received]:
        traces = dict.fromkeys(one.trace for one in found if one.name == "meet")
        return next((own for one in traces if (own := find_trace(found, one, names))), [])

    found = receiver.wait_for(find_meeting)
    assert is_chain(found)
    assert {(one.name, one.sender) for one in found} == {
        ("meet", "simulation"),
        ("invoke_agent predictor", "simulation"),
        ("invoke_agent predictor", "prediction"),
        ("POST", "simulation"),
        ("POST /api/v1/interactions", "prediction"),
    }
    # Whoever works on it now, it is told where it began.
    assert {one.attributes["groundwork.group"] for one in found} == {"simulation"}
    assert simulator.stop() == 0
    lines = [json.loads(line) for line in predictor.log_path.read_text().splitlines()]
    logged = {line["trace_id"] for line in lines if line["message"] == "interaction counted"}
    assert found[0].trace in logged
    assert logged <= {one.trace for one in receiver.received}


def test_a_certificate_of_the_authority_is_needed(tmp_path: Path, redis_server: Any, start_runtime: Any) -> None:
    authority, strange = Authority(tmp_path / "authority"), Authority(tmp_path / "strange")
    receiver = Receiver(authority)
    authority.issue("prediction")
    strange.issue("prediction")
    module = {"worker": "agent_runtime.agents.worker"}
    sending = receiver.environ(authority.files("prediction"), "prediction")
    stranger = dict(sending)
    stranger |= {
        "OTEL_EXPORTER_OTLP_TRACES_CLIENT_CERTIFICATE": strange.files("prediction")["certificate"],
        "OTEL_EXPORTER_OTLP_TRACES_CLIENT_KEY": strange.files("prediction")["key"],
    }
    refused = start_runtime("refused", module, redis_server.port, **stranger)
    refused.wait_for_message("READY=1")
    assert refused.call("worker", "/api/v1/echo", {})[0] == 200
    deadline = time.monotonic() + 30
    while "spans cannot be sent" not in refused.log_path.read_text():
        assert time.monotonic() < deadline
        time.sleep(0.1)
    assert receiver.received == []
    assert refused.stop() == 0


def test_agents_go_on_and_end_in_time_while_the_place_is_away(
    redis_server: Any, start_runtime: Any, tmp_path: Path
) -> None:
    authority = Authority(tmp_path / "authority")
    receiver = Receiver(authority)
    authority.issue("prediction")
    sending = receiver.environ(authority.files("prediction"), "prediction")
    receiver.shutdown()
    receiver.server_close()
    sending |= {"OTEL_BSP_MAX_QUEUE_SIZE": "64", "OTEL_BSP_MAX_EXPORT_BATCH_SIZE": "16"}
    process = start_runtime("away", {"worker": "agent_runtime.agents.worker"}, redis_server.port, **sending)
    process.wait_for_message("READY=1")
    for number in range(300):
        assert process.call("worker", "/api/v1/echo", {"number": number})[0] == 200
    deadline = time.monotonic() + 30
    while "spans cannot be sent" not in process.log_path.read_text():
        assert time.monotonic() < deadline
        time.sleep(0.1)
    started = time.monotonic()
    assert process.stop() == 0
    assert time.monotonic() - started < 15
    # Said once, not for each span that is dropped.
    lines = [json.loads(line) for line in process.log_path.read_text().splitlines()]
    assert [line["message"] for line in lines if line["level"] not in ("info", "debug")] == [
        "spans cannot be sent and are dropped until they can"
    ]


def test_a_request_keeps_its_headers_through_redis(kept: InMemorySpanExporter) -> None:
    from agent_runtime.work.messages import Work, decode_work

    with spans.span("one"):
        work = Work("worker", {}, str(uuid.uuid4()), 0.0, carrier=spans.carry())
    again = decode_work("worker", work.try_again().encode())
    assert again.carrier == work.carrier
    assert set(work.carrier) == {"traceparent", "baggage"}
    # What others write into an entry carries nothing.
    assert decode_work("worker", {**Work("worker", {}, "a", 0.0).encode(), "other": "x"}).carrier == {}
