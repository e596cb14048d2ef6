"""Release archives of vendors, unpacked on a host: checked, whole or not at all, the version before kept."""

from __future__ import annotations

import shlex
from collections.abc import Generator
from pathlib import Path

from pyinfra import host
from pyinfra.api import StringCommand, operation
from pyinfra.api.command import PyinfraCommand
from pyinfra.api.exceptions import OperationError

from groundwork.artifacts.onhost import unpack
from groundwork.artifacts.store import StoreFailure, architecture_of, describe_failure, open_store
from groundwork.facts.unpacked_archives import UnpackedArchives
from groundwork.operations.placement import ScriptInput
from groundwork.operations.vendor_packages import FOLDER, advise, bring_file
from groundwork.problems import ProblemError
from groundwork.site import Site

ROOT = "/opt/groundwork/vendor"


def archive_folder(name: str) -> str:
    """Where the versions of an archive are; ``current`` in it is the one in use. For the role's ledger."""
    return f"{ROOT}/{name}"


@operation()
def release_archive(site: Site, archive: str) -> Generator[PyinfraCommand, None, None]:
    """
    Unpack the version of a release archive that ``artifacts.lock`` pins, and point ``current`` at it.

    + site: the environment
    + archive: its name in ``artifacts.lock``

    The host needs python3 and no network. A folder is named ``<version>-<digest>`` and is complete when it is there.
    """
    store = open_store(site)
    try:
        path, sha256 = store.open_archive(archive, architecture_of(host.data.dict()))
    except ProblemError as error:
        raise OperationError(str(error)) from None
    except StoreFailure as error:
        raise OperationError(f"archive {archive}: {describe_failure(error)}; {advise(store)}") from None
    folder = archive_folder(archive)
    name = f"{store.lock.archives[archive].version}-{sha256[:12]}"
    state = host.get_fact(UnpackedArchives, folder=folder)
    if state["current"] == name and name in state["folders"]:
        host.noop(f"{archive} {name} is in use")
        return
    place = f"{FOLDER}/{path.name}"
    yield from bring_file(path, place, sha256)
    command = shlex.join(["python3", "-I", "-", place, sha256, f"{folder}/{name}", f"{folder}/current"])
    script = ScriptInput(Path(unpack.__file__).read_bytes())
    yield StringCommand(f"base64 -d | {command} && rm -f -- {shlex.quote(place)}", _stdin=script)  # type: ignore[arg-type]
