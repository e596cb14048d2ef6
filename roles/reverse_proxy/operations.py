"""Operations that only a reverse proxy needs: a certificate made on the host, a folder of files as a whole."""

from __future__ import annotations

import shlex
from collections.abc import Generator, Sequence

from pyinfra import host, logger, state
from pyinfra.api import StringCommand, operation
from pyinfra.api.command import PyinfraCommand

from groundwork.operations.placement import ScriptInput
from roles.reverse_proxy.certificates import build_creation, why_renew
from roles.reverse_proxy.facts import FolderDigest, ServedCertificate, digest_command
from roles.reverse_proxy.statics import StaticSite, build_archive


@operation()
def self_signed_certificate(dest: str, names: Sequence[str], common_name: str) -> Generator[PyinfraCommand, None, None]:
    """
    Make a key (ECDSA P-256) and a self-signed certificate on the host, where the present one no longer serves.

    + dest: absolute path of the one file for both, 0600 and root's
    + names: host names and addresses it is for
    + common_name: its subject, at most 64 characters
    """
    reason = why_renew(host.get_fact(ServedCertificate, path=dest), names)
    if not reason:
        host.noop(f"the certificate {dest} serves")
        return
    if state.config.DIFF:
        host.log(f"Will make certificate {dest} ({reason}) for {', '.join(names)}", logger.info)
    yield StringCommand(build_creation(dest, names, common_name))


@operation()
def static_folder(dest: str, site: StaticSite) -> Generator[PyinfraCommand, None, None]:
    """
    Lay down a folder of files as a whole: it appears complete, or not at all.

    + dest: absolute path of the folder
    + site: its files
    """
    found = host.get_fact(FolderDigest, path=dest)
    if found == site.digest:
        host.noop(f"{dest} is already in place")
        return
    if state.config.DIFF:
        reason = "content differs" if found else "absent"
        host.log(f"Will write {len(site.files)} files to {dest} ({reason})", logger.info)
    new, old, final = (shlex.quote(f"{dest}{suffix}") for suffix in (".new", ".old", ""))
    script = "\n".join(
        [
            "set -eu",
            "umask 022",
            f"rm -rf -- {new} {old}",
            f"mkdir -p -- {new}",
            f"base64 -d | tar -xzf - --no-same-owner -C {new}",
            f'test "$( {digest_command(dest + ".new")} )" = {site.digest} || {{ echo "files differ" >&2; exit 1; }}',
            f"test ! -e {final} || mv -T -- {final} {old}",
            f"mv -T -- {new} {final}",
            f"rm -rf -- {old}",
        ]
    )
    yield StringCommand(script, _stdin=ScriptInput(build_archive(site)))  # type: ignore[arg-type]
