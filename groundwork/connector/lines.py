"""Turns a command's output into lines the way pyinfra's SSH connector does."""

from __future__ import annotations

from collections.abc import Callable

from pyinfra.api.host import Host
from pyinfra.api.output import echo, format_text
from pyinfra.connectors.util import CommandOutput, OutputLine

LARGEST_KEPT = 1_000_000
"""Bytes of an answer that is kept for the next time it is asked for."""


class LineReader:
    """Collects one stream's lines as its bytes arrive.

    pyinfra stops reading a stream at the first line that is not UTF-8, without failing the command; so does this.
    """

    def __init__(self, name: str, lines: list[OutputLine], show: Callable[[str], None] | None = None) -> None:
        self._name = name
        self._lines = lines
        self._show = show
        self._rest: list[bytes] = []
        self._stopped = False

    def feed(self, data: bytes) -> None:
        """Take some bytes; complete lines are added."""
        if self._stopped:
            return
        end = data.rfind(b"\n")
        if end < 0:
            self._rest.append(data)
            return
        whole = b"".join([*self._rest, data[:end]])
        self._rest = [data[end + 1 :]] if end + 1 < len(data) else []
        self._add(whole)

    def finish(self) -> None:
        """The stream has ended: add what came after the last newline, if anything did."""
        last = b"".join(self._rest)
        self._rest = []
        if last and not self._stopped:
            self._add(last)

    def _add(self, data: bytes) -> None:
        for line in data.split(b"\n"):
            try:
                text = line.decode("utf-8")
            except UnicodeDecodeError:
                self._stopped = True
                return
            self._lines.append(OutputLine(self._name, text))
            if self._show is not None:
                self._show(text)


class Collector:
    """Both streams of one command, in the order in which they arrive."""

    def __init__(self, host: Host, print_output: bool) -> None:
        self._lines: list[OutputLine] = []
        prefix = host.print_prefix
        show = print_output or None
        self._streams = {
            "O": LineReader("stdout", self._lines, show and (lambda line: echo(f"{prefix}{line}", err=True))),
            "E": LineReader(
                "stderr", self._lines, show and (lambda line: echo(f"{prefix}{format_text(line, 'red')}", err=True))
            ),
        }
        self.pieces: list[tuple[str, bytes]] = []
        """What arrived, while that is little: for answers that are kept."""
        self.size = 0

    def take(self, letter: str, data: bytes) -> None:
        """Take a piece of standard output (``O``) or standard error (``E``)."""
        self.size += len(data)
        if self.size <= LARGEST_KEPT:
            self.pieces.append((letter, data))
        else:
            self.pieces.clear()
        self._streams[letter].feed(data)

    def finish(self) -> CommandOutput:
        """Both streams have ended: everything in lines."""
        for stream in self._streams.values():
            stream.finish()
        return CommandOutput(self._lines)
