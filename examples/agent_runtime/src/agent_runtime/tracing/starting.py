"""Whether this process makes spans: where the environment says where they go."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import TYPE_CHECKING

from agent_runtime.instance import Instance
from agent_runtime.tracing.spans import use

# What sends spans takes memory and time to import: only processes with traces do.
if TYPE_CHECKING:
    from agent_runtime.tracing.exporting import Traces

log = logging.getLogger(__name__)
ENDPOINT = "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT"


def start_traces(instance: Instance, environ: Mapping[str, str]) -> Traces | None:
    """Begin to make spans if `OTEL_EXPORTER_OTLP_TRACES_ENDPOINT` is set, and return what ends that.

    Where OpenTelemetry is not installed the process goes on without spans, and says so.
    """
    if not environ.get(ENDPOINT):
        return None
    try:
        from agent_runtime.tracing.exporting import Traces
    except ImportError as error:
        log.error("no spans are made: %s; install agent-runtime[traces]", error)
        return None
    traces = Traces(instance)
    use(traces.tracer)
    log.info("spans go to %s", environ[ENDPOINT])
    return traces
