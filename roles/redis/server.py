"""What one server of Redis is: its names, files and folders on the host."""

from __future__ import annotations

from dataclasses import dataclass

from groundwork.authority import paths
from groundwork.manifest.services import RedisService
from roles.redis.access import Access

# Descriptors Redis keeps for itself (CONFIG_MIN_RESERVED_FDS in its server.h) and for its files.
RESERVED_DESCRIPTORS = 1024
DROP_IN = "50-groundwork.conf"
NETWORK_DROP_IN = "60-groundwork-network.conf"
ROLES = "/var/lib/groundwork/redis"
"""Folder of who follows whom; root's, so that a server cannot change it."""


@dataclass(frozen=True)
class Server(paths.WithCertificate):
    """One server of Redis: everything its files say, but for passwords."""

    platform: str
    service: str
    index: int
    address: str
    port: int
    declared: RedisService
    memory: int
    """Data at most, in bytes."""
    peers: tuple[str, ...]
    """Addresses that may connect, this host's own aside."""
    access: tuple[Access, ...]

    @property
    def instance(self) -> str:
        """Its name on the host: ``chorus-redis-1``."""
        return f"{self.platform}-{self.service}-{self.index}"

    @property
    def unit(self) -> str:
        """Its unit, an instance of Debian's template."""
        return f"redis-server@{self.instance}.service"

    @property
    def configuration(self) -> str:
        """Its configuration file, where Debian's template looks for it."""
        return f"/etc/redis/redis-{self.instance}.conf"

    @property
    def access_list(self) -> str:
        """Its file of users."""
        return f"/etc/redis/users-{self.instance}.acl"

    @property
    def drop_in(self) -> str:
        """Our additions to its unit."""
        return f"/etc/systemd/system/{self.unit}.d/{DROP_IN}"

    @property
    def data_folder(self) -> str:
        """Where its data lies."""
        return f"/var/lib/redis/{self.instance}"

    @property
    def socket(self) -> str:
        """The socket for root's own commands."""
        return f"/run/redis-{self.instance}/redis.sock"

    @property
    def operator_password(self) -> str:
        """The password for that socket, made on the host and known to nobody else."""
        return f"/etc/groundwork/{self.platform}/credentials/{self.instance}_operator"

    @property
    def identity(self) -> str:
        """Its identity, after which its certificate's folder is named."""
        return f"{self.service}-{self.index}"

    @property
    def mode(self) -> str:
        """``standalone``, ``replicated`` or ``cluster``."""
        return self.declared.mode

    @property
    def network(self) -> str:
        """Who may connect, apart from the rest of the unit: systemd applies it while the server runs."""
        return f"/etc/systemd/system/{self.unit}.d/{NETWORK_DROP_IN}"

    @property
    def login(self) -> str:
        """The part of its configuration by which it logs in at other servers."""
        return f"/etc/redis/login-{self.instance}.conf"

    @property
    def role(self) -> str:
        """The part of its configuration that says whom it follows; written each time it starts."""
        return f"{ROLES}/{self.instance}.role.conf"

    @property
    def memory_of_role(self) -> str:
        """Whom it followed last."""
        return f"{ROLES}/{self.instance}.json"

    @property
    def open_files(self) -> int:
        """File descriptors it may have; Debian's own limit where that is enough."""
        return max(65_535, self.declared.maximum_clients + RESERVED_DESCRIPTORS)


HELPERS = ("redis-try", "redis-reload", "redis-settings")
"""Scripts in ``helpers_folder``."""


def helpers_folder(platform: str) -> str:
    """Where the scripts that systemd and the checks call lie."""
    return f"/usr/local/lib/groundwork/{platform}"


def memory_setting(platform: str) -> str:
    """The file with the kernel's setting for memory."""
    return f"/etc/sysctl.d/60-groundwork-{platform}-redis.conf"
