"""The role base on real hosts: converges, stays quiet, lets operators in and out, never locks us out."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import paramiko
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat

from groundwork.engine import api
from groundwork.engine.results import OperationStatus, RunResult
from groundwork.lab.lifecycle import boot_lab, remove_lab
from groundwork.lab.phases import Phases
from groundwork.site import load_site

ROOT = Path(__file__).resolve().parents[2]
RELEASE = os.environ.get("GROUNDWORK_TEST_RELEASE") or "trixie"
NAME = f"role-base-{RELEASE}"
DEPLOY = Path("deploys/base_only.py")


class Stage:
    """A lab, and a project whose group data a test may change."""

    def __init__(self, root: Path) -> None:
        self.root = root
        for name in (".lab", "inventories", "platforms", "examples", "config.py"):
            (root / name).symlink_to(ROOT / name)
        (root / "group_data").mkdir()
        (root / "group_data/lab.py").write_text('environment = "lab"\n')
        (root / "deploys").mkdir()
        lines = ["from groundwork.site import current_site", "from roles.base.deploy import base", ""]
        (root / DEPLOY).write_text("\n".join([*lines, "base(current_site())", ""]))
        key = Ed25519PrivateKey.generate()
        self.key_file = root / "id_ed25519"
        self.key_file.write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.OpenSSH, NoEncryption()))
        self.public_key = key.public_key().public_bytes(Encoding.OpenSSH, PublicFormat.OpenSSH).decode() + " alice"

    def apply(self, **data: object) -> RunResult:
        self.declare(**data)
        return api.apply("lab", root=self.root, deploys=[DEPLOY])

    def plan(self) -> RunResult:
        return api.plan("lab", root=self.root, deploys=[DEPLOY])

    def declare(self, **data: object) -> None:
        text = "".join(f"{key} = {value!r}\n" for key, value in data.items())
        (self.root / "group_data/all.py").write_text(text)

    def run(self, command: str, user: str = "debian") -> tuple[int, str]:
        """Run a command on the host app over a connection of its own."""
        data = load_site("lab", self.root).inventory.host("app").data
        client = paramiko.SSHClient()
        client.load_host_keys(str(data["ssh_known_hosts_file"]))
        key = str(data["ssh_key"]) if user == "debian" else str(self.key_file)
        with client:
            client.connect(
                str(data["ssh_hostname"]),
                username=user,
                key_filename=key,
                timeout=10,
                allow_agent=False,
                look_for_keys=False,
            )
            _, output, _ = client.exec_command(command, timeout=60)
            text = output.read().decode().strip()
            return output.channel.recv_exit_status(), text


@pytest.fixture(scope="module")
def stage(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stage]:
    before = os.environ.get("GROUNDWORK_LAB")
    os.environ["GROUNDWORK_LAB"] = NAME
    boot_lab(NAME, "chorus", RELEASE, Phases(print))
    yield Stage(tmp_path_factory.mktemp("project"))
    if before is None:
        del os.environ["GROUNDWORK_LAB"]
    else:
        os.environ["GROUNDWORK_LAB"] = before
    if not os.environ.get("GROUNDWORK_KEEP_LAB"):
        remove_lab(NAME)


def differing(result: RunResult) -> list[str]:
    quiet = (OperationStatus.UNCHANGED,)
    return [op.name for host in result.hosts for op in host.operations if op.status not in quiet]


def failures(result: RunResult) -> list[str]:
    return [host.reason for host in result.hosts if host.failed] + [str(problem) for problem in result.problems]


def test_plan_on_bare_hosts_then_apply_then_nothing_more(stage: Stage) -> None:
    stage.declare()
    planned = stage.plan()
    assert failures(planned) == []
    assert len(differing(planned)) > 10
    assert failures(stage.apply()) == []
    assert differing(stage.plan()) == []
    assert differing(stage.apply()) == []


def test_an_operator_comes_and_goes(stage: Stage) -> None:
    operators = {"alice": {"keys": [stage.public_key], "sudo": True}}
    stage.declare(operators=operators)
    assert failures(stage.plan()) == []
    assert failures(stage.apply(operators=operators)) == []
    assert stage.run("sudo -n id -u", user="alice") == (0, "0")
    assert differing(stage.plan()) == []

    operators["alice"]["sudo"] = False
    assert failures(stage.apply(operators=operators)) == []
    assert stage.run("sudo -n id -u", user="alice")[0] == 1

    assert failures(stage.apply()) == []
    with pytest.raises(paramiko.AuthenticationException):
        stage.run("true", user="alice")
    assert stage.run("getent passwd alice")[0] == 2
    assert stage.run("sudo ls -A /home/alice/.ssh") == (0, "")
    assert "alice" not in stage.run("sudo ls /etc/sudoers.d")[1]
    assert differing(stage.plan()) == []


def test_the_account_we_come_in_by_stays_whatever_is_declared(stage: Stage) -> None:
    before = stage.run("cat ~/.ssh/authorized_keys")[1].splitlines()
    operators = {"debian": {"keys": [stage.public_key], "sudo": True}}
    assert failures(stage.apply(operators=operators)) == []
    assert stage.run("cat ~/.ssh/authorized_keys")[1].splitlines() == [*before, stage.public_key]
    assert differing(stage.plan()) == []
    assert failures(stage.apply()) == []
    assert stage.run("sudo -n id -u") == (0, "0")


def test_what_was_there_before_outlives_its_declaration(stage: Stage) -> None:
    stage.run("sudo useradd --create-home --shell /bin/sh bob")
    assert failures(stage.apply(operators={"bob": {"keys": [stage.public_key]}})) == []
    assert stage.run("id -un", user="bob") == (0, "bob")
    assert failures(stage.apply()) == []
    assert stage.run("getent passwd bob")[0] == 0
    with pytest.raises(paramiko.AuthenticationException):
        stage.run("true", user="bob")


def test_switching_updates_off_removes_their_settings(stage: Stage) -> None:
    path = "/etc/apt/apt.conf.d/52-groundwork-security-upgrades"
    assert failures(stage.apply(security_upgrades=False)) == []
    assert stage.run(f"test -e {path}")[0] == 1
    assert failures(stage.apply()) == []
    assert stage.run(f"test -e {path}")[0] == 0


def test_another_language(stage: Stage) -> None:
    stage.declare(locale="de_DE.UTF-8", timezone="Europe/Berlin")
    assert failures(stage.plan()) == []
    assert failures(stage.apply(locale="de_DE.UTF-8", timezone="Europe/Berlin")) == []
    assert "de_DE.utf8" in stage.run("locale -a")[1].splitlines()
    assert stage.run("readlink -f /etc/localtime")[1].endswith("/Europe/Berlin")
    assert differing(stage.plan()) == []


def test_drift_is_mended(stage: Stage) -> None:
    assert failures(stage.apply()) == []
    stage.run("sudo sh -c 'rm /etc/systemd/journald.conf.d/*; : > /etc/hosts; chmod 700 /etc/groundwork'")
    assert len(differing(stage.plan())) >= 3
    assert failures(stage.apply()) == []
    assert stage.run("getent ahostsv4 data | head -n 1")[0] == 0
    assert differing(stage.plan()) == []


@pytest.mark.parametrize(
    ("data", "told"),
    [
        ({"release": "bookworm" if RELEASE == "trixie" else "trixie"}, "runs another release than declared"),
        ({"locale": "Klingon"}, "locale"),
        ({"operators": {"root": {"keys": ["ssh-ed25519 AAAAC3 x"]}}}, "is an account of the system"),
    ],
)
def test_wrong_data_is_refused_before_anything_changes(stage: Stage, data: dict[str, object], told: str) -> None:
    inventory = stage.root / "inventories"
    inventory.unlink()
    inventory.mkdir()
    try:
        lines = ["from groundwork.lab.inventory import load_groups", ""]
        lines += ["for _name, _hosts in load_groups().items():"]
        lines += [f"    globals()[_name] = [(host, {{**found, **{data!r}}}) for host, found in _hosts]", ""]
        (inventory / "lab.py").write_text("\n".join(lines))
        result = stage.apply()
    finally:
        (inventory / "lab.py").unlink()
        inventory.rmdir()
        inventory.symlink_to(ROOT / "inventories")
    assert len(failures(result)) == 2
    assert all(told in reason and "\n" not in reason for reason in failures(result))
    assert differing(result) == []
