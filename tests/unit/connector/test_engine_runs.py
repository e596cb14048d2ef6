"""Whole runs of the engine over a real sshd: the same plans and results with both connectors."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from groundwork.engine.request import RunRequest, Timeouts
from groundwork.engine.results import Mode, RunResult
from groundwork.engine.runner import run

if TYPE_CHECKING:
    from conftest import Server

DEPLOY = """
from io import StringIO
from pyinfra import host
from pyinfra.operations import files, server

root = {root!r}
files.directory(name="folder", path=root + "/made", mode="755")
for number in range(2):
    files.put(name=f"file {{number}}", src=StringIO(f"{{number}}\\n"), dest=f"{{root}}/made/{{number}}", mode="644")
template = files.template(
    name="template", src=StringIO("{{{{ word }}}}\\n"), dest=root + "/made/template", mode="640", word="hello"
)
for number in range(2):
    files.line(name=f"line {{number}}", path=root + "/lines", line=f"line_{{number}} = 1")
files.link(name="link", path=root + "/link", target=root + "/made/1")
files.file(name="gone", path=root + "/gone", present=False)
server.shell(name="after the template", commands=["echo ran >>" + root + "/ran"], _if=template.did_change)
server.shell(name="status", commands=["test -e " + root + "/lines"], _if=template.did_change)
"""


class Project:
    def __init__(self, root: Path, server: Server) -> None:
        self.root = root
        self.target = root / "target"
        (root / "inventory.py").write_text(f"hosts = {[('one', server.data)]!r}\n")
        self.deploy(DEPLOY.format(root=str(self.target)))

    def deploy(self, code: str) -> None:
        (self.root / "deploy.py").write_text(code)

    def empty(self) -> None:
        shutil.rmtree(self.target, ignore_errors=True)
        self.target.mkdir()
        (self.target / "gone").write_text("x")

    def run(self, mode: Mode, snapshot: bool = True) -> RunResult:
        request = RunRequest(
            mode=mode,
            root=self.root,
            inventory=Path("inventory.py"),
            deploys=(Path("deploy.py"),),
            timeouts=Timeouts(connect=20, fact=60, operation=60, silence=30, stop=2),
            snapshot=snapshot,
        )
        return run(request)


@pytest.fixture
def project(server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Project:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    root = tmp_path / "project"
    root.mkdir()
    return Project(root, server)


def told(result: RunResult) -> dict[str, Any]:
    """The result without times."""
    document: dict[str, Any] = json.loads(result.to_json())
    for one in [document, *document["hosts"]]:
        one.pop("seconds")
    for operation in document["hosts"][0]["operations"]:
        operation.pop("seconds")
    document.pop("stage_seconds")
    assert document["problems"] == []
    assert not document["hosts"][0]["failed"], document["hosts"][0]["reason"]
    return document


def content(folder: Path) -> dict[str, tuple[int, str]]:
    return {
        str(path.relative_to(folder)): (path.lstat().st_mode, path.read_text() if path.is_file() else "")
        for path in sorted(folder.rglob("*"))
    }


def test_same_plans_and_results(project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    def break_it() -> None:
        (project.target / "made/0").write_text("edited\n")
        (project.target / "made/template").chmod(0o600)
        (project.target / "link").unlink()
        (project.target / "link").symlink_to("/etc/passwd")
        (project.target / "gone").write_text("back")
        (project.target / "ran").unlink()

    states: list[tuple[str, Callable[[], None]]] = [
        ("empty", project.empty),
        ("converged", lambda: None),
        ("drifted", break_it),
    ]
    for name, prepare in states:
        results, contents = [], []
        for connector in ("ssh", "", ""):
            monkeypatch.setenv("GROUNDWORK_CONNECTOR", connector)
            prepare()
            results.append((told(project.run(Mode.PLAN)), told(project.run(Mode.APPLY))))
            contents.append(content(project.target))
            if name == "empty":
                assert (project.target / "ran").read_text() == "ran\n"
        assert results[0] == results[1] == results[2], name
        assert contents[0] == contents[1] == contents[2], name
    unchanged = told(project.run(Mode.PLAN))
    assert {operation["status"] for operation in unchanged["hosts"][0]["operations"]} == {"unchanged"}
    assert told(project.run(Mode.PLAN, snapshot=False)) == unchanged
    assert list((project.root.parent / "cache").rglob("*.json"))


def test_a_connection_that_breaks_in_an_operation_fails_the_host(project: Project) -> None:
    project.deploy(
        "from pyinfra.operations import server\n"
        "server.shell(name='before', commands=['true'])\n"
        # The process of this connection, two above the shell that runs this.
        "server.shell(name='break', commands=['kill -KILL $(ps -o ppid= -p $PPID); sleep 5'])\n"
        "server.shell(name='after', commands=['true'])\n"
    )
    result = project.run(Mode.APPLY)
    statuses = [str(operation.status) for operation in result.hosts[0].operations]
    assert statuses == ["changed", "failed", "not_run"]
    assert "connection broke" in result.hosts[0].reason


def test_a_command_that_takes_too_long_fails_the_operation(project: Project) -> None:
    project.deploy(
        "from pyinfra.operations import server\n"
        "server.shell(name='slow', commands=['sleep 60'], _timeout=2, _ignore_errors=True)\n"
        "server.shell(name='after', commands=['echo still here'])\n"
    )
    result = project.run(Mode.APPLY)
    assert [str(operation.status) for operation in result.hosts[0].operations] == ["ignored", "changed"]
    assert "did not end within 2 s" in result.hosts[0].operations[0].error


def test_many_runs_leave_no_process_behind(project: Project, server: Server) -> None:
    project.empty()
    for _ in range(2):
        project.run(Mode.PLAN)
    lines = [Path(f"/proc/{one}/cmdline") for one in server.descendants()]
    assert [line for line in lines if line.exists() and b"perl" in line.read_bytes()] == []
