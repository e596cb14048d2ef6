"""What is asked of a host, as one command that needs Python alone there."""

from __future__ import annotations

import base64
import json
import shlex
import zlib
from collections.abc import Iterable, Mapping
from functools import cache
from pathlib import Path
from typing import Any

from roles.hardening.control import Control, Question

ONHOST = Path(__file__).parent / "onhost"
_START = (
    "import sys,json,zlib,base64 as b;d=lambda i:zlib.decompress(b.b64decode(sys.argv[i]));"
    "n={};exec(d(1),n);n['main'](*json.loads(d(2)))"
)


@cache
def _program(name: str) -> str:
    return _pack((ONHOST / name).read_bytes())


def _pack(content: bytes) -> str:
    return base64.b64encode(zlib.compress(content, 9)).decode()


def build_command(program: str, *arguments: Any) -> str:
    """A shell command that runs a program of ``onhost`` with JSON arguments."""
    packed = _pack(json.dumps(arguments).encode())
    return shlex.join(["python3", "-I", "-c", _START, _program(program), packed])


def list_questions(controls: Iterable[Control]) -> list[Question]:
    """All questions of some controls, each once, sorted, and what the host is."""
    return sorted({question for control in controls for question in control.questions()} | {("host", "")})


def ask(questions: Iterable[Question]) -> str:
    """The command that answers questions."""
    by_kind: dict[str, list[str]] = {}
    for kind, argument in questions:
        by_kind.setdefault(kind, []).append(argument)
    return build_command("look.py", by_kind)


def parse_answers(text: str) -> Mapping[str, Mapping[str, Any]]:
    """The answers from the command's output. Raises ValueError when there are none."""
    lines = text.strip().splitlines()
    try:
        answers = json.loads(lines[-1])
    except (IndexError, ValueError):
        raise ValueError("the host did not answer what it was asked") from None
    if not isinstance(answers, dict):
        raise ValueError("the host's answer is no mapping")
    return answers
