"""Metrics, alerts, dashboards, logs and traces: where each is kept and what goes where."""

from __future__ import annotations

from typing import Literal

from groundwork.manifest.values import Duration, HostGroup, Model, Name, Percent, Port, Size


class Prometheus(Model):
    """Metrics collection."""

    hosts: HostGroup
    port: Port = 9090
    scrape_interval: Duration = 15.0
    exporter_interval: Duration = 30.0
    retention: Duration = 1_296_000.0
    retention_size: Size | None = None
    objective_files: list[str] = []
    """Further objectives: files in Sloth's format (prometheus/v1), from the manifest's folder."""


class Receiver(Model):
    """Where alerts go."""

    kind: Literal["discord", "webhook", "email", "pagerduty"]
    secret: Name
    """Holds the URL, key or address with password."""
    severities: list[Literal["page", "ticket", "info"]] = ["page", "ticket"]
    teams: list[Name] = []


class Alertmanager(Model):
    """Routing of alerts."""

    hosts: HostGroup
    port: Port = 9093
    receivers: dict[Name, Receiver] = {}


class Dashboards(Model):
    """Grafana."""

    hosts: HostGroup
    port: Port = 3000


class Logs(Model):
    """Where journals are collected."""

    hosts: HostGroup
    """One host, for the backend ``journal``."""
    backend: Literal["journal", "loki"] = "journal"
    """``journal`` keeps them as systemd's own files. Nothing acts on ``loki`` yet."""
    port: Port = 19532
    retention: Duration = 2_592_000.0
    retention_size: Size | None = None
    """What is kept of all hosts together, at most; the oldest of the host with the most goes first."""


class Traces(Model):
    """Where traces are collected."""

    hosts: HostGroup
    """One host."""
    backend: Literal["phoenix", "jaeger"] = "phoenix"
    port: Port = 4318
    retention: Duration = 1_209_600.0
    """Whole days count, begun ones too."""
    sample_percent: Percent | None = None
    """Share of requests that are followed; all of them without it."""


class Observability(Model):
    """Everything that watches the platform."""

    prometheus: Prometheus | None = None
    alertmanager: Alertmanager | None = None
    dashboards: Dashboards | None = None
    logs: Logs | None = None
    traces: Traces | None = None
    gpu_metrics: bool = False
    error_tracking_secret: Name | None = None
    """Secret with the DSN of an error tracker such as Sentry."""
