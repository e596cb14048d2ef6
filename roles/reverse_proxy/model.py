"""What nginx serves on one host: sites with their routes, the servers behind them, counters and sockets."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Zone:
    """A counter of requests per client address; ``rate`` is in nginx's form (``50r/s``, ``30r/m``)."""

    name: str
    rate: str
    burst: int


@dataclass(frozen=True)
class Upstream:
    """Agents that share the requests of a route; each server is ``address:port``."""

    name: str
    servers: tuple[str, ...]


@dataclass(frozen=True)
class PlannedRoute:
    """One path of a site. ``kind`` is ``agent``, ``static`` or ``denied``."""

    path: str
    kind: str
    upstream: str = ""
    root: str = ""
    single_page: bool = False
    timeout_ms: int = 0
    streaming: bool = False
    zone: Zone | None = None

    @property
    def matches(self) -> tuple[str, ...]:
        """What nginx matches: ``/docs`` means itself and what lies below it, and not ``/docs-old``."""
        if self.path == "/":
            return ("/",)
        if self.path.endswith("/"):
            return (f"^~ {self.path}",)
        return (f"= {self.path}", f"^~ {self.path}/")


@dataclass(frozen=True)
class PlannedSite:
    """One exposure on this host."""

    name: str
    key: str
    """The name as part of nginx's variables and zones."""
    server_names: tuple[str, ...]
    addresses: tuple[str, ...]
    """Addresses to listen on, IPv6 in brackets; ``*`` for all."""
    port: int
    redirect_port: int | None
    certificate: str
    """Path of the file with the certificate chain."""
    private_key: str
    """Path of the file with its key: the same one, where the role lays it down."""
    certificate_names: tuple[str, ...]
    """What a self-signed certificate is made for; empty where it comes from elsewhere."""
    at_bare_host: bool
    """Whether the certificate names the host itself, too, so that the site answers there."""
    protocols: tuple[str, ...]
    routes: tuple[PlannedRoute, ...]
    zone: Zone
    cors_origins: tuple[str, ...]
    clients: tuple[str, ...]
    """Networks that may reach it; empty for everybody."""
    maximum_body: int
    content_security_policy: str

    @property
    def is_laid_down(self) -> bool:
        """Whether certificate and key are this role's to lay down, in one file; else the authority's are taken."""
        return self.certificate == self.private_key

    @property
    def certificate_input(self) -> str:
        """The path whose change time says when the certificate came into use: a link's, where folders are switched."""
        return self.certificate if self.is_laid_down else self.certificate.rpartition("/")[0]


@dataclass(frozen=True)
class Listener:
    """The answer to requests for unknown names at one address and port.

    ``certificate`` is that of a site there that also answers at its bare address; without one, the TLS handshake
    itself is refused. ``plain`` is a redirect port.
    """

    socket: str
    plain: bool
    certificate: str = ""
    private_key: str = ""
    protocols: tuple[str, ...] = ()
    """Of all sites there: before nginx 1.27 the first server of a socket decides for the others."""


@dataclass(frozen=True)
class ProxyPlan:
    """Everything that nginx does on one host."""

    sites: tuple[PlannedSite, ...]
    upstreams: tuple[Upstream, ...]
    listeners: tuple[Listener, ...]

    @property
    def zones(self) -> tuple[Zone, ...]:
        """Every counter of requests, sites' first."""
        own = [site.zone for site in self.sites]
        return tuple(own + [route.zone for site in self.sites for route in site.routes if route.zone])
