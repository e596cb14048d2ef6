"""Checks of a host's machine and operating system."""

from __future__ import annotations

from collections.abc import Iterator

from groundwork.preflight.capacity import check_real, declared_machine
from groundwork.preflight.findings import Finding, Severity, judge, skip
from groundwork.preflight.questions import Answers
from groundwork.site import Site

FREE_SPACE = 2 * 1024**3
"""Bytes that a deploy may need at the same time: package archives, unpacked packages, a release with its
dependencies."""
FREE_INODES = 5
"""Percent of a file system's inodes."""
CLOCK = 5.0
"""Seconds of difference to this machine that certificates and tokens bear."""
LEAST_SYSTEMD = 252
"""systemd of Debian 12, whose sandboxing and credentials units use."""
FOLDERS = ("/", "/var", "/opt", "/var/lib", "/tmp")

QUESTIONS = {
    "user": "id -u",
    "release": '. /etc/os-release; echo "$ID ${VERSION_CODENAME:-} ${VERSION_ID:-}"',
    "architecture": "dpkg --print-architecture",
    "kernel": "uname -r",
    "cores": "getconf _NPROCESSORS_ONLN",
    "memory": "sed -n 's/^MemTotal: *\\([0-9]*\\) kB/\\1/p' /proc/meminfo",
    "space": f"df -P -B1 {' '.join(FOLDERS)} | tail -n +2",
    "inodes": f"df -P -i {' '.join(FOLDERS)} | tail -n +2",
    "init": "cat /proc/1/comm",
    "systemd": "systemctl --version | sed -n '1s/^systemd \\([0-9]*\\).*/\\1/p'",
    "failed_units": "systemctl list-units --state=failed --plain --no-legend | cut -d' ' -f1",
    "virtualisation": "systemd-detect-virt || true",
    "cgroup": "stat -fc %T /sys/fs/cgroup",
    "namespaces": "cat /proc/sys/user/max_user_namespaces /proc/sys/kernel/unprivileged_userns_clone 2>/dev/null; true",
    "gpus": (
        "for card in /sys/bus/pci/devices/*; do read -r class <$card/class; read -r vendor <$card/vendor; "
        'case "$vendor $class" in "0x10de 0x03"*) echo "${card##*/}";; esac; done'
    ),
    "gpu_driver": "nvidia-smi --query-gpu=name,driver_version --format=csv,noheader",
    "packages": "dpkg --audit",
    "time": "date +%s.%N",
}


def check_machine(site: Site, host: str, answers: Answers, before: float, after: float) -> Iterator[Finding]:
    """Everything about one host but its network; ``before`` and ``after`` are our clock around the asking."""
    yield judge(
        "host.root", host, answers.text("user") == "0", f"runs as user {answers.text('user')}", "set _sudo or ssh_user"
    )
    yield from _check_release(site, host, answers)
    yield from _check_system(host, answers)
    yield from _check_space(site, host, answers)
    yield from _check_clock(host, answers, before, after)
    yield from _check_gpus(site, host, answers)


def _check_release(site: Site, host: str, answers: Answers) -> Iterator[Finding]:
    distribution, codename, *_ = [*answers.text("release").split(" "), "", ""]
    expected = site.inventory.host(host).data.get("release")
    good = distribution == "debian" and codename in ("bookworm", "trixie") and expected in (None, codename)
    evidence = f"{answers.text('release') or 'unknown'}, expected {expected or 'Debian 12 or 13'}"
    yield judge("host.release", host, good, evidence, "install Debian 12 or 13, or correct the host's datum release")
    architecture = answers.text("architecture")
    remedy = "use a machine with an x86-64 or 64-bit ARM processor"
    yield judge("host.architecture", host, architecture in ("amd64", "arm64"), architecture or "unknown", remedy)


def _check_system(host: str, answers: Answers) -> Iterator[Finding]:
    version, init = answers.number("systemd"), answers.text("init")
    good = init == "systemd" and version >= LEAST_SYSTEMD
    yield judge("host.systemd", host, good, f"process 1 is {init}, systemd {version}", "boot the host with systemd")
    failed = answers.lines("failed_units")
    evidence = ", ".join(failed) or "no unit has failed"
    yield judge("host.units", host, not failed, evidence, "journalctl -u UNIT tells why", Severity.WARNING)
    audit = answers.lines("packages")
    evidence = audit[0] if audit else "no package is half installed"
    yield judge("host.packages", host, not audit, evidence, "dpkg --configure -a; apt-get -f install")
    cgroup = answers.text("cgroup")
    evidence = f"Linux {answers.text('kernel')}, control groups: {cgroup}, {answers.text('virtualisation') or 'none'}"
    remedy = "boot with systemd.unified_cgroup_hierarchy=1: limits of units need control groups version 2"
    yield judge("host.kernel", host, cgroup == "cgroup2fs", evidence, remedy)
    limits = answers.lines("namespaces")
    remedy = "set user.max_user_namespaces above 0: PrivateUsers= of the agents' units needs user namespaces"
    good = bool(limits) and limits[0] != "0"
    yield judge("host.namespaces", host, good, f"max_user_namespaces is {' '.join(limits[:1])}", remedy)


def parse_space(lines: list[str]) -> dict[str, tuple[int, int]]:
    """Read ``df -P``: size and free amount by mount point."""
    found: dict[str, tuple[int, int]] = {}
    for line in lines:
        parts = line.split()
        if len(parts) >= 6 and parts[1].isdigit() and parts[3].isdigit():
            found[parts[-1]] = (int(parts[1]), int(parts[3]))
    return found


def _check_space(site: Site, host: str, answers: Answers) -> Iterator[Finding]:
    spaces = parse_space(answers.lines("space"))
    if not spaces:
        yield skip("host.space", host, "df said nothing")
        return
    var = spaces.get("/var/lib") or spaces.get("/var") or spaces["/"]
    for mount, (size, free) in spaces.items():
        # /tmp is asked for its inodes and for being full, not for room.
        wanted = min(FREE_SPACE, size // 10) if mount in ("/", "/var", "/var/lib", "/opt") else 0
        evidence = f"{mount}: {free >> 20} MiB free of {size >> 20} MiB"
        yield judge("host.space", host, free > wanted, evidence, f"keep {wanted >> 20} MiB free for packages")
    for mount, (total, left) in parse_space(answers.lines("inodes")).items():
        if total:  # btrfs has no fixed number.
            good = left * 100 >= total * FREE_INODES
            evidence = f"{mount}: {left} of {total} inodes free"
            yield judge("host.inodes", host, good, evidence, "remove small files: du --inodes -x /var finds them")
    size = sum({mount: size for mount, (size, _) in spaces.items() if mount != "/tmp"}.values())
    yield from check_real(site, host, answers.number("memory") * 1024, answers.number("cores"), size, var[1])


def _check_clock(host: str, answers: Answers, before: float, after: float) -> Iterator[Finding]:
    try:
        there = float(answers.text("time"))
    except ValueError:
        yield skip("host.clock", host, "date said nothing")
        return
    # It was read at some moment between the two.
    offset = max(before - there, there - after, 0.0)
    evidence = f"differs from this machine by {offset:.1f} s beyond the time of asking"
    yield judge("host.clock", host, offset < CLOCK, evidence, "start chrony (chronyc makestep), or mend this clock")


def _check_gpus(site: Site, host: str, answers: Answers) -> Iterator[Finding]:
    machine = declared_machine(site, host)
    wanted = sum(gpu.count for gpu in machine.gpus) if machine else 0
    cards, driver = answers.lines("gpus"), answers.lines("gpu_driver")
    if not wanted:
        yield skip("host.gpu", host, f"none is declared; {len(cards)} found")
        return
    names = "; ".join(driver) or "no driver answers"
    evidence = f"{len(cards)} cards of NVIDIA, {wanted} declared ({names})"
    yield judge("host.gpu", host, len(cards) >= wanted, evidence, "put the card in, or correct machines.*.gpus")
