"""Errors of the engine, and how an exception is put in words for an operator."""

from __future__ import annotations

from pyinfra.api.exceptions import PyinfraError


class HostFailureError(PyinfraError):
    """A host cannot go on; every other host can."""


class HostLostError(HostFailureError):
    """A host stopped answering, or its connection broke."""


def describe_error(error: BaseException) -> str:
    """One line that says what went wrong: the message, and the type where the message alone says little."""
    wrapped = getattr(error, "exception", None)
    place = getattr(error, "filename", None)
    if isinstance(wrapped, BaseException):
        text = describe_error(wrapped)
        line = _line_in(wrapped, place) if isinstance(place, str) else 0
        return f"{place}:{line}: {text}" if line else text
    message = str(error).strip()
    if isinstance(error, PyinfraError) and message:
        return message
    return f"{type(error).__name__}: {message}" if message else type(error).__name__


def _line_in(error: BaseException, filename: str) -> int:
    trace = error.__traceback__
    line = 0
    while trace is not None:
        if trace.tb_frame.f_code.co_filename == filename:
            line = trace.tb_lineno
        trace = trace.tb_next
    return line
