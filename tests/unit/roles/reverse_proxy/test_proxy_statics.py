"""Static sites as archives: the digest is the host's, hidden files stay behind."""

from __future__ import annotations

import io
import subprocess
import tarfile
from pathlib import Path

import pytest

from groundwork.problems import ProblemError
from roles.reverse_proxy.facts import digest_command
from roles.reverse_proxy.statics import StaticSite, build_archive, read_static_site


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    site = tmp_path / "site"
    for name in ("index.html", "assets/app.js", "B.txt", "a b.txt", ".git/config", ".well-known/security.txt"):
        path = site / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f"content of {name}")
    return site


def unpack(archive: bytes, target: Path) -> None:
    with tarfile.open(fileobj=io.BytesIO(archive)) as tar:
        # Debian 12's Python 3.11.2 has no filters yet; what it unpacks here is the test's own.
        if hasattr(tarfile, "data_filter"):
            tar.extractall(target, filter="data")
        else:
            tar.extractall(target)


def read_times(site: StaticSite) -> dict[str, float]:
    with tarfile.open(fileobj=io.BytesIO(build_archive(site))) as tar:
        return {member.name: member.mtime for member in tar.getmembers()}


@pytest.mark.parametrize("path", ["/", "/app/"])
def test_the_hosts_digest_is_the_controllers(folder: Path, tmp_path: Path, path: str) -> None:
    site = read_static_site(folder, path, "key")
    target = tmp_path / "unpacked"
    unpack(build_archive(site), target)
    output = subprocess.run(["sh", "-c", digest_command(str(target))], capture_output=True, text=True, check=True)
    assert output.stdout.strip() == site.digest
    assert (target / path.strip("/") / "assets" / "app.js").is_file()
    (target / path.strip("/") / "index.html").write_text("changed")
    output = subprocess.run(["sh", "-c", digest_command(str(target))], capture_output=True, text=True, check=True)
    assert output.stdout.strip() != site.digest


def test_hidden_files_stay_behind(folder: Path) -> None:
    names = [name for name, _ in read_static_site(folder, "/", "key").files]
    assert ".well-known/security.txt" in names
    assert not [name for name in names if ".git" in name]


def test_the_archive_depends_on_the_content_alone(folder: Path) -> None:
    first = read_static_site(folder, "/", "key")
    (folder / "index.html").touch()
    again = read_static_site(folder, "/", "key")
    assert again.digest == first.digest
    times = read_times(again)
    (folder / "index.html").write_text("CONTENT of index.html")
    changed = read_static_site(folder, "/", "key")
    assert changed.digest != first.digest
    after = read_times(changed)
    # Time and size make nginx's ETag; the size is the same here.
    assert [name for name in times if times[name] != after[name]] == ["./index.html"]


def test_links_out_of_the_folder_are_refused(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "secret").write_text("secret")
    (folder / "link.txt").symlink_to(tmp_path / "secret")
    (folder / "inside.txt").symlink_to(folder / "index.html")
    with pytest.raises(ProblemError) as caught:
        read_static_site(folder, "/", "exposure.web")
    assert [problem.given for problem in caught.value.problems] == ["link.txt"]
