"""Releases of Phoenix as a pyinfra operation."""

from __future__ import annotations

import shlex
from collections.abc import Generator
from pathlib import Path

from pyinfra import host
from pyinfra.api import FileUploadCommand, QuoteString, StringCommand, operation
from pyinfra.api.command import PyinfraCommand

from groundwork.engine.uploads import MAKE_UPLOADS
from groundwork.operations.placement import ScriptInput
from roles.traces.facts import PhoenixReleases
from roles.traces.release import Release

INSTALLER = Path(__file__).parent / "onhost" / "install_phoenix.py"


@operation()
def phoenix_release(folder: str, release: Release) -> Generator[PyinfraCommand, None, None]:
    """
    Install a release of Phoenix into an environment of its own, beside the one in use.

    + folder: where the releases are
    + release: what ``collect_release`` made; the host needs no package index
    """
    if release.name in host.get_fact(PhoenixReleases, folder=folder):
        host.noop(f"Phoenix {release.name} is installed")
        return
    archive = f"{folder}/.{release.name}.tar"
    yield StringCommand("mkdir -p --", QuoteString(folder))
    # The base role makes it, too; a host may be brought up by this role alone.
    yield StringCommand(MAKE_UPLOADS)
    yield FileUploadCommand(str(release.archive), archive)
    command = shlex.join(["python3", "-I", "-", archive, release.digest, f"{folder}/{release.name}"])
    script = ScriptInput(INSTALLER.read_bytes())
    yield StringCommand(f"base64 -d | {command}", _stdin=script)  # type: ignore[arg-type]
