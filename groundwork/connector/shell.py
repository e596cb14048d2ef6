"""One remote process that takes framed commands over one channel: no new channel, shell and session for each."""

from __future__ import annotations

import secrets
import struct
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path

from paramiko import Channel, Transport
from paramiko.common import cMSG_CHANNEL_REQUEST
from paramiko.message import Message

AGENT = Path(__file__).with_name("agent.pl")
HELLO_SECONDS = 20.0
"""How long the remote end may take to come up; a host that takes longer gets a channel for each command."""
AHEAD_SECONDS = 10
"""How long a command may take that is run ahead of its question; one that takes longer is stopped and asked again."""
LONGEST_FRAME = 1 << 20
_READ = 1 << 16

Take = Callable[[str, bytes], None]


class ShellError(Exception):
    """The shell could not be started, or ended by itself."""


class ShellStaleError(ShellError):
    """The shell ended without running the command: a new session would begin differently by now."""


class NotRunError(ShellError):
    """The shell did not run the command, and goes on."""


class NotSentError(ShellError):
    """The request could not be sent whole, so that it was not run; the shell is gone."""


class GreetingError(ShellError):
    """The shell did not come up; nothing was run."""


@dataclass
class Answer:
    """What a command gave, complete."""

    output: bytes = b""
    errors: bytes = b""
    status: int | None = None
    """Exit status, -1 after a signal (as paramiko has it); None while it is not known."""
    pieces: list[tuple[str, bytes]] = field(default_factory=list, repr=False)

    def take(self, letter: str, data: bytes) -> None:
        """Take a piece of standard output (``O``) or standard error (``E``)."""
        self.pieces.append((letter, data))

    def close(self, status: int) -> None:
        """Put the pieces together."""
        self.output = b"".join(data for letter, data in self.pieces if letter == "O")
        self.errors = b"".join(data for letter, data in self.pieces if letter == "E")
        self.pieces = []
        self.status = status


@cache
def _agent() -> bytes:
    lines = AGENT.read_text("utf-8").splitlines()
    return "\n".join(line.strip() for line in lines if not line.lstrip().startswith("#")).encode() + b"\n"


def starting_command() -> str:
    """The shell command that becomes the remote end; it reads its program from standard input."""
    loader = "while(length($c)<$ARGV[0]){sysread(STDIN,$c,$ARGV[0]-length($c),length($c))||exit 1}eval $c;die $@"
    return f"exec perl -e '$c=\"\";{loader}' {len(_program('0' * 32))}"


def _program(nonce: str) -> bytes:
    return f"$main::NONCE='{nonce}';$main::LIMIT={AHEAD_SECONDS};".encode() + _agent()


class RemoteShell:
    """A running remote end. ``start`` makes one; the caller keeps to one command at a time."""

    def __init__(self, channel: Channel, nonce: str) -> None:
        self._channel = channel
        self._nonce = nonce.encode()
        self._greeted = False
        self._buffer = bytearray()
        self._number = 0
        self._ahead: dict[int, Answer] = {}
        self.is_busy = False
        self.silence: float | None = None
        """Seconds that the host may stay silent while an answer is waited for; None: for ever."""

    @classmethod
    def start(cls, transport: Transport, command: str) -> RemoteShell:
        """Open a channel and start ``command`` there, which has to run ``starting_command()``.

        Does not wait for its answer: what follows is sent along. Raises SSHException, ShellError.
        """
        channel = transport.open_session()
        nonce = secrets.token_hex(16)
        # As Channel.exec_command, without waiting for the reply: a refusal ends the channel, seen when reading.
        message = Message()
        message.add_byte(cMSG_CHANNEL_REQUEST)
        message.add_int(channel.remote_chanid)
        message.add_string("exec")
        message.add_boolean(False)
        message.add_string(command)
        transport._send_user_message(message)  # type: ignore[attr-defined]
        shell = cls(channel, nonce)
        shell._send(_program(nonce))
        return shell

    @property
    def is_usable(self) -> bool:
        """Whether it can take another command, as far as is known here."""
        channel = self._channel
        return not (channel.closed or channel.eof_received or channel.exit_status_ready())

    def close(self) -> None:
        """Drop it; a command that still runs there goes on, as on a plain channel that is dropped."""
        self._channel.close()

    def greet(self, timeout: float = HELLO_SECONDS) -> None:
        """Wait until the remote end is up.

        Raises GreetingError when anything else than the agreed greeting comes: its start-up files print something, it
        lacks perl, it is restricted.
        """
        if self._greeted:
            return
        try:
            while len(self._buffer) < len(self._nonce):
                self._receive(time.monotonic() + timeout)
        except (TimeoutError, ShellError) as error:
            raise GreetingError(str(error) or "no greeting") from None
        if not self._buffer.startswith(self._nonce):
            raise GreetingError("an unexpected greeting")
        del self._buffer[: len(self._nonce)]
        self._greeted = True

    def send_ahead(self, requests: Iterable[tuple[str | int, ...]], numbers: Iterable[int]) -> dict[int, Answer]:
        """Send requests whose answers are read later; returns the answers to come, by number."""
        answers = {number: Answer() for number in numbers}
        self._ahead.update(answers)
        self._send(b"".join(_frame(one) for one in requests))
        return answers

    def next_number(self) -> int:
        """A number for a request."""
        self._number += 1
        return self._number

    def wait_for(self, answer: Answer, deadline: float | None) -> None:
        """Read until an answer that was sent ahead is complete. Raises TimeoutError, ShellError."""
        while answer.status is None:
            self._read_answer(deadline, 0, None)

    def run(self, shell: str, text: str, take: Take, deadline: float | None) -> int:
        """Run a command; ``take`` gets every piece of output with ``O`` or ``E``. Returns the exit status.

        Raises:
            TimeoutError: the deadline (monotonic clock) has passed; the command may go on.
            ShellStaleError, NotRunError: the command was not run.
            ShellError: the shell ended, or the connection did; whether the command ran is not known.
        """
        number = self.next_number()
        self._send(_frame((number, "run", shell, text)))
        return self._finish(number, take, deadline)

    def write(self, path: str, data: bytes) -> None:
        """Give a regular file new contents, as cp would, without a copy on the way.

        Raises NotRunError where it cannot, ShellStaleError, ShellError; what is there then is not known.
        """
        number = self.next_number()
        self._send(_frame((number, "write", path, data)))
        self._finish(number, lambda letter, piece: None, None)

    def _finish(self, number: int, take: Take, deadline: float | None) -> int:
        while True:
            status = self._read_answer(deadline, number, take)
            if status is not None:
                return status

    def _send(self, data: bytes) -> None:
        self._channel.settimeout(None)
        try:
            self._channel.sendall(data)
        except OSError as error:
            raise NotSentError(str(error)) from error

    def _receive(self, deadline: float | None) -> None:
        left = None if deadline is None else deadline - time.monotonic()
        if left is not None and left <= 0:
            raise TimeoutError
        if self.silence is not None:
            left = self.silence if left is None else min(left, self.silence)
        self._channel.settimeout(left)
        # A timeout is a TimeoutError.
        data = self._channel.recv(_READ)
        if not data:
            raise ShellError("the remote shell ended")
        self._buffer += data

    def _read_answer(self, deadline: float | None, number: int, take: Take | None) -> int | None:
        """Handle one answer; returns the exit status when it ends the command ``number``."""
        while len(self._buffer) < 4 or len(self._buffer) < 4 + (length := struct.unpack_from(">I", self._buffer)[0]):
            self._receive(deadline)
        if not 5 <= length <= LONGEST_FRAME:
            raise ShellError("the remote shell's answer is not understood")
        letter, given = chr(self._buffer[4]), struct.unpack_from(">I", self._buffer, 5)[0]
        data = bytes(self._buffer[9 : 4 + length])
        del self._buffer[: 4 + length]
        if letter == "S":
            raise ShellStaleError("the session is out of date")
        ahead = self._ahead.get(given)
        if ahead is not None:
            if letter in "OE":
                ahead.take(letter, data)
            else:
                ahead.close(_status(data) if letter == "X" else -2)
                del self._ahead[given]
            return None
        if given != number or take is None:
            raise ShellError("the remote shell answered something else")
        if letter == "X":
            return _status(data)
        if letter == "F":
            raise NotRunError(data.decode(errors="replace"))
        take(letter, data)
        return None


def _status(data: bytes) -> int:
    word, _, number = data.decode().partition(" ")
    return int(number) if word == "exit" else -1


def _frame(fields: tuple[str | int | bytes, ...]) -> bytes:
    body = b"\0".join(one if isinstance(one, bytes) else str(one).encode() for one in fields)
    return struct.pack(">I", len(body)) + body
