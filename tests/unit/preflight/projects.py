"""A project of platform chorus with its secrets and authority, in a temporary folder; no host is contacted."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml

from groundwork.secrets.declaration import name_declarations
from groundwork.secrets.value import SecretValue
from groundwork.site import Site, load_site

ROOT = Path(__file__).resolve().parents[3]


class Project:
    """Chorus on the hosts app and data; a test changes the manifest or the hosts' data and loads the site."""

    def __init__(self, root: Path) -> None:
        self.root = root
        for linked in ("examples", "config.py", "deploys"):
            (root / linked).symlink_to(ROOT / linked)
        for folder in ("platforms", "inventories", "group_data"):
            (root / folder).mkdir()
        self.manifest: dict[str, Any] = yaml.safe_load((ROOT / "platforms/chorus.yaml").read_text())
        self.key = root.parent / "ssh_key"
        self.key.write_text("")
        self.key.chmod(0o600)
        self.data: dict[str, Any] = {
            "environment": "farm",
            "platform": "chorus",
            "ssh_key": str(self.key),
            "secrets_folder": str(root / "secrets"),
            "secrets_key": str(root.parent / "farm.agekey"),
        }

    def load(self) -> Site:
        (self.root / "platforms/chorus.yaml").write_text(yaml.safe_dump(self.manifest, sort_keys=False))
        hosts = {name: self.data | {"address": f"192.0.2.{n}"} for n, name in enumerate(("app", "data"), 1)}
        text = "".join(f"{name} = [({name!r}, {data!r})]\n" for name, data in hosts.items())
        (self.root / "inventories/farm.py").write_text(text)
        return load_site("farm", self.root)

    def complete(self) -> Site:
        """The site with all that ``secrets init`` and an operator make."""
        site = self.load()
        site.secrets.initialise()
        site.authority.initialise()
        site.secrets.write("llm_api_key", SecretValue("k3y-0f-the-language-model-9t2v"))
        site.secrets.ensure(name_declarations(site.topology.secret_declarations))
        return self.load()
