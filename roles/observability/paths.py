"""Where the role puts what it lays down on a host."""

from __future__ import annotations

from groundwork.authority import paths

METRICS = "/var/lib/groundwork/metrics"
"""Folder of text files with metrics that the host's exporter shows as well."""


def folder(platform: str) -> str:
    """Folder of every file of the role."""
    return f"{paths.CONFIGURATION}/{platform}/observability"


def web(platform: str, unit: str) -> str:
    """How a server of the role speaks TLS."""
    return f"{folder(platform)}/web-{unit}.yml"


def prometheus(platform: str) -> str:
    """Configuration of Prometheus."""
    return f"{folder(platform)}/prometheus.yml"


def rules(platform: str, name: str) -> str:
    """A file of rules: ``objectives`` or ``platform``."""
    return f"{folder(platform)}/rules-{name}.yml"


def targets(platform: str, job: str) -> str:
    """The targets of one job."""
    return f"{folder(platform)}/targets-{job}.json"


def blackbox(platform: str) -> str:
    """Configuration of the prober."""
    return f"{folder(platform)}/blackbox.yml"


def alertmanager(platform: str) -> str:
    """Configuration of Alertmanager, with the receivers' secrets in it."""
    return f"{folder(platform)}/alertmanager.yml"


PROBE = "/usr/local/bin/groundwork-probe"
"""The probe, for people and units alike."""


EXPORTER = "groundwork_exporter"
"""Python package of the exporter of nginx, PgBouncer and NATS."""


def libraries(platform: str) -> str:
    """Folder of the packages that this role lays down."""
    return f"/usr/local/lib/groundwork/{platform}"


def figures(platform: str) -> str:
    """What that exporter shows on this host."""
    return f"{folder(platform)}/figures.json"


def checks(platform: str) -> str:
    """What the probe checks on this host."""
    return f"{folder(platform)}/probes.json"


def probe_metrics(platform: str) -> str:
    """What the probe found last."""
    return f"{METRICS}/{platform}-probe.prom"


def redis_password(platform: str, service: str, index: int) -> str:
    """The password file of one Redis exporter; root's, handed to the unit by systemd."""
    return f"{folder(platform)}/redis-{service}-{index}.json"
