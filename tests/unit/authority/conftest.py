from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import pytest

from groundwork.authority.store import AuthorityStore
from groundwork.secrets.store import SecretStore
from groundwork.topology.accounts import ROOT
from groundwork.topology.model import Identity

NOW = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)


@pytest.fixture
def now() -> datetime:
    return NOW


@pytest.fixture
def identity() -> Identity:
    uri = "spiffe://lab/chorus/redis-1"
    return Identity("redis-1", "data", ("data", "cache.example.org"), ("10.0.0.2",), uri, "redis", ROOT)


@pytest.fixture
def store(tmp_path: Path) -> AuthorityStore:
    (tmp_path / "repository" / ".git").mkdir(parents=True)
    secrets = SecretStore(tmp_path / "repository" / "secrets", tmp_path / "keys" / "lab.agekey")
    secrets.initialise()
    made = AuthorityStore(secrets.folder / "authority", secrets, "lab")
    made.initialise(NOW)
    return made
