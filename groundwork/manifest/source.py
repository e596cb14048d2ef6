"""YAML text to plain data, keeping for every value the file and line it came from.

Scalars follow the YAML 1.2 core schema, not 1.1: ``yes``, ``on`` and ``12:30`` are strings, because a
time of day that silently becomes the number 750 is a trap. Duplicate keys, tags and runaway aliases are
mistakes, not features.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from groundwork.problems import Problem, ProblemError

Key = tuple[str | int, ...]

MAXIMUM_FILE_BYTES = 16 * 1024 * 1024
MAXIMUM_NODES = 1_000_000

_INTEGER = re.compile(r"[-+]?(0|[1-9][0-9]*)\Z")
_FLOAT = re.compile(r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?\Z")
_LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


@dataclass(frozen=True)
class Mark:
    """Where a value was written: file and line, counted from 1."""

    file: str
    line: int


@dataclass
class Source:
    """Plain data and the mark of each value in it, by path."""

    data: dict[str, Any]
    marks: dict[Key, Mark] = field(default_factory=dict)

    def mark_of(self, path: Key) -> Mark:
        """Return the mark of ``path``, or of the nearest enclosing value that was written."""
        while path and path not in self.marks:
            path = path[:-1]
        return self.marks.get(path, Mark("", 0))

    def place(self, problem: Problem) -> Problem:
        """Return ``problem`` with the file and line of its key filled in, where it has none yet."""
        if problem.file or not problem.key:
            return problem
        mark = self.mark_of(parse_key(problem.key))
        return Problem(problem.message, mark.file, mark.line, problem.key, problem.given, problem.allowed)


def parse_key(dotted: str) -> Key:
    """Turn ``groups.api.needs.0`` into a path; parts made of digits are list positions."""
    return tuple(int(part) if part.isdigit() else part for part in dotted.split("."))


def format_key(path: Key) -> str:
    """Turn a path into its dotted form."""
    return ".".join(str(part) for part in path)


def read(path: Path, *, name: str | None = None) -> Source:
    """Read one YAML file whose top level is a mapping.

    ``name`` is how the file is called in messages (the path as the user knows it). Raises ProblemError
    for a file that cannot be read, is not YAML, or is not a mapping, and for every duplicate key.
    """
    shown = name or str(path)
    try:
        raw = path.read_bytes()
        if len(raw) > MAXIMUM_FILE_BYTES:
            raise ProblemError([Problem("file is too large", shown, allowed="at most 16 MiB")])
        text = raw.decode("utf-8")
    except OSError as error:
        raise ProblemError([Problem(f"cannot be read: {error.strerror or error}", shown)]) from None
    except UnicodeDecodeError as error:
        line = raw[: error.start].count(b"\n") + 1
        raise ProblemError([Problem("is not text in UTF-8", shown, line)]) from None
    return parse(text, shown)


def parse(text: str, name: str) -> Source:
    """Parse YAML ``text``; ``name`` is how messages call it. Raises ProblemError as ``read`` does."""
    try:
        root = yaml.compose(text, Loader=_LOADER)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        why = " ".join(part for part in (error.context, error.problem) if part)
        raise ProblemError([Problem(f"is not YAML: {why}", name, mark.line + 1 if mark else 0)]) from None
    except yaml.YAMLError as error:
        raise ProblemError([Problem(f"is not YAML: {error}".splitlines()[0], name)]) from None
    except RecursionError:
        raise ProblemError([Problem("is nested too deeply", name)]) from None
    if not isinstance(root, yaml.MappingNode):
        given = "nothing" if root is None else "a list" if isinstance(root, yaml.SequenceNode) else "a scalar"
        raise ProblemError([Problem("the top level is not a mapping", name, 1, "", given, "key: value")])
    builder = _Builder(name)
    data = builder.build(root, ())
    if builder.problems:
        raise ProblemError(builder.problems)
    return Source(data, builder.marks)


class _Builder:
    """Turns nodes into plain data and collects marks and mistakes on the way."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.marks: dict[Key, Mark] = {}
        self.problems: list[Problem] = []
        self._nodes = 0
        self._open: set[int] = set()

    def build(self, node: yaml.Node, path: Key) -> Any:
        line = node.start_mark.line + 1
        self.marks.setdefault(path, Mark(self.name, line))
        self._nodes += 1
        if self._nodes > MAXIMUM_NODES or id(node) in self._open:
            reason = "aliases form a loop" if id(node) in self._open else "aliases expand beyond a million values"
            raise ProblemError([Problem(reason, self.name, line, format_key(path))])
        self._open.add(id(node))
        try:
            if isinstance(node, yaml.MappingNode):
                return self._mapping(node, path)
            if isinstance(node, yaml.SequenceNode):
                return [self.build(item, (*path, index)) for index, item in enumerate(node.value)]
            return self._scalar(node, path)
        finally:
            self._open.discard(id(node))

    def _mapping(self, node: yaml.MappingNode, path: Key) -> dict[str, Any]:
        result: dict[str, Any] = {}
        first_line: dict[str, int] = {}
        for key_node, value_node in node.value:
            line = key_node.start_mark.line + 1
            if not isinstance(key_node, yaml.ScalarNode):
                self._problem("a key is not a plain word", line, path, "a list or mapping", "a string")
                continue
            key = str(key_node.value)
            if key in first_line:
                self._problem(f"key is given twice, first on line {first_line[key]}", line, (*path, key))
                continue
            first_line[key] = line
            # A key's own line is where a person looks, also when its value starts on the next.
            self.marks[(*path, key)] = Mark(self.name, line)
            result[key] = self.build(value_node, (*path, key))
        return result

    def _scalar(self, node: yaml.Node, path: Key) -> Any:
        text = str(node.value)
        core = "tag:yaml.org,2002:"
        if node.tag.startswith("!") or not node.tag.startswith(core) or node.tag.startswith(core + "python"):
            self._problem("tags are not supported", node.start_mark.line + 1, path, node.tag, "plain values")
            return None
        if getattr(node, "style", None) in ("'", '"', "|", ">"):
            return text
        if text in ("", "~", "null"):
            return None
        if text in ("true", "false"):
            return text == "true"
        if _INTEGER.match(text):
            return int(text) if len(text) < 20 else text
        if _FLOAT.match(text) and not (text[0] == "0" and text[1:2].isdigit()):
            return float(text)
        return text

    def _problem(self, message: str, line: int, path: Key, given: str = "", allowed: str = "") -> None:
        self.problems.append(Problem(message, self.name, line, format_key(path), given, allowed))
