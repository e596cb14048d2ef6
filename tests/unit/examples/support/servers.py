"""NATS, PostgreSQL with PgBouncer, and Redis in its three shapes, on the loopback, with mutual TLS."""

from __future__ import annotations

import json
import os
import pwd
import shutil
import signal
import socket
import subprocess
import time
from pathlib import Path

import pytest

from tests.unit.examples.support.certificates import Authority

ROOT = Path(__file__).resolve().parents[4]
GROUPS = ("configuration", "communication", "drafting")


def find_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def find_program(name: str, package: str) -> str:
    """Return a program's path, or skip the test with the reason."""
    newest = sorted(Path("/usr/lib/postgresql").glob(f"*/bin/{name}"), reverse=True)
    found = shutil.which(name) or next(map(str, newest), None) or shutil.which(name, path="/usr/sbin")
    if found is None:
        pytest.skip(f"{name} is not installed (apt-get install {package})")
    return found


class Server:
    """A server process that can be killed and started again."""

    def __init__(self, command: list[str], port: int, log: Path, user: str | None = None) -> None:
        self.port, self._command, self._log, self._user = port, command, log, user
        self.start()

    def start(self) -> None:
        account = pwd.getpwnam(self._user) if self._user and os.geteuid() == 0 else None
        extra = {"user": account.pw_uid, "group": account.pw_gid, "extra_groups": []} if account else {}
        with self._log.open("ab") as log:
            self.process = subprocess.Popen(self._command, stdout=log, stderr=log, cwd="/", **extra)  # type: ignore[call-overload]
        deadline = time.monotonic() + 15
        while True:
            with socket.socket() as probe:
                if probe.connect_ex(("127.0.0.1", self.port)) == 0:
                    return
            if self.process.poll() is not None or time.monotonic() > deadline:
                raise RuntimeError(f"{self._command[0]} does not listen: {self._log.read_text()[-2000:]}")
            time.sleep(0.05)

    def kill(self, number: int = signal.SIGKILL) -> None:
        self.process.send_signal(number)
        self.process.wait(20)

    def stop(self) -> None:
        if self.process.poll() is None:
            self.kill(signal.SIGINT)


def start_nats(folder: Path, authority: Authority, permissions: dict[str, dict[str, list[str]]]) -> Server:
    """One user for each group, told by the URI in its certificate, with just these permissions."""
    program = find_program("nats-server", "nats-server")
    port = find_port()
    authority.issue("nats")
    files = authority.files("nats")
    users = [
        {
            "user": f"spiffe://lab/ymera/{group}",
            "permissions": {
                "publish": {"allow": lists["publish"]},
                "subscribe": {"allow": [*lists["subscribe"], f"_INBOX.{group}.>"]},
                "allow_responses": True,
            },
        }
        for group, lists in permissions.items()
    ]
    configuration = {
        "listen": f"127.0.0.1:{port}",
        "max_payload": 10485760,
        "jetstream": {
            "store_dir": str(folder / "jetstream"),
            "max_memory_store": 67108864,
            "max_file_store": 536870912,
        },
        "tls": {
            "cert_file": files["certificate"],
            "key_file": files["key"],
            "ca_file": files["authority"],
            "verify_and_map": True,
        },
        "authorization": {"users": users},
    }
    path = folder / "nats.conf"
    path.write_text(json.dumps(configuration, indent=2))
    return Server([program, "-c", str(path)], port, folder / "nats.log")


class Database:
    """PostgreSQL with the schema of ymera, and PgBouncer before it."""

    def __init__(self, folder: Path, authority: Authority) -> None:
        initdb, self._psql = find_program("initdb", "postgresql"), find_program("psql", "postgresql-client")
        postgres, pgbouncer = find_program("postgres", "postgresql"), find_program("pgbouncer", "pgbouncer")
        user = "postgres" if os.geteuid() == 0 else None
        self._folder, self._user = folder, user
        for account in ("postgresql", "pgbouncer"):
            authority.issue(account)
        if user:
            shutil.chown(folder, user)
            for account in ("postgresql", "pgbouncer"):
                authority.give_to_user(account, user)
        data = folder / "data"
        self._run([initdb, "-D", str(data), "-A", "peer" if not user else "trust", "-U", "postgres", "--no-sync"])
        self._port, pool_port = find_port(), find_port()
        server, pool = authority.files("postgresql"), authority.files("pgbouncer")
        self._write(
            "data/postgresql.auto.conf",
            f"port = {self._port}\nlisten_addresses = '127.0.0.1'\nunix_socket_directories = '{folder}'\nssl = on\n"
            f"ssl_cert_file = '{server['certificate']}'\nssl_key_file = '{server['key']}'\n"
            f"ssl_ca_file = '{server['authority']}'\nmax_connections = 60\nshared_buffers = 64MB\n",
        )
        self._write("data/pg_hba.conf", "local all all trust\nhostssl all all 127.0.0.1/32 cert map=accounts\n")
        self._write("data/pg_ident.conf", "".join(f"accounts pgbouncer {group}\n" for group in GROUPS))
        self.postgres = Server([postgres, "-D", str(data)], self._port, folder / "postgres.log", user)
        self._wait_until_started()
        self._create_schema()
        self._write("users.txt", "".join(f'"{group}" ""\n' for group in GROUPS))
        self._write(
            "pgbouncer.ini",
            f"[databases]\nymera = host=127.0.0.1 port={self._port}\n[pgbouncer]\nlisten_addr = 127.0.0.1\n"
            f"listen_port = {pool_port}\nunix_socket_dir =\npool_mode = transaction\ndefault_pool_size = 6\n"
            f"auth_type = cert\nauth_file = {folder}/users.txt\nmax_client_conn = 200\nserver_round_robin = 1\n"
            f"client_tls_sslmode = verify-full\nclient_tls_cert_file = {pool['certificate']}\n"
            f"client_tls_key_file = {pool['key']}\nclient_tls_ca_file = {pool['authority']}\n"
            f"server_tls_sslmode = verify-full\nserver_tls_cert_file = {pool['certificate']}\n"
            f"server_tls_key_file = {pool['key']}\nserver_tls_ca_file = {pool['authority']}\n"
            "server_login_retry = 1\n",
        )
        self.pool = Server([pgbouncer, f"{folder}/pgbouncer.ini"], pool_port, folder / "pgbouncer.log", user)

    def _write(self, name: str, content: str) -> None:
        path = self._folder / name
        path.write_text(content)
        if self._user:
            shutil.chown(path, self._user)

    def _run(self, command: list[str]) -> str:
        prefix = ["runuser", "-u", self._user, "--"] if self._user else []
        done = subprocess.run([*prefix, *command], capture_output=True, text=True, cwd="/", timeout=60)
        assert done.returncode == 0, done.stderr
        return done.stdout.strip()

    def query(self, statement: str, database: str = "ymera") -> str:
        """Run a statement as the superuser, directly."""
        arguments = ["-h", str(self._folder), "-p", str(self._port), "-U", "postgres", "-d", database]
        return self._run([self._psql, *arguments, "-XAtq", "-v", "ON_ERROR_STOP=1", "-c", statement])

    def _wait_until_started(self) -> None:
        deadline = time.monotonic() + 15
        while True:
            try:
                self.query("SELECT 1", "postgres")
                return
            except AssertionError:
                # It listens before it is ready.
                if time.monotonic() > deadline:
                    raise
                time.sleep(0.1)

    def _create_schema(self) -> None:
        for group in GROUPS:
            self.query(f"CREATE ROLE {group} LOGIN", "postgres")
        self.query("CREATE DATABASE ymera", "postgres")
        for path in sorted((ROOT / "platforms" / "ymera" / "migrations").glob("*.sql")):
            self.query(path.read_text())
        groups = ", ".join(GROUPS)
        self.query(f"GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA public TO {groups}")

    def stop(self) -> None:
        for server in (getattr(self, "pool", None), getattr(self, "postgres", None)):
            if server is not None:
                server.stop()
