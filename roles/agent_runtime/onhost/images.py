"""Images, made on the host without a registry, or pulled by their digest."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Sequence
from pathlib import Path

from .layout import Layout
from .releases import MARKER, InstallError

LABEL = "groundwork.platform"
KEYRING = "debian-archive-keyring"
_SKIPPED = ("/usr/share/doc/*", "/usr/share/man/*", "/usr/share/locale/*", "/usr/share/info/*")


def build_base(root: Path, tag: str, packages: Sequence[str]) -> None:
    """Make an image of the host's own Debian release, with nothing but ``packages`` and what they need.

    It comes from where the host's packages come from. Raises InstallError with the last lines of mmdebstrap.
    """
    release = dict(
        line.strip().partition("=")[::2] for line in (root / "etc/os-release").read_text("utf-8").splitlines()
    )
    options = [f"--include={','.join(packages)}", "--aptopt=Acquire::Languages none"]
    options += [f"--dpkgopt=path-exclude={pattern}" for pattern in _SKIPPED]
    options += [f"--aptopt=Acquire::http::Proxy {proxy}" for proxy in [_read_proxy()] if proxy]
    codename = release["VERSION_CODENAME"].strip('"')
    # In mounts of its own: mmdebstrap makes all mounts private where it runs, and then no service that starts later
    # would be given its credentials, until the host boots.
    command = ["unshare", "--mount", "mmdebstrap", "--quiet", "--mode=root"]
    command += ["--variant=essential", *options, codename, "-"]
    command += list_sources(root)
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=_environ()) as maker:
        imported = subprocess.run(
            ["docker", "import", "--change", f"LABEL {LABEL}=", "-", f"{tag}.new"],
            stdin=maker.stdout,
            capture_output=True,
            text=True,
            env=_environ(),
        )
        told = (maker.stderr.read() if maker.stderr else b"").decode(errors="replace")
    if maker.returncode != 0 or imported.returncode != 0:
        _docker("image", "rm", f"{tag}.new", check=False)
        raise InstallError(f"the base image cannot be made: {(told or imported.stderr).strip()[-1500:]}")
    # Half an archive can be imported as well: the name comes when both have ended well.
    _docker("tag", f"{tag}.new", tag)
    _docker("image", "rm", f"{tag}.new")


def list_sources(root: Path) -> list[str]:
    """The files of the host's package sources that are Debian's own."""
    folder = root / "etc/apt"
    found = [folder / "sources.list", *sorted((folder / "sources.list.d").glob("*"))]
    texts = {path: path.read_text("utf-8") for path in found if path.suffix in (".list", ".sources") and path.is_file()}
    return [
        str(p) for p, text in texts.items() if KEYRING in text or (text.strip() and p.stem in ("sources", "debian"))
    ]


def _read_proxy() -> str:
    done = subprocess.run(
        ["apt-config", "dump", "--format", "%v%n", "Acquire::http::Proxy"], capture_output=True, text=True
    )
    return done.stdout.strip()


def build_release(layout: Layout, tag: str, base: str, release: str) -> None:
    """Make an image of an installed release on ``base``; its paths are those of the host. Raises InstallError."""
    folder = layout.releases / release
    if not (folder / MARKER).is_file():
        raise InstallError(f"release {release} is not installed")
    recipe = [
        f"FROM {base}",
        f"COPY . {folder}",
        f"LABEL {LABEL}={json.dumps(layout.platform)} groundwork.release={json.dumps(release)}",
        f"ENV PATH={folder}/bin:/usr/sbin:/usr/bin:/sbin:/bin",
    ]
    _build(["--file", "-", str(folder)], tag, "\n".join(recipe).encode())


def build_folder(layout: Layout, tag: str, archive: Path) -> None:
    """Make an image from an archive of a folder with a Dockerfile. Raises InstallError."""
    try:
        _build(["--label", f"{LABEL}={layout.platform}", "-"], tag, archive.read_bytes())
    finally:
        archive.unlink(missing_ok=True)


def _build(arguments: list[str], tag: str, content: bytes) -> None:
    # The classic builder is in both Debian releases; the other one is a package of its own, in one of them.
    environ = {**_environ(), "DOCKER_BUILDKIT": "0"}
    command = ["docker", "build", "--quiet", "--force-rm", "--tag", tag, *arguments]
    done = subprocess.run(command, input=content, capture_output=True, env=environ)
    if done.returncode != 0:
        told = (done.stderr or done.stdout).decode(errors="replace").strip()[-1500:]
        raise InstallError(f"the image {tag} cannot be built: {told}")


def pull_image(image: str, key: str, tag: str) -> None:
    """Pull an image by its digest, once ``key`` (a file; empty for none) has been found to have signed it.

    ``tag`` is set at last; it says that this image was accepted with this key. Raises InstallError.
    """
    if key:
        # The key is the platform's own; whether the signature is in a public log says nothing about it.
        command = ["cosign", "verify", "--key", key, "--insecure-ignore-tlog=true", image]
        done = subprocess.run(command, capture_output=True, text=True, env=_environ())
        if done.returncode != 0:
            raise InstallError(f"no valid signature of {image}: {done.stderr.strip()[-1000:]}")
    _docker("pull", "--quiet", image)
    _docker("tag", image, tag)


def _docker(*arguments: str, check: bool = True) -> str:
    done = subprocess.run(["docker", *arguments], capture_output=True, text=True, env=_environ())
    if check and done.returncode != 0:
        raise InstallError(f"docker {' '.join(arguments[:2])}: {done.stderr.strip()[-1000:]}")
    return done.stdout


def _environ() -> dict[str, str]:
    # HOME has the logins to registries that root was given (~/.docker/config.json).
    path = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
    return {"PATH": path, "LC_ALL": "C.UTF-8", "HOME": "/root", **_proxies()}


def _proxies() -> dict[str, str]:
    return {key: value for key, value in os.environ.items() if key.lower() in ("http_proxy", "https_proxy", "no_proxy")}
