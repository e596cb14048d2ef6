"""Files that everyone reads and root alone writes, and what runs as root."""

from __future__ import annotations

from groundwork.report.hardening import Level
from roles.hardening.control import Control
from roles.hardening.files import Absent, Attributes
from roles.hardening.probes import Tree

# What Debian's packages bring with set-user-ID or set-group-ID bits, and needs them.
PRIVILEGED = (
    r"/usr/bin/(chage|chfn|chsh|crontab|expiry|fusermount3?|gpasswd|mount|newgrp|newgidmap|newuidmap|ntfs-3g|passwd|"
    r"pkexec|ssh-agent|su|sudo|umount|write\.ul|wall|dotlockfile|bsd-write|at|mlocate|plocate|screen|sg)"
    r"|/usr/sbin/(unix_chkpwd|pam_extrausers_chkpwd|exim4|postdrop|postqueue)"
    r"|/usr/lib/(dbus-1\.0/dbus-daemon-launch-helper|openssh/ssh-keysign|polkit-1/polkit-agent-helper-1"
    r"|x86_64-linux-gnu/utempter/utempter|aarch64-linux-gnu/utempter/utempter)"
)

CONTROLS = (
    Control(
        id="files-accounts",
        title="The lists of accounts are root's to write",
        rationale="Whoever writes them is root.",
        references=("CIS 7.1.1", "dev-sec os-03", "ANSSI R50"),
        level=Level.BASELINE,
        requires=tuple(Attributes(f"/etc/{n}", 0o644) for n in ("passwd", "passwd-", "group", "group-")),
    ),
    Control(
        id="files-shadow",
        title="Hashes of passwords are root's to read",
        rationale="Whoever has them can guess in peace.",
        references=("CIS 7.1.5", "dev-sec os-02", "ANSSI R50"),
        level=Level.BASELINE,
        requires=tuple(
            Attributes(f"/etc/{n}", 0o640, groups=("shadow", "root"))
            for n in ("shadow", "shadow-", "gshadow", "gshadow-")
        ),
    ),
    Control(
        id="files-shells",
        title="The list of shells is root's to write, former passwords root's to read",
        rationale="Some servers let in whoever's shell is in the list.",
        references=("CIS 7.1.9", "CIS 7.1.10"),
        level=Level.BASELINE,
        requires=(
            Attributes("/etc/shells", 0o644),
            Attributes("/etc/security/opasswd", 0o600),
            Attributes("/etc/security/opasswd.old", 0o600),
        ),
    ),
    Control(
        id="files-world-writable",
        title="No file is for everyone to write",
        rationale="What is run or read from it may be anyone's.",
        references=("CIS 7.1.11", "ANSSI R54"),
        level=Level.BASELINE,
        requires=(
            Tree("world", "is for everyone to write", "chmod o-w"),
            Tree("sticky", "lets everyone remove others' files", "chmod a+t"),
        ),
    ),
    Control(
        id="files-unowned",
        title="Every file has an owner",
        rationale="A new account with the old number would own what is left.",
        references=("CIS 7.1.12", "ANSSI R53"),
        level=Level.STRICT,
        requires=(Tree("unowned", "is nobody's", "chown -h root:root"),),
    ),
    Control(
        id="files-privileged",
        title="Only known programs run as their owner",
        rationale="A shell with the bit makes root of everyone.",
        references=("CIS 7.1.13", "dev-sec os-06", "ANSSI R56"),
        level=Level.BASELINE,
        requires=(Tree("privileged", "runs as its owner", "chmod ug-s", allowed=PRIVILEGED),),
    ),
    Control(
        id="files-trust",
        title="No file trusts other hosts",
        rationale="Whoever has the address would be in.",
        references=("dev-sec os-01",),
        level=Level.BASELINE,
        requires=(Absent("/etc/hosts.equiv"), Absent("/etc/shosts.equiv")),
    ),
    Control(
        id="files-logs",
        title="Logs are not for everyone",
        rationale="They tell who did what, and at times a password typed as a name.",
        references=("CIS 6.1.4.1", "dev-sec os-11"),
        level=Level.STRICT,
        requires=(
            Attributes(
                "/var/log/**",
                0o640,
                users=(),
                groups=(),
                kinds=("file",),
                exclude=r"/var/log/(btmp|wtmp|lastlog)([.-].*)?|/var/log/journal/.*",
            ),
            Attributes("/var/log/[bw]tmp*", 0o664, groups=("utmp", "root", "adm")),
            Attributes("/var/log/lastlog*", 0o664, groups=("utmp", "root")),
        ),
    ),
    Control(
        id="files-boot",
        title="The boot loader's configuration is root's to read",
        rationale="It tells how the kernel is started, and may hold the hash of a password.",
        references=("CIS 1.4.2", "ANSSI R29"),
        only=frozenset({"grub"}),
        level=Level.BASELINE,
        requires=(Attributes("/boot/grub/grub.cfg", 0o600), Attributes("/boot/grub/user.cfg", 0o600)),
    ),
)
