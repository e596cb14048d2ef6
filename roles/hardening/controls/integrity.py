"""AIDE compares files with what they were."""

from __future__ import annotations

from groundwork.report.hardening import Level
from roles.hardening.control import Control
from roles.hardening.files import OwnLines
from roles.hardening.probes import Output
from roles.hardening.system import Installed, Unit

RULES = "/etc/aide/aide.conf.d/00_groundwork_hardening"
LOG = "/run/groundwork-aide.log"
TOOLS = "/etc/aide/aide.conf.d/90_groundwork_audit_tools"
# Data changes all the time, and reading it takes hours.
EXCLUDED = ("/var/lib/docker", "/var/lib/containerd", "/var/lib/postgresql", "/var/lib/redis", "/var/lib/nats",
            "/var/lib/prometheus", "/var/lib/groundwork", "/var/log", "/var/cache", "/var/tmp", "/tmp", "/run", "/proc",
            "/sys", "/dev", "/srv", "/opt", "/home")  # fmt: skip
AUDIT_TOOLS = ("auditctl", "auditd", "ausearch", "aureport", "autrace", "augenrules")

CONTROLS = (
    Control(
        id="integrity-database",
        title="AIDE has noted what files are like",
        rationale="A changed program is found although it tells nobody.",
        references=("CIS 6.3.1", "ANSSI R76"),
        level=Level.STRICT,
        # It asks for capabilities that few containers have.
        own_kernel=True,
        requires=(
            Installed(("aide", "aide-common")),
            OwnLines(RULES, tuple(f"!{path}$" if path == "/dev" else f"!{path}" for path in EXCLUDED)),
            Output(
                "ls -s /var/lib/aide/aide.db 2>/dev/null",
                r"^[1-9]",
                "AIDE has no database",
                f"aideinit --yes --force >{LOG} 2>&1 || {{ tail -n 5 {LOG} >&2; exit 1; }}",
                "rm -f /var/lib/aide/aide.db /var/lib/aide/aide.db.new",
            ),
        ),
    ),
    Control(
        id="integrity-daily",
        title="AIDE looks every day",
        rationale="A change that nobody looks for is not found.",
        references=("CIS 6.3.2",),
        level=Level.STRICT,
        requires=(Installed(("aide-common",)), Unit("dailyaidecheck.timer")),
    ),
    Control(
        id="integrity-audit-tools",
        title="AIDE looks at the audit's own programs",
        rationale="Whoever replaces them is not recorded.",
        references=("CIS 6.3.3",),
        level=Level.STRICT,
        requires=(
            OwnLines(
                TOOLS,
                tuple(f"/usr/sbin/{tool} p+i+n+u+g+s+b+acl+xattrs+sha512" for tool in AUDIT_TOOLS),
            ),
        ),
    ),
)
