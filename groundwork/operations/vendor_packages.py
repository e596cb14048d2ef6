"""Packages of vendors: from the vendor's repository alone, or brought by the controller where hosts reach none."""

from __future__ import annotations

import shlex
from collections.abc import Generator, Sequence
from pathlib import Path

from pyinfra import host
from pyinfra.api import FileUploadCommand, QuoteString, StringCommand, operation
from pyinfra.api.command import PyinfraCommand
from pyinfra.api.exceptions import OperationError

from groundwork.artifacts.debian_version import is_release
from groundwork.artifacts.store import (
    ArtifactStore,
    StoreFailure,
    architecture_of,
    describe_failure,
    open_store,
    release_of,
)
from groundwork.engine.uploads import MAKE_UPLOADS
from groundwork.facts.vendor_packages import PackageOrigins
from groundwork.operations.apt import APT_GET, CONFIGURE, logged
from groundwork.site import Site

FOLDER = "/var/lib/groundwork/artifacts"


def source_path(repository: str) -> str:
    """Where apt finds a vendor's repository."""
    return f"/etc/apt/sources.list.d/groundwork-{repository}.sources"


def _choose_version(package: str, version: str, root: str) -> str:
    """Shell that sets ``chosen`` to what the vendor's repository, and no other, has of a package."""
    # apt-cache madison lists "name | version | URI suite/component architecture Packages", the newest first.
    program = (
        'BEGIN { FS = " *[|] *" } { split($3, place, " "); sub("/$", "", place[1]) } '
        'place[1] == root && (want == "" || fits($2)) { print $2; exit } '
        'function fits(v) { if (v == want) return 1; sub("^[0-9]+:", "", v); '
        'return v == want || (index(v, want) == 1 && index("-+~", substr(v, length(want) + 1, 1)) > 0) }'
    )
    command = shlex.join(["awk", "-v", f"root={root.rstrip('/')}", "-v", f"want={version}", program])
    told = shlex.quote(f"{root} has no {package} {version}".rstrip())
    return (
        f"chosen=$(apt-cache madison {shlex.quote(package)} | sed 's/^ *//' | {command}); "
        f'test -n "$chosen" || {{ echo {told} >&2; exit 1; }}'
    )


@operation()
def vendor_package(
    site: Site, package: str, version: str = "", hold_services: Sequence[str] = ()
) -> Generator[PyinfraCommand, None, None]:
    """
    Install a package from its vendor, and from nobody else; one of the same name from elsewhere is replaced.

    + site: the environment, whose ``artifacts.lock`` says which repository has the package
    + package: its name
    + version: the release wanted, with or without Debian's revision; empty for any, the newest where none is there
    + hold_services: units that the package brings and that must not start before they are configured

    The role ``artifacts`` has set up the repository before. An older release is never replaced by a newer one
    unless the version says so.
    """
    store = open_store(site)
    source = store.lock.repository_of(package)
    if source is None:
        raise OperationError(f"no repository in artifacts.lock has {package}")
    # Where hosts have no source for it, whoever offers the installed version is somebody else.
    root = "" if store.offline else store.root_url(source[0])
    found = host.get_fact(PackageOrigins, packages=[package]).get(package)
    if found and not found.is_foreign(root) and (not version or is_release(found.version, version)):
        host.noop(f"{package} {found.version} is installed")
        return
    if store.offline:
        yield from _install_from_here(store, source[0], package, version, hold_services)
        return
    try:
        # apt of Debian 13 takes the signature of a key that has expired since; gpgv does not.
        store.read_release(source[0], release_of(host.data.dict()))
    except StoreFailure as error:
        raise OperationError(f"the index of {source[0]} {describe_failure(error)}; {advise(store)}") from None
    for unit in hold_services:
        yield StringCommand("systemctl mask --quiet --", QuoteString(unit))
    only = f"-o Dir::Etc::SourceList={source_path(source[0])} -o Dir::Etc::SourceParts=/dev/null"
    yield StringCommand(logged(f"{APT_GET} update {only} -o APT::Get::List-Cleanup=0 --error-on=any"))
    yield StringCommand(logged(CONFIGURE))
    install = f'{APT_GET} install --allow-downgrades --no-install-recommends {shlex.quote(package)}="$chosen"'
    yield StringCommand(f"{_choose_version(package, version, root)}; {logged(install)}")


def _install_from_here(
    store: ArtifactStore, repository: str, package: str, version: str, hold_services: Sequence[str]
) -> Generator[PyinfraCommand, None, None]:
    where = release_of(host.data.dict()), architecture_of(host.data.dict())
    try:
        entry, path = store.open_package(repository, *where, package, version)
    except StoreFailure as error:
        raise OperationError(f"{package} of {repository}: {describe_failure(error)}; {advise(store)}") from None
    for unit in hold_services:
        yield StringCommand("systemctl mask --quiet --", QuoteString(unit))
    place = f"{FOLDER}/{Path(entry.file.path).name}"
    yield from bring_file(path, place, entry.file.sha256)
    yield StringCommand(logged(CONFIGURE))
    install = f"{APT_GET} install --allow-downgrades --no-install-recommends {shlex.quote(place)}"
    yield StringCommand(f"{logged(install)} && rm -f -- {shlex.quote(place)}")


def bring_file(path: Path, place: str, sha256: str) -> Generator[PyinfraCommand, None, None]:
    """Upload a file of the store; under its name it is only what its digest says."""
    # apt reads packages as a user of its own.
    yield StringCommand(f"install -d -m 0755 -- {FOLDER} && find {FOLDER} -mindepth 1 -delete")
    yield StringCommand(MAKE_UPLOADS)
    yield FileUploadCommand(str(path), f"{place}.part")
    part = shlex.quote(f"{place}.part")
    yield StringCommand(
        f"echo {sha256}' *'{part} | sha256sum --check --status || "
        f"{{ echo {shlex.quote(path.name)} was damaged on its way >&2; rm -f -- {part}; exit 1; }}; "
        f"chown root:root -- {part} && chmod 0644 -- {part} && mv -fT -- {part} {shlex.quote(place)}"
    )


def advise(store: ArtifactStore) -> str:
    """What to do about a part that is missing here."""
    return f"groundwork artifacts fetch ENV brings it into {store.folder}"
