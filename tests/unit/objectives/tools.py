"""Starts promtool and amtool."""

from __future__ import annotations

import shutil
import subprocess

import pytest

PROMTOOL = pytest.mark.skipif(shutil.which("promtool") is None, reason="promtool is not installed")
AMTOOL = pytest.mark.skipif(shutil.which("amtool") is None, reason="amtool is not installed")


def promtool(*arguments: str) -> str:
    """Run promtool; what it complains about is in the error."""
    done = subprocess.run(["promtool", *arguments], capture_output=True, text=True, timeout=600, check=False)
    if done.returncode:
        print(done.stdout + done.stderr)
    done.check_returncode()
    return done.stdout
