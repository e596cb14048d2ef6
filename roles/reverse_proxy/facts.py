"""What of a reverse proxy is on a host."""

from __future__ import annotations

import shlex

from pyinfra.api import FactBase
from typing_extensions import override

from roles.reverse_proxy.certificates import CertificateState, build_question, parse_state


class ServedCertificate(FactBase[CertificateState | None]):
    """The certificate with its key at a path; None where there is none, or openssl is not installed."""

    @override
    def command(self, path: str) -> str:
        return build_question(path)

    @override
    def process(self, output: list[str]) -> CertificateState | None:
        return parse_state(output)


def digest_command(folder: str) -> str:
    """Return a shell command that prints the digest of all files below ``folder``."""
    return (
        f"( cd {shlex.quote(folder)} && find . ! -type d -print0 | LC_ALL=C sort -z "
        "| xargs -0r sha256sum -- | sha256sum | cut -d' ' -f1 )"
    )


class FolderDigest(FactBase[str]):
    """Digest over names and contents of all files of a folder; empty where it does not exist."""

    default = str

    @override
    def command(self, path: str) -> str:
        return f"test ! -d {shlex.quote(path)} || {digest_command(path)}"

    @override
    def process(self, output: list[str]) -> str:
        return output[0].strip()
