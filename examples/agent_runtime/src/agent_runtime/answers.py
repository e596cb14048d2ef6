"""JSON answers and checked JSON input of HTTP endpoints."""

from __future__ import annotations

import asyncio
import json
from typing import Any

from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse

LARGEST_REQUEST_BYTES = 65_536
BODY_SECONDS = 10.0


def answer(content: Any, status: int = 200) -> JSONResponse:
    """Return a JSON answer that no cache keeps."""
    return JSONResponse(content, status_code=status, headers={"Cache-Control": "no-store"})


def answer_error(status: int, message: str, **details: Any) -> JSONResponse:
    """Return an error as JSON."""
    return answer({"error": {"status": status, "message": message, **details}}, status)


async def read_object(request: Request, limit: int = LARGEST_REQUEST_BYTES) -> dict[str, Any]:
    """Read a request's body as a JSON object.

    Raises:
        HTTPException: 400 not a JSON object, 408 too slow, 413 too large, 415 not JSON by its type.
    """
    if request.headers.get("content-type", "").partition(";")[0].strip().lower() != "application/json":
        raise HTTPException(415, "the content type must be application/json")
    parts: list[bytes] = []
    size = 0
    try:
        async with asyncio.timeout(BODY_SECONDS):
            async for part in request.stream():
                size += len(part)
                if size > limit:
                    raise HTTPException(413, f"the body is larger than {limit} bytes")
                parts.append(part)
        content = json.loads(b"".join(parts))
    except TimeoutError:
        raise HTTPException(408, "the body did not arrive in time") from None
    except ClientDisconnect:
        raise HTTPException(400, "the connection was closed") from None
    except (ValueError, RecursionError):
        raise HTTPException(400, "the body is not JSON") from None
    if not isinstance(content, dict):
        raise HTTPException(400, "the body must be a JSON object")
    return content


def read_number(request: Request, key: str, default: int, highest: int) -> int:
    """Read a whole number from 0 to `highest` from the query.

    Raises:
        HTTPException: 400 for anything else.
    """
    text = request.query_params.get(key)
    if text is None:
        return default
    if len(text) > 9 or not (text.isascii() and text.isdecimal()) or int(text) > highest:
        raise HTTPException(400, f"{key} must be a whole number from 0 to {highest}")
    return int(text)
