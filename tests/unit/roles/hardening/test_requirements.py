"""How single requirements judge and mend."""

from __future__ import annotations

from groundwork.report.hardening import Level
from roles.hardening.control import Control, Requirement, View
from roles.hardening.draft import Draft
from roles.hardening.files import Attributes, NoLine, Setting
from roles.hardening.system import Off, Sysctl, add_mount_options
from tests.unit.roles.hardening.answers import make_view


def view_of(requirement: Requirement, told: dict[tuple[str, str], object]) -> View:
    control = Control("x", "x", "x", ("x",), Level.BASELINE, (requirement,))
    return make_view([control], told)


def mend(requirement: Requirement, view: View) -> Draft:
    draft = Draft(view)
    requirement.mend(view, draft)
    return draft


def test_a_setting_is_changed_where_it_stands_and_once() -> None:
    setting = Setting("/etc/login.defs", "UMASK", "027", "\t")
    text = "# UMASK is for\nUMASK\t\t022\nHOME_MODE 0700\nUMASK 002\n"
    view = view_of(setting, {("file", "/etc/login.defs"): {"kind": "file", "content": text}})
    assert setting.judge(view) == ["/etc/login.defs: UMASK is 002"]
    changed = mend(setting, view).contents["/etc/login.defs"]
    assert changed == "# UMASK is for\nUMASK\t027\nHOME_MODE 0700\n"
    good = view_of(setting, {("file", "/etc/login.defs"): {"kind": "file", "content": changed}})
    assert setting.judge(good) == []
    assert mend(setting, good).is_empty


def test_a_setting_that_is_not_there_is_added() -> None:
    setting = Setting("/etc/security/faillock.conf", "deny", "4", " = ")
    assert setting.change("# deny = 3") == "# deny = 3\ndeny = 4\n"


def test_bits_are_taken_away_and_never_given() -> None:
    attributes = Attributes("/etc/cron.d", 0o700)
    there = {"/etc/cron.d": {"kind": "directory", "mode": 0o455, "user": "root", "group": "adm"}}
    view = view_of(attributes, {("glob", "/etc/cron.d"): there})
    assert attributes.judge(view) == ["/etc/cron.d is 0455 root:adm"]
    entry = mend(attributes, view).modes["/etc/cron.d"]
    assert (entry.mode, entry.user, entry.group) == (0o400, None, "root")


def test_lines_that_must_not_be_are_taken_out() -> None:
    requirement = NoLine("/etc/shells", r".*/nologin\s*")
    text = "/bin/sh\n/usr/sbin/nologin\n"
    view = view_of(requirement, {("file", "/etc/shells"): {"kind": "file", "content": text}})
    assert mend(requirement, view).contents["/etc/shells"] == "/bin/sh\n"


def test_a_kernel_setting_needs_both_now_and_after_the_next_boot() -> None:
    sysctl = Sysctl("net.ipv4.ip_forward", "0")
    question = ("sysctl", "net.ipv4.ip_forward")
    assert len(sysctl.judge(view_of(sysctl, {question: {"live": "1", "declared": None}}))) == 2
    view = view_of(sysctl, {question: {"live": "1", "declared": "0"}})
    command = next(iter(mend(sysctl, view).commands.values()))
    assert (command.do, command.undo) == (
        "sysctl -q -w net.ipv4.ip_forward=0",
        "sysctl -q -w net.ipv4.ip_forward=1",
    )


def test_a_unit_that_is_masked_comes_back_as_it_was() -> None:
    off = Off(("rsync.service",))
    state = {"load": "loaded", "enabled": "enabled", "active": "active"}
    command = next(iter(mend(off, view_of(off, {("unit", "rsync.service"): state})).commands.values()))
    assert command.do == "systemctl mask --now --quiet -- rsync.service"
    assert command.undo.startswith("systemctl unmask") and command.undo.endswith("start -- rsync.service")


def test_mount_options_join_those_that_are_there() -> None:
    text = "UUID=1 / ext4 defaults 0 1\nUUID=2 /home ext4 defaults,noatime 0 2\n"
    assert add_mount_options(text, "/home", ("nosuid", "nodev"), "ext4").splitlines()[1] == (
        "UUID=2 /home ext4 noatime,nosuid,nodev 0 2"
    )
    added = add_mount_options(text, "/dev/shm", ("nosuid", "noexec"), "tmpfs").splitlines()[-1]
    assert added == "tmpfs /dev/shm tmpfs rw,nosuid,noexec 0 0"
