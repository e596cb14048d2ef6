"""Runs in a container, with any Python 3: asks the agents there for their health, over mutual TLS.

``python3 probe.py PORT/PATH ...``; exit status 0 when each answers with a status below 400.
"""

from __future__ import annotations

import json
import os
import ssl
import sys
import urllib.error
import urllib.request
from pathlib import Path


def main() -> int:
    """Ask, and say what is wrong."""
    tls = json.loads(Path(os.environ["GROUNDWORK_INSTANCE_FILE"]).read_text("utf-8"))["tls"]
    context = ssl.create_default_context(cafile=tls["authority"])
    # The loopback is in no certificate; who holds the key is what counts here.
    context.check_hostname = False
    context.load_cert_chain(tls["certificate"], tls["key"])
    handlers = (urllib.request.HTTPSHandler(context=context), urllib.request.ProxyHandler({}))
    opener = urllib.request.build_opener(*handlers)
    for question in sys.argv[1:]:
        port, _, path = question.partition("/")
        try:
            with opener.open(f"https://127.0.0.1:{port}/{path}", timeout=float(os.environ.get("PROBE_TIMEOUT", "10"))):
                pass
        except (OSError, ValueError) as error:
            print(f"{question}: {error}")
            return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
