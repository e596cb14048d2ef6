"""How the lab says that something is wrong."""

from __future__ import annotations

from groundwork.problems import Problem, ProblemError


def lab_error(message: str, *, key: str = "", given: str = "", allowed: str = "") -> ProblemError:
    """Return (not raise) the error for one problem of the lab; the arguments are those of ``Problem``."""
    return ProblemError([Problem(message, key=key, given=given, allowed=allowed)])
