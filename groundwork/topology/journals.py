"""Where the journals of all hosts lie on the log host, and which file is whose."""

from __future__ import annotations

import re

from groundwork.topology.identities import journal_source


def store_folder(platform: str) -> str:
    """Folder of the journals that were sent; not below journald's own, which would take them into its limits."""
    return f"/var/log/{platform}-journals"


def file_pattern(host: str) -> str:
    """Regular expression of the names of a host's files: the one in use, full ones, and damaged ones.

    Which file a line lies in follows from the certificate that it was sent with, whatever host it names.
    """
    return rf"{re.escape(journal_source(host))}(@[0-9a-f-]+)?\.journal~?"
