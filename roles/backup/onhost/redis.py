"""Redis: a snapshot and the append-only file of every master, taken while it serves."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

from .collected import Collected
from .redis_client import Redis
from .settings import JobError, Settings

PATIENCE = 3600.0
"""Seconds that a snapshot or a rewrite of a large server may take."""
PERCENTAGE = "auto-aof-rewrite-percentage"
DEFAULT_PERCENTAGE = "100"
"""Redis's own (redis.conf)."""


def collect(settings: Settings) -> Collected:
    """Save every server of this host that is a master at the moment."""
    staging = settings.staging
    collected = Collected([str(staging)])
    replicas = []
    for server in settings.servers:
        redis = Redis(settings, server)
        replication = redis.info("replication")
        if replication["role"] != "master":
            replicas.append(f"{redis.name} follows {replication['master_host']}:{replication['master_port']}")
            continue
        folder = staging / redis.name
        folder.mkdir(0o700, parents=True)
        counts = save_snapshot(redis, folder)
        if redis.setting("appendonly") == "yes":
            counts["append_only_bytes"] = save_append_only(redis, folder)
        counts["slots"] = list_slots(redis) if redis.info("cluster")["cluster_enabled"] == "1" else []
        collected.counts[redis.name] = counts
        collected.tools["redis"] = redis.info("server")["redis_version"]
    if not collected.counts:
        collected.skipped = "; ".join(replicas) or "no server of the service runs here"
    return collected


def save_snapshot(redis: Redis, folder: Path) -> dict[str, Any]:
    """Have the server write its RDB file, copy it, and count what is in the copy by redis-check-rdb."""
    redis.wait(
        "a snapshot that was running", lambda: redis.info("persistence")["rdb_bgsave_in_progress"] == "0", PATIENCE
    )
    redis.wait(
        "a rewrite that was running", lambda: redis.info("persistence")["aof_rewrite_in_progress"] == "0", PATIENCE
    )
    _check_room(redis, folder)
    offset = redis.info("replication")["master_repl_offset"]
    redis.ask("BGSAVE", "SCHEDULE")

    def is_written() -> bool:
        state = redis.info("persistence")
        return state["rdb_bgsave_in_progress"] == "0" and state.get("aof_rewrite_scheduled", "0") == "0"

    redis.wait("the snapshot", is_written, PATIENCE)
    state = redis.info("persistence")
    if state["rdb_last_bgsave_status"] != "ok":
        raise JobError(f"{redis.name}: BGSAVE failed; its log says why (is the disk full?)")
    source = Path(redis.setting("dir")) / redis.setting("dbfilename")
    # A snapshot replaces the file as a whole: an open copy is always one of one moment.
    shutil.copyfile(source, folder / "dump.rdb")
    return {**count_keys(folder / "dump.rdb"), "offset": int(offset), "saved": int(state["rdb_last_save_time"])}


def _check_room(redis: Redis, folder: Path) -> None:
    """Raise JobError where a snapshot might not fit: a Redis whose BGSAVE failed refuses writes from then on."""
    used = int(redis.info("memory")["used_memory"])
    for place in (Path(redis.setting("dir")), folder):
        if (free := shutil.disk_usage(place).free) < used:
            raise JobError(f"{redis.name}: no snapshot is begun: {place} has {free >> 20} MiB free of {used >> 20} MiB")


def count_keys(path: Path) -> dict[str, int]:
    """Keys in an RDB file, and how many of them expire, by redis-check-rdb. Raises JobError for a damaged file."""
    result = subprocess.run(["/usr/bin/redis-check-rdb", str(path)], capture_output=True, text=True, errors="replace")
    if result.returncode or "RDB looks OK" not in result.stdout:
        told = [line for line in result.stdout.splitlines() if line.strip()]
        raise JobError(f"{path.name}: redis-check-rdb: {told[-1] if told else result.stderr.strip() or 'refused'}")
    counts = {}
    for name, words in (("keys", "keys read"), ("expiring", "expires"), ("expired", "already expired")):
        found = re.search(rf"\[info\] (\d+) {words}", result.stdout)
        counts[name] = int(found[1]) if found else 0
    return counts


def save_append_only(redis: Redis, folder: Path) -> int:
    """Copy the append-only files while no rewrite can take them away; returns their bytes.

    Persistence, redis.io: rewrites are switched off, one that runs is waited for, and the folder is copied.
    """
    before = _configured_percentage(redis)
    redis.ask("CONFIG", "SET", PERCENTAGE, "0")
    try:
        redis.wait("a rewrite", lambda: redis.info("persistence")["aof_rewrite_in_progress"] == "0", PATIENCE)
        source = Path(redis.setting("dir")) / redis.setting("appenddirname")
        shutil.copytree(source, folder / "appendonly")
    finally:
        redis.ask("CONFIG", "SET", PERCENTAGE, before)
    return sum(path.stat().st_size for path in (folder / "appendonly").iterdir())


def _configured_percentage(redis: Redis) -> str:
    """What is declared, not what is in force: a backup that was killed may have left it switched off."""
    for line in Path(f"/etc/redis/redis-{redis.name}.conf").read_text("utf-8").splitlines():
        name, _, value = line.strip().partition(" ")
        if name == PERCENTAGE:
            return value.strip()
    return DEFAULT_PERCENTAGE


def list_slots(redis: Redis) -> list[str]:
    """Ranges of slots that a master of a cluster serves."""
    for line in redis.ask("CLUSTER", "NODES").splitlines():
        words = line.split()
        if "myself" in words[2]:
            return [word for word in words[8:] if not word.startswith("[")]
    return []
