"""What pyinfra tests its own SSH connector for, against a real sshd: ours gives the same, errors included."""

from __future__ import annotations

import contextlib
import io
import shutil
import socket
import subprocess
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from pyinfra.api import StringCommand
from pyinfra.api.exceptions import ConnectError, PyinfraError

if TYPE_CHECKING:
    from conftest import Run, Server

Make = Callable[..., "Run"]
STOCK, OURS = "@ssh/stock", "@groundwork/ours"
BOTH = (STOCK, OURS)
KEYS = {
    "ed25519": ("-t", "ed25519"),
    "ecdsa": ("-t", "ecdsa", "-b", "384"),
    "rsa": ("-t", "rsa", "-b", "2048"),
    "rsa in PEM": ("-t", "rsa", "-b", "2048", "-m", "PEM"),
}


def attempt(make_run: Make, name: str, **data: Any) -> str:
    """What a connection comes to: what ``id`` says there, or the error."""
    try:
        run = make_run(name, **data)
    except (ConnectError, PyinfraError) as error:
        return f"{type(error).__name__}: {error}"
    succeeded, output = run.hosts[0].run_shell_command(StringCommand("id -u"))
    assert succeeded
    return str(output.stdout)


def make_key(server: Server, folder: Path, kind: str, password: str = "") -> Path:
    """A key that the server lets in."""
    path = folder / kind.replace(" ", "-")
    subprocess.run(["ssh-keygen", "-q", "-N", password, "-f", str(path), *KEYS[kind]], check=True)
    with (server.folder / "authorized").open("a") as authorized:
        authorized.write(path.with_name(f"{path.name}.pub").read_text())
    return path


@pytest.mark.skipif(shutil.which("ssh-keygen") is None, reason="needs ssh-keygen")
@pytest.mark.parametrize("kind", KEYS)
def test_keys(server: Server, make_run: Make, tmp_path: Path, kind: str) -> None:
    key = make_key(server, tmp_path, kind, "right")
    for password, is_good in (("right", True), ("wrong", False), (None, False)):
        data = {"ssh_key": str(key)} | ({"ssh_key_password": password} if password else {})
        stock, ours = (attempt(make_run, name, **data) for name in BOTH)
        assert ours == stock
        assert ours.isdigit() == is_good, ours


def test_files_that_are_no_keys(make_run: Make, tmp_path: Path) -> None:
    (tmp_path / "text").write_text("no key\n")
    for name in ("text", "missing"):
        stock, ours = (attempt(make_run, one, ssh_key=str(tmp_path / name)) for one in BOTH)
        assert ours == stock
        assert "Error" in ours


@pytest.mark.skipif(shutil.which("ssh-keygen") is None, reason="needs ssh-keygen")
def test_a_key_and_a_password_that_are_refused(make_run: Make, tmp_path: Path) -> None:
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(tmp_path / "stranger")], check=True)
    for data in ({"ssh_key": str(tmp_path / "stranger")}, {"ssh_key": "", "ssh_password": "wrong"}):
        stock, ours = (attempt(make_run, name, ssh_look_for_keys=False, **data) for name in BOTH)
        assert ours == stock
        assert "Authentication error" in ours


@contextmanager
def listening(answer: Callable[[socket.socket], None]) -> Iterator[tuple[int, list[int]]]:
    """A port that answers so; its number, and one entry for each connection."""
    connections: list[int] = []

    def speak(client: socket.socket) -> None:
        with client, contextlib.suppress(OSError):
            client.settimeout(20)
            answer(client)
            # What the client says is taken, so that it sees an end and not a reset, whichever comes first.
            client.shutdown(socket.SHUT_WR)
            while client.recv(4096):
                pass

    with socket.create_server(("127.0.0.1", 0)) as listener:

        def serve() -> None:
            with contextlib.suppress(OSError):
                while True:
                    client, _ = listener.accept()
                    connections.append(1)
                    threading.Thread(target=speak, args=(client,), daemon=True).start()

        server = threading.Thread(target=serve, daemon=True)
        server.start()
        yield int(listener.getsockname()[1]), connections
        # Otherwise the thread would go on to take what comes to the next socket of this number.
        listener.shutdown(socket.SHUT_RDWR)
        server.join()


def closes(client: socket.socket) -> None:
    """Takes a connection and drops it."""


def speaks_another_language(client: socket.socket) -> None:
    client.sendall(b"HTTP/1.1 400 Bad Request\r\n\r\n" * 60)


def is_too_old(client: socket.socket) -> None:
    client.sendall(b"SSH-1.5-old\r\n")


def ends_after_its_name(client: socket.socket) -> None:
    client.sendall(b"SSH-2.0-short\r\n")


@pytest.mark.parametrize("answer", [closes, speaks_another_language, is_too_old, ends_after_its_name])
def test_servers_that_are_none(make_run: Make, answer: Callable[[socket.socket], None]) -> None:
    with listening(answer) as (port, connections):
        stock, ours = (attempt(make_run, name, ssh_port=port) for name in BOTH)
        assert ours == stock
        assert "Error" in ours
        assert len(connections) == 2


def test_connecting_is_tried_again_as_often_as_wanted(make_run: Make) -> None:
    data = {"ssh_connect_retries": 2, "ssh_connect_retry_min_delay": 0.01, "ssh_connect_retry_max_delay": 0.02}
    for name in BOTH:
        with listening(closes) as (port, connections):
            attempt(make_run, name, ssh_port=port, **data)
            assert len(connections) == 3


def test_host_keys(server: Server, make_run: Make, tmp_path: Path) -> None:
    known = (server.folder / "known").read_text()
    other = known.split()[:2]
    other_key = subprocess.run(
        ["ssh-keygen", "-q", "-t", "ecdsa", "-N", "", "-f", str(tmp_path / "other")], check=False
    ).returncode
    assert other_key == 0
    wrong = f"{other[0]} {(tmp_path / 'other.pub').read_text()}"
    for text in (known, "", wrong):
        for checking in ("yes", "accept-new", "no", "off"):
            told = []
            for number, name in enumerate(BOTH):
                file = tmp_path / f"known-{len(text)}-{checking}-{number}"
                file.write_text(text)
                data = {"ssh_known_hosts_file": str(file), "ssh_strict_host_key_checking": checking}
                told.append((attempt(make_run, name, **data), file.read_text()))
            assert told[0] == told[1], (text, checking)


@pytest.mark.parametrize("protocol", ["sftp", "scp", "pigeon"])
def test_protocols_of_uploads(make_run: Make, tmp_path: Path, protocol: str) -> None:
    found = []
    for name in BOTH:
        run = make_run(name, ssh_file_transfer_protocol=protocol)
        target = tmp_path / name.replace("/", "-")
        try:
            result: object = run.hosts[0].put_file(io.StringIO("text"), str(target))
        except ConnectError as error:
            result = str(error)
        found.append((result, target.read_text() if target.exists() else None))
    assert found[0] == found[1]
    assert (found[1] == (True, "text")) == (protocol != "pigeon")


def test_downloads(make_run: Make, tmp_path: Path) -> None:
    (tmp_path / "there").write_bytes(bytes(range(256)))
    for path, become in ((tmp_path / "there", {}), (tmp_path / "missing", {}), (tmp_path / "missing", {"_sudo": True})):
        found = []
        for name in BOTH:
            target = io.BytesIO()
            try:
                result: object = make_run(name).hosts[0].get_file(str(path), target, **become)
            except OSError as error:
                result = str(error)
            found.append((result, target.getvalue()))
        assert found[0] == found[1]


def test_a_gateway_between(server: Server, make_run: Make, tmp_path: Path) -> None:
    """ProxyJump: the transport has a channel in the socket's place."""
    config = tmp_path / "config"
    user = server.data["ssh_user"]
    config.write_text(
        f"Host gateway\n HostName 127.0.0.1\n Port {server.port}\n User {user}\n IdentityFile {server.folder}/key\n"
        f" UserKnownHostsFile {server.folder}/known\n StrictHostKeyChecking no\n"
        f"Host 127.0.0.2\n ProxyJump gateway\n"
    )
    server.stop()
    server.options += ["ListenAddress 127.0.0.2"]
    server.start()
    data = {
        "ssh_config_file": str(config),
        "ssh_hostname": "127.0.0.2",
        "ssh_strict_host_key_checking": "no",
        "ssh_known_hosts_file": str(tmp_path / "none"),
    }
    stock, ours = (attempt(make_run, name, **data) for name in BOTH)
    assert ours == stock
    assert ours.isdigit(), ours
