"""Unpacking on a host: whole or not at all, and nothing that could lead out of the folder."""

from __future__ import annotations

import hashlib
import io
import stat
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

import pytest

from groundwork.artifacts.onhost import unpack
from groundwork.artifacts.onhost.unpack import ArchiveError, install


def make_tar(path: Path, *members: tarfile.TarInfo | tuple[str, bytes], mode: int = 0o755) -> str:
    with tarfile.open(path, "w:gz") as archive:
        for one in members:
            if isinstance(one, tarfile.TarInfo):
                archive.addfile(one)
                continue
            info = tarfile.TarInfo(one[0])
            info.size, info.mode = len(one[1]), mode
            archive.addfile(info, io.BytesIO(one[1]))
    return hashlib.sha256(path.read_bytes()).hexdigest()


def make_link(name: str, target: str, kind: bytes) -> tarfile.TarInfo:
    info = tarfile.TarInfo(name)
    info.type, info.linkname = kind, target
    return info


def names(folder: Path) -> set[str]:
    return {str(path.relative_to(folder)) for path in folder.rglob("*") if not path.is_dir()}


def test_unpacks_and_points_at_it(tmp_path: Path) -> None:
    archive, dest, link = tmp_path / "a.tar.gz", tmp_path / "vendor/2.0", tmp_path / "vendor/current"
    digest = make_tar(archive, ("tool/bin/tool", b"#!/bin/sh\necho works\n"), mode=0o4755)
    command = [sys.executable, "-I", unpack.__file__, str(archive), digest, str(dest), str(link)]
    for _ in range(2):
        assert subprocess.run(command, check=True, capture_output=True).stderr == b""
    assert subprocess.run([link / "tool/bin/tool"], check=True, capture_output=True).stdout == b"works\n"
    assert stat.S_IMODE((dest / "tool/bin/tool").stat().st_mode) == 0o755
    assert {path.name for path in dest.parent.iterdir()} == {"2.0", "current"}


def test_a_wrong_digest_changes_nothing(tmp_path: Path) -> None:
    archive = tmp_path / "a.tar.gz"
    make_tar(archive, ("tool", b"x"))
    with pytest.raises(ArchiveError, match="must have 0000"):
        install(archive, "0" * 64, tmp_path / "vendor/1", tmp_path / "vendor/current")
    assert not (tmp_path / "vendor").exists()


@pytest.mark.parametrize(
    "member",
    [
        ("../escaped", b"x"),
        ("a/../../escaped", b"x"),
        ("/etc/escaped", b"x"),
        ("a\\..\\escaped", b"x"),
        make_link("link", "/etc", tarfile.SYMTYPE),
        make_link("link", "inside", tarfile.SYMTYPE),
        make_link("link", "/etc/passwd", tarfile.LNKTYPE),
        make_link("pipe", "", tarfile.FIFOTYPE),
        make_link("device", "", tarfile.CHRTYPE),
        ("first", b"again"),
        ("first/below", b"x"),
    ],
)
def test_what_could_lead_out_is_refused_and_leaves_nothing(
    tmp_path: Path, member: tarfile.TarInfo | tuple[str, bytes]
) -> None:
    good, bad = tmp_path / "good.tar.gz", tmp_path / "bad.tar.gz"
    vendor, link = tmp_path / "vendor", tmp_path / "vendor/current"
    install(good, make_tar(good, ("tool", b"1")), vendor / "1", link)
    digest = make_tar(bad, ("first", b"x"), member)
    with pytest.raises(ArchiveError):
        install(bad, digest, vendor / "2", link)
    assert {path.name for path in vendor.iterdir()} == {"1", "current"}
    assert (link / "tool").read_bytes() == b"1"
    assert not (tmp_path / "escaped").exists()


def test_a_link_that_a_later_member_goes_through_is_refused(tmp_path: Path) -> None:
    archive, outside = tmp_path / "a.tar.gz", tmp_path / "outside"
    outside.mkdir()
    digest = make_tar(archive, make_link("door", str(outside), tarfile.SYMTYPE), ("door/file", b"x"))
    with pytest.raises(ArchiveError, match="door: is a link"):
        install(archive, digest, tmp_path / "vendor/1", None)
    assert list(outside.iterdir()) == []


def test_zip_archives(tmp_path: Path) -> None:
    archive = tmp_path / "a.zip"
    tool = zipfile.ZipInfo("tool/run")
    tool.external_attr = (stat.S_IFREG | 0o755) << 16
    with zipfile.ZipFile(archive, "w") as opened:
        opened.writestr(tool, "x")
        opened.writestr("tool/README", "y")
    install(archive, hashlib.sha256(archive.read_bytes()).hexdigest(), tmp_path / "1", None)
    assert names(tmp_path / "1") == {"tool/run", "tool/README"}
    assert [stat.S_IMODE((tmp_path / "1/tool" / name).stat().st_mode) for name in ("run", "README")] == [0o755, 0o644]
    link = zipfile.ZipInfo("door")
    link.external_attr = (stat.S_IFLNK | 0o777) << 16
    for name in (link, zipfile.ZipInfo("../escaped")):
        with zipfile.ZipFile(archive, "w") as opened:
            opened.writestr(name, "/etc")
        with pytest.raises(ArchiveError):
            install(archive, hashlib.sha256(archive.read_bytes()).hexdigest(), tmp_path / "2", None)
    assert not (tmp_path / "2").exists() and not (tmp_path / "escaped").exists()


def test_half_an_archive_leaves_nothing(tmp_path: Path) -> None:
    archive = tmp_path / "a.tar.gz"
    make_tar(archive, ("tool", bytes(range(256)) * 4000))
    archive.write_bytes(archive.read_bytes()[:-1500])
    with pytest.raises(ArchiveError, match="cannot be unpacked"):
        install(archive, hashlib.sha256(archive.read_bytes()).hexdigest(), tmp_path / "vendor/1", None)
    archive.write_bytes(b"no archive")
    with pytest.raises(ArchiveError, match="cannot be unpacked"):
        install(archive, hashlib.sha256(b"no archive").hexdigest(), tmp_path / "vendor/1", None)
    assert list((tmp_path / "vendor").iterdir()) == []


def test_too_much_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    archive = tmp_path / "a.tar.gz"
    digest = make_tar(archive, ("one", b"x" * 600), ("two", b"x" * 600))
    monkeypatch.setattr(unpack, "MOST_BYTES", 1000)
    with pytest.raises(ArchiveError, match="unpacks to more"):
        install(archive, digest, tmp_path / "vendor/1", None)
    monkeypatch.setattr(unpack, "MOST_BYTES", 10_000)
    monkeypatch.setattr(unpack, "MOST_MEMBERS", 1)
    with pytest.raises(ArchiveError, match="unpacks to more"):
        install(archive, digest, tmp_path / "vendor/1", None)


def test_what_a_killed_run_left_is_swept_and_the_former_version_stays(tmp_path: Path) -> None:
    vendor, link = tmp_path / "vendor", tmp_path / "vendor/current"
    (vendor / ".partial-2").mkdir(parents=True)
    (vendor / ".partial-2/half").write_text("x")
    for version in ("1", "2", "3", "4"):
        archive = tmp_path / f"{version}.tar.gz"
        install(archive, make_tar(archive, ("tool", version.encode())), vendor / version, link)
    assert {path.name for path in vendor.iterdir()} == {"3", "4", "current"}
    assert (link / "tool").read_bytes() == b"4"
    back = tmp_path / "3.tar.gz"
    install(back, hashlib.sha256(back.read_bytes()).hexdigest(), vendor / "3", link)
    assert (link / "tool").read_bytes() == b"3"
