"""Redis: the snapshot becomes the base of a fresh append-only file, or the RDB file where there is none.

At its start Redis loads the append-only file and not the RDB file (redis.io, "Persistence"): an RDB file beside an
empty or older append-only file would be passed over, and the server come up empty.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path
from typing import Any

from .redis import count_keys, list_slots
from .redis_client import Redis
from .settings import JobError, Settings

LOADING = 3600.0
"""Seconds that a server may take to load its data."""
# The names are those of the role redis (templates/redis/redis.conf.j2).
FOLDER, FILE, SNAPSHOT = "appendonly", "appendonly.aof", "dump.rdb"


def describe_loss(settings: Settings, description: dict[str, Any]) -> str:
    """What a restore would overwrite."""
    found = []
    for server in settings.servers:
        try:
            redis = Redis(settings, server)
            now = int(redis.ask("DBSIZE")) if redis.info("keyspace") else 0
        except JobError:
            found.append(f"{server['instance']} does not answer")
            continue
        saved = description["counts"].get(str(server["instance"]), {}).get("keys", 0)
        found.append(f"{server['instance']} has {now} keys in its first database, the set {saved} in all")
    return f"everything written since {description['started']}: {'; '.join(found)}"


def _servers(settings: Settings, description: dict[str, Any]) -> list[dict[str, Any]]:
    """The servers of this host that the set has data of. Raises JobError where it names others."""
    here = {str(server["instance"]): server for server in settings.servers}
    saved = [name for name in description["counts"] if name != "objects"]
    if missing := [name for name in saved if name not in here]:
        raise JobError(f"the set has data of {', '.join(missing)}, which this host does not run")
    return [here[name] for name in saved]


def _systemctl(verb: str, unit: str) -> None:
    result = subprocess.run(["systemctl", verb, unit], capture_output=True, text=True)
    if result.returncode:
        raise JobError(f"systemctl {verb} {unit}: {result.stderr.strip() or 'failed'}")


def _find_saved(settings: Settings, tree: Path, name: str) -> Path:
    return tree / str(settings.staging).lstrip("/") / name


def place(settings: Settings, description: dict[str, Any], tree: Path) -> dict[str, Any]:
    """Stop each server, set its data aside, and lay down those of the set. The servers stay down."""
    placed: dict[str, Any] = {}
    for server in _servers(settings, description):
        name, folder = str(server["instance"]), Path(server["data_folder"])
        saved = _find_saved(settings, tree, name)
        source = _choose_source(saved, description["counts"][name])
        _check_slots(settings, server, description["counts"][name])
        _systemctl("stop", server["unit"])
        aside = folder / f"before-{description['set']}"
        # A restore that is taken up again keeps what was there at first, not its own half.
        if not aside.exists():
            fresh = folder / ".before.new"
            shutil.rmtree(fresh, ignore_errors=True)
            fresh.mkdir(0o700)
            for part in (SNAPSHOT, FOLDER):
                if (folder / part).exists():
                    (folder / part).rename(fresh / part)
            fresh.rename(aside)
        _lay_down(folder, source, _appends(name))
        placed[name] = {"from": source.name, "before": str(aside)}
    return placed


def _choose_source(saved: Path, counts: dict[str, Any]) -> Path:
    """The snapshot, whose keys were counted; the append-only file only where the snapshot is damaged."""
    try:
        count_keys(saved / SNAPSHOT)
        return saved / SNAPSHOT
    except JobError as error:
        manifest = saved / FOLDER / f"{FILE}.manifest"
        if not manifest.exists():
            raise
        result = subprocess.run(["/usr/bin/redis-check-aof", str(manifest)], capture_output=True, text=True)
        if result.returncode:
            raise JobError(f"{error}; and redis-check-aof refuses the append-only file") from None
        return saved / FOLDER


def _check_slots(settings: Settings, server: dict[str, Any], counts: dict[str, Any]) -> None:
    """A master of a cluster takes back only keys of slots that it serves. Raises JobError."""
    if not counts.get("slots"):
        return
    try:
        slots = list_slots(Redis(settings, server))
    except JobError:
        # It was down before, or an earlier attempt has stopped it; its slots are as they were then.
        return
    if slots != counts["slots"]:
        raise JobError(f"{server['instance']} serves slots {slots}, the set has {counts['slots']}: move them first")


def _appends(name: str) -> bool:
    """Whether the server's configuration has it append."""
    lines = Path(f"/etc/redis/redis-{name}.conf").read_text("utf-8").splitlines()
    return "appendonly yes" in lines


def _lay_down(folder: Path, source: Path, append: bool) -> None:
    """Lay data down as the server will look for them."""
    shutil.rmtree(folder / FOLDER, ignore_errors=True)
    (folder / SNAPSHOT).unlink(missing_ok=True)
    if source.is_dir():
        shutil.copytree(source, folder / FOLDER)
    elif append:
        # A multi-part append-only file whose base is the snapshot and whose increment is still empty.
        (folder / FOLDER).mkdir(0o700)
        shutil.copyfile(source, folder / FOLDER / f"{FILE}.1.base.rdb")
        (folder / FOLDER / f"{FILE}.1.incr.aof").touch(0o600)
        manifest = f"file {FILE}.1.base.rdb seq 1 type b\nfile {FILE}.1.incr.aof seq 1 type i\n"
        (folder / FOLDER / f"{FILE}.manifest").write_text(manifest)
    else:
        shutil.copyfile(source, folder / SNAPSHOT)
    owner = folder.stat()
    for path in (folder / SNAPSHOT, folder / FOLDER, *(folder / FOLDER).glob("*")):
        if path.exists():
            os.chown(path, owner.st_uid, owner.st_gid)
            path.chmod(0o700 if path.is_dir() else 0o600)


def compare(settings: Settings, description: dict[str, Any], tree: Path) -> dict[str, Any]:
    """Start each server, wait until it has loaded, and compare its keys. Raises JobError."""
    found: dict[str, Any] = {}
    for server in _servers(settings, description):
        name = str(server["instance"])
        _systemctl("start", server["unit"])
        redis = Redis(settings, server)

        def is_loaded(redis: Redis = redis) -> bool:
            try:
                return redis.info("persistence")["loading"] == "0"
            except JobError:
                return False

        redis.wait("loading", is_loaded, LOADING)
        spaces = redis.info("keyspace")
        keys = sum(int(value.split("keys=")[1].split(",")[0]) for n, value in spaces.items() if n.startswith("db"))
        counts = description["counts"][name]
        # What had a time to live may have passed it since.
        if not counts["keys"] - counts["expiring"] <= keys <= counts["keys"]:
            raise JobError(
                f"{name} has {keys} keys, the set has {counts['keys']} ({counts['expiring']} of them expire)"
            )
        found[name] = {"keys": keys, "saved": counts["keys"], "expiring": counts["expiring"]}
    return found
