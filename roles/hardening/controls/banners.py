"""What is shown before and after a login."""

from __future__ import annotations

from groundwork.report.hardening import Level
from roles.hardening.control import Control
from roles.hardening.files import Attributes, Whole

# Of our own words; it names no system and no version.
NOTICE = (
    "This system is for authorized use only. Use is monitored and recorded.\n"
    "Unauthorized access is prohibited and will be prosecuted by law.\n"
)

CONTROLS = (
    Control(
        id="banner-login",
        title="A notice stands before the login, and names no system",
        rationale="Some jurisdictions want it said; a version helps an attacker choose.",
        references=("CIS 1.6.2", "CIS 1.6.3", "Lynis BANN-7126"),
        level=Level.STRICT,
        requires=(Whole("/etc/issue", NOTICE), Whole("/etc/issue.net", NOTICE)),
    ),
    Control(
        id="banner-motd",
        title="The message after the login names no system",
        rationale="A version helps an attacker choose.",
        references=("CIS 1.6.1",),
        level=Level.STRICT,
        requires=(Whole("/etc/motd", NOTICE),),
    ),
    Control(
        id="banner-permissions",
        title="The messages are root's to write",
        rationale="Whoever writes them speaks as the operator.",
        references=("CIS 1.6.4", "CIS 1.6.5"),
        level=Level.BASELINE,
        requires=tuple(Attributes(f"/etc/{name}", 0o644) for name in ("issue", "issue.net", "motd")),
    ),
)
