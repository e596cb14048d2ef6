"""Memory of programs that failed: it has their secrets."""

from __future__ import annotations

from groundwork.report.hardening import Level
from roles.hardening.control import Control
from roles.hardening.files import OwnLines

CONTROLS = (
    Control(
        id="core-limit",
        title="No program dumps its memory",
        rationale="A dump has keys and passwords in it.",
        references=("CIS 1.5.3", "dev-sec"),
        level=Level.BASELINE,
        requires=(OwnLines("/etc/security/limits.d/90-groundwork-hardening.conf", ("* hard core 0",)),),
    ),
    Control(
        id="core-systemd",
        title="systemd keeps no dumps",
        rationale="A dump has keys and passwords in it.",
        references=("CIS (Debian 13) 1.5.12", "konstruktoid"),
        level=Level.BASELINE,
        requires=(
            OwnLines(
                "/etc/systemd/coredump.conf.d/60-groundwork-hardening.conf",
                ("[Coredump]", "Storage=none", "ProcessSizeMax=0"),
            ),
            OwnLines(
                "/etc/systemd/system.conf.d/60-groundwork-hardening.conf",
                ("[Manager]", "DumpCore=no", "DefaultLimitCORE=0"),
            ),
        ),
    ),
)
