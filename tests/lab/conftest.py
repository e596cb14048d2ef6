"""Fixtures for tests that need lab hosts; the hosts stay up when GROUNDWORK_KEEP_LAB is set."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from groundwork.engine.unpatched import import_pyinfra_cli
from groundwork.lab.lifecycle import BootedLab, boot_lab, remove_lab
from groundwork.lab.phases import Phases

# As in the unit tests: gevent must not replace the sockets and threads of this process.
import_pyinfra_cli()
# With --import-mode=importlib the folder of a test is not on the path; site_lab.py is beside these tests.
sys.path.insert(0, str(Path(__file__).parent))

from site_lab import SiteLab  # noqa: E402

ROOT = Path(__file__).resolve().parents[2]
# One lab for all of these, in the order that needs the fewest fresh hosts.
SITE_ORDER = ("test_site_convergence", "test_site_drift", "test_site_bad_input", "test_site_secrets", "test_site_kills")

Command = Callable[..., subprocess.CompletedProcess[str]]


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Everything below tests/lab needs lab hosts; tests that share a lab follow each other."""
    for item in items:
        if Path(item.path).is_relative_to(ROOT / "tests" / "lab"):
            item.add_marker(pytest.mark.lab)
    items.sort(key=_position)


def _position(item: pytest.Item) -> int:
    stem = Path(item.path).stem
    return SITE_ORDER.index(stem) + 1 if stem in SITE_ORDER else 0


@pytest.fixture(scope="session")
def lab_command() -> Command:
    """Run ``groundwork lab ...`` in a process of its own and return what it gave."""

    def run(*arguments: str, timeout: float = 600) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "groundwork.cli.lab", *arguments]
        return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=timeout, check=False)

    return run


@pytest.fixture(scope="session")
def lab() -> Iterator[BootedLab]:
    """The lab ``test`` of platform chorus, hosts up, nothing applied; ENV ``lab`` means this one."""
    name = os.environ.get("GROUNDWORK_TEST_LAB", "test")
    platform, release = os.environ.get("GROUNDWORK_TEST_PLATFORM"), os.environ.get("GROUNDWORK_TEST_RELEASE")
    before = os.environ.get("GROUNDWORK_LAB")
    os.environ["GROUNDWORK_LAB"] = name
    yield boot_lab(name, platform, release, Phases(print))
    if before is None:
        del os.environ["GROUNDWORK_LAB"]
    else:
        os.environ["GROUNDWORK_LAB"] = before
    if not os.environ.get("GROUNDWORK_KEEP_LAB"):
        remove_lab(name)


@pytest.fixture(scope="session")
def site_lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SiteLab]:
    """The lab of the tests of the whole site, and the project that is applied to it; hosts are up."""
    release = os.environ.get("GROUNDWORK_TEST_RELEASE") or "trixie"
    name = os.environ.get("GROUNDWORK_TEST_SITE") or f"site-{release}"
    site = SiteLab(name, release, tmp_path_factory.mktemp("project"))
    site.boot()
    yield site
    if not os.environ.get("GROUNDWORK_KEEP_LAB"):
        remove_lab(site.name)
