"""Who may have programs run at set times."""

from __future__ import annotations

from groundwork.report.hardening import Level
from roles.hardening.control import Control
from roles.hardening.files import Absent, Attributes, Whole
from roles.hardening.system import Installed, Unit

FOLDERS = ("cron.hourly", "cron.daily", "cron.weekly", "cron.monthly", "cron.d", "cron.yearly")

CONTROLS = (
    Control(
        id="cron-runs",
        title="cron runs",
        rationale="Rotation of logs and checks of packages depend on it.",
        references=("CIS 2.4.1.1",),
        level=Level.STRICT,
        requires=(Installed(("cron",)), Unit("cron.service")),
    ),
    Control(
        id="cron-permissions",
        title="Root alone reads and writes what cron runs as root",
        rationale="Whoever writes there is root within the hour.",
        references=("CIS 2.4.1.2", "dev-sec os-13"),
        level=Level.BASELINE,
        requires=(Attributes("/etc/crontab", 0o600), *(Attributes(f"/etc/{name}", 0o700) for name in FOLDERS)),
    ),
    Control(
        id="cron-users",
        title="Root alone has a crontab or jobs of at",
        rationale="A program that comes back every minute is how an intruder stays.",
        references=("CIS 2.4.1.8", "CIS 2.4.2.1"),
        level=Level.STRICT,
        requires=(
            Whole("/etc/cron.allow", "root\n", 0o640),
            Attributes("/etc/cron.allow", 0o640, groups=("root", "crontab")),
            Absent("/etc/cron.deny"),
            Whole("/etc/at.allow", "root\n", 0o640),
            Attributes("/etc/at.allow", 0o640, groups=("root", "daemon")),
            Absent("/etc/at.deny"),
        ),
    ),
)
