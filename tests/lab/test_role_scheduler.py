"""Scheduled passes on a controller host: timers, a real verification by a timer's unit, findings, locks, removal."""

from __future__ import annotations

import io
import json
import os
import shutil
import subprocess
import sys
import tarfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import paramiko
import pytest
import yaml

from groundwork.engine import api
from groundwork.engine.results import OperationStatus, RunResult
from groundwork.lab.handover import ensure_secrets
from groundwork.lab.lifecycle import boot_lab, remove_lab
from groundwork.lab.phases import Phases
from groundwork.lab.state import LabState
from groundwork.preflight.findings import Status
from groundwork.preflight.run import preflight
from groundwork.site import load_site

ROOT = Path(__file__).resolve().parents[2]
RELEASE = os.environ.get("GROUNDWORK_TEST_RELEASE") or "trixie"
PYTHON = {"bookworm": "3.11", "trixie": "3.13"}[RELEASE]
NAME = f"role-scheduler-{RELEASE}"
DEPLOY = Path("deploys/scheduler_only.py")
CHECKOUT = "/srv/groundwork"
CHECKED = "groundwork-chorus-verification"
PARTS = ("groundwork", "roles", "templates", "deploys", "examples", "tests/verify", "config.py", "pyproject.toml")
ALWAYS = {"always": {"calendar": "*-*-* *:*:00 UTC", "duration": "1h"}}
SCHEDULES = {
    # One host, the other one: what the tests need of a verification, in a quarter of the time.
    "verification": {"task": "verify", "calendar": "*-*-* 05:00:00 UTC", "arguments": {"limit": "data"}},
    "drift": {"task": "drift", "calendar": "*-*-* 05:30:00 UTC"},
    "certificates": {"task": "rotate_certificates", "calendar": "*-*-* 02:00:00 UTC", "window": "always"},
    "archive": {"task": "archive", "calendar": "monthly"},
}


class Stage:
    """A lab whose host app is the controller, and the project that is applied to it."""

    def __init__(self, root: Path) -> None:
        self.root = root
        for name in (".lab", "examples", "config.py"):
            (root / name).symlink_to(ROOT / name)
        for folder in ("group_data", "deploys", "platforms", "inventories"):
            (root / folder).mkdir()
        roles = ("base", "pki", "scheduler")
        lines = ["from groundwork.site import current_site"]
        lines += [f"from roles.{role}.deploy import {role}" for role in roles]
        lines += ["", "site = current_site()", *(f"{role}(site)" for role in roles), ""]
        (root / DEPLOY).write_text("\n".join(lines))
        (root / "group_data/lab.py").write_text('environment = "lab"\nstate_folder = ".state/lab"\n')
        self.manifest: dict[str, Any] = yaml.safe_load((ROOT / "platforms/chorus.yaml").read_text())
        self.manifest["maintenance"] |= ALWAYS
        self.declare(SCHEDULES)

    def declare(self, schedules: dict[str, Any], controller: bool = True) -> None:
        self.manifest["schedules"] = schedules
        (self.root / "platforms/chorus.yaml").write_text(yaml.safe_dump(self.manifest, sort_keys=False))
        shutil.copy(ROOT / "platforms/chorus.lab.yaml", self.root / "platforms")
        inventory = "from groundwork.lab.inventory import load_groups\n\nglobals().update(load_groups())\n"
        # The state folder of the lab lies outside the checkout, where the controller host has none.
        inventory += 'for _hosts in (app, data):\n    [host[1].pop("state_folder", None) for host in _hosts]\n'
        inventory += "controller = app\n" if controller else ""
        (self.root / "inventories/lab.py").write_text(inventory)

    def apply(self) -> RunResult:
        return api.apply("lab", root=self.root, deploys=[DEPLOY])

    def plan(self) -> RunResult:
        return api.plan("lab", root=self.root, deploys=[DEPLOY])

    def verify(self) -> None:
        """Run the scheduler's own checks; what other roles would have set up is not there."""
        command = [sys.executable, "-m", "pytest", str(ROOT / "tests/verify/test_scheduler.py"), "--env", "lab", "-q"]
        command += ["-p", "no:cacheprovider"]
        environ = {**os.environ, "GROUNDWORK_ROOT": str(self.root)}
        done = subprocess.run(command, cwd=self.root, env=environ, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stdout[-4000:]

    def run(self, command: str, given: bytes = b"") -> str:
        """Run a line of shell as root on the host app; its exit status does not matter."""
        data = load_site("lab", self.root).inventory.host("app").data
        client = paramiko.SSHClient()
        client.load_host_keys(str(data["ssh_known_hosts_file"]))
        with client:
            key = str(data["ssh_key"])
            client.connect(str(data["ssh_hostname"]), username="debian", key_filename=key, look_for_keys=False)
            stdin, output, errors = client.exec_command(f"sudo sh -c '{command}'", timeout=300)
            stdin.write(given)
            stdin.channel.shutdown_write()
            return (output.read() + errors.read()).decode(errors="replace").strip()

    def send(self, files: dict[str, Path], folder: str, user: str) -> None:
        """Unpack files and folders of this machine on the host app, below a folder."""
        packed = io.BytesIO()
        with tarfile.open(fileobj=packed, mode="w:gz", compresslevel=1) as archive:
            for name, path in files.items():
                archive.add(path, name, filter=lambda item: None if "__pycache__" in item.name else item)
        untar = f"mkdir -p {folder} && tar -xz --no-same-owner -C {folder} && chown -R {user}: {folder}"
        said = self.run(untar, packed.getvalue())
        assert said == "", said

    def start(self, unit: str) -> dict[str, str]:
        """Start a pass's service as its timer does, wait for its end and return systemd's words on it."""
        self.run(f"systemctl start --no-block {unit}.service")
        deadline = time.monotonic() + 600
        while self.run(f"systemctl is-active {unit}") == "activating" and time.monotonic() < deadline:
            time.sleep(1)
        wanted = "Result,ExecMainStatus,ActiveState"
        return dict(line.split("=", 1) for line in self.run(f"systemctl show -p {wanted} {unit}").splitlines())

    def history(self, schedule: str) -> list[dict[str, Any]]:
        command = f"cd {CHECKOUT} && runuser -u deployer -- ./gw schedule history lab {schedule} --json 2>/dev/null"
        reports: list[dict[str, Any]] = json.loads(self.run(command))["reports"]
        return reports

    def bring_checkout(self, packages: Path) -> None:
        """What an operator does: an account, the project, its keys. The package index is this machine's."""
        state = LabState(NAME, ROOT)
        self.run("useradd --create-home --shell /bin/bash deployer; apt-get -q -y install python3 >/dev/null")
        files = {name: ROOT / name for name in PARTS}
        files |= {name: self.root / name for name in ("platforms", "inventories", "group_data")}
        files[f".lab/{NAME}"] = state.folder
        self.send(files, CHECKOUT, "deployer")
        self.send({"packages": packages}, "/opt/packages", "root")
        # pytest's folders are their owner's alone, and that came along.
        self.run("chmod -R a+rX /opt/packages")
        # The lab's files name their folder on this machine; on a machine of its own an inventory names none.
        self.run(f"mkdir -p {ROOT} && ln -sfn {CHECKOUT}/.lab {ROOT}/.lab; chmod 0600 {CHECKOUT}/.lab/{NAME}/ssh/*")
        gw = f"#!/bin/sh\nexport PYTHONPATH={CHECKOUT}:/opt/packages/packages GROUNDWORK_LAB={NAME}\n"
        gw += 'exec python3 -m groundwork.cli.main "$@"\n'
        self.run(f"cat > {CHECKOUT}/gw; chmod 0755 {CHECKOUT}/gw; chown deployer: {CHECKOUT}/gw", gw.encode())
        key = load_site("lab", self.root).secrets_key
        self.run("mkdir -p /etc/groundwork; umask 077; cat > /etc/groundwork/lab.agekey", key.read_bytes())


def fetch_packages(folder: Path) -> Path:
    """The locked packages for the host's Python, as ``gw`` would install them there."""
    uv = shutil.which("uv") or str(ROOT / ".cache/uv-env/bin/uv")
    command = [uv, "pip", "install", "--quiet", "--target", str(folder), "--python-version", PYTHON]
    command += ["--python", sys.executable, "--only-binary", ":all:", "--no-deps", "--require-hashes"]
    command += ["--python-platform", "x86_64-manylinux_2_28", "-r", str(ROOT / "requirements.lock")]
    environ = {**os.environ}
    if "UV_DEFAULT_INDEX" not in environ:
        index = subprocess.run(
            [sys.executable, "-m", "pip", "config", "get", "global.index-url"],
            capture_output=True,
            text=True,
            check=False,
        )
        if index.stdout.strip():
            environ["UV_DEFAULT_INDEX"] = index.stdout.strip()
    subprocess.run(command, check=True, env=environ, timeout=600)
    return folder


@pytest.fixture(scope="module")
def stage(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stage]:
    before = os.environ.get("GROUNDWORK_LAB")
    os.environ["GROUNDWORK_LAB"] = NAME
    boot_lab(NAME, "chorus", RELEASE, Phases(print))
    made = Stage(tmp_path_factory.mktemp("project"))
    ensure_secrets(load_site("lab", made.root), Phases(print))
    yield made
    if before is None:
        del os.environ["GROUNDWORK_LAB"]
    else:
        os.environ["GROUNDWORK_LAB"] = before
    if not os.environ.get("GROUNDWORK_KEEP_LAB"):
        remove_lab(NAME)


def differing(result: RunResult) -> list[str]:
    return [op.name for host in result.hosts for op in host.operations if op.status is not OperationStatus.UNCHANGED]


def failures(result: RunResult) -> list[str]:
    return [host.reason for host in result.hosts if host.failed] + [str(problem) for problem in result.problems]


def test_without_a_checkout_it_is_refused_before_anything_is_scheduled(stage: Stage) -> None:
    (told,) = failures(stage.plan())
    assert "host app: controller_checkout: there is no checkout with gw and inventories/lab.py" in told
    assert f"(given {CHECKOUT}; allowed: put the project there (docs/roles/scheduler.md)" in told
    assert stage.run("ls /etc/systemd/system | grep chorus") == ""


def test_checks_before_a_deploy_ask_real_hosts(stage: Stage) -> None:
    stage.run("apt-get -q -y install python3 >/dev/null")
    stage.run("systemd-run --quiet --unit=squatter --working-directory=/mnt python3 -m http.server 8000")
    deadline = time.monotonic() + 60
    while not stage.run("ss -Hltn sport = :8000") and time.monotonic() < deadline:
        time.sleep(0.2)
    result = preflight(load_site("lab", stage.root))
    failed = {(one.host, one.id): one for one in result.failed()}
    assert "squatter.service" in failed["app", "network.ports"].evidence
    assert ("app", "scheduler.checkout") in failed
    assert result.count(Status.PASSED, "data") > 25
    assert {one.id for one in result.failed() if one.host == "data"} == set()
    assert result.exit_code() == 2
    stage.run("systemctl stop squatter")
    assert "network.ports" not in {one.id for one in preflight(load_site("lab", stage.root)).failed()}


def test_timers_are_laid_down_once(stage: Stage, tmp_path_factory: pytest.TempPathFactory) -> None:
    stage.bring_checkout(fetch_packages(tmp_path_factory.mktemp("packages")))
    (stage.root / "group_data/app.py").write_text('controller_key = "/etc/groundwork/lab.agekey"\n')
    planned = stage.plan()
    assert failures(planned) == []
    assert failures(stage.apply()) == []
    assert differing(stage.plan()) == []
    timers = stage.run("systemctl list-timers --all --no-legend --plain groundwork-chorus-*")
    assert sorted(line.split()[-2] for line in timers.splitlines()) == [
        f"groundwork-chorus-{name}.timer" for name in ("certificates", "drift", "verification")
    ]
    stage.verify()


def test_a_pass_verifies_the_hosts_and_fails_its_unit_where_something_is_wrong(stage: Stage) -> None:
    """The site's other roles were not applied here, so the verification has much to say."""
    ended = stage.start(CHECKED)
    assert (ended["Result"], ended["ExecMainStatus"]) == ("exit-code", "2"), stage.run(f"journalctl -u {CHECKED} -n 30")
    (report,) = stage.history("verification")
    assert (report["outcome"], report["task"]) == ("findings", "verify")
    passed = [check for check in report["document"]["checks"] if check["outcome"] == "passed"]
    assert {check["host"] for check in passed} >= {"data"}
    assert len(passed) > 10
    assert report["findings"]["error"] > 0
    figures = stage.run("cat /var/lib/prometheus/node-exporter/groundwork-verification.prom")
    assert 'groundwork_schedule_exit_code{environment="lab",schedule="verification",task="verify"} 2' in figures
    assert stage.run("stat -c %U:%a /var/lib/prometheus/node-exporter/groundwork-verification.prom") == "root:644"
    stage.verify()


def test_passes_wait_for_each_other(stage: Stage) -> None:
    lock = f"{CHECKOUT}/.state/lab/scheduled/lock"
    stage.run(f"systemd-run --quiet --unit=holder flock {lock} sleep 600")
    stage.run("systemctl start --no-block groundwork-chorus-drift.service")
    # It waits once it has the lock's file open; before that it would not have begun anyway.
    opened = "ls -l /proc/$(systemctl show -P MainPID groundwork-chorus-drift)/fd | grep -c scheduled/lock"
    deadline = time.monotonic() + 120
    while (seen := stage.run(opened)) != "1" and time.monotonic() < deadline:
        time.sleep(0.2)
    assert seen == "1", stage.run("journalctl -u groundwork-chorus-drift -n 30")
    assert stage.run('pgrep -fc "groundwork.cli.main [d]rift"') == "0"
    stage.run("systemctl stop holder groundwork-chorus-drift")
    # Stopped by hand while it waited: the lock is free, and nothing was written down as done.
    assert stage.history("drift") == []
    assert stage.run(f"flock -n {lock} echo free") == "free"


def test_what_is_not_declared_any_more_goes(stage: Stage) -> None:
    stage.declare({name: SCHEDULES[name] for name in ("verification", "archive")})
    assert failures(stage.apply()) == []
    assert stage.run("ls /etc/systemd/system | grep -c groundwork-chorus") == "2"
    assert differing(stage.plan()) == []
    stage.declare(SCHEDULES, controller=False)
    assert failures(stage.apply()) == []
    assert stage.run("ls /etc/systemd/system | grep -c groundwork-chorus") == "0"
    assert stage.run("test -e /usr/local/lib/groundwork/chorus/publish-metrics || echo gone") == "gone"
    assert differing(stage.plan()) == []
