"""The checks that contact no host: a complete project passes, and each broken thing is named with its remedy."""

from __future__ import annotations

import json
import xml.etree.ElementTree as ElementTree
from collections.abc import Callable
from pathlib import Path

import pytest

from groundwork.authority.rotation import FILE
from groundwork.cli.main import main
from groundwork.preflight.findings import Finding, PreflightResult, Severity, Status
from groundwork.preflight.locks import find_unpinned
from groundwork.preflight.run import preflight
from groundwork.secrets.value import SecretValue
from tests.unit.preflight.projects import Project


def failing(result: PreflightResult) -> dict[str, Finding]:
    return {finding.id: finding for finding in result.failed()}


def test_a_complete_project_passes(project: Project) -> None:
    result = preflight(project.complete(), live=False)
    assert failing(result) == {}
    assert result.exit_code() == 0
    assert result.count(Status.PASSED) > 20
    assert all(finding.evidence for finding in result.findings)


def test_a_bare_project_is_told_all_that_is_missing(project: Project) -> None:
    result = preflight(project.load(), live=False)
    assert set(failing(result)) == {"secrets.set", "certificates.authority"}
    assert "groundwork secrets set farm llm_api_key" in {one.remedy for one in result.failed()}
    assert result.exit_code() == 2


def crowd(project: Project) -> None:
    project.manifest["groups"]["prediction"]["resources"]["memory_request"] = "2GiB"
    project.manifest["groups"]["prediction"]["resources"]["cpu_request"] = 3


def shrink(project: Project) -> None:
    project.manifest["machines"]["data"]["disk"] = "500MB"


def forget_backup(project: Project) -> None:
    items = project.manifest["backup"]["items"]
    project.manifest["backup"]["items"] = {name: item for name, item in items.items() if item.get("service") != "redis"}


def open_key(project: Project) -> None:
    project.key.chmod(0o644)


def lose_key(project: Project) -> None:
    project.key.unlink()


def trust_anybody(project: Project) -> None:
    project.data["ssh_strict_host_key_checking"] = "accept-new"


def unlock(project: Project) -> None:
    (project.root / "loose.lock").write_text("redis>=5\n")
    project.manifest["runtime"]["requirements"] = "../loose.lock"


def misname_zone(project: Project) -> None:
    project.data["timezone"] = "not a zone"


@pytest.mark.parametrize(
    ("breaking", "check"),
    [
        (crowd, "capacity.declared_memory"),
        (crowd, "capacity.declared_processors"),
        (shrink, "capacity.declared_disk"),
        (forget_backup, "backup.declared"),
        (open_key, "inventory.ssh_key"),
        (lose_key, "inventory.ssh_key"),
        (trust_anybody, "inventory.host_keys"),
        (unlock, "locks.runtime"),
        (misname_zone, "base.settings"),
    ],
)
def test_each_thing_that_is_broken_is_found(project: Project, breaking: Callable[[Project], None], check: str) -> None:
    breaking(project)
    found = failing(preflight(project.complete(), live=False))
    assert check in found
    assert found[check].remedy


def test_a_service_without_a_role_is_found(project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("groundwork.coverage.SERVICE_ROLES", ("postgresql", "external"))
    found = failing(preflight(project.complete(), live=False))
    assert "redis" in found["manifest.covered"].evidence
    assert found["manifest.covered"].remedy


@pytest.mark.parametrize(
    ("waiver", "good"),
    [
        ({"reason": "the old scanner needs it", "until": "2099-01-01"}, True),
        ({"reason": "the old scanner needs it", "until": "2020-01-01"}, False),
        ({"reason": "", "until": "2099-01-01"}, False),
        ({"reason": "the old scanner needs it"}, False),
        ({"reason": "the old scanner needs it", "until": "some day"}, False),
        ("because", False),
    ],
)
def test_waivers_need_a_reason_and_a_day_to_come(project: Project, waiver: object, good: bool) -> None:
    project.data["hardening_waivers"] = {"ssh-root": waiver}
    found = failing(preflight(project.load(), live=False))
    assert ("waivers.valid" not in found) == good


def test_secrets_that_are_weak_or_locked_are_found(project: Project) -> None:
    site = project.complete()
    site.secrets.write("llm_api_key", SecretValue("a" * 24))
    found = failing(preflight(project.load(), live=False))
    assert "aaaa" not in found["secrets.strength"].evidence
    Path(str(project.data["secrets_key"])).unlink()
    assert "secrets.readable" in failing(preflight(project.load(), live=False))


def test_a_rotation_that_stopped_is_found(project: Project) -> None:
    site = project.complete()
    state = {"version": 1, "stage": "trust", "old": "1", "new": "2", "started": "2026-11-01T00:00:00+00:00"}
    (site.authority.folder / FILE).write_text(json.dumps(state))
    found = failing(preflight(project.load(), live=False))
    assert "stopped before trust" in found["certificates.rotation"].evidence
    (site.authority.folder / FILE).write_text("{")
    assert "damaged" in failing(preflight(project.load(), live=False))["certificates.authority"].evidence


def test_requirements_need_a_digest(tmp_path: Path) -> None:
    lock = tmp_path / "lock"
    lines = ["# a comment", "--only-binary :all:", "good==1.0 \\", "    --hash=sha256:00", "bare==2.0", "loose>=3"]
    lock.write_text("\n".join(lines))
    assert [(problem.line, problem.given) for problem in find_unpinned(lock)] == [(5, "bare==2.0"), (6, "loose>=3")]
    assert "No such file" in str(next(find_unpinned(tmp_path / "none")))


def test_the_command_writes_json_junit_and_an_exit_code(
    project: Project, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    trust_anybody(project)
    project.complete()
    monkeypatch.setenv("GROUNDWORK_ROOT", str(project.root))
    report = project.root / "report.xml"
    assert main(["preflight", "farm", "--static", "--json", "--junit", str(report)]) == 2
    document = json.loads(capsys.readouterr().out)
    bad = [one for one in document["findings"] if one["status"] == "failed"]
    assert {one["id"] for one in bad} == {"inventory.host_keys"}
    assert {one["severity"] for one in bad} == {Severity.WARNING}
    suite = ElementTree.parse(report).getroot()[0]
    assert (suite.get("tests"), suite.get("failures")) == (str(len(document["findings"])), "2")
    assert main(["preflight", "farm", "--static", "--fail-on", "error"]) == 0
    assert "warning: app: inventory.host_keys" in capsys.readouterr().out
    assert main(["preflight", "farm", "--static", "--limit", "nobody"]) == 1
    assert main(["preflight", "farm", "--static", "--limit", "data", "--json"]) == 2
    hosts = {one["host"] for one in json.loads(capsys.readouterr().out)["findings"]}
    assert hosts == {"site", "data"}


def test_a_wrong_manifest_is_an_error(project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    project.manifest["version"] = 9
    with pytest.raises(Exception, match="version"):
        project.load()
    monkeypatch.setenv("GROUNDWORK_ROOT", str(project.root))
    assert main(["preflight", "farm", "--static"]) == 1
