"""The other supported Debian release: converged by one command, verified, and quiet after."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from site_lab import NOTHING, SiteLab

from groundwork.lab.lifecycle import remove_lab

OTHER = "trixie" if os.environ.get("GROUNDWORK_TEST_RELEASE") == "bookworm" else "bookworm"


@pytest.fixture
def other_site(tmp_path: Path) -> Iterator[SiteLab]:
    site = SiteLab(f"site-{OTHER}", OTHER, tmp_path)
    yield site
    if not os.environ.get("GROUNDWORK_KEEP_LAB"):
        remove_lab(site.name)


def test_chorus_on_the_other_release(other_site: SiteLab) -> None:
    done = other_site.groundwork("lab", "up", "--name", other_site.name, "--release", OTHER, "--json")
    assert done.returncode == 0, done.stdout + done.stderr[-3000:]
    result = json.loads(done.stdout)
    print(result["phases"])
    assert result["spec"]["release"] == OTHER
    assert result["outcome"]["failed"] == 0
    assert result["outcome"]["passed"] > 50
    assert other_site.apply() == NOTHING
    assert other_site.plan() == NOTHING
