"""How each agent group shares a card, and the names that follow from it on a host; known before a host is asked."""

from __future__ import annotations

from typing import Literal

from groundwork.gpu.products import find_product
from groundwork.manifest.platform import Platform
from groundwork.topology.accounts import SystemUser, group_user, user_name

Sharing = Literal["mig", "mps", "time_slicing"]


def sharing_of(platform: Platform, group: str) -> Sharing | None:
    """How a group's processes share their card; None for a group without a share.

    The share's own ``mode``, else its measure (a MIG profile, a thread percentage), else the cards' ``sharing``,
    else MIG where every declared card has it. Without a declared card it is MPS, which any card has.
    """
    declared = platform.groups[group]
    share = declared.gpu
    if share is None:
        return None
    if share.mode != "auto":
        return share.mode
    if share.mig_profile:
        return "mig"
    if share.thread_percentage or share.memory:
        return "mps"
    machine = platform.machines.get(declared.hosts)
    cards = machine.gpus if machine else []
    wished = {card.sharing for card in cards} - {"auto"}
    if len(wished) == 1:
        only = wished.pop()
        return "time_slicing" if only in ("none", "time_slicing") else "mig" if only == "mig" else "mps"
    return "mig" if cards and all(find_product(card.model) for card in cards) else "mps"


def process_user(platform: Platform, group: str) -> SystemUser:
    """The account of a group's processes.

    Clients of an MPS server must have its user ID: a second user's clients wait until the first one's have gone
    (NVIDIA MPS documentation, "Architecture"). Groups that share by MPS therefore have one account together.
    """
    if sharing_of(platform, group) == "mps":
        return mps_user(platform.platform)
    return group_user(platform.platform, group)


def mps_user(platform: str) -> SystemUser:
    """The account of the platform's MPS daemons and of their clients."""
    return SystemUser(user_name(platform, "gpu-mps"))


def run_folder(platform: str) -> str:
    """Where the environment files lie: gone with a reboot, and made again when the cards were read back."""
    return f"/run/groundwork/gpu-{platform}"


def environment_file(platform: str, unit: str) -> str:
    """The environment that a process gets its card by; ``unit`` is its full name."""
    return f"{run_folder(platform)}/{unit.removesuffix('.service')}.env"


def cards_unit(platform: str) -> str:
    """Unit that restores and verifies the platform's cards at boot."""
    return f"groundwork-gpu-{platform}.service"


def pipes_folder(platform: str) -> str:
    """Folder of the folders by which clients find their MPS daemons."""
    return f"/run/groundwork-mps-{platform}"


def daemon_template(platform: str) -> str:
    """Template of the platform's MPS daemons."""
    return f"groundwork-mps-{platform}@.service"
