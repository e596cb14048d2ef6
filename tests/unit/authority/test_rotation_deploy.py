"""The deploy that rotates certificates knows every service that holds one in memory."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

from groundwork.authority import endpoints

DEPLOY = Path(__file__).resolve().parents[3] / "deploys/rotate_certificates.py"


@pytest.mark.parametrize("kind", endpoints._KINDS)
def test_every_kind_of_service_loads_what_is_rotated(kind: str) -> None:
    tree = ast.parse(DEPLOY.read_text())
    imported = {
        alias.name
        for node in ast.walk(tree)
        if isinstance(node, ast.ImportFrom) and node.module == f"roles.{kind}.deploy"
        for alias in node.names
    }
    calls = [node.value for node in tree.body if isinstance(node, ast.Expr) and isinstance(node.value, ast.Call)]
    called = [call.func.id for call in calls if isinstance(call.func, ast.Name)]
    assert len(imported) == 1
    # After the certificates are there.
    assert called.index("pki") < called.index(imported.pop())
