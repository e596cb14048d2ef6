"""Reads this machine's apt sources, so that lab hosts install from the mirrors that are reachable here."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

DEBIAN_KEYRING = "/usr/share/keyrings/debian-archive-keyring.gpg"
# Codenames and moving names of Debian suites; anything else (a vendor's or another distribution's suite)
# says nothing about where Debian's packages are.
_DEBIAN_SUITE = re.compile(
    r"^(buster|bullseye|bookworm|trixie|forky|duke|sid|oldstable|stable|testing|unstable)"
    r"(?P<pocket>-security|/updates|-updates|-backports)?$"
)
_ONE_LINE = re.compile(r"^deb\s+(?:\[[^\]]*\]\s+)?(?P<uri>\S+)\s+(?P<suite>\S+)(?:\s+(?P<components>.*))?$")


@dataclass(frozen=True)
class AptSource:
    """One place packages come from: ``uri`` and ``suite`` as apt writes them."""

    uri: str
    suite: str
    components: tuple[str, ...]


@dataclass(frozen=True)
class Mirrors:
    """Where Debian's packages are fetched: ``main`` and ``security``; empty means debootstrap's default."""

    main: str = ""
    security: str = ""


def parse_one_line(text: str) -> list[AptSource]:
    """Parse the one-line format (``deb [options] URI SUITE COMPONENT...``); other lines are ignored."""
    found = []
    for line in text.splitlines():
        match = _ONE_LINE.match(line.split("#", 1)[0].strip())
        if match:
            components = tuple((match["components"] or "").split())
            found.append(AptSource(match["uri"], match["suite"], components))
    return found


def parse_deb822(text: str) -> list[AptSource]:
    """Parse the deb822 format (``.sources``): one source for each URI and suite of each enabled stanza."""
    found = []
    lines = [line for line in text.splitlines() if not line.startswith("#")]
    for stanza in re.split(r"\n\s*\n", "\n".join(lines)):
        fields = _fields(stanza)
        if "deb" not in fields.get("types", "").split() or fields.get("enabled", "yes").lower() == "no":
            continue
        components = tuple(fields.get("components", "").split())
        for uri in fields.get("uris", "").split():
            found += [AptSource(uri, suite, components) for suite in fields.get("suites", "").split()]
    return found


def _fields(stanza: str) -> dict[str, str]:
    fields: dict[str, str] = {}
    name = ""
    for line in stanza.splitlines():
        if line[:1] in (" ", "\t"):
            fields[name] = f"{fields.get(name, '')} {line.strip()}"
        elif ":" in line:
            name, value = line.split(":", 1)
            name = name.strip().lower()
            fields[name] = value.strip()
    return fields


def read_sources(etc_apt: Path) -> list[AptSource]:
    """Read every apt source below ``etc_apt`` (normally ``/etc/apt``), resolving ``mirror+file:`` lists."""
    files = [etc_apt / "sources.list", *sorted((etc_apt / "sources.list.d").glob("*"))]
    found: list[AptSource] = []
    for file in files:
        if file.suffix not in (".list", ".sources") or not file.is_file():
            continue
        parse = parse_deb822 if file.suffix == ".sources" else parse_one_line
        found += parse(file.read_text(encoding="utf-8", errors="replace"))
    return [source for entry in found for source in _resolve(entry)]


def _resolve(source: AptSource) -> list[AptSource]:
    """Debian's cloud images name a file that lists mirrors; a host has no such file, so take its first entry."""
    if not source.uri.startswith("mirror+file:"):
        return [source]
    listing = Path("/" + source.uri.removeprefix("mirror+file:").lstrip("/"))
    if not listing.is_file():
        return []
    lines = listing.read_text(encoding="utf-8", errors="replace").splitlines()
    uris = [line.split()[0] for line in lines if line.strip() and not line.startswith("#")]
    return [AptSource(uris[0], source.suite, source.components)] if uris else []


def choose_mirrors(sources: Iterable[AptSource]) -> Mirrors:
    """Find Debian's main and security mirrors among the sources, whichever release they are for.

    Only http and https mirrors count: a CD-ROM or a folder of this machine is not reachable from a host. The
    security mirror is guessed beside the main one (``.../debian-security``) where no source names it.
    """
    main = security = ""
    for source in sources:
        match = _DEBIAN_SUITE.match(source.suite)
        if not match or not source.uri.startswith(("http://", "https://")):
            continue
        uri = source.uri.rstrip("/")
        if match["pocket"] in ("-security", "/updates"):
            security = security or uri
        elif not match["pocket"]:
            main = main or uri
    if main and not security:
        security = security_beside(main)
    return Mirrors(main, security)


def security_beside(main: str) -> str:
    """The security archive's usual place beside a main mirror; empty when the path gives no hint."""
    return f"{main}-security" if main.endswith("/debian") else ""


def render_sources(mirrors: Mirrors, release: str) -> str:
    """Return the deb822 text of ``/etc/apt/sources.list.d/debian.sources`` for a host of this release.

    With no main mirror the result is empty: the sources that debootstrap or the pulled image wrote then stay.
    """
    if not mirrors.main:
        return ""
    components = "Components: main\nSigned-By: " + DEBIAN_KEYRING + "\n"
    text = f"Types: deb\nURIs: {mirrors.main}\nSuites: {release} {release}-updates\n{components}"
    if mirrors.security:
        text += f"\nTypes: deb\nURIs: {mirrors.security}\nSuites: {release}-security\n{components}"
    return text
