"""Commands over the connector give what pyinfra's own SSH connector gives."""

from __future__ import annotations

import io
import os
import shutil
import signal
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from pyinfra.api import HiddenValue, QuoteString, StringCommand
from pyinfra.api.exceptions import ConnectError

from groundwork.connector.ssh import GroundworkConnector

if TYPE_CHECKING:
    from conftest import Run, Server


def until(condition: Callable[[], bool], what: str, seconds: float = 20) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, f"never happened: {what}"
        time.sleep(0.02)


Make = Callable[..., "Run"]
STOCK, OURS = "@ssh/stock", "@groundwork/ours"
as_root = pytest.mark.skipif(
    os.geteuid() != 0 or shutil.which("sudo") is None, reason="needs root and sudo to become other users"
)


def streams(run: Run, command: Any, **arguments: Any) -> list[tuple[bool, list[str], list[str]]]:
    """What each host of the run gave: success, standard output, standard error."""
    given = []
    for host in run.hosts:
        succeeded, output = host.run_shell_command(command, **arguments)
        given.append((succeeded, output.stdout_lines, output.stderr_lines))
    return given


COMMANDS = {
    "nothing": "true",
    "both streams": "echo out; echo err >&2; echo again",
    "status": "echo before; exit 7",
    "not found": "no-such-program-anywhere",
    "syntax error": "if",
    "signal": "kill -TERM $$",
    "signal inside": "sh -c 'kill -KILL $$'; echo after",
    "no final newline": "printf 'one\\ntwo'",
    "only newlines": "printf '\\n\\n\\n'",
    "carriage returns": "printf 'a\\r\\nb\\rc\\n'",
    "NUL": "printf 'a\\000b\\nc\\n'",
    "invalid UTF-8": "printf 'fine\\n'; printf 'br\\377oken\\n'; printf 'never seen\\n'; echo err >&2",
    "invalid at the end": "printf 'fine\\ncut\\303'",
    "binary": "head -c 70000 /dev/zero",
    "UTF-8": "printf 'gr\\303\\274n \\342\\202\\254\\n'",
    "long line": "head -c 300000 /dev/zero | tr '\\0' x",
    "many lines": "seq 1 30000",
    "stderr alone": "seq 1 3000 >&2",
    "reads input": "cat; echo done",
    "here document": "cat <<'END'\nline $HOME `x`\nEND",
    "quotes": """echo "it's" 'a "b"' \\$x""",
    "looks like an answer": "printf '\\000\\000\\000\\006X\\000\\000\\000\\001exit 0'",
    "descriptors": "ls /proc/self/fd | wc -l",
    "working directory": "pwd; umask; echo $#; echo $0",
    "environment": "env | grep -v -e ^_= -e ^SHLVL= -e ^SSH_C | sort",
    "limits": "ulimit -a",
    "background": "(sleep 0.3; echo late) & echo first",
    "exec": "exec sh -c 'echo replaced; exit 5'",
}


def test_same_results(make_run: Make) -> None:
    run = make_run()
    # Twice: the first one also starts the shell.
    streams(run, StringCommand("true"))
    for name, command in COMMANDS.items():
        stock, ours = streams(run, StringCommand(command))
        assert ours == stock, name


def test_fifty_megabytes(make_run: Make) -> None:
    run = make_run()
    line = "a line of some length, repeated"
    stock, ours = streams(run, StringCommand(f"yes {line!r} | head -c 3000000"))
    assert ours == stock
    succeeded, output = run.ours.run_shell_command(StringCommand(f"yes {line!r} | head -c 50000000"))
    assert succeeded
    assert output.stdout == ((line + "\n") * (50000000 // 32 + 1))[:50000000].rstrip("\n")


ARGUMENTS: list[dict[str, Any]] = [
    {"_env": {"KEY": "it's a $value", "OTHER": "x"}},
    {"_chdir": "/usr/share"},
    {"_chdir": "/nonexistent"},
    {"_chdir": "/tmp", "_env": {"A": "b"}},
    {"_shell_executable": "bash"},
    {"_shell_executable": "/bin/sh"},
    {"_shell_executable": "no-such-shell"},
    {"_shell_executable": None},
    {"_success_exit_codes": [0, 3]},
    {"_success_exit_codes": [1]},
    {"_stdin": "given\nlines"},
    {"_stdin": ["a", "b"]},
    {"_timeout": 30},
    {"_sudo": False, "_su_user": None, "_retries": 2, "_retry_delay": 1},
]


def test_same_results_with_arguments(make_run: Make) -> None:
    command = StringCommand("pwd; echo $KEY $OTHER $A; tty; cat; exit 3")
    run = make_run()
    for arguments in ARGUMENTS * 2:
        stock, ours = streams(run, command, **arguments)
        assert ours == stock, arguments


def test_a_terminal_where_one_is_wanted(make_run: Make) -> None:
    stock, ours = streams(make_run(), StringCommand("test -t 0 && test -t 1 && echo terminal"), _get_pty=True)
    assert ours == stock
    assert stock[0]


BECOMING: list[dict[str, Any]] = [
    {"_sudo": True},
    {"_sudo": True, "_sudo_user": "nobody"},
    {"_sudo": True, "_sudo_user": "no-such-user"},
    {"_sudo": True, "_preserve_sudo_env": True},
    {"_sudo": True, "_use_sudo_login": True},
    {"_sudo": True, "_sudo_user": "nobody", "_chdir": "/tmp", "_env": {"KEY": "a b"}},
    {"_su_user": "root"},
    {"_su_user": "no-such-user"},
    {"_su_user": "nobody", "_su_shell": "bash"},
    {"_su_user": "root", "_use_su_login": True},
    {"_doas": True},
]


@as_root
def test_same_results_as_other_users(make_run: Make) -> None:
    command = StringCommand(
        "id; pwd; umask; echo $HOME $KEY '$literal'; env | cut -d= -f1 | grep -v ^SSH_C | sort; exit 4"
    )
    run = make_run()
    for arguments in BECOMING * 2:
        stock, ours = streams(run, command, **arguments)
        assert ours == stock, arguments


def test_hidden_values_reach_the_host(make_run: Make) -> None:
    command = StringCommand("echo", QuoteString(HiddenValue("a 'secret'")))
    stock, ours = streams(make_run(), command)
    assert ours == stock == (True, ["a 'secret'"], [])


@pytest.fixture
def printed_by(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What pyinfra's command line would have printed."""
    lines: list[str] = []
    monkeypatch.setattr("pyinfra.api.output._echo", lambda message="", **_: lines.append(message))
    return lines


def test_printed_output_is_the_same(make_run: Make, printed_by: list[str]) -> None:
    run = make_run()
    printed = []
    for host in run.hosts:
        host.run_shell_command(StringCommand("echo a; sleep 0.2; echo b >&2"), print_output=True, print_input=True)
        printed.append([line.split("]", 1)[1].strip() for line in printed_by])
        printed_by.clear()
    assert printed[0] == printed[1]
    assert len(printed[0]) == 3


def test_output_is_shown_while_the_command_runs(make_run: Make, printed_by: list[str]) -> None:
    run = make_run("@groundwork/ours")
    running = threading.Thread(
        target=run.ours.run_shell_command, args=(StringCommand("echo early; sleep 4"),), kwargs={"print_output": True}
    )
    running.start()
    until(lambda: any("early" in line for line in printed_by), "the output is shown")
    assert running.is_alive()
    running.join()


def test_timeout_ends_the_wait_and_the_next_command_works(make_run: Make) -> None:
    run = make_run("@groundwork/ours")
    assert run.ours.run_shell_command(StringCommand("true"))[0]
    started = time.monotonic()
    with pytest.raises(TimeoutError):
        run.ours.run_shell_command(StringCommand("echo begun; sleep 30"), _timeout=1)
    assert time.monotonic() - started < 10
    assert run.ours.run_shell_command(StringCommand("echo next"))[1].stdout_lines == ["next"]


def test_one_process_serves_many_commands(make_run: Make) -> None:
    run = make_run("@groundwork/ours")
    parents = {run.ours.run_shell_command(StringCommand("echo $PPID"))[1].stdout for _ in range(5)}
    assert len(parents) == 1


def test_a_new_session_where_a_session_would_begin_differently(make_run: Make, tmp_path: Path) -> None:
    run = make_run("@groundwork/ours")
    watched = Path.home() / ".pam_environment"
    if watched.exists():
        pytest.skip(f"{watched} is in use")
    parent = StringCommand("echo $PPID")
    before = run.ours.run_shell_command(parent)[1].stdout
    try:
        run.ours.run_shell_command(StringCommand("touch", QuoteString(str(watched))))
        after = run.ours.run_shell_command(parent)[1].stdout
        assert after != before
        assert run.ours.run_shell_command(parent)[1].stdout == after
    finally:
        watched.unlink(missing_ok=True)


def kill_shell(run: Run) -> None:
    parent = int(run.ours.run_shell_command(StringCommand("echo $PPID"))[1].stdout)
    os.kill(parent, signal.SIGKILL)


def test_a_shell_that_died_is_replaced(make_run: Make) -> None:
    run = make_run("@groundwork/ours")
    kill_shell(run)
    time.sleep(0.3)
    assert run.ours.run_shell_command(StringCommand("echo alive"))[1].stdout == "alive"


def test_a_command_whose_shell_dies_fails_and_is_not_repeated(make_run: Make, tmp_path: Path) -> None:
    run = make_run("@groundwork/ours")
    run.ours.run_shell_command(StringCommand("true"))
    count = tmp_path / "count"
    succeeded, output = run.ours.run_shell_command(
        StringCommand(f"echo ran >>{count}; echo said; sleep 0.2; kill -KILL $PPID; sleep 0.2")
    )
    assert not succeeded
    assert output.stdout_lines == ["said"]
    assert "the remote shell ended while the command ran" in output.stderr
    assert count.read_text() == "ran\n"
    assert run.ours.run_shell_command(StringCommand("echo alive"))[1].stdout == "alive"


def test_a_connection_that_breaks(make_run: Make, server: Server) -> None:
    run = make_run()
    for host in run.hosts:
        host.run_shell_command(StringCommand("true"))
    killer = threading.Timer(1.0, server.kill_connections)
    killer.start()
    succeeded, _ = run.ours.run_shell_command(StringCommand("sleep 20"))
    assert not succeeded
    errors = []
    for host in run.hosts:
        # Until paramiko's own thread has noticed, what it raises is another kind of error.
        deadline = time.monotonic() + 30
        while host.connector.client.get_transport().is_active() and time.monotonic() < deadline:
            time.sleep(0.05)
        with pytest.raises(Exception) as raised:
            host.run_shell_command(StringCommand("true"))
        errors.append((type(raised.value), str(raised.value)))
    assert errors[0] == errors[1]
    # And, as after a reboot, it can be connected again.
    run.ours.disconnect()
    run.ours.connected = False
    run.ours.connect(raise_exceptions=True)
    assert run.ours.run_shell_command(StringCommand("echo back"))[1].stdout == "back"


@pytest.mark.parametrize(
    "broken",
    [
        "perl is missing",
        "a start-up file prints something",
        "every command is replaced",
    ],
)
def test_falls_back_to_a_channel_for_each_command(server: Server, make_run: Make, tmp_path: Path, broken: str) -> None:
    server.stop()
    folder = tmp_path / "bin"
    folder.mkdir()
    for program in ("sh", "bash", "echo", "cat", "id"):
        (folder / program).symlink_to(shutil.which(program) or "")
    forced = {
        "perl is missing": f'PATH={folder} exec sh -c "$SSH_ORIGINAL_COMMAND"',
        "a start-up file prints something": 'echo welcome; exec sh -c "$SSH_ORIGINAL_COMMAND"',
        "every command is replaced": "echo only this; exit 1",
    }[broken]
    server.options = [f"ForceCommand {forced}"]
    server.start()
    run = make_run()
    for _ in range(3):
        stock, ours = streams(run, StringCommand("echo hello; echo err >&2; exit 0"))
        assert ours == stock
        assert stock[1]


def test_sessions_that_are_used_up(server: Server, make_run: Make) -> None:
    server.stop()
    server.options = ["MaxSessions 2"]
    server.start()
    run = make_run("@groundwork/ours")
    held = run.ours.connector.client.get_transport().open_session()
    other = run.ours.connector.client.get_transport().open_session()
    with pytest.raises(Exception, match=r"[Rr]efused|failed|denied|open"):
        run.ours.run_shell_command(StringCommand("echo no"))
    held.close()
    other.close()
    time.sleep(0.3)
    assert run.ours.run_shell_command(StringCommand("echo yes"))[1].stdout == "yes"


def test_two_at_once_do_not_wait_for_each_other(make_run: Make) -> None:
    run = make_run("@groundwork/ours")
    run.ours.run_shell_command(StringCommand("true"))
    long = threading.Thread(target=run.ours.run_shell_command, args=(StringCommand("sleep 5"),))
    long.start()
    time.sleep(0.5)
    started = time.monotonic()
    assert run.ours.run_shell_command(StringCommand("echo quick"))[1].stdout == "quick"
    assert time.monotonic() - started < 4
    long.join()


def test_no_disk_is_needed(make_run: Make) -> None:
    # A folder that nothing can be written to stands for a full disk and a read-only root.
    run = make_run()
    stock, ours = streams(run, StringCommand("seq 1 20000; echo err >&2"), _env={"TMPDIR": "/proc"})
    assert ours == stock


def test_files_go_and_come(make_run: Make, tmp_path: Path) -> None:
    run = make_run("@groundwork/ours")
    data = os.urandom(100_000)
    target = tmp_path / "target"
    assert run.ours.put_file(io.BytesIO(data), str(target))
    assert target.read_bytes() == data
    back = io.BytesIO()
    assert run.ours.get_file(str(target), back)
    assert back.getvalue() == data


UPLOADS: dict[str, Any] = {
    "text": io.StringIO("grün\n"),
    "empty": io.StringIO(""),
    "binary": io.BytesIO(bytes(range(256)) * 500),
    "two megabytes": io.BytesIO(b"x" * 2_000_000),
    "a name": __file__,
}


@as_root
def test_uploads_give_what_the_stock_connector_gives(make_run: Make, tmp_path: Path) -> None:
    """In every kind of place, as the user who is logged in, by sudo as root and as another user."""
    tmp_path.chmod(0o777)
    run = make_run(STOCK, OURS, ssh_user="root")
    becoming: list[dict[str, Any]] = [{}, {"_sudo": True}, {"_sudo": True, "_sudo_user": "nobody"}]
    for number, become in enumerate(becoming):
        for what, source in UPLOADS.items():
            found = []
            for host in run.hosts:
                folder = tmp_path / f"{number}-{what}-{host.name.replace('/', '-')}"
                make_places(folder)
                results = [upload(host, source, folder / place, become) for place in PLACES]
                found.append((results, state_of(folder)))
            assert found[0] == found[1], (become, what)


def upload(host: Any, source: Any, path: Path, become: dict[str, Any]) -> object:
    try:
        return host.put_file(source, str(path), **become)
    except OSError as error:
        return str(error)


PLACES = ("new", "there", "others", "secret", "link", "it's", "a b", "broken", "folder", "missing/new", "new/below")


def make_places(folder: Path) -> None:
    folder.mkdir()
    folder.chmod(0o777)
    for name, mode in (("there", 0o666), ("others", 0o644), ("secret", 0o600), ("it's", 0o666), ("target", 0o666)):
        (folder / name).write_text("a longer text that was there before\n" * 9)
        (folder / name).chmod(mode)
    (folder / "link").symlink_to("target")
    (folder / "broken").symlink_to("nothing")
    (folder / "folder").mkdir(mode=0o755)


def state_of(folder: Path) -> dict[str, tuple[int, int, str | bytes]]:
    found: dict[str, tuple[int, int, str | bytes]] = {}
    for path in sorted(folder.rglob("*")):
        status = path.lstat()
        kept: str | bytes = str(path.readlink()) if path.is_symlink() else path.read_bytes() if path.is_file() else ""
        # A folder takes a copy under the name that the file had on its way.
        name = "in the folder" if path.parent != folder else path.name
        found[name] = (status.st_mode, status.st_uid, kept)
    return found


def test_an_upload_goes_straight_to_its_place(make_run: Make, tmp_path: Path) -> None:
    run = make_run(OURS)
    connector: Any = run.ours.connector
    assert run.ours.put_file(io.StringIO("x"), str(tmp_path / "there"))
    assert not connector.get_file_transfer_connection.cache
    assert (tmp_path / "there").read_text() == "x"
    # Who wants to see the commands has pyinfra's own.
    assert run.ours.put_file(io.StringIO("y"), str(tmp_path / "there"), print_input=True)
    assert connector.get_file_transfer_connection.cache


def test_an_upload_whose_shell_dies_is_made_another_way(make_run: Make, server: Server, tmp_path: Path) -> None:
    run = make_run(OURS)
    assert run.ours.run_shell_command(StringCommand("true"))[0]
    shell = next(process for process in server.descendants() if is_agent(process))
    os.kill(shell, signal.SIGKILL)
    assert run.ours.put_file(io.StringIO("x"), str(tmp_path / "there"))
    assert (tmp_path / "there").read_text() == "x"


def is_agent(process: int) -> bool:
    return b"perl" in Path(f"/proc/{process}/cmdline").read_bytes().split(b"\0")[0]


def test_errors_of_connecting_are_the_same(server: Server, make_run: Make, tmp_path: Path) -> None:
    (tmp_path / "none").write_text("")
    wrong: list[dict[str, Any]] = [
        {"ssh_port": 1},
        {"ssh_known_hosts_file": str(tmp_path / "none")},
        {"ssh_user": "no-such-user"},
        {"ssh_hostname": "no-such-host.invalid"},
    ]
    for data in wrong:
        told = []
        for name in ("@ssh/stock", "@groundwork/ours"):
            with pytest.raises(ConnectError) as raised:
                make_run(name, **data)
            told.append(str(raised.value).replace("@ssh/", ""))
        assert told[0] == told[1]


def test_names_of_the_connector() -> None:
    assert list(GroundworkConnector.make_names_data("a.example.org")) == [
        ("a.example.org", {"ssh_hostname": "a.example.org"}, [])
    ]
    with pytest.raises(Exception, match="No host given"):
        list(GroundworkConnector.make_names_data(None))
