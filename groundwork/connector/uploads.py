"""What of pyinfra's uploads goes over the shell that stays."""

from __future__ import annotations

from typing import Any

from pyinfra.api.util import get_file_io

LARGEST_UPLOAD = 1_000_000
"""Bytes of a file that is sent in one frame; SFTP is made for larger ones."""


def read_upload(source: Any) -> bytes | None:
    """The contents of a file (by its name) or file object, None where they are large or cannot be read."""
    try:
        with get_file_io(source) as file:
            data = file.read(LARGEST_UPLOAD + 1)
    except (OSError, ValueError, TypeError):
        return None
    return data if isinstance(data, bytes) and len(data) <= LARGEST_UPLOAD else None
