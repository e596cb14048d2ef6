"""Downloads that go on where they broke off and appear under their name only when they are whole and right."""

from __future__ import annotations

import hashlib
import http.client
import os
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from pathlib import Path

TIMEOUT = 30.0
"""Seconds without a byte after which a connection counts as broken."""
TRIES = 4
LARGEST = 4 * 1024**3
"""Bytes that a file may have where its size is not known beforehand."""
_CHUNK = 1024 * 1024


class DownloadError(Exception):
    """A file cannot be had, or is not what it must be; the text says why."""


def digest_of(path: Path) -> str:
    """SHA-256 of a file, in hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def fetch_file(
    url: str,
    dest: Path,
    *,
    sha256: str = "",
    size: int = 0,
    largest: int = LARGEST,
    check: Callable[[bytes], None] | None = None,
    pause: float = 1.0,
) -> bool:
    """Fetch a file unless it is there as it must be; return whether anything was fetched.

    ``sha256`` and ``size`` (bytes) say what it must be; ``check`` judges the content where that is not known. A file
    with neither is fetched anew each time. What came before a connection broke is kept beside it as ``.part`` and
    asked for no second time; with a wrong digest it is thrown away. The old file stays until the new one is right.

    Raises:
        DownloadError: no answer after four tries, too large, another size or digest, refused by ``check``.
    """
    if sha256 and dest.is_file() and digest_of(dest) == sha256:
        return False
    dest.parent.mkdir(parents=True, exist_ok=True)
    part = dest.with_name(dest.name + ".part")
    if not sha256:
        part.unlink(missing_ok=True)
    limit = size or largest
    reason = ""
    for attempt in range(TRIES):
        if attempt:
            time.sleep(pause * 2 ** (attempt - 1))
        try:
            _receive(url, part, limit)
            break
        except _BrokenOffError as error:
            reason = str(error)
    else:
        raise DownloadError(f"{url}: {reason}")
    _judge(url, part, sha256, size, check)
    part.chmod(0o644)
    part.replace(dest)
    return True


class _BrokenOffError(Exception):
    """Worth another try."""


def _receive(url: str, part: Path, limit: int) -> None:
    have = part.stat().st_size if part.is_file() else 0
    if have > limit:
        part.unlink()
        have = 0
    # A transport that compresses would make the ranges those of something else.
    headers = {"Accept-Encoding": "identity", "User-Agent": "groundwork"}
    if have:
        headers["Range"] = f"bytes={have}-"
    request = urllib.request.Request(url, headers=headers)
    try:
        with urllib.request.urlopen(request, timeout=TIMEOUT) as answer:
            appending = answer.status == 206 and answer.headers.get("Content-Range", "").startswith(f"bytes {have}-")
            expected = answer.headers.get("Content-Length")
            total = _copy(url, answer, part, have if appending else 0, limit)
    except urllib.error.HTTPError as error:
        if error.code == 416:
            # Nothing is left to send: the digest decides whether what is there is whole.
            return
        if error.code >= 500 or error.code == 429:
            raise _BrokenOffError(f"answers {error.code}") from None
        raise DownloadError(f"{url}: answers {error.code}") from None
    except urllib.error.URLError as error:
        raise _BrokenOffError(str(error.reason)) from None
    except (OSError, http.client.HTTPException) as error:
        raise _BrokenOffError(str(error) or type(error).__name__) from None
    start = have if appending else 0
    if expected is not None and expected.isdecimal() and total - start < int(expected):
        raise _BrokenOffError(f"broke off after {total} bytes")


def _copy(url: str, answer: http.client.HTTPResponse, part: Path, start: int, limit: int) -> int:
    total = start
    with part.open("ab" if start else "wb") as file:
        while chunk := answer.read(_CHUNK):
            total += len(chunk)
            if total > limit:
                part.unlink()
                raise DownloadError(f"{url}: is larger than the {limit} bytes that it may have")
            file.write(chunk)
        file.flush()
        os.fsync(file.fileno())
    return total


def _judge(url: str, part: Path, sha256: str, size: int, check: Callable[[bytes], None] | None) -> None:
    found = part.stat().st_size if part.is_file() else 0
    why = f"has {found} bytes, must have {size}" if size and found != size else ""
    if not why and sha256 and (digest := digest_of(part)) != sha256:
        why = f"has SHA-256 {digest}, must have {sha256}"
    if why:
        part.unlink(missing_ok=True)
        raise DownloadError(f"{url}: {why}")
    if check:
        try:
            check(part.read_bytes())
        except Exception:
            part.unlink(missing_ok=True)
            raise
