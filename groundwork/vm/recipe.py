"""What a virtual machine's disk is made of: a bare Debian server with a kernel, and nothing of ours."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

from groundwork.lab.recipe import PACKAGES as LAB_PACKAGES
from groundwork.lab.recipe import Recipe

KERNEL_PACKAGES = ("initramfs-tools", "linux-image-cloud-amd64", "apparmor", "cron", "logrotate", "systemd-timesyncd")
PACKAGES = (*LAB_PACKAGES, *KERNEL_PACKAGES)
DISK_BYTES = 6 * 1024**3
"""Size of the disk; the file is sparse."""

# Run as root in a chroot of the tree; the key that may log in lies in /root/vm.
PROVISION_SCRIPT = """\
#!/bin/sh
set -eu
export DEBIAN_FRONTEND=noninteractive
apt="apt-get -q -o DPkg::Lock::Timeout=120"
printf '#!/bin/sh\\nexit 101\\n' > /usr/sbin/policy-rc.d
chmod 755 /usr/sbin/policy-rc.d
update-ca-certificates
if [ -s /root/vm/debian.sources ]; then
    rm -f /etc/apt/sources.list /etc/apt/sources.list.d/*
    cp /root/vm/debian.sources /etc/apt/sources.list.d/debian.sources
fi
$apt update
$apt upgrade -y
useradd --create-home --shell /bin/bash debian
usermod --password '*' debian
install -d -m 0700 -o debian -g debian /home/debian/.ssh
install -m 0600 -o debian -g debian /root/vm/authorized_keys /home/debian/.ssh/authorized_keys
echo 'debian ALL=(ALL) NOPASSWD:ALL' > /etc/sudoers.d/90-debian
chmod 0440 /etc/sudoers.d/90-debian
rm -f /etc/ssh/ssh_host_*
install -m 0600 /root/vm/ssh_host_ed25519_key /etc/ssh/ssh_host_ed25519_key
install -m 0644 /root/vm/ssh_host_ed25519_key.pub /etc/ssh/ssh_host_ed25519_key.pub
echo groundwork-vm > /etc/hostname
printf '127.0.0.1 localhost\\n127.0.1.1 groundwork-vm\\n::1 localhost ip6-localhost ip6-loopback\\n' > /etc/hosts
printf '/dev/vda / ext4 errors=remount-ro 0 1\\n' > /etc/fstab
printf '[Match]\\nName=eth0\\n[Network]\\nDHCP=ipv4\\n' > /etc/systemd/network/10-eth0.network
systemctl enable ssh.service systemd-networkd.service
systemctl set-default multi-user.target
# Answers of the machine's own name server, which user-mode networking passes on.
rm -f /etc/resolv.conf
echo 'nameserver 10.0.2.3' > /etc/resolv.conf
rm -f /usr/sbin/policy-rc.d
: > /etc/machine-id
$apt clean
rm -rf /root/vm /var/log/apt/* /var/log/dpkg.log /var/log/alternatives.log /var/log/bootstrap.log
"""


def name_image(recipe: Recipe) -> str:
    """Folder name of the image that follows from a recipe: release and a hash of all that goes into it."""
    parts = (repr(recipe), PROVISION_SCRIPT, " ".join(PACKAGES), str(DISK_BYTES))
    return f"{recipe.release}-{hashlib.sha256(chr(0).join(parts).encode()).hexdigest()[:12]}"


@dataclass(frozen=True)
class ImageFile:
    """A file for the tree before it is provisioned: path below the tree, text and mode."""

    path: str
    text: str
    mode: int = 0o644


def list_files(recipe: Recipe, authorized: str, host_private: str, host_public: str) -> list[ImageFile]:
    """What the provisioning finds in the tree."""
    files = [
        ImageFile("root/vm/provision", PROVISION_SCRIPT, 0o755),
        ImageFile("root/vm/debian.sources", recipe.sources),
        ImageFile("root/vm/authorized_keys", authorized + "\n"),
        ImageFile("root/vm/ssh_host_ed25519_key", host_private, 0o600),
        ImageFile("root/vm/ssh_host_ed25519_key.pub", host_public + "\n"),
    ]
    if recipe.apt_settings:
        files.append(ImageFile("etc/apt/apt.conf.d/90machine", recipe.apt_settings))
    folder = "usr/local/share/ca-certificates"
    return files + [ImageFile(f"{folder}/{name}", text) for name, text in recipe.certificates]
