"""Which module makes and restores which kind of item; each has ``collect``."""

from __future__ import annotations

from collections.abc import Callable

from . import files, nats, redis
from .collected import Collected
from .settings import JobError, Settings

COLLECTORS: dict[str, Callable[[Settings], Collected]] = {
    "files": files.collect,
    "configuration": files.collect,
    "volumes": files.collect,
    "authority": files.collect,
    "secrets": files.collect,
    "redis": redis.collect,
    "nats": nats.collect,
}


def collect(settings: Settings) -> Collected:
    """Put one item's data together. Raises JobError for a kind that this version does not know."""
    if settings.kind not in COLLECTORS:
        raise JobError(f"this version backs up no {settings.kind} (it knows {', '.join(sorted(COLLECTORS))})")
    return COLLECTORS[settings.kind](settings)
