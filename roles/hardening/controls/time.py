"""The clock. The role ``base`` sets chrony up; here it is judged by itself."""

from __future__ import annotations

from typing_extensions import override

from groundwork.report.hardening import Level
from roles.hardening.control import Control, View
from roles.hardening.files import Setting
from roles.hardening.probes import Probe
from roles.hardening.system import Unit

SERVERS = "0.debian.pool.ntp.org 1.debian.pool.ntp.org 2.debian.pool.ntp.org 3.debian.pool.ntp.org"
TIMESYNCD = "/etc/systemd/timesyncd.conf"


class Servers(Setting):
    """The servers of systemd-timesyncd, where it is what keeps the clock."""

    @override
    def questions(self) -> list[tuple[str, str]]:
        return [*super().questions(), ("package", "systemd-timesyncd")]

    @override
    def judge(self, view: View) -> list[str]:
        return super().judge(view) if view.installed("systemd-timesyncd") else []


class Daemon(Unit):
    """chrony or systemd-timesyncd, whichever is installed."""

    @override
    def questions(self) -> list[tuple[str, str]]:
        return [("unit", "chrony.service"), ("unit", "systemd-timesyncd.service"), ("package", "chrony")]

    def _chosen(self, view: View) -> Unit:
        name = "chrony.service" if view.installed("chrony") else "systemd-timesyncd.service"
        return Unit(name, needs_kernel=True)

    @override
    def judge(self, view: View) -> list[str]:
        return self._chosen(view).judge(view)

    @override
    def mend(self, view: View, draft: object) -> None:
        self._chosen(view).mend(view, draft)  # type: ignore[arg-type]


CONTROLS = (
    Control(
        id="time-single",
        title="One program keeps the clock",
        rationale="Two pull it to and fro.",
        references=("CIS 2.3.1.1", "ANSSI R71"),
        level=Level.BASELINE,
        requires=(
            Probe(
                "count=0; for unit in chrony systemd-timesyncd ntpsec ntpd openntpd; do "
                "systemctl is-enabled --quiet $unit 2>/dev/null && count=$((count+1)); done; "
                "test $count -le 1 || echo \"$count programs keep the clock\""
            ),
        ),
    ),
    Control(
        id="time-kept",
        title="The clock is kept",
        rationale="Certificates and logs of several hosts need one time.",
        references=("CIS 2.3.2.2", "CIS 2.3.3.3", "ANSSI R71"),
        level=Level.BASELINE,
        requires=(Daemon("chrony.service", needs_kernel=True),),
        own_kernel=True,
    ),
    Control(
        id="time-servers",
        title="The clock's servers are named",
        rationale="Otherwise whoever answers first sets the clock.",
        references=("CIS 2.3.2.1",),
        only=frozenset({"timesyncd"}),
        level=Level.STRICT,
        requires=(
            Servers(TIMESYNCD, "NTP", SERVERS, "=", lambda given: bool(given),
                    reload="systemctl try-restart systemd-timesyncd.service"),
            Servers(TIMESYNCD, "FallbackNTP", SERVERS, "=", lambda given: bool(given),
                    reload="systemctl try-restart systemd-timesyncd.service"),
        ),
    ),
)  # fmt: skip
