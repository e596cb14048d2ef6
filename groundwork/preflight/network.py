"""Checks of what a host reaches: names, package sources, its neighbours; and of the ports that it is to serve."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from fnmatch import fnmatch

from groundwork.manifest.services import ExternalService
from groundwork.preflight.findings import Finding, Severity, judge, skip
from groundwork.preflight.questions import Answers
from groundwork.site import Site

WILDCARDS = ("*", "0.0.0.0", "[::]", "::", "")

# Each source, or the proxy that leads to it, is connected to by TCP alone; nothing is fetched. bash is part of
# every Debian, curl is not.
_SOURCES = r"""
eval "$(apt-config shell PROXY Acquire::http::Proxy SECURE Acquire::https::Proxy)"
apt-get --print-uris update | sed -n "s,^'\(.*\)/dists/.*,\1/,p" | sort -u | while read -r uri; do
    case $uri in
        http://*) port=80; way=${PROXY:-$uri} ;;
        https://*) port=443; way=${SECURE:-${PROXY:-$uri}} ;;
        *) echo "$uri local - -"; continue ;;
    esac
    rest=${way#*://}; rest=${rest%%/*}; rest=${rest##*@}
    case $rest in *:*) port=${rest##*:}; rest=${rest%:*} ;; esac
    if getent ahosts "$rest" >/dev/null; then name=resolved; else name=unknown; fi
    if timeout 3 bash -c "</dev/tcp/$rest/$port" 2>/dev/null; then state=open; else state=closed; fi
    echo "$uri $rest:$port $name $state"
done
"""

_LISTENING = r"""
command -v ss >/dev/null || exit 3
ss -Hlntup | while read -r protocol _ _ _ address _ users; do
    pid=${users#*pid=}; pid=${pid%%,*}; name=${users#*\"}; name=${name%%\"*}
    unit=$(sed -nE 's,.*/([^/]*\.(service|scope)).*,\1,p' "/proc/$pid/cgroup" 2>/dev/null | head -n 1)
    echo "$protocol $address ${unit:--} ${name:--}"
done
"""


@dataclass(frozen=True)
class PortUse:
    """A port that a role will have something listen on. ``address`` is empty for every address; ``units`` are
    patterns of the units that are allowed to hold it already."""

    port: int
    units: tuple[str, ...]
    purpose: str
    address: str = ""
    protocol: str = "tcp"


@dataclass(frozen=True)
class Listener:
    """Something that listens now."""

    protocol: str
    address: str
    port: int
    unit: str
    program: str


def list_questions(site: Site, host: str) -> dict[str, str]:
    """What is asked about the network of one host."""
    questions = {"sources": _SOURCES, "listening": _LISTENING}
    others = [other.address for other in site.inventory.hosts if other.name != host]
    questions["routes"] = "; ".join(f"ip route get {address} >/dev/null || echo {address}" for address in others) or ":"
    names = sorted({service.address for _, service in _external(site, host)})
    questions["names"] = "; ".join(f"getent ahosts {name} >/dev/null || echo {name}" for name in names) or ":"
    return questions


def check_network(site: Site, host: str, answers: Answers) -> Iterator[Finding]:
    """Everything about one host's network but its ports."""
    sources = [line.split() for line in answers.lines("sources")]
    sources = [parts for parts in sources if len(parts) == 4]
    unknown = sorted({parts[1] for parts in sources if parts[2] == "unknown"})
    evidence = f"cannot resolve {', '.join(unknown)}" if unknown else f"{len(sources)} package sources resolve"
    yield judge("network.dns", host, not unknown, evidence, "correct /etc/resolv.conf, or the source's name")
    closed = sorted({parts[1] for parts in sources if parts[3] == "closed" and parts[2] == "resolved"})
    evidence = f"no answer from {', '.join(closed)}" if closed else f"{len(sources)} package sources answer"
    remedy = "open the way, set Acquire::http::Proxy, or correct /etc/apt/sources.list.d"
    if sources:
        yield judge("network.sources", host, not closed, evidence, remedy)
    else:
        yield judge("network.sources", host, False, "apt knows no package source", "write /etc/apt/sources.list.d")
    unrouted = answers.lines("routes")
    evidence = f"no route to {', '.join(unrouted)}" if unrouted else "every other host has a route"
    yield judge("network.routes", host, not unrouted, evidence, "correct address in the inventory, or the routing")
    absent = answers.lines("names")
    for name, service in _external(site, host):
        known = service.address not in absent
        evidence = f"{name}: {service.address} {'resolves' if known else 'does not resolve'}"
        yield judge("network.external", host, known, evidence, f"correct services.{name}.address", Severity.WARNING)


def parse_listeners(lines: Iterable[str]) -> list[Listener]:
    """Read what the question ``listening`` printed: ``tcp 10.0.0.1:80 nginx.service nginx``."""
    found = []
    for line in lines:
        parts = line.split()
        address, _, port = parts[1].rpartition(":") if len(parts) == 4 else ("", "", "")
        if port.isdigit():
            found.append(Listener(parts[0], address.partition("%")[0], int(port), parts[2], parts[3]))
    return found


def check_ports(host: str, answers: Answers, uses: Iterable[PortUse]) -> Iterator[Finding]:
    """Each port that is to be used is free, or held by a unit that is ours."""
    if not answers.ok("listening"):
        yield skip("network.ports", host, "the program ss is missing; the first apply brings it")
        return
    listeners = parse_listeners(answers.lines("listening"))
    for use in uses:
        holders = [one for one in listeners if _collides(one, use)]
        strange = [one for one in holders if not any(fnmatch(one.unit, pattern) for pattern in use.units)]
        shown = ", ".join(dict.fromkeys(f"{one.program} ({one.unit})" for one in strange or holders))
        place = f"{use.address or '*'}:{use.port}/{use.protocol} for {use.purpose}"
        evidence = f"{place} is held by {shown}" if holders else f"{place} is free"
        yield judge("network.ports", host, not strange, evidence, "stop that program, or declare another port")


def _collides(listener: Listener, use: PortUse) -> bool:
    if (listener.protocol, listener.port) != (use.protocol, use.port):
        return False
    return listener.address in WILDCARDS or use.address in WILDCARDS or listener.address.strip("[]") == use.address


def _external(site: Site, host: str) -> list[tuple[str, ExternalService]]:
    """The outside services that something on the host uses."""
    used = {flow.destination for flow in site.topology.flows if flow.source_host == host and not flow.destination_host}
    return [
        (name, service)
        for name, service in site.platform.services.items()
        if isinstance(service, ExternalService) and (name in used or service.address in used)
    ]
