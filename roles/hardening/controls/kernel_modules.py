"""Kernel modules that a server has no use for and an attacker has."""

from __future__ import annotations

from groundwork.report.hardening import Level
from roles.hardening.control import Control
from roles.hardening.system import NoModule

FILESYSTEM = "A damaged or crafted file system is parsed in the kernel; a driver that cannot be loaded parses nothing."
PROTOCOL = "A rarely used protocol's code has been the way to root before; unused it is only a risk."
CONTAINERS = "containers are stacked on the overlay file system"


def _control(
    module: str, level: Level, references: tuple[str, ...], rationale: str, unless: dict[str, str] | None = None
) -> Control:
    return Control(
        id=f"module-{module.replace('_', '-')}",
        title=f"The kernel module {module} cannot be loaded",
        rationale=rationale,
        references=references,
        level=level,
        requires=(NoModule(module),),
        unless=unless or {},
    )


CONTROLS = (
    _control("cramfs", Level.BASELINE, ("CIS 1.1.1.1", "dev-sec os-10"), FILESYSTEM),
    _control("freevxfs", Level.BASELINE, ("CIS 1.1.1.2", "dev-sec os-10"), FILESYSTEM),
    _control("hfs", Level.BASELINE, ("CIS 1.1.1.3", "dev-sec os-10"), FILESYSTEM),
    _control("hfsplus", Level.BASELINE, ("CIS 1.1.1.4", "dev-sec os-10"), FILESYSTEM),
    _control("jffs2", Level.BASELINE, ("CIS 1.1.1.5", "dev-sec os-10"), FILESYSTEM),
    _control("overlay", Level.PARANOID, ("CIS 1.1.1.6",), FILESYSTEM, {"containers": CONTAINERS}),
    _control("squashfs", Level.PARANOID, ("CIS 1.1.1.7", "dev-sec os-10"), FILESYSTEM),
    _control("udf", Level.STRICT, ("CIS 1.1.1.8", "dev-sec os-10"), FILESYSTEM),
    _control("usb-storage", Level.STRICT, ("CIS 1.1.1.9",), "What is plugged in brings data in and takes it out."),
    _control("dccp", Level.BASELINE, ("CIS 3.2.1",), PROTOCOL),
    _control("tipc", Level.BASELINE, ("CIS 3.2.2",), PROTOCOL),
    _control("rds", Level.BASELINE, ("CIS 3.2.3",), PROTOCOL),
    _control("sctp", Level.STRICT, ("CIS 3.2.4",), PROTOCOL),
    Control(
        id="module-dma",
        title="Modules of buses with direct memory access cannot be loaded",
        rationale="A device on FireWire or Thunderbolt reads and writes memory without asking.",
        references=("konstruktoid kernelmodules", "Lynis STRG-1846"),
        level=Level.STRICT,
        requires=(NoModule("firewire-core"), NoModule("firewire-ohci"), NoModule("thunderbolt")),
    ),
    Control(
        id="module-wireless",
        title="Bluetooth cannot be loaded",
        rationale="A server in a rack has no use for radio, and its stack is reachable without a login.",
        references=("CIS 3.1.3",),
        level=Level.STRICT,
        requires=(NoModule("bluetooth"), NoModule("btusb")),
    ),
)
