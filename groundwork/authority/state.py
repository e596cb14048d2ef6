"""What the authority is at the moment, in one small file: who issues, whom hosts trust."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from groundwork.problems import Problem, ProblemError
from groundwork.secrets.keys import write_atomically

FILE = "authority.json"


@dataclass(frozen=True)
class AuthorityState:
    """``issuer`` is the generation that signs, ``trusted`` those whose roots hosts trust (it among them).

    ``reissue_before`` is a time (ISO 8601); certificates from before it are due whatever their age.
    """

    issuer: str
    trusted: tuple[str, ...]
    reissue_before: str = ""

    def changed(self, **changes: object) -> AuthorityState:
        """A copy with other values."""
        return replace(self, **changes)  # type: ignore[arg-type]


def read_state(folder: Path) -> AuthorityState | None:
    """The state, or None where no authority was ever made. Raises ProblemError when the file is damaged."""
    path = folder / FILE
    try:
        document = json.loads(path.read_text("utf-8"))
        if document.pop("version") != 1:
            raise ValueError("another version")
        state = AuthorityState(**{**document, "trusted": tuple(document["trusted"])})
        if state.issuer not in state.trusted or not all(isinstance(name, str) for name in state.trusted):
            raise ValueError("the issuer is not trusted")
    except FileNotFoundError:
        return None
    except (OSError, ValueError, TypeError, KeyError, AttributeError):
        allowed = "the file as it was (restore the authority's folder from a copy)"
        raise ProblemError(
            [Problem("the state of the authority is damaged", file=str(path), allowed=allowed)]
        ) from None
    return state


def write_state(folder: Path, state: AuthorityState) -> None:
    """Replace the state; it is the old or the new one at any moment."""
    content = json.dumps({"version": 1, **asdict(state)}, indent=1) + "\n"
    write_atomically(folder / FILE, content.encode(), 0o644)
