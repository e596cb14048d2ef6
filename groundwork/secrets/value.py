"""A secret's value, held so that it is shown only where the code says so."""

from __future__ import annotations

import hmac
from typing import Any, NoReturn

from pyinfra.api.hiddenvalue import HiddenValue

MASK = "*MASKED*"


class SecretValue:
    """Text that printing, formatting, logging and serialising never show; ``reveal()`` gives it.

    Anything that turns it into a string by accident gets ``*MASKED*``, which ``refuse_masked`` then finds.
    """

    __slots__ = ("__text",)

    def __init__(self, text: str) -> None:
        self.__text = text

    def reveal(self) -> str:
        """Give the value itself. Call it only where the text leaves for its destination."""
        return self.__text

    def hide(self) -> HiddenValue:
        """The same as pyinfra's own holder, for a bit of a ``StringCommand``.

        A command with it has the value in its argument list on the host, so prefer standard input.
        """
        return HiddenValue(self.__text, masked_value=MASK)

    def __repr__(self) -> str:
        return "SecretValue(*MASKED*)"

    def __str__(self) -> str:
        return MASK

    def __format__(self, specification: str) -> str:
        return MASK

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, SecretValue):
            return NotImplemented
        return hmac.compare_digest(self.__text.encode(), other.reveal().encode())

    def __hash__(self) -> int:
        return hash((SecretValue, self.__text))

    def __copy__(self) -> SecretValue:
        return self

    def __deepcopy__(self, memo: dict[int, Any]) -> SecretValue:
        return self

    def __reduce_ex__(self, protocol: object) -> NoReturn:
        raise TypeError("a secret's value cannot be pickled")

    def __getstate__(self) -> NoReturn:
        raise TypeError("a secret's value has no state to copy")


def refuse_masked(text: str, what: str = "the text") -> str:
    """Return ``text``, or raise ValueError if a hidden value was put into it without being revealed.

    pyinfra's HiddenValue and SecretValue turn into ``*MASKED*`` when formatted; a service configured with
    that would have a password everybody knows. ``what`` names the text in the error.
    """
    if MASK in text:
        raise ValueError(f"{what} contains {MASK}: a secret was formatted without reveal()")
    return text
