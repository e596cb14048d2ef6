"""All of ymera's services in one folder, and what its agents' instance files say about them."""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path
from typing import Any

import yaml

from tests.unit.examples.support.certificates import Authority
from tests.unit.examples.support.servers import GROUPS, ROOT, Database, start_nats

SUBJECTS = ROOT / "examples" / "agent_runtime" / "ymera-subjects.yaml"


def read_needs() -> dict[str, dict[str, list[str]]]:
    """What each group may do at NATS: the lists that the package's documentation names."""
    needs: dict[str, dict[str, list[str]]] = yaml.safe_load(SUBJECTS.read_text())
    return needs


class Ymera:
    """NATS and PostgreSQL with PgBouncer; Redis comes from its own fixture."""

    def __init__(self) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="ymera-"))
        # PostgreSQL runs as its own user and has to reach its files.
        self.folder.chmod(0o755)
        self.authority = Authority(self.folder / "authority")
        for group in GROUPS:
            self.authority.issue(group)
        self.needs = read_needs()
        asker = {"publish": ["*.health"], "subscribe": []}
        self.nats = start_nats(self.folder, self.authority, {**self.needs, "operator": asker})
        try:
            (self.folder / "database").mkdir()
            self.database = Database(self.folder / "database", self.authority)
        except BaseException:
            self.nats.stop()
            raise

    def describe(self, group: str) -> dict[str, Any]:
        """Arguments for `start_runtime`."""
        endpoints = {
            name: [{"host": "data", "address": "127.0.0.1", "port": port}]
            for name, port in (("nats", self.nats.port), ("postgresql", self.database.pool.port))
        }
        nats = {"kind": "nats", "endpoints": endpoints["nats"], "tls": True, **self.needs[group]}
        postgresql = {"kind": "postgresql", "endpoints": endpoints["postgresql"], "tls": True, "database": "ymera"}
        return {
            "tls": self.authority.files(group),
            "services": {"nats": nats, "postgresql": {**postgresql, "username": group}},
            "group": group,
            "platform": "ymera",
        }

    def stop(self) -> None:
        self.database.stop()
        self.nats.stop()
        shutil.rmtree(self.folder, ignore_errors=True)
