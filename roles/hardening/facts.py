"""What hardening asks a host."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from pyinfra.api import FactBase
from typing_extensions import override

from roles.hardening.questions import ask, build_command, parse_answers


class Questions(tuple[tuple[str, str], ...]):
    """Questions that a log names by their number alone."""

    def __repr__(self) -> str:
        return f"<{len(self)} questions>"

    __str__ = __repr__


class Answers(FactBase[Mapping[str, Mapping[str, Any]]]):
    """The answers to questions about a host; see ``onhost/look.py``."""

    @override
    def requires_command(self, *_args: Any, **_kwargs: Any) -> str:
        return "python3"

    @override
    def command(self, questions: Questions) -> str:
        return ask(questions)

    @override
    def process(self, output: list[str]) -> Mapping[str, Mapping[str, Any]]:
        return parse_answers("\n".join(output))


class KeptOriginals(FactBase[dict[str, Any]]):
    """Paths and commands whose former state is kept: ``files`` and ``undo``."""

    @override
    @staticmethod
    def default() -> dict[str, Any]:
        return {"files": [], "undo": []}

    @override
    def command(self) -> str:
        return build_command("keep.py", "list", {})

    @override
    def process(self, output: list[str]) -> dict[str, Any]:
        found: dict[str, Any] = json.loads(output[-1])
        return found
