"""What a role has laid down on a host, as data: which of it to remove, in what order, with which command."""

from __future__ import annotations

import json
import posixpath
import re
import shlex
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Literal, get_args

Kind = Literal["unit", "link", "file", "directory", "user", "group"]
# Also the order of removal: what runs first, then what it reads, then who it ran as.
KINDS: tuple[Kind, ...] = get_args(Kind)

# Where roles put what they may take away again. No data (/var/lib, /srv) and no logs.
PREFIXES = (
    "/etc/groundwork/",
    "/opt/groundwork/",
    "/run/groundwork/",
    "/usr/local/lib/groundwork/",
    "/etc/systemd/",
    "/etc/nginx/",
    "/etc/redis/",
    "/etc/docker/",
    "/etc/apt/",
    "/etc/cron.d/",
    "/etc/logrotate.d/",
    "/etc/sudoers.d/",
    "/etc/ssh/sshd_config.d/",
    "/etc/sysctl.d/",
    "/etc/tmpfiles.d/",
    "/etc/security/limits.d/",
    "/etc/chrony/",
    "/etc/default/",
    "/usr/local/bin/",
    "/usr/local/sbin/",
)
UNITS = "/etc/systemd/system"
_UNIT = re.compile(r"[A-Za-z0-9:_.-]+(@[A-Za-z0-9:_.-]*)?\.(service|socket|target|timer|slice|path|mount)")
_ACCOUNT = re.compile(r"[a-z_][a-z0-9_-]{0,31}")
# Accounts a role may use but never owns.
_SYSTEM_ACCOUNTS = frozenset({"root", "daemon", "bin", "sys", "nobody", "nogroup", "sudo", "adm", "debian"})


@dataclass(frozen=True, order=True)
class Item:
    """One thing on a host: ``Item("unit", "chorus-planner@1.service")``, ``Item("file", "/etc/...")``."""

    kind: Kind
    name: str


def merge_items(old: Iterable[Item], declared: Iterable[Item]) -> list[Item]:
    """Everything of both, old first, each once: what may be on the host while a role is at work."""
    return list(dict.fromkeys([*old, *declared]))


def list_removals(old: Sequence[Item], declared: Iterable[Item]) -> list[Item]:
    """What is on the host and no longer declared, in the order to remove it.

    Units first, then links, files, directories (the deepest first), users, groups; within a kind, what was
    laid down last goes first.
    """
    kept = set(declared)
    gone = [item for item in reversed(old) if item not in kept]
    return sorted(gone, key=lambda item: (KINDS.index(item.kind), -item.name.count("/")))


def check_item(item: Item, prefixes: Sequence[str] = PREFIXES) -> str:
    """Say why an item must not be removed; an empty string when it may be."""
    if item.kind == "unit":
        return "" if _UNIT.fullmatch(item.name) else "not the name of a unit"
    if item.kind in ("user", "group"):
        if item.name in _SYSTEM_ACCOUNTS or not _ACCOUNT.fullmatch(item.name):
            return "not an account of a role"
        return ""
    plain = item.name.startswith("/") and posixpath.normpath(item.name) == item.name
    if not plain or any(ord(letter) < 32 for letter in item.name):
        return "not an absolute, plain path"
    inside = any(item.name.startswith(prefix) and item.name != prefix.rstrip("/") for prefix in prefixes)
    return "" if inside else "outside the directories a role may remove from"


def build_removal(item: Item) -> str:
    """A shell command that removes the item and succeeds when it is gone already.

    A user's home and a service's data stay. Raises ValueError for a kind it does not know.
    """
    name = shlex.quote(item.name)
    match item.kind:
        case "unit":
            return _remove_unit(item.name)
        case "file" | "link":
            return f"rm -f -- {name}"
        case "directory":
            return f"rm -rf -- {name}"
        case "user":
            return f"! getent passwd {name} >/dev/null || userdel {name}"
        case "group":
            return f"! getent group {name} >/dev/null || groupdel {name}"
    raise ValueError(f"unknown kind {item.kind!r}")


def _remove_unit(name: str) -> str:
    quoted = shlex.quote(name)
    # Stopping "x@.service" means stopping its instances; systemctl expands the pattern over what is loaded.
    running = shlex.quote(name.replace("@.", "@*."))
    return "; ".join(
        [
            f"systemctl disable --quiet -- {quoted} 2>/dev/null || true",
            f"systemctl stop -- {running} 2>/dev/null || true",
            f"! systemctl --quiet is-active -- {running} || {{ echo {quoted} does not stop >&2; exit 1; }}",
            f"rm -f -- {UNITS}/{quoted}",
            f"rm -rf -- {UNITS}/{quoted}.d",
            # Where the unit file vanished before, systemctl disable no longer knows its links.
            f"find {UNITS} -mindepth 2 -maxdepth 2 -type l -name {quoted} -delete",
            f"systemctl reset-failed -- {running} 2>/dev/null || true",
        ]
    )


def format_ledger(role: str, items: Iterable[Item]) -> str:
    """The ledger's file: JSON with a version, the role and its items in the order they were laid down."""
    entries = [{"kind": item.kind, "name": item.name} for item in items]
    return json.dumps({"version": 1, "role": role, "items": entries}, indent=1) + "\n"


def parse_ledger(text: str) -> list[Item]:
    """The items of a ledger's file. ValueError when it is none: forgetting what is on the host is worse."""
    try:
        document = json.loads(text)
        if document["version"] != 1:
            raise ValueError(f"version {document['version']}")
        items = [Item(entry["kind"], entry["name"]) for entry in document["items"]]
    except (KeyError, TypeError, ValueError) as error:
        raise ValueError(f"not a ledger: {error}") from error
    for item in items:
        if item.kind not in KINDS or not isinstance(item.name, str):
            raise ValueError(f"not a ledger: item {item.kind!r}")
    return items
