"""The topology: what follows from a platform on an inventory, by pure functions."""

from groundwork.topology.derive import derive
from groundwork.topology.model import (
    AgentInstance,
    Endpoint,
    Flow,
    Identity,
    Process,
    ScrapeTarget,
    SecretNeed,
    ServiceNode,
    Site,
    Topology,
)

__all__ = [
    "AgentInstance",
    "Endpoint",
    "Flow",
    "Identity",
    "Process",
    "ScrapeTarget",
    "SecretNeed",
    "ServiceNode",
    "Site",
    "Topology",
    "derive",
]
