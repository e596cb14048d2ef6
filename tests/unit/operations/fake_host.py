"""A host that answers facts from a table, for the operations' generators to run against."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest
from pyinfra.api.command import StringCommand


class FakeHost:
    def __init__(self, facts: dict[type, Any]) -> None:
        self.facts = facts
        self.logged: list[str] = []

    def get_fact(self, fact: type, **arguments: Any) -> Any:
        answer = self.facts[fact]
        return answer(**arguments) if isinstance(answer, Callable) else answer  # type: ignore[arg-type]

    def noop(self, text: str) -> None:
        self.logged.append(text)

    def log(self, text: str, log: Any = None) -> None:
        self.logged.append(text)


def install(
    monkeypatch: pytest.MonkeyPatch,
    modules: Iterable[ModuleType],
    facts: dict[type, Any],
    executing: bool = True,
    diff: bool = False,
) -> FakeHost:
    host = FakeHost(facts)
    state = SimpleNamespace(is_executing=executing, config=SimpleNamespace(DIFF=diff))
    for module in modules:
        monkeypatch.setattr(module, "host", host)
        if hasattr(module, "state"):
            monkeypatch.setattr(module, "state", state)
    return host


def list_commands(commands: Iterable[Any]) -> list[str]:
    return [c.get_masked_value() if isinstance(c, StringCommand) else str(c) for c in commands]
