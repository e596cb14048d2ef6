"""Fetches the judge's content: Debian's package ``ssg-debian`` from the suite that has the current one."""

from __future__ import annotations

import subprocess
from collections.abc import Callable
from pathlib import Path

from groundwork.lab.aptsources import DEBIAN_KEYRING, choose_mirrors, read_sources
from groundwork.lab.errors import lab_error
from groundwork.lab.state import locked
from groundwork.scan.results import VERSIONS

SUITE = "sid"
"""Debian 12 and 13 carry older content, without the CIS profiles of their own releases."""
PACKAGE = "ssg-debian"
DATASTREAM = "usr/share/xml/scap/ssg/content/ssg-debian{version}-ds.xml"
FETCH_SECONDS = 600


def ensure_content(release: str, root: Path, say: Callable[[str], None]) -> Path:
    """Return the data stream for a release (codename), fetching it into ``.cache/scan`` on first use.

    apt works in a state directory of its own with this machine's mirror: nothing is installed and the machine's own
    package lists are not touched. Raises ProblemError when it cannot be fetched.
    """
    folder = root / ".cache" / "scan"
    stream = folder / "content" / DATASTREAM.format(version=VERSIONS[release])
    folder.mkdir(parents=True, exist_ok=True)
    with locked(folder / "content.lock"):
        if not stream.exists():
            say(f"fetching {PACKAGE} of {SUITE}")
            _fetch(folder)
    if not stream.exists():
        raise lab_error(f"{PACKAGE} of {SUITE} has no content for {release}")
    return stream


def _fetch(folder: Path) -> None:
    mirror = choose_mirrors(read_sources(Path("/etc/apt"))).main
    if not mirror:
        raise lab_error("this machine's apt sources name no mirror of Debian", key="/etc/apt")
    for part in ("state/lists/partial", "cache/archives/partial", "sources"):
        (folder / part).mkdir(parents=True, exist_ok=True)
    (folder / "status").touch()
    stanza = f"Types: deb\nURIs: {mirror}\nSuites: {SUITE}\nComponents: main\nSigned-By: {DEBIAN_KEYRING}\n"
    (folder / "sources" / "debian.sources").write_text(stanza)
    options = {
        "Dir::State": folder / "state",
        "Dir::State::status": folder / "status",
        "Dir::Cache": folder / "cache",
        "Dir::Etc::sourcelist": "/dev/null",
        "Dir::Etc::sourceparts": folder / "sources",
        "Acquire::Languages": "none",
    }
    apt = ["apt-get", "-q", *(word for key, value in options.items() for word in ("-o", f"{key}={value}"))]
    for package in folder.glob(f"{PACKAGE}_*.deb"):
        package.unlink()
    _run([*apt, "update"], folder)
    _run([*apt, "download", PACKAGE], folder)
    for package in folder.glob(f"{PACKAGE}_*.deb"):
        _run(["dpkg-deb", "-x", str(package), str(folder / "content")], folder)


def _run(command: list[str], folder: Path) -> None:
    try:
        done = subprocess.run(command, cwd=folder, check=False, capture_output=True, text=True, timeout=FETCH_SECONDS)
    except (OSError, subprocess.TimeoutExpired) as error:
        raise lab_error(f"fetching {PACKAGE}: {error}") from error
    if done.returncode:
        raise lab_error(f"fetching {PACKAGE}: {done.stderr.strip()[-300:]}")
