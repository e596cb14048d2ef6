"""OpenTelemetry: what makes the spans, and what sends them to where the environment says.

The variables are OpenTelemetry's own (OTEL_EXPORTER_OTLP_TRACES_ENDPOINT, ..._CERTIFICATE, ..._CLIENT_CERTIFICATE,
..._CLIENT_KEY, OTEL_TRACES_SAMPLER, OTEL_BSP_*; OpenTelemetry specification, "Environment Variables").
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager

import requests
from opentelemetry import baggage, context, trace
from opentelemetry.baggage.propagation import W3CBaggagePropagator
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.propagators.composite import CompositePropagator
from opentelemetry.sdk.trace import ReadableSpan, SpanProcessor, TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExporter, SpanExportResult
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

from agent_runtime import __version__
from agent_runtime.instance import Instance
from agent_runtime.logs import current_agent, current_trace
from agent_runtime.secret import redact
from agent_runtime.tracing import conventions
from agent_runtime.tracing.spans import Kind, Span

log = logging.getLogger(__name__)
PLATFORM, GROUP = "groundwork.platform", "groundwork.group"
"""Entries of the baggage: where a request began, whoever works on it now."""
KINDS = {
    "internal": trace.SpanKind.INTERNAL,
    "server": trace.SpanKind.SERVER,
    "client": trace.SpanKind.CLIENT,
    "consumer": trace.SpanKind.CONSUMER,
}


class ReportedExporter(SpanExporter):
    """Sends spans on, and logs when that begins to fail and when it succeeds again: not each time."""

    def __init__(self, exporter: SpanExporter) -> None:
        self._exporter, self._failing = exporter, False

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        """Send spans; those that cannot be sent are gone."""
        result = self._exporter.export(spans)
        failing = result is not SpanExportResult.SUCCESS
        if failing != self._failing:
            if failing:
                log.warning("spans cannot be sent and are dropped until they can")
            else:
                log.info("spans are sent again")
        self._failing = failing
        return result

    def shutdown(self) -> None:
        """Stop waiting for another try."""
        self._exporter.shutdown()

    def force_flush(self, timeout_millis: int = 30000) -> bool:
        """Nothing is kept here."""
        return True


class _Handle:
    def __init__(self, span: trace.Span) -> None:
        self._span = span

    def rename(self, name: str) -> None:
        self._span.update_name(name)

    def set(self, key: str, value: str | int | float | bool) -> None:
        self._span.set_attribute(key, value)

    def fail(self, kind: str, reason: str = "") -> None:
        self._span.set_attribute(conventions.ERROR, kind)
        self._span.set_status(trace.StatusCode.ERROR, redact(reason)[:500] or None)


class OpenTelemetryTracer:
    """Makes spans of OpenTelemetry for one process of a platform."""

    def __init__(self, provider: TracerProvider, instance: Instance) -> None:
        self._tracer = provider.get_tracer("agent_runtime", __version__, schema_url=conventions.SCHEMA)
        self._propagator = CompositePropagator([TraceContextTextMapPropagator(), W3CBaggagePropagator()])
        self._platform, self._group = instance.platform, instance.group
        # Of the resource, which has it as well, Phoenix keeps only the project's name.
        self._process = f"{instance.host}/{instance.unit}"

    def span(
        self,
        name: str,
        kind: Kind,
        attributes: conventions.Attributes | None,
        carrier: Mapping[str, str] | None,
    ) -> AbstractContextManager[Span]:
        """Begin a span (see `spans.span`)."""
        return self._span(name, kind, attributes, carrier)

    @contextmanager
    def _span(
        self,
        name: str,
        kind: Kind,
        attributes: conventions.Attributes | None,
        carrier: Mapping[str, str] | None,
    ) -> Iterator[Span]:
        found = context.get_current() if carrier is None else self._propagator.extract(carrier, context.Context())
        if baggage.get_baggage(PLATFORM, found) is None:
            found = baggage.set_baggage(PLATFORM, self._platform, found)
            found = baggage.set_baggage(GROUP, self._group, found)
        origin = {key: str(baggage.get_baggage(key, found)) for key in (PLATFORM, GROUP)}
        given = {"agent": current_agent.get(), "service.instance.id": self._process, **origin, **(attributes or {})}
        # Exceptions are noted below: OpenTelemetry would send their text and traceback as they are.
        one = self._tracer.start_span(
            name, found, KINDS[kind], given, record_exception=False, set_status_on_exception=False
        )
        identifier = trace.format_trace_id(one.get_span_context().trace_id)
        outer = context.attach(trace.set_span_in_context(one, found))
        logged = current_trace.set(identifier)
        handle = _Handle(one)
        try:
            yield handle
        except BaseException as error:
            handle.fail(type(error).__name__, str(error))
            raise
        finally:
            one.end()
            context.detach(outer)
            if kind not in ("server", "consumer"):
                current_trace.reset(logged)

    def carry(self) -> dict[str, str]:
        """Return `traceparent` and `baggage` of the present context."""
        headers: dict[str, str] = {}
        self._propagator.inject(headers)
        return headers

    def is_inside(self) -> bool:
        """Tell whether a span is under way that is kept."""
        return trace.get_current_span().is_recording()


class Traces:
    """The spans of one process, until `stop`."""

    def __init__(self, instance: Instance, processor: SpanProcessor | None = None) -> None:
        """`processor` takes the spans; without one they are sent in batches to where the environment says."""
        # What has failed is said once, above.
        for name in ("opentelemetry.exporter", "opentelemetry.sdk", "urllib3"):
            logging.getLogger(name).setLevel(logging.CRITICAL)
        self._provider = TracerProvider(shutdown_on_exit=False)
        self._provider.add_span_processor(processor or BatchSpanProcessor(ReportedExporter(_make_exporter())))
        self.tracer = OpenTelemetryTracer(self._provider, instance)

    def stop(self, seconds: float) -> None:
        """Send what is left, for `seconds` at most: an unreachable place must not keep a process from ending."""
        ending = threading.Thread(target=self._provider.shutdown, name="traces", daemon=True)
        ending.start()
        ending.join(seconds)


def _make_exporter() -> SpanExporter:
    session = requests.Session()
    # Neither a proxy nor roots that the environment names: spans go to their place, or nowhere.
    session.trust_env = False
    return OTLPSpanExporter(session=session)
