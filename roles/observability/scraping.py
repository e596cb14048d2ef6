"""Prometheus's configuration, its targets by job, and how its prober looks at what has no exporter."""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import Any

from groundwork.addresses import join
from groundwork.authority import paths as authority
from groundwork.manifest.observability import Prometheus
from groundwork.manifest.platform import Platform
from groundwork.manifest.values import format_duration
from groundwork.topology.identities import EXPORTER, PROMETHEUS
from groundwork.topology.model import ScrapeTarget, Topology
from groundwork.topology.scraping import EXPORTER_PORTS, PROBE
from roles.observability import paths

PROBE_TIMEOUT = "5s"


def list_jobs(topology: Topology) -> dict[str, list[ScrapeTarget]]:
    """Return the targets by job, jobs in alphabetical order."""
    jobs: dict[str, list[ScrapeTarget]] = {}
    for target in sorted(topology.scrape_targets):
        jobs.setdefault(target.job, []).append(target)
    return jobs


def list_rules(declared: Prometheus) -> tuple[str, ...]:
    """Names of the files of rules that there are: of the manifest's objectives, of hosts, of the user's own files."""
    return ("objectives", "platform", *(("given",) if declared.objective_files else ()))


def make_web(platform: str, unit: str) -> dict[str, Any]:
    """How a server of the role speaks: TLS, and only with who shows a certificate of the authority."""
    return {
        "tls_server_config": {
            "cert_file": authority.certificate(platform, unit),
            "key_file": authority.key(platform, unit),
            "client_ca_file": authority.bundle(platform),
            "client_auth_type": "RequireAndVerifyClientCert",
            "min_version": "TLS12",
        }
    }


def make_prometheus(platform: Platform, topology: Topology, address: str) -> dict[str, Any]:
    """Return the configuration of the Prometheus at ``address``."""
    name = platform.platform
    declared = platform.observability.prometheus
    assert declared is not None
    tls = {
        "ca_file": authority.bundle(name),
        "cert_file": authority.certificate(name, PROMETHEUS),
        "key_file": authority.key(name, PROMETHEUS),
        "min_version": "TLS12",
    }
    configuration: dict[str, Any] = {
        "global": {
            "scrape_interval": format_duration(declared.exporter_interval),
            "evaluation_interval": format_duration(declared.scrape_interval),
            "external_labels": {"platform": name, "environment": topology.environment},
        },
        "rule_files": [paths.rules(name, part) for part in list_rules(declared)],
        "scrape_configs": [_make_job(name, job, declared, address, tls) for job in list_jobs(topology)],
    }
    receivers = platform.observability.alertmanager
    if receivers:
        hosts = topology.inventory.group(receivers.hosts)
        targets = [join(host.address, receivers.port) for host in hosts]
        configuration["alerting"] = {
            "alertmanagers": [{"scheme": "https", "tls_config": tls, "static_configs": [{"targets": targets}]}]
        }
    return configuration


def _make_job(platform: str, job: str, declared: Prometheus, address: str, tls: dict[str, str]) -> dict[str, Any]:
    result: dict[str, Any] = {
        "job_name": job,
        "scheme": "https",
        "tls_config": tls,
        "file_sd_configs": [{"files": [paths.targets(platform, job)]}],
    }
    if job == "agent":
        result["scrape_interval"] = format_duration(declared.scrape_interval)
    if job == PROBE:
        # Half of the interval of exporters would be too rare to page within two minutes.
        result["scrape_interval"] = format_duration(declared.scrape_interval)
        result["metrics_path"] = "/probe"
        result["relabel_configs"] = [
            {"source_labels": ["__address__"], "target_label": "__param_target"},
            {"source_labels": ["module"], "target_label": "__param_module"},
            {"source_labels": ["__address__"], "target_label": "instance"},
            {"target_label": "__address__", "replacement": join(address, EXPORTER_PORTS["blackbox"])},
            {"regex": "module", "action": "labeldrop"},
        ]
    return result


def render_targets(targets: Iterable[ScrapeTarget]) -> str:
    """Return one job's file for file service discovery: one entry for each target, with its host as a label."""
    entries = []
    for target in targets:
        address = join(target.address, target.port)
        labels = {**dict(target.labels), **({"host": target.host} if target.host else {})}
        if target.path not in ("", "/metrics"):
            labels["__metrics_path__"] = target.path
        if "exposure" in labels:
            address = f"https://{address}/"
        entries.append({"targets": [address], "labels": labels})
    return json.dumps(entries, indent=1) + "\n"


def make_blackbox(platform: Platform) -> dict[str, Any]:
    """Return the prober's modules: NATS with its certificate, plain TCP, and each site as its clients ask for it."""
    name = platform.platform
    tls = {
        "ca_file": authority.bundle(name),
        "cert_file": authority.certificate(name, EXPORTER),
        "key_file": authority.key(name, EXPORTER),
        "min_version": "TLS12",
    }
    greeting = [{"expect": "^INFO "}, {"starttls": True}]
    modules: dict[str, Any] = {
        "tcp": {"prober": "tcp", "timeout": PROBE_TIMEOUT},
        "nats": {"prober": "tcp", "timeout": PROBE_TIMEOUT, "tcp": {"query_response": greeting, "tls_config": tls}},
    }
    for exposure, declared in platform.exposure.items():
        server = declared.server_names[0].replace("*", "probe")
        # Nobody can vouch for a certificate that signed itself; any other has to be one that clients trust.
        own: dict[str, Any] = {"insecure_skip_verify": True} if declared.tls.source == "self_signed" else {}
        if declared.tls.source == "authority":
            own = {"ca_file": tls["ca_file"]}
        modules[f"site_{exposure}"] = {
            "prober": "http",
            "timeout": PROBE_TIMEOUT,
            "http": {
                "headers": {"Host": server},
                "tls_config": {"server_name": server, **own},
                "fail_if_not_ssl": True,
                "follow_redirects": False,
                # Refusing who is not logged in is an answer, too; 404 is how denied paths are answered.
                "valid_status_codes": [200, 204, 301, 302, 303, 304, 307, 308, 401, 403, 404],
            },
        }
    return {"modules": modules}
