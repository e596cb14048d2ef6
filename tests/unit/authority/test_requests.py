"""A host gets exactly its own identity signed: every other request is refused, whatever it is made of."""

from __future__ import annotations

import ipaddress
from collections.abc import Callable

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import AttributeOID, NameOID
from hypothesis import given, settings
from hypothesis import strategies as st

from groundwork.authority.requests import LARGEST, check_request
from groundwork.problems import ProblemError
from groundwork.topology.accounts import ROOT
from groundwork.topology.model import Identity

IDENTITY = Identity(
    "redis-1", "data", ("data", "cache.example.org"), ("10.0.0.2",), "spiffe://lab/chorus/redis-1", "redis", ROOT
)
KEY = ec.generate_private_key(ec.SECP256R1())
Builder = x509.CertificateSigningRequestBuilder


def own_names() -> list[x509.GeneralName]:
    return [
        x509.DNSName("data"),
        x509.DNSName("cache.example.org"),
        x509.IPAddress(ipaddress.ip_address("10.0.0.2")),
        x509.UniformResourceIdentifier(IDENTITY.uri),
    ]


def make_request(
    names: list[x509.GeneralName] | None = None,
    subject: list[tuple[x509.ObjectIdentifier, str]] | None = None,
    change: Callable[[Builder], Builder] = lambda builder: builder,
    key: object = KEY,
) -> bytes:
    subject = [(NameOID.COMMON_NAME, "redis")] if subject is None else subject
    builder = Builder().subject_name(x509.Name([x509.NameAttribute(oid, value) for oid, value in subject]))
    names = own_names() if names is None else names
    if names:
        builder = builder.add_extension(x509.SubjectAlternativeName(names), critical=False)
    algorithm = None if isinstance(key, ed25519.Ed25519PrivateKey) else hashes.SHA256()
    return change(builder).sign(key, algorithm).public_bytes(Encoding.PEM)  # type: ignore[arg-type]


def refuse(pem: bytes, *words: str) -> None:
    with pytest.raises(ProblemError) as caught:
        check_request(pem, IDENTITY)
    told = str(caught.value)
    assert [word for word in words if word not in told] == []
    assert "data: redis-1" in told


def test_its_own_identity_is_accepted_in_any_order_of_names() -> None:
    assert check_request(make_request(), IDENTITY).public_key() == KEY.public_key()
    assert check_request(make_request(own_names()[::-1]), IDENTITY)


@pytest.mark.parametrize(
    "foreign",
    [
        x509.DNSName("app"),
        x509.DNSName("*.example.org"),
        x509.DNSName("data."),
        x509.IPAddress(ipaddress.ip_address("10.0.0.3")),
        x509.IPAddress(ipaddress.ip_network("10.0.0.0/8")),
        x509.UniformResourceIdentifier("spiffe://lab/chorus/postgresql-1"),
        x509.RFC822Name("root@data"),
        x509.DirectoryName(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "data")])),
        x509.RegisteredID(x509.ObjectIdentifier("1.2.3")),
    ],
)
def test_a_foreign_name_beside_its_own_is_refused(foreign: x509.GeneralName) -> None:
    refuse(make_request([*own_names(), foreign]), "names that are not this unit's")


@pytest.mark.parametrize("lacking", range(4))
def test_fewer_names_are_refused(lacking: int) -> None:
    names = own_names()
    del names[lacking]
    refuse(make_request(names), "lacks names")


def test_no_names_and_names_twice_are_refused() -> None:
    refuse(make_request([]), "names nothing")
    refuse(make_request([*own_names(), x509.DNSName("data")]), "more than once", "DNS:data")


@pytest.mark.parametrize(
    "subject",
    [
        [],
        [(NameOID.COMMON_NAME, "operator")],
        [(NameOID.COMMON_NAME, "Redis")],
        [(NameOID.COMMON_NAME, "redis"), (NameOID.COMMON_NAME, "postgres")],
        [(NameOID.COMMON_NAME, "redis"), (NameOID.ORGANIZATION_NAME, "x")],
        [(NameOID.ORGANIZATION_NAME, "redis")],
    ],
)
def test_another_subject_is_refused(subject: list[tuple[x509.ObjectIdentifier, str]]) -> None:
    refuse(make_request(subject=subject), "another subject", "CN=redis")


def test_extensions_of_its_own_choice_are_refused() -> None:
    authority = x509.BasicConstraints(ca=True, path_length=None)
    refuse(make_request(change=lambda b: b.add_extension(authority, critical=True)), "extension", "2.5.29.19")
    uses = x509.ExtendedKeyUsage([x509.oid.ExtendedKeyUsageOID.CODE_SIGNING])
    refuse(make_request(change=lambda b: b.add_extension(uses, critical=False)), "extension", "2.5.29.37")
    refuse(make_request(change=lambda b: b.add_attribute(AttributeOID.CHALLENGE_PASSWORD, b"x")), "attribute")


@pytest.mark.parametrize(
    "key",
    [
        rsa.generate_private_key(65537, 2048),
        ec.generate_private_key(ec.SECP384R1()),
        ec.generate_private_key(ec.SECP256K1()),
        ed25519.Ed25519PrivateKey.generate(),
    ],
    ids=["rsa", "P-384", "secp256k1", "ed25519"],
)
def test_another_kind_of_key_is_refused(key: object) -> None:
    refuse(make_request(key=key), "key of another kind", "P-256")


def test_a_key_that_the_host_does_not_have_is_refused() -> None:
    der = x509.load_pem_x509_csr(make_request()).public_bytes(Encoding.DER)
    # Another signature of the same length: the last bytes are part of it.
    forged = x509.load_der_x509_csr(der[:-1] + bytes([der[-1] ^ 1]))
    refuse(forged.public_bytes(Encoding.PEM), "not signed with its own key")


@pytest.mark.parametrize("pem", [b"", b"hello", b"-----BEGIN CERTIFICATE REQUEST-----\nAAAA\n", b"x" * (LARGEST + 1)])
def test_what_is_no_request_is_refused(pem: bytes) -> None:
    refuse(pem, "no certificate request")


labels = st.from_regex(r"[a-z][a-z0-9-]{0,8}", fullmatch=True)
hosts = st.lists(labels, min_size=1, max_size=4, unique=True)
addresses = st.lists(st.ip_addresses(), max_size=3, unique=True)


@given(asked=st.tuples(labels, hosts, addresses, labels), own=st.tuples(labels, hosts, addresses, labels))
@settings(max_examples=150, deadline=None)
def test_a_request_is_accepted_if_and_only_if_it_is_the_identity(
    asked: tuple[str, list[str], list[ipaddress.IPv4Address], str],
    own: tuple[str, list[str], list[ipaddress.IPv4Address], str],
) -> None:
    for given_part, own_part in ((asked, own), (own, own)):
        account, names, ips, unit = given_part
        general: list[x509.GeneralName] = [x509.DNSName(name) for name in names]
        general += [x509.IPAddress(ip) for ip in ips]
        general.append(x509.UniformResourceIdentifier(f"spiffe://lab/chorus/{unit}"))
        pem = make_request(general, [(NameOID.COMMON_NAME, account)])
        account, names, ips, unit = own_part
        uri = f"spiffe://lab/chorus/{unit}"
        identity = Identity(unit, "host", tuple(names), tuple(map(str, ips)), uri, account, ROOT)
        same = (given_part[0], set(given_part[1]), set(given_part[2]), given_part[3]) == (
            own_part[0], set(own_part[1]), set(own_part[2]), own_part[3],
        )  # fmt: skip
        if same:
            check_request(pem, identity)
        else:
            with pytest.raises(ProblemError):
                check_request(pem, identity)


@given(position=st.integers(0, 10_000), value=st.integers(0, 255))
@settings(max_examples=300, deadline=None)
def test_a_changed_byte_never_passes(position: int, value: int) -> None:
    der = bytearray(x509.load_pem_x509_csr(SAMPLE).public_bytes(Encoding.DER))
    position %= len(der)
    if der[position] == value:
        return
    der[position] = value
    import base64

    body = base64.encodebytes(bytes(der)).decode()
    pem = f"-----BEGIN CERTIFICATE REQUEST-----\n{body}-----END CERTIFICATE REQUEST-----\n".encode()
    with pytest.raises(ProblemError):
        check_request(pem, IDENTITY)


SAMPLE = make_request()
