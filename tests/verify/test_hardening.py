"""Hosts whose data name a hardening level are hard, judged by other means than the role's own."""

from __future__ import annotations

import re
from datetime import UTC, date, datetime

import pytest
from testinfra.host import Host

from groundwork.inventory import InventoryHost

STRICTER = ("strict", "paranoid")


def level(model: InventoryHost) -> str:
    return str(model.data["hardening_level"])


def waived(model: InventoryHost, control: str) -> bool:
    return control in (model.data.get("hardening_waivers") or {})


def in_container(host: Host) -> bool:
    return bool(host.run("systemd-detect-virt --container --quiet").rc == 0)


def test_no_waiver_has_expired(host_model: InventoryHost) -> None:
    today = datetime.now(UTC).date()
    waivers = (host_model.data.get("hardening_waivers") or {}).items()
    assert [name for name, waiver in waivers if date.fromisoformat(str(waiver["until"])) < today] == []


@pytest.mark.parametrize(
    ("control", "option", "value"),
    [
        ("ssh-root", "permitrootlogin", "no"),
        ("ssh-password", "passwordauthentication", "no"),
        ("ssh-empty-passwords", "permitemptypasswords", "no"),
        ("ssh-x11", "x11forwarding", "no"),
    ],
)
def test_the_server_says_so(host: Host, host_model: InventoryHost, control: str, option: str, value: str) -> None:
    if waived(host_model, control):
        pytest.skip("waived")
    told = dict(line.split(" ", 1) for line in host.check_output("sshd -T").splitlines() if " " in line)
    assert told[option] == value


def test_a_password_is_not_even_asked_for(host: Host, host_model: InventoryHost) -> None:
    if waived(host_model, "ssh-password"):
        pytest.skip("waived")
    command = "ssh -o StrictHostKeyChecking=no -o UserKnownHostsFile=/dev/null -o PreferredAuthentications=none"
    result = host.run(f"{command} -o BatchMode=yes nobody@127.0.0.1 true")
    offered = re.search(r"Permission denied \(([^)]*)\)", result.stderr)
    assert offered is not None, result.stderr
    assert offered.group(1) == "publickey"


@pytest.mark.parametrize("module", ["cramfs", "freevxfs", "hfs", "hfsplus", "jffs2", "dccp", "tipc", "rds"])
def test_a_module_cannot_be_loaded(host: Host, host_model: InventoryHost, module: str) -> None:
    if waived(host_model, f"module-{module}"):
        pytest.skip("waived")
    assert f"install {module} /bin/false" in host.check_output("modprobe --showconfig").splitlines()


@pytest.mark.parametrize(
    ("control", "key", "values"),
    [
        ("sysctl-send-redirects", "net.ipv4.conf.all.send_redirects", ("0",)),
        ("sysctl-accept-redirects", "net.ipv4.conf.default.accept_redirects", ("0",)),
        ("sysctl-source-route", "net.ipv4.conf.all.accept_source_route", ("0",)),
        ("sysctl-syncookies", "net.ipv4.tcp_syncookies", ("1",)),
        ("sysctl-kptr", "kernel.kptr_restrict", ("2",)),
        ("sysctl-suid-dumpable", "fs.suid_dumpable", ("0",)),
    ],
)
def test_a_kernel_setting_is_in_force(
    host: Host, host_model: InventoryHost, control: str, key: str, values: tuple[str, ...]
) -> None:
    if waived(host_model, control):
        pytest.skip("waived")
    if in_container(host) and not key.startswith("net."):
        # The kernel is another machine's; what the next boot would set is all there is to see.
        text = host.check_output("/usr/lib/systemd/systemd-sysctl --cat-config")
        assert re.findall(rf"^{re.escape(key)}\s*=\s*(\S+)", text, re.MULTILINE)[-1] in values
        return
    assert host.check_output(f"sysctl -n {key}").strip() in values


@pytest.mark.parametrize(
    ("path", "mode"),
    [("/etc/passwd", 0o644), ("/etc/shadow", 0o640), ("/etc/crontab", 0o600), ("/etc/cron.d", 0o700), ("/root", 0o700)],
)
def test_permissions(host: Host, path: str, mode: int) -> None:
    if host.file(path).exists:
        assert host.file(path).mode & ~mode == 0
        assert host.file(path).user == "root"


def test_nobody_but_root_has_its_number(host: Host) -> None:
    assert host.check_output("awk -F: '$3 == 0 {print $1}' /etc/passwd").split() == ["root"]


def test_rules_of_sudo_are_valid(host: Host) -> None:
    assert host.run("visudo -c").rc == 0


def test_no_program_dumps_its_memory(host: Host, host_model: InventoryHost) -> None:
    if waived(host_model, "core-limit"):
        pytest.skip("waived")
    assert "* hard core 0" in host.file("/etc/security/limits.d/90-groundwork-hardening.conf").content_string


def test_what_was_there_is_kept_for_root(host: Host) -> None:
    originals = host.file("/var/lib/groundwork/hardening/originals")
    assert originals.is_directory
    assert originals.mode == 0o700
    assert host.file("/var/lib/groundwork/hardening/originals/index.json").size > 0


def test_no_trial_is_left(host: Host) -> None:
    assert not host.file("/var/lib/groundwork/access-trial/pending").exists
    assert host.check_output("systemctl list-timers --all --no-legend 'groundwork-access-revert*'") == ""


def test_strict_accounts(host: Host, host_model: InventoryHost) -> None:
    if level(host_model) not in STRICTER or waived(host_model, "account-umask"):
        pytest.skip("baseline")
    assert re.search(r"^UMASK\s+027", host.file("/etc/login.defs").content_string, re.MULTILINE)
    assert host.check_output("bash -lc umask").strip() in ("0027", "0077")


def test_strict_pam_locks_accounts(host: Host, host_model: InventoryHost) -> None:
    if level(host_model) not in STRICTER or waived(host_model, "pam-faillock"):
        pytest.skip("baseline")
    lines = [line.split() for line in host.file("/etc/pam.d/common-auth").content_string.splitlines() if "pam_" in line]
    modules = [next(word for word in words if word.startswith("pam_")) for words in lines]
    assert modules.index("pam_faillock.so") < modules.index("pam_unix.so")
    assert "nullok" not in host.file("/etc/pam.d/common-auth").content_string


def test_strict_audit_rules_are_loaded(host: Host, host_model: InventoryHost) -> None:
    if level(host_model) not in STRICTER:
        pytest.skip("baseline")
    if in_container(host):
        pytest.skip("audit is the kernel's")
    assert "/etc/sudoers" in host.check_output("auditctl -l")
