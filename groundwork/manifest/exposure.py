"""What the platform shows to the outside, through the reverse proxy."""

from __future__ import annotations

import re
from ipaddress import ip_network
from typing import Annotated, Any, Literal

from pydantic import Field, field_validator, model_validator
from pydantic_core import PydanticCustomError

from groundwork.manifest.values import Duration, Flag, HostGroup, Model, Name, Port, Size


class Tls(Model):
    """Where the proxy's certificate comes from."""

    source: Literal["self_signed", "authority", "files"] = "self_signed"
    """``self_signed``: made on the host, key never leaves it. ``authority``: signed by the environment's own
    authority and renewed with the others, for clients that trust it. ``files``: certificate and key are taken from
    the controller; the key from a secret."""
    certificate: str | None = None
    """``files``: path of the certificate chain (PEM), from the manifest's folder."""
    key_secret: Name | None = None
    """``files``: secret that holds the key (PEM)."""
    protocols: list[Literal["TLSv1.2", "TLSv1.3"]] = ["TLSv1.2", "TLSv1.3"]

    @model_validator(mode="after")
    def _files_are_named(self) -> Tls:
        if self.source == "files" and not (self.certificate and self.key_secret):
            raise PydanticCustomError(
                "groundwork",
                "lacks its files",
                {"allowed": "certificate and key_secret", "given": self.source},
            )
        return self


class RateLimit(Model):
    """Requests that one client address may make (nginx limit_req)."""

    requests_per_second: Annotated[float, Field(gt=0, le=100_000)]
    burst: Annotated[int, Field(strict=True, ge=0, le=100_000)] = 20
    """Requests above the rate that are still served at once."""


class Route(Model):
    """What answers below one path: exactly one of agent, group, static."""

    agent: Name | None = None
    """All replicas of one agent share the requests."""
    group: Name | None = None
    """All agents of a group that have a port share the requests."""
    static: str | None = None
    """Folder of files, from the manifest's folder."""
    single_page: Flag = False
    """Answer unknown paths below a static route with its index.html."""
    timeout: Duration = 60.0
    """Longest wait for the agent's answer."""
    streaming: Flag = False
    """Pass events and WebSockets through unbuffered."""
    rate_limit: RateLimit | None = None
    """In place of the site's own limit."""
    denied: Flag = False
    """Answer 404: for paths such as an API's documentation page."""

    @model_validator(mode="after")
    def _one_answer(self) -> Route:
        given = [key for key in ("agent", "group", "static") if getattr(self, key) is not None]
        given += ["denied"] if self.denied else []
        if len(given) != 1:
            raise PydanticCustomError(
                "groundwork",
                "needs exactly one answer",
                {"allowed": "one of agent, group, static, denied", "given": ", ".join(given) or "none"},
            )
        return self


_ORIGIN = r"^https?://[a-z0-9]([a-z0-9.-]*[a-z0-9])?(:[0-9]{1,5})?$"


class Exposure(Model):
    """One site of the reverse proxy."""

    description: str = ""
    hosts: HostGroup
    server_names: Annotated[
        list[Annotated[str, Field(pattern=r"^(\*\.)?[a-z0-9]([a-z0-9.-]*[a-z0-9])?$", max_length=253)]],
        Field(min_length=1),
    ]
    port: Port = 443
    redirect_port: Port | None = 80
    """Plain HTTP on this port is answered with a redirect to HTTPS."""
    tls: Tls = Tls()
    routes: Annotated[
        dict[Annotated[str, Field(pattern=r"^/[A-Za-z0-9._~/-]*$", max_length=200)], Route],
        Field(min_length=1),
    ]
    rate_limit: RateLimit = RateLimit(requests_per_second=50, burst=100)
    cors_origins: list[str] = []
    """Origins that browsers may call from, each written out; a wildcard is refused."""
    clients: list[str] = ["0.0.0.0/0", "::/0"]
    """Networks that may reach it."""
    maximum_body: Size = 1_048_576
    content_security_policy: Annotated[str, Field(pattern=r"^[^\"\n\r\\]*$")] = (
        "default-src 'self'; frame-ancestors 'none'; base-uri 'self'; object-src 'none'"
    )

    @field_validator("cors_origins")
    @classmethod
    def _origins_are_exact(cls, origins: list[str]) -> list[str]:
        for origin in origins:
            if not re.match(_ORIGIN, origin):
                raise PydanticCustomError(
                    "groundwork",
                    "is not one exact origin",
                    {"allowed": "origins such as https://app.example.org, no wildcard", "given": origin},
                )
        return origins

    @field_validator("clients")
    @classmethod
    def _clients_are_networks(cls, clients: list[str]) -> list[str]:
        for client in clients:
            try:
                ip_network(client)
            except ValueError as error:
                raise PydanticCustomError(
                    "groundwork",
                    "is not a network",
                    {"allowed": "networks such as 10.0.0.0/8", "given": f"{client} ({error})"},
                ) from None
        return clients

    @field_validator("routes", mode="before")
    @classmethod
    def _short_routes(cls, value: Any) -> Any:
        """Let ``/api/: planner`` stand for ``/api/: {agent: planner}``."""
        if isinstance(value, dict):
            return {k: {"agent": v} if isinstance(v, str) else v for k, v in value.items()}
        return value
