"""What of a host is remembered between two looks: the script that reads it, and its answers as plain values."""

from __future__ import annotations

import re
from collections.abc import Iterator

from groundwork.preflight.questions import TIMED_OUT, Answers

Snapshot = dict[str, dict[str, str]]
"""Category, then subject (a path, an account, a unit ...), then its state in words."""

FOLDERS = (
    "/etc", "/usr/local", "/opt", "/srv", "/root/.ssh", "/root/.bash[!_]*", "/root/.profile", "/home/*/.ssh",
    "/var/spool/cron", "/usr/lib/systemd/system", "/run/systemd/system", "/var/lib/groundwork",
    "/var/lib/systemd/linger",
)  # fmt: skip
"""Folders whose files are compared; what services write themselves (data, logs, caches) is not among them."""
PRUNED = (
    "/etc/ssl/certs", "/opt/groundwork/*/releases", "/opt/*/venv", "/etc/apparmor.d/cache*", "*/__pycache__",
    "/var/lib/groundwork/logrotate-*/*", "/var/lib/groundwork/backup", "/var/lib/groundwork/metrics/*",
    "/var/lib/groundwork/pgbackrest", "/var/lib/groundwork/restores",
)  # fmt: skip
"""Generated from other files that are compared, or written anew every few minutes, or checked by other means."""
VOLATILE = (
    "/etc/mtab", "/etc/ld.so.cache", "/etc/.pwd.lock", "/etc/.updated", "/etc/adjtime", "/etc/resolv.conf",
    "/etc/passwd-", "/etc/group-", "/etc/shadow-", "/etc/gshadow-", "/etc/subuid-", "/etc/subgid-",
)  # fmt: skip
BY_LINE = ("/etc/passwd", "/etc/group", "/etc/shadow", "/etc/gshadow")
"""Compared account by account instead."""
PASSING_UNITS = re.compile(
    r"session-|user@|user-runtime-dir@|run-|systemd-(timedated|hostnamed|localed|machined|userdbd)|polkit|packagekit|"
    r"dbus|udisks2|fwupd|apt-daily|dpkg-db-backup|man-db|e2scrub|fstrim|systemd-tmpfiles-clean|getty@|serial-getty@"
)
"""Units that come and go by themselves: started by a bus name, a login or a timer."""
SETTINGS = (
    r"net\.ipv[46]\.(conf\.(all|default)\..*|ip_forward|icmp_.*|tcp_(syncookies|timestamps|rfc1337|fack))|"
    r"net\.core\.(somaxconn|bpf_jit_harden)|fs\.(protected_.*|suid_dumpable)|"
    r"vm\.(overcommit_.*|swappiness|nr_hugepages|mmap_min_addr|max_map_count)|"
    r"kernel\.(core_pattern|kptr_restrict|dmesg_restrict|yama\..*|randomize_va_space|sysrq|unprivileged_bpf_disabled|"
    r"modules_disabled|kexec_load_disabled|perf_event_paranoid)"
)
"""Kernel settings that are compared, as a regular expression; the others are counters or follow the machine."""
EPHEMERAL = 32768
"""Ports from here on are handed out by the kernel (ip(7), ip_local_port_range)."""


def list_questions() -> dict[str, str]:
    """Pieces of shell that read and change nothing, for ``groundwork.preflight.questions.build_script``.

    Of files that not everybody may read, the status change time stands for the content: a digest of a short secret
    could be guessed from, and these answers are kept on the controller.
    """
    pruned = " -o ".join(f"-path '{path}'" for path in PRUNED)
    walk = f"find {' '.join(FOLDERS)} -xdev \\( {pruned} \\) -prune -o"
    readable = f"{walk} -type f -perm -004 -print0 2>/dev/null | sort -zu | xargs -0r sha256sum -z"
    return {
        "paths": f"{walk} -printf '%y\\t%M %u:%g\\t%C@\\t%p\\t%l\\0' 2>/dev/null | tr '\\n\\0' '?\\n' | sort -u",
        "digests": f"{readable} | tr '\\n\\0' '?\\n'",
        "users": "cut -d: -f1,3,4,6,7 /etc/passwd",
        "groups": "cut -d: -f1,3,4 /etc/group",
        # Name, whether the password is usable, and when it was changed; no hash leaves the host.
        "passwords": "passwd -S -a | cut -d' ' -f1-3",
        "unit_files": "systemctl list-unit-files --no-legend --plain --no-pager",
        "units": "systemctl list-units --type=service,timer,socket,path --state=active --plain --no-legend --no-pager",
        "packages": "dpkg-query -W -f '${binary:Package} ${db:Status-Abbrev}\\n'",
        "holds": "apt-mark showhold",
        "settings": f"sysctl -a 2>/dev/null | grep -E '^({SETTINGS}) '",
        "modules": "systemd-detect-virt --container --quiet || cut -d' ' -f1 /proc/modules",
        "privileged": (
            "find / -xdev \\( -path /proc -o -path /sys -o -path /var/lib/docker -o -path /var/lib/containers \\) "
            "-prune -o -type f -perm /6000 -printf '%M %u:%g %p\\n' 2>/dev/null"
        ),
        "capabilities": "getcap -r /usr/bin /usr/sbin /usr/local 2>/dev/null || true",
        "listening": "ss -Hlntu",
        "rules": "nft -s list ruleset",
        "mounts": "findmnt -rno TARGET,SOURCE,FSTYPE",
        # dpkg(1): a line for each file that is not as its package brought it; "c" marks configuration files.
        "package_files": "dpkg --verify | grep -vE '^.{9} c ' | sort; true",
    }


QUESTION_SECONDS = 60
"""Time for one question: programs of thousands of packages are read through."""
SOURCES = {
    "file": ("paths", "digests"),
    "user": ("users",),
    "group": ("groups",),
    "password": ("passwords",),
    "unit file": ("unit_files",),
    "unit": ("units",),
    "package": ("packages",),
    "held package": ("holds",),
    "package's file": ("package_files",),
    "kernel setting": ("settings",),
    "kernel module": ("modules",),
    "privileged file": ("privileged", "capabilities"),
    "port": ("listening",),
    "firewall rule": ("rules",),
    "mount": ("mounts",),
}
"""Which questions each category is made of."""


def read_snapshot(answers: Answers) -> Snapshot:
    """Make values of a host's answers; a category is left out when a question of it was not answered in time."""
    complete = {
        category
        for category, names in SOURCES.items()
        if all(answers.statuses.get(n, TIMED_OUT) != TIMED_OUT for n in names)
    }
    return {category: found for category, found in _read(answers).items() if category in complete}


def _read(answers: Answers) -> Snapshot:
    return {
        "file": dict(_files(answers)),
        "user": dict(_fields(answers.lines("users"), ":")),
        "group": dict(_fields(answers.lines("groups"), ":")),
        "password": dict(_fields(answers.lines("passwords"), " ")),
        "unit file": dict(_unit_files(answers.lines("unit_files"))),
        "unit": {line.split()[0]: "active" for line in answers.lines("units") if _lasting(line)},
        "package": dict(_fields(answers.lines("packages"), " ")),
        "held package": dict.fromkeys(answers.lines("holds"), "held"),
        "package's file": {line[12:]: line[:9].strip() for line in answers.lines("package_files")},
        "kernel setting": dict(_settings(answers.lines("settings"))),
        "kernel module": dict.fromkeys(answers.lines("modules"), "loaded"),
        "privileged file": dict(_privileged(answers)),
        "port": dict(_ports(answers.lines("listening"))),
        "firewall rule": dict.fromkeys(_rules(answers.lines("rules")), "in effect"),
        "mount": dict(_mounts(answers.lines("mounts"))),
    }


def _files(answers: Answers) -> Iterator[tuple[str, str]]:
    digests = {}
    for line in answers.lines("digests"):
        digest, _, path = line.partition("  ")
        digests[path] = digest[:16]
    kinds = {"f": "file", "d": "folder", "l": "link"}
    for line in answers.lines("paths"):
        kind, mode, changed, path, target = [*line.split("\t"), "", "", "", ""][:5]
        if path in VOLATILE or path.endswith((".dpkg-new", ".dpkg-tmp", ".swp")):
            continue
        state = f"{kinds.get(kind, kind)} {mode}"
        if kind == "l":
            state += f" to {target}"
        elif kind == "f" and path not in BY_LINE:
            state += f" content {digests[path]}" if path in digests else f" changed {changed.partition('.')[0]}"
        yield path, state


def _fields(lines: list[str], separator: str) -> Iterator[tuple[str, str]]:
    for line in lines:
        name, _, rest = line.partition(separator)
        yield name, rest.strip()


def _unit_files(lines: list[str]) -> Iterator[tuple[str, str]]:
    for line in lines:
        parts = line.split()
        if len(parts) >= 2 and parts[1] not in ("generated", "transient") and not PASSING_UNITS.match(parts[0]):
            yield parts[0], parts[1]


def _lasting(line: str) -> bool:
    parts = line.split()
    # A service that has ended and counts as active (RemainAfterExit) stays so; those that merely start do not count.
    return len(parts) >= 4 and parts[2] == "active" and not PASSING_UNITS.match(parts[0])


def _settings(lines: list[str]) -> Iterator[tuple[str, str]]:
    for line in lines:
        name, _, value = line.partition(" = ")
        yield name, value.strip()


def _privileged(answers: Answers) -> Iterator[tuple[str, str]]:
    for line in answers.lines("privileged"):
        mode, owner, path = [*line.split(" ", 2), "", ""][:3]
        yield path, f"{mode} {owner}"
    for line in answers.lines("capabilities"):
        path, _, capabilities = line.partition(" ")
        yield path, capabilities.strip()


def _ports(lines: list[str]) -> Iterator[tuple[str, str]]:
    for line in lines:
        parts = line.split()
        port = parts[4].rpartition(":")[2] if len(parts) > 4 else ""
        if port.isdigit() and int(port) < EPHEMERAL and not parts[4].startswith("127.0.0.11:"):
            yield f"{parts[0]} {parts[4]}", "listening"


def _rules(lines: list[str]) -> Iterator[str]:
    """Each rule with its table and chain; elements of sets come and go (addresses that were blocked for a while)."""
    place: list[str] = []
    for line in lines:
        text = line.strip()
        if text.endswith("{"):
            place.append(text.removesuffix("{").strip())
        elif text == "}":
            place = place[:-1]
        elif len(place) == 2 and place[1].startswith("chain"):
            yield f"{place[0]} {place[1]}: {text}"


def _mounts(lines: list[str]) -> Iterator[tuple[str, str]]:
    for line in lines:
        target, source, kind = [*line.split(" "), "", ""][:3]
        if not target.startswith(("/proc", "/sys", "/dev", "/run/credentials", "/run/user")):
            yield target, f"{source} {kind}"
