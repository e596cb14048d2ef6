"""PostgreSQL in the words of sets and restores: what a host answers, and what a restore does with it."""

from __future__ import annotations

import json
from types import SimpleNamespace
from typing import Any

import pytest

from groundwork.backup import archiving, postgresql
from groundwork.problems import ProblemError
from groundwork.topology.archives import Archive, list_archives
from tests.unit.topology.test_archives import make

BACKUP = {"label": "20261125-191029F", "kind": "full", "started": 1_795_633_829, "finished": 1_795_633_831,
          "size": 31_000_000, "stored": 3_700_000}  # fmt: skip


class Hosts:
    """Hosts that answer ``pgbackrest-admin`` by its verb: an exit status, a document, and what it says."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.calls: list[tuple[str, str]] = []
        self.answers: dict[str, tuple[int, Any, str]] = {}
        monkeypatch.setattr(postgresql, "run_command", self.run)

    def run(self, host: Any, command: str, given: str = "", silence: float = 0.0) -> str:
        for verb, (status, document, said) in self.answers.items():
            if f" {verb}" in command and "pgbackrest-admin" in command:
                self.calls.append((host.name, verb))
                body = "" if document is None else json.dumps(document) + "\n"
                return f"{body}\n{status}\n{said}\n"
        self.calls.append((host.name, command.partition("; ")[0]))
        return ""


@pytest.fixture
def hosts(monkeypatch: pytest.MonkeyPatch) -> Hosts:
    return Hosts(monkeypatch)


@pytest.fixture
def site() -> Any:
    """A site, as far as archives are concerned."""
    platform, topology = make({"kind": "host", "hosts": "vault"})
    return SimpleNamespace(platform=platform, topology=topology, inventory=topology.inventory)


@pytest.fixture
def archive(site: Any) -> Archive:
    (found,) = list_archives(site.platform, site.topology)
    return found


def test_what_a_program_says_is_told_where_it_fails(site: Any, hosts: Hosts, archive: Archive) -> None:
    hosts.answers["describe"] = (1, None, "archive\nthe newest commit is of yesterday")
    with pytest.raises(ProblemError, match="the newest commit is of yesterday"):
        postgresql.describe_loss(site, archive, None)
    found, problems = archiving.describe_losses(site, [archive], "2026-11-20T03:15:00+00:00")
    assert found == {}
    assert [one.message for one in problems] == ["the newest commit is of yesterday"]


def test_backups_are_listed_as_sets(site: Any, hosts: Hosts, archive: Archive) -> None:
    hosts.answers["list"] = (0, [BACKUP], "")
    (kept,) = archiving.list_kept(site, (), [])
    assert kept.set == "20261125T191029Z-20261125-191029F"
    assert kept.age > 0
    hosts.answers["list"] = (1, None, "cannot be reached")
    problems: list[Any] = []
    assert archiving.list_kept(site, (), problems) == []
    assert [one.message for one in problems] == ["cannot be reached"]


def test_a_check_tells_of_a_restore_that_stands(site: Any, hosts: Hosts, archive: Archive) -> None:
    hosts.answers |= {
        "check": (0, {"backups": ["F"], "objects": 5, "problems": [], "notes": []}, ""),
        "list": (0, [BACKUP], ""),
        "state": (0, {"complete": False, "step": "fetch"}, ""),
    }
    (found,) = archiving.check_kept(site, (), [])
    assert found.findings == ["a restore stands at fetch: resume it, or begin another one"]
    hosts.answers["state"] = (0, None, "")
    hosts.answers["check"] = (2, {"backups": [], "objects": 5, "problems": ["broken"], "notes": []}, "")
    (found,) = archiving.check_kept(site, (), [])
    assert found.findings == ["broken"]


@pytest.mark.parametrize(
    ("state", "verb"),
    [
        (None, "restore"),
        ({"began": 100.0, "complete": False}, "restore"),
        ({"began": 4e9, "complete": False}, "resume"),
        ({"began": 4e9, "complete": True, "label": "F"}, ""),
    ],
)
def test_a_restore_goes_on_only_with_its_own(
    site: Any, hosts: Hosts, archive: Archive, state: dict[str, Any] | None, verb: str
) -> None:
    done = {"label": "F", "reached": "here", "seconds": {}}
    hosts.answers |= {
        "state": (0, state, ""),
        "restore": (0, done, ""),
        "resume": (0, done, ""),
        "finish": (0, done, ""),
    }
    found = archiving.recover(site, archive, "", "2026-11-25T00:00:00+00:00")
    assert found["label"] == "F"
    assert [call for _, call in hosts.calls][1:2] == ([verb] if verb else [])
