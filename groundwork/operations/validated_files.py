"""Files that a service's own check must accept before they replace what is there."""

from __future__ import annotations

from collections.abc import Generator, Mapping, Sequence
from pathlib import Path
from typing import Any

from pyinfra import host, logger, state
from pyinfra.api import StringCommand, operation
from pyinfra.api.command import PyinfraCommand
from pyinfra.facts.files import FileContents
from pyinfra.operations.util import files as file_utils
from pyinfra.operations.util.files import generate_color_diff

from groundwork.facts.placed_files import PlacedFile
from groundwork.operations.placement import Placement, ScriptInput, build_script, compute_digest, parse_mode
from groundwork.operations.rendering import render_template
from groundwork.secrets.value import refuse_masked


def judge_file(placement: Placement, content: bytes) -> str:
    """Why the file has to be written: ``absent``, ``not a file``, ``content differs``, ``owner differs``,
    ``mode differs``, or an empty string when it is as it should be."""
    current = host.get_fact(PlacedFile, path=placement.dest)
    if current is None:
        return "absent"
    if current["kind"] != "file":
        return "not a file"
    if current["digest"] != compute_digest(content):
        return "content differs"
    if (current["user"], current["group"]) != (placement.user, placement.group):
        return "owner differs"
    return "mode differs" if current["mode"] != placement.mode else ""


def place_content(placement: Placement, content: bytes, reason: str) -> Generator[PyinfraCommand, None, None]:
    """Yield the commands that mend what ``judge_file`` found; shared by all operations that write a file."""
    if not reason:
        host.noop(f"{placement.dest} is already in place")
    elif reason in ("owner differs", "mode differs"):
        yield file_utils.chown(placement.dest, placement.user, placement.group)
        # After the owner: a change of owner clears the set-user-ID bits.
        yield file_utils.chmod(placement.dest, f"{placement.mode:04o}")
    else:
        yield StringCommand(build_script(placement), _stdin=ScriptInput(content))  # type: ignore[arg-type]


def _show_difference(dest: str, content: str, reason: str) -> None:
    """Say what would change, as pyinfra's own operations do for ``--diff``."""
    lines = host.get_fact(FileContents, path=dest) if reason == "content differs" else None
    host.log(f"Will write {dest} ({reason})", logger.info)
    if reason in ("absent", "content differs"):
        old = [f"{line}\n" for line in lines or []]
        for line in generate_color_diff(old, content.splitlines(keepends=True)):
            logger.info("  %s", line)


@operation()
def validated_file(
    dest: str,
    content: str,
    check: str | Sequence[str] | None = None,
    user: str = "root",
    group: str = "root",
    mode: str | int = "0644",
    check_user: str | None = None,
) -> Generator[PyinfraCommand, None, None]:
    """
    Write a text file, replacing the old one only if a check accepts the new one.

    + dest: absolute path; its directory is made (0755) when missing
    + content: the whole text; no secret (use ``secret_files.secret_file`` for that)
    + check: argument list, or a line of shell, with ``{candidate}`` for the file to judge; None for no check
    + user, group, mode: of the file; they are set before the check runs
    + check_user: run the check as this user (the login must be root or sudo)

    The candidate has the same file name, in ``.groundwork-candidate`` beside ``dest``.
    A refused file leaves the old one untouched and fails with the check's output.
    """
    refuse_masked(content, dest)
    placement = Placement(dest, user, group, parse_mode(mode), check, check_user)
    reason = judge_file(placement, content.encode())
    if reason and state.config.DIFF:
        _show_difference(dest, content, reason)
    yield from place_content(placement, content.encode(), reason)


@operation()
def validated_template(
    src: str | Path,
    dest: str,
    data: Mapping[str, Any],
    check: str | Sequence[str] | None = None,
    user: str = "root",
    group: str = "root",
    mode: str | int = "0644",
    check_user: str | None = None,
) -> Generator[PyinfraCommand, None, None]:
    """
    Render a template and write it as ``validated_file`` does.

    + src: below the ``templates`` folder, for example ``reverse_proxy/site.conf.j2``
    + data: the names the template uses; one that is missing is an error
    """
    content = render_template(src, **data)
    yield from validated_file._inner(dest, content, check, user, group, mode, check_user)
