"""Puts a database back to a moment on its own host, step by step, so that what was interrupted can be resumed."""

from __future__ import annotations

import json
import os
import shutil
import time
from collections.abc import Callable
from dataclasses import asdict, replace
from datetime import UTC, datetime
from pathlib import Path

from .calls import CallError, call, read_stanza
from .choosing import FIRST_STEP, Restore, RestoreError, plan_restore
from .server import (
    ServerError,
    archive_now,
    ask,
    is_active,
    serves,
    start_recovery,
    systemctl,
    wait_for_recovery,
)
from .settings import Settings

STEPS = (FIRST_STEP, "fetch", "recover", "prove", "open")
REPLICAS = "replicas"
"""The step after the last one: the database serves again, and its replicas are made anew from elsewhere."""
RECOVERY_SETTINGS = (
    "restore_command",
    "recovery_target",
    *(f"recovery_target_{word}" for word in ("time", "timeline", "action", "inclusive", "lsn", "name", "xid")),
)
"""What pgBackRest may set for a recovery (its manual, restore)."""
LONGEST_RECOVERY = 6 * 3600
"""Seconds that the replay of the log may take."""


def state_path(settings: Settings) -> Path:
    """Where the state of the last restore lies."""
    return Path(settings.restores) / f"{settings.service}.json"


def read_state(settings: Settings) -> Restore | None:
    """The last restore; None where there was none."""
    path = state_path(settings)
    return Restore(**json.loads(path.read_text("utf-8"))) if path.exists() else None


def _save(settings: Settings, state: Restore) -> Restore:
    path = state_path(settings)
    new = path.with_name(f"{path.name}.new")
    with new.open("w", encoding="utf-8") as stream:
        json.dump(asdict(state), stream)
        stream.flush()
        os.fsync(stream.fileno())
    new.replace(path)
    return state


def describe(settings: Settings, moment: float | None = None) -> dict[str, object]:
    """What a restore to a moment would start from and replace. Raises RestoreError where there can be none, CallError.

    A running server archives what it has, so that all of it counts.
    """
    running = serves(settings)
    if running:
        archive_now(settings)
    planned = plan_restore(settings, moment)
    backups = read_stanza(settings).backups
    sizes = "SELECT json_object_agg(datname, pg_database_size(oid)) FROM pg_database WHERE datallowconn;"
    last = read_state(settings)
    return {
        "running": running,
        "set": planned.label,
        "earliest": backups[0].finished + 1 if backups else None,
        "newest_backup": backups[-1].finished if backups else None,
        "databases": json.loads(ask(settings, sizes)) if running else {},
        "data": settings.data,
        "incomplete": asdict(last) if last and not last.is_complete else None,
    }


def restore(settings: Settings, moment: float | None, say: Callable[[str], None]) -> Restore:
    """Begin a restore and carry it out. Raises RestoreError, CallError and ServerError; the state then says where."""
    if serves(settings):
        say("archive what the running server has")
        archive_now(settings)
    state = plan_restore(settings, moment)
    state = _save(settings, replace(state, began=time.time()))
    return _carry_out(settings, state, say)


def resume(settings: Settings, say: Callable[[str], None]) -> Restore:
    """Go on with a restore that did not come to its end. Raises as ``restore`` does."""
    state = read_state(settings)
    if state is None or state.is_complete:
        raise RestoreError("no restore waits to be resumed")
    if state.step == REPLICAS:
        return state
    # A fetch goes over everything again; what came after it depends on what the server has already done.
    if state.step in ("recover", "prove", "open") and not serves(settings) and not is_active(settings.unit):
        state = replace(state, step="fetch")
    return _carry_out(settings, replace(state, error="", ended=0.0), say)


def _carry_out(settings: Settings, state: Restore, say: Callable[[str], None]) -> Restore:
    acts = {"stop": _stop, "fetch": _fetch, "recover": _recover, "prove": _prove, "open": _open}
    for step in STEPS[STEPS.index(state.step) :]:
        state = _save(settings, replace(state, step=step))
        say(step)
        began = time.monotonic()
        try:
            reached = acts[step](settings, state)
        except (CallError, ServerError, RestoreError) as error:
            _save(settings, replace(state, error=str(error), ended=time.time()))
            raise
        seconds = {**state.seconds, step: round(time.monotonic() - began, 3)}
        state = _save(settings, replace(state, seconds=seconds, reached=reached or state.reached))
    if settings.replicas:
        # Whoever makes them anew says so with ``finish``.
        return _save(settings, replace(state, step=REPLICAS))
    return _save(settings, replace(state, ended=time.time()))


def finish(settings: Settings) -> Restore:
    """Note that the replicas are made anew: only then is a restore complete. Raises RestoreError."""
    state = read_state(settings)
    if state is None or state.is_complete or state.step != REPLICAS:
        raise RestoreError("no restore waits for its replicas")
    return _save(settings, replace(state, ended=time.time()))


def _stop(settings: Settings, _state: Restore) -> str:
    """Clients first, then what they write to."""
    for unit in (settings.pool_unit, settings.unit):
        if unit:
            systemctl("stop", unit)
    return ""


def _fetch(settings: Settings, state: Restore) -> str:
    """Only what differs is written; the cluster cannot start before all of it is there (no pg_control)."""
    options = ["--delta", f"--set={state.label}"]
    if state.moment is not None:
        moment = datetime.fromtimestamp(state.moment, UTC).strftime("%Y-%m-%d %H:%M:%S.%f+00")
        options += ["--type=time", f"--target={moment}", "--target-action=promote"]
        options += [f"--target-timeline={state.timeline}"] if state.timeline else []
    if not Path(settings.data).exists():
        Path(settings.data).mkdir(mode=0o700, parents=True)
        shutil.chown(settings.data, settings.account, settings.account)
    call(settings, "restore", *options, f"--process-max={max(1, os.cpu_count() or 1)}")
    return ""


def _recover(settings: Settings, _state: Restore) -> str:
    start_recovery(settings)
    wait_for_recovery(settings, LONGEST_RECOVERY)
    return ""


def _prove(settings: Settings, _state: Restore) -> str:
    """Every declared database is there, and can be read and written."""
    # What the recovery was told goes: a replica that is copied from here would stop at the same moment. The server
    # knows these settings from its start, so it is started once more, before anybody is let in.
    resets = "".join(f"ALTER SYSTEM RESET {name};\n" for name in RECOVERY_SETTINGS)
    ask(settings, resets)
    systemctl("restart", settings.unit)
    wait_for_recovery(settings, LONGEST_RECOVERY)
    present = set(ask(settings, "SELECT datname FROM pg_database WHERE datallowconn;").splitlines())
    missing = [name for name in settings.databases if name not in present]
    if missing:
        raise RestoreError(f"the restored cluster lacks {', '.join(missing)}: was the moment before they were made?")
    for name in settings.databases:
        ask(settings, "SELECT count(*) FROM pg_class; SELECT pg_current_xact_id() \\g /dev/null\n", name)
    return ask(settings, "SELECT pg_walfile_name(pg_current_wal_lsn()) || ' ' || pg_current_wal_lsn();")


def _open(settings: Settings, _state: Restore) -> str:
    if settings.pool_unit:
        systemctl("start", settings.pool_unit)
    return ""
