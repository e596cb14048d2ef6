"""A small SSH server on 127.0.0.1 for the tests: runs commands as they come, prints its port when it listens.

Commands find the server's process id in $SERVER_PID, so a test's deploy file can freeze it (``kill -STOP``) or kill
it in the middle of an operation.
"""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import threading

import paramiko


class Server(paramiko.ServerInterface):
    def check_auth_publickey(self, username: str, key: paramiko.PKey) -> int:
        return paramiko.AUTH_SUCCESSFUL

    def get_allowed_auths(self, username: str) -> str:
        return "publickey"

    def check_channel_request(self, kind: str, chanid: int) -> int:
        return paramiko.OPEN_SUCCEEDED

    def check_channel_exec_request(self, channel: paramiko.Channel, command: bytes) -> bool:
        threading.Thread(target=execute, args=(channel, command), daemon=True).start()
        return True


def execute(channel: paramiko.Channel, command: bytes) -> None:
    environment = os.environ | {"SERVER_PID": str(os.getpid())}
    done = subprocess.run(
        ["sh", "-c", command.decode()], capture_output=True, env=environment, stdin=subprocess.DEVNULL, check=False
    )
    channel.sendall(done.stdout)
    channel.sendall_stderr(done.stderr)
    channel.send_exit_status(done.returncode)
    channel.close()


def main() -> None:
    key = paramiko.ECDSAKey.generate()
    listener = socket.create_server(("127.0.0.1", 0))
    port = listener.getsockname()[1]
    print(port, f"[127.0.0.1]:{port} {key.get_name()} {key.get_base64()}", flush=True)
    while True:
        connection, _ = listener.accept()
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        transport = paramiko.Transport(connection)
        transport.add_server_key(key)
        transport.start_server(server=Server(), event=threading.Event())


if __name__ == "__main__":
    sys.exit(main())
