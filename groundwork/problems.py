"""One mistake in what the user gave, said so that it can be mended without reading code."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict, dataclass


@dataclass(frozen=True)
class Problem:
    """One mistake: where it is, what was given, what is allowed.

    ``file`` and ``line`` say where (``line`` counts from 1; 0 when the place has no line, for example a
    host), ``key`` is the dotted path of the value (``groups.api.agents.planner.port``), ``given`` the value
    as the user wrote it (never a secret's value) and ``allowed`` what would be accepted.
    """

    message: str
    file: str = ""
    line: int = 0
    key: str = ""
    given: str = ""
    allowed: str = ""

    @property
    def place(self) -> str:
        """``file:line``, only ``file`` where there is no line, or an empty string."""
        return f"{self.file}:{self.line}" if self.file and self.line else self.file

    def __str__(self) -> str:
        head = ": ".join(part for part in (self.place, self.key, self.message) if part)
        details = [f"given {self.given}"] if self.given else []
        details += [f"allowed: {self.allowed}"] if self.allowed else []
        return f"{head} ({'; '.join(details)})" if details else head

    def as_dict(self) -> dict[str, object]:
        """The same as plain data, for ``--json``."""
        return asdict(self)


class ProblemError(Exception):
    """What the user gave cannot be used; carries every problem found, not only the first."""

    def __init__(self, problems: Iterable[Problem]) -> None:
        self.problems: tuple[Problem, ...] = tuple(problems)
        super().__init__("\n".join(str(problem) for problem in self.problems))
