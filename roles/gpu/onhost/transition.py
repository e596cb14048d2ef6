"""Brings one card from the state it is in to another, judging every step by reading the card back."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from .listing import CardState, Instance
from .settings import DEFAULT, Place, Target
from .smi import Smi

ATTEMPTS = 3
PAUSE_SECONDS = 1.0


class StepError(Exception):
    """A step had no effect, after several tries."""


@dataclass(frozen=True)
class Difference:
    """What a change of one card's layout would do."""

    keep: tuple[Instance, ...]
    destroy: tuple[Instance, ...]
    create: tuple[Place, ...]
    mode: bool
    """Whether MIG is switched on or off."""
    compute_mode: bool

    @property
    def is_none(self) -> bool:
        """Whether the card is as it is to be."""
        return not (self.destroy or self.create or self.mode or self.compute_mode)

    @property
    def concerns_all(self) -> bool:
        """Whether whoever uses any part of the card is in the way."""
        return self.mode or self.compute_mode


def target_of(state: CardState) -> Target:
    """The layout that a card has now."""
    instances = frozenset(instance.place for instance in state.instances if instance.uuid)
    return Target(state.mig, instances, state.compute_mode)


def compare(state: CardState, target: Target) -> Difference:
    """What has to change. An instance without a compute instance was left half made, and is made anew."""
    keep = tuple(i for i in state.instances if i.place in target.instances and i.uuid)
    kept = {instance.place for instance in keep}
    wanted = target.mig if target.mig is not None else state.mig
    return Difference(
        keep=keep,
        destroy=tuple(instance for instance in state.instances if instance not in keep),
        create=tuple(sorted(target.instances - kept, key=lambda place: (place[1], place[0]))),
        mode=state.mig != wanted or state.pending != wanted,
        compute_mode=state.compute_mode != target.compute_mode and not wanted,
    )


class Transition:
    """Changes one card. ``say`` is told each step."""

    def __init__(self, smi: Smi, uuid: str, say: Callable[[str], None], sleep: Callable[[float], None]) -> None:
        self.smi = smi
        self.uuid = uuid
        self.say = say
        self.sleep = sleep

    def reach(self, target: Target) -> None:
        """Bring the card to ``target``. Raises StepError where a step has no effect."""
        state = self.smi.card(self.uuid)
        difference = compare(state, target)
        for instance in difference.destroy:
            if instance.uuid or instance.place not in target.instances or difference.mode:
                self._destroy(instance)
        if difference.mode:
            self._switch_mode(bool(target.mig))
        state = self.smi.card(self.uuid)
        for instance in state.instances:
            if instance.place in target.instances and not instance.uuid:
                self._complete(instance)
        difference = compare(self.smi.card(self.uuid), target)
        for profile, start in difference.create:
            self._create(profile, start)
        if compare(self.smi.card(self.uuid), target).compute_mode:
            self._set_compute_mode(target.compute_mode)
        left = compare(self.smi.card(self.uuid), target)
        if not left.is_none:
            raise StepError(f"card {self.uuid} is not as it was laid out: {left}")

    def _ensure(self, what: str, act: Callable[[], str], done: Callable[[CardState], bool]) -> None:
        """Act until the card shows the effect, three times at most."""
        self.say(what)
        text = ""
        for attempt in range(ATTEMPTS):
            if attempt:
                self.sleep(PAUSE_SECONDS * attempt)
            text = act()
            if done(self.smi.card(self.uuid)):
                return
        raise StepError(f"{what}: {text.strip() or 'nothing was printed'}")

    def _destroy(self, instance: Instance) -> None:
        def act() -> str:
            now = next((i for i in self.smi.card(self.uuid).instances if i.number == instance.number), None)
            return self.smi.destroy(self.uuid, instance.number, bool(now and now.uuid)) if now else ""

        self._ensure(
            f"destroy {instance.profile} at slot {instance.start} of card {self.uuid}",
            act,
            lambda state: all(other.number != instance.number for other in state.instances),
        )

    def _complete(self, instance: Instance) -> None:
        self._ensure(
            f"complete {instance.profile} at slot {instance.start} of card {self.uuid}",
            lambda: self.smi.complete(self.uuid, instance.number),
            lambda state: any(other.place == instance.place and bool(other.uuid) for other in state.instances),
        )

    def _create(self, profile: int, start: int) -> None:
        def act() -> str:
            made = next((i for i in self.smi.card(self.uuid).instances if i.place == (profile, start)), None)
            if made and not made.uuid:
                return self.smi.complete(self.uuid, made.number)
            return self.smi.create(self.uuid, profile, start)

        self._ensure(
            f"create an instance of profile {profile} at slot {start} of card {self.uuid}",
            act,
            lambda state: any(other.place == (profile, start) and bool(other.uuid) for other in state.instances),
        )

    def _switch_mode(self, on: bool) -> None:
        state = self.smi.card(self.uuid)
        if state.compute_mode != DEFAULT and on:
            # Exclusive_Process is not supported in MIG mode (NVIDIA MPS documentation, "Interaction with MIG").
            self._set_compute_mode(DEFAULT)
        self._ensure(
            f"switch MIG {'on' if on else 'off'} on card {self.uuid}",
            lambda: self.smi.set_mode(self.uuid, on),
            lambda state: state.pending == on,
        )
        if self.smi.card(self.uuid).mig != on:
            self._reset(on)

    def _reset(self, on: bool) -> None:
        persistent = self.smi.card(self.uuid).persistence
        if persistent:
            # A driver that is kept loaded blocks the reset.
            self._set_persistence(False)
        try:
            self._ensure(f"reset card {self.uuid}", lambda: self.smi.reset(self.uuid), lambda state: state.mig == on)
        finally:
            if persistent:
                self._set_persistence(True)

    def _set_persistence(self, on: bool) -> None:
        self._ensure(
            f"switch persistence mode {'on' if on else 'off'} on card {self.uuid}",
            lambda: self.smi.set_persistence(self.uuid, on),
            lambda state: state.persistence == on,
        )

    def _set_compute_mode(self, mode: str) -> None:
        self._ensure(
            f"set compute mode {mode} on card {self.uuid}",
            lambda: self.smi.set_compute_mode(self.uuid, mode),
            lambda state: state.compute_mode == mode,
        )

    def keep_loaded(self) -> None:
        """Switch persistence mode on: without it the driver unloads when idle, and MIG with it."""
        if not self.smi.card(self.uuid).persistence:
            self._set_persistence(True)
