"""The settings of the ymera agents, besides the runtime's own."""

from __future__ import annotations

from dataclasses import dataclass

from agent_runtime.options import option
from agent_runtime.settings import RuntimeSettings


@dataclass(frozen=True)
class YmeraSettings(RuntimeSettings):
    """Figures and defaults are those of the system's own documents."""

    max_message_size: int = option(
        "Largest message in bytes; at most what NATS takes.", default=10485760, minimum=1024, maximum=67108864
    )
    message_queue_size: int = option(
        "Messages that may wait in one agent's inbox.", default=10000, minimum=1, maximum=10000000
    )
    config_cache_ttl: int = option("Seconds that a configuration is cached.", default=300, minimum=1, maximum=86400)
    auto_save_interval: int = option("Seconds between two savings of a draft.", default=30, minimum=1, maximum=3600)
    primary_lease_seconds: float = option(
        "Silence of the primary config manager, in seconds, after which another takes its place.",
        default=6.0,
        minimum=0.5,
        maximum=300,
    )
