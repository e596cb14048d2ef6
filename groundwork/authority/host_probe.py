"""Shakes hands with TLS servers and says what they serve and whether they take a client's certificate.

It is sent to a host as the text of ``python3 -c`` and gets its task over standard input; needs Python alone. A
client's key, where the task has one, is in memory only.
"""

from __future__ import annotations

import base64
import contextlib
import json
import os
import socket
import ssl
import struct
import sys
from concurrent.futures import ThreadPoolExecutor
from typing import Any

TIMEOUT = 5.0
"""Seconds for each step of a connection."""
AT_ONCE = 8
# PostgreSQL's SSLRequest: length and request code (protocol 3.0, "SSLRequest").
SSL_REQUEST = struct.pack("!ii", 8, 80877103)


class PlainTextError(Exception):
    """The server does not speak TLS."""


def build_context(task: dict[str, Any], version: ssl.TLSVersion) -> ssl.SSLContext:
    """A client's context that trusts the task's bundle, with the task's certificate where it has one."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.maximum_version = version
    context.load_verify_locations(cadata=task["trusted"])
    if task.get("certificate"):
        handle = os.memfd_create("probe")
        try:
            os.write(handle, (task["key"] + "\n" + task["certificate"]).encode())
            context.load_cert_chain(f"/proc/self/fd/{handle}")
        finally:
            os.close(handle)
    elif task.get("certificate_file"):
        context.load_cert_chain(task["certificate_file"], task["key_file"])
    return context


def start_tls(stream: socket.socket, protocol: str) -> None:
    """Say what comes before TLS in a protocol."""
    if protocol == "postgresql":
        stream.sendall(SSL_REQUEST)
        if stream.recv(1) != b"S":
            raise PlainTextError("the server declines TLS")
    elif protocol == "nats":
        told = b""
        while b"\n" not in told:
            piece = stream.recv(4096)
            if not piece or len(told) > 65536:
                raise PlainTextError("the server does not speak NATS")
            told += piece
        information = json.loads(told.split(b"\n")[0].split(b" ", 1)[1])
        if not (information.get("tls_required") or information.get("tls_available")):
            raise PlainTextError("the server declines TLS")


def shake_hands(endpoint: dict[str, Any], context: ssl.SSLContext, verify: bool) -> tuple[bytes, str]:
    """Return the served certificate (DER) and why the handshake failed; empty where it did not."""
    context.check_hostname = verify
    context.verify_mode = ssl.CERT_REQUIRED if verify else ssl.CERT_NONE
    with socket.create_connection((endpoint["address"], endpoint["port"]), TIMEOUT) as stream:
        start_tls(stream, endpoint["protocol"])
        secured = context.wrap_socket(stream, server_hostname=endpoint["address"], do_handshake_on_connect=False)
        failure = ""
        try:
            secured.do_handshake()
        except TimeoutError:
            # It waits for a request in its own protocol.
            raise PlainTextError("the server does not answer a TLS greeting") from None
        except ssl.SSLError as error:
            failure = error.reason or str(error)
            if failure in ("WRONG_VERSION_NUMBER", "RECORD_LAYER_FAILURE", "UNEXPECTED_MESSAGE"):
                raise PlainTextError("the server does not speak TLS") from None
        served = secured.getpeercert(binary_form=True) if not failure else b""
        with contextlib.suppress(OSError, ValueError):
            secured.close()
        return served or b"", failure


def probe(endpoint: dict[str, Any], task: dict[str, Any]) -> dict[str, Any]:
    """Find out what one server serves, whether that can be verified, and whether it takes the certificate.

    What is served is asked for with TLS 1.3, where a server shows its certificate before it judges the client's;
    whether it takes the client's with TLS 1.2, where the handshake ends with the judgement.
    """
    answer: dict[str, Any] = {**endpoint, "served": "", "plain": False, "unverified": "", "refused": "", "error": ""}
    try:
        served, failure = shake_hands(endpoint, build_context(task, ssl.TLSVersion.TLSv1_3), verify=False)
        answer["served"], answer["error"] = base64.b64encode(served).decode(), failure
        if not failure:
            answer["unverified"] = shake_hands(endpoint, build_context(task, ssl.TLSVersion.TLSv1_3), verify=True)[1]
            answer["refused"] = shake_hands(endpoint, build_context(task, ssl.TLSVersion.TLSv1_2), verify=False)[1]
    except PlainTextError as error:
        answer["plain"], answer["error"] = True, str(error)
    except ConnectionResetError:
        answer["refused"] = "the connection was reset"
    except (OSError, ValueError) as error:
        answer["error"] = str(error) or type(error).__name__
    return answer


def main() -> None:
    """Read ``{"trusted", "endpoints", ...}`` from standard input and print the answers, as JSON."""
    task = json.load(sys.stdin)
    if task.get("trusted_file"):
        with open(task["trusted_file"], encoding="ascii") as file:  # noqa: PTH123
            task["trusted"] = file.read()
    with ThreadPoolExecutor(AT_ONCE) as pool:
        answers = list(pool.map(lambda endpoint: probe(endpoint, task), task["endpoints"]))
    json.dump(answers, sys.stdout)


if __name__ == "__main__":
    main()
