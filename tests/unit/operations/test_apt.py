from __future__ import annotations

import subprocess
from pathlib import Path

import pytest
from fake_host import install, list_commands

from groundwork.facts.packages import InstalledPackages
from groundwork.operations import apt


def _commands(monkeypatch: pytest.MonkeyPatch, installed: dict[str, str], **arguments: object) -> list[str]:
    install(monkeypatch, [apt], {InstalledPackages: installed})
    return list_commands(apt.packages._inner(**arguments))


def test_nothing_to_do_when_all_are_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    assert (
        _commands(monkeypatch, {"redis-server": "5:8.0"}, packages=["redis-server"], hold_services=["x.service"]) == []
    )


def test_only_the_missing_are_installed_and_held_services_are_masked_before(monkeypatch: pytest.MonkeyPatch) -> None:
    commands = _commands(monkeypatch, {"acl": "2.3"}, packages=["acl", "nginx"], hold_services=["nginx.service"])
    assert commands[0] == "systemctl mask --quiet -- nginx.service"
    assert "apt-get" in commands[1] and " update" in commands[1]
    assert "dpkg" in commands[2] and "--configure -a" in commands[2]
    assert "--no-install-recommends nginx;" in commands[3]
    assert "acl" not in commands[3]
    assert "DPkg::Lock::Timeout=300" in commands[3]
    assert "DEBIAN_FRONTEND=noninteractive" in commands[3]
    for command in commands:
        assert subprocess.run(["sh", "-n", "-c", command], check=False).returncode == 0


def test_another_version_is_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    assert _commands(monkeypatch, {"nginx": "1.2"}, packages=["nginx=1.2"]) == []
    assert "nginx=1.3;" in _commands(monkeypatch, {"nginx": "1.2"}, packages=["nginx=1.3"])[-1]


def test_removal_touches_only_what_is_there(monkeypatch: pytest.MonkeyPatch) -> None:
    assert _commands(monkeypatch, {}, packages=["nginx"], present=False) == []
    (command,) = _commands(monkeypatch, {"nginx": "1"}, packages=["nginx", "acl"], present=False)
    assert "remove nginx;" in command


def test_a_half_installed_package_counts_as_missing() -> None:
    lines = ["installed acl 2.3-1", "half-configured nginx 1.2", "not-installed redis ", "unpacked x 1"]
    assert InstalledPackages().process(lines) == {"acl": "2.3-1"}


def test_failing_output_is_shown_with_the_status(tmp_path: Path) -> None:
    log = str(tmp_path / "apt.log")
    command = apt.logged("echo told; (exit 7)").replace(apt._LOG, log)
    done = subprocess.run(["sh", "-c", command], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr, done.stdout) == (7, "told\n", "")
