"""What nginx serves on one host, decided from the manifest and the topology alone."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from ipaddress import ip_network
from typing import Any

from groundwork.addresses import bracketed
from groundwork.authority import paths
from groundwork.manifest.exposure import Exposure, RateLimit, Route
from groundwork.manifest.platform import Platform
from groundwork.topology.identities import agent_name, group_name, site_unit
from groundwork.topology.model import Endpoint, Site, Topology
from roles.reverse_proxy.addresses import host_names, listen_addresses
from roles.reverse_proxy.model import Listener, PlannedRoute, PlannedSite, ProxyPlan, Upstream, Zone

WWW = "/var/lib/groundwork/www"
STREAMING_IDLE = 3600.0
"""Seconds that an open stream may be silent, where the route's own timeout is shorter."""


def folders(platform: str) -> tuple[str, str]:
    """Return where the platform's nginx configuration and its certificates lie on a host."""
    base = f"/etc/groundwork/{platform}/nginx"
    return base, f"{base}/tls"


def plan_proxy(
    platform: Platform, topology: Topology, host: str, roots: Mapping[tuple[str, str], str]
) -> ProxyPlan | None:
    """Decide what nginx serves on ``host``; None where nothing is exposed there.

    ``roots`` gives the document root for each static route, by exposure and path.
    """
    placed = topology.sites_on(host)
    if not placed:
        return None
    reachable: dict[str, list[Endpoint]] = {}
    for endpoint in topology.endpoints:
        if endpoint.kind == "agent":
            reachable.setdefault(endpoint.name, []).append(endpoint)
    upstreams: dict[str, Upstream] = {}
    data = topology.inventory.host(host).data
    bare_names: dict[int, dict[str, str]] = {}
    sites = tuple(
        _plan_site(platform, site, data, reachable, roots, upstreams, bare_names.setdefault(site.port, {}))
        for site in placed
    )
    return ProxyPlan(sites, tuple(upstreams.values()), tuple(_list_listeners(sites)))


def _plan_site(
    platform: Platform,
    site: Site,
    data: Mapping[str, Any],
    reachable: Mapping[str, list[Endpoint]],
    roots: Mapping[tuple[str, str], str],
    upstreams: dict[str, Upstream],
    bare_names: dict[str, str],
) -> PlannedSite:
    exposure = platform.exposure[site.exposure]
    key = site.exposure.replace("-", "__")
    addresses = listen_addresses(site.address, data)
    bare = tuple(address.strip("[]") for address in addresses if address != "*")
    names = tuple(dict.fromkeys(exposure.server_names))
    certificate = private_key = f"{folders(platform.platform)[1]}/{site.exposure}.pem"
    certificate_names: tuple[str, ...] = ()
    of_the_host: tuple[str, ...] = ()
    if exposure.tls.source == "self_signed":
        # Nobody else vouches for the certificate, so it may name the bare host too, and the site answers there.
        of_the_host = (*host_names(site.host), *bare)
        certificate_names = tuple(dict.fromkeys([*names, *of_the_host]))
    elif exposure.tls.source == "authority":
        unit = site_unit(site.exposure)
        certificate = paths.certificate(platform.platform, unit)
        private_key = paths.key(platform.platform, unit)
        of_the_host = (*host_names(site.host), site.address)
    # One site per port answers at the bare host: the first.
    more = (name for name in of_the_host if name in names or bare_names.setdefault(name, key) == key)
    names = tuple(dict.fromkeys([*names, *more]))
    routes = tuple(
        _plan_route(platform, site.exposure, key, index, path, route, reachable, roots, upstreams)
        for index, (path, route) in enumerate(exposure.routes.items())
    )
    if "/" not in exposure.routes:
        routes = (*routes, PlannedRoute("/", "denied"))
    return PlannedSite(
        name=site.exposure,
        key=key,
        server_names=tuple(bracketed(name) for name in names),
        addresses=addresses,
        port=site.port,
        redirect_port=exposure.redirect_port,
        certificate=certificate,
        private_key=private_key,
        certificate_names=certificate_names,
        at_bare_host=bool(of_the_host),
        protocols=tuple(sorted(set(exposure.tls.protocols))),
        routes=routes,
        zone=_zone(key, exposure.rate_limit),
        cors_origins=tuple(dict.fromkeys(exposure.cors_origins)),
        clients=_client_networks(exposure),
        maximum_body=exposure.maximum_body,
        content_security_policy=exposure.content_security_policy,
    )


def _plan_route(
    platform: Platform,
    exposure: str,
    key: str,
    index: int,
    path: str,
    route: Route,
    reachable: Mapping[str, list[Endpoint]],
    roots: Mapping[tuple[str, str], str],
    upstreams: dict[str, Upstream],
) -> PlannedRoute:
    zone = _zone(f"{key}_{index}", route.rate_limit) if route.rate_limit else None
    if route.denied:
        return PlannedRoute(path, "denied")
    if route.static is not None:
        return PlannedRoute(path, "static", root=roots[exposure, path], single_page=route.single_page, zone=zone)
    agents = [route.agent] if route.agent else list(platform.groups[str(route.group)].agents)
    servers = dict.fromkeys(
        f"{bracketed(endpoint.address)}:{endpoint.port}" for agent in agents for endpoint in reachable.get(agent, ())
    )
    if not servers:
        # A group without a port answers nothing.
        return PlannedRoute(path, "denied")
    # The name that nginx expects in the certificate of whichever server it asks.
    named = agent_name(platform.platform, route.agent) if route.agent else ""
    name = named or group_name(platform.platform, str(route.group))
    upstreams[name] = Upstream(name, tuple(servers))
    timeout = max(route.timeout, STREAMING_IDLE) if route.streaming else route.timeout
    return PlannedRoute(
        path, "agent", upstream=name, timeout_ms=round(timeout * 1000), streaming=route.streaming, zone=zone
    )


def _list_listeners(sites: Iterable[PlannedSite]) -> list[Listener]:
    found: dict[str, Listener] = {}
    for site in sites:
        for address in site.addresses:
            socket = f"{address}:{site.port}"
            known = found.get(socket, Listener(socket, plain=False))
            both = tuple(name for name in known.protocols if name in site.protocols) or site.protocols
            files = (known.certificate, known.private_key)
            if not known.certificate and site.at_bare_host:
                files = (site.certificate, site.private_key)
            found[socket] = Listener(socket, False, *files, protocols=both)
            if site.redirect_port:
                socket = f"{address}:{site.redirect_port}"
                found.setdefault(socket, Listener(socket, plain=True))
    return list(found.values())


def _zone(name: str, limit: RateLimit) -> Zone:
    rate = limit.requests_per_second
    # nginx takes whole numbers only; a minute is its longest period.
    text = f"{round(rate)}r/s" if rate == round(rate) else f"{max(1, round(rate * 60))}r/m"
    return Zone(name, text, limit.burst)


def _client_networks(exposure: Exposure) -> tuple[str, ...]:
    networks = [ip_network(client) for client in exposure.clients]
    open_versions = {network.version for network in networks if network.prefixlen == 0}
    return () if open_versions == {4, 6} else tuple(str(network) for network in networks)
