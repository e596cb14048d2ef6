"""A host that answers nothing but defaults, and whatever a test says."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from roles.hardening.control import Control, View
from roles.hardening.questions import list_questions

DEFAULTS: dict[str, Any] = {
    "file": {"kind": "absent"},
    "glob": {},
    "unit": {"load": "not-found", "enabled": "", "active": "inactive"},
    "package": False,
    "sysctl": {"live": "1", "declared": None},
    "module": {"loaded": False, "refused": False, "blacklisted": False},
    "sshd": {},
    "mount": None,
    "run": {"status": 0, "output": ""},
    "accounts": {"users": [], "groups": []},
    "audit": {"declared": [], "live": [], "status": ""},
    "tree": {"world": [], "sticky": [], "unowned": [], "privileged": []},
    "host": {"release": "trixie", "carries": [], "container": False, "efi": False, "grub": False},
}


def make_view(controls: Iterable[Control], told: dict[tuple[str, str], Any] | None = None, **fields: Any) -> View:
    """A view with an answer to every question of the controls."""
    answers: dict[str, dict[str, Any]] = {}
    for kind, argument in [*list_questions(controls), *(told or {})]:
        answers.setdefault(kind, {})[argument] = (told or {}).get((kind, argument), DEFAULTS[kind])
    return View(answers, **fields)
