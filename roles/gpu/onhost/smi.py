"""Runs nvidia-smi. Its exit status decides nothing: it can warn and return 0, so state is always read back."""

from __future__ import annotations

import subprocess
from collections.abc import Callable, Sequence
from dataclasses import replace

from . import listing
from .listing import CardState, UserLine

PROGRAM = "/usr/bin/nvidia-smi"
SECONDS = 120
_PLAIN = {"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "LC_ALL": "C.UTF-8"}
Run = Callable[[Sequence[str]], tuple[int, str]]


class DriverError(Exception):
    """The driver does not answer."""


def run_program(arguments: Sequence[str]) -> tuple[int, str]:
    """Run nvidia-smi: exit status and output. DriverError where it is not there or hangs."""
    try:
        done = subprocess.run(
            [PROGRAM, *arguments], capture_output=True, text=True, env=_PLAIN, timeout=SECONDS, check=False
        )
    except FileNotFoundError:
        raise DriverError(f"{PROGRAM} is not there: install the driver of NVIDIA") from None
    except subprocess.TimeoutExpired:
        raise DriverError(f"nvidia-smi {' '.join(arguments)}: no answer within {SECONDS} s") from None
    return done.returncode, (done.stdout + done.stderr).strip()


class Smi:
    """The cards of this host."""

    def __init__(self, run: Run = run_program) -> None:
        self.run = run

    def cards(self) -> list[CardState]:
        """Every card, without its instances. DriverError where the driver does not work."""
        status, text = self.run(listing.QUERY)
        if status:
            raise DriverError(f"nvidia-smi: {text.splitlines()[0] if text else f'exit status {status}'}")
        return listing.parse_cards(text)

    def card(self, uuid: str) -> CardState:
        """One card with its instances, read now. DriverError where there is none of that UUID."""
        status, text = self.run(("-i", uuid, *listing.QUERY))
        found = [card for card in listing.parse_cards(text) if card.uuid == uuid]
        if status or not found:
            raise DriverError(f"there is no card {uuid}: {text.splitlines()[0] if text else status}")
        card = found[0]
        if not card.mig:
            return card
        uuids = listing.match_devices(self.run(("-L",))[1], self.run(("-i", uuid, "-q", "-x"))[1], uuid)
        return replace(card, instances=listing.parse_instances(self.run(("mig", "-i", uuid, "-lgi"))[1], uuids))

    def users(self, uuid: str) -> list[UserLine]:
        """Processes that nvidia-smi lists on one card."""
        return listing.parse_processes(self.run(("-i", uuid))[1])

    def set_mode(self, uuid: str, on: bool) -> str:
        """Ask for MIG to be on or off; returns what was printed, as the others do."""
        return self.run(("-i", uuid, "-mig", "1" if on else "0"))[1]

    def reset(self, uuid: str) -> str:
        """Reset the card, which ends its instances and makes a pending mode the present one."""
        return self.run(("--gpu-reset", "-i", uuid))[1]

    def create(self, uuid: str, profile_id: int, start: int) -> str:
        """Make an instance with its compute instance at a slot."""
        return self.run(("mig", "-i", uuid, "-cgi", f"{profile_id}:{start}", "-C"))[1]

    def complete(self, uuid: str, number: int) -> str:
        """Make the compute instance that an instance lacks."""
        return self.run(("mig", "-i", uuid, "-cci", "-gi", str(number)))[1]

    def destroy(self, uuid: str, number: int, with_compute: bool) -> str:
        """Remove an instance, its compute instance first."""
        text = self.run(("mig", "-i", uuid, "-dci", "-gi", str(number)))[1] if with_compute else ""
        return f"{text}\n{self.run(('mig', '-i', uuid, '-dgi', '-gi', str(number)))[1]}".strip()

    def set_compute_mode(self, uuid: str, mode: str) -> str:
        """``Default`` or ``Exclusive_Process``."""
        return self.run(("-i", uuid, "-c", mode.upper()))[1]

    def set_persistence(self, uuid: str, on: bool) -> str:
        """Keep the driver loaded while nobody uses the card."""
        return self.run(("-i", uuid, "-pm", "1" if on else "0"))[1]
