"""Judges what a host asks to have signed: exactly its own identity, or nothing."""

from __future__ import annotations

import ipaddress
from collections import Counter

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtensionOID, NameOID

from groundwork.problems import Problem, ProblemError
from groundwork.topology.model import Identity

LARGEST = 16_384
"""Bytes of a request; a real one has fewer than 2,000."""


# What the parser raises for bytes that are no request, or one with parts nobody asks for.
_UNREADABLE = (
    ValueError,
    TypeError,
    UnsupportedAlgorithm,
    x509.DuplicateExtension,
    x509.InvalidVersion,
    x509.UnsupportedGeneralNameType,
)


def check_request(pem: bytes, identity: Identity) -> x509.CertificateSigningRequest:
    """Return the request when it asks for exactly ``identity`` with a key of its own that fits.

    Raises ProblemError with everything that is more, less or other than the identity.
    """
    key = f"{identity.host}: {identity.unit}"
    try:
        if len(pem) > LARGEST:
            raise ValueError("it is too large")
        request = x509.load_pem_x509_csr(pem)
        problems = [_refuse(key, *finding) for finding in _examine(request, identity)]
    except _UNREADABLE:
        problems = [Problem("what the host sent is no certificate request", key=key)]
    if problems:
        raise ProblemError(problems)
    return request


def _refuse(key: str, message: str, given: str, allowed: str) -> Problem:
    return Problem(f"the certificate request {message}", key=key, given=given, allowed=allowed)


def _examine(request: x509.CertificateSigningRequest, identity: Identity) -> list[tuple[str, str, str]]:
    """What is wrong with a request: message, what it has, what it may have."""
    found = [*_examine_key(request), *_examine_subject(request, identity)]
    if not request.is_signature_valid:
        found.append(("is not signed with its own key", "", "a signature by the key in it"))
    extensions = {extension.oid: extension for extension in request.extensions}
    for oid in extensions.keys() - {ExtensionOID.SUBJECT_ALTERNATIVE_NAME}:
        found.append(("asks for an extension that it may not choose", oid.dotted_string, "names only"))
    others = {attribute.oid.dotted_string for attribute in request.attributes} - {_EXTENSION_REQUEST}
    found += [("has an attribute that it may not have", oid, "names only") for oid in sorted(others)]
    try:
        names = request.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except x509.ExtensionNotFound:
        return [*found, ("names nothing", "", ", ".join(sorted(expected_names(identity))))]
    given, allowed = Counter(map(describe_name, names)), expected_names(identity)
    if foreign := sorted(set(given) - allowed):
        found.append(("asks for names that are not this unit's", ", ".join(foreign), ", ".join(sorted(allowed))))
    if lacking := sorted(allowed - set(given)):
        found.append(("lacks names of this unit", ", ".join(sorted(given)), f"also {', '.join(lacking)}"))
    if twice := sorted(name for name, count in given.items() if count > 1):
        found.append(("has a name more than once", ", ".join(twice), "each once"))
    return found


# PKCS #9 extensionRequest (RFC 2985): how a request carries the extensions it asks for.
_EXTENSION_REQUEST = "1.2.840.113549.1.9.14"


def _examine_key(request: x509.CertificateSigningRequest) -> list[tuple[str, str, str]]:
    key = request.public_key()
    if isinstance(key, ec.EllipticCurvePublicKey) and isinstance(key.curve, ec.SECP256R1):
        return []
    size = getattr(key, "key_size", "")
    return [("has a key of another kind", f"{type(key).__name__} {size}".strip(), "an elliptic curve key, P-256")]


def _examine_subject(request: x509.CertificateSigningRequest, identity: Identity) -> list[tuple[str, str, str]]:
    given = [(attribute.oid, attribute.value) for attribute in request.subject]
    if given == [(NameOID.COMMON_NAME, identity.account)]:
        return []
    return [("has another subject", request.subject.rfc4514_string(), f"CN={identity.account}")]


def expected_names(identity: Identity) -> set[str]:
    """The names of an identity as ``describe_name`` gives them."""
    names = {f"DNS:{name}" for name in identity.dns_names}
    names |= {f"IP:{ipaddress.ip_address(address)}" for address in identity.ip_addresses}
    return names | {f"URI:{identity.uri}"}


def describe_name(name: x509.GeneralName) -> str:
    """A name as ``KIND:VALUE``; kinds that no identity has come out as something no identity expects."""
    match name:
        case x509.DNSName():
            return f"DNS:{name.value}"
        case x509.IPAddress():
            return f"IP:{name.value}"
        case x509.UniformResourceIdentifier():
            return f"URI:{name.value}"
        case _:
            return f"{type(name).__name__}:{name.value}"
