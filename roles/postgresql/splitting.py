"""Splits SQL into its statements with their lines, as psql does (PostgreSQL, 4.1, "Lexical Structure")."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

_DOLLAR = re.compile(r"\$([A-Za-z_\x80-\U0010ffff][A-Za-z0-9_\x80-\U0010ffff]*)?\$")
_WORD = re.compile(r"[A-Za-z_\x80-\U0010ffff][A-Za-z0-9_$\x80-\U0010ffff]*")


@dataclass(frozen=True)
class Statement:
    """One statement without its semicolon, the line it begins at (from 1), and its first words in capitals."""

    line: int
    text: str
    words: tuple[str, ...]


class SplitError(ValueError):
    """SQL that cannot be split; ``line`` says where."""

    def __init__(self, line: int, message: str) -> None:
        super().__init__(message)
        self.line = line


def split_statements(source: str) -> list[Statement]:
    """Return the statements of ``source``.

    Raises SplitError for a quote or comment that does not end, and for commands of psql (a backslash).
    """
    return list(_Splitter(source).split())


class _Splitter:
    def __init__(self, source: str) -> None:
        self.source = source
        self.start = -1
        self.depth = 0
        self.words: list[str] = []

    def split(self) -> Iterator[Statement]:
        position = 0
        source = self.source
        while position < len(source):
            end, kind = self._next_token(position)
            if kind == "end" and not self.depth:
                if self.start >= 0:
                    yield self._take(position)
                self.start = -1
            elif kind not in ("blank", "comment") and self.start < 0:
                self.start, self.words, self.depth = position, [], 0
            if kind == "word":
                self._note_word(source[position:end].upper())
            elif kind in ("open", "close"):
                self.depth = max(0, self.depth + (1 if kind == "open" else -1))
            position = end
        if self.start >= 0:
            yield self._take(len(source))

    def _take(self, end: int) -> Statement:
        line = self.source.count("\n", 0, self.start) + 1
        return Statement(line, self.source[self.start : end].rstrip(), tuple(self.words))

    def _note_word(self, word: str) -> None:
        # The body of an SQL-standard function: BEGIN ATOMIC ...; ...; END.
        routine = self.words[:1] == ["CREATE"] and {"FUNCTION", "PROCEDURE"} & set(self.words[:4])
        if routine and (word == "BEGIN" or (self.depth and word == "CASE")):
            self.depth += 1
        elif routine and self.depth and word == "END":
            self.depth -= 1
        if len(self.words) < 6:
            self.words.append(word)

    def _next_token(self, position: int) -> tuple[int, str]:
        """Return where the token at ``position`` ends, and what it is."""
        source, letter = self.source, self.source[position]
        if letter.isspace():
            return position + 1, "blank"
        if source.startswith("--", position):
            end = source.find("\n", position)
            return (len(source) if end < 0 else end), "comment"
        if source.startswith("/*", position):
            return self._skip_comment(position), "comment"
        if letter in "'\"":
            return self._skip_quoted(position, letter, escapes=False), "text"
        if letter in "eE" and source.startswith("'", position + 1):
            return self._skip_quoted(position + 1, "'", escapes=True), "text"
        if letter == "$" and (match := _DOLLAR.match(source, position)):
            end = source.find(match[0], match.end())
            if end < 0:
                raise self._error(position, f"the text that {match[0]} begins does not end")
            return end + len(match[0]), "text"
        if match := _WORD.match(source, position):
            return match.end(), "word"
        if letter == "\\":
            raise self._error(position, "commands of psql (\\...) cannot be in a migration")
        kinds = {";": "end", "(": "open", ")": "close"}
        return position + 1, kinds.get(letter, "other")

    def _skip_comment(self, start: int) -> int:
        depth, position = 1, start + 2
        while depth:
            opened, closed = self.source.find("/*", position), self.source.find("*/", position)
            if closed < 0:
                raise self._error(start, "the comment that begins here does not end")
            inner = 0 <= opened < closed
            depth += 1 if inner else -1
            position = (opened if inner else closed) + 2
        return position

    def _skip_quoted(self, start: int, quote: str, escapes: bool) -> int:
        position = start + 1
        while position < len(self.source):
            letter = self.source[position]
            if escapes and letter == "\\":
                position += 2
            elif letter == quote:
                # A doubled quote reads as one text after another, which comes to the same.
                return position + 1
            else:
                position += 1
        raise self._error(start, f"the {quote} that stands here has no other end")

    def _error(self, position: int, message: str) -> SplitError:
        return SplitError(self.source.count("\n", 0, position) + 1, message)
