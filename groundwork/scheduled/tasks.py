"""Which command carries out which task of the manifest's ``schedules``."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Task:
    """A task of the manifest: the words of its command (``{env}`` is the environment's name)."""

    words: tuple[str, ...]
    options: tuple[str, ...] = ("--json",)


TASKS: dict[str, Task] = {
    "verify": Task(("verify",)),
    "drift": Task(("drift",)),
    "harden_check": Task(("harden",), ("--check", "--json")),
    "harden_enforce": Task(("harden",), ("--enforce", "--json")),
    "rotate_certificates": Task(("certs", "rotate")),
    "rotate_secrets": Task(("secrets", "rotate"), ("--all", "--json")),
    "backup_check": Task(("backup", "check")),
    "rehearse": Task(("backup", "rehearse")),
    "health": Task(("health",)),
    "resilience": Task(("resilience",)),
    "load": Task(("load",)),
    "scan": Task(("scan",)),
    "archive": Task(("archive",)),
    "clean": Task(("clean",)),
    "review": Task(("review",)),
}
UNATTENDED = ("verify", "drift", "harden_check", "harden_enforce", "rotate_certificates", "backup_check", "rehearse")
"""Tasks that may run without anybody watching, once their command exists. The others are left out by name:
``rotate_secrets`` alone would leave hosts with old values until the next apply, and the rest have no command."""


def find_command(task: str) -> tuple[str, ...] | None:
    """The words of a task's command; None where this version does not have it."""
    from groundwork.cli.main import COMMANDS, load_command

    words = TASKS[task].words
    if words[0] not in COMMANDS:
        return None
    if len(words) > 1 and words[1] not in getattr(load_command(words[0]), "commands", {}):
        return None
    return words


def why_left_out(task: str) -> str:
    """Why a task is not scheduled; empty when it is."""
    if task == "rotate_secrets":
        return "hosts would keep the old values until the next apply: run it by hand, then apply"
    if find_command(task) is None:
        return f"this version has no command groundwork {' '.join(TASKS[task].words)}"
    if task not in UNATTENDED:
        return "it is not made to run without anybody watching"
    return ""
