"""Asks an environment's Prometheus, over SSH from its own host and with root's certificate there."""

from __future__ import annotations

import json
import shlex
from collections.abc import Mapping
from typing import Any
from urllib.parse import urlencode

from groundwork.authority import paths
from groundwork.engine.asking import run_command
from groundwork.engine.inspection import UnreachableError
from groundwork.problems import Problem, ProblemError
from groundwork.site import Site
from groundwork.topology.identities import OPERATOR

# Reads the URLs' paths as JSON from standard input and prints the answers in that order; curl is not on every host.
SCRIPT = """
import http.client, json, ssl, sys
given = json.load(sys.stdin)
context = ssl.create_default_context(cafile=given["authority"])
context.load_cert_chain(given["certificate"], given["key"])
answers = []
for path in given["paths"]:
    connection = http.client.HTTPSConnection(given["address"], given["port"], context=context, timeout=30)
    connection.request("GET", path)
    answers.append(json.loads(connection.getresponse().read()))
    connection.close()
json.dump(answers, sys.stdout)
"""


def query_prometheus(site: Site, queries: Mapping[str, str]) -> dict[str, list[dict[str, Any]]]:
    """Return the result vector of each query, by the query's name.

    Raises ProblemError when the platform has no Prometheus, its host cannot be reached, or it refuses a query.
    """
    declared = site.platform.observability.prometheus
    if declared is None:
        raise ProblemError([Problem("there is no Prometheus to ask", key="observability.prometheus")])
    host = site.inventory.group(declared.hosts)[0]
    platform = site.platform.platform
    given = {
        "address": host.address,
        "port": declared.port,
        "authority": paths.bundle(platform),
        "certificate": paths.certificate(platform, OPERATOR),
        "key": paths.key(platform, OPERATOR),
        "paths": [f"/api/v1/query?{urlencode({'query': query})}" for query in queries.values()],
    }
    try:
        output = run_command(host, f"python3 -c {shlex.quote(SCRIPT)}", json.dumps(given))
    except UnreachableError as error:
        raise ProblemError([Problem(f"cannot be asked: {error}", key=host.name)]) from None
    results: dict[str, list[dict[str, Any]]] = {}
    for name, answer in zip(queries, json.loads(output), strict=True):
        if answer.get("status") != "success":
            reason = answer.get("error", "no reason given")
            raise ProblemError([Problem(f"Prometheus refuses a query: {reason}", key=host.name, given=queries[name])])
        results[name] = answer["data"]["result"]
    return results
