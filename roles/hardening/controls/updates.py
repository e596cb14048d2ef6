"""Packages: that updates come, and from whom."""

from __future__ import annotations

from groundwork.report.hardening import Level
from roles.hardening.control import Control
from roles.hardening.files import OwnLines
from roles.hardening.probes import Output, Probe
from roles.hardening.system import Installed

APT = "/etc/apt/apt.conf.d/60-groundwork-hardening"

CONTROLS = (
    Control(
        id="updates-daily",
        title="Security updates are installed every day",
        rationale="Most break-ins use a hole for which there is an update.",
        references=("Lynis PKGS-7420", "ANSSI R61"),
        level=Level.BASELINE,
        requires=(
            Installed(("unattended-upgrades",)),
            OwnLines(APT, ('APT::Periodic::Update-Package-Lists "1";', 'APT::Periodic::Unattended-Upgrade "1";')),
        ),
    ),
    Control(
        id="updates-signed",
        title="Packages without a signature are refused",
        rationale="Whoever is between host and mirror could send their own.",
        references=("CIS 1.2.1.1", "ANSSI R59"),
        level=Level.BASELINE,
        requires=(
            OwnLines(
                APT,
                (
                    'APT::Get::AllowUnauthenticated "false";',
                    'Acquire::AllowInsecureRepositories "false";',
                    'Acquire::AllowDowngradeToInsecureRepositories "false";',
                ),
            ),
            Output(
                "apt-config dump Acquire::AllowInsecureRepositories",
                r'"(false|0|no)"',
                "apt takes repositories without a signature",
            ),
            Probe(r"grep -rhsE '^[^#]*(\[[^]]*trusted=yes|^Trusted: *yes)' "
                  r"/etc/apt/sources.list /etc/apt/sources.list.d | sed 's/^/a source needs no signature: /'"),
        ),
    ),
    Control(
        id="updates-running-kernel",
        title="No update waits for a reboot",
        rationale="The hole stays open until the new kernel runs.",
        references=("Lynis KRNL-5830",),
        level=Level.STRICT,
        requires=(Probe("test ! -e /run/reboot-required || echo 'an update waits for a reboot'"),),
        own_kernel=True,
    ),
)  # fmt: skip
