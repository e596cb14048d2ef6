"""The stage of PostgreSQL's archive: a primary, and its replica on the host that keeps the archive."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

from role_stage import RELEASE, ROOT, RoleStage

from groundwork.lab.state import LabState

VERSION = {"bookworm": 15, "trixie": 17}[RELEASE]
UNIT = f"postgresql@{VERSION}-main.service"
ADMIN = "/usr/local/lib/groundwork/ymera/pgbackrest-admin postgresql"
ROLES = ("base", "pki", "postgresql", "backup_postgresql")
LINKED = ("group_data", "examples", "config.py")


class ArchiveStage(RoleStage):
    """ymera's PostgreSQL on ``data`` with a replica on ``app``, which keeps the archive."""

    def __init__(self, root: Path, lab: str) -> None:
        super().__init__(root, lab, "ymera", ROLES, LINKED)
        for name in ("inventories", f".lab/{lab}"):
            (root / name).mkdir(parents=True)
        loader = f"load_groups(root=Path({str(root)!r}))"
        imports = "from pathlib import Path\nfrom groundwork.lab.inventory import load_groups\n"
        (root / "inventories/lab.py").write_text(f"{imports}globals().update({loader})\n")
        shutil.copytree(ROOT / "platforms/ymera", root / "platforms/ymera")
        inventory = LabState(lab, ROOT).read_inventory()
        assert inventory is not None
        # The database's group: data first, so that it is the primary.
        for host in inventory["hosts"]:
            host["groups"].append("pair")
        inventory["hosts"].sort(key=lambda host: host["name"] != "data")
        (root / f".lab/{lab}/inventory.json").write_text(json.dumps(inventory))
        self.reset()

    def reset(self) -> None:
        """Declare ymera's PostgreSQL with a replica, and its backup alone."""
        self.manifest = self.read_manifest()
        self.manifest["machines"] = {}
        self.manifest["observability"]["alertmanager"]["receivers"] = {}
        self.manifest["secrets"] = {}
        self.manifest["lab"]["hosts"] = {"data": ["data", "pair"], "app": ["app", "pair"]}
        self.postgresql.update({"memory_max": "256MiB", "hosts": "pair"})
        self.manifest["backup"]["items"] = {"database": self.manifest["backup"]["items"]["database"]}

    @property
    def postgresql(self) -> dict[str, Any]:
        """The declared service."""
        service: dict[str, Any] = self.manifest["services"]["postgresql"]
        return service

    def ask(self, query: str, database: str = "ymera", host: str = "data") -> str:
        """What PostgreSQL answers."""
        return self.run(host, f'cd / && runuser -u postgres -- psql -X -q -A -t -d {database} -c "{query}" 2>&1')

    def admin(self, verb: str, host: str = "app") -> dict[str, Any]:
        """What the program answers: its document, or its exit status and what it said."""
        text = self.run(host, f"{ADMIN} {verb} 2>/run/said; echo $?; cat /run/said")
        lines = text.splitlines()
        place = next(n for n, line in enumerate(lines) if line.isdigit())
        document: dict[str, Any] = json.loads("\n".join(lines[:place])) if place else {}
        return {"status": int(lines[place]), "said": "\n".join(lines[place + 1 :]), **document}
