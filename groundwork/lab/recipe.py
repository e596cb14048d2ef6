"""What the base image of lab hosts is made of: a bare Debian like a cloud provider's, and nothing of ours."""

from __future__ import annotations

import hashlib
import subprocess
from dataclasses import dataclass
from pathlib import Path

from groundwork.lab.aptsources import choose_mirrors, read_sources, render_sources
from groundwork.lab.errors import lab_error

RELEASES = ("trixie", "bookworm")
REPOSITORY = "groundwork-lab-base"
INIT_PATH = "/usr/local/sbin/lab-init"

# Debian's cloud images have these too (but for python3-venv, which every runtime needs); no service package.
PACKAGES = (
    "ca-certificates",
    "curl",
    "dbus",
    "debian-archive-keyring",
    "iproute2",
    "iputils-ping",
    "kmod",
    "less",
    "libpam-systemd",
    "locales",
    "netbase",
    "openssh-server",
    "procps",
    "python3",
    "python3-venv",
    "sudo",
    "systemd",
    "systemd-sysv",
    "tzdata",
)

# Units that act on the machine's kernel, which a container shares, and would fail or disturb it.
MASKED_UNITS = (
    "dev-hugepages.mount",
    "sys-fs-fuse-connections.mount",
    "sys-kernel-config.mount",
    "sys-kernel-debug.mount",
    "sys-kernel-tracing.mount",
    "systemd-modules-load.service",
    "systemd-udevd.service",
)

# Process 1 of a host. A cgroup tree of its own works on machines with the old and the new controllers alike.
# Docker mounts three files of /etc, so that they cannot be replaced atomically: they become plain files, once.
# /proc/sys is read-only; below net it belongs to the host's own network namespace and may be written.
# systemd hands credentials to a service by a mount that it makes in a child: it must propagate to the host.
INIT_SCRIPT = """\
#!/bin/sh
umount -R /sys/fs/cgroup 2>/dev/null || umount -l /sys/fs/cgroup
mount -t cgroup2 cgroup2 /sys/fs/cgroup
for file in hosts hostname resolv.conf; do
    if [ -e /etc/.lab-booted ]; then
        umount "/etc/$file"
    else
        copy=$(cat "/etc/$file") && umount "/etc/$file" && printf '%s\\n' "$copy" > "/etc/$file"
    fi
done
: > /etc/.lab-booted
mount --bind /proc/sys/net /proc/sys/net && mount -o remount,bind,rw /proc/sys/net
# As on a real host: otherwise what systemd mounts for a unit's LoadCredential= never reaches the unit.
mount --make-rshared /
exec /sbin/init
"""

# $1: "debootstrap" or "registry", how the file system came to be.
PROVISION_SCRIPT = f"""\
#!/bin/sh
set -eu
export DEBIAN_FRONTEND=noninteractive
apt="apt-get -q -o DPkg::Lock::Timeout=120"
printf '#!/bin/sh\\nexit 101\\n' > /usr/sbin/policy-rc.d
chmod 755 /usr/sbin/policy-rc.d
if [ ! -e /etc/ssl/certs/ca-certificates.crt ]; then
    $apt update
    $apt install -y --no-install-recommends ca-certificates
fi
update-ca-certificates
if [ -s /root/lab/debian.sources ]; then
    rm -f /etc/apt/sources.list /etc/apt/sources.list.d/*
    cp /root/lab/debian.sources /etc/apt/sources.list.d/debian.sources
fi
$apt update
$apt upgrade -y
$apt install -y --no-install-recommends {" ".join(PACKAGES)}
useradd --create-home --shell /bin/bash debian
usermod --password '*' debian
install -d -m 0700 -o debian -g debian /home/debian/.ssh
echo 'debian ALL=(ALL) NOPASSWD:ALL' > /etc/sudoers.d/90-debian
chmod 0440 /etc/sudoers.d/90-debian
visudo -cqf /etc/sudoers.d/90-debian
for unit in {" ".join(MASKED_UNITS)}; do ln -sf /dev/null "/etc/systemd/system/$unit"; done
systemctl enable ssh.service
systemctl set-default multi-user.target
rm -f /etc/ssh/ssh_host_* /usr/sbin/policy-rc.d
: > /etc/machine-id
$apt clean
rm -rf /var/lib/apt/lists/* /root/lab /var/log/apt/* /var/log/dpkg.log /var/log/alternatives.log /var/log/bootstrap.log
"""

# What a lab host needs of this machine's apt configuration to reach the mirrors as this machine does.
_APT_SETTINGS = ("acquire::http::", "acquire::https::", "acquire::check-", "acquire::retries")


@dataclass(frozen=True)
class Recipe:
    """Everything that decides what a base image holds; two equal recipes share one image."""

    release: str
    sources: str
    apt_settings: str
    certificates: tuple[tuple[str, str], ...]
    mirror: str

    @property
    def tag(self) -> str:
        """The image's name: release and a hash of all that went into it."""
        parts = (repr(self), PROVISION_SCRIPT, INIT_SCRIPT)
        digest = hashlib.sha256("\0".join(parts).encode()).hexdigest()
        return f"{REPOSITORY}:{self.release}-{digest[:12]}"


def check_release(release: str) -> str:
    """Return ``release`` if it is a supported Debian codename; ProblemError otherwise."""
    if release not in RELEASES:
        raise lab_error("unknown Debian release", key="--release", given=release, allowed=", ".join(RELEASES))
    return release


def filter_apt_settings(dump: str) -> str:
    """Keep of ``apt-config dump`` the lines on how to fetch: proxies, certificates, validity checks, retries."""
    kept = [line for line in dump.splitlines() if line.lower().startswith(_APT_SETTINGS)]
    # A proxy finder is a program of this machine; an empty value is apt's own default.
    return "".join(f"{line}\n" for line in kept if not line.endswith(' "";') and "auto-detect" not in line.lower())


def derive_recipe(release: str) -> Recipe:
    """Derive the recipe for one release from this machine: its mirrors, apt settings and own certificates."""
    mirrors = choose_mirrors(read_sources(Path("/etc/apt")))
    try:
        dump = subprocess.run(["apt-config", "dump"], check=True, capture_output=True, text=True).stdout
    except (OSError, subprocess.CalledProcessError):
        dump = ""
    folder = Path("/usr/local/share/ca-certificates")
    files = sorted(folder.rglob("*.crt")) if folder.is_dir() else []
    certificates = tuple((file.name, file.read_text(encoding="ascii", errors="ignore")) for file in files)
    sources = render_sources(mirrors, check_release(release))
    return Recipe(release, sources, filter_apt_settings(dump), certificates, mirrors.main)
