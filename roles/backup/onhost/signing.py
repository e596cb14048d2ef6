"""Signatures of sets' descriptions, by the host's own key and through OpenSSL."""

from __future__ import annotations

import base64
import hashlib
import re
import subprocess
import tempfile
from collections.abc import Sequence
from datetime import datetime
from pathlib import Path

from .settings import JobError

_CERTIFICATE = re.compile(r"-----BEGIN CERTIFICATE-----.*?-----END CERTIFICATE-----\n?", re.DOTALL)


def _run(words: Sequence[str], content: bytes | None = None) -> bytes:
    result = subprocess.run(["/usr/bin/openssl", *words], input=content, capture_output=True)
    if result.returncode:
        told = (result.stderr or result.stdout).decode("utf-8", "replace").strip().splitlines()
        raise JobError(f"openssl {words[0]}: {told[-1] if told else 'failed'}")
    return result.stdout


def sign(text: str, key: str) -> str:
    """Base64 of the signature over a text's bytes (SHA-256)."""
    return base64.b64encode(_run(["dgst", "-sha256", "-sign", key], text.encode())).decode()


def remember_roots(bundle: str, folder: Path) -> None:
    """Keep every root that this host has ever trusted: sets outlive a rotation of the authority."""
    folder.mkdir(0o755, parents=True, exist_ok=True)
    for certificate in _CERTIFICATE.findall(Path(bundle).read_text("ascii")):
        path = folder / f"{hashlib.sha256(certificate.encode()).hexdigest()}.pem"
        if not path.exists():
            path.write_text(certificate)


def judge(text: str, signature: str, certificate: str, roots: Sequence[Path], moment: datetime) -> dict[str, str]:
    """Who signed a text: ``uri`` and ``names`` of the certificate. Raises JobError where it does not hold.

    The certificate must have been valid at ``moment`` and lead to one of ``roots``; it may have ended since.
    """
    with tempfile.TemporaryDirectory(prefix="groundwork-signature-") as name:
        folder = Path(name)
        chain = _CERTIFICATE.findall(certificate)
        if not chain:
            raise JobError("the signature comes without a certificate")
        (folder / "leaf.pem").write_text(chain[0])
        (folder / "chain.pem").write_text("".join(chain[1:]))
        trusted = [found for path in roots for found in _CERTIFICATE.findall(path.read_text("ascii"))]
        (folder / "roots.pem").write_text("".join(dict.fromkeys(trusted)))
        (folder / "signature").write_bytes(base64.b64decode(signature))
        words = ["verify", "-attime", str(int(moment.timestamp())), "-CAfile", f"{folder}/roots.pem"]
        words += ["-untrusted", f"{folder}/chain.pem"] if len(chain) > 1 else []
        _run([*words, f"{folder}/leaf.pem"])
        (folder / "key.pem").write_bytes(_run(["x509", "-in", f"{folder}/leaf.pem", "-noout", "-pubkey"]))
        _run(["dgst", "-sha256", "-verify", f"{folder}/key.pem", "-signature", f"{folder}/signature"], text.encode())
        names = _run(["x509", "-in", f"{folder}/leaf.pem", "-noout", "-ext", "subjectAltName"]).decode()
    found = re.findall(r"(URI|DNS|IP Address):([^,\s]+)", names)
    return {
        "uri": next((value for kind, value in found if kind == "URI"), ""),
        "names": " ".join(value for kind, value in found if kind != "URI"),
    }
