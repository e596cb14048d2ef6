"""Finds the secrets' values, so that they can be masked in whatever hosts and pyinfra say."""

from __future__ import annotations

from collections.abc import Iterator

from pyinfra.api.exceptions import PyinfraError

from groundwork.engine.redaction import Redactor
from groundwork.problems import ProblemError


def load_redactor() -> Redactor:
    """A redactor that knows every secret of the running environment; needs pyinfra's inventory to be set."""
    return Redactor(secret_values())


def secret_values() -> Iterator[str]:
    """Every secret of the running environment; none where there is no platform or nothing is stored."""
    from groundwork.site import current_site

    try:
        store = current_site().secrets
        names = store.names()
    except (PyinfraError, ProblemError, OSError):
        # No platform, or nothing stored yet: whoever needs a secret says so better than this could.
        return
    for name in names:
        try:
            yield store.read(name).reveal()
        except (ProblemError, OSError):
            continue
