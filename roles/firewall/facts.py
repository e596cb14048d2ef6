"""What the firewall asks a host."""

from __future__ import annotations

import posixpath
from dataclasses import dataclass

from pyinfra.api import FactBase, QuoteString, StringCommand
from typing_extensions import override

from groundwork.facts.ledger import ledger_path

STATE = "/run/groundwork-firewall"


@dataclass(frozen=True)
class Listing:
    """Our table as the kernel has it."""

    text: str = ""
    """As ``nft -s list table`` prints it; empty where there is none."""
    on_trial: bool = False
    """Its rules will be reverted by a timer unless they are confirmed."""


class LiveTable(FactBase[Listing]):
    """The table ``inet groundwork``, without its counters' values."""

    default = Listing

    @override
    def command(self) -> str:
        return (
            f"if test -e {STATE}/pending; then echo trial; else echo settled; fi; "
            "test ! -x /usr/sbin/nft || /usr/sbin/nft -s list table inet groundwork 2>/dev/null || true"
        )

    @override
    def process(self, output: list[str]) -> Listing:
        return Listing("\n".join(output[1:]), output[0].strip() == "trial")


@dataclass(frozen=True)
class Session:
    """The SSH connection of this run, as the host sees it."""

    client: str = ""
    """The controller's address; empty where the run does not come over SSH."""
    port: int = 0
    """The port it came in by."""


class SshSession(FactBase[Session]):
    """Ask without sudo, which does not pass SSH_CONNECTION on."""

    default = Session

    @override
    def command(self) -> str:
        return 'echo "${SSH_CONNECTION:-}"'

    @override
    def process(self, output: list[str]) -> Session:
        # sshd(8): client address, client port, server address, server port.
        parts = output[0].split()
        if len(parts) != 4:
            return Session()
        # "fe80::1%eth0" names an interface; "::ffff:192.0.2.1" is IPv4 over a socket for both.
        return Session(parts[0].partition("%")[0].removeprefix("::ffff:"), int(parts[3]))


class DhcpFamilies(FactBase[tuple[int, ...]]):
    """IP versions (4, 6) that the host has its addresses of from DHCP: a lease, or a client at its port."""

    default = tuple

    @override
    def command(self) -> str:
        leases = "/run/systemd/netif/leases/* /var/lib/dhcp/*.leases /var/lib/dhcpcd/*.lease /run/dhclient*.lease"
        return (
            f'for file in {leases} /var/lib/NetworkManager/*.lease; do test ! -s "$file" || echo 4; done; '
            "if command -v ss >/dev/null; then ss -Hlun 'sport = :68' | sed 's/.*/4/'; "
            "ss -Hlun 'sport = :546' | sed 's/.*/6/'; fi; true"
        )

    @override
    def process(self, output: list[str]) -> tuple[int, ...]:
        return tuple(sorted({int(line) for line in output if line.strip() in ("4", "6")}))


class Resolvers(FactBase[tuple[str, ...]]):
    """Addresses of the host's name servers, those behind a local stub included."""

    default = tuple

    @override
    def command(self) -> str:
        return "cat /etc/resolv.conf /run/systemd/resolve/resolv.conf 2>/dev/null || true"

    @override
    def process(self, output: list[str]) -> tuple[str, ...]:
        rows = (line.split() for line in output)
        servers = {row[1].partition("%")[0] for row in rows if len(row) > 1 and row[0] == "nameserver"}
        return tuple(sorted(server for server in servers if not server.startswith("127.")))


class FirewallOwners(FactBase[tuple[str, ...]]):
    """Platforms that have laid down a firewall on the host."""

    default = tuple

    @override
    def command(self) -> StringCommand:
        folder = posixpath.dirname(ledger_path("any"))
        return StringCommand("ls -1 --", QuoteString(folder), "2>/dev/null || true")

    @override
    def process(self, output: list[str]) -> tuple[str, ...]:
        names = (line.strip() for line in output)
        found = (n.removeprefix("firewall-").removesuffix(".json") for n in names if n.startswith("firewall-"))
        return tuple(sorted(found))
