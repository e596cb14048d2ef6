from __future__ import annotations

import base64
import hashlib
import json
import tarfile
import threading
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from groundwork.problems import ProblemError
from roles.agent_runtime.sources import Target, compute_source_digest, find_sources, list_source_files
from roles.agent_runtime.wheelhouse import Wheelhouse, list_locked_names, prepare_wheelhouse
from roles.agent_runtime.wheels import inspect_wheel

Make = Callable[..., Path]
INFO = "tiny_agents-1.2.dist-info"
TARGET = Target("3.13", "x86_64")


def test_a_whole_wheel_is_accepted(make_wheel: Make, tmp_path: Path) -> None:
    description = inspect_wheel(make_wheel(tmp_path))
    assert (description.name, description.version, description.requirements) == ("tiny-agents", "1.2", ())


def spoil(**files: str | None) -> Callable[[dict[str, str]], None]:
    def change(content: dict[str, str]) -> None:
        for name, text in files.items():
            path = f"{INFO}/{name}" if name.isupper() else f"{name}.py"
            if text is None:
                del content[path]
            else:
                content[path] = text

    return change


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (spoil(RECORD=None), "it has no RECORD"),
        (spoil(METADATA=None), "it has no METADATA"),
        (spoil(METADATA="Name: other\nVersion: 1.2\n"), "its metadata say other 1.2"),
        (spoil(METADATA="Name: tiny-agents\nVersion: 9\n"), "its metadata say tiny-agents 9"),
        (spoil(tiny_agents="x = 2\n"), r"tiny_agents\.py differs from its RECORD"),
        (spoil(tiny_agents=None), r"tiny_agents\.py is in its RECORD and not in it"),
        (spoil(added="x = 1\n"), r"RECORD has no checksum of added\.py"),
    ],
)
def test_a_spoilt_wheel_is_one_problem(
    make_wheel: Make, tmp_path: Path, change: Callable[[dict[str, str]], None], message: str
) -> None:
    with pytest.raises(ProblemError, match=message) as raised:
        inspect_wheel(make_wheel(tmp_path, change))
    assert len(raised.value.problems) == 1


@pytest.mark.parametrize("content", [b"", b"not a zip", b"PK\x03\x04 cut off"])
def test_what_is_no_zip_is_one_problem(tmp_path: Path, content: bytes) -> None:
    wheel = tmp_path / "tiny_agents-1.2-py3-none-any.whl"
    wheel.write_bytes(content)
    with pytest.raises(ProblemError, match="not a readable zip archive"):
        inspect_wheel(wheel)


def test_a_cut_off_wheel_is_one_problem(make_wheel: Make, tmp_path: Path) -> None:
    wheel = make_wheel(tmp_path)
    wheel.write_bytes(wheel.read_bytes()[:-40])
    with pytest.raises(ProblemError, match="not a readable zip archive"):
        inspect_wheel(wheel)


def test_the_file_name_must_be_a_wheels(make_wheel: Make, tmp_path: Path) -> None:
    with pytest.raises(ProblemError, match="its file name is not that of a wheel"):
        inspect_wheel(make_wheel(tmp_path, name="agents.whl"))


def prepare(case: Any, root: Path) -> Wheelhouse:
    return prepare_wheelhouse(root, case.platform, root, TARGET)


@pytest.fixture
def wheel_case(make_wheel: Make, case: Any, tmp_path: Path) -> Any:
    wheel = make_wheel(tmp_path)
    case.manifest["runtime"] = {"package": {"wheel": wheel.name}, "launcher": "tiny_agents"}
    return case


def test_a_wheelhouse_holds_the_wheel_and_what_to_try(wheel_case: Any, tmp_path: Path) -> None:
    wheelhouse = prepare(wheel_case, tmp_path)
    assert wheelhouse.release.startswith("1.2+")
    assert len(wheelhouse.release) == len("1.2+") + 8
    with tarfile.open(wheelhouse.archive) as tar:
        assert tar.getnames() == ["release.json", "wheels/tiny_agents-1.2-py3-none-any.whl"]
        stream = tar.extractfile("release.json")
        assert stream
        content = json.load(stream)
    assert content["imports"].split()[0] == "tiny_agents"
    assert wheelhouse.archive.parent.stat().st_mode & 0o777 == 0o755


def test_two_at_once_make_one_wheelhouse(wheel_case: Any, tmp_path: Path) -> None:
    made: list[Wheelhouse] = []
    threads = [threading.Thread(target=lambda: made.append(prepare(wheel_case, tmp_path))) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert len(set(made)) == 1
    assert len(made) == 4
    left = [path.name for path in (tmp_path / ".cache/wheelhouse").iterdir() if not path.name.endswith(".lock")]
    assert left == [made[0].archive.parent.name]


def test_what_a_killed_run_left_is_made_anew(wheel_case: Any, tmp_path: Path) -> None:
    first = prepare(wheel_case, tmp_path)
    (first.archive.parent / "wheelhouse.json").unlink()
    first.archive.write_bytes(b"half")
    again = prepare(wheel_case, tmp_path)
    assert again == first
    with tarfile.open(again.archive) as tar:
        assert tar.getnames()


def test_dependencies_must_be_pinned(make_wheel: Make, wheel_case: Any, tmp_path: Path) -> None:
    def change(files: dict[str, str]) -> None:
        files[f"{INFO}/METADATA"] += 'Requires-Dist: redis>=6\nRequires-Dist: ruff; extra == "dev"\n'

    spoilt = make_wheel(tmp_path, change)
    record = f"{INFO}/RECORD"
    # The checksum of the metadata is taken anew: the wheel is whole, its dependency is what is wrong.
    with zipfile.ZipFile(spoilt) as archive:
        files = {name: archive.read(name) for name in archive.namelist()}
    metadata = files[f"{INFO}/METADATA"]
    digest = base64.urlsafe_b64encode(hashlib.sha256(metadata).digest()).rstrip(b"=").decode()
    lines = [line for line in files[record].decode().splitlines() if "METADATA" not in line]
    files[record] = "\n".join([*lines, f"{INFO}/METADATA,sha256={digest},{len(metadata)}"]).encode()
    with zipfile.ZipFile(spoilt, "w") as archive:
        for name, content in files.items():
            archive.writestr(name, content)
    with pytest.raises(ProblemError, match=r"tiny-agents 1\.2 needs redis, which no requirements file pins"):
        prepare(wheel_case, tmp_path)
    assert not list((tmp_path / ".cache/wheelhouse").glob("*/release.tar"))


def test_locked_names_are_found() -> None:
    lock = "# comment\nRedis_Py==6.2 \\\n    --hash=sha256:abc\nuvicorn[standard]==0.34 ; python_version>'3'\n"
    assert list_locked_names(lock) == {"redis-py", "uvicorn"}


def test_missing_sources_are_problems(case: Any, tmp_path: Path) -> None:
    case.manifest["runtime"]["package"] = {"directory": "nowhere"}
    with pytest.raises(ProblemError) as raised:
        find_sources(case.platform.runtime, tmp_path)
    assert [problem.key for problem in raised.value.problems] == ["runtime.package.directory", "runtime.requirements"]


def test_the_digest_follows_sources_and_nothing_else(case: Any, tmp_path: Path) -> None:
    source = tmp_path / "source"
    (source / "__pycache__").mkdir(parents=True)
    (source / "pyproject.toml").write_text("[project]\n")
    (tmp_path / "lock").write_text("")
    case.manifest["runtime"] |= {"package": {"directory": "source"}, "requirements": "lock"}
    sources = find_sources(case.platform.runtime, tmp_path)
    before = compute_source_digest(sources, TARGET)
    (source / "__pycache__/x.pyc").write_text("x")
    (source / ".git").mkdir()
    (source / ".git/HEAD").write_text("x")
    assert [path.name for path in list_source_files(source)] == ["pyproject.toml"]
    assert compute_source_digest(sources, TARGET) == before
    assert compute_source_digest(sources, Target("3.11", "x86_64")) != before
    (tmp_path / "lock").write_text("redis==6.2\n")
    assert compute_source_digest(sources, TARGET) != before
