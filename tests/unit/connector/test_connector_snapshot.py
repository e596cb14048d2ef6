"""Facts asked ahead of time: when they are used, when they are not, and what is written down."""

from __future__ import annotations

import json
import os
import re
import shlex
import stat
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from pyinfra.api import FactBase, FunctionCommand, HiddenValue, QuoteString, StringCommand
from pyinfra.facts.files import Directory, File, FileContents, FindInFile, Link, Sha1File, Sha256File
from pyinfra.facts.server import Hostname, Users

from groundwork.connector import shell, snapshot
from groundwork.connector.memory import Memory
from groundwork.facts.placed_files import PlacedFile

if TYPE_CHECKING:
    from conftest import Run

Make = Callable[..., "Run"]
OURS = "@groundwork/ours"


class Count(FactBase[int]):
    """How often it was asked on the host: a command with a trace, for the tests."""

    def command(self, path: str) -> StringCommand:
        return StringCommand("echo asked >>", QuoteString(path), "; wc -l <", QuoteString(path))

    def process(self, output: list[str]) -> int:
        return int(output[0])


class Text(FactBase[str]):
    """A file's first line, by a command that is not grouped."""

    def command(self, path: str) -> StringCommand:
        return StringCommand("head -n 1", QuoteString(path))


class Secret(FactBase[str]):
    def command(self) -> StringCommand:
        return StringCommand("echo", QuoteString(HiddenValue("very-secret")), "| wc -c")


class Slow(FactBase[str]):
    def command(self) -> str:
        return "sleep 6; echo slow"


@pytest.fixture
def counted(tmp_path: Path) -> Path:
    return tmp_path / "count"


@pytest.fixture
def counts(counted: Path) -> Callable[[], int]:
    return lambda: len(counted.read_text().splitlines()) if counted.exists() else 0


@pytest.fixture
def known(make_run: Make, counted: Path, tmp_path: Path) -> Iterator[Path]:
    """After a first run that asked for ``Count`` and ``Text``."""
    (tmp_path / "text").write_text("first\n")
    first = make_run(OURS)
    first.fact(Text, path=str(tmp_path / "text"))
    first.fact(Count, path=str(counted))
    first.close()
    counted.unlink()
    yield tmp_path / "text"


def test_the_next_run_asks_everything_at_once(
    make_run: Make, known: Path, counted: Path, counts: Callable[[], int]
) -> None:
    run = make_run(OURS)
    assert counts() == 0, "nothing is asked before the first fact"
    assert run.fact(Text, path=str(known)) == "first"
    # Answered before it was asked, and once for two who ask.
    assert run.fact(Count, path=str(counted)) == 1
    assert run.fact(Count, path=str(counted)) == 1
    assert counts() == 1


def test_a_command_ends_the_snapshot_on_every_host(make_run: Make, known: Path, counted: Path) -> None:
    run = make_run(OURS, "@groundwork/other")
    other = run.state.inventory.get_host("other")
    assert run.fact(Text, path=str(known)) == "first"
    other.run_shell_command(StringCommand(f"echo second >{known}"))
    assert run.fact(Text, path=str(known)) == "second"
    run.ours.run_shell_command(StringCommand(f"echo third >{known}"))
    assert run.fact(Text, path=str(known)) == "third"
    # From then on each is asked when it is needed.
    known.write_text("fourth\n")
    assert run.fact(Text, path=str(known)) == "fourth"


def test_an_upload_ends_the_snapshot(make_run: Make, known: Path, tmp_path: Path) -> None:
    run = make_run(OURS)
    assert run.fact(Text, path=str(known)) == "first"
    (tmp_path / "new").write_text("uploaded\n")
    run.ours.put_file(str(tmp_path / "new"), str(known))
    assert run.fact(Text, path=str(known)) == "uploaded"


def test_a_python_function_ends_the_snapshot(make_run: Make, known: Path) -> None:
    run = make_run(OURS)
    assert run.fact(Text, path=str(known)) == "first"
    FunctionCommand(lambda state, host: known.write_text("called\n"), (), {}).execute(run.state, run.ours, {})
    assert run.fact(Text, path=str(known)) == "called"


def test_a_connection_of_its_own_ends_the_snapshot(make_run: Make, known: Path) -> None:
    run = make_run(OURS)
    assert run.fact(Text, path=str(known)) == "first"
    second: Any = type(run.ours.connector)(run.state, run.ours)
    second.connect()
    second.run_shell_command(StringCommand(f"echo elsewhere >{known}"))
    second.client.close()
    assert run.fact(Text, path=str(known)) == "elsewhere"


def test_a_new_stage_and_age_end_the_snapshot(make_run: Make, known: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from pyinfra.api.state import StateStage

    run = make_run(OURS)
    assert run.fact(Text, path=str(known)) == "first"
    known.write_text("while the user thought about the plan\n")
    run.state.current_stage = StateStage.Execute
    assert run.fact(Text, path=str(known)).startswith("while")
    known.write_text("later\n")
    monkeypatch.setattr(snapshot, "MOST_AGE", 0.0)
    assert run.fact(Text, path=str(known)) == "later"


def test_an_operation_that_keeps_asking_gets_a_new_answer(make_run: Make, known: Path) -> None:
    run = make_run(OURS)
    run.ours.current_op_hash, run.ours.in_op = "one", True
    assert run.fact(Text, path=str(known)) == "first"
    known.write_text("waited for\n")
    assert "waited for" in [run.fact(Text, path=str(known)) for _ in range(3)]
    known.write_text("waited on\n")
    assert run.fact(Text, path=str(known)) == "waited on"


def test_an_operation_that_asks_later_gets_a_new_answer(make_run: Make, known: Path) -> None:
    run = make_run(OURS)
    run.ours.current_op_hash, run.ours.in_op = "one", True
    assert run.fact(Text, path=str(known)) == "first"
    known.write_text("waited for\n")
    time.sleep(snapshot.MOST_SECONDS + 0.1)
    assert run.fact(Text, path=str(known)) == "waited for"


def test_a_python_function_that_waits_is_never_answered_from_before(make_run: Make, known: Path) -> None:
    run = make_run(OURS, check=False)
    run.state.is_executing = True
    assert run.fact(Text, path=str(known)) == "first"
    known.write_text("waited for\n")
    assert run.fact(Text, path=str(known)) == "waited for"


@pytest.mark.parametrize("how", ["data", "environment"])
def test_without_a_snapshot(
    make_run: Make, known: Path, counted: Path, how: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    if how == "environment":
        monkeypatch.setenv("GROUNDWORK_NO_SNAPSHOT", "1")
        run = make_run(OURS)
    else:
        run = make_run(OURS, groundwork_snapshot=False)
    assert run.fact(Text, path=str(known)) == "first"
    known.write_text("changed by others\n")
    assert run.fact(Text, path=str(known)) == "changed by others"
    assert not counted.exists()


def test_a_failing_command_is_asked_again(make_run: Make, known: Path) -> None:
    run = make_run(OURS)
    known.rename(known.with_suffix(".away"))
    with pytest.raises(Exception, match=r"."):
        run.fact(Text, path=str(known))
        raise AssertionError("pyinfra notes the failure in its state")
    known.with_suffix(".away").rename(known)


def test_a_slow_command_does_not_hold_up_the_others(
    make_run: Make, known: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shell, "AHEAD_SECONDS", 1)
    first = make_run(OURS)
    first.fact(Slow)
    first.fact(Text, path=str(known))
    first.close()
    run = make_run(OURS)
    started = time.monotonic()
    assert run.fact(Text, path=str(known)) == "first"
    assert time.monotonic() - started < 5.5
    assert run.fact(Slow) == "slow"


def test_what_is_written_down(make_run: Make, known: Path, tmp_path: Path) -> None:
    run = make_run(OURS)
    run.fact(Secret)
    run.fact(Text, path=str(known), _env={"TOKEN": "hidden-in-environment"})
    run.fact(Text, path=str(known))
    run.close()
    folder = tmp_path / "cache" / "groundwork" / "facts"
    files = list(folder.iterdir())
    assert [stat.S_IMODE(path.stat().st_mode) for path in [folder, *files]] == [0o700, 0o600]
    text = files[0].read_text()
    assert "very-secret" not in text
    assert "hidden-in-environment" not in text
    assert "first" not in text, "answers are not written down"
    assert {"text": f"head -n 1 {known}", "shell": "sh", "identity": [], "missed": 0} in json.loads(text)["commands"]


def test_what_is_not_asked_any_more_is_forgotten(make_run: Make, known: Path, tmp_path: Path) -> None:
    for _ in range(6):
        run = make_run(OURS)
        run.fact(Text, path=str(known))
        run.close()
    (path,) = (tmp_path / "cache/groundwork/facts").iterdir()
    assert [one["text"].split()[0] for one in json.loads(path.read_text())["commands"]] == ["head"]
    before = path.stat().st_mtime_ns
    run = make_run(OURS)
    run.fact(Text, path=str(known))
    run.close()
    assert path.stat().st_mtime_ns == before, "nothing is written where nothing is new"


@pytest.mark.parametrize("fault", ["others may write the file", "others may write the folder", "link", "damaged"])
def test_a_file_that_cannot_be_trusted_is_not_used(
    make_run: Make, known: Path, counted: Path, tmp_path: Path, fault: str
) -> None:
    folder = tmp_path / "cache/groundwork/facts"
    (path,) = folder.iterdir()
    if fault == "others may write the file":
        path.chmod(0o620)
    elif fault == "others may write the folder":
        folder.chmod(0o777)
    elif fault == "link":
        path.rename(tmp_path / "elsewhere")
        path.symlink_to(tmp_path / "elsewhere")
    else:
        path.write_text('{"version": 1, "host": "ours"')
    run = make_run(OURS)
    assert run.fact(Text, path=str(known)) == "first"
    assert not counted.exists()


def test_memory_without_a_home(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    memory = Memory("/project", "deploy.py", "host", tmp_path / "file" / "folder")
    assert memory.commands(()) == []
    memory.save()


def odd_paths(folder: Path) -> list[str]:
    """Things of many kinds below a folder, and what is not there."""
    (folder / "plain").write_text("one\ntwo\n")
    (folder / "a b").write_text("no newline")
    (folder / "it's").write_text("quoted\n")
    (folder / "back\\slash").write_text("x\n")
    (folder / "new\nline").write_text("x\n")
    (folder / "ünïcode").write_text("ü\n")
    (folder / "empty").write_text("")
    (folder / "binary").write_bytes(bytes(range(256)) * 40)
    (folder / "-dash").write_text("x\n")
    (folder / "folder").mkdir()
    (folder / "link").symlink_to("plain")
    (folder / "broken").symlink_to("nothing")
    (folder / "arrow -> here").symlink_to("plain")
    (folder / "mode").write_text("x\n")
    (folder / "mode").chmod(0o4751)
    os.mkfifo(folder / "fifo")
    names = [path.name for path in folder.iterdir()]
    return [str(folder / name) for name in [*names, "missing", "missing/too"]] + [
        "~/",
        "~/none",
        "/etc/passwd",
        "/dev/null",
    ]


def test_grouped_answers_are_those_of_single_commands(make_run: Make, tmp_path: Path) -> None:
    folder = tmp_path / "things"
    folder.mkdir()
    # pyinfra's Link cannot take an arrow in a name.
    paths = [path for path in odd_paths(folder) if "->" not in path]
    facts: list[tuple[Any, dict[str, Any]]] = [
        (fact, {"path": path})
        for fact in (File, Directory, Link, Sha1File, Sha256File, PlacedFile, FindInFile, FileContents)
        for path in paths
        # Reading a FIFO waits for a writer.
        if not (path.endswith("fifo") and fact in (Sha1File, Sha256File, FileContents, FindInFile))
    ]
    facts = [(fact, data | ({"pattern": "one"} if fact is FindInFile else {})) for fact, data in facts]
    facts += [(Hostname, {}), (Users, {})]
    learning = make_run()
    stock = learning.hosts[0]
    expected = [stripped(learning.fact(fact, stock, **data)) for fact, data in facts]
    for (fact, data), alone in zip(facts, expected, strict=True):
        assert stripped(learning.fact(fact, **data)) == alone, (fact.__name__, data)
    learning.close()
    run = make_run(OURS)
    for (fact, data), alone in zip(facts, expected, strict=True):
        assert stripped(run.fact(fact, **data)) == alone, (fact.__name__, data)


def stripped(value: Any) -> Any:
    """Without the time of access, which asking moves."""
    return {key: one for key, one in value.items() if key != "atime"} if isinstance(value, dict) else value


def test_raw_output_of_grouped_commands(make_run: Make, tmp_path: Path) -> None:
    """Byte for byte, below pyinfra's facts."""
    from groundwork.connector.grouping import group_requests, recognise

    folder = tmp_path / "things"
    folder.mkdir()
    commands = []
    for path in odd_paths(folder):
        for fact in (File, Sha1File, PlacedFile, FileContents):
            command = fact().command(path)
            text = command if isinstance(command, str) else command.get_raw_value()
            if not path.endswith("fifo"):
                commands.append(("sh", text))
    for name in ("plain", "empty", "binary", "ünïcode", "folder", "link", "broken", "missing", "marks"):
        (folder / "marks").write_text('a+b (c)\n  t.o <x> "y"\nlast, no newline')
        for pattern in (
            "^.*one.*$",
            "^two$",
            "^.*t.o.*$",
            "^none.*$",
            '^.*"y"$',
            "^  t.o <x>.*$",
            "^last, no newline$",
        ):
            commands.append(("sh", FindInFile().command(str(folder / name), pattern).get_raw_value()))
    commands.append(("sh", str(Users().command())))
    kinds = {recognise(text)[0].split()[0] for _, text in commands if recognise(text)}  # type: ignore[index]
    assert kinds == {"stat", "sum", "placed", "content", "find", "users"}
    run = make_run(OURS)
    connector: Any = run.ours.connector
    single = {text: run.ours.run_shell_command(StringCommand(text)) for _, text in commands}
    remote = connector._shells.get((), {})
    requests, numbers = group_requests(commands, remote.next_number)
    answers = remote.send_ahead(requests, numbers.values())
    for _, text in commands:
        answer = answers[numbers["sh", text]]
        remote.greet()
        remote.wait_for(answer, time.monotonic() + 60)
        succeeded, output = single[text]
        if "binary" not in text or "grep" in text:
            told = without_access(answer.output.decode()), without_access(answer.errors.decode()), answer.status == 0
            alone = without_access(output.stdout), without_access(output.stderr), succeeded
            assert told == alone, text


def without_access(text: str) -> str:
    """Without the time of access, which reading moves."""
    return re.sub(r" atime=\d+ ", " ", text.rstrip("\n"))


def test_accounts_are_told_exactly(tmp_path: Path) -> None:
    """Also where something about the accounts is odd; then by the command as it stands."""
    if subprocess.run(["unshare", "--mount", "true"], capture_output=True, check=False).returncode:
        pytest.skip("accounts of its own need a mount namespace")
    own = tmp_path / "etc"
    own.mkdir()
    files = {name: Path("/etc", name).read_text() for name in ("passwd", "shadow", "group")}
    odd = {
        "as they are": "",
        "backslash": "odd:x:990:990:a\\nb:/nonexistent:/bin/false\n",
        "not ASCII": "odd:x:990:990:Jürgen:/nonexistent:/bin/false\n",
        "dot": "o.d:x:990:990::/nonexistent:/bin/false\nodd:x:991:991::/nonexistent:/bin/false\n",
        "twice": files["passwd"].splitlines()[0] + "\n",
        "no such group": "odd:x:990:54321::/nonexistent:/bin/false\n",
    }
    for what, line in odd.items():
        for name, text in files.items():
            (own / name).write_text(text + (line if name == "passwd" else ""))
        # A mount namespace of its own for the accounts that both see.
        binding = " && ".join(f"mount --bind {own / name} /etc/{name}" for name in files)
        within = ["unshare", "--mount", "sh", "-c", f'{binding} && exec "$@"', "sh"]
        command = str(Users().command())
        single = subprocess.run([*within, "sh", "-c", command], capture_output=True, check=True).stdout
        assert asked_of_a_remote_end([*within, "sh", "-c", shell.starting_command()], command) == single, what


def asked_of_a_remote_end(starting: list[str], text: str) -> bytes:
    """The standard output of a command that is asked ahead, alone."""
    from groundwork.connector.grouping import group_requests

    requests, _ = group_requests([("sh", text)], lambda: 1)
    assert requests[0][1] == "probe"
    with subprocess.Popen(starting, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        process.stdin.write(shell._program("0" * 32) + b"".join(shell._frame(request) for request in requests))
        process.stdin.flush()
        assert process.stdout.read(32) == b"0" * 32
        output = b""
        while True:
            frame = process.stdout.read(int.from_bytes(process.stdout.read(4), "big"))
            if frame[:1] == b"X":
                break
            output += frame[5:] if frame[:1] == b"O" else b""
        process.stdin.close()
    return output


def test_commands_that_only_look_alike_are_not_grouped() -> None:
    from groundwork.connector.grouping import recognise

    def text(fact: Any, path: str) -> str:
        return str(fact().command(path).get_raw_value())

    assert recognise(text(File, "/etc/passwd")) is not None
    assert recognise(text(File, "/etc/pass wd")) is not None
    for odd in (
        text(File, "relative"),
        text(File, "-x"),
        text(File, "/it's"),
        text(File, "/a\\b"),
        text(File, "/a\nb"),
        text(File, "/etc/passwd") + "; rm x",
        "cd / && " + text(File, "/etc/passwd"),
        text(File, "/etc/passwd").replace("/etc/passwd", "/etc/shadow", 1),
        shlex.join(["echo", text(File, "/etc/passwd")]),
    ):
        assert recognise(odd) is None, odd
