"""What a role refuses before anything changes, said in one line by plain pyinfra as by our commands."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from pyinfra.api.exceptions import DeployError

from groundwork.problems import ProblemError


@contextmanager
def refusing() -> Iterator[None]:
    """Turn a ProblemError of the code inside into pyinfra's own error, which it prints without a traceback."""
    try:
        yield
    except ProblemError as error:
        raise DeployError(str(error)) from None
