"""Addresses that keep failing to log in are shut out for a while."""

from __future__ import annotations

from groundwork.report.hardening import Level
from roles.hardening.control import Control, View
from roles.hardening.files import OwnLines
from roles.hardening.system import Installed, Unit

JAIL = "/etc/fail2ban/jail.d/groundwork-hardening.local"


def _jail(view: View) -> tuple[str, ...]:
    # Runs come from there: a wrong key must never shut the operator out.
    ignored = " ".join(["127.0.0.1/8", "::1", *view.controllers])
    return (
        "[DEFAULT]",
        f"ignoreip = {ignored}",
        "banaction = nftables-multiport",
        "banaction_allports = nftables-allports",
        "[sshd]",
        "enabled = true",
        "backend = systemd",
        "maxretry = 5",
        "findtime = 10m",
        "bantime = 15m",
    )


CONTROLS = (
    Control(
        id="fail2ban-ssh",
        title="Addresses that fail to log in five times are shut out for 15 minutes",
        rationale="Guessing fills the log and holds places. Keys cannot be guessed: this is for quiet.",
        references=("Lynis DEB-0880",),
        level=Level.PARANOID,
        requires=(
            Installed(("fail2ban", "python3-systemd", "nftables")),
            OwnLines(JAIL, _jail),
            Unit("fail2ban.service"),
        ),
    ),
)
