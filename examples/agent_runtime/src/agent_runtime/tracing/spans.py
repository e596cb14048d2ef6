"""Spans, and the headers by which they reach other processes. Nothing happens here until `use` is called.

Whoever does something worth a span writes `with span(...)`; without traces that is one comparison and an object that
does nothing. OpenTelemetry is imported by `tracing.exporting` alone, which only processes with traces import.
"""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import AbstractContextManager
from types import TracebackType
from typing import Literal, Protocol

from agent_runtime.tracing.conventions import Attributes

Kind = Literal["internal", "server", "client", "consumer"]
# W3C Trace Context and W3C Baggage; the same names in HTTP, in messages of NATS and in entries of Redis.
HEADERS = ("traceparent", "tracestate", "baggage")


class Span(Protocol):
    """What can be said of a span while it lasts."""

    def rename(self, name: str) -> None:
        """Give it the name that is known by now."""

    def set(self, key: str, value: str | int | float | bool) -> None:
        """Say one more thing of it."""

    def fail(self, kind: str, reason: str = "") -> None:
        """Mark it as failed; an exception that leaves it does so, too."""


class Tracer(Protocol):
    """What makes spans."""

    def span(
        self, name: str, kind: Kind, attributes: Attributes | None, carrier: Mapping[str, str] | None
    ) -> AbstractContextManager[Span]:
        """Begin a span."""

    def carry(self) -> dict[str, str]:
        """Return the headers of the present context."""

    def is_inside(self) -> bool:
        """Tell whether a span is under way that is kept."""


class _Nothing:
    __slots__ = ()

    def __enter__(self) -> _Nothing:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        return None

    def rename(self, name: str) -> None:
        """Nothing."""

    def set(self, key: str, value: str | int | float | bool) -> None:
        """Nothing."""

    def fail(self, kind: str, reason: str = "") -> None:
        """Nothing."""


_NOTHING = _Nothing()
_tracer: Tracer | None = None


def use(tracer: Tracer | None) -> None:
    """Have this tracer make the process's spans from now on; None ends that."""
    global _tracer
    _tracer = tracer


def is_on() -> bool:
    """Tell whether this process makes spans."""
    return _tracer is not None


def span(
    name: str,
    kind: Kind = "internal",
    attributes: Attributes | None = None,
    carrier: Mapping[str, str] | None = None,
) -> AbstractContextManager[Span]:
    """Begin a span, which ends with the `with` statement; log lines within it have its trace's identifier.

    Args:
        name: of few different values.
        kind: `server` and `consumer` begin a task of their own: its log lines keep the identifier afterwards.
        attributes: what is known of it by now.
        carrier: headers that came with the request; without them the span belongs to the one that is under way.
    """
    if _tracer is None:
        return _NOTHING
    return _tracer.span(name, kind, attributes, carrier)


def carry() -> dict[str, str]:
    """Return the headers that take the present context along; none without traces."""
    return {} if _tracer is None else _tracer.carry()


def is_inside() -> bool:
    """Tell whether a span is under way that will be kept."""
    return _tracer is not None and _tracer.is_inside()


def pick_headers(fields: Mapping[str, str]) -> dict[str, str]:
    """Return those of a message's fields that carry context."""
    return {name: fields[name] for name in HEADERS if name in fields}
