"""Which identities a host has, and the scripts that make their keys and put their certificates in place. Pure."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterable, Sequence

from groundwork.authority import paths
from groundwork.authority.installed import CERTIFICATE_MODE, KEY_MODE
from groundwork.authority.store import Signed
from groundwork.operations.ledger_items import Item
from groundwork.problems import Problem, ProblemError
from groundwork.topology.accounts import SystemUser
from groundwork.topology.model import Identity, Topology

# What may stand in the configuration of a request, where $, commas, blanks and line ends have a meaning.
_SAFE = re.compile(r"[A-Za-z0-9*][A-Za-z0-9._:/@*-]*")
_UNIT = re.compile(r"[A-Za-z0-9][A-Za-z0-9._@-]*")
KEPT = 2
"""Folders of certificates that stay: the one in use and the one before."""


def list_identities(topology: Topology, host: str) -> tuple[Identity, ...]:
    """Return the identities of one host.

    Raises ProblemError for names that no certificate request can hold.
    """
    found = tuple(identity for identity in topology.identities if identity.host == host)
    problems: list[Problem] = []
    for identity in found:
        if not _UNIT.fullmatch(identity.unit):
            problems.append(Problem("cannot be the name of a unit's folder", key=host, given=identity.unit))
        # Addresses are written by Python's ipaddress and hold nothing else.
        for name in (identity.account, identity.uri, *identity.dns_names):
            if not _SAFE.fullmatch(name):
                problems.append(Problem("cannot be named in a certificate", key=f"{host}: {identity.unit}", given=name))
        if len(identity.account) > 64:
            told = Problem("is too long for a certificate", key=host, given=identity.account, allowed="64 characters")
            problems.append(told)
    if problems:
        raise ProblemError(problems)
    return found


def list_owners(identities: Iterable[Identity]) -> tuple[SystemUser, ...]:
    """Return the users that own the keys, each once, without root."""
    return tuple(dict.fromkeys(one.owner for one in identities if one.owner.name != "root"))


def list_items(platform: str, identities: Iterable[Identity]) -> list[Item]:
    """Everything the role puts on a host, in the order in which it does."""
    items = [Item("directory", paths.authority_folder(platform))]
    return items + [Item("directory", paths.identity_folder(platform, one.unit)) for one in identities]


def build_requests(platform: str, identities: Sequence[Identity]) -> str:
    """A POSIX shell script by which a host makes a fresh key and a request for each of its identities.

    Keys are made where they stay; only requests are read from there. What an earlier run left half done is
    thrown away.
    """
    lines = [
        "make() {",
        '  ( umask 022; mkdir -p -- "$1" )',
        '  rm -rf -- "$1/.new"',
        '  mkdir -- "$1/.new"',
        '  cat > "$1/.new/request.conf"',
        "  openssl genpkey -algorithm EC -pkeyopt ec_paramgen_curve:P-256"
        ' -out "$1/.new/key.pem" </dev/null 2>"$1/.new/errors" || { cat "$1/.new/errors" >&2; exit 1; }',
        '  openssl req -new -sha256 -config "$1/.new/request.conf" -key "$1/.new/key.pem"'
        ' -out "$1/.new/request.pem" </dev/null 2>"$1/.new/errors" || { cat "$1/.new/errors" >&2; exit 1; }',
        "}",
    ]
    for identity in identities:
        folder = shlex.quote(paths.identity_folder(platform, identity.unit))
        lines += [f"make {folder} <<'END'", *_configure_request(identity), "END"]
    return _wrap(lines)


def _configure_request(identity: Identity) -> list[str]:
    names = [f"DNS:{name}" for name in identity.dns_names] + [f"IP:{address}" for address in identity.ip_addresses]
    return [
        "[req]",
        "prompt = no",
        "utf8 = yes",
        "distinguished_name = subject",
        "req_extensions = names",
        "[subject]",
        f"CN = {identity.account}",
        "[names]",
        f"subjectAltName = {','.join([*names, f'URI:{identity.uri}'])}",
    ]


def build_installation(platform: str, signed: Sequence[Signed]) -> str:
    """A POSIX shell script that puts certificates beside the keys they were asked for with, and swaps them in.

    Key and certificate come into use together, by the rename of one link. A certificate that does not fit the
    waiting key is refused, and whatever ends the script, what was in use stays in use.
    """
    lines = [
        "install() {",
        '  stage=$1/.new; cat > "$stage/certificate.pem"',
        '  public=$(openssl x509 -in "$stage/certificate.pem" -noout -pubkey)',
        '  test -n "$public" && test "$public" = "$(openssl pkey -in "$stage/key.pem" -pubout)" ||'
        ' { echo "the certificate does not fit the key in $stage" >&2; exit 1; }',
        '  rm -f -- "$stage/request.pem" "$stage/request.conf" "$stage/errors"',
        '  chown "$3" -- "$stage/key.pem" "$stage/certificate.pem"',
        f'  chmod 0{KEY_MODE} -- "$stage/key.pem"',
        f'  chmod 0{CERTIFICATE_MODE} -- "$stage/certificate.pem"',
        '  chmod 0755 -- "$stage"',
        '  sync "$stage/key.pem" "$stage/certificate.pem"',
        '  before=$(readlink -- "$1/current" || true)',
        '  mv -T -- "$stage" "$1/$2"',
        '  ln -sfn -- "$2" "$1/.current"',
        '  mv -fT -- "$1/.current" "$1/current"',
        '  for old in "$1"/*; do',
        '    case ${old##*/} in current|"$2"|"$before") ;; *) rm -rf -- "$old" ;; esac',
        "  done",
        "}",
    ]
    for one in signed:
        folder = shlex.quote(paths.identity_folder(platform, one.identity.unit))
        owner = f"{one.identity.owner.name}:{one.identity.owner.name}"
        lines.append(f"install {folder} {one.serial} {shlex.quote(owner)} <<'END'")
        lines += [*one.chain.decode("ascii").splitlines(), "END"]
    return _wrap(lines)


def build_mending(platform: str, identities: Iterable[Identity]) -> str:
    """A POSIX shell script that gives keys and certificates their owners and modes back."""
    lines: list[str] = []
    for identity in identities:
        key = shlex.quote(paths.key(platform, identity.unit))
        certificate = shlex.quote(paths.certificate(platform, identity.unit))
        owner = shlex.quote(f"{identity.owner.name}:{identity.owner.name}")
        lines.append(f"chown {owner} -- {key} {certificate}")
        lines.append(f"chmod 0{KEY_MODE} -- {key} && chmod 0{CERTIFICATE_MODE} -- {certificate}")
    return _wrap(lines)


def _wrap(lines: Iterable[str]) -> str:
    # In a function, so that nothing of a script runs of which only a part arrives.
    return "\n".join(["set -eu", "umask 077", "main() {", *lines, "}", "main", ""])
