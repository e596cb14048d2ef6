"""The files of an environment's objectives: what Prometheus reads, what promtool tries, what other tools take."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import yaml

from groundwork.manifest.platform import Platform
from groundwork.objectives.derivation import DerivedObjective, derive_objectives, make_spec
from groundwork.objectives.openslo import make_openslo
from groundwork.objectives.rehearsal import make_tests
from groundwork.objectives.rules import make_groups
from groundwork.objectives.sloth import Spec, dump_spec

HEADER = "# Made by groundwork from the manifest's objectives; changes are undone by its next run.\n"


def render_rules(spec: Spec, days: dict[str, int] | None = None) -> str:
    """Return one Prometheus rule file with all objectives of a spec; ``days`` gives periods by objective's name."""
    groups = [group for slo in spec.slos for group in make_groups(spec, slo, (days or {}).get(slo.name, 30))]
    return HEADER + dump({"groups": groups})


def render_platform_rules(platform: Platform) -> str:
    """Return the rule file of a platform's objectives. Raises ProblemError as ``derive_objectives``."""
    derived = derive_objectives(platform)
    spec = make_spec(platform, derived)
    return render_rules(spec, {one.slo.name: one.days for one in derived}) if spec else ""


def render_files(platform: Platform) -> dict[str, str]:
    """Return every file by its relative path: the Sloth file, rules and tests of each objective, OpenSLO documents.

    Raises ProblemError as ``derive_objectives``.
    """
    derived = derive_objectives(platform)
    spec = make_spec(platform, derived)
    if spec is None:
        return {}
    files = {f"sloth/{spec.service}.yaml": HEADER + dump_spec(spec)}
    for one in derived:
        identifier = spec.identifier(one.slo)
        files[f"rules/{identifier}.yaml"] = HEADER + dump({"groups": make_groups(spec, one.slo, one.days)})
        files[f"tests/{identifier}.yaml"] = HEADER + dump(make_test_file(spec, one, f"../rules/{identifier}.yaml"))
    documents = make_openslo(spec, {one.slo.name: one.days for one in derived})
    files[f"openslo/{spec.service}.yaml"] = HEADER + "---\n".join(dump(document) for document in documents)
    return files


def make_test_file(spec: Spec, one: DerivedObjective, rule_file: str) -> dict[str, Any]:
    """The tests as every promtool reads them: ``name`` came with 2.45, Debian 12 has 2.42."""
    document = make_tests(spec, one, rule_file)
    for test in document["tests"]:
        test.pop("name")
    return document


class _Dumper(yaml.SafeDumper):
    """Texts of several lines as blocks, exact decimals as numbers, nothing by reference."""

    def ignore_aliases(self, data: Any) -> bool:
        return True


def _represent_text(dumper: yaml.SafeDumper, value: str) -> yaml.Node:
    return dumper.represent_scalar("tag:yaml.org,2002:str", value, style="|" if "\n" in value else None)


_Dumper.add_representer(str, _represent_text)
_Dumper.add_representer(Decimal, lambda dumper, value: dumper.represent_float(float(value)))


def dump(document: Any) -> str:
    """Return a document as YAML, in the order in which it was made."""
    return yaml.dump(document, Dumper=_Dumper, sort_keys=False, width=10_000, allow_unicode=True)
