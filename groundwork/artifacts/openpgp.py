"""Fingerprints of the keys in an OpenPGP key file, read without any program (RFC 4880 and RFC 9580)."""

from __future__ import annotations

import base64
import binascii
import hashlib
import re
from collections.abc import Iterator

_ARMOUR = re.compile(
    rb"-----BEGIN PGP PUBLIC KEY BLOCK-----\r?\n(?:[A-Za-z]+: [^\n]*\n)*\r?\n(?P<body>[A-Za-z0-9+/=\s]+?)"
    rb"-----END PGP PUBLIC KEY BLOCK-----"
)
PUBLIC_KEY, PUBLIC_SUBKEY = 6, 14
LARGEST_KEY_FILE = 1024 * 1024
_SECRET_KEYS = (5, 7)


def dearmour(content: bytes) -> bytes:
    """The packets of a key file, armoured or not.

    Raises:
        ValueError: it is neither.
    """
    if len(content) > LARGEST_KEY_FILE:
        raise ValueError("is too large for a key file")
    blocks = [match["body"] for match in _ARMOUR.finditer(content)]
    if not blocks:
        if b"-----BEGIN" in content or not content or not content[0] & 0x80:
            raise ValueError("is no OpenPGP public key")
        return content
    try:
        return b"".join(_decode(block) for block in blocks)
    except binascii.Error as error:
        raise ValueError(f"is damaged: {error}") from None


def armour(content: bytes) -> str:
    """A key file as text, which apt takes below a name that ends in ``.asc``. Raises ValueError for no key file."""
    text = base64.b64encode(dearmour(content)).decode()
    lines = [text[start : start + 64] for start in range(0, len(text), 64)]
    head, end = (f"-----{word} PGP PUBLIC KEY BLOCK-----" for word in ("BEGIN", "END"))
    return "\n".join([head, "", *lines, end]) + "\n"


def _decode(block: bytes) -> bytes:
    lines = block.split()
    # The last line may be a checksum: "=" and four letters (RFC 9580, 6.1: may be left unchecked).
    if lines and len(lines[-1]) == 5 and lines[-1].startswith(b"="):
        lines.pop()
    return base64.b64decode(b"".join(lines), validate=True)


def list_fingerprints(content: bytes) -> list[str]:
    """Fingerprints of all primary keys in a key file, in upper case hexadecimal digits.

    Version 4 keys have a SHA-1 fingerprint (RFC 4880, 12.2), version 6 keys a SHA-256 one (RFC 9580, 5.5.4).

    Raises:
        ValueError: no key file, one with secret keys, or with keys of a version that cannot be pinned.
    """
    found = []
    for tag, body in _packets(dearmour(content)):
        if tag in _SECRET_KEYS:
            raise ValueError("holds a secret key")
        if tag != PUBLIC_KEY:
            continue
        version = body[0] if body else 0
        if version == 4:
            digest = hashlib.sha1(b"\x99" + len(body).to_bytes(2, "big") + body, usedforsecurity=False)
        elif version == 6:
            digest = hashlib.sha256(b"\x9b" + len(body).to_bytes(4, "big") + body)
        else:
            raise ValueError(f"holds a key of version {version}, whose fingerprint proves nothing")
        found.append(digest.hexdigest().upper())
    if not found:
        raise ValueError("holds no public key")
    return found


def _packets(content: bytes) -> Iterator[tuple[int, bytes]]:
    """Yield tag and body of each packet. Raises ValueError where the file is cut off or has partial lengths."""
    position = 0
    while position < len(content):
        head = content[position]
        if not head & 0x80:
            raise ValueError("is damaged: no packet where one should begin")
        try:
            if head & 0x40:
                tag, (length, start) = head & 0x3F, _new_length(content, position + 1)
            else:
                tag, (length, start) = (head >> 2) & 0x0F, _old_length(content, position + 1, head & 3)
        except IndexError:
            raise ValueError("is damaged: it is cut off") from None
        if start + length > len(content):
            raise ValueError("is damaged: it is cut off")
        yield tag, content[start : start + length]
        position = start + length


def _new_length(content: bytes, at: int) -> tuple[int, int]:
    first = content[at]
    if first < 192:
        return first, at + 1
    if first < 224:
        return ((first - 192) << 8) + content[at + 1] + 192, at + 2
    if first == 255:
        return int.from_bytes(content[at + 1 : at + 5], "big"), at + 5
    raise ValueError("is damaged: a key has no partial lengths")


def _old_length(content: bytes, at: int, kind: int) -> tuple[int, int]:
    if kind == 3:
        raise ValueError("is damaged: a key has no open-ended packets")
    size = 1 << kind
    if at + size > len(content):
        raise IndexError
    return int.from_bytes(content[at : at + size], "big"), at + size
