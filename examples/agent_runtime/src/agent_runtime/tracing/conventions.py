"""Attributes of agents' work by the semantic conventions for generative AI, at one version of them.

The conventions are in development (status of every attribute: Development), so names change between versions. These
are those of `SCHEMA`, which every span names; a test compares them with the locked package of the conventions.
"""

from __future__ import annotations

SCHEMA = "https://opentelemetry.io/schemas/1.44.0"
Attributes = dict[str, str | int | float | bool]

OPERATION, AGENT = "gen_ai.operation.name", "gen_ai.agent.name"
INVOKE_AGENT = "invoke_agent"
MESSAGING, DESTINATION, MESSAGE = "messaging.system", "messaging.destination.name", "messaging.message.id"
DATABASE, NAMESPACE, STATEMENT_KIND = "db.system.name", "db.namespace", "db.operation.name"
METHOD, ROUTE, STATUS = "http.request.method", "http.route", "http.response.status_code"
SERVER_ADDRESS, SERVER_PORT = "server.address", "server.port"
ERROR = "error.type"


def describe_request(agent: str, identifier: str, system: str, destination: str) -> Attributes:
    """Return the attributes of a request to an agent, on either side of it.

    Args:
        agent: the agent that is asked.
        identifier: the request's own.
        system: `nats` or `redis`.
        destination: subject or key of the stream.
    """
    return {
        OPERATION: INVOKE_AGENT,
        AGENT: agent,
        MESSAGING: system,
        DESTINATION: destination,
        MESSAGE: identifier,
    }
