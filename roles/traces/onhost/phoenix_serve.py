"""Serve Phoenix over HTTP alone.

Its port for gRPC listens on every address, whatever is set; nothing here sends to it, so it is not opened.
"""

from __future__ import annotations

import sys
from typing import Any

from phoenix.server import app  # type: ignore[import-not-found]

_server = app.GrpcServer


def _make_closed_server(*arguments: Any, **options: Any) -> Any:
    return _server(*arguments, **{**options, "disabled": True})


app.GrpcServer = _make_closed_server

if __name__ == "__main__":
    from phoenix.server.main import main  # type: ignore[import-not-found]

    sys.argv = ["phoenix", "serve"]
    main()
