"""The lock file, key files, versions, and what hosts are told about a repository."""

from __future__ import annotations

import base64
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from groundwork.artifacts.debian_version import compare_versions, is_release
from groundwork.artifacts.lock import load_lock
from groundwork.artifacts.openpgp import armour, dearmour, list_fingerprints
from groundwork.facts.vendor_packages import PackageOrigin, PackageOrigins
from groundwork.operations.rendering import render_template
from groundwork.operations.vendor_packages import _choose_version
from groundwork.problems import ProblemError

ROOT = Path(__file__).resolve().parents[3]
GOOD: dict[str, Any] = {
    "uri": "https://apt.example.org/deb",
    "key": "https://apt.example.org/key.asc",
    "fingerprints": ["798A EC65 4E5C 1542 8C8E 42EE AA16 FCBC A621 E701"],
    "packages": ["tool"],
}


def problems(folder: Path, **content: object) -> list[str]:
    (folder / "artifacts.lock").write_text(yaml.safe_dump(content))
    with pytest.raises(ProblemError) as error:
        load_lock(folder)
    assert all(problem.file == "artifacts.lock" and problem.line for problem in error.value.problems)
    return [f"{problem.key}: {problem.message}" for problem in error.value.problems]


def test_the_projects_own_file_is_valid_and_names_consul(tmp_path: Path) -> None:
    for root in (ROOT, tmp_path):
        found = load_lock(root).repository_of("consul")
        assert found is not None and found[0] == "hashicorp"


def test_fingerprints_may_be_printed_in_groups(tmp_path: Path) -> None:
    (tmp_path / "artifacts.lock").write_text(yaml.safe_dump({"repositories": {"one": GOOD}}))
    lock = load_lock(tmp_path)
    assert lock.repositories["one"].fingerprints == ["798AEC654E5C15428C8E42EEAA16FCBCA621E701"]
    assert lock.repositories["one"].index_path("trixie") == "dists/trixie/"


@pytest.mark.parametrize(
    ("change", "key"),
    [
        ({"fingerprints": ["A621E701"]}, "fingerprints"),
        ({"fingerprints": []}, "fingerprints"),
        ({"uri": "ftp://example.org"}, "uri"),
        ({"uri": "https://example.org/ evil"}, "uri"),
        ({"suite": "../up"}, "suite"),
        ({"suite": "a\nTrusted: yes"}, "suite"),
        ({"components": ["main contrib"]}, "components.0"),
        ({"packages": ["Tool*"]}, "packages.0"),
        ({"trusted": True}, "trusted"),
    ],
)
def test_mistakes_are_named(tmp_path: Path, change: dict[str, object], key: str) -> None:
    (found,) = problems(tmp_path, repositories={"one": {**GOOD, **change}})
    assert found.startswith(f"repositories.one.{key}: ")


def test_a_package_has_one_source(tmp_path: Path) -> None:
    found = problems(tmp_path, repositories={"one": GOOD, "two": GOOD})
    assert found == ["repositories.two.packages: comes from one already; a package has one source"]


def test_archives_are_pinned_with_a_whole_digest(tmp_path: Path) -> None:
    archive = {"version": "1.0", "url": "https://example.org/a-{version}.tar.gz", "sha256": {"amd64": "12"}}
    whole = {**archive, "sha256": {"amd64": "0" * 64}}
    for wrong in (archive, {**whole, "url": "https://e/a"}, {**archive, "sha256": {"riscv": "0" * 64}}):
        assert len(problems(tmp_path, archives={"one": wrong})) == 1


def test_fingerprints_are_those_that_gpg_sees(keyring: Any) -> None:
    made = [keyring.make("vendor"), keyring.make("rsa-like")]
    both = keyring.gpg("--armor", "--export", *made)
    assert sorted(list_fingerprints(both)) == sorted(made)
    assert list_fingerprints(keyring.gpg("--export", made[0])) == [made[0]]
    again = armour(keyring.export(made[1]))
    assert list_fingerprints(again.encode()) == [made[1]]
    shown = subprocess.run(
        ["gpg", "--homedir", str(keyring.home), "--show-keys", "--with-colons"],
        input=again.encode(),
        capture_output=True,
        check=True,
    )
    assert f"fpr:::::::::{made[1]}:".encode() in shown.stdout


def test_debians_own_keys_are_read(tmp_path: Path) -> None:
    folder = Path("/usr/share/keyrings")
    files = [*folder.glob("debian-archive-*.gpg")]
    if not files or shutil.which("gpg") is None:
        pytest.skip("no key files or no gpg here")
    for file in files[:3]:
        command = ["gpg", "--no-options", "--homedir", str(tmp_path), "--show-keys", "--with-colons", str(file)]
        shown = subprocess.run(command, capture_output=True, text=True, check=False).stdout
        primary = [part.partition("\nsub:")[0] for part in ("\n" + shown).split("\npub:")[1:]]
        expected = [re.findall(r"^fpr:+([0-9A-F]+):", part, re.MULTILINE)[0] for part in primary]
        assert expected and list_fingerprints(file.read_bytes()) == expected


def test_what_is_no_public_key_is_refused(keyring: Any) -> None:
    key = keyring.export(keyring.make("vendor"))
    whole = dearmour(key)
    secret = keyring.gpg("--armor", "--export-secret-keys", keyring.make("vendor"))
    for content in (b"", b"<html>not found</html>", whole[:-3], key.replace(b"\n", b"\n!", 5), secret, whole + b"x"):
        with pytest.raises(ValueError):
            list_fingerprints(content)
    for version in (3, 5):
        body = bytes([version]) + b"x" * 20
        with pytest.raises(ValueError, match=f"version {version}"):
            list_fingerprints(bytes([0xC6, len(body)]) + body)
    partial = base64.b64encode(bytes([0xC6, 0xE1, 4, 4]))
    block = b"-----BEGIN PGP PUBLIC KEY BLOCK-----\n\n" + partial + b"\n-----END PGP PUBLIC KEY BLOCK-----\n"
    with pytest.raises(ValueError, match="partial"):
        list_fingerprints(block)


def test_versions_are_ordered_as_dpkg_does() -> None:
    if shutil.which("dpkg") is None:
        pytest.skip("no dpkg here")
    versions = [
        "1.0",
        "1.0-1",
        "1.0~rc1",
        "1.0~rc1-2",
        "1:0.5",
        "1.10",
        "1.9",
        "1.0+dfsg-1",
        "1.0a",
        "2.17.0-1",
        "1.0-1~bpo1",
    ]
    for left in versions:
        for right in versions:
            sign = {-1: "lt", 0: "eq", 1: "gt"}[compare_versions(left, right)]
            command = ["dpkg", "--compare-versions", left, sign, right]
            assert subprocess.run(command, check=False).returncode == 0, command


def test_a_release_is_not_another_that_begins_alike() -> None:
    assert [is_release(one, "1.20.1") for one in ("1.20.1", "1.20.1-1", "1:1.20.1+x-2", "1.20.10-1", "1.20")] == [
        True, True, True, False, False,
    ]  # fmt: skip


MADISON = """
    consul | 2.4.7-1 | http://deb.example.org/debian trixie/main amd64 Packages
    consul | 1.20.10-1 | http://mirror.example.org/hashicorp stable/main amd64 Packages
    consul | 1.20.1-1 | http://mirror.example.org/hashicorp stable/main amd64 Packages
"""


@pytest.mark.parametrize("wanted", ["", "1.20.1", "1.20.1-1", "1.2", "2.4.7"])
def test_only_versions_of_the_vendors_source_are_chosen(tmp_path: Path, wanted: str) -> None:
    (tmp_path / "apt-cache").write_text(f"#!/bin/sh\ncat <<'END'{MADISON}END\n")
    (tmp_path / "apt-cache").chmod(0o755)
    script = f'{_choose_version("consul", wanted, "http://mirror.example.org/hashicorp/")}; echo "$chosen"'
    environment = {"PATH": f"{tmp_path}:/usr/bin:/bin"}
    done = subprocess.run(["sh", "-c", script], capture_output=True, text=True, env=environment, check=False)
    expected = {"": "1.20.10-1\n", "1.20.1": "1.20.1-1\n", "1.20.1-1": "1.20.1-1\n"}.get(wanted, "")
    assert done.stdout == expected
    assert done.returncode == (0 if expected else 1)
    assert bool(done.stderr) is not bool(expected)


def test_where_the_installed_version_is_offered() -> None:
    text = """consul:
  Installed: 2.4.7
  Candidate: 1.20.1-1
  Version table:
 *** 2.4.7 -1
        500 http://deb.example.org/debian trixie/main amd64 Packages
        100 /var/lib/dpkg/status
     1.20.1-1 1001
         -1 http://mirror.example.org/hashicorp stable/main amd64 Packages
other:
  Installed: 1.0
  Version table:
 *** 1.0 100
        100 /var/lib/dpkg/status
absent:
  Installed: (none)
  Version table:
     1.0 500
        500 http://deb.example.org/debian trixie/main amd64 Packages"""
    found = PackageOrigins().process(text.splitlines())
    assert found == {
        "consul": PackageOrigin("2.4.7", ("http://deb.example.org/debian",)),
        "other": PackageOrigin("1.0"),
    }
    assert found["consul"].is_foreign("http://mirror.example.org/hashicorp")
    assert not found["consul"].is_foreign("http://deb.example.org/debian/")
    assert not found["other"].is_foreign("http://mirror.example.org/hashicorp")


def test_preferences_keep_all_others_out() -> None:
    text = render_template(
        "artifacts/preferences.j2", repository="one", packages=("a", "b"), pin='origin "apt.example.org"'
    )
    stanzas = [one.splitlines() for one in text.split("\n", 2)[2].strip().split("\n\n")]
    pin = 'Pin: origin "apt.example.org"'
    assert stanzas == [
        ["Package: *", pin, "Pin-Priority: -1"],
        ["Package: a", pin, "Pin-Priority: 1001"],
        ["Package: a", "Pin: release *", "Pin-Priority: -1"],
        ["Package: b", pin, "Pin-Priority: 1001"],
        ["Package: b", "Pin: release *", "Pin-Priority: -1"],
    ]
