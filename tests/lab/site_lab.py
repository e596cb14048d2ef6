"""What the tests of the whole site share: one lab, a project whose manifest a test may change, and the commands."""

from __future__ import annotations

import json
import os
import shlex
import subprocess
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import docker
import yaml
from docker.models.containers import Container

from groundwork.authority.generations import INTERMEDIATE
from groundwork.authority.generations import ROOT as ROOT_LABEL
from groundwork.lab.boot import open_session
from groundwork.lab.handover import ensure_secrets
from groundwork.lab.hosts import find_container, remove_hosts
from groundwork.lab.lifecycle import boot_lab
from groundwork.lab.phases import Phases
from groundwork.lab.state import LabState
from groundwork.secrets.value import SecretValue
from groundwork.site import Site, load_site

ROOT = Path(__file__).resolve().parents[2]
HOSTS = ("app", "data")
# What a project needs besides its own manifest; links, so that a test changes nothing of the checkout.
LINKED = (".lab", "config.py", "deploys", "examples")
QUIET = ("unchanged", "not_run")
MANIFEST, OVERLAY = Path("platforms/chorus.yaml"), Path("platforms/chorus.lab.yaml")

Document = dict[str, Any]


class SiteLab:
    """A lab of platform chorus and the project that is applied to it; each command is a process of its own."""

    def __init__(self, name: str, release: str, project: Path) -> None:
        self.name = name
        self.release = release
        self.project = project
        self.fresh = False
        for linked in LINKED:
            (project / linked).symlink_to(ROOT / linked)
        for folder in ("platforms", "group_data", "inventories"):
            (project / folder).mkdir()
        (project / "group_data/all.py").write_text((ROOT / "group_data/all.py").read_text())
        self.manifest: Document = {}
        self.overlay: Document = {}
        self.reset()

    def reset(self) -> None:
        """Declare what the checkout declares."""
        self.manifest = yaml.safe_load((ROOT / MANIFEST).read_text())
        self.overlay = yaml.safe_load((ROOT / OVERLAY).read_text())
        self.host_data: Document = {}
        self.write_inventory((ROOT / "inventories/lab.py").read_text())
        self.declare()

    def declare(self) -> None:
        """Write the manifest and the host data as they were changed."""
        for path, content in ((MANIFEST, self.manifest), (OVERLAY, self.overlay)):
            (self.project / path).write_text(yaml.safe_dump(content, sort_keys=False))
        # A group's file: it goes before group_data/all.py, and the inventory's host data goes before it.
        lines = [f"{key} = {value!r}\n" for key, value in self.host_data.items()]
        (self.project / "group_data/lab.py").write_text("".join(['environment = "lab"\n', *lines]))

    def write_inventory(self, text: str) -> None:
        """Replace the inventory of the environment."""
        (self.project / "inventories/lab.py").write_text(text)

    def boot(self) -> None:
        """Bring the hosts up; those that run are kept."""
        boot_lab(self.name, "chorus", self.release, Phases(print))

    def renew(self) -> None:
        """Hosts that nothing was ever applied to; the lab's keys and secrets stay."""
        if not self.fresh:
            remove_hosts(docker.from_env(), ROOT, self.name)
            self.boot()
            self.fresh = True

    @property
    def environ(self) -> dict[str, str]:
        """The environment of the commands: ENV ``lab`` is this lab, as the project declares it."""
        return {**os.environ, "GROUNDWORK_LAB": self.name, "GROUNDWORK_ROOT": str(self.project)}

    def groundwork(self, *arguments: str, timeout: float = 1200, **more: str) -> subprocess.CompletedProcess[str]:
        """Run the ``groundwork`` command; ``more`` is added to its environment."""
        if arguments[0] in ("apply", "lab"):
            self.fresh = False
        command = [sys.executable, "-m", "groundwork.cli.main", *arguments]
        return self._run(command, timeout, more)

    def pyinfra(self, *arguments: str, timeout: float = 1200) -> subprocess.CompletedProcess[str]:
        """Run plain pyinfra, as a user would."""
        self.fresh = False
        script = Path(sys.executable).with_name("pyinfra")
        return self._run([str(script), "inventories/lab.py", "deploys/site.py", *arguments], timeout, {})

    def start_apply(self, output: Path) -> subprocess.Popen[bytes]:
        """Start ``groundwork apply lab`` in a process group of its own; what it prints goes to ``output``."""
        self.fresh = False
        command = [sys.executable, "-m", "groundwork.cli.main", "apply", "lab"]
        with output.open("wb") as file:
            return subprocess.Popen(
                command,
                cwd=self.project,
                env=self.environ,
                stdin=subprocess.DEVNULL,
                stdout=file,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )

    def _run(self, command: list[str], timeout: float, more: Mapping[str, str]) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            command,
            cwd=self.project,
            env={**self.environ, **more},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=timeout,
            check=False,
        )

    def plan(self) -> Document:
        """What an apply would change, by host; a failure fails the test."""
        return read_changes(self.groundwork("plan", "lab", "--json"), codes=(0, 2))

    def apply(self) -> Document:
        """Converge and return what changed, by host; a failure fails the test."""
        return read_changes(self.groundwork("apply", "lab", "--json"), codes=(0,))

    def verify(self) -> list[str]:
        """The checks that fail, as ``host: role: check``."""
        done = self.groundwork("verify", "lab", "--json")
        assert done.returncode in (0, 2), done.stdout + done.stderr
        checks = json.loads(done.stdout)["checks"]
        assert len(checks) > 50
        return [f"{c['host']}: {c['role']}: {c['name']}" for c in checks if c["outcome"] == "failed"]

    def converge(self) -> None:
        """The checkout's manifest on every host, and nothing left to do."""
        self.reset()
        self.make_secrets()
        self.apply()
        assert self.plan() == NOTHING

    def load(self) -> Site:
        """The project's site, as the commands see it."""
        before = os.environ.get("GROUNDWORK_LAB")
        os.environ["GROUNDWORK_LAB"] = self.name
        try:
            return load_site("lab", self.project)
        finally:
            if before is None:
                del os.environ["GROUNDWORK_LAB"]
            else:
                os.environ["GROUNDWORK_LAB"] = before

    def make_secrets(self) -> None:
        """What ``lab up`` does before it applies."""
        ensure_secrets(self.load(), Phases(print))

    def secrets(self) -> dict[str, SecretValue]:
        """Every secret of the lab, opened."""
        store = self.load().secrets
        return {name: store.read(name) for name in store.names()}

    def keys(self) -> dict[str, SecretValue]:
        """The age key that opens the secrets, and what is secret of the authority's private keys."""
        site = self.load()
        age = [line for line in site.secrets_key.read_text().splitlines() if line.startswith("AGE-SECRET-KEY-")]
        found = {f"age_key_{number}": SecretValue(line) for number, line in enumerate(age)}
        for name in site.authority.state.trusted:
            for label in (ROOT_LABEL, INTERMEDIATE):
                sealed = (site.authority.folder / name / f"{label}.key.age").read_bytes()
                lines = site.secrets.unseal(sealed).decode().splitlines()
                # The lines between hold the private number; the last ones hold the public key, which is no secret.
                found[f"authority_{name}_{label}"] = SecretValue("\n".join(lines[1:3]))
        return found

    def run(self, host: str, command: str, text: str = "") -> str:
        """Run a line of shell as root on a host and return what it prints; its exit status does not matter."""
        state = LabState(self.name, ROOT)
        spec = state.read_spec()
        assert spec is not None
        address = next(each.address for each in spec.hosts if each.name == host)
        with open_session(address, state.key_file, state.known_hosts_file, timeout=20) as session:
            given, output, _ = session.exec_command(f"sudo -n sh -c {shlex.quote(command)}", timeout=300)
            given.write(text)
            given.channel.shutdown_write()
            return str(output.read().decode(errors="replace")).strip()

    def runner(self, host: str) -> Callable[[str, str], str]:
        """``run`` on one host, as the scan for secrets wants it."""
        return lambda command, text: self.run(host, command, text)

    def container(self, host: str) -> Container:
        """The container that plays a host: to pause it, which no command of ours does."""
        found = find_container(docker.from_env(), ROOT, self.name, host)
        assert found is not None
        return found


NOTHING: Document = {host: [] for host in HOSTS}


def read_changes(done: subprocess.CompletedProcess[str], codes: tuple[int, ...]) -> Document:
    """Names of the operations that changed something, or would, by host, from ``--json``."""
    assert done.returncode in codes, f"exit {done.returncode}\n{describe(done)}\n{done.stderr[-3000:]}"
    return {
        host["name"]: [op["name"] for op in host["operations"] if op["status"] not in QUIET]
        for host in json.loads(done.stdout)["hosts"]
    }


def describe(done: subprocess.CompletedProcess[str]) -> str:
    """Why a run failed, from its ``--json``, for the message of an assertion."""
    try:
        document = json.loads(done.stdout)
    except ValueError:
        return done.stdout[-3000:]
    reasons = [f"{host['name']}: {host['reason']}" for host in document.get("hosts", []) if host["failed"]]
    return "\n".join([*map(str, document.get("problems", [])), *reasons])
