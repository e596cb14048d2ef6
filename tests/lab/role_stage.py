"""What the tests of one role share: its lab, a project whose manifest a test may change, and what a run did."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import yaml

from groundwork.engine import api
from groundwork.engine.results import OperationStatus, RunResult
from groundwork.lab.lifecycle import boot_lab, remove_lab
from groundwork.lab.phases import Phases
from groundwork.lab.state import LabState
from groundwork.lab.terminal import capture_command, find_host
from groundwork.secrets.declaration import name_declarations
from groundwork.site import Site, load_site

ROOT = Path(__file__).resolve().parents[2]
RELEASE = os.environ.get("GROUNDWORK_TEST_RELEASE") or "trixie"
DEPLOY = Path("deploys/only.py")
LINKED = (".lab", "inventories", "group_data", "examples", "config.py")
# What runs in a process that is killed.
APPLY = (
    "import sys; from pathlib import Path; from groundwork.engine import api; "
    "api.apply('lab', root=Path(sys.argv[1]), deploys=[Path(sys.argv[2])])"
)


class RoleStage:
    """A lab, and a project of its own that applies some roles in their order."""

    def __init__(
        self, root: Path, lab: str, platform: str, roles: Sequence[str], linked: Sequence[str] = LINKED
    ) -> None:
        self.root, self.lab, self.platform = root, lab, platform
        for name in linked:
            (root / name).symlink_to(ROOT / name)
        (root / "platforms").mkdir()
        (root / "deploys").mkdir()
        lines = ["from groundwork.site import current_site", *(f"from roles.{r}.deploy import {r}" for r in roles)]
        (root / DEPLOY).write_text("\n".join([*lines, "", "site = current_site()", *(f"{r}(site)" for r in roles), ""]))
        self.manifest: dict[str, Any] = {}

    def read_manifest(self) -> dict[str, Any]:
        """The platform as the checkout declares it, without overlays."""
        manifest: dict[str, Any] = yaml.safe_load((ROOT / f"platforms/{self.platform}.yaml").read_text())
        return manifest

    @property
    def site(self) -> Site:
        """The project's site as it is declared now."""
        return load_site("lab", self.root)

    def write(self) -> None:
        """Declare the manifest, and make the secrets and the authority that it needs."""
        (self.root / f"platforms/{self.platform}.yaml").write_text(yaml.safe_dump(self.manifest))
        site = self.site
        site.secrets.initialise()
        site.authority.initialise()
        site.secrets.ensure(name_declarations(site.topology.secret_declarations))

    def apply(self) -> RunResult:
        """Converge the lab."""
        self.write()
        return api.apply("lab", root=self.root, deploys=[DEPLOY])

    def plan(self) -> RunResult:
        """Say what converging would change."""
        self.write()
        return api.plan("lab", root=self.root, deploys=[DEPLOY])

    def kill_apply(self, seconds: float) -> None:
        """Begin to converge in a process of its own, and kill it and its children after so many seconds."""
        self.write()
        command = [sys.executable, "-c", APPLY, str(self.root), str(DEPLOY)]
        process = subprocess.Popen(command, cwd=ROOT, start_new_session=True)
        time.sleep(seconds)
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()

    def call(self, host: str, command: str) -> list[str]:
        """The command line that runs a line of shell as root on a host."""
        return [sys.executable, "-m", "groundwork.cli.lab", "exec", "--json", "--name", self.lab, host, "--", command]

    def run(self, host: str, command: str) -> str:
        """What a line of shell prints; its exit status does not matter."""
        state = LabState(self.lab, ROOT)
        return capture_command(state, find_host(state, host), [command])[1].strip()

    def started(self, host: str, unit: str) -> str:
        """When a unit's main process started."""
        return self.run(host, f"systemctl show --property=ExecMainStartTimestampMonotonic --value {unit}")


def changes(result: RunResult) -> dict[str, list[str]]:
    """Names of the operations that did not leave their host as it was."""
    quiet = (OperationStatus.UNCHANGED,)
    return {host.name: [op.name for op in host.operations if op.status not in quiet] for host in result.hosts}


def failures(result: RunResult) -> list[str]:
    """Why hosts did not get to the end of a run; a run that could not begin fails the test."""
    assert result.problems == ()
    return [f"{host.name}: {host.reason}" for host in result.hosts if host.failed]


@contextmanager
def role_lab(name: str, platform: str) -> Iterator[str]:
    """Bring up a lab of a platform's hosts and let ENV ``lab`` mean it; gone afterwards unless it is to be kept."""
    before = os.environ.get("GROUNDWORK_LAB")
    os.environ["GROUNDWORK_LAB"] = name
    boot_lab(name, platform, RELEASE, Phases(print))
    try:
        yield name
    finally:
        if before is None:
            del os.environ["GROUNDWORK_LAB"]
        else:
            os.environ["GROUNDWORK_LAB"] = before
        if not os.environ.get("GROUNDWORK_KEEP_LAB"):
            remove_lab(name)


def wait_for(found: Callable[[], Any], seconds: float = 120) -> Any:
    """What ``found`` returns once that is something."""
    deadline = time.monotonic() + seconds
    while not (result := found()):
        assert time.monotonic() < deadline, f"not so within {seconds} s"
        time.sleep(1)
    return result
