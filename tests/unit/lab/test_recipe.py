from __future__ import annotations

import io
import subprocess
import tarfile
from dataclasses import replace

import pytest

from groundwork.lab.archives import FileEntry, pack_files
from groundwork.lab.recipe import (
    INIT_SCRIPT,
    PROVISION_SCRIPT,
    Recipe,
    check_release,
    filter_apt_settings,
)
from groundwork.problems import ProblemError

RECIPE = Recipe("trixie", "Types: deb\n", "", (), "http://m.example/debian")


def test_the_tag_changes_with_every_ingredient_and_with_nothing_else():
    others = [
        replace(RECIPE, release="bookworm"),
        replace(RECIPE, sources=""),
        replace(RECIPE, apt_settings='Acquire::Retries "3";\n'),
        replace(RECIPE, certificates=(("own.crt", "text"),)),
        replace(RECIPE, mirror=""),
    ]
    tags = [RECIPE.tag, *(other.tag for other in others)]
    assert len(set(tags)) == len(tags)
    assert replace(RECIPE).tag == RECIPE.tag
    assert RECIPE.tag.startswith("groundwork-lab-base:trixie-")


@pytest.mark.parametrize("script", [INIT_SCRIPT, PROVISION_SCRIPT])
def test_scripts_are_valid_for_a_posix_shell(script):
    done = subprocess.run(["sh", "-n"], input=script, text=True, capture_output=True, check=False)
    assert done.returncode == 0, done.stderr


def test_init_hands_over_to_systemd_after_the_cgroup_tree_is_fresh():
    lines = INIT_SCRIPT.splitlines()
    assert lines[-1] == "exec /sbin/init"
    assert lines.index("mount -t cgroup2 cgroup2 /sys/fs/cgroup") < len(lines) - 1
    assert "remount,rw /proc/sys\n" not in INIT_SCRIPT


def test_only_what_reaches_mirrors_is_taken_over_from_apt():
    dump = """\
APT::Install-Recommends "1";
Acquire::http::Proxy "http://proxy.example:3128";
Acquire::http::Proxy-Auto-Detect "/usr/bin/finder";
Acquire::https::CAInfo "";
Acquire::Check-Valid-Until "false";
Acquire::Languages "none";
DPkg::Post-Invoke:: "reboot";
"""
    assert filter_apt_settings(dump) == (
        'Acquire::http::Proxy "http://proxy.example:3128";\nAcquire::Check-Valid-Until "false";\n'
    )


def test_an_unknown_release_names_the_known_ones():
    assert check_release("bookworm") == "bookworm"
    with pytest.raises(ProblemError, match="given buster; allowed: trixie, bookworm"):
        check_release("buster")


def test_packed_files_keep_mode_owner_and_text():
    data = pack_files([FileEntry("/home/debian/.ssh/authorized_keys", "ssh-ed25519 äöü\n", 0o600, 1000)])
    with tarfile.open(fileobj=io.BytesIO(data)) as archive:
        (member,) = archive.getmembers()
        assert (member.name, member.mode, member.uid, member.gid) == (
            "home/debian/.ssh/authorized_keys",
            0o600,
            1000,
            1000,
        )
        content = archive.extractfile(member)
        assert content is not None
        assert content.read().decode() == "ssh-ed25519 äöü\n"
