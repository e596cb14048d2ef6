"""Prometheus metrics of one agent."""

from __future__ import annotations

import resource
from collections.abc import Iterator
from pathlib import Path

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.exposition import generate_latest
from prometheus_client.registry import Collector

from agent_runtime import __version__

# Bounds at the objectives' limits (0.1, 0.3, 0.5, 1 and 2 s), so that "the share under the limit" is exact.
LATENCY_BUCKETS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.2, 0.3, 0.5, 0.75, 1.0, 2.0, 5.0, 10.0, 30.0)
CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"


class ProcessUse(Collector):
    """Memory, processor time and open files of this process.

    The client library's own collector needs /proc/stat, which a unit with ProcSubset=pid does not see.
    """

    def collect(self) -> Iterator[Metric]:
        """Yield the current figures."""
        pages = int(Path("/proc/self/statm").read_text("ascii").split()[1])
        memory = pages * resource.getpagesize()
        yield GaugeMetricFamily("process_resident_memory_bytes", "Resident memory.", value=memory)
        use = resource.getrusage(resource.RUSAGE_SELF)
        seconds = use.ru_utime + use.ru_stime
        yield CounterMetricFamily("process_cpu_seconds", "Processor time used.", value=seconds)
        yield GaugeMetricFamily(
            "process_open_fds", "Open files.", value=sum(1 for _ in Path("/proc/self/fd").iterdir())
        )


class AgentMetrics:
    """The metrics every agent has. Each agent has its own registry, because each has its own port."""

    def __init__(self, agent: str, replica: int, group: str, platform: str, environment: str) -> None:
        self.registry = registry = CollectorRegistry()
        names = ["agent", "replica", "group", "platform", "environment", "version"]
        info = Gauge("agent_info", "What this agent is; always 1.", names, registry=registry)
        info.labels(agent, str(replica), group, platform, environment, __version__).set(1)
        self.ready = Gauge("agent_ready", "1 if the agent and its services answer.", registry=registry)
        self.requests = Counter(
            "agent_requests", "HTTP requests answered.", ["method", "route", "status"], registry=registry
        )
        self.request_seconds = Histogram(
            "agent_request_duration_seconds",
            "Time to answer an HTTP request.",
            ["route"],
            buckets=LATENCY_BUCKETS,
            registry=registry,
        )
        self.work = Counter(
            "agent_work",
            "Requests from other agents that ended, by outcome: processed, failed, retried, duplicate, dead.",
            ["outcome"],
            registry=registry,
        )
        for outcome in ("processed", "failed", "retried", "duplicate", "dead"):
            self.work.labels(outcome)
        self.work_seconds = Histogram(
            "agent_work_duration_seconds",
            "Time to handle a request from another agent.",
            buckets=LATENCY_BUCKETS,
            registry=registry,
        )
        self.work_in_flight = Gauge("agent_work_in_flight", "Requests being handled.", registry=registry)
        self.queue_depth = Gauge("agent_work_queue_depth", "Requests not yet ended.", registry=registry)
        registry.register(ProcessUse())

    def render(self) -> bytes:
        """Return the text that Prometheus scrapes."""
        return generate_latest(self.registry)
