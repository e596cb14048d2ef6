"""SSH keys of a lab: the one its hosts accept, and each host's own, known before the host first boots."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from groundwork.lab.state import LabSpec, LabState, write_atomically


@dataclass(frozen=True)
class KeyPair:
    """An ed25519 key pair in OpenSSH's formats."""

    private: str
    public: str


def ensure_key(path: Path, comment: str) -> KeyPair:
    """Return the key pair at ``path`` (and ``path.pub``), making it on first use; the files are private."""
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    if not path.exists():
        pair = _generate(comment)
        write_atomically(path, pair.private)
    private = path.read_text(encoding="ascii")
    key = serialization.load_ssh_private_key(private.encode(), password=None)
    public = f"{_public_text(key.public_key())} {comment}"
    public_file = path.with_name(f"{path.name}.pub")
    if not public_file.exists():
        write_atomically(public_file, public + "\n")
    return KeyPair(private, public)


def _generate(comment: str) -> KeyPair:
    key = Ed25519PrivateKey.generate()
    private = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.OpenSSH, serialization.NoEncryption()
    )
    return KeyPair(private.decode(), f"{_public_text(key.public_key())} {comment}")


def _public_text(key: object) -> str:
    encoded: bytes = key.public_bytes(  # type: ignore[attr-defined]
        serialization.Encoding.OpenSSH, serialization.PublicFormat.OpenSSH
    )
    return encoded.decode()


def ensure_host_keys(state: LabState, spec: LabSpec) -> dict[str, KeyPair]:
    """Return each host's own key and write ``known_hosts``, so that strict checking works from the first login."""
    pairs = {
        host.name: ensure_key(state.folder / "hosts" / host.name / "ssh_host_ed25519_key", host.name)
        for host in spec.hosts
    }
    lines = [f"{host.address} {' '.join(pairs[host.name].public.split()[:2])}\n" for host in spec.hosts]
    write_atomically(state.known_hosts_file, "".join(lines))
    return pairs
