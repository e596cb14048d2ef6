"""Virtual machines with their own kernel; emulated, so everything here is slow."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from groundwork.engine.unpatched import import_pyinfra_cli

# gevent must not replace the sockets and threads of this process.
import_pyinfra_cli()
# How controls are broken is shared with the lab tests.
sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "lab"))


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """All of them are slow; one may take an hour on a busy machine."""
    for item in items:
        if Path(item.path).is_relative_to(Path(__file__).parent):
            item.add_marker(pytest.mark.slow)
            item.add_marker(pytest.mark.timeout(7200))
