"""The audit daemon and what it records. Audit is the kernel's: a container has none of its own."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from typing_extensions import override

from groundwork.report.hardening import Level
from roles.hardening.control import Control, Question, Requirement, View
from roles.hardening.draft import Draft
from roles.hardening.files import Attributes, Setting
from roles.hardening.system import Installed, Unit

RULES = "/etc/audit/rules.d/50-groundwork-hardening.rules"
PRIVILEGED = "/etc/audit/rules.d/60-groundwork-privileged.rules"
FINAL = "/etc/audit/rules.d/99-finalize.rules"
DAEMON = "/etc/audit/auditd.conf"
LOAD = "augenrules --load"
BOTH = ("b64", "b32")
PEOPLE = "-F auid>=1000 -F auid!=unset"


@dataclass(frozen=True)
class AuditRules(Requirement):
    """Lines of the rules, in our file and, where the kernel has them, loaded."""

    lines: tuple[str, ...]
    path: str = RULES
    needs_kernel = True

    @override
    def questions(self) -> Iterable[Question]:
        return [("audit", "")]

    @override
    def judge(self, view: View) -> list[str]:
        answer = view.ask("audit")
        declared = set(answer["declared"])
        faults = [f"no audit rule {line!r}" for line in self.lines if line not in declared]
        if not faults and not view.container and not self._is_loaded(answer):
            faults.append("audit rules are not loaded" + (_WAITING if "enabled 2" in answer["status"] else ""))
        return faults

    def _is_loaded(self, answer: Mapping[str, object]) -> bool:
        live = " ".join(answer["live"])  # type: ignore[arg-type]
        keys = {_key(line) for line in self.lines if _key(line)}
        return all(key in live for key in keys)

    @override
    def lay_down(self, view: View) -> Mapping[str, tuple[str, ...]]:
        return {self.path: self.lines}

    @override
    def mend(self, view: View, draft: Draft) -> None:
        answer = view.ask("audit")
        # Immutable rules change with the next boot alone.
        if self.judge(view) and not view.container and "enabled 2" not in answer["status"]:
            draft.reloads[LOAD] = None


_WAITING = "; they are immutable until the next boot"


def _key(line: str) -> str:
    words = line.split()
    if "-k" in words:
        return words[words.index("-k") + 1]
    return next((word.removeprefix("key=") for word in words if word.startswith("key=")), "")


@dataclass(frozen=True)
class PrivilegedRules(AuditRules):
    """A rule for each program that runs as its owner, as they are found."""

    lines: tuple[str, ...] = ()
    path: str = PRIVILEGED

    @override
    def questions(self) -> Iterable[Question]:
        return [("audit", ""), ("tree", "")]

    def _wanted(self, view: View) -> tuple[str, ...]:
        return tuple(
            f"-a always,exit -F path={path} -F perm=x {PEOPLE} -F key=privileged"
            for path in sorted(view.ask("tree")["privileged"])
        )

    @override
    def judge(self, view: View) -> list[str]:
        return AuditRules(self._wanted(view), self.path).judge(view)

    @override
    def lay_down(self, view: View) -> Mapping[str, tuple[str, ...]]:
        return {self.path: self._wanted(view)}


def _watch(key: str, *paths: str, permission: str = "wa") -> tuple[str, ...]:
    return tuple(f"-w {path} -p {permission} -k {key}" for path in paths)


def _calls(key: str, calls: tuple[str, ...], filters: str = PEOPLE) -> tuple[str, ...]:
    """One rule for each call and architecture, so that a judge finds each by itself."""
    middle = f" {filters}" if filters else ""
    return tuple(f"-a always,exit -F arch={arch} -S {call}{middle} -F key={key}" for arch in BOTH for call in calls)


def _program(key: str, *paths: str) -> tuple[str, ...]:
    return tuple(f"-a always,exit -F path={path} -F perm=x {PEOPLE} -F key={key}" for path in paths)


def _control(
    name: str, title: str, lines: tuple[str, ...], reference: str, level: Level = Level.STRICT, path: str = RULES
) -> Control:
    rationale = "What happened can be told afterwards, and by whom."
    return Control(
        f"audit-{name}", title, rationale, (reference, "ANSSI R73"), level, (AuditRules(lines, path),), own_kernel=True
    )


def _daemon(
    name: str, title: str, rationale: str, settings: dict[str, str], reference: str, level: Level = Level.STRICT
) -> Control:
    wanted = tuple(
        Setting(DAEMON, key, value, " = ", reload="systemctl kill --signal=HUP auditd.service || true")
        for key, value in settings.items()
    )
    return Control(f"audit-{name}", title, rationale, (reference,), level, wanted, own_kernel=True)


ACCESS = tuple(
    line
    for error in ("EACCES", "EPERM")
    for line in _calls("access", ("creat", "open", "openat", "truncate", "ftruncate"), f"-F exit=-{error} {PEOPLE}")
)
CHANGES = ("chmod", "fchmod", "fchmodat", "chown", "fchown", "lchown", "fchownat", "setxattr", "lsetxattr",
           "fsetxattr", "removexattr", "lremovexattr", "fremovexattr")  # fmt: skip

CONTROLS = (
    Control(
        id="audit-daemon",
        title="The audit daemon runs",
        rationale="It records what the kernel sees, whoever did it and whatever they say.",
        references=("CIS 6.2.1.1", "CIS 6.2.1.2", "ANSSI R73"),
        level=Level.STRICT,
        own_kernel=True,
        requires=(Installed(("auditd", "audispd-plugins")), Unit("auditd.service", needs_kernel=True)),
    ),
    _daemon("storage", "The audit log takes 6 MB a file and nothing is thrown away unseen",
            "A flood must not push out what matters.",
            {"max_log_file": "6", "max_log_file_action": "keep_logs"}, "CIS 6.2.2.1", Level.PARANOID),
    _daemon("full", "A host that cannot record stops",
            "Nothing happens unrecorded. It gives availability up: a flooded log stops the host.",
            {"disk_full_action": "halt", "disk_error_action": "halt", "space_left_action": "email",
             "admin_space_left_action": "halt", "action_mail_acct": "root"}, "CIS 6.2.2.3", Level.PARANOID),
    _control("sudoers", "Changes of sudo's rules are recorded",
             _watch("scope", "/etc/sudoers", "/etc/sudoers.d"), "CIS 6.2.3.1"),
    _control("emulation", "What is done as another user is recorded",
             tuple(f"-a always,exit -F arch={arch} -C euid!=uid -F auid!=unset -S execve -F key=user_emulation"
                   for arch in BOTH), "CIS 6.2.3.2", Level.PARANOID),
    _control("sudo-log", "Changes of sudo's log are recorded",
             _watch("sudo_log_file", "/var/log/sudo.log"), "CIS 6.2.3.3"),
    _control("time", "Changes of the clock are recorded",
             (*_calls("time-change", ("adjtimex", "settimeofday"), ""),
              *_calls("time-change", ("clock_settime",), "-F a0=0x0"),
              *_watch("time-change", "/etc/localtime")), "CIS 6.2.3.4"),
    _control("network", "Changes of the host's name and network are recorded",
             (*_calls("system-locale", ("sethostname", "setdomainname"), ""),
              *_watch("system-locale", "/etc/issue", "/etc/issue.net", "/etc/hosts", "/etc/networks", "/etc/network",
                      "/etc/netplan")), "CIS 6.2.3.5"),
    _control("access", "Refused access to files is recorded", ACCESS, "CIS 6.2.3.7", Level.PARANOID),
    _control("identity", "Changes of accounts are recorded",
             _watch("identity", *(f"/etc/{name}" for name in ("group", "passwd", "gshadow", "shadow",
                    "security/opasswd", "nsswitch.conf", "pam.conf", "pam.d"))), "CIS 6.2.3.8"),
    _control("permissions", "Changes of permissions are recorded", _calls("perm_mod", CHANGES), "CIS 6.2.3.9"),
    _control("mounts", "Mounts are recorded", _calls("mounts", ("mount",)), "CIS 6.2.3.10"),
    _control("sessions", "Logins are recorded",
             (*_watch("session", "/var/run/utmp", "/var/log/wtmp", "/var/log/btmp"),
              *_watch("logins", "/var/log/lastlog", "/var/run/faillock")), "CIS 6.2.3.11"),
    _control("deletions", "Deletions by people are recorded",
             _calls("delete", ("rename", "unlink", "unlinkat", "renameat")), "CIS 6.2.3.13", Level.PARANOID),
    _control("apparmor", "Changes of AppArmor are recorded",
             _watch("MAC-policy", "/etc/apparmor/", "/etc/apparmor.d/"), "CIS 6.2.3.14"),
    _control("programs", "Programs that change labels, lists of access and accounts are recorded",
             (*_program("perm_chng", "/usr/bin/chcon", "/usr/bin/setfacl", "/usr/bin/chacl"),
              *_program("usermod", "/usr/sbin/usermod")), "CIS 6.2.3.15"),
    _control("modules", "Loading of kernel modules is recorded",
             (*_calls("kernel_modules", ("init_module", "finit_module", "delete_module", "create_module",
                                         "query_module")),
              *_program("kernel_modules", "/usr/bin/kmod")), "CIS 6.2.3.19"),
    Control(
        id="audit-privileged",
        title="Programs that run as their owner are recorded",
        rationale="They are the way from an account to root.",
        references=("CIS 6.2.3.6",),
        level=Level.STRICT,
        own_kernel=True,
        requires=(PrivilegedRules(),),
    ),
    _control("immutable", "The rules stay as they are until the next boot", ("-e 2",), "CIS 6.2.3.20",
             Level.PARANOID, FINAL),
    Control(
        id="audit-files",
        title="The audit's files are root's",
        rationale="Whoever is watched must not turn it off or read along.",
        references=("CIS 6.2.4.1",),
        level=Level.STRICT,
        own_kernel=True,
        requires=(
            Attributes("/var/log/audit", 0o750, groups=("root", "adm")),
            Attributes("/var/log/audit/*", 0o640, groups=("root", "adm")),
            Attributes("/etc/audit/*.conf", 0o640),
            Attributes("/etc/audit/*.rules", 0o640),
            Attributes("/etc/audit/rules.d/*", 0o640),
            *(Attributes(f"/usr/sbin/{name}", 0o755) for name in
              ("auditctl", "aureport", "ausearch", "autrace", "auditd", "augenrules")),
        ),
    ),
)  # fmt: skip
