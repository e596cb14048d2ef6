"""How each control of hardening is broken on a host, derived from what it requires; a table where that says nothing.

``break_command`` gives one line of shell for a control, run as root on a host where the control holds.
"""

from __future__ import annotations

import shlex

from roles.hardening.control import Control, Requirement
from roles.hardening.controls.audit import AuditRules, PrivilegedRules
from roles.hardening.controls.filesystem import TMP_UNIT, Tmp
from roles.hardening.controls.time import Daemon, Servers
from roles.hardening.files import Absent, Attributes, NoLine, OwnLines, Setting, Whole
from roles.hardening.system import (
    MODULES,
    SSHD,
    SYSCTL,
    Installed,
    Mounted,
    NoModule,
    NotInstalled,
    Off,
    SshOption,
    Sysctl,
    Unit,
)

# What the server takes instead, where leaving the line out would still be what is wanted.
SSH_VALUES = {
    "PermitRootLogin": "prohibit-password",
    "PasswordAuthentication": "yes",
    "PermitEmptyPasswords": "yes",
    "UsePAM": "no",
    "Ciphers": "aes128-cbc,aes256-ctr",
    "KexAlgorithms": "diffie-hellman-group14-sha1,curve25519-sha256",
    "MACs": "hmac-sha1,hmac-sha2-256",
    "LoginGraceTime": "120",
    "ClientAliveInterval": "0",
    "MaxAuthTries": "6",
    "MaxSessions": "20",
    "MaxStartups": "50:30:100",
    "LogLevel": "ERROR",
    "X11Forwarding": "yes",
    "DisableForwarding": "no",
    "HostbasedAuthentication": "yes",
    "PermitUserEnvironment": "yes",
    "GSSAPIAuthentication": "yes",
    "StrictModes": "no",
    "Banner": "none",
}
# Broken, it hides how all others of its group stand: it has a test of its own.
APART = {"ssh-valid": "/etc/ssh/sshd_config.d/zz-broken.conf"}
BY_HAND = {
    # What would keep us out at once stays: the group itself, the private keys, a home that others may write.
    "ssh-users": f"sed -i '/^AllowGroups/d' {SSHD}",
    "ssh-host-keys": "chmod 0666 /etc/ssh/ssh_host_ed25519_key.pub",
    "pam-unix": "sed -i '/pam_unix/s/$/ nullok/' /etc/pam.d/common-auth",
    "pam-faillock": "sed -i 's/^deny = .*/deny = 40/' /etc/security/faillock.conf",
    "pam-su": "sed -i '/pam_wheel/d' /etc/pam.d/su",
    "sudo-reauthenticate": "echo 'Defaults:nobody !authenticate' > /etc/sudoers.d/zz-broken; "
    "chmod 0440 /etc/sudoers.d/zz-broken",
    "sudo-permissions": "chmod 0755 /etc/sudoers.d",
    "account-root-alone": "echo 'toor:x:0:0::/root:/bin/sh' >> /etc/passwd",
    "account-unique": "echo 'lonely:x:1900:4321::/nonexistent:/usr/sbin/nologin' >> /etc/passwd",
    "account-passwords": "id open >/dev/null 2>&1 || useradd --no-create-home --shell /usr/sbin/nologin open; "
    "passwd --delete --quiet open",
    "account-system-shells": "usermod --shell /bin/bash games",
    "account-root-locked": "passwd --delete --quiet root",
    "account-ageing": "sed -i 's/^PASS_MAX_DAYS.*/PASS_MAX_DAYS 99999/' /etc/login.defs",
    "account-minimum-age": "sed -i 's/^PASS_MIN_DAYS.*/PASS_MIN_DAYS 0/' /etc/login.defs",
    "account-inactive": "useradd -D --inactive -1",
    "account-root-path": "chmod 0777 /usr/local/sbin",
    "account-homes": "chmod 0755 /home/debian",
    "files-world-writable": "install -m 0666 /dev/null /usr/local/share/broken",
    "files-unowned": "install -m 0600 /dev/null /usr/local/share/left && chown 4242 /usr/local/share/left",
    "files-logs": "install -m 0666 /dev/null /var/log/broken.log",
    "files-privileged": "install -m 4755 /bin/true /usr/local/bin/broken",
    "time-single": "printf '[Unit]\\n[Service]\\nExecStart=/bin/true\\n[Install]\\nWantedBy=multi-user.target\\n' "
    "> /usr/lib/systemd/system/openntpd.service && ln -sf /usr/lib/systemd/system/openntpd.service "
    "/etc/systemd/system/multi-user.target.wants/ && ln -sf /usr/lib/systemd/system/openntpd.service "
    "/etc/systemd/system/multi-user.target.wants/ntpd.service; cp /usr/lib/systemd/system/openntpd.service "
    "/usr/lib/systemd/system/ntpd.service; systemctl daemon-reload",
    "updates-signed": "echo 'deb [trusted=yes] file:/nonexistent ./' > /etc/apt/sources.list.d/broken.list",
    "updates-running-kernel": "touch /run/reboot-required",
    "service-mail-local": 'systemd-run --quiet --unit=broken-mail python3 -c "import socket,time; '
    "s=socket.create_server(('0.0.0.0', 25)); time.sleep(3600)\"",
    "time-kept": "systemctl disable --now --quiet chrony systemd-timesyncd 2>/dev/null; true",
    "time-servers": "sed -i '/^NTP=/d' /etc/systemd/timesyncd.conf",
    "fail2ban-ssh": "systemctl disable --now --quiet fail2ban.service",
    "cron-runs": "systemctl disable --now --quiet cron.service",
    "log-rotation": "systemctl disable --now --quiet logrotate.timer",
    "cron-permissions": "chmod 0755 /etc/cron.d",
    "audit-files": "chmod 0777 /etc/audit/rules.d/*",
    "apparmor-confined": "cp /bin/sleep /usr/local/bin/broken-confined && systemd-run --quiet --unit=broken-confined "
    "/usr/local/bin/broken-confined 7200 && sleep 2 && printf 'profile broken "
    "/usr/local/bin/broken-confined { file, }\\n' "
    "> /etc/apparmor.d/broken && apparmor_parser -r /etc/apparmor.d/broken",
    "apparmor-enforced": "aa-complain /etc/apparmor.d/usr.sbin.chronyd /etc/apparmor.d/usr.bin.man",
    "integrity-database": "rm -f /var/lib/aide/aide.db",
}
# What no run mends by itself, because a person has to decide: taken back here.
MENDED_BY_HAND = {
    "apparmor-confined": "systemctl stop broken-confined; apparmor_parser -R /etc/apparmor.d/broken; "
    "rm -f /etc/apparmor.d/broken /usr/local/bin/broken-confined",
    "sudo-reauthenticate": "rm -f /etc/sudoers.d/zz-broken",
    "account-root-alone": "sed -i '/^toor:/d' /etc/passwd",
    "account-unique": "sed -i '/^lonely:/d' /etc/passwd",
    "account-root-path": "chmod 0755 /usr/local/sbin",
    "time-single": "rm -f /etc/systemd/system/multi-user.target.wants/openntpd.service "
    "/etc/systemd/system/multi-user.target.wants/ntpd.service /usr/lib/systemd/system/openntpd.service "
    "/usr/lib/systemd/system/ntpd.service; systemctl daemon-reload",
    "updates-signed": "rm -f /etc/apt/sources.list.d/broken.list",
    "updates-running-kernel": "rm -f /run/reboot-required",
    "service-mail-local": "systemctl stop broken-mail",
}


def break_command(control: Control) -> str:
    """A line of shell that breaks a control. Raises LookupError for one that nobody said how to break."""
    if control.id in BY_HAND:
        return BY_HAND[control.id]
    for requirement in control.requires:
        command = _break(requirement)
        if command:
            return command
    raise LookupError(f"nobody says how {control.id} is broken")


def _break(requirement: Requirement) -> str:
    match requirement:
        case PrivilegedRules():
            return f"sed -i '$d' {requirement.path}"
        case AuditRules():
            return _without(requirement.path, requirement.lines)
        case Tmp():
            return f"echo > {TMP_UNIT}"
        case Mounted():
            loose = ",".join(option.removeprefix("no") for option in requirement.options)
            path = requirement.path
            return f"mountpoint -q {path} || mount -t tmpfs broken {path}; mount -o remount,{loose} {path}"
        case Sysctl():
            return f"sed -i '/^{requirement.key} =/d' {SYSCTL}"
        case NoModule():
            return _without(MODULES, (f"install {requirement.name} /bin/false",))
        case SshOption():
            value = SSH_VALUES.get(requirement.key)
            return f"sed -i 's/^{requirement.key} .*/{requirement.key} {value}/' {SSHD}" if value else ""
        case OwnLines():
            return "" if callable(requirement.lines) else _without(requirement.path, requirement.lines)
        case Servers() | Daemon():
            return ""
        case Setting():
            return f"sed -i '/^{requirement.key}/d' {requirement.path}"
        case NoLine():
            return f"echo /usr/sbin/nologin >> {requirement.path}"
        case Whole():
            return f"echo changed >> {requirement.path}"
        case Absent():
            return f"touch {requirement.pattern.replace('/*/', '/debian/')}"
        case Attributes():
            loose = f"{requirement.mode | 0o022 | 0o001:04o}"
            pattern = requirement.pattern.replace("**", "*")
            return f"for path in {pattern}; do test -f $path && chmod {loose} $path && break; done"
        case NotInstalled():
            return f"install_empty {shlex.quote(requirement.names[0])}"
        case Off():
            name = shlex.quote(requirement.names[0])
            unit = "[Unit]\\nDescription=broken\\n[Service]\\nExecStart=/bin/true\\n"
            return (
                f"systemctl unmask --quiet {name}; test -e /usr/lib/systemd/system/{name} || "
                f"printf '{unit}' > /usr/lib/systemd/system/{name}; systemctl daemon-reload"
            )
        case Unit():
            return f"systemctl disable --now --quiet {requirement.name}"
        case Installed():
            # What dpkg says of it: the program stays, so that nothing that we need stops working.
            name = requirement.names[-1]
            script = f"/^Package: {name}$/,/^$/s/^Status: .*/Status: deinstall ok config-files/"
            return f"sed -i '{script}' /var/lib/dpkg/status"
    return ""


def _without(path: str, lines: tuple[str, ...]) -> str:
    """Take the last line that says something out of a file."""
    line = next(line for line in reversed(lines) if len(line) > 3)
    return f"sed -i {shlex.quote(_exact(line))} {path}"


def _exact(line: str) -> str:
    """The script of sed that removes a line."""
    escaped = "".join(f"\\{letter}" if letter in r"\/.*[]^$" else letter for letter in line)
    return f"/^{escaped}$/d"


# A package that has nothing in it but its name.
PRELUDE = """
install_empty() {
    umask 022; folder=$(mktemp -d) && chmod 0755 "$folder" && mkdir -p "$folder/DEBIAN"
    printf 'Package: %s\\nVersion: 9:1\\nArchitecture: all\\nMaintainer: none <a@b.c>\\nDescription: empty\\n' \
        "$1" > "$folder/DEBIAN/control"
    dpkg-deb --build "$folder" "$folder.deb" >/dev/null && dpkg -i "$folder.deb" >/dev/null 2>&1
    rm -rf "$folder" "$folder.deb"
}
"""
