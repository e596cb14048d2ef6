"""Keeps what was there before the first change, once, and puts it back. Sent to a host; needs Python alone."""

from __future__ import annotations

import grp
import hashlib
import json
import os
import pwd
import shutil
import stat
import subprocess
import sys
import time
from typing import Any

FOLDER = "/var/lib/groundwork/hardening"


def describe(path: str) -> dict[str, Any]:
    """Kind, permission bits and owner of a path."""
    try:
        found = os.lstat(path)
    except OSError:
        return {"kind": "absent"}
    kinds = {stat.S_IFREG: "file", stat.S_IFDIR: "directory", stat.S_IFLNK: "link"}
    entry: dict[str, Any] = {"kind": kinds.get(stat.S_IFMT(found.st_mode), "other"), "uid": found.st_uid,
                             "gid": found.st_gid, "mode": stat.S_IMODE(found.st_mode)}  # fmt: skip
    for key, number, names in (("user", found.st_uid, pwd.getpwuid), ("group", found.st_gid, grp.getgrgid)):
        try:
            entry[key] = names(number)[0]
        except KeyError:
            entry[key] = ""
    if entry["kind"] == "link":
        entry["target"] = os.readlink(path)  # noqa: PTH115
    return entry


class Originals:
    """The kept state: ``index.json`` and the contents of files beside it, for root's eyes."""

    def __init__(self, folder: str = FOLDER) -> None:
        self.folder = folder
        self.store = os.path.join(folder, "originals")  # noqa: PTH118
        self.index: dict[str, Any] = {"version": 1, "files": {}, "undo": []}
        try:
            with open(os.path.join(self.store, "index.json"), encoding="utf-8") as file:  # noqa: PTH118, PTH123
                self.index = json.load(file)
        except FileNotFoundError:
            pass

    def keep(self, task: dict[str, Any]) -> None:
        """Note down what is not noted yet: ``contents``, ``attributes`` (paths) and ``undo`` (pairs of commands)."""
        os.makedirs(self.store, mode=0o700, exist_ok=True)  # noqa: PTH103
        os.chmod(self.folder, 0o700)  # noqa: PTH101
        files = self.index["files"]
        for path in task.get("contents", []):
            known = files.get(path)
            if known is None or (known["kind"] == "file" and "blob" not in known):
                files[path] = {**describe(path), **(known or {})}
                if files[path]["kind"] == "file":
                    files[path]["blob"] = self._copy(path)
        for path in task.get("attributes", []):
            if path not in files:
                files[path] = describe(path)
        known_commands = {do for do, _undo in self.index["undo"]}
        self.index["undo"] += [pair for pair in task.get("undo", []) if pair[0] not in known_commands]
        self._save()

    def _copy(self, path: str) -> str:
        name = hashlib.sha256(path.encode()).hexdigest()
        target = os.path.join(self.store, name)  # noqa: PTH118
        with open(path, "rb") as source, open(target + ".new", "wb") as copy:  # noqa: PTH123
            os.fchmod(copy.fileno(), 0o600)
            shutil.copyfileobj(source, copy)
            copy.flush()
            os.fsync(copy.fileno())
        os.replace(target + ".new", target)  # noqa: PTH105
        return name

    def _save(self) -> None:
        path = os.path.join(self.store, "index.json")  # noqa: PTH118
        with open(path + ".new", "w", encoding="utf-8") as file:  # noqa: PTH123
            json.dump(self.index, file, indent=1)
            file.flush()
            os.fsync(file.fileno())
        os.replace(path + ".new", path)  # noqa: PTH105

    def restore(self) -> list[str]:
        """Put everything back; what is replaced is kept aside. Returns what could not be put back."""
        aside = os.path.join(self.folder, time.strftime("replaced-%Y%m%dT%H%M%S"))  # noqa: PTH118
        failed = []
        for path, entry in self.index["files"].items():
            try:
                self._restore_path(path, entry, aside)
            except OSError as error:
                failed.append(f"{path}: {error}")
        for _do, undo in reversed(self.index["undo"]):
            done = subprocess.run(undo, shell=True, check=False, capture_output=True, text=True) if undo else None
            if done is not None and done.returncode:
                failed.append(f"{undo}: {done.stderr.strip()[-200:]}")
        return failed

    def _restore_path(self, path: str, entry: dict[str, Any], aside: str) -> None:
        present = describe(path)
        if entry["kind"] == "absent":
            if present["kind"] in ("file", "link"):
                os.remove(path)  # noqa: PTH107
            return
        if entry["kind"] == "link":
            if present.get("target") != entry["target"]:
                os.symlink(entry["target"], path + ".groundwork-restored")  # noqa: PTH211
                os.replace(path + ".groundwork-restored", path)  # noqa: PTH105
            return
        if "blob" in entry:
            self._restore_content(path, entry, aside)
        elif present["kind"] != entry["kind"]:
            return
        user, group = entry["uid"], entry["gid"]
        os.chown(path, user, group)
        os.chmod(path, entry["mode"])  # noqa: PTH101

    def _restore_content(self, path: str, entry: dict[str, Any], aside: str) -> None:
        blob = os.path.join(self.store, entry["blob"])  # noqa: PTH118
        with open(blob, "rb") as file:  # noqa: PTH123
            former = file.read()
        try:
            with open(path, "rb") as file:  # noqa: PTH123
                current = file.read()
        except OSError:
            current = None
        if current == former:
            return
        if current is not None:
            os.makedirs(aside, mode=0o700, exist_ok=True)  # noqa: PTH103
            with open(os.path.join(aside, path.strip("/").replace("/", "%")), "wb") as file:  # noqa: PTH118, PTH123
                file.write(current)
        with open(path + ".groundwork-restored", "wb") as file:  # noqa: PTH123
            os.fchmod(file.fileno(), entry["mode"])
            os.fchown(file.fileno(), entry["uid"], entry["gid"])
            file.write(former)
            file.flush()
            os.fsync(file.fileno())
        os.replace(path + ".groundwork-restored", path)  # noqa: PTH105

    def forget(self) -> None:
        """Remove the store: the next run is a first one."""
        shutil.rmtree(self.store, ignore_errors=True)


def main(verb: str, task: dict[str, Any]) -> None:
    """``keep`` with a task, ``restore``, or ``list``, which prints what is kept."""
    originals = Originals(task.get("folder", FOLDER))
    if verb == "keep":
        originals.keep(task)
    elif verb == "list":
        print(json.dumps({"files": sorted(originals.index["files"]), "undo": originals.index["undo"]}))
    elif verb == "restore":
        failed = originals.restore()
        for line in failed:
            print(line, file=sys.stderr)
        if failed:
            sys.exit(1)
    elif verb == "forget":
        originals.forget()
