"""Settings of the runtime itself, which every platform's configuration may contain."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from agent_runtime.options import option

LOG_LEVELS = ("DEBUG", "INFO", "WARNING", "ERROR", "CRITICAL")


@dataclass(frozen=True)
class RuntimeSettings:
    """What the launcher needs; a platform's own settings class adds to it."""

    debug: bool = option("Error answers name the exception; not in production.", default=False)
    log_level: str = option("Least severe level that is logged.", default="INFO", choices=LOG_LEVELS)
    log_json: bool = option("Log lines are JSON objects.", default=True)
    log_file: str | None = option("Log file, besides the journal.", default=None, pattern=r"/.+")
    log_maximum_bytes: int = option(
        "Size in bytes at which the host's logrotate rotates the log file.",
        default=52428800,
        minimum=65536,
        maximum=10737418240,
    )
    log_backups: int = option("Rotated log files that the host keeps.", default=10, minimum=0, maximum=1000)
    redis_pool_size: int = option(
        "Connections to Redis per process, besides one per agent that waits for work.",
        default=20,
        minimum=1,
        maximum=1000,
    )
    redis_timeout: float = option("Seconds to wait for Redis.", default=5.0, minimum=0.1, maximum=60)
    nats_timeout: float = option("Seconds to wait for NATS.", default=5.0, minimum=0.1, maximum=60)
    database_timeout: float = option("Seconds to wait for PostgreSQL.", default=5.0, minimum=0.1, maximum=60)
    database_pool_size: int = option(
        "Connections to PostgreSQL per process at most.", default=4, minimum=1, maximum=100
    )
    circuit_breaker_failures: int = option(
        "Failures in a row after which a peer is left alone.", default=5, minimum=1, maximum=1000
    )
    circuit_breaker_seconds: float = option(
        "Seconds that it is left alone before one call tries again.", default=10.0, minimum=0.1, maximum=3600
    )
    stop_timeout: float = option(
        "Seconds to finish requests and work after SIGTERM; keep it under the unit's TimeoutStopSec.",
        default=20.0,
        minimum=1,
        maximum=600,
    )
    work_concurrency: int = option(
        "Requests from other agents that one agent handles at once.", default=8, minimum=1, maximum=1000
    )
    work_tries: int = option("Tries before a request is set aside.", default=5, minimum=1, maximum=100)
    work_retry_seconds: float = option(
        "Wait before the second try; it doubles with each further one, up to 60 s.",
        default=0.5,
        minimum=0.01,
        maximum=60,
    )
    work_timeout: float = option("Seconds that one try may take.", default=30.0, minimum=0.1, maximum=3600)
    work_idle_seconds: float = option(
        "Silence of a worker, in seconds, after which another takes over its requests.",
        default=15.0,
        minimum=0.3,
        maximum=3600,
    )
    work_backlog: int = option(
        "Waiting requests per agent above which new ones are refused.",
        default=10000,
        minimum=1,
        maximum=10000000,
    )
    result_seconds: int = option("Seconds that a result is kept.", default=3600, minimum=10, maximum=604800)

    @classmethod
    def find_contradictions(cls, values: dict[str, Any]) -> list[tuple[tuple[str, ...], str]]:
        """Return the keys of settings that exclude each other, and what is allowed."""
        return []
