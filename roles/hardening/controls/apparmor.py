"""AppArmor. Profiles of Debian's packages are enforced where they come so; none is invented here."""

from __future__ import annotations

from groundwork.report.hardening import Level
from roles.hardening.control import Control
from roles.hardening.probes import Output, Probe
from roles.hardening.system import Installed, Unit

ENFORCE = "for file in /etc/apparmor.d/*; do test -f $file && aa-enforce $file; done >/dev/null 2>&1; true"

CONTROLS = (
    Control(
        id="apparmor-installed",
        title="AppArmor and its tools are installed and on",
        rationale="A service that was taken over does only what its profile allows.",
        references=("CIS 1.3.1.1", "CIS 1.3.1.2", "ANSSI R45"),
        level=Level.BASELINE,
        requires=(
            Installed(("apparmor", "apparmor-utils")),
            Unit("apparmor.service", needs_kernel=True),
            Output(
                "cat /sys/module/apparmor/parameters/enabled",
                "^Y",
                "the kernel runs without AppArmor",
                needs_kernel=True,
            ),
        ),
    ),
    Control(
        id="apparmor-confined",
        title="No process runs without a profile that there is for it",
        rationale="It was started before its profile was loaded.",
        references=("CIS 1.3.1.3",),
        level=Level.STRICT,
        own_kernel=True,
        requires=(
            Probe(
                "aa-status 2>/dev/null | sed -n 's/^\\([1-9][0-9]*\\) processes are unconfined but.*/"
                "\\1 processes are unconfined though there is a profile for them/p'"
            ),
        ),
    ),
    Control(
        id="apparmor-enforced",
        title="Every profile is enforced",
        rationale="One that only complains stops nothing.",
        references=("CIS 1.3.1.4", "ANSSI R45"),
        level=Level.PARANOID,
        own_kernel=True,
        requires=(
            Probe(
                "aa-status 2>/dev/null | sed -n 's/^\\([1-9][0-9]*\\) profiles are in complain mode.*/"
                "\\1 profiles only complain/p'",
                lambda _view, _found: [(ENFORCE, "")],
            ),
        ),
    ),
)  # fmt: skip
