"""``python3 -m groundwork_exporter FILE``: shows figures of nginx, PgBouncer and NATS over mutual TLS.

FILE says where to listen, with which certificate, and what is shown at which path. Needs Python's standard library
alone. What cannot be read is answered with 503, which Prometheus sees as a target that is down.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

from .serving import Server


def main() -> int:
    """Serve until it is stopped."""
    if len(sys.argv) != 2:
        print("usage: python3 -m groundwork_exporter FILE", file=sys.stderr)
        return 1
    Server(json.loads(Path(sys.argv[1]).read_text(encoding="utf-8"))).serve_forever()
    return 0


if __name__ == "__main__":
    sys.exit(main())
