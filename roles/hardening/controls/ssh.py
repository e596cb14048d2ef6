"""The SSH server. All of it goes into one file that is put on trial and confirmed over a new connection."""

from __future__ import annotations

from collections.abc import Callable

from typing_extensions import override

from groundwork.report.hardening import Level
from roles.hardening.control import Control, View
from roles.hardening.files import Attributes
from roles.hardening.probes import Accounts, Probe
from roles.hardening.system import SshOption

CIPHERS = "chacha20-poly1305@openssh.com,aes256-gcm@openssh.com,aes128-gcm@openssh.com,aes256-ctr,aes192-ctr,aes128-ctr"
# What both OpenSSH 9.2 (Debian 12) and 10 (Debian 13) know: an unknown name keeps the server from starting.
KEX = (
    "sntrup761x25519-sha512@openssh.com,curve25519-sha256,curve25519-sha256@libssh.org,"
    "diffie-hellman-group16-sha512,diffie-hellman-group18-sha512,diffie-hellman-group-exchange-sha256"
)
MACS = "hmac-sha2-512-etm@openssh.com,hmac-sha2-256-etm@openssh.com,hmac-sha2-512,hmac-sha2-256"
GROUP = "ssh-users"


def _within(allowed: str) -> Callable[[str], bool]:
    names = set(allowed.split(","))
    return lambda given: bool(given) and set(given.split(",")) <= names


def _at_most(limit: int) -> Callable[[str], bool]:
    return lambda given: given.isdigit() and 0 < int(given) <= limit


def _within_startups(given: str) -> bool:
    parts = given.split(":")
    return len(parts) == 3 and all(p.isdigit() for p in parts) and [int(p) for p in parts] <= [10, 30, 60]


def _control(
    name: str,
    title: str,
    rationale: str,
    options: tuple[SshOption, ...],
    references: tuple[str, ...],
    level: Level = Level.BASELINE,
) -> Control:
    return Control(f"ssh-{name}", title, rationale, references, level, options)


def _list_logins(view: View) -> list[str]:
    """Accounts with a shell: whoever could log in before must be in the group that may."""
    users, groups = view.ask("accounts")["users"], view.ask("accounts")["groups"]
    members = next((set(group["members"]) for group in groups if group["name"] == GROUP), None)
    people = [
        user["name"]
        for user in users
        if (1000 <= user["uid"] < 60000 or user["name"] == view.login)
        and not user["shell"].endswith(("nologin", "false", "sync"))
        and user["uid"] != 0
    ]
    if members is None:
        return [f"there is no group {GROUP}", *(f"{name} is not in {GROUP}" for name in people)]
    return [f"{name} is not in {GROUP}" for name in people if name not in members]


def _admit(_view: View, found: list[str]) -> list[tuple[str, str]]:
    names = [line.split(" is not in ")[0] for line in found if " is not in " in line]
    making = [(f"groupadd --system --force {GROUP}", f"groupdel {GROUP}")] if "there is no" in found[0] else []
    return making + [
        (f"usermod --append --groups {GROUP} {name}", f"gpasswd --delete {name} {GROUP}") for name in names
    ]


def _admits_somebody(view: View) -> list[str]:
    told = view.ask("sshd")
    given = [key for key in ("allowusers", "allowgroups", "denyusers", "denygroups") if told.get(key)]
    return [] if given else ["sshd: whoever has an account may log in"]


class Admission(SshOption):
    """Some list of who may log in, ours or the operator's own."""

    @override
    def judge(self, view: View) -> list[str]:
        return _admits_somebody(view)


CONTROLS = (
    Control(
        id="ssh-config-permissions",
        title="Only root reads and writes the SSH server's configuration",
        rationale="It says who may log in how.",
        references=("CIS 5.1.1", "dev-sec sshd-04"),
        level=Level.BASELINE,
        requires=(Attributes("/etc/ssh/sshd_config", 0o600), Attributes("/etc/ssh/sshd_config.d/*", 0o600)),
    ),
    Control(
        id="ssh-host-keys",
        title="Only root reads the host's private keys",
        rationale="Whoever has them can pose as the host.",
        references=("CIS 5.1.2", "CIS 5.1.3"),
        level=Level.BASELINE,
        requires=(Attributes("/etc/ssh/ssh_host_*_key", 0o600), Attributes("/etc/ssh/ssh_host_*_key.pub", 0o644)),
    ),
    _control(
        "root",
        "Nobody logs in as root",
        "Root's actions then have a person's name in the log, and a key alone is not root.",
        (SshOption("PermitRootLogin", "no"),),
        ("CIS 5.1.20", "dev-sec sshd-06", "ANSSI R33"),
    ),
    _control(
        "password",
        "Logins need a key",
        "Passwords are guessed, reused and phished.",
        (
            SshOption("PasswordAuthentication", "no"),
            SshOption("KbdInteractiveAuthentication", "no"),
            SshOption("PubkeyAuthentication", "yes"),
        ),
        ("dev-sec sshd-27", "konstruktoid"),
    ),
    _control(
        "empty-passwords",
        "Accounts without a password cannot log in",
        "They would be open to everyone.",
        (SshOption("PermitEmptyPasswords", "no"),),
        ("CIS 5.1.19",),
    ),
    _control(
        "pam",
        "Logins go through PAM",
        "Locked accounts, limits and sessions are PAM's.",
        (SshOption("UsePAM", "yes"),),
        ("CIS 5.1.22",),
    ),
    Control(
        id="ssh-users",
        title="Only members of a group log in",
        rationale="An account that a package makes is no login. Accounts of people are put into the group.",
        references=("CIS 5.1.4",),
        level=Level.STRICT,
        requires=(Accounts(_list_logins, _admit), Admission("AllowGroups", GROUP)),
    ),
    _control(
        "ciphers",
        "Only ciphers that are held secure",
        "CBC modes and short blocks leak.",
        (SshOption("Ciphers", CIPHERS, _within(CIPHERS)),),
        ("CIS 5.1.6", "dev-sec sshd-01"),
    ),
    _control(
        "kex",
        "Only key exchanges that are held secure",
        "Those with SHA-1 or small groups can be broken.",
        (SshOption("KexAlgorithms", KEX, _within(KEX + ",mlkem768x25519-sha256,sntrup761x25519-sha512")),),
        ("CIS 5.1.12", "dev-sec sshd-02"),
    ),
    _control(
        "macs",
        "Only authentication codes that are held secure",
        "MD5, SHA-1 and short tags are weak.",
        (SshOption("MACs", MACS, _within(MACS)),),
        ("CIS 5.1.15", "dev-sec sshd-03"),
    ),
    _control(
        "grace",
        "A login has 30 seconds",
        "Connections that never log in hold places that others need.",
        (SshOption("LoginGraceTime", "30", _at_most(60)),),
        ("CIS 5.1.13",),
    ),
    _control(
        "alive",
        "Dead sessions end",
        "A session whose user is gone is open to whoever finds it.",
        (
            SshOption("ClientAliveInterval", "300", _at_most(300)),
            SshOption("ClientAliveCountMax", "2", _at_most(3)),
        ),
        ("CIS 5.1.7", "dev-sec sshd-36"),
    ),
    _control(
        "tries",
        "A connection has four tries",
        "Guessing then needs many connections, which is seen.",
        (SshOption("MaxAuthTries", "4", _at_most(4)),),
        ("CIS 5.1.16",),
    ),
    _control(
        "sessions",
        "A connection has ten sessions at most",
        "One login cannot exhaust the server. Fewer break tools that share a connection.",
        (SshOption("MaxSessions", "10", _at_most(10)),),
        ("CIS 5.1.17", "dev-sec sshd-20"),
    ),
    _control(
        "startups",
        "Logins under way are limited",
        "A flood of them would keep people out.",
        (SshOption("MaxStartups", "10:30:60", _within_startups),),
        ("CIS 5.1.18",),
    ),
    _control(
        "log",
        "Logins are logged with their key",
        "Which key was used says who it was.",
        (SshOption("LogLevel", "VERBOSE", lambda given: given in ("info", "verbose")),),
        ("CIS 5.1.14", "dev-sec sshd-13"),
    ),
    _control(
        "x11",
        "No forwarding of X11",
        "A server's user could read the client's screen.",
        (SshOption("X11Forwarding", "no"),),
        ("CIS 5.1.8", "dev-sec sshd-42"),
    ),
    _control(
        "forwarding",
        "No forwarding of any kind",
        "It leads around the firewall. A bastion needs a waiver.",
        (
            SshOption("DisableForwarding", "yes"),
            SshOption("AllowTcpForwarding", "no"),
            SshOption("AllowAgentForwarding", "no"),
            SshOption("AllowStreamLocalForwarding", "no"),
            SshOption("PermitTunnel", "no"),
            SshOption("GatewayPorts", "no"),
        ),
        ("CIS 5.1.8", "dev-sec sshd-38"),
        Level.STRICT,
    ),
    _control(
        "trust",
        "No login by the client host's word",
        "Whoever controls an address or a file in a home folder would be in.",
        (
            SshOption("HostbasedAuthentication", "no"),
            SshOption("IgnoreRhosts", "yes"),
            SshOption("IgnoreUserKnownHosts", "yes"),
        ),
        ("CIS 5.1.10", "CIS 5.1.11"),
    ),
    _control(
        "environment",
        "Users set no environment for the server",
        "LD_PRELOAD in a key file gets around restrictions.",
        (SshOption("PermitUserEnvironment", "no"),),
        ("CIS 5.1.21",),
    ),
    _control(
        "gssapi",
        "Neither GSSAPI nor Kerberos",
        "Code before the login that these hosts do not use.",
        (SshOption("GSSAPIAuthentication", "no"), SshOption("KerberosAuthentication", "no")),
        ("CIS 5.1.9",),
    ),
    _control(
        "switches",
        "Modes of files are checked, nothing is compressed, names are not looked up",
        "Small doors and delays.",
        (SshOption("StrictModes", "yes"), SshOption("Compression", "no"), SshOption("UseDNS", "no")),
        ("dev-sec sshd-11", "Lynis SSH-7408"),
    ),
    _control(
        "banner",
        "A notice stands before the login",
        "Some jurisdictions want it said that the system is not for everyone.",
        (SshOption("Banner", "/etc/issue.net"),),
        ("CIS 5.1.5",),
        Level.STRICT,
    ),
    Control(
        id="ssh-valid",
        title="The SSH server's configuration is valid",
        rationale="An invalid one keeps the server from starting the next time.",
        references=("sshd(8)",),
        level=Level.BASELINE,
        requires=(Probe("mkdir -p /run/sshd; /usr/sbin/sshd -t 2>&1"),),
    ),
)
