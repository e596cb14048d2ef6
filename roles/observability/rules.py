"""Alerts about hosts and what runs on them; those about objectives come from the objectives."""

from __future__ import annotations

from typing import Any

from groundwork.manifest.platform import Platform
from groundwork.objectives.indicators import match_any
from groundwork.topology.identities import find_journal_store, journal_source
from groundwork.topology.model import Topology

Rule = dict[str, Any]
FILESYSTEMS = 'fstype!~"tmpfs|ramfs|overlay|squashfs|nsfs",mountpoint!~"/(run|proc|sys|dev).*"'


def make_platform_rules(platform: Platform, topology: Topology) -> dict[str, Any]:
    """Return a rule file: hosts that are down, full, or busier than declared, and what does not answer."""
    rules = [
        _alert("HostDown", 'up{job="node"} == 0', "1m", "page", "{{ $labels.host }} does not answer"),
        _alert(
            "TargetDown",
            'up{job!="node"} == 0',
            "1m",
            "ticket",
            "{{ $labels.job }} on {{ $labels.host }} does not answer",
        ),
        _alert(
            "ProbeFailed",
            'probe_success{required!="false"} == 0',
            "1m",
            "ticket",
            "{{ $labels.instance }} does not do what it should",
        ),
        _alert(
            "DiskAlmostFull",
            f"node_filesystem_avail_bytes{{{FILESYSTEMS}}} / node_filesystem_size_bytes{{{FILESYSTEMS}}} < 0.05",
            "1m",
            "page",
            "{{ $labels.mountpoint }} on {{ $labels.host }} has less than 5 % left",
        ),
        _alert(
            "DiskFilling",
            f"node_filesystem_avail_bytes{{{FILESYSTEMS}}} / node_filesystem_size_bytes{{{FILESYSTEMS}}} < 0.15",
            "10m",
            "ticket",
            "{{ $labels.mountpoint }} on {{ $labels.host }} has less than 15 % left",
        ),
        _alert(
            "UnitFailed",
            'node_systemd_unit_state{state="failed"} == 1',
            "30s",
            "ticket",
            "{{ $labels.name }} on {{ $labels.host }} has failed",
        ),
        _alert(
            "CertificateExpiring",
            "probe_ssl_earliest_cert_expiry - time() < 3 * 86400",
            "1m",
            "ticket",
            "the certificate of {{ $labels.instance }} ends in less than three days",
        ),
        _alert(
            "CheckFailed",
            'groundwork_probe_success{kind!="certificate",required!="false"} == 0',
            "1m",
            "ticket",
            "{{ $labels.host }} finds not well: {{ $labels.name }}",
        ),
        _alert(
            "HostCertificateExpiring",
            "groundwork_probe_expires_timestamp_seconds - time() < 3 * 86400",
            "1m",
            "ticket",
            "on {{ $labels.host }}: {{ $labels.name }} ends in less than three days",
        ),
        _alert(
            "ChecksStale",
            "time() - groundwork_probe_last_run_timestamp_seconds > 600",
            "1m",
            "ticket",
            "{{ $labels.host }} has not checked itself for ten minutes",
        ),
        _alert(
            "ConfigurationRefused",
            "prometheus_config_last_reload_successful == 0 or alertmanager_config_last_reload_successful == 0",
            "1m",
            "ticket",
            "{{ $labels.job }} on {{ $labels.host }} goes on with an older configuration",
        ),
        *_journals(platform, topology),
        *_backups(platform),
        *_utilisation(platform, topology),
    ]
    return {"groups": [{"name": f"{platform.platform}-platform", "rules": rules}]}


def _backups(platform: Platform) -> list[Rule]:
    """Backups that failed or are late, by the figures that each job leaves; none where nothing is backed up."""
    if platform.backup is None:
        return []
    age = "time() - groundwork_backup_last_success_timestamp_seconds"
    where = "{{ $labels.item }} of {{ $labels.host }} in {{ $labels.repository }}"
    shrunk = "groundwork_backup_size_bytes < 0.5 * max_over_time(groundwork_backup_size_bytes[7d])"
    return [
        _alert("BackupFailed", "groundwork_backup_failed == 1", "1m", "ticket", f"the last backup failed: {where}"),
        _alert("BackupLate", f"{age} > groundwork_backup_maximum_age_seconds", "1m", "page", f"is late: {where}"),
        _alert("BackupShrunk", shrunk, "1m", "ticket", f"is half of what it was: {where}"),
    ]


def _alert(name: str, expression: str, lasting: str, severity: str, summary: str) -> Rule:
    return {
        "alert": name,
        "expr": expression,
        "for": lasting,
        "labels": {"severity": severity},
        "annotations": {"summary": summary},
    }


def _journals(platform: Platform, topology: Topology) -> list[Rule]:
    """Hosts whose journal does not arrive at the log host, which each leaves a mark in every five minutes."""
    if find_journal_store(platform.observability) is None:
        return []
    sources = match_any("source", [journal_source(host.name) for host in topology.hosts])
    expression = f"time() - groundwork_journal_last_entry_timestamp_seconds{{{sources}}} > 900"
    summary = "{{ $labels.host }} has received nothing of the journal of {{ $labels.source }} for 15 minutes"
    return [_alert("JournalSilent", expression, "1m", "ticket", summary)]


def _utilisation(platform: Platform, topology: Topology) -> list[Rule]:
    """One alert for each declared bound of the hardware's use; that of GPUs is shown by no exporter of Debian's."""
    rules: list[Rule] = []
    for one in platform.utilisation:
        hosts = match_any("host", [host.name for host in topology.inventory.group(one.hosts)])
        busy = f'100 * (1 - avg by (host) (rate(node_cpu_seconds_total{{mode="idle",{hosts}}}[15m])))'
        used = f"100 * (1 - node_memory_MemAvailable_bytes{{{hosts}}} / node_memory_MemTotal_bytes{{{hosts}}})"
        for name, maximum, expression in (("Processor", one.cpu_maximum, busy), ("Memory", one.memory_maximum, used)):
            if maximum is not None:
                summary = f"{name.lower()} use of {{{{ $labels.host }}}} is above {maximum:f} %"
                rule = _alert(f"{name}Busy", f"{expression} > {maximum:f}", "15m", "ticket", summary)
                rule["labels"]["hosts"] = one.hosts
                rules.append(rule)
    return rules
