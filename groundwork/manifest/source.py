"""YAML text to plain data, keeping for every value the file and line it came from.

Scalars follow the YAML 1.2 core schema, not 1.1: ``yes``, ``on`` and ``12:30`` are strings, because a
time of day that silently becomes the number 750 is a trap; and so are ``0644`` and ``0x1F``. Duplicate
keys, tags, runaway aliases and deep nesting are mistakes, not features.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import yaml

from groundwork.manifest.sensitive import is_sensitive
from groundwork.problems import Problem, ProblemError

Key = tuple[str | int, ...]

MAXIMUM_FILE_BYTES = 16 * 1024 * 1024
MAXIMUM_NODES = 500_000
MAXIMUM_DEPTH = 100

_INTEGER = re.compile(r"[-+]?(0|[1-9][0-9]*)\Z")
_FLOAT = re.compile(r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?\Z")
_LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
_LEADING_ZERO = re.compile(r"[-+]?0[0-9]")
_resolve: Callable[..., Any] = yaml.resolver.Resolver().resolve
_CORE = "tag:yaml.org,2002:"


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
        key = problem.key
        while key and key not in self._marks_by_text:
            key = key.rpartition(".")[0]
        mark = self._marks_by_text.get(key, Mark("", 0))
        return Problem(problem.message, mark.file, mark.line, problem.key, problem.given, problem.allowed)

    @cached_property
    def _marks_by_text(self) -> dict[str, Mark]:
        # Keys may hold dots themselves (``routes./v1.0/``), so the dotted form is compared, not taken apart.
        return {format_key(path): mark for path, mark in self.marks.items()}


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
        _check_depth(text, name)
        root = yaml.compose(text, Loader=_LOADER)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        why = " ".join(part for part in (error.context, error.problem) if part)
        # The names of anchors are the user's words: a password that begins with * must not be repeated.
        why = re.sub(r"(undefined alias|duplicate anchor) .*", r"\1", why)
        raise ProblemError([Problem(f"is not YAML: {why}", name, mark.line + 1 if mark else 0)]) from None
    except yaml.reader.ReaderError as error:
        line = text[: error.position].count("\n") + 1
        raise ProblemError([Problem("is not YAML: holds a control character", name, line)]) from None
    except yaml.YAMLError as error:
        raise ProblemError([Problem(f"is not YAML: {error}".splitlines()[0], name)]) from None
    if not isinstance(root, yaml.MappingNode):
        given = "nothing" if root is None else "a list" if isinstance(root, yaml.SequenceNode) else "a scalar"
        raise ProblemError([Problem("the top level is not a mapping", name, 1, "", given, "key: value")])
    builder = _Builder(name)
    data = builder.build(root, ())
    if builder.problems:
        raise ProblemError(builder.problems)
    return Source(data, builder.marks)


def _check_depth(text: str, name: str) -> None:
    """Refuse deep nesting before it is composed: libyaml's composer recurses until the stack is gone."""
    depth = 0
    for event in yaml.parse(text, Loader=_LOADER):
        if isinstance(event, yaml.CollectionStartEvent):
            depth += 1
            if depth > MAXIMUM_DEPTH:
                line = event.start_mark.line + 1 if event.start_mark else 0
                raise ProblemError(
                    [Problem("is nested too deeply", name, line, allowed=f"at most {MAXIMUM_DEPTH} levels")]
                )
        elif isinstance(event, yaml.CollectionEndEvent):
            depth -= 1


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
            reason = "aliases form a loop" if id(node) in self._open else "aliases expand beyond half a million values"
            raise ProblemError([Problem(reason, self.name, line, format_key(path))])
        if node.tag != self._plain_tag(node):
            tag = node.tag.replace(_CORE, "!!")
            # A value that begins with "!" is read as a tag; where a secret was meant, it stays unsaid.
            given = "a tag" if is_sensitive(path) else tag
            self._problem("tags are not supported", line, path, given, "plain values; quote what begins with !")
            return None
        self._open.add(id(node))
        try:
            if isinstance(node, yaml.MappingNode):
                return self._mapping(node, path)
            if isinstance(node, yaml.SequenceNode):
                return [self.build(item, (*path, index)) for index, item in enumerate(node.value)]
            return self._scalar(node, path)
        finally:
            self._open.discard(id(node))

    @staticmethod
    def _plain_tag(node: yaml.Node) -> str:
        """The tag that a node has when none was written."""
        if isinstance(node, yaml.ScalarNode):
            quoted = node.style in ("'", '"', "|", ">")
            return f"{_CORE}str" if quoted else str(_resolve(yaml.ScalarNode, node.value, (True, False)))
        return f"{_CORE}map" if isinstance(node, yaml.MappingNode) else f"{_CORE}seq"

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
        if getattr(node, "style", None) in ("'", '"', "|", ">"):
            return text
        if text in ("", "~", "null"):
            return None
        if text in ("true", "false"):
            return text == "true"
        if _INTEGER.match(text):
            return int(text) if len(text) < 20 else text
        if _FLOAT.match(text) and not _LEADING_ZERO.match(text):
            number = float(text)
            return number if math.isfinite(number) else text
        return text

    def _problem(self, message: str, line: int, path: Key, given: str = "", allowed: str = "") -> None:
        self.problems.append(Problem(message, self.name, line, format_key(path), given, allowed))
