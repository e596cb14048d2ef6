"""The commands: what is wrong is said in a line each with exit code 1, and reports have the right code."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from groundwork.backup import restoring
from groundwork.backup.reports import BackupReport, Checked, Run
from groundwork.backup.restore_state import RestoreState, read_state, write_state
from groundwork.backup.run import choose_jobs
from groundwork.cli.main import main
from groundwork.cli.restore import read_moment
from groundwork.problems import ProblemError
from tests.unit.preflight.projects import Project


def run(project: Project, monkeypatch: pytest.MonkeyPatch, *words: str) -> int:
    project.complete()
    monkeypatch.setenv("GROUNDWORK_ROOT", str(project.root))
    return int(main(list(words)) or 0)


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (("backup", "farn", "--now"), "did you mean 'farm'"),
        (("backup", "farm", "--now", "--item", "redus"), "backup.items.redus: no such item (given redus; allowed:"),
        (("backup", "check", "farm", "--item", "redus"), "no such item"),
        (("restore", "farm", "--only", "discs"), "--only: is nothing to restore (given discs; allowed: config"),
        (("restore", "farm"), "name the parts"),
        (("restore", "farm", "--only", "redis", "--at", "yesterday"), "--at: is no moment (given yesterday"),
        (("restore", "farm", "--only", "redis", "--at", "2026-11-20T03:15:00"), "--at: has no zone"),
        (("restore", "farm", "--only", "redis", "--at", "2126-11-20T03:15:00Z"), "--at: lies in the future"),
        (("restore", "farm", "--resume"), "there is no restore to take up"),
    ],
)
def test_bad_input_is_one_line_and_contacts_nothing(
    project: Project,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    words: tuple[str, ...],
    told: str,
) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise AssertionError("a host was contacted")

    monkeypatch.setattr("groundwork.engine.asking.inspect_host", refuse)
    assert run(project, monkeypatch, *words) == 1
    lines = capsys.readouterr().err.strip().splitlines()
    assert len(lines) == 1
    assert told in lines[0]


def test_items_that_this_version_lacks_are_refused_by_name(project: Project) -> None:
    project.manifest["backup"]["items"]["cluster"] = {"what": "kubernetes", "hosts": "app"}
    site = project.load()
    with pytest.raises(ProblemError, match="backs up no Kubernetes"):
        choose_jobs(site, ["cluster"])
    assert "cluster" not in {job.item for job in choose_jobs(site)}


def test_without_a_policy_there_is_nothing_to_do(project: Project) -> None:
    del project.manifest["backup"], project.manifest["recovery"]
    with pytest.raises(ProblemError, match="declares no backups"):
        choose_jobs(project.load())


def test_an_unfinished_restore_keeps_others_from_beginning(project: Project) -> None:
    site = project.complete()
    write_state(site, RestoreState(only=["redis"], begun="2026-11-25T19:00:00", unfinished=True))
    with pytest.raises(ProblemError, match="--resume"):
        restoring.restore(site, ["config"], None, True, False, print)
    assert read_state(site).only == ["redis"]


def test_exit_codes() -> None:
    good = Run(item="a", kind="files", host="one", set="s", repositories={"main": {"bytes": 1}})
    bad = good.model_copy(update={"repositories": {"main": {"error": "full"}}})
    held = Checked(item="a", kind="files", repository="main")
    found = held.model_copy(update={"findings": ["is not what was saved"]})

    def code(verb: str, **parts: object) -> int:
        return BackupReport(environment="farm", verb=verb, **parts).exit_code

    assert code("now", runs=[good]) == 0
    assert code("now", runs=[good, bad]) == 1
    assert code("now", runs=[good], left_out={"backup.items.x": "no"}) == 0
    assert code("check", checks=[held]) == 0
    assert code("check", checks=[held, found]) == 2
    # What is declared and not done is no good backup.
    assert code("check", checks=[held], left_out={"backup.items.x": "no"}) == 2
    assert code("check", checks=[found], problems=[{"message": "no answer"}]) == 1
    assert BackupReport(environment="farm", verb="check", checks=[found]).findings[0]["severity"] == "error"


def test_moments() -> None:
    assert read_moment("2026-11-20T03:15:00Z") == datetime(2026, 11, 20, 3, 15, tzinfo=UTC)
    assert read_moment("2026-11-20T03:15:00+02:00") == datetime(2026, 11, 20, 1, 15, tzinfo=UTC)
    with pytest.raises(ProblemError):
        read_moment((datetime.now(UTC) + timedelta(hours=1)).isoformat())


def test_the_state_that_is_kept_is_the_owners_alone(project: Project) -> None:
    site = project.complete()
    write_state(site, RestoreState(only=["redis"]))
    path = Path(site.state_folder) / "restore.json"
    assert path.stat().st_mode & 0o077 == 0
    path.write_text("{")
    with pytest.raises(ProblemError, match="damaged"):
        read_state(site)
