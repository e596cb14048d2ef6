"""Generations: the units, configuration and instance files that belong together with one release."""

from __future__ import annotations

import grp
import hashlib
import json
import shutil
import subprocess
from contextlib import suppress
from pathlib import Path
from typing import Any

from .layout import Layout, read_link, replace_link, write_file
from .releases import MARKER

DESCRIPTION = "generation.json"
Document = dict[str, Any]


class CheckError(Exception):
    """A configuration file was refused by the release's own check."""


def read_generation(layout: Layout, name: str) -> Document | None:
    """A generation's description, or None where there is none."""
    try:
        document: Document = json.loads((layout.generations / name / DESCRIPTION).read_text("utf-8"))
    except (OSError, ValueError):
        return None
    return document


def list_generations(layout: Layout) -> dict[str, Document]:
    """All staged generations by name."""
    names = [path.parent.name for path in layout.generations.glob(f"*/{DESCRIPTION}")]
    found = {name: read_generation(layout, name) for name in names if not name.endswith(".partial")}
    return {name: document for name, document in found.items() if document is not None}


def find_damage(layout: Layout, name: str) -> list[str]:
    """Files of a generation that are not as they were staged."""
    document = read_generation(layout, name)
    if document is None:
        return [DESCRIPTION]
    folder = layout.generations / name
    return [path for path, entry in document["files"].items() if not _is_intact(folder / path, entry)]


def _is_intact(path: Path, entry: Document) -> bool:
    try:
        status = path.lstat()
        content = path.read_bytes()
        group = grp.getgrgid(status.st_gid).gr_name
    except (OSError, KeyError):
        return False
    same = bool(hashlib.sha256(content).hexdigest() == entry["digest"])
    return same and bool(status.st_mode & 0o7777 == entry["mode"] and group == entry["group"])


def stage_generation(layout: Layout, name: str, document: Document) -> None:
    """Lay a generation down beside the live one, after its configuration was checked.

    Raises CheckError with the check's output; nothing is left behind then.
    """
    folder = layout.generations / name
    partial = layout.generations / f"{name}.partial"
    shutil.rmtree(partial, ignore_errors=True)
    try:
        partial.mkdir(parents=True)
        for check in document["checks"]:
            _check(layout, partial, document["release"], check)
        shutil.rmtree(partial)
        partial.mkdir()
        live = layout.generations / read_link(layout.live)
        for path, entry in document["files"].items():
            content = entry["content"].encode()
            entry["digest"] = hashlib.sha256(content).hexdigest()
            old = folder if folder.is_dir() else live
            same = _same_content(old / path, content)
            # A file that did not change keeps its time: a unit restarts when what it reads is newer than it.
            mtime = (old / path).stat().st_mtime_ns if same else None
            write_file(partial / path, content, entry["mode"], grp.getgrnam(entry["group"]).gr_gid, mtime)
        files = {path: {k: v for k, v in e.items() if k != "content"} for path, e in document["files"].items()}
        text = json.dumps({**document, "files": files, "checks": []}, indent=1, sort_keys=True)
        write_file(partial / DESCRIPTION, text.encode())
        if folder.is_dir():
            # The same generation, damaged: only what differs is replaced, the live links stay valid.
            for path in sorted([*document["files"], DESCRIPTION]):
                (folder / path).parent.mkdir(parents=True, exist_ok=True)
                (partial / path).replace(folder / path)
        else:
            partial.rename(folder)
    finally:
        shutil.rmtree(partial, ignore_errors=True)


def _same_content(path: Path, content: bytes) -> bool:
    try:
        return path.read_bytes() == content
    except OSError:
        return False


def _check(layout: Layout, partial: Path, release: str, check: Document) -> None:
    """Run a configuration's check as the user who will read the file."""
    candidate = partial / "check" / check["file"]
    write_file(candidate, check["content"].encode(), 0o640, grp.getgrnam(check["user"]).gr_gid)
    candidate.parent.chmod(0o755)
    python = str(layout.releases / release / "bin/python")
    arguments = [part.replace("{file}", str(candidate)) for part in check["arguments"]]
    command = ["runuser", "-u", check["user"], "--", python, *arguments]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=120, cwd="/")
        told, accepted = (done.stdout + done.stderr).strip(), done.returncode == 0
    except subprocess.TimeoutExpired:
        told, accepted = "no answer within 120 s", False
    if not accepted:
        shown = told.replace(str(candidate), str(layout.configuration / check["file"]))
        raise CheckError(f"the configuration {check['file']} was refused:\n{shown[-3000:]}")


def find_drift(layout: Layout, document: Document) -> list[str]:
    """What of a generation's links and unit files is not in place."""
    drift = []
    if read_link(layout.current) != document["release"] or not (layout.current / MARKER).is_file():
        drift.append(f"{layout.current} is not {document['release']}")
    for link in document["links"]:
        path = layout.configuration / link
        if not path.is_symlink() or str(path.readlink()) != f"generation/{link}":
            drift.append(f"{path} is not the generation's")
    for path, entry in document["files"].items():
        if path.startswith("units/"):
            placed = layout.units / path.removeprefix("units/")
            if not _same_digest(placed, entry["digest"]):
                drift.append(f"{placed} differs")
    return drift


def _same_digest(path: Path, digest: str) -> bool:
    try:
        return not path.is_symlink() and hashlib.sha256(path.read_bytes()).hexdigest() == digest
    except OSError:
        return False


def activate_generation(layout: Layout, name: str) -> bool:
    """Make a generation the live one: release, configuration, unit files. Tells whether unit files changed."""
    document = read_generation(layout, name)
    if document is None:
        raise FileNotFoundError(layout.generations / name)
    folder = layout.generations / name
    replace_link(layout.current, f"releases/{document['release']}")
    replace_link(layout.live, f"generations/{name}")
    for link in document["links"]:
        replace_link(layout.configuration / link, f"generation/{link}")
    wanted = {path.removeprefix("units/") for path in document["files"] if path.startswith("units/")}
    changed = False
    for unit in sorted(wanted):
        content = (folder / "units" / unit).read_bytes()
        if (layout.units / unit).is_symlink() or not _same_content(layout.units / unit, content):
            write_file(layout.units / unit, content)
            changed = True
    for other in list_generations(layout).values():
        gone = [p.removeprefix("units/") for p in other["files"] if p.startswith("units/")]
        for unit in sorted(set(gone) - wanted):
            if (layout.units / unit).is_file():
                (layout.units / unit).unlink()
                changed = True
            if unit.endswith(".conf"):
                with suppress(OSError):  # somebody else's drop-in is in it, or it is gone
                    (layout.units / unit).parent.rmdir()
        for link in set(other["links"]) - set(document["links"]):
            (layout.configuration / link).unlink(missing_ok=True)
    return changed


def prune_generations(layout: Layout, keep: int) -> list[str]:
    """Remove all but the ``keep`` newest generations (the live one counts); returns the releases still needed."""
    live = read_link(layout.live)
    for path in layout.generations.glob("*.partial"):
        shutil.rmtree(path, ignore_errors=True)
    found = sorted(list_generations(layout), key=lambda n: (layout.generations / n).stat().st_mtime_ns, reverse=True)
    kept = [live, *(name for name in found if name != live)][:keep]
    for path in layout.generations.glob("*"):
        if path.name not in kept:
            shutil.rmtree(path)
    document = read_generation(layout, live)
    return [document["release"]] if document else []
