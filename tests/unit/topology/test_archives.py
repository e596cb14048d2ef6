"""What follows from a PostgreSQL in the backup policy: its archive, flows, identities and secrets."""

from __future__ import annotations

from typing import Any

from groundwork.inventory import make_inventory
from groundwork.manifest.platform import Platform
from groundwork.topology import Topology, derive
from groundwork.topology.archives import PORT, archive_of, hosts_with_archives, list_archives
from groundwork.topology.roles import roles_on


def make(repository: dict[str, Any], **changes: Any) -> tuple[Platform, Topology]:
    """A shop with one PostgreSQL on ``data`` and a replica on ``second``, and hosts for repositories."""
    platform = Platform.model_validate(
        {
            "platform": "shop",
            "runtime": {"package": {"directory": "."}, "launcher": "shop"},
            "services": {"store": {"kind": "postgresql", "hosts": "pair", "databases": {"shop": {}}}},
            "groups": {"sales": {"hosts": "app", "module": "shop.sales", "needs": ["store"], "agents": {"seller": {}}}},
            "backup": {
                "repository": repository,
                "items": {"base": {"what": "postgresql", "service": "store", "schedule": "daily"}},
            },
            "lab": {"hosts": {"host": ["app", "pair", "vault"]}},
            **changes,
        }
    )
    table = {
        "data": (frozenset(["pair"]), {"ssh_hostname": "10.0.0.1"}),
        "second": (frozenset(["pair"]), {"ssh_hostname": "10.0.0.2"}),
        "app": (frozenset(["app"]), {"ssh_hostname": "10.0.0.3"}),
        "vault": (frozenset(["vault"]), {"ssh_hostname": "10.0.0.4"}),
    }
    return platform, derive(platform, make_inventory(table, "inventory"), "test")


def test_an_archive_on_another_host() -> None:
    platform, topology = make({"kind": "host", "hosts": "vault"})
    (one,) = list_archives(platform, topology)
    assert (one.stanza, one.database.host, one.keeper, one.host) == ("shop-store", "data", "vault", "vault")
    assert one.path == "/var/lib/groundwork/backup/pgbackrest/store"
    flows = {(f.source_host, f.destination_host) for f in topology.flows if f.port == PORT}
    assert flows == {("data", "vault"), ("vault", "data")}
    identities = {(i.host, i.unit): i for i in topology.identities}
    ours = identities["data", "store-pgbackrest-1"]
    assert (ours.account, ours.owner.name) == ("pgbackrest-store", "postgres")
    theirs = identities["vault", "pgbackrest"]
    assert (theirs.account, theirs.owner.name) == ("pgbackrest", "pgbackrest")
    needs = {(need.host, need.unit) for need in topology.secret_needs if need.name == "backup_encryption"}
    assert ("vault", "pgbackrest") in needs
    assert ("data", "pgbackrest") not in needs
    assert hosts_with_archives(topology) == {"data", "vault"}
    assert "backup_postgresql" in roles_on(topology, "vault")
    assert "backup_postgresql" not in roles_on(topology, "app")


def test_an_archive_in_a_folder_of_the_database() -> None:
    platform, topology = make({"kind": "directory", "path": "/mnt/share"})
    (one,) = list_archives(platform, topology)
    assert (one.is_remote, one.host, one.path) == (False, "data", "/mnt/share/pgbackrest/store")
    assert not [f for f in topology.flows if f.port == PORT]
    assert not [i for i in topology.identities if "pgbackrest" in i.unit]
    assert hosts_with_archives(topology) == {"data"}


def test_without_a_policy_nothing_is_archived() -> None:
    platform, topology = make({"kind": "directory"}, backup=None)
    assert archive_of(platform, topology, "store") is None
    assert hosts_with_archives(topology) == frozenset()


def test_the_log_follows_the_objective() -> None:
    for rpo, seconds in (("15m", 60), ("1m", 20), ("6s", 5)):
        platform, topology = make({"kind": "host", "hosts": "vault"}, recovery={"rto": "1h", "rpo": rpo})
        found = archive_of(platform, topology, "store")
        assert found is not None
        assert found.archive_timeout == seconds
