"""PAM and sudo. PAM is changed through profiles of pam-auth-update, never in its files."""

from __future__ import annotations

import re

from typing_extensions import override

from groundwork.report.hardening import Level
from roles.hardening.control import Control, View
from roles.hardening.files import Attributes, OwnLines, Setting
from roles.hardening.probes import Output, Probe
from roles.hardening.system import Installed

PROFILES = "/usr/share/pam-configs"
PAM_FILES = tuple(f"/etc/pam.d/common-{part}" for part in ("auth", "account", "password", "session"))
PAM_STATE = (*PAM_FILES, *(f"/var/lib/pam/{name}" for name in ("auth", "account", "password", "session", "seen")))
SUDOERS = "/etc/sudoers.d/90-groundwork-hardening"
WHEEL = "sugroup"
FAILLOCK = "/etc/security/faillock.conf"
QUALITY = "/etc/security/pwquality.conf.d/50-groundwork-hardening.conf"

UNIX_PROFILE = (
    "Name: Unix authentication without empty passwords",
    "Default: yes",
    "Priority: 256",
    "Conflicts: unix",
    "Auth-Type: Primary",
    "Auth:",
    "\t[success=end default=ignore]\tpam_unix.so try_first_pass",
    "Auth-Initial:",
    "\t[success=end default=ignore]\tpam_unix.so",
    "Account-Type: Primary",
    "Account:",
    "\t[success=end new_authtok_reqd=done default=ignore]\tpam_unix.so",
    "Account-Initial:",
    "\t[success=end new_authtok_reqd=done default=ignore]\tpam_unix.so",
    "Session-Type: Additional",
    "Session:",
    "\trequired\tpam_unix.so",
    "Session-Initial:",
    "\trequired\tpam_unix.so",
    "Password-Type: Primary",
    "Password:",
    "\t[success=end default=ignore]\tpam_unix.so obscure use_authtok try_first_pass yescrypt",
    "Password-Initial:",
    "\t[success=end default=ignore]\tpam_unix.so obscure yescrypt",
)
FAILLOCK_PROFILE = (
    "Name: Lock accounts after failed logins",
    "Default: yes",
    "Priority: 0",
    "Auth-Type: Primary",
    "Auth:",
    "\t[default=die]\tpam_faillock.so authfail",
)
FAILLOCK_NOTIFY_PROFILE = (
    "Name: Refuse accounts that are locked after failed logins",
    "Default: yes",
    "Priority: 1024",
    "Auth-Type: Primary",
    "Auth:",
    "\trequisite\tpam_faillock.so preauth",
    "Account-Type: Primary",
    "Account:",
    "\trequired\tpam_faillock.so",
)
HISTORY_PROFILE = (
    "Name: Remember former passwords",
    "Default: yes",
    "Priority: 1023",
    "Password-Type: Primary",
    "Password:",
    "\trequisite\tpam_pwhistory.so remember=24 enforce_for_root try_first_pass use_authtok",
    "Password-Initial:",
    "\trequisite\tpam_pwhistory.so remember=24 enforce_for_root",
)

UPDATE = "DEBIAN_FRONTEND=noninteractive pam-auth-update --package"


class Profile(OwnLines):
    """A profile of pam-auth-update: our file, and its lines in PAM's own files."""

    @override
    def judge(self, view: View) -> list[str]:
        faults = super().judge(view)
        return [f"the PAM profile {self.path.rpartition('/')[2]} is missing"] if faults else []


def _enabled(profile: str, file: str, pattern: str, told: str) -> Output:
    enable = f"{UPDATE} --enable {profile}"
    return Output(f"cat /etc/pam.d/common-{file}", pattern, told, enable, touches=PAM_STATE)


def _sudo(line: str) -> OwnLines:
    return OwnLines(SUDOERS, (line,))


CONTROLS = (
    Control(
        id="pam-unix",
        title="PAM takes no empty password and hashes with yescrypt",
        rationale="`nullok` would let an account without a password in.",
        references=("CIS 5.3.3.4.1", "CIS 5.3.3.4.3", "ANSSI R68"),
        level=Level.STRICT,
        requires=(
            Installed(("libpam-runtime", "libpam-modules")),
            Profile(f"{PROFILES}/groundwork-unix", UNIX_PROFILE),
            Output(
                "grep -c -E '^[^#]*pam_unix.so.*nullok' /etc/pam.d/common-auth",
                r"^0$",
                "common-auth takes empty passwords",
                # A word that was added by hand is kept by pam-auth-update.
                f"{UPDATE} --enable groundwork-unix; sed -i '/pam_unix.so/s/ nullok//' /etc/pam.d/common-auth",
                touches=PAM_STATE,
            ),
            _enabled(
                "groundwork-unix",
                "password",
                r"^password.*pam_unix\.so.*yescrypt",
                "common-password does not hash with yescrypt",
            ),
        ),
    ),
    Control(
        id="pam-faillock",
        title="Accounts are locked for 15 minutes after four failures",
        rationale="Guessing a password at the console or in sudo then takes years.",
        references=("CIS 5.3.2.2", "CIS 5.3.3.1.1", "CIS 5.3.3.1.2", "ANSSI R31"),
        level=Level.STRICT,
        requires=(
            Profile(f"{PROFILES}/groundwork-faillock", FAILLOCK_PROFILE),
            Profile(f"{PROFILES}/groundwork-faillock-notify", FAILLOCK_NOTIFY_PROFILE),
            Setting(FAILLOCK, "deny", "4", " = "),
            Setting(FAILLOCK, "unlock_time", "900", " = "),
            _enabled(
                "groundwork-faillock groundwork-faillock-notify",
                "auth",
                r"(?s)pam_faillock\.so preauth.*pam_unix\.so.*pam_faillock\.so authfail",
                "common-auth does not lock accounts",
            ),
            _enabled("groundwork-faillock-notify", "account", r"pam_faillock\.so", "common-account knows no lock"),
        ),
    ),
    Control(
        id="pam-faillock-root",
        title="Root's account is locked, too",
        rationale="It is the one whose name everyone knows. Someone at the console could lock it on purpose.",
        references=("CIS 5.3.3.1.3",),
        level=Level.PARANOID,
        requires=(Setting(FAILLOCK, "root_unlock_time", "900", " = "),),
    ),
    Control(
        id="pam-quality",
        title="New passwords are long and of four kinds of characters",
        rationale="Short ones are guessed from a stolen hash.",
        references=("CIS 5.3.2.3", "CIS 5.3.3.2.1", "ANSSI R31"),
        level=Level.STRICT,
        requires=(
            Installed(("libpam-pwquality",)),
            OwnLines(
                QUALITY,
                (
                    "minlen = 14",
                    "minclass = 4",
                    "dcredit = -1",
                    "ucredit = -1",
                    "lcredit = -1",
                    "ocredit = -1",
                    "difok = 2",
                    "maxrepeat = 3",
                    "maxsequence = 3",
                    "dictcheck = 1",
                    "enforcing = 1",
                    "enforce_for_root",
                ),
            ),
            _enabled("pwquality", "password", r"pam_pwquality\.so", "common-password checks no quality"),
        ),
    ),
    Control(
        id="pam-history",
        title="The last 24 passwords are not taken again",
        rationale="Otherwise a change of password changes nothing.",
        references=("CIS 5.3.2.4", "CIS 5.3.3.3.1"),
        level=Level.STRICT,
        requires=(
            Profile(f"{PROFILES}/groundwork-history", HISTORY_PROFILE),
            _enabled("groundwork-history", "password", r"pam_pwhistory\.so.*remember=24", "common-password forgets"),
        ),
    ),
    Control(
        id="pam-su",
        title="Nobody uses su but root",
        rationale="sudo says who did what; su needs root's password to be known.",
        references=("CIS 5.2.7", "konstruktoid"),
        level=Level.STRICT,
        requires=(
            Output(
                f"getent group {WHEEL}",
                rf"^{WHEEL}:.*:$",
                f"there is no empty group {WHEEL}",
                f"groupadd --system --force {WHEEL} && gpasswd --members '' {WHEEL}",
                f"groupdel {WHEEL}",
            ),
            Output(
                "cat /etc/pam.d/su",
                rf"^auth\s+required\s+pam_wheel\.so\s+use_uid\s+group={WHEEL}$",
                "su is for everyone",
                rf"sed -i '/^auth.*pam_wheel/d; /^auth.*pam_rootok/a auth required pam_wheel.so use_uid group={WHEEL}' "
                "/etc/pam.d/su",
                touches=("/etc/pam.d/su",),
            ),
        ),
    ),
    Control(
        id="sudo-installed",
        title="sudo is installed",
        rationale="Without it people share root's account.",
        references=("CIS 5.2.1", "ANSSI R33"),
        level=Level.BASELINE,
        requires=(Installed(("sudo",)),),
    ),
    Control(
        id="sudo-pty",
        title="sudo runs commands in a terminal of their own",
        rationale="A program left behind cannot type into the caller's terminal.",
        references=("CIS 5.2.2", "ANSSI R39"),
        level=Level.BASELINE,
        requires=(_sudo("Defaults use_pty"),),
    ),
    Control(
        id="sudo-log",
        title="sudo keeps a log of its own",
        rationale="What was done as root stands in one place.",
        references=("CIS 5.2.3",),
        level=Level.STRICT,
        requires=(
            _sudo('Defaults logfile="/var/log/sudo.log"'),
            OwnLines(
                "/etc/logrotate.d/groundwork-hardening-sudo",
                (
                    "/var/log/sudo.log {",
                    "    monthly",
                    "    rotate 12",
                    "    compress",
                    "    missingok",
                    "    notifempty",
                    "    create 0600 root root",
                    "}",
                ),
            ),
        ),
    ),
    Control(
        id="sudo-timeout",
        title="sudo asks again after 15 minutes",
        rationale="A terminal that was left is not root for long.",
        references=("CIS 5.2.6",),
        level=Level.BASELINE,
        requires=(_sudo("Defaults timestamp_timeout=15"),),
    ),
    Control(
        id="sudo-reauthenticate",
        title="No rule of sudo turns asking off altogether",
        rationale="`!authenticate` makes root of everyone who gets at the account. (NOPASSWD for an account that "
        "has no password is how such accounts work at all.)",
        references=("CIS 5.2.5",),
        level=Level.BASELINE,
        requires=(Probe(r"grep -rhsE '^[^#]*!authenticate' /etc/sudoers /etc/sudoers.d | sed 's/^/sudoers: /'"),),
    ),
    Control(
        id="sudo-permissions",
        title="sudo's rules are for root's eyes, and valid",
        rationale="They tell whom to attack; a mistake in one of them turns sudo off for everyone.",
        references=("Lynis AUTH-9252", "ANSSI R38"),
        level=Level.BASELINE,
        requires=(
            Attributes("/etc/sudoers", 0o440),
            Attributes("/etc/sudoers.d", 0o750),
            Attributes("/etc/sudoers.d/*", 0o440),
            Probe("/usr/sbin/visudo -c >/dev/null 2>&1 || echo 'visudo -c refuses the rules of sudo'"),
        ),
    ),
)
PROFILE_NAMES = tuple(
    re.sub(r".*/", "", requirement.path)
    for control in CONTROLS
    for requirement in control.requires
    if isinstance(requirement, Profile)
)
