"""Debian packages: waits for the lock, mends an interrupted run, and can keep a service from starting."""

from __future__ import annotations

from collections.abc import Generator, Sequence

from pyinfra import host
from pyinfra.api import QuoteString, StringCommand, operation
from pyinfra.api.command import PyinfraCommand

from groundwork.facts.packages import InstalledPackages

# Seconds to wait for another run of apt (unattended upgrades hold the lock for minutes).
LOCK_TIMEOUT = 300
STAMP = "/var/lib/apt/periodic/update-success-stamp"
_LOG = "/run/groundwork-apt.log"
APT_GET = (
    "env DEBIAN_FRONTEND=noninteractive NEEDRESTART_SUSPEND=1 apt-get -q -y "
    f"-o DPkg::Lock::Timeout={LOCK_TIMEOUT} "
    "-o Dpkg::Options::=--force-confdef -o Dpkg::Options::=--force-confold"
)
CONFIGURE = "DEBIAN_FRONTEND=noninteractive dpkg --force-confdef --force-confold --configure -a"
"""Mends what an interrupted run left unpacked; does nothing otherwise."""


def logged(command: str) -> str:
    """The command with its output in a file, shown when it fails: with the connection gone, apt would die
    at its next line of output, half-way through."""
    return f"{{ {command}; }} >{_LOG} 2>&1 || {{ status=$?; tail -n 40 {_LOG} >&2; exit $status; }}"


def _update_command(cache_time: int) -> str:
    # apt-get update does not wait for the lock of the lists, whatever the lock timeout says.
    fresh = f'test -n "$(find {STAMP} -mmin -{max(1, cache_time // 60)} 2>/dev/null)"'
    update = (
        f"deadline=$(( $(date +%s) + {LOCK_TIMEOUT} )); until {APT_GET} update; do "
        f"grep -q 'Could not get lock' {_LOG} && test $(date +%s) -lt $deadline || exit 1; "
        f": >{_LOG}; sleep 3; done; "
        f"mkdir -p /var/lib/apt/periodic && touch {STAMP}"
    )
    return f"{fresh} || {logged(update)}"


@operation()
def packages(
    packages: Sequence[str],
    present: bool = True,
    cache_time: int = 3600,
    hold_services: Sequence[str] = (),
    recommends: bool = False,
) -> Generator[PyinfraCommand, None, None]:
    """
    Install or remove Debian packages.

    + packages: real package names, each alone or as ``name=version``
    + present: False removes them (their configuration files stay)
    + cache_time: seconds that the package lists may be old; they are fetched only when something is missing
    + hold_services: units that the packages bring and that must not start before they are configured; they
      are masked before the installation, and ``systemd_units.service`` unmasks what it starts
    + recommends: also install what the packages recommend
    """
    wanted = dict(package.partition("=")[::2] for package in packages)
    installed = host.get_fact(InstalledPackages, packages=sorted(wanted)) if wanted else {}
    if not present:
        surplus = [name for name in wanted if name in installed]
        if surplus:
            yield StringCommand(logged(f"{APT_GET} remove {' '.join(surplus)}"))
        else:
            host.noop("none of the packages is installed")
        return
    missing = [
        f"{name}={version}" if version else name
        for name, version in wanted.items()
        if name not in installed or (version and installed[name] != version)
    ]
    if not missing:
        host.noop("the packages are installed")
        return
    for unit in hold_services:
        yield StringCommand("systemctl mask --quiet --", QuoteString(unit))
    yield StringCommand(_update_command(cache_time))
    yield StringCommand(logged(CONFIGURE))
    choice = "" if recommends else "--no-install-recommends "
    yield StringCommand(logged(f"{APT_GET} install --allow-downgrades {choice}{' '.join(missing)}"))
