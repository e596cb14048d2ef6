"""Switching a platform's units to another generation, and back by itself when they do not become ready."""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import suppress
from typing import Any

from .generations import activate_generation, find_drift, list_generations, prune_generations, read_generation
from .layout import Layout, read_link, replace_link
from .releases import prune_releases
from .units import Systemd, UnitState, list_stale, wait_until_ready

# Beyond the unit's own time limits, which systemd enforces.
SLACK_SECONDS = 5.0
# A unit that ends this soon after it said to be ready was not.
SETTLE_SECONDS = 1.0
Say = Callable[[str], None]


class Switch:
    """One platform on this host."""

    def __init__(self, layout: Layout, systemd: Systemd, say: Say, settle: float = SETTLE_SECONDS) -> None:
        self._layout, self._systemd, self._say, self._settle = layout, systemd, say, settle

    def list_lags(self, name: str) -> list[str]:
        """What keeps a generation from being in force: links, unit files, units that lag behind."""
        document = read_generation(self._layout, name)
        if document is None:
            return ["no such generation"]
        lags = find_drift(self._layout, document)
        stale = list_stale(self._layout, self._systemd, self._layout.generations / name, document["inputs"])
        lags += [f"{unit} does not run as declared" for unit in stale]
        lags += [f"{unit} is not declared" for unit in self._list_surplus(document)]
        if self._systemd.run("is-enabled", document["target"], check=False).strip() != "enabled":
            lags.append(f"{document['target']} is not enabled")
        return lags

    def switch(self, name: str) -> bool:
        """Bring a generation into force. False when its units did not become ready: then the former one runs
        again, or nothing where there was none."""
        former = read_link(self._layout.proven)
        began = time.time()
        failed = self._converge(name)
        if not failed:
            replace_link(self._layout.proven, f"generations/{name}")
            self._prune(name)
            return True
        self._report(failed, began)
        if former == name:
            self._say("nothing was switched back: this generation was in force before")
        elif former and read_generation(self._layout, former) is not None:
            again = self._converge(former)
            outcome = f"{len(again)} units of it are not ready either" if again else "all its units are ready"
            self._say(f"switched back to release {self._release(former)}: {outcome}")
        else:
            self._stop_all(name)
            self._say("there is no former release: the platform is stopped")
        return False

    def _release(self, name: str) -> str:
        document = read_generation(self._layout, name)
        return str(document["release"]) if document else name

    def _converge(self, name: str) -> list[UnitState]:
        """Activate a generation and restart what lags behind, phase by phase; returns the units that failed."""
        document = read_generation(self._layout, name)
        if document is None:
            raise FileNotFoundError(self._layout.generations / name)
        surplus = self._list_surplus(document)
        # While their units still say how a container is removed.
        ending = [*surplus, *(unit for unit in self._list_unboxed(name) if unit not in surplus)]
        if ending:
            self._systemd.run("stop", "--", *ending)
        activate_generation(self._layout, name)
        self._systemd.run("daemon-reload")
        if surplus:
            self._systemd.run("reset-failed", "--", *surplus, check=False)
        folder = self._layout.generations / name
        restarted: list[str] = []
        for phase in document["phases"]:
            inputs = {unit: document["inputs"][unit] for unit in phase}
            stale = list_stale(self._layout, self._systemd, folder, inputs)
            if not stale:
                continue
            # Somebody may have masked one, which nothing here ever does.
            self._systemd.run("unmask", "--quiet", "--", *stale)
            self._systemd.run("reset-failed", "--", *stale, check=False)
            self._systemd.run("restart", "--no-block", "--", *stale)
            restarted += stale
            times = document["timeouts"]
            failed = wait_until_ready(self._systemd, stale, times["ready"] + times["stop"] + SLACK_SECONDS)
            if failed:
                return failed
        if restarted:
            before = self._systemd.show(restarted)
            time.sleep(self._settle)
            after = self._systemd.show(restarted).values()
            ended = [state for state in after if not state.is_ready or state.endings > before[state.name].endings]
            if ended:
                return ended
            self._say(f"restarted and ready: {', '.join(restarted)}")
        self._systemd.run("enable", "--quiet", "--", document["target"])
        self._systemd.run("start", "--", document["target"])
        return []

    def _list_surplus(self, document: dict[str, Any]) -> list[str]:
        """Units of other generations that still run and are not in this one."""
        known = {unit for other in list_generations(self._layout).values() for unit in other["inputs"]}
        surplus = sorted(known - set(document["inputs"]))
        states = self._systemd.show(surplus) if surplus else {}
        return [unit for unit, state in states.items() if state.active not in ("inactive", "failed")]

    def _list_unboxed(self, name: str) -> list[str]:
        """Units that are containers in the generation in force and processes in this one."""
        former, new = (
            {path.stem for path in (self._layout.generations / one / "containers").glob("*.json")}
            for one in (read_link(self._layout.live), name)
        )
        return sorted(f"{stem}.service" for stem in former - new)

    def _stop_all(self, name: str) -> None:
        document = read_generation(self._layout, name)
        units = list(document["inputs"]) if document else []
        if document:
            self._systemd.run("disable", "--quiet", "--", document["target"], check=False)
            self._systemd.run("stop", "--", document["target"], *units, check=False)
            self._systemd.run("reset-failed", "--", *units, check=False)
        for link in (self._layout.current, self._layout.live):
            link.unlink(missing_ok=True)

    def _prune(self, name: str) -> None:
        document = read_generation(self._layout, name)
        keep = int(document["keep"]) if document else 3
        prune_releases(self._layout, keep, prune_generations(self._layout, keep))

    def _report(self, failed: list[UnitState], began: float) -> None:
        secrets = self._read_secrets()
        for state in failed[:3]:
            self._say(f"{state.name} is not ready: {state.active}/{state.sub}, result {state.result or 'unknown'}")
            for line in self._systemd.read_journal(state.name, began):
                for secret in secrets:
                    line = line.replace(secret, "(secret)")
                self._say(f"  {line[:400]}")
        if len(failed) > 3:
            self._say(f"and {len(failed) - 3} more units")

    def _read_secrets(self) -> list[str]:
        """Values that must not get into a report, whatever the agents wrote into the journal."""
        values = []
        for path in self._layout.credentials.glob("*"):
            with suppress(OSError, UnicodeDecodeError):
                values += [line for line in path.read_text("utf-8").splitlines() if len(line) >= 6]
        return sorted(values, key=len, reverse=True)
