from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from groundwork.authority.installed import Installed, check_clock, share_of_life, why_mend, why_renew
from groundwork.authority.leaves import make_leaf
from groundwork.authority.questions import HostCertificates, parse_certificates, parse_requests
from groundwork.authority.status import list_rows
from groundwork.authority.store import AuthorityStore
from groundwork.problems import ProblemError
from groundwork.topology.accounts import SystemUser
from groundwork.topology.model import Identity


@pytest.fixture
def installed(store: AuthorityStore, identity: Identity, now: datetime) -> Installed:
    return install(store, identity, now)


def install(store: AuthorityStore, identity: Identity, now: datetime, generation: str = "1") -> Installed:
    issuer = store.issuer(generation)
    leaf, key = make_leaf(issuer, identity, now)
    chain = leaf.public_bytes(Encoding.PEM) + issuer.certificate.public_bytes(Encoding.PEM)
    public = key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    owner = f"{identity.owner.name}:{identity.owner.name}"
    return Installed(chain.decode(), public.decode(), (owner, owner), ("400", "444"))


def judge(store: AuthorityStore, installed: Installed, identity: Identity, time: datetime) -> str:
    return why_renew(installed, identity, store.issuer().certificate, time)


def test_is_left_alone_until_two_thirds_of_its_life(
    store: AuthorityStore, installed: Installed, identity: Identity, now: datetime
) -> None:
    life = timedelta(days=30, minutes=5)
    start = now - timedelta(minutes=5)
    assert judge(store, installed, identity, now) == ""
    assert judge(store, installed, identity, start + life * 2 / 3 - timedelta(seconds=1)) == ""
    assert judge(store, installed, identity, start + life * 2 / 3 + timedelta(seconds=1)).startswith("two thirds")
    assert judge(store, installed, identity, now + timedelta(days=31)) == "expired"
    assert why_mend(installed, identity) == ""


def test_everything_else_that_is_wrong_is_seen(
    store: AuthorityStore, installed: Installed, identity: Identity, now: datetime
) -> None:
    other = install(store, identity, now)
    assert judge(store, Installed(), identity, now) == "absent"
    assert judge(store, replace(installed, chain="hello"), identity, now) == "is no certificate"
    assert judge(store, replace(installed, public_key=""), identity, now) == "the key is missing"
    assert judge(store, replace(installed, public_key=other.public_key), identity, now) == "the key does not fit"
    alone = installed.chain[: installed.chain.index("-----END") + 26]
    assert judge(store, replace(installed, chain=alone), identity, now) == "another authority issued it"
    for changed in (
        replace(identity, dns_names=("data",)),
        replace(identity, dns_names=(*identity.dns_names, "more")),
        replace(identity, ip_addresses=("10.0.0.9",)),
        replace(identity, account="postgres"),
        replace(identity, uri="spiffe://lab/other/redis-1"),
    ):
        assert judge(store, installed, changed, now) == "names differ"
    store.create_generation("2", now)
    store.set_state(store.state.changed(trusted=("1", "2"), issuer="2"))
    assert judge(store, installed, identity, now) == "another authority issued it"


def test_a_mark_makes_older_certificates_due(
    store: AuthorityStore, installed: Installed, identity: Identity, now: datetime
) -> None:
    issuer = store.issuer().certificate
    assert why_renew(installed, identity, issuer, now, now + timedelta(seconds=1)) == "its renewal was asked for"
    assert why_renew(installed, identity, issuer, now, now) == ""


def test_owner_and_modes_are_mended(installed: Installed, identity: Identity) -> None:
    assert why_mend(installed, replace(identity, owner=SystemUser("redis"))) == "owner differs"
    assert why_mend(replace(installed, modes=("440", "444")), identity) == "mode differs"
    assert why_mend(replace(installed, owners=("root:root", "redis:redis")), identity) == "owner differs"


@pytest.mark.parametrize(
    ("off", "told"),
    [
        (timedelta(days=1), "24 hours ahead of"),
        (timedelta(days=-1), "24 hours behind"),
        (timedelta(minutes=-6), "6 minutes behind"),
        (timedelta(days=300), "300 days ahead of"),
    ],
)
def test_a_clock_that_is_off_is_one_clear_error(now: datetime, off: timedelta, told: str) -> None:
    with pytest.raises(ProblemError, match=f"data: its clock is {told}") as caught:
        check_clock("data", (now + off).timestamp(), now)
    assert len(caught.value.problems) == 1


def test_small_differences_of_clocks_do_not_matter(now: datetime) -> None:
    for seconds in (-300, 0, 300):
        check_clock("data", (now + timedelta(seconds=seconds)).timestamp(), now)


def test_answers_of_a_host_are_read(store: AuthorityStore, installed: Installed, identity: Identity) -> None:
    lines = ["#groundwork clock 1772366400", "#groundwork unit redis-1", "#groundwork stat root:root 400"]
    lines += ["#groundwork stat root:root 444", "#groundwork key", *installed.public_key.splitlines()]
    lines += ["#groundwork certificate", *installed.chain.splitlines(), "#groundwork unit nginx", "#groundwork key"]
    found = parse_certificates([*lines, "#groundwork certificate"])
    assert found.clock == 1772366400
    assert judge(store, found.units["redis-1"], identity, datetime.fromtimestamp(1772366400, UTC)) == ""
    assert why_mend(found.units["redis-1"], identity) == ""
    assert found.units["nginx"] == Installed()
    assert parse_certificates([]) == HostCertificates()
    assert parse_requests(["#groundwork unit a", "x", "y", "#groundwork unit b", "z"]) == {"a": "x\ny\n", "b": "z\n"}


def test_rows_tell_what_is_due(store: AuthorityStore, installed: Installed, identity: Identity, now: datetime) -> None:
    missing, silent = replace(identity, unit="nginx"), replace(identity, host="app")
    found = {"data": HostCertificates(now.timestamp(), {"redis-1": installed})}
    later = now + timedelta(days=15)
    rows = list_rows([identity, missing, silent], found, store.intermediates(), store.state, later)
    assert [(row.unit, row.chain, row.due) for row in rows] == [("redis-1", "1", ""), ("nginx", "", "absent")]
    assert rows[0].life_used == pytest.approx(0.5, abs=0.001)
    assert rows[0].issued == now.isoformat(timespec="seconds")
    assert share_of_life(installed.read_chain()[0], now) < 0.001
