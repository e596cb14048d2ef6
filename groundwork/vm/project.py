"""A project around one virtual machine: an inventory and a platform, so that deploys run on it as on any host."""

from __future__ import annotations

import json
import shutil
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path
from types import TracebackType
from typing import Any

from groundwork.engine.api import make_request
from groundwork.engine.events import Event
from groundwork.engine.request import Timeouts
from groundwork.engine.results import Mode, RunResult
from groundwork.engine.runner import run
from groundwork.vm.image import ensure_image
from groundwork.vm.machine import Machine

ENVIRONMENT = "vm"
# The least that a manifest is. Its one group is never set up: only hardening runs here, and an agent's process keeps no
# control away.
PLATFORM = """\
version: 1
platform: bare
description: A host for hardening alone
runtime:
  package: {directory: runtime}
  requirements: runtime/requirements.lock
  launcher: none
groups:
  none: {hosts: machines, module: none, agents: {none: {}}}
lab:
  hosts: {vm: [machines]}
"""
HARDEN = Path("deploys/harden.py")
PATIENT = Timeouts(connect=120, fact=600, operation=3600, silence=600)
"""An emulated machine is 10 to 20 times slower."""


class VmProject:
    """Starts a machine on entry, gives the engine a project that names it, and removes both on exit."""

    def __init__(self, release: str, root: Path, say: Callable[[str], None], data: Mapping[str, Any] | None = None):
        self.release = release
        self.root = root
        self._say = say
        self._data = dict(data or {})
        self.folder: Path
        self.machine: Machine

    def __enter__(self) -> VmProject:
        image = ensure_image(self.release, self.root, self._say)
        (self.root / ".cache" / "vm").mkdir(parents=True, exist_ok=True)
        self.folder = Path(tempfile.mkdtemp(prefix="machine-", dir=self.root / ".cache" / "vm"))
        self.machine = Machine(image, self.folder / "machine", self._say)
        try:
            self.machine.start()
            self._write()
        except BaseException:
            self.__exit__(None, None, None)
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.machine.stop()
        shutil.rmtree(self.folder, ignore_errors=True)

    def _write(self) -> None:
        for name in ("inventories", "platforms", "group_data"):
            (self.folder / name).mkdir(exist_ok=True)
        for name in ("deploys", "config.py"):
            (self.folder / name).symlink_to(self.root / name)
        (self.folder / "platforms" / "bare.yaml").write_text(PLATFORM)
        (self.folder / "platforms" / "runtime").mkdir()
        (self.folder / "platforms" / "runtime" / "requirements.lock").touch()
        data = {"environment": ENVIRONMENT, "platform": "bare", **self.machine.host_data(), **self._data}
        text = f"import json\n\nmachines = [('vm', json.loads({json.dumps(json.dumps(data))}))]\n"
        (self.folder / "inventories" / f"{ENVIRONMENT}.py").write_text(text)

    def harden(self, level: str, on_event: Callable[[Event], None] | None = None, **data: Any) -> RunResult:
        """Enforce a level on the machine; further ``data`` override host data."""
        request = make_request(Mode.APPLY, ENVIRONMENT, deploys=[HARDEN], root=self.folder, timeouts=PATIENT)
        given = {"hardening_level": level, **data}
        return run(request.model_copy(update={"data": given}), on_event)
