"""Every identity of a host has a key of its own and a certificate that OpenSSL accepts for exactly its names."""

from __future__ import annotations

import re
import shlex
from datetime import UTC, datetime
from ipaddress import ip_address

import pytest
from testinfra.host import Host

from groundwork.authority.requests import check_request
from groundwork.problems import ProblemError
from groundwork.site import Site
from groundwork.topology.model import Identity


@pytest.fixture
def identities(site: Site, host_name: str) -> list[Identity]:
    return [identity for identity in site.topology.identities if identity.host == host_name]


@pytest.fixture
def root(site: Site) -> str:
    return f"/etc/groundwork/{site.platform.platform}"


def folder(root: str, identity: Identity) -> str:
    return f"{root}/certificates/{identity.unit}/current"


def every(host: Host, identities: list[Identity], root: str, command: str) -> dict[str, list[str]]:
    """Run a command in each identity's folder, all over one connection; what it printed, by unit."""
    folders = [folder(root, identity) for identity in identities]
    script = f'for folder in {shlex.join(folders)}; do echo "## $folder"; cd "$folder" && {command}; done'
    found: dict[str, list[str]] = {}
    for line in host.check_output("sh -c %s", script).splitlines():
        if line.startswith("## "):
            lines = found.setdefault(line.split("/")[-2], [])
        else:
            lines.append(line.strip())
    return found


def test_chains_end_at_the_bundle_and_nothing_is_revoked(host: Host, identities: list[Identity], root: str) -> None:
    trust = f"-CAfile {root}/authority/bundle.pem -CRLfile {root}/authority/crl.pem -crl_check_all"
    options = f"{trust} -no-CApath -no-CAstore -x509_strict -untrusted certificate.pem certificate.pem 2>&1"
    for purpose in ("sslserver", "sslclient"):
        found = every(host, identities, root, f"openssl verify -purpose {purpose} {options}")
        assert found == {identity.unit: ["certificate.pem: OK"] for identity in identities}


def test_names_are_exactly_the_units(host: Host, identities: list[Identity], root: str, site: Site) -> None:
    command = "openssl x509 -in certificate.pem -noout -subject -nameopt RFC2253 -ext subjectAltName"
    found = every(host, identities, root, command)
    for identity in identities:
        subject, _, names = found[identity.unit]
        assert subject == f"subject=CN={identity.account}"
        expected = {f"DNS:{name}" for name in identity.dns_names} | {f"URI:{identity.uri}"}
        expected |= {f"IP Address:{_written_out(address)}" for address in identity.ip_addresses}
        assert set(names.split(", ")) == expected
        assert identity.uri == f"spiffe://{site.environment}/{site.platform.platform}/{identity.unit}"


def _written_out(address: str) -> str:
    parsed = ip_address(address)
    if parsed.version == 4:
        return str(parsed)
    return ":".join(part.lstrip("0").upper() or "0" for part in parsed.exploded.split(":"))


def test_keys_fit_and_are_their_owners_alone(host: Host, identities: list[Identity], root: str) -> None:
    command = (
        "openssl x509 -in certificate.pem -noout -pubkey | sha256sum; openssl pkey -in key.pem -pubout | sha256sum; "
        "stat -c '%U %G %a %F' key.pem certificate.pem; openssl pkey -in key.pem -noout -text | grep NIST; ls -A"
    )
    found = every(host, identities, root, command)
    keys = set()
    for identity in identities:
        public, private, key, certificate, curve, *files = found[identity.unit]
        assert public == private
        owner = identity.owner.name
        assert (key, certificate) == (f"{owner} {owner} 400 regular file", f"{owner} {owner} 444 regular file")
        assert curve == "NIST CURVE: P-256"
        assert files == ["certificate.pem", "key.pem"]
        keys.add(public)
    assert len(keys) == len(identities)


def test_other_users_cannot_read_keys_and_owners_can(host: Host, identities: list[Identity], root: str) -> None:
    for identity in identities:
        path = f"{folder(root, identity)}/key.pem"
        assert host.run(f"runuser -u nobody -- test -r {path}").rc == 1
        assert host.run(f"runuser -u nobody -- test -r {folder(root, identity)}/certificate.pem").rc == 0
        assert host.run(f"runuser -u {identity.owner.name} -- test -r {path}").rc == 0


def test_leaves_are_short_lived_and_cannot_sign(host: Host, identities: list[Identity], root: str) -> None:
    command = (
        "openssl x509 -in certificate.pem -noout -startdate -enddate; openssl x509 -in certificate.pem -noout -text | "
        "grep -A1 -E 'Basic Constraints|Key Usage' | grep -v -e '^--' -e X509v3"
    )
    found = every(host, identities, root, command)
    now = datetime.now(UTC)
    for identity in identities:
        start, end, *rest = found[identity.unit]
        starts, ends = (_read_time(line) for line in (start, end))
        assert starts < now < ends
        assert (ends - starts).days == 30
        assert (now - starts) < (ends - starts) * 2 / 3
        assert rest == ["CA:FALSE", "Digital Signature", "TLS Web Server Authentication, TLS Web Client Authentication"]


def _read_time(line: str) -> datetime:
    return datetime.strptime(line.partition("=")[2], "%b %d %H:%M:%S %Y GMT").replace(tzinfo=UTC)


def test_trust_is_for_everybody_to_read_and_for_nobody_to_change(host: Host, root: str) -> None:
    for name in ("bundle.pem", "crl.pem"):
        file = host.file(f"{root}/authority/{name}")
        assert (file.user, file.group, file.mode) == ("root", "root", 0o444)
    text = host.check_output(
        "openssl crl2pkcs7 -nocrl -certfile %s/authority/bundle.pem | openssl pkcs7 -print_certs", root
    )
    subjects, issuers = re.findall(r"^subject=(.*)$", text, re.M), re.findall(r"^issuer=(.*)$", text, re.M)
    assert subjects == issuers != []


def test_the_authoritys_keys_are_not_here(host: Host, site: Site, root: str) -> None:
    publics = set()
    for name in site.authority.state.trusted:
        for label in ("root", "intermediate"):
            path = site.authority.folder / name / f"{label}.pem"
            publics.add(path.read_bytes())
    assert len(publics) == 2 * len(site.authority.state.trusted)
    found = host.check_output("find %s -name '*.age' -o -name '*.new' -o -name request.pem", root)
    assert found == ""
    keys = host.check_output("grep -rlE 'PRIVATE KEY' %s/certificates %s/authority", root, root).splitlines()
    assert [path for path in keys if not path.endswith("/key.pem")] == []


def test_requests_for_foreign_names_are_refused(host: Host, identities: list[Identity], site: Site) -> None:
    """What a host that was broken into would try: its own key and subject, and one name that is another's."""
    names = {name for other in site.topology.identities for name in (*other.dns_names, other.uri)}
    for identity in identities:
        own = {f"DNS:{name}" for name in identity.dns_names} | {f"IP:{address}" for address in identity.ip_addresses}
        own |= {f"URI:{identity.uri}"}
        stranger = min(names - {*identity.dns_names, identity.uri}, default="stranger")
        foreign = f"URI:{stranger}" if stranger.startswith("spiffe:") else f"DNS:{stranger}"
        for asked, refused in ((own, ""), (own | {foreign}, stranger), (own - {f"URI:{identity.uri}"}, identity.uri)):
            pem = make_request(host, identity, asked)
            if refused:
                with pytest.raises(ProblemError, match=re.escape(refused)):
                    check_request(pem, identity)
            else:
                # It is the name that is refused, not the request.
                check_request(pem, identity)


def make_request(host: Host, identity: Identity, names: set[str]) -> bytes:
    """A certificate request with these names and a key of the moment, which goes nowhere."""
    options = f"-newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -keyout /dev/null -subj /CN={identity.account}"
    command = f"openssl req -new {options} -addext %s 2>/dev/null"
    return str(host.check_output(command, f"subjectAltName={','.join(sorted(names))}")).encode()


def test_at_most_two_certificates_are_kept_and_no_foreign_identity(
    host: Host, identities: list[Identity], root: str
) -> None:
    units = host.check_output("ls -A %s/certificates", root).splitlines()
    assert sorted(units) == sorted(identity.unit for identity in identities)
    counted = every(host, identities, root, "ls -A .. | grep -cv '^current$'")
    assert all(1 <= int(lines[0]) <= 2 for lines in counted.values())
