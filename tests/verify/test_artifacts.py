"""Hosts take from vendors what is declared and nothing else, and that from nobody else: apt says so."""

from __future__ import annotations

import re
from dataclasses import dataclass

import pytest
from testinfra.host import Host

from groundwork.artifacts.store import ArtifactStore, open_store
from groundwork.site import Site
from groundwork.topology.vendor_parts import list_vendor_packages

FOLDERS = "/etc/apt/sources.list.d /etc/apt/keyrings /etc/apt/preferences.d"

DEBIAN_KEYS = "/usr/share/keyrings/debian-archive-keyring.gpg"
# An update from this one source, in a folder of its own.
TRIAL = (
    'folder=$(mktemp -d) && chmod 0755 "$folder" && mkdir -p "$folder/lists/partial" && '
    'chown _apt "$folder/lists/partial" && {change} "$folder/one.sources" && chmod 0644 "$folder/one.sources" && '
    'apt-get -qq update --error-on=any -o Dir::Etc::SourceList="$folder/one.sources" '
    '-o Dir::Etc::SourceParts=/dev/null -o Dir::State::Lists="$folder/lists" -o Dir::Cache::pkgcache= '
    '-o Dir::Cache::srcpkgcache=; status=$?; rm -rf "$folder"; exit $status'
)


@dataclass(frozen=True)
class Part:
    """A package that the host takes from a vendor."""

    package: str
    version: str
    repository: str
    uri: str


@pytest.fixture
def store(site: Site) -> ArtifactStore:
    return open_store(site)


@pytest.fixture
def parts(site: Site, store: ArtifactStore, host_name: str) -> list[Part]:
    found = []
    for one in list_vendor_packages(site.platform, site.topology, host_name):
        source = store.lock.repository_of(one.package)
        assert source is not None
        found.append(Part(one.package, one.version, source[0], store.root_url(source[0])))
    return found


def read_table(host: Host, package: str) -> dict[str, tuple[int, set[str]]]:
    """Each version that apt knows, with its priority and the URIs that offer it."""
    table: dict[str, tuple[int, set[str]]] = {}
    version = ""
    for line in host.check_output(f"LC_ALL=C apt-cache policy {package}").splitlines():
        if match := re.match(r" (?:\*\*\*|   ) (\S+) (-?\d+)$", line):
            version = match[1]
            table[version] = (int(match[2]), set())
        elif version and (match := re.match(r" +-?\d+ (\S+)", line)) and not match[1].startswith("/var/lib/dpkg"):
            table[version][1].add(match[1].rstrip("/"))
    return table


def test_there_are_no_other_files(host: Host, store: ArtifactStore, parts: list[Part]) -> None:
    found = set(host.check_output(f"find {FOLDERS} -name 'groundwork-*' -printf '%f\\n'").split())
    names = {part.repository for part in parts}
    expected = {f"groundwork-{name}" for name in names}
    if not store.offline:
        expected |= {f"groundwork-{name}{end}" for name in names for end in (".sources", ".asc")}
    assert found == expected


def test_apt_trusts_each_repository_by_its_own_key(host: Host, store: ArtifactStore, parts: list[Part]) -> None:
    for name in {part.repository for part in parts} if not store.offline else ():
        source = f"/etc/apt/sources.list.d/groundwork-{name}.sources"
        text = host.file(source).content_string
        assert re.findall(r"^(Signed-By|Trusted|Allow-\S+|Check-\S+):\s*(\S+)", text, re.MULTILINE) == [
            ("Signed-By", f"/etc/apt/keyrings/groundwork-{name}.asc")
        ]
        assert host.run(TRIAL.format(change=f"cp {source}")).rc == 0
        # With another key in its place the same source is refused: the key makes the difference.
        other = f"sed 's|^Signed-By:.*|Signed-By: {DEBIAN_KEYS}|' {source} >"
        assert host.run(TRIAL.format(change=other)).rc != 0


def test_nothing_else_comes_from_there(host: Host, store: ArtifactStore, parts: list[Part]) -> None:
    files = host.check_output("LC_ALL=C apt-cache policy").splitlines()
    for part in parts if not store.offline else ():
        priorities = [line.split()[0] for line in files if re.match(rf" *-?\d+ {re.escape(part.uri)}/? ", line)]
        assert priorities and set(priorities) == {"-1"}


def test_declared_packages_come_from_nowhere_else(host: Host, store: ArtifactStore, parts: list[Part]) -> None:
    for part in parts:
        table = read_table(host, part.package)
        installed = host.package(part.package)
        assert installed.is_installed
        plain = str(installed.version).partition(":")[2] or str(installed.version)
        assert not part.version or plain == part.version or re.match(rf"{re.escape(part.version)}[-+~]", plain)
        own = "" if store.offline else part.uri.rstrip("/")
        offered = table[str(installed.version)][1]
        assert not offered or own in offered
        for priority, uris in table.values():
            if uris:
                assert priority == (1001 if own in uris else -1)
