"""Releases and generations as pyinfra operations; each asks the host and does nothing when all is in place."""

from __future__ import annotations

import json
import shlex
from collections.abc import Generator, Sequence

from pyinfra import host, logger, state
from pyinfra.api import FileUploadCommand, QuoteString, StringCommand, operation
from pyinfra.api.command import PyinfraCommand
from pyinfra.api.operation import OperationMeta
from pyinfra.facts.files import FileContents
from pyinfra.operations.util.files import generate_color_diff

from groundwork.engine.uploads import MAKE_UPLOADS
from groundwork.operations.placement import ScriptInput
from roles.agent_runtime.accounts import package_name
from roles.agent_runtime.facts import LIBRARY, Releases, RuntimeStatus
from roles.agent_runtime.generation import UNITS, Generation
from roles.agent_runtime.wheelhouse import Wheelhouse


def _read_status(platform: str) -> RuntimeStatus:
    return host.get_fact(Releases, platform=platform)


def command(platform: str, *arguments: str) -> str:
    """The command line of the host's own helper."""
    return shlex.join(["/usr/bin/python3", "-m", package_name(platform), platform, *arguments])


_ENVIRONMENT = {"PYTHONPATH": LIBRARY, "PYTHONDONTWRITEBYTECODE": "1"}


def command_prefix() -> str:
    """What comes before the helper's command line: the environment it needs."""
    return "env " + " ".join(f"{key}={value}" for key, value in _ENVIRONMENT.items())


@operation()
def release(platform: str, wheelhouse: Wheelhouse) -> Generator[PyinfraCommand, None, None]:
    """
    Install a release of the runtime package into an environment of its own, beside those in use.

    + platform: the platform's name
    + wheelhouse: what ``prepare_wheelhouse`` made; the host needs no package index
    """
    if wheelhouse.release in _read_status(platform)["releases"]:
        host.noop(f"release {wheelhouse.release} is installed")
        return
    folder = f"/opt/groundwork/{platform}"
    archive = f"{folder}/.{wheelhouse.release}.tar"
    yield StringCommand("mkdir -p --", QuoteString(folder))
    # The base role makes it, too; a host may be brought up by this role alone.
    yield StringCommand(MAKE_UPLOADS)
    yield FileUploadCommand(str(wheelhouse.archive), archive)
    arguments = ("install", wheelhouse.release, archive, wheelhouse.digest)
    yield StringCommand(command_prefix(), command(platform, *arguments))


def _show_differences(platform: str, generation: Generation, status: RuntimeStatus) -> None:
    """Say which files differ from what is in force, with the lines that do."""
    for path, file in generation.files.items():
        place = f"/etc/systemd/system/{path.removeprefix(UNITS)}" if path.startswith(UNITS) else ""
        place = place or f"/etc/groundwork/{platform}/{path}"
        lines = host.get_fact(FileContents, path=place) if status["live"] else None
        old = [f"{line}\n" for line in lines or []]
        new = file.content.splitlines(keepends=True)
        if old != new:
            host.log(f"Will write {place} ({'content differs' if old else 'absent'})", logger.info)
            for line in generate_color_diff(old, new):
                logger.info("  %s", line)


@operation()
def generation(platform: str, generation: Generation) -> Generator[PyinfraCommand, None, None]:
    """
    Lay units, configuration and instance files down beside those in force; the release checks its configuration.

    + platform: the platform's name
    + generation: what ``build_generation`` rendered
    """
    status = _read_status(platform)
    if status["generations"].get(generation.name) == []:
        host.noop("units and configuration are as declared")
        return
    if state.config.DIFF:
        _show_differences(platform, generation, status)
    content = ScriptInput(json.dumps(generation.document).encode())
    decode = f"base64 -d | {command_prefix()} {command(platform, 'stage', generation.name)}"
    yield StringCommand(decode, _stdin=content)  # type: ignore[arg-type]


@operation()
def switch(
    platform: str, generation: Generation, after: Sequence[OperationMeta] = ()
) -> Generator[PyinfraCommand, None, None]:
    """
    Bring a generation into force, and the former one again if its units do not become ready (the operation fails).

    + platform: the platform's name
    + generation: the one to switch to, staged before
    + after: results of the operations that write the credentials, so that a plan shows the restart

    It runs as a service of its own, so that the end of the connection does not leave it half done.
    """
    status = _read_status(platform)
    planned = not state.is_executing and any(meta._maybe_is_change for meta in after)
    in_force = status["live"] == status["proven"] == generation.name
    if in_force and not status["lags"] and not planned:
        host.noop(f"release {generation.document['release']} is in force")
        return
    if state.config.DIFF:
        for lag in status["lags"][:20]:
            host.log(lag, logger.info)
    options = " ".join(f"--setenv={key}={value}" for key, value in _ENVIRONMENT.items())
    run = f"systemd-run --quiet --wait --pipe --collect {options} --description='Switch {platform}' --"
    yield StringCommand(run, command(platform, "switch", generation.name))
