"""Fixtures for tests that need lab hosts; the hosts stay up when GROUNDWORK_KEEP_LAB is set."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from groundwork.lab.lifecycle import BootedLab, boot_lab, remove_lab
from groundwork.lab.phases import Phases

ROOT = Path(__file__).resolve().parents[2]

Command = Callable[..., subprocess.CompletedProcess[str]]


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Everything below tests/lab needs lab hosts."""
    for item in items:
        if Path(item.path).is_relative_to(ROOT / "tests" / "lab"):
            item.add_marker(pytest.mark.lab)


@pytest.fixture(scope="session")
def lab_command() -> Command:
    """Run ``groundwork lab ...`` in a process of its own and return what it gave."""

    def run(*arguments: str, timeout: float = 600) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "groundwork.cli.lab", *arguments]
        return subprocess.run(
            command, cwd=ROOT, capture_output=True, text=True, timeout=timeout, check=False
        )

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
