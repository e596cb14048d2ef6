"""What the controller says about a service; the password is read on the host."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any


@dataclass(frozen=True)
class Server:
    """One declared server."""

    host: str
    address: str
    port: int
    master: bool
    """Whether it begins as a master."""

    @property
    def place(self) -> tuple[str, int]:
        """Where it answers."""
        return (self.address, self.port)

    def __str__(self) -> str:
        return f"{self.address}:{self.port}"


@dataclass(frozen=True)
class Settings:
    """How to reach the servers of a service, and what they are to be."""

    service: str
    servers: tuple[Server, ...]
    replicas: int
    """For each master of a cluster."""
    certificate: str
    key: str
    authority: str
    user: str
    password_file: str

    @property
    def password(self) -> str:
        """The password of the servers' own user."""
        return Path(self.password_file).read_text().rstrip("\n")


def read_settings(content: Mapping[str, Any]) -> Settings:
    """Make settings of what the controller sent."""
    servers = tuple(Server(**server) for server in content["servers"])
    return Settings(**{**content, "servers": servers})
