"""What the hosts' firewall lets through besides the flows that follow from needs."""

from __future__ import annotations

from ipaddress import ip_network
from typing import Annotated, Literal

from pydantic import AfterValidator, Field
from pydantic_core import PydanticCustomError

from groundwork.manifest.values import Flag, HostGroup, Model, Name, Port, Protocol


def check_network(network: str) -> str:
    """Return the text if it is a network (``10.0.0.0/8``) or an address. Raises a validation error otherwise."""
    try:
        ip_network(network)
    except ValueError as error:
        details = {"allowed": "networks such as 10.0.0.0/8", "given": f"{network} ({error})"}
        raise PydanticCustomError("groundwork", "is not a network", details) from None
    return network


Networks = Annotated[list[Annotated[str, AfterValidator(check_network)]], Field(min_length=1)]


class Opening(Model):
    """A port that clients from outside the platform may reach: a monitoring system of the house, for example."""

    hosts: HostGroup
    """The hosts whose port it is."""
    networks: Networks
    """Where the clients are."""
    port: Port
    protocol: Protocol = "tcp"
    reason: Annotated[str, Field(min_length=3, max_length=200)]


class Destination(Model):
    """What every host may reach with ``outbound: deny``, besides what the platform needs."""

    networks: Networks
    ports: Annotated[list[Port], Field(min_length=1)]
    protocol: Protocol = "tcp"
    reason: Annotated[str, Field(min_length=3, max_length=200)]


class Firewall(Model):
    """The packet filter of every host. What comes in is denied but for flows, SSH of the controllers and openings."""

    outbound: Literal["accept", "deny"] = "accept"
    """``deny``: a host reaches what its flows name, its name servers and time servers, and ``destinations``."""
    destinations: dict[Name, Destination] = {}
    """With ``deny``: package mirrors and the like."""
    openings: dict[Name, Opening] = {}
    log_drops: Flag = True
    """Write refused connections to the kernel's log, at most 10 a minute."""
