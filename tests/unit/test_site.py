"""An environment as a whole, from files: what fits, and each mistake as one line with its place."""

from __future__ import annotations

from pathlib import Path

import pytest

from groundwork.problems import ProblemError
from groundwork.site import find_root, list_environments, load_site

ROOT = Path(__file__).resolve().parents[2]
MANIFEST = """\
platform: sample
runtime:
  package: {wheel: ../sample.whl}
  launcher: sample
groups:
  work:
    hosts: app
    module: sample.worker
    agents:
      planner: {port: 9000}
      writer: {port: 9010}
lab:
  hosts:
    one: [app]
"""
INVENTORY = 'app = [("one", {"address": "10.0.0.1"})]\n'
VALUES = 'environment = "test"\nplatform = "sample"\n'


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.delenv("GROUNDWORK_ROOT", raising=False)
    monkeypatch.delenv("GROUNDWORK_AGE_KEY_FILE", raising=False)
    for folder in ("inventories", "group_data", "platforms"):
        (tmp_path / folder).mkdir()
    (tmp_path / "sample.whl").touch()
    (tmp_path / "inventories" / "test.py").write_text(INVENTORY)
    (tmp_path / "group_data" / "test.py").write_text(VALUES)
    (tmp_path / "platforms" / "sample.yaml").write_text(MANIFEST)
    return tmp_path


def refusals(project: Path, environment: str = "test") -> list[str]:
    with pytest.raises(ProblemError) as caught:
        load_site(environment, project)
    return [str(problem) for problem in caught.value.problems]


def rewrite(project: Path, old: str, new: str) -> int:
    """Change the manifest; return the line of the change."""
    path = project / "platforms" / "sample.yaml"
    text = path.read_text()
    assert text.count(old) == 1
    path.write_text(text.replace(old, new))
    return text[: text.index(old)].count("\n") + 1


def test_a_project_is_loaded(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CONFIG_HOME", "/config")
    site = load_site("test", project)
    assert (site.environment, site.platform.platform) == ("test", "sample")
    assert [process.unit_name for process in site.topology.processes] == [
        "sample-planner@1.service",
        "sample-writer@1.service",
    ]
    assert site.path("../sample.whl") == project / "sample.whl"
    assert site.secrets_folder == project / "inventories" / "secrets" / "test"
    assert site.secrets_key == Path("/config/groundwork/keys/test.agekey")


def test_the_key_can_lie_elsewhere(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (project / "group_data" / "test.py").write_text(VALUES + 'secrets_key = "~/own.agekey"\n')
    assert load_site("test", project).secrets_key == Path.home() / "own.agekey"
    monkeypatch.setenv("GROUNDWORK_AGE_KEY_FILE", "/elsewhere")
    assert load_site("test", project).secrets_key == Path("/elsewhere")


def test_an_overlay_applies_to_its_environment_only(project: Path) -> None:
    (project / "platforms" / "sample.test.yaml").write_text("groups: {work: {agents: {writer: {replicas: 3}}}}\n")
    (project / "platforms" / "sample.other.yaml").write_text("groups: {work: {agents: {writer: {replicas: 9}}}}\n")
    assert len(load_site("test", project).topology.processes) == 4


def test_an_unknown_environment_names_the_known_ones(project: Path) -> None:
    (line,) = refusals(project, "tset")
    assert "did you mean 'test'?" in line
    assert list_environments(project) == ["test"]


def test_an_empty_inventory(project: Path) -> None:
    (project / "inventories" / "test.py").write_text("app = []\n")
    (line,) = refusals(project)
    assert line.startswith("inventories/test.py: the inventory has no hosts")


def test_an_inventory_that_is_not_python(project: Path) -> None:
    (project / "inventories" / "test.py").write_text("app = [\n'one'\n")
    (line,) = refusals(project)
    assert line.startswith("inventories/test.py:1: is not Python")


def test_an_inventory_that_fails(project: Path) -> None:
    (project / "inventories" / "test.py").write_text("app = [undefined]\n")
    (line,) = refusals(project)
    assert "inventories/test.py" in line
    assert "undefined" in line


def test_hosts_of_two_platforms(project: Path) -> None:
    (project / "inventories" / "test.py").write_text(
        'app = [("one", {"platform": "sample"}), ("two", {"platform": "other"})]\n'
    )
    (line,) = refusals(project)
    assert "the hosts name different values for 'platform' (given other, sample" in line


def test_hosts_without_a_platform(project: Path) -> None:
    (project / "group_data" / "test.py").unlink()
    (line,) = refusals(project)
    assert "no host datum 'platform' is set" in line


def test_an_unknown_group_has_its_line(project: Path) -> None:
    number = rewrite(project, "hosts: app", "hosts: ap")
    (line,) = refusals(project)
    assert line.startswith(f"platforms/sample.yaml:{number}: groups.work.hosts:")
    assert "did you mean 'app'?" in line


def test_two_agents_on_one_port_have_their_line(project: Path) -> None:
    number = rewrite(project, "port: 9010", "port: 9000")
    (line,) = refusals(project)
    assert line.startswith(f"platforms/sample.yaml:{number}: groups.work.agents.writer.port: on host one")
    assert "groups.work.agents.planner.port" in line


def test_a_cycle_is_one_line_with_its_members(project: Path) -> None:
    rewrite(project, "{port: 9000}", "{port: 9000, after: [writer]}")
    rewrite(project, "{port: 9010}", "{port: 9010, after: [planner]}")
    (line,) = refusals(project)
    assert line.startswith("platforms/sample.yaml:")
    assert "agent planner" in line
    assert "agent writer" in line


def test_mistakes_of_a_manifest_come_all_at_once(project: Path) -> None:
    rewrite(project, "{port: 9000}", "{port: 99000, replicsa: 2}")
    assert len(refusals(project)) == 2


def test_the_root_is_found_from_below(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    below = project / "platforms" / "deeper"
    below.mkdir()
    assert find_root(below) == project
    monkeypatch.setenv("GROUNDWORK_ROOT", str(project / "inventories"))
    assert find_root(below) == project / "inventories"


def test_the_example_environment_is_valid() -> None:
    site = load_site("example", ROOT)
    assert [host.name for host in site.topology.hosts] == ["app-1.example.org", "data-1.example.org"]
    assert site.topology.sites_on("app-1.example.org")
