"""Mounts. A folder becomes a file system of its own when the host is installed; only /tmp can be made one later."""

from __future__ import annotations

from collections.abc import Mapping

from typing_extensions import override

from groundwork.report.hardening import Level
from roles.hardening.control import Control, View
from roles.hardening.draft import Draft
from roles.hardening.files import OwnLines
from roles.hardening.system import Mounted

TMP_UNIT = "/etc/systemd/system/tmp.mount.d/60-groundwork-hardening.conf"
TMP_LINES = ("[Mount]", "Options=mode=1777,strictatime,nosuid,nodev,noexec,size=50%%,nr_inodes=1m")
APT = "/etc/apt/apt.conf.d/60-groundwork-hardening-tmp"
SEPARATE = "Only an installation can make it a file system of its own; on one that is, the options are judged."


class Tmp(Mounted):
    """/tmp in memory, by systemd's own unit."""

    @override
    def questions(self) -> list[tuple[str, str]]:
        return [
            *super().questions(),
            ("unit", "tmp.mount"),
            ("file", TMP_UNIT),
            ("glob", "/usr/share/systemd/tmp.mount"),
        ]

    @override
    def lay_down(self, view: View) -> Mapping[str, tuple[str, ...]]:
        return {TMP_UNIT: TMP_LINES}

    @override
    def judge(self, view: View) -> list[str]:
        present = set((view.content(TMP_UNIT) or "").splitlines())
        faults = [f"{TMP_UNIT} lacks {line!r}" for line in TMP_LINES if line not in present]
        return faults if view.container else faults + super().judge(view)

    @override
    def mend(self, view: View, draft: Draft) -> None:
        if view.container:
            return
        if view.ask("unit", "tmp.mount")["load"] == "not-found":
            draft.command(
                "cp /usr/share/systemd/tmp.mount /etc/systemd/system/tmp.mount && systemctl daemon-reload",
                "rm -f /etc/systemd/system/tmp.mount && systemctl daemon-reload",
            )
        mount = view.ask("mount", "/tmp")
        if mount is None:
            # Mounting over a /tmp in use hides what programs have there: with the next boot it is empty anyway.
            draft.command("systemctl daemon-reload && systemctl enable --now --quiet tmp.mount",
                          "systemctl disable --quiet tmp.mount")  # fmt: skip
        elif self.judge(view):
            draft.command(
                "systemctl daemon-reload && systemctl enable --quiet tmp.mount; "
                "mount -o remount,nosuid,nodev,noexec /tmp",
                "systemctl daemon-reload",
            )


def _control(name: str, path: str, options: tuple[str, ...], reference: str, level: Level, title: str) -> Control:
    return Control(
        f"mount-{name}", title, SEPARATE, (reference, "ANSSI R28"), level, (Mounted(path, options),), own_kernel=True
    )


CONTROLS = (
    Control(
        id="mount-tmp",
        title="/tmp is in memory; nothing there runs or is a device",
        rationale="Everyone writes there: what an intruder lays down first lies there.",
        references=("CIS 1.1.2.1", "dev-sec os-14", "ANSSI R28"),
        level=Level.STRICT,
        requires=(
            Tmp("/tmp", ("nosuid", "nodev", "noexec"), required=True),
            # Packages run their first scripts from there, which would fail now.
            OwnLines(APT, ('APT::ExtractTemplates::TempDir "/var/tmp";',)),
        ),
        unless={"gpu": "compilers of GPU programs run what they made in /tmp"},
    ),
    Control(
        id="mount-shm",
        title="Nothing in /dev/shm runs or is a device",
        rationale="Everyone writes there.",
        references=("CIS 1.1.2.2", "dev-sec os-14"),
        level=Level.BASELINE,
        requires=(Mounted("/dev/shm", ("nosuid", "nodev", "noexec"), required=True),),
        own_kernel=True,
        unless={"gpu": "compilers of GPU programs map what they made there"},
    ),
    _control("home", "/home", ("nosuid", "nodev"), "CIS 1.1.2.3", Level.BASELINE, "/home has no devices"),
    _control("var", "/var", ("nosuid",), "CIS 1.1.2.4", Level.STRICT, "/var has no privileged programs"),
    _control("var-tmp", "/var/tmp", ("nosuid", "nodev", "noexec"), "CIS 1.1.2.5", Level.BASELINE,
             "Nothing in /var/tmp runs"),
    _control("var-log", "/var/log", ("nosuid", "nodev", "noexec"), "CIS 1.1.2.6", Level.BASELINE,
             "Nothing in /var/log runs"),
    _control("var-log-audit", "/var/log/audit", ("nosuid", "nodev", "noexec"), "CIS 1.1.2.7", Level.BASELINE,
             "Nothing in /var/log/audit runs"),
    _control("boot", "/boot", ("nosuid", "nodev", "noexec"), "ANSSI R28", Level.STRICT, "Nothing in /boot runs"),
)  # fmt: skip
