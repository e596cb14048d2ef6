"""What goes wrong with NATS, as this package's own errors."""

from __future__ import annotations

from collections.abc import Awaitable
from typing import TypeVar

from nats.errors import Error as NatsError
from nats.js.errors import APIError, BucketNotFoundError, NotFoundError

from agent_runtime.bus.storing import StoreRefusedError

Result = TypeVar("Result")
# What raises when NATS is away or refuses, besides this module's own BusError.
FAILURES = (NatsError, OSError, TimeoutError)
STREAM_FULL = 10077  # JSStreamStoreFailedF: "maximum messages exceeded" and "maximum messages per subject exceeded"


class BusError(OSError):
    """NATS did not answer, or refused; the caller may try again later."""


class BusFullError(BusError):
    """The stream holds as many messages as it may."""


async def guard_missing(call: Awaitable[Result]) -> Result:
    """Await a call of the library; turn its errors into BusError, but let NotFoundError through."""
    try:
        return await call
    except (NotFoundError, BucketNotFoundError):
        raise
    except StoreRefusedError as error:
        raise (BusFullError if error.code == STREAM_FULL else BusError)(str(error)) from error
    except APIError as error:
        # The library raises some of these without giving them the server's code and description.
        text = str(getattr(error, "description", None) or error)
        full = getattr(error, "err_code", None) == STREAM_FULL
        raise (BusFullError if full else BusError)(text) from error
    except FAILURES as error:
        if isinstance(error, BusError):
            raise
        raise BusError(f"{type(error).__name__}: {error}") from error


async def guard(call: Awaitable[Result]) -> Result:
    """Await a call of the library; turn its errors into BusError."""
    try:
        return await guard_missing(call)
    except (NotFoundError, BucketNotFoundError) as error:
        raise BusError(f"{type(error).__name__}: {error}") from error
