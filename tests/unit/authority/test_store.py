from __future__ import annotations

import json
import shutil
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import NameOID

from groundwork.authority.records import read_issued
from groundwork.authority.requests import expected_names
from groundwork.authority.store import AuthorityStore
from groundwork.problems import ProblemError
from groundwork.secrets.store import SecretStore
from groundwork.topology.model import Identity


def again(store: AuthorityStore, key_file: Path | None = None) -> AuthorityStore:
    secrets = SecretStore(store.secrets.folder, key_file or store.secrets.key_file)
    return AuthorityStore(store.folder, secrets, store.environment)


def make_request(identity: Identity, **replaced: str) -> bytes:
    import ipaddress

    names: list[x509.GeneralName] = [x509.DNSName(name) for name in identity.dns_names]
    names += [x509.IPAddress(ipaddress.ip_address(address)) for address in identity.ip_addresses]
    names.append(x509.UniformResourceIdentifier(replaced.get("uri", identity.uri)))
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, identity.account)])
    builder = x509.CertificateSigningRequestBuilder().subject_name(subject)
    builder = builder.add_extension(x509.SubjectAlternativeName(names), critical=False)
    key = ec.generate_private_key(ec.SECP256R1())
    return builder.sign(key, hashes.SHA256()).public_bytes(Encoding.PEM)


def test_is_made_once_and_its_keys_are_encrypted(store: AuthorityStore) -> None:
    bundle = store.bundle()
    assert again(store).initialise() is False
    assert again(store).bundle() == bundle
    for path in store.folder.rglob("*.age"):
        assert path.read_bytes().startswith(b"-----BEGIN AGE ENCRYPTED FILE-----")
        assert path.stat().st_mode & 0o777 == 0o600
    text = b"".join(path.read_bytes() for path in store.folder.rglob("*") if path.is_file())
    assert b"PRIVATE KEY" not in text
    assert b"EC PRIVATE" not in text


def test_root_and_intermediate_are_limited(store: AuthorityStore, now: datetime) -> None:
    generation = store.generation("1")
    constraints = [
        certificate.extensions.get_extension_for_class(x509.BasicConstraints).value
        for certificate in (generation.root, generation.intermediate)
    ]
    assert [(one.ca, one.path_length) for one in constraints] == [(True, 1), (True, 0)]
    assert generation.root.not_valid_after_utc - now == timedelta(days=3652)
    assert generation.intermediate.not_valid_after_utc - now == timedelta(days=730)
    assert store.bundle().count(b"BEGIN CERTIFICATE") == 1


def test_signs_what_fits_and_writes_it_down_first(store: AuthorityStore, identity: Identity, now: datetime) -> None:
    signed = store.sign([(identity, make_request(identity))], now)
    leaf, above = x509.load_pem_x509_certificates(signed[0].chain)
    assert above == store.generation("1").intermediate
    leaf.verify_directly_issued_by(above)
    assert leaf.not_valid_before_utc == now - timedelta(minutes=5)
    assert leaf.not_valid_after_utc == now + timedelta(days=30)
    record = read_issued(store.folder)[0]
    assert (record.serial, record.unit, record.host) == (
        f"{leaf.serial_number:X}".zfill(len(record.serial)),
        "redis-1",
        "data",
    )
    key_identifier = leaf.extensions.get_extension_for_class(x509.AuthorityKeyIdentifier).value
    assert key_identifier.authority_cert_issuer is None
    assert key_identifier.authority_cert_serial_number is None
    assert expected_names(identity) == {"DNS:data", "DNS:cache.example.org", "IP:10.0.0.2", f"URI:{identity.uri}"}


def test_one_refused_request_leaves_all_unsigned(store: AuthorityStore, identity: Identity) -> None:
    good, bad = make_request(identity), make_request(identity, uri="spiffe://lab/chorus/postgresql-1")
    with pytest.raises(ProblemError):
        store.sign([(identity, good), (identity, bad)])
    assert read_issued(store.folder) == []


def test_a_leaf_never_outlives_its_intermediate(store: AuthorityStore, identity: Identity, now: datetime) -> None:
    signed = store.sign([(identity, make_request(identity))], now + timedelta(days=729))
    end = x509.load_pem_x509_certificates(signed[0].chain)[0].not_valid_after_utc
    assert end == store.generation("1").intermediate.not_valid_after_utc
    with pytest.raises(ProblemError, match="not valid any more"):
        store.sign([(identity, make_request(identity))], now + timedelta(days=731))
    with pytest.raises(ProblemError, match="not valid yet: is this machine's clock right"):
        store.sign([(identity, make_request(identity))], now - timedelta(days=31))


def test_an_environment_without_one_says_how_to_make_it(store: AuthorityStore) -> None:
    shutil.rmtree(store.folder)
    with pytest.raises(ProblemError, match=r"no certificate authority yet.*groundwork secrets init lab") as caught:
        again(store).check()
    assert len(caught.value.problems) == 1


PARTS = ["root.pem", "intermediate.pem", "root-crl.pem", "intermediate.key.age"]


@pytest.mark.parametrize("part", PARTS)
@pytest.mark.parametrize("damage", ["missing", "empty", "cut", "garbage", "zeros"])
def test_lost_and_damaged_parts_are_one_clear_error(store: AuthorityStore, part: str, damage: str) -> None:
    path = store.folder / "1" / part
    content = path.read_bytes()
    path.unlink()
    if damage != "missing":
        changed = {"empty": b"", "cut": content[: len(content) // 2], "garbage": b"hello", "zeros": bytes(200)}
        path.write_bytes(changed[damage])
    with pytest.raises(ProblemError) as caught:
        again(store).check()
    assert len(caught.value.problems) == 1
    assert caught.value.problems[0].file == str(path)
    with pytest.raises(ProblemError):
        again(store).initialise()
    assert path.exists() == (damage != "missing")


def test_parts_of_another_authority_are_found(store: AuthorityStore, tmp_path: Path, now: datetime) -> None:
    other = AuthorityStore(tmp_path / "other", store.secrets, "lab")
    other.initialise(now)
    for part in PARTS:
        path = store.folder / "1" / part
        own = path.read_bytes()
        path.write_bytes((other.folder / "1" / part).read_bytes())
        with pytest.raises(ProblemError) as caught:
            again(store).check()
        assert len(caught.value.problems) == 1
        path.write_bytes(own)
    again(store).check()


def test_a_wrong_age_key_is_said(store: AuthorityStore, tmp_path: Path) -> None:
    foreign = SecretStore(tmp_path / "elsewhere", tmp_path / "keys" / "foreign.agekey")
    foreign.initialise()
    with pytest.raises(ProblemError, match="cannot be decrypted") as caught:
        again(store, foreign.key_file).check()
    assert "foreign.agekey" in str(caught.value)
    with pytest.raises(ProblemError, match="missing"):
        again(store, tmp_path / "none.agekey").check()


@pytest.mark.parametrize("text", ["", "{}", "[]", '{"version": 2}', '{"version": 1, "issuer": "2", "trusted": ["1"]}'])
def test_a_damaged_state_is_said_and_kept(store: AuthorityStore, text: str) -> None:
    (store.folder / "authority.json").write_text(text)
    with pytest.raises(ProblemError, match="damaged"):
        again(store).check()
    with pytest.raises(ProblemError, match="damaged"):
        again(store).initialise()
    assert (store.folder / "authority.json").read_text() == text


def test_a_lost_state_never_replaces_an_authority_in_use(
    store: AuthorityStore, identity: Identity, now: datetime
) -> None:
    store.sign([(identity, make_request(identity))], now)
    (store.folder / "authority.json").unlink()
    root = (store.folder / "1" / "root.pem").read_bytes()
    for action in (again(store).initialise, again(store).check):
        with pytest.raises(ProblemError, match=r"lost authority\.json"):
            action()
    assert (store.folder / "1" / "root.pem").read_bytes() == root


def test_a_killed_creation_is_done_again(store: AuthorityStore) -> None:
    (store.folder / "authority.json").unlink()
    (store.folder / ".1.new").mkdir()
    assert again(store).initialise() is True
    again(store).check()


def test_a_torn_record_is_cut_off(store: AuthorityStore, identity: Identity, now: datetime) -> None:
    store.sign([(identity, make_request(identity))], now)
    path = store.folder / "issued.jsonl"
    with path.open("a") as file:
        file.write('{"serial": "12')
    assert len(read_issued(store.folder)) == 1
    store.sign([(identity, make_request(identity))], now)
    assert [json.loads(line)["unit"] for line in path.read_text().splitlines()] == ["redis-1", "redis-1"]
    path.write_text("hello\n" + path.read_text())
    with pytest.raises(ProblemError, match=r"issued\.jsonl:1"):
        again(store).check()


def test_revocation_reaches_the_lists(store: AuthorityStore, identity: Identity, now: datetime) -> None:
    serial = store.sign([(identity, make_request(identity))], now)[0].serial
    before = store.revocation_lists(now)
    store.revoke([serial.lower()], now)
    lists = [x509.load_pem_x509_crl(part) for part in split(store.revocation_lists(now))]
    assert before != store.revocation_lists(now)
    assert [one.issuer for one in lists] == [store.generation("1").root.subject, store.issuer().certificate.subject]
    assert [entry.serial_number for entry in lists[1]] == [int(serial, 16)]
    assert all(one.is_signature_valid(key) for one, key in zip(lists, keys(store), strict=True))
    with pytest.raises(ProblemError, match="no certificate with this serial"):
        store.revoke(["00"], now)


def keys(store: AuthorityStore) -> list[Any]:
    generation = store.generation("1")
    return [generation.root.public_key(), generation.intermediate.public_key()]


def split(pem: bytes) -> list[bytes]:
    mark = b"-----BEGIN X509 CRL-----"
    return [mark + part for part in pem.split(mark)[1:]]


def test_lists_are_signed_anew_at_half_their_life_and_not_by_a_plan(store: AuthorityStore, now: datetime) -> None:
    first = store.revocation_lists(now + timedelta(days=29))
    assert first == store.revocation_lists(now)
    assert store.revocation_lists(now + timedelta(days=31), refresh=False) == first
    renewed = store.revocation_lists(now + timedelta(days=31))
    assert renewed != first
    numbers = [
        x509.load_pem_x509_crl(split(text)[1]).extensions.get_extension_for_class(x509.CRLNumber).value.crl_number
        for text in (first, renewed)
    ]
    assert numbers[0] < numbers[1]
