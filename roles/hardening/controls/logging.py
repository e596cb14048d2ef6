"""The journal and what rotates logs."""

from __future__ import annotations

from groundwork.report.hardening import Level
from roles.hardening.control import Control
from roles.hardening.files import OwnLines
from roles.hardening.system import Installed, Off, Unit

JOURNAL = "/etc/systemd/journald.conf.d/60-groundwork-hardening.conf"

CONTROLS = (
    Control(
        id="log-journal",
        title="The journal is kept over boots and compressed",
        rationale="What happened before a reboot is what one wants to know.",
        references=("CIS 6.1.1.1", "CIS 6.1.2.3", "CIS 6.1.2.4"),
        level=Level.BASELINE,
        requires=(
            OwnLines(JOURNAL, ("[Journal]", "Storage=persistent", "Compress=yes", "ForwardToSyslog=no")),
            Unit("systemd-journald.service"),
        ),
    ),
    Control(
        id="log-no-reception",
        title="The host takes no logs from others",
        rationale="An open port for logs lets everyone fill the disk.",
        references=("CIS 6.1.2.1.4",),
        level=Level.BASELINE,
        requires=(Off(("systemd-journal-remote.socket", "systemd-journal-remote.service")),),
        unless={"loki": "the host collects the platform's logs"},
    ),
    Control(
        id="log-rotation",
        title="Logs are rotated every day",
        rationale="A full disk stops the host.",
        references=("CIS 6.1.3.8",),
        level=Level.BASELINE,
        requires=(Installed(("logrotate",)), Unit("logrotate.timer")),
    ),
)
