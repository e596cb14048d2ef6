"""What a manifest declares that this version has no role for yet; refused rather than passed over."""

from __future__ import annotations

from collections.abc import Iterator

from groundwork.manifest.platform import Platform
from groundwork.problems import Problem, ProblemError

SERVICE_ROLES = ("redis", "postgresql", "nats", "consul", "external")
"""Kinds of services that can be set up, or need no setting up."""

TRACE_BACKENDS = ("phoenix",)
"""What can collect traces."""


def check_coverage(platform: Platform) -> None:
    """Raise ProblemError for services that no role of this version sets up."""
    problems = list(_uncovered(platform))
    if problems:
        raise ProblemError(problems)


def _uncovered(platform: Platform) -> Iterator[Problem]:
    traces = platform.observability.traces
    if traces and traces.backend not in TRACE_BACKENDS:
        message, key = "this version cannot set it up yet", "observability.traces.backend"
        yield Problem(message, key=key, given=traces.backend, allowed=", ".join(TRACE_BACKENDS))
    for name, service in platform.services.items():
        if service.kind not in SERVICE_ROLES:
            message = "this version has no role for it yet"
            yield Problem(message, key=f"services.{name}", given=service.kind, allowed=", ".join(SERVICE_ROLES))
