"""A project of platform chorus in a temporary folder; no host is contacted."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.unit.preflight.projects import Project


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Project:
    for variable in ("GROUNDWORK_ROOT", "GROUNDWORK_AGE_KEY_FILE"):
        monkeypatch.delenv(variable, raising=False)
    (tmp_path / "project").mkdir()
    return Project(tmp_path / "project")
