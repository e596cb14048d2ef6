"""A small valid platform on disk, and ways to break it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from groundwork.manifest import LoadedPlatform, load
from groundwork.problems import Problem, ProblemError

SMALL = """\
platform: small
runtime:
  package: {directory: package}
  launcher: run
services:
  redis: {hosts: data}
  store:
    kind: postgresql
    hosts: data
    databases: {main: {}}
groups:
  work:
    category: work
    hosts: app
    module: run.worker
    needs: [redis]
    environment:
      MODE: fast
    agents:
      planner: {port: 9000, replicas: 2}
      writer:
        port: 9010
exposure:
  web:
    hosts: app
    server_names: [small.example.org]
    routes:
      /: planner
objectives:
  answers: {groups: [work], availability: 99.9}
secrets:
  api_key: {kind: provided}
lab:
  hosts:
    app: [app]
    data: [data]
"""


class Bench:
    """A folder with one platform in it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        (folder / "package").mkdir()
        self.write(SMALL)

    def write(self, text: str) -> None:
        (self.folder / "small.yaml").write_text(text, encoding="utf-8")

    def replace(self, old: str, new: str) -> None:
        """Change the base manifest; ``old`` must be in it, so that no test loses its subject."""
        text = (self.folder / "small.yaml").read_text(encoding="utf-8")
        assert text.count(old) == 1, old
        self.write(text.replace(old, new))

    def overlay(self, text: str, environment: str = "lab") -> None:
        (self.folder / f"small.{environment}.yaml").write_text(text, encoding="utf-8")

    def load(self, environment: str = "lab") -> LoadedPlatform:
        return load(self.folder, "small", environment, root=self.folder)

    def problems(self, environment: str = "lab") -> list[Problem]:
        with pytest.raises(ProblemError) as caught:
            self.load(environment)
        return list(caught.value.problems)

    def problem(self, environment: str = "lab") -> Problem:
        found = self.problems(environment)
        assert len(found) == 1, [str(problem) for problem in found]
        return found[0]

    def line_of(self, words: str, file: str = "small.yaml") -> int:
        lines = (self.folder / file).read_text(encoding="utf-8").splitlines()
        return next(number for number, line in enumerate(lines, 1) if words in line)


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    return Bench(tmp_path)


@pytest.fixture
def parse_problem() -> Callable[[str], Problem]:
    """Return the one problem of a YAML text."""
    from groundwork.manifest.source import parse

    def find(text: str) -> Problem:
        with pytest.raises(ProblemError) as caught:
            parse(text, "f.yaml")
        assert len(caught.value.problems) == 1
        return caught.value.problems[0]

    return find
