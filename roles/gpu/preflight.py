"""What must hold of a host's driver before its cards are touched."""

from __future__ import annotations

from collections.abc import Iterator

from groundwork.problems import Problem
from roles.gpu.facts import MPS, Driver
from roles.gpu.plan import HostPlan


def check_driver(driver: Driver, host: str) -> Iterator[Problem]:
    """The driver is there, its module and its library are of one version, and it lists cards."""
    key = f"host {host}"
    if not driver.present:
        message = "groups of this host have a share of a card, and there is no nvidia-smi"
        yield Problem(message, key=key, allowed="the driver of NVIDIA, installed and loaded")
    elif "version mismatch" in driver.error:
        message = f"the loaded module and the installed library are of different versions: {driver.error}"
        yield Problem(message, key=key, allowed="reboot, or load the installed module")
    elif driver.error:
        yield Problem(f"nvidia-smi does not work: {driver.error}", key=key)
    elif driver.module and any(card.driver != driver.module for card in driver.cards):
        given = f"module {driver.module}, library {driver.cards[0].driver}"
        message = "the loaded module and the installed library are of different versions"
        yield Problem(message, key=key, given=given, allowed="reboot, or load the installed module")


def check_programs(driver: Driver, plan: HostPlan) -> Iterator[Problem]:
    """The MPS control daemon is there where it is needed."""
    if any(p.daemon for p in plan.placements) and not driver.has_mps:
        message = f"shares by MPS need {MPS}, which the driver's compute package brings"
        yield Problem(message, key=f"host {plan.host}", allowed="install it, or mode: time_slicing")
