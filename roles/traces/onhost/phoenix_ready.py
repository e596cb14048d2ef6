"""Wait until Phoenix answers, then set how long its traces stay.

    phoenix-ready ADDRESS PORT AUTHORITY CERTIFICATE KEY DAYS

Phoenix takes the days from its environment only when it makes its database. It removes what is older every night.
Standard library alone.
"""

from __future__ import annotations

import http.client
import json
import ssl
import sys
import time
from typing import Any

SECONDS = 240
# Global identifier of its first policy, which is that of every project without another one.
POLICY = "UHJvamVjdFRyYWNlUmV0ZW50aW9uUG9saWN5OjA="
CHANGE = """
mutation ($days: Float!, $id: ID!) {
  patchProjectTraceRetentionPolicy(
    input: {id: $id, cronExpression: "0 3 * * *", rule: {maxDays: {maxDays: $days}}}
  ) { __typename }
}
"""


def ask(context: ssl.SSLContext, address: str, port: int, method: str, path: str, body: Any = None) -> tuple[int, str]:
    """Return status and text of an answer. Raises OSError, HTTPException."""
    connection = http.client.HTTPSConnection(address, port, timeout=10, context=context)
    try:
        content = None if body is None else json.dumps(body)
        connection.request(method, path, content, {"Content-Type": "application/json"} if content else {})
        answer = connection.getresponse()
        return answer.status, answer.read().decode(errors="replace")
    finally:
        connection.close()


def main(address: str, number: str, authority: str, certificate: str, key: str, days: str) -> int:
    """Return 0, or 1 with the reason."""
    context = ssl.create_default_context(cafile=authority)
    context.load_cert_chain(certificate, key)
    port, deadline, told = int(number), time.monotonic() + SECONDS, ""
    while True:
        try:
            status, told = ask(context, address, port, "GET", "/readyz")
            if status == 200:
                break
        except (OSError, http.client.HTTPException) as error:
            told = str(error)
        if time.monotonic() > deadline:
            print(f"no answer in {SECONDS} s: {told[:200]}", file=sys.stderr)
            return 1
        time.sleep(0.5)
    body = {"query": CHANGE, "variables": {"days": float(days), "id": POLICY}}
    status, told = ask(context, address, port, "POST", "/graphql", body)
    if status != 200 or json.loads(told).get("errors"):
        print(f"retention is not set: {told[:300]}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:7]))
