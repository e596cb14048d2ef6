"""Changes the layout of cards as a whole: to the declared one, or back to the former one, never in between."""

from __future__ import annotations

import json
from collections.abc import Callable
from contextlib import suppress

from .environment import MissingError, find_stale, write_environment
from .holders import Holders, find_holders
from .listing import CardState
from .settings import Settings, Target, as_document, kept, load_settings, write_file
from .smi import DriverError, Smi
from .system import System, UnitError, read_names
from .transition import Difference, StepError, Transition, compare, target_of

DRAIN_SECONDS = 30


class RefusedError(Exception):
    """Nothing was changed."""


class LayoutError(Exception):
    """The layout could not be reached; the message says where the cards are now."""


Changes = dict[str, tuple[CardState, Difference]]
_FAILURES = (StepError, DriverError, UnitError, MissingError)


class Relayout:
    """The cards of one platform on this host."""

    def __init__(self, settings: Settings, smi: Smi, system: System, say: Callable[[str], None]) -> None:
        self.settings = settings
        self.smi = smi
        self.system = system
        self.say = say
        self.former = load_settings(settings.proven_file, settings.root)
        self.stopped: list[str] = []
        """Units to start again, in the order in which they were stopped."""

    def changes(self) -> Changes:
        """What differs, by card; cards that are as declared, and those not declared, are left out."""
        found: Changes = {}
        for uuid, target in self.settings.cards.items():
            state = self.smi.card(uuid)
            difference = compare(state, target)
            if not difference.is_none:
                found[uuid] = (state, difference)
        return found

    def lags(self) -> list[str]:
        """Everything that is not as declared, a line each; read from the cards and from systemd."""
        changes = self.changes()
        lines = [line for uuid, change in changes.items() for line in describe(uuid, *change)]
        if not changes:
            states = {uuid: self.smi.card(uuid) for uuid in self.settings.cards}
            lines += [f"card {uuid}: persistence mode is off" for uuid, s in states.items() if not s.persistence]
            lines += [f"{name} is not as the cards are" for name in find_stale(self.settings, states)]
        units = [self.settings.daemon_unit(daemon.key) for daemon in self.settings.daemons]
        lines += [f"{unit} does not run" for unit in sorted(set(units) - set(self.system.active(units)))]
        left = read_names(self.settings.stopped_file)
        lines += [f"{unit} was stopped by a run that did not end" for unit in left]
        if load_settings(self.settings.proven_file, self.settings.root) != kept(self.settings):
            lines.append("the declaration was not laid out yet")
        return lines

    def apply(self, drain: bool = False) -> None:
        """Lay the cards out as declared.

        Raises RefusedError before anything changed where somebody is in the way, and LayoutError after the way back
        was gone.
        """
        changes = self.changes()
        holders = Holders()
        if changes:
            holders = find_holders(self.smi, self.system, changes, self.settings, self.former)
            if holders.foreign and not drain:
                listed = ", ".join(holders.foreign)
                raise RefusedError(f"in use by {listed}: stop them, or run again with --drain, which stops them")
            for uuid, change in changes.items():
                for line in describe(uuid, *change):
                    self.say(line)
        targets = {uuid: target_of(state) for uuid, (state, _) in changes.items()}
        waiting = read_names(self.settings.stopped_file)
        stopped = tuple(dict.fromkeys([*holders.units, *waiting]))
        if stopped:
            write_file(self.settings.stopped_file, json.dumps(stopped))
        self.stopped = list(stopped)
        reached: list[str] = []
        try:
            self._clear(holders)
            for uuid in changes:
                reached.append(uuid)
                self._transition(uuid).reach(self.settings.cards[uuid])
            self._finish()
        except _FAILURES as error:
            self._go_back(error, targets, reached)

    def _transition(self, uuid: str) -> Transition:
        return Transition(self.smi, uuid, self.say, self.system.sleep)

    def _clear(self, holders: Holders) -> None:
        """Stop those who are in the way, consumers first."""
        for unit in holders.units:
            self.say(f"stop {unit}")
            self.system.stop([unit])
        pids = [pid for pid, _ in holders.processes]
        if pids:
            self.system.terminate(pids)
            for _ in range(DRAIN_SECONDS):
                if not self._listed(pids):
                    return
                self.system.sleep(1)
            raise StepError(f"processes {', '.join(map(str, pids))} do not end")

    def _listed(self, pids: list[int]) -> bool:
        """Whether one of the processes still uses a card."""
        return any(line.pid in pids for uuid in self.settings.cards for line in self.smi.users(uuid))

    def _finish(self) -> None:
        """With the cards laid out: environment, MPS daemons, and those who were stopped."""
        for uuid in self.settings.cards:
            self._transition(uuid).keep_loaded()
        states = {uuid: self.smi.card(uuid) for uuid in self.settings.cards}
        declared = {consumer.unit for consumer in self.settings.consumers}
        before = {consumer.unit for consumer in self.former.consumers} if self.former else set()
        gone = self.system.loaded(sorted(before - declared))
        changed = write_environment(self.settings, states, gone)
        for daemon in self.settings.daemons:
            unit = self.settings.daemon_unit(daemon.key)
            if f"mps-{daemon.key}.env" in changed or not self.system.active([unit]):
                self._pause_clients(daemon.key)
                self.say(f"start {unit}")
                self.system.restart(unit)
        units = [self.settings.daemon_unit(daemon.key) for daemon in self.settings.daemons]
        former = [self.former.daemon_unit(d.key) for d in self.former.daemons] if self.former else []
        surplus = self.system.active([unit for unit in former if unit not in units])
        if surplus:
            self.system.stop(surplus)
        self._restart([unit for unit in self.stopped if unit not in (*former, *units)])
        document = json.dumps(as_document(kept(self.settings)), indent=1, sort_keys=True)
        write_file(self.settings.proven_file, document)
        self.settings.stopped_file.unlink(missing_ok=True)

    def _pause_clients(self, key: str) -> None:
        """Stop the clients of a daemon that is about to be restarted: they would lose their server."""
        known = [settings for settings in (self.former, self.settings) if settings]
        clients = {c.unit for settings in known for c in settings.consumers if c.daemon == key}
        for unit in self.system.active(sorted(clients)):
            self.stopped.append(unit)
            write_file(self.settings.stopped_file, json.dumps(self.stopped))
            self.say(f"stop {unit}")
            self.system.stop([unit])

    def _restart(self, stopped: list[str]) -> None:
        """Start exactly those that were stopped, the last stopped first."""
        problems = []
        present = self.system.loaded(stopped)
        for unit in stopped:
            if unit not in present:
                self.say(f"{unit} is gone since it was stopped, and cannot be started again")
        for unit in reversed(present):
            self.say(f"start {unit}")
            try:
                self.system.start([unit])
            except UnitError as error:
                problems.append(str(error))
        if problems:
            raise UnitError("; ".join(problems))

    def _go_back(self, error: Exception, targets: dict[str, Target], reached: list[str]) -> None:
        """Bring the cards back to what they were, start who was stopped, and say so. Always raises."""
        self.say(f"failed: {error}")
        self.say("going back to the former layout")
        lost = []
        again = [*self.stopped, *(self.settings.daemon_unit(daemon.key) for daemon in self.settings.daemons)]
        try:
            if reached:
                # Whom the new layout had already been given to.
                self.system.stop(self.system.active(list(dict.fromkeys(again))))
        except UnitError as second:
            lost.append(str(second))
        for uuid in reversed(reached):
            try:
                self._transition(uuid).reach(targets[uuid])
            except _FAILURES as second:
                lost.append(f"card {uuid}: {second}")
        if not lost:
            lost += self._restore_environment()
        try:
            # Who was in the way is started also where the card is not as before: it may do without.
            self._restart(self.stopped)
        except UnitError as second:
            lost.append(str(second))
        else:
            self.settings.stopped_file.unlink(missing_ok=True)
        if lost:
            raise LayoutError(f"{error}; the way back failed too: {'; '.join(lost)}") from error
        raise LayoutError(f"{error}; the cards have their former layout again") from error

    def _restore_environment(self) -> list[str]:
        """Environment files of the former layout, where there was one; what went wrong."""
        if self.former is None:
            for path in self.settings.run_folder.glob("*.env"):
                path.unlink()
            return []
        try:
            states = {uuid: self.smi.card(uuid) for uuid in self.former.cards}
            write_environment(self.former, states, [])
        except _FAILURES as error:
            return [str(error)]
        return []


def describe(uuid: str, state: CardState, difference: Difference) -> list[str]:
    """The changes of one card, a line per slot."""
    lines = [f"card {uuid}: MIG is switched {'off' if state.mig else 'on'}"] if difference.mode else []
    lines += [f"card {uuid}: keep {i.profile} at slot {i.start}" for i in difference.keep]
    lines += [f"card {uuid}: destroy {i.profile} at slot {i.start}" for i in difference.destroy]
    lines += [f"card {uuid}: create profile {p} at slot {s}" for p, s in difference.create]
    lines += [f"card {uuid}: compute mode changes from {state.compute_mode}"] if difference.compute_mode else []
    return lines


def restore(declared: Settings, smi: Smi, system: System, say: Callable[[str], None]) -> None:
    """Lay out at boot what was proven last, else what is declared. LayoutError where it cannot be reached."""
    proven = load_settings(declared.proven_file, declared.root)
    with suppress(FileNotFoundError):
        # Whoever a run that was cut off had stopped is started by the boot itself.
        declared.stopped_file.unlink()
    Relayout(proven or declared, smi, system, say).apply()
