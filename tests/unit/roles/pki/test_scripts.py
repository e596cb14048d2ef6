"""The scripts for a host, run for real in a folder: OpenSSL makes what the authority then signs and installs."""

from __future__ import annotations

import os
import subprocess
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pytest

from groundwork.authority import paths, questions
from groundwork.authority.installed import why_mend, why_renew
from groundwork.authority.store import AuthorityStore, Signed
from groundwork.problems import ProblemError
from groundwork.secrets.store import SecretStore
from groundwork.topology.accounts import ROOT, SystemUser
from groundwork.topology.model import Identity
from roles.pki import plan

needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="gives files to root")
REDIS = Identity(
    "redis-1", "data", ("data", "*.example.org"), ("10.0.0.2", "fd00::2"), "spiffe://l/c/r-1", "redis", ROOT
)
AGENT = Identity("chorus-planner@1", "data", ("data",), ("10.0.0.2",), "spiffe://l/c/p@1", "planning", ROOT)


@pytest.fixture
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AuthorityStore:
    for module in (paths, questions):
        monkeypatch.setattr(module, "CONFIGURATION", str(tmp_path / "etc"))
    secrets = SecretStore(tmp_path / "secrets", tmp_path / "lab.agekey")
    secrets.initialise()
    made = AuthorityStore(secrets.folder / "authority", secrets, "lab")
    made.initialise()
    return made


def run(script: str) -> str:
    done = subprocess.run(["sh"], input=script, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


def request(identities: list[Identity]) -> dict[str, str]:
    run(plan.build_requests("chorus", identities))
    units = [one.unit for one in identities]
    return questions.parse_requests(run(questions.ask_requests("chorus", units)).splitlines())


def issue(store: AuthorityStore, identities: list[Identity]) -> list[Signed]:
    waiting = request(identities)
    signed = store.sign([(one, waiting[one.unit].encode()) for one in identities])
    run(plan.build_installation("chorus", signed))
    return signed


def in_use() -> str:
    return str(Path(paths.certificate_folder("chorus", "redis-1")).readlink())


def look(identities: list[Identity]) -> questions.HostCertificates:
    units = [one.unit for one in identities]
    return questions.parse_certificates(run(questions.ask_certificates("chorus", units)).splitlines())


@needs_root
def test_keys_are_made_signed_and_put_in_place(store: AuthorityStore) -> None:
    assert look([REDIS, AGENT]).units == {}
    issue(store, [REDIS, AGENT])
    found = look([REDIS, AGENT])
    assert found.clock == pytest.approx(datetime.now(UTC).timestamp(), abs=5)
    for identity in (REDIS, AGENT):
        installed = found.units[identity.unit]
        assert why_renew(installed, identity, store.issuer().certificate, datetime.now(UTC)) == ""
        assert why_mend(installed, identity) == ""
        folder = Path(paths.certificate_folder("chorus", identity.unit))
        assert sorted(path.name for path in folder.iterdir()) == ["certificate.pem", "key.pem"]


@needs_root
def test_two_folders_are_kept_and_each_has_its_own_key(store: AuthorityStore) -> None:
    folder = Path(paths.identity_folder("chorus", "redis-1"))
    serials, keys = [], set()
    for _ in range(4):
        serials += [one.serial for one in issue(store, [REDIS])]
        keys.add((folder / "current" / "key.pem").read_text())
    assert len(keys) == 4
    assert in_use() == serials[-1]
    assert {path.name for path in folder.iterdir()} == {"current", *serials[-2:]}


@needs_root
def test_a_certificate_for_another_key_leaves_the_old_pair(store: AuthorityStore) -> None:
    issue(store, [REDIS])
    before = in_use()
    late = store.sign([(REDIS, request([REDIS])["redis-1"].encode())])
    request([REDIS])
    script = plan.build_installation("chorus", late)
    done = subprocess.run(["sh"], input=script, capture_output=True, text=True, check=False)
    assert done.returncode != 0
    assert "does not fit the key" in done.stderr
    assert in_use() == before


@needs_root
def test_half_a_script_does_nothing(store: AuthorityStore) -> None:
    issue(store, [REDIS, AGENT])
    before = in_use()
    signed = store.sign([(one, request([one])[one.unit].encode()) for one in (REDIS, AGENT)])
    script = plan.build_installation("chorus", signed)
    for part in range(1, 10):
        subprocess.run(["sh"], input=script[: len(script) * part // 10], capture_output=True, text=True, check=False)
        assert in_use() == before
    run(script)
    assert in_use() == signed[0].serial


@needs_root
@pytest.mark.slow
def test_a_full_disk_leaves_the_old_pair(store: AuthorityStore, tmp_path: Path) -> None:
    small = tmp_path / "etc"
    small.mkdir(exist_ok=True)
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=64k", "none", str(small)], check=False).returncode:
        pytest.skip("cannot mount here")
    try:
        issue(store, [REDIS])
        before = look([REDIS]).units["redis-1"]
        waiting = request([REDIS])["redis-1"].encode()
        signed = store.sign([(REDIS, waiting)])
        with pytest.raises(OSError), (small / "filler").open("wb", buffering=0) as filler:
            while filler.write(b"x" * 4096):
                pass
        script = plan.build_installation("chorus", signed)
        done = subprocess.run(["sh"], input=script, capture_output=True, text=True, check=False)
        assert done.returncode != 0
        assert "No space left" in done.stderr
        assert look([REDIS]).units["redis-1"] == before
        (small / "filler").unlink()
        issue(store, [REDIS])
    finally:
        subprocess.run(["umount", str(small)], check=True)


@needs_root
def test_owners_and_modes_are_mended(store: AuthorityStore) -> None:
    issue(store, [REDIS])
    Path(paths.key("chorus", "redis-1")).chmod(0o644)
    assert why_mend(look([REDIS]).units["redis-1"], REDIS) == "mode differs"
    daemon = replace(REDIS, owner=SystemUser("daemon"))
    run(plan.build_mending("chorus", [daemon]))
    assert why_mend(look([REDIS]).units["redis-1"], daemon) == ""


@pytest.mark.parametrize("name", ["a\nb", "a,DNS:b", "$HOME", "a b", "@section", ""])
def test_names_that_would_change_a_request_are_refused(name: str) -> None:
    from types import SimpleNamespace

    for changed in (replace(REDIS, dns_names=(name,)), replace(REDIS, account=name)):
        with pytest.raises(ProblemError, match="cannot be named"):
            plan.list_identities(SimpleNamespace(identities=(changed,)), "data")  # type: ignore[arg-type]
    with pytest.raises(ProblemError, match="folder"):
        topology = SimpleNamespace(identities=(replace(REDIS, unit=f"../{name}"),))
        plan.list_identities(topology, "data")  # type: ignore[arg-type]
    assert plan.list_identities(SimpleNamespace(identities=(REDIS, AGENT)), "data") == (REDIS, AGENT)  # type: ignore[arg-type]
