"""A rotation on hosts of paper: whatever stage it is killed in, it goes on, and nobody is ever cut off."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509

from groundwork.authority.endpoints import TlsEndpoint
from groundwork.authority.installed import find_issuer
from groundwork.authority.rotation import FILE, STAGES, read_rotation, rotate_authority
from groundwork.authority.serving import Handshake
from groundwork.authority.store import AuthorityStore
from groundwork.problems import Problem, ProblemError


class PaperHosts:
    """Two servers that trust and present what the last ``converge`` brought them."""

    def __init__(self, store: AuthorityStore) -> None:
        self.store = store
        self.trusted: dict[str, tuple[str, ...]] = {"app": ("1",), "data": ("1",)}
        self.presents = {"app": "1", "data": "1"}
        self.deaf: set[str] = set()
        self.dies_after = 99
        self.calls = 0

    def _count(self) -> None:
        self.calls += 1
        if self.calls > self.dies_after:
            raise KeyboardInterrupt

    def converge(self) -> None:
        for host in self.trusted:
            self._count()
            if host not in self.deaf:
                self.trusted[host] = self.store.state.trusted
                self.presents[host] = self.store.state.issuer
            # The point of all stages: each serves what every other one trusts.
            assert all(one in trust for one in self.presents.values() for trust in self.trusted.values())

    def check_served(self) -> None:
        self._count()
        if wrong := [host for host, issuer in self.presents.items() if issuer != self.store.state.issuer]:
            raise ProblemError(Problem("serves another", key=host) for host in wrong)

    def probe(self, certificate: x509.Certificate, key: object, chain: bytes) -> list[Handshake]:
        self._count()
        every = {path.name for path in self.store.folder.iterdir() if path.name.isdigit()}
        issuer = find_issuer(certificate, {name: self.store.generation(name).intermediate for name in every})
        assert issuer
        return [
            Handshake(
                TlsEndpoint(host, "redis-1", "10.0.0.2", 6379, "tls", True),
                certificate,
                False,
                "" if self.presents[host] in self.store.state.trusted else "CERTIFICATE_VERIFY_FAILED",
                "" if issuer in trusted else "TLSV1_ALERT_UNKNOWN_CA",
                "",
            )
            for host, trusted in self.trusted.items()
        ]


@pytest.fixture
def hosts(store: AuthorityStore) -> PaperHosts:
    return PaperHosts(store)


@pytest.fixture
def rotate(store: AuthorityStore, hosts: PaperHosts, now: datetime) -> Callable[[], list[str]]:
    def run() -> list[str]:
        said: list[str] = []
        fresh = AuthorityStore(store.folder, store.secrets, "lab")
        hosts.store = fresh
        rotate_authority(fresh, hosts, said.append, lambda: now)
        return said

    return run


def test_goes_through_all_stages(store: AuthorityStore, hosts: PaperHosts, rotate: Callable[[], list[str]]) -> None:
    said = rotate()
    assert [line.split()[1].rstrip(":") for line in said] == list(STAGES)
    assert hosts.trusted == {"app": ("2",), "data": ("2",)}
    assert hosts.presents == {"app": "2", "data": "2"}
    assert sorted(path.name for path in store.folder.iterdir()) == ["2", "authority.json"]
    assert rotate()
    assert hosts.presents == {"app": "3", "data": "3"}


@pytest.mark.parametrize("calls", range(12))
def test_goes_on_where_it_was_killed(
    store: AuthorityStore, hosts: PaperHosts, rotate: Callable[[], list[str]], calls: int
) -> None:
    hosts.dies_after = calls
    try:
        rotate()
    except KeyboardInterrupt:
        under_way = read_rotation(store.folder)
        assert under_way is not None
        hosts.dies_after = 99
        said = rotate()
        assert f"goes on at stage {under_way.stage}" in said[0]
    assert hosts.presents == {"app": "2", "data": "2"}
    assert hosts.trusted == {"app": ("2",), "data": ("2",)}
    assert not (store.folder / FILE).exists()
    assert not (store.folder / "1").exists()


@pytest.mark.parametrize("write", range(9))
def test_goes_on_when_killed_at_any_write(
    store: AuthorityStore,
    hosts: PaperHosts,
    rotate: Callable[[], list[str]],
    write: int,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    from groundwork.authority import rotation, state

    left = write

    def dying(original: Callable[..., None]) -> Callable[..., None]:
        def act(*arguments: Any) -> None:
            nonlocal left
            if left == 0:
                left = -1
                raise KeyboardInterrupt
            left -= 1
            original(*arguments)

        return act

    for module in (rotation, state):
        monkeypatch.setattr(module, "write_atomically", dying(module.write_atomically))
    try:
        rotate()
    except KeyboardInterrupt:
        rotate()
    assert hosts.presents == {"app": "2", "data": "2"}
    assert not (store.folder / FILE).exists()


def test_a_host_that_does_not_load_the_new_root_stops_it_before_anything_is_issued(
    store: AuthorityStore, hosts: PaperHosts, rotate: Callable[[], list[str]]
) -> None:
    hosts.deaf = {"data"}
    with pytest.raises(ProblemError) as caught:
        rotate()
    told = str(caught.value)
    assert "data: redis-1 at 10.0.0.2:6379: it refuses the certificate: TLSV1_ALERT_UNKNOWN_CA" in told
    assert "stands at stage prove" in told
    assert store.state.issuer == "1"
    assert store.state.trusted == ("1", "2")
    hosts.deaf = set()
    assert "goes on at stage trust" in rotate()[0]
    assert hosts.trusted == {"app": ("2",), "data": ("2",)}


def test_a_lost_or_damaged_file_of_a_rotation(
    store: AuthorityStore, hosts: PaperHosts, rotate: Callable[[], list[str]]
) -> None:
    for calls in (2, 5):
        hosts.calls, hosts.dies_after = 0, calls
        with pytest.raises(KeyboardInterrupt):
            rotate()
        hosts.dies_after = 99
        path: Path = store.folder / FILE
        path.write_text("hello")
        with pytest.raises(ProblemError, match="rotation is damaged"):
            rotate()
        path.unlink()
        rotate()
        assert len(store.state.trusted) == 1
        assert hosts.presents == dict.fromkeys(("app", "data"), store.state.issuer)
