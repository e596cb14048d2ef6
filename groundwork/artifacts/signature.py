"""Signatures of repositories' indexes, judged by gpgv: only pinned keys count, and none that has expired."""

from __future__ import annotations

import shutil
import subprocess
import tempfile
from collections.abc import Iterable
from pathlib import Path

from groundwork.artifacts.openpgp import dearmour, list_fingerprints

# What gpgv says besides GOODSIG of a signature that must not count (GnuPG, doc/DETAILS).
REASONS = {
    "EXPKEYSIG": "is signed by a key that has expired",
    "EXPSIG": "has a signature that has expired",
    "REVKEYSIG": "is signed by a key that was revoked",
    "BADSIG": "was changed after it was signed",
    "ERRSIG": "is signed by a key that is not pinned",
    "NODATA": "is not signed",
}


class SignatureError(Exception):
    """What is signed cannot be trusted; the text says why."""


def check_key(content: bytes, fingerprints: Iterable[str]) -> list[str]:
    """Return the fingerprints of a key file, all of them pinned.

    Raises:
        SignatureError: no key file, or with a key that is not pinned.
    """
    pinned = list(fingerprints)
    try:
        found = list_fingerprints(content)
    except ValueError as error:
        raise SignatureError(f"the key file {error}") from None
    foreign = [one for one in found if one not in pinned]
    if foreign:
        raise SignatureError(f"the key file holds {', '.join(foreign)}; pinned is {', '.join(pinned)}")
    return found


def read_signed(signed: bytes, key: bytes, fingerprints: Iterable[str]) -> str:
    """Return the text of a clear-signed file (``InRelease``), without anything that its signature does not cover.

    Raises:
        SignatureError: no valid signature by a pinned key, or gpgv is missing.
    """
    pinned = check_key(key, fingerprints)
    program = shutil.which("gpgv")
    if program is None:
        raise SignatureError("cannot be judged: gpgv is not installed here (package gpgv)")
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        (folder / "keys.gpg").write_bytes(dearmour(key))
        (folder / "signed").write_bytes(signed)
        command = [program, "--homedir", temporary, "--keyring", str(folder / "keys.gpg"), "--status-fd", "1"]
        command += ["--output", str(folder / "text"), str(folder / "signed")]
        done = subprocess.run(command, capture_output=True, text=True, errors="replace", timeout=60, check=False)
        words = [line.split()[1:] for line in done.stdout.splitlines() if line.startswith("[GNUPG:] ")]
        said = [word[0] for word in words if word]
        # The last field of VALIDSIG is the primary key's fingerprint; one that expired has no GOODSIG beside it.
        valid = {word[-1] for word in words if word and word[0] == "VALIDSIG"}
        if "GOODSIG" in said and valid & set(pinned) and not set(said) & (set(REASONS) - {"ERRSIG"}):
            return (folder / "text").read_text(encoding="utf-8")
    raise SignatureError(next((REASONS[one] for one in REASONS if one in said), "has no valid signature"))
