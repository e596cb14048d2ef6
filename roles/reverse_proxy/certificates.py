"""Whether a self-signed certificate on a host still serves, and how a new one is made there."""

from __future__ import annotations

import shlex
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime
from ipaddress import ip_address

from groundwork.addresses import is_address

VALID_DAYS = 825
"""Longest life that clients accept of a certificate that no public authority issued (Apple, HT210176)."""


@dataclass(frozen=True)
class CertificateState:
    """A certificate with its key, as found on a host; times are seconds since 1970 by the host's clock."""

    names: frozenset[str]
    start: float
    end: float
    now: float
    key_fits: bool
    owner: str
    mode: int


def canonical_name(name: str) -> str:
    """Return a name in the form names are compared in: lower case, addresses in their shortest form."""
    try:
        return str(ip_address(name))
    except ValueError:
        return name.lower()


def why_renew(state: CertificateState | None, names: Iterable[str]) -> str:
    """Say why a new certificate is needed; an empty string when the present one serves.

    It is due when less than a third of its life is left, the usual point of renewal.
    """
    if state is None:
        return "absent"
    if not state.key_fits:
        return "the key does not fit"
    if state.names != {canonical_name(name) for name in names}:
        return "names differ"
    if (state.owner, state.mode) != ("root:root", 0o600):
        return "others could read the key"
    if state.now < state.start:
        return "not valid yet"
    if state.end - state.now < (state.end - state.start) / 3:
        return "less than a third of its life is left"
    return ""


def parse_state(lines: Iterable[str]) -> CertificateState | None:
    """Read what ``build_question`` prints; None when it is no certificate with a key."""
    fields: dict[str, str] = {}
    names: set[str] = set()
    for line in lines:
        key, _, value = line.strip().partition("=")
        fields[key] = value
        if line.strip().startswith(("DNS:", "IP Address:")):
            names |= {canonical_name(part.split(":", 1)[1]) for part in line.strip().split(", ")}
    try:
        return CertificateState(
            names=frozenset(names),
            start=_parse_time(fields["notBefore"]),
            end=_parse_time(fields["notAfter"]),
            now=float(fields["now"]),
            key_fits=fields.get("fits") == "yes",
            owner=fields["owner"],
            mode=int(fields["mode"], 8),
        )
    except (KeyError, ValueError):
        return None


def _parse_time(text: str) -> float:
    return datetime.strptime(text, "%b %d %H:%M:%S %Y GMT").replace(tzinfo=UTC).timestamp()


def build_question(path: str) -> str:
    """Return a shell command that describes the certificate at ``path``; it prints nothing where there is none."""
    quoted = shlex.quote(path)
    return (
        f"if test -f {quoted} && command -v openssl >/dev/null; then "
        f"stat --printf='owner=%U:%G\\nmode=%a\\n' -- {quoted}; date +now=%s; "
        f"openssl x509 -in {quoted} -noout -startdate -enddate -ext subjectAltName 2>/dev/null; "
        f"{key_fits(path)} && echo fits=yes; fi; true"
    )


def key_fits(path: str) -> str:
    """Return a shell test that certificate and key of one file belong together."""
    quoted = path if path == "{candidate}" else shlex.quote(path)
    return (
        f'public=$(openssl x509 -in {quoted} -noout -pubkey 2>/dev/null) && test -n "$public" && '
        f'test "$public" = "$(openssl pkey -in {quoted} -pubout 2>/dev/null)"'
    )


def build_creation(path: str, names: Iterable[str], common_name: str) -> str:
    """Return a shell script that makes key and certificate and puts both in place with one rename.

    The key is made on the host and is never readable by others.
    """
    folder, _, file = path.rpartition("/")
    stage = shlex.quote(f"{folder}/.{file}.new")
    alternatives = [f"IP:{name}" if is_address(name) else f"DNS:{name}" for name in names]
    request = "\n".join(
        [
            "[req]",
            "distinguished_name = subject",
            "x509_extensions = leaf",
            "prompt = no",
            "[subject]",
            f"CN = {common_name[:64]}",
            "[leaf]",
            "basicConstraints = critical, CA:FALSE",
            "keyUsage = critical, digitalSignature",
            "extendedKeyUsage = serverAuth",
            "subjectKeyIdentifier = hash",
            f"subjectAltName = {', '.join(alternatives)}",
        ]
    )
    return "\n".join(
        [
            "set -eu",
            "umask 077",
            # Those above it are for everyone to pass through.
            f"test -d {shlex.quote(folder)} || ( umask 022; mkdir -p -m 0700 -- {shlex.quote(folder)} )",
            f"rm -rf -- {stage}",
            f"mkdir -- {stage}",
            f"trap {shlex.quote('rm -rf -- ' + stage)} EXIT",
            f"cd {stage}",
            f"printf '%s\\n' {shlex.quote(request)} > request",
            "openssl req -x509 -config request -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -sha256 "
            f"-days {VALID_DAYS} -keyout key -out certificate 2>errors || {{ cat errors >&2; exit 1; }}",
            "cat certificate key > both",
            f"mv -fT -- both {shlex.quote(path)}",
        ]
    )
