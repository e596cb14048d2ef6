"""Files with a secret in them: the content travels over standard input and is never shown."""

from __future__ import annotations

from collections.abc import Generator, Sequence

from pyinfra import host, logger, state
from pyinfra.api import operation
from pyinfra.api.command import PyinfraCommand

from groundwork.operations.placement import Placement, parse_mode
from groundwork.operations.validated_files import judge_file, place_content
from groundwork.secrets.value import SecretValue, refuse_masked


@operation()
def secret_file(
    dest: str,
    content: SecretValue,
    user: str = "root",
    group: str = "root",
    mode: str | int = "0600",
    check: str | Sequence[str] | None = None,
    check_user: str | None = None,
) -> Generator[PyinfraCommand, None, None]:
    """
    Write a secret file atomically; nothing but its path and why it is written is ever printed.

    + dest: absolute path; its directory is made (0700) when missing
    + content: a secret's value, or a whole file from ``rendering.render_secret``
    + user, group, mode: of the file; a mode that lets others read is refused
    + check, check_user: as in ``validated_files.validated_file``; a refusal does not show the check's output
    """
    if not isinstance(content, SecretValue):
        raise TypeError(f"the content of {dest} must be a SecretValue")
    bits = parse_mode(mode)
    if bits & 0o007:
        raise ValueError(f"{dest}: mode {bits:04o} would let every user of the host at a secret")
    text = refuse_masked(content.reveal(), dest)
    placement = Placement(dest, user, group, bits, check, check_user, quiet=True, folder_mode=0o700)
    reason = judge_file(placement, text.encode())
    if reason and state.config.DIFF:
        host.log(f"Will write secret {dest} ({reason})", logger.info)
    yield from place_content(placement, text.encode(), reason)
