"""Objectives as documents of OpenSLO v1 (https://github.com/OpenSLO/OpenSLO), for tools that read those.

OpenSLO has no pair of windows in one alert condition, so alerts stay in the rules; everything else is said.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jsonschema

from groundwork.objectives.sloth import Slo, Spec, fill_window
from groundwork.problems import Problem, ProblemError

SCHEMA = Path(__file__).with_name("openslo.schema.json")
SOURCE = "prometheus"
Document = dict[str, Any]


def make_openslo(spec: Spec, days: Mapping[str, int] | None = None) -> list[Document]:
    """Return a DataSource, a Service and one SLO for each objective; ``days`` gives periods by objective's name.

    Raises ProblemError for objectives whose indicator is a ratio alone: OpenSLO counts events.
    """
    problems = [
        Problem("has a ratio for an indicator, where OpenSLO counts events", key=slo.name, allowed="sli.events")
        for slo in spec.slos
        if slo.sli.events is None
    ]
    if problems:
        raise ProblemError(problems)
    service = _name(spec.service)
    documents: list[Document] = [
        {
            "apiVersion": "openslo/v1",
            "kind": "DataSource",
            "metadata": {"name": SOURCE},
            "spec": {"type": "Prometheus", "connectionDetails": {}},
        },
        {
            "apiVersion": "openslo/v1",
            "kind": "Service",
            "metadata": {"name": service},
            "spec": {"description": f"Platform {spec.service}"},
        },
    ]
    return documents + [_make_slo(spec, slo, service, (days or {}).get(slo.name, 30)) for slo in spec.slos]


def _make_slo(spec: Spec, slo: Slo, service: str, days: int) -> Document:
    events = slo.sli.events
    assert events is not None
    ratio = {"counter": True, "bad": _source(events.error_query), "total": _source(events.total_query)}
    name = _name(spec.identifier(slo))
    return {
        "apiVersion": "openslo/v1",
        "kind": "SLO",
        "metadata": {"name": name, **({"labels": dict(slo.labels)} if slo.labels else {})},
        "spec": {
            "description": slo.description,
            "service": service,
            "indicator": {"metadata": {"name": f"{name[:59]}-sli"}, "spec": {"ratioMetric": ratio}},
            "timeWindow": [{"duration": f"{days}d", "isRolling": True}],
            "budgetingMethod": "Occurrences",
            "objectives": [{"target": slo.target}],
        },
    }


def _source(query: str) -> Document:
    # OpenSLO leaves the query to the source and knows no placeholder for the window.
    specification = {"query": fill_window(query, "5m")}
    return {"metricSource": {"metricSourceRef": SOURCE, "type": "Prometheus", "spec": specification}}


def _name(text: str) -> str:
    """A name of RFC 1123: at most 63 lower-case letters, digits and hyphens."""
    return re.sub(r"[^a-z0-9-]", "-", text.lower())[:63].strip("-")


def check_openslo(document: Document) -> list[str]:
    """Return what is wrong with a document by the schema of the kinds that we write; an empty list when nothing is."""
    schema = json.loads(SCHEMA.read_text(encoding="utf-8"))
    plain = json.loads(json.dumps(document, default=float))
    validator = jsonschema.Draft202012Validator(schema)
    return [f"{error.json_path}: {error.message}" for error in validator.iter_errors(plain)]
