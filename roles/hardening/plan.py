"""What a host is judged by and what is laid down there, decided without looking at more than its answers."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from typing import Any

from groundwork.problems import Problem, ProblemError
from groundwork.report.hardening import ControlResult, ControlStatus, Level, Waiver
from groundwork.topology import Topology
from groundwork.topology.roles import roles_on
from roles.hardening.catalogue import GROUPS, select
from roles.hardening.control import Control, View
from roles.hardening.controls.authentication import PROFILES

SWITCH = "/usr/local/sbin/groundwork-access-switch"
HEADER = "# Laid down by groundwork's hardening; waivers and levels decide what stands here."
# What makes its reader notice a file of ours; all others are read by whatever the requirement starts or by the kernel.
REACTIONS = {
    "/etc/systemd/journald.conf.d/": "systemctl restart systemd-journald.service",
    "/etc/systemd/system.conf.d/": "systemctl daemon-reload",
    "/etc/fail2ban/": "systemctl try-restart fail2ban.service",
}
MODES = {"/etc/sudoers.d/": "0440", "/etc/ssh/": "0600", "/etc/audit/": "0640"}
CHECKS = {
    "/etc/sudoers.d/": "visudo -cqf {candidate}",
    "/etc/apt/apt.conf.d/": "APT_CONFIG={candidate} apt-config dump >/dev/null",
}
# Files whose format has no comments where ours would stand.
PLAIN = (f"{PROFILES}/",)


@dataclass(frozen=True)
class OwnFile:
    """A file of the role's: path, text, mode and what must accept it (None: nothing)."""

    path: str
    content: str
    mode: str
    check: str | None


def list_workloads(topology: Topology, host: str, platform_machines: Mapping[str, Any]) -> frozenset[str]:
    """What a host carries by declaration: its roles, and ``gpu`` where its machine has one."""
    groups = topology.inventory.host(host).groups
    gpu = {"gpu"} if any(getattr(platform_machines.get(group), "gpus", None) for group in groups) else set()
    return frozenset({*roles_on(topology, host), *gpu})


def make_view(
    answers: Mapping[str, Mapping[str, Any]],
    workloads: Iterable[str],
    login: str = "",
    controllers: Sequence[str] = (),
) -> View:
    """A host as the controls see it: what was declared and what was found."""
    found = answers["host"][""]["carries"]
    return View(answers, frozenset({*workloads, *found}), login, tuple(controllers))


def judge(
    controls: Iterable[Control], view: View, waivers: Mapping[str, Waiver], today: date
) -> tuple[ControlResult, ...]:
    """How each control stands on a host."""
    return tuple(_judge_one(control, view, waivers.get(control.id), today) for control in controls)


def _judge_one(control: Control, view: View, waiver: Waiver | None, today: date) -> ControlResult:
    excluded = control.exclusion(view)
    faults = [excluded] if excluded else control.judge(view)
    if excluded:
        status = ControlStatus.NOT_APPLICABLE
    elif waiver is not None and today > waiver.until:
        status, faults = ControlStatus.EXPIRED, [f"the waiver ended on {waiver.until}", *faults]
    elif waiver is not None:
        status = ControlStatus.WAIVED
    else:
        status = ControlStatus.FAILED if faults else ControlStatus.PASSED
    return ControlResult(
        id=control.id,
        group=control.group,
        title=control.title,
        level=control.level,
        status=status,
        evidence=tuple(faults),
        references=control.references,
        waiver=waiver,
        partly=control.needs_kernel and view.container and not excluded,
    )


def list_enforced(level: Level, view: View, waivers: Mapping[str, Waiver]) -> tuple[Control, ...]:
    """The controls that are brought about: of the level, applicable, and not waived.

    One whose waiver has expired is left alone until the waiver is removed: the check fails, but no schedule breaks
    what somebody had a reason to leave out.
    """
    return tuple(c for c in select(level) if not c.exclusion(view) and c.id not in waivers)


def check_login(controls: Iterable[Control], view: View, host: str) -> None:
    """Raise ProblemError where a control would lock out the account that the run comes in by."""
    if view.login == "root" and any(control.id == "ssh-root" for control in controls):
        message = "the run logs in as root, which the control ssh-root forbids"
        allowed = "an account with sudo as ssh_user, or a waiver for ssh-root"
        raise ProblemError([Problem(message, file=f"host {host}", key="ssh_user", given="root", allowed=allowed)])


def assemble(controls: Iterable[Control], view: View) -> list[OwnFile]:
    """The role's own files, each with the lines of all controls that lay some down there."""
    lines: dict[str, list[str]] = {}
    for control in controls:
        for requirement in control.requires:
            for path, added in requirement.lay_down(view).items():
                present = lines.setdefault(path, [])
                new = [line for line in added if line not in present or line in ("", "}")]
                if (
                    new
                    and not path.startswith(PLAIN)
                    and f"# {control.id}" not in present
                    and not new[0].startswith("[")
                ):
                    present.append(f"# {control.id}")
                present += new
    return [_make_file(path, text) for path, text in lines.items() if text]


def _make_file(path: str, lines: Sequence[str]) -> OwnFile:
    head = [] if path.startswith(PLAIN) else [HEADER]
    if path.startswith("/etc/apt/"):
        head, lines = [HEADER.replace("#", "//", 1)], [line.replace("#", "//", 1) if line[:1] == "#" else line
                                                       for line in lines]  # fmt: skip
    mode = next((value for prefix, value in MODES.items() if path.startswith(prefix)), "0644")
    check = next((value for prefix, value in CHECKS.items() if path.startswith(prefix)), None)
    return OwnFile(path, "\n".join([*head, *lines]) + "\n", mode, check)


def find_reaction(path: str) -> str:
    """The command that makes a changed file count; empty where none is needed."""
    return next((command for prefix, command in REACTIONS.items() if path.startswith(prefix)), "")


def group_order(controls: Iterable[Control]) -> dict[str, list[Control]]:
    """The controls by group, in the order of enforcement."""
    chosen = list(controls)
    return {name: [c for c in chosen if c.group == name] for name in GROUPS if any(c.group == name for c in chosen)}
