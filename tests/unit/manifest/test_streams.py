"""Streams of NATS: what is refused before NATS would, and where the mistake stands."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from groundwork.manifest import load
from groundwork.manifest.patterns import covers, overlap
from groundwork.problems import Problem, ProblemError

MANIFEST = """\
version: 1
platform: small
runtime:
  package: {directory: package}
services:
  nats:
    hosts: data
    jetstream: {}
    streams:
      orders:
        subjects: [orders.>]
        retention: work_queue
        consumers:
          fast: {filter: orders.fast.*}
          slow: {filter: orders.slow.*}
      prices: {subjects: [prices.*, rates]}
groups:
  work:
    hosts: app
    module: run.worker
    needs:
      - name: nats
        streams: [orders, {name: prices, dynamic_consumers: true}]
    agents: {writer: {port: 9000}}
lab: {hosts: {app: [app], data: [data]}}
"""


def problems(folder: Path, old: str, new: str) -> tuple[Problem, ...]:
    assert MANIFEST.count(old) == 1
    (folder / "package").mkdir()
    (folder / "small.yaml").write_text(MANIFEST.replace(old, new))
    try:
        load(folder, "small", "lab")
    except ProblemError as error:
        return error.problems
    return ()


def test_streams_and_their_use_are_read(tmp_path: Path) -> None:
    assert problems(tmp_path, "version: 1", "version: 1") == ()
    uses = load(tmp_path, "small", "lab").platform.groups["work"].needs[0].streams
    assert [(use.name, use.dynamic_consumers) for use in uses] == [("orders", False), ("prices", True)]


@pytest.mark.parametrize(
    ("old", "new", "key", "words"),
    [
        ("streams: [orders,", "streams: [ordrs,", "groups.work.needs.0.streams.0", "orders"),
        ("subjects: [prices.*, rates]", "subjects: [orders.new]", "services.nats.streams.prices.subjects.0", "already"),
        ("subjects: [prices.*, rates]", "subjects: [a.*, a.b]", "services.nats.streams.prices.subjects.1", "already"),
        ("subjects: [prices.*, rates]", "subjects: ['>']", "services.nats.streams.prices.subjects.0", "wildcard"),
        ("subjects: [prices.*, rates]", "subjects: [$JS.API.>]", "services.nats.streams.prices.subjects.0", "server"),
        ("subjects: [prices.*, rates]", "subjects: [_INBOX.>]", "services.nats.streams.prices.subjects.0", "inbox"),
        ("filter: orders.slow.*", "filter: prices.x", "services.nats.streams.orders.consumers.slow.filter", "outside"),
        ("filter: orders.slow.*", "filter: a b", "services.nats.streams.orders.consumers.slow.filter", "no subject"),
        ("{filter: orders.slow.*}", "{}", "services.nats.streams.orders.consumers.slow.filter", "work queue"),
        ("{filter: orders.slow.*}", "{filter: orders.>}", "services.nats.streams.orders.consumers.slow.filter", "fast"),
    ],
)
def test_mistakes_are_found_with_their_line(tmp_path: Path, old: str, new: str, key: str, words: str) -> None:
    (found,) = problems(tmp_path, old, new)
    assert found.key == key
    assert words in f"{found.message} {found.allowed}"
    assert Path(found.file) == tmp_path / "small.yaml"
    if "{}" not in new:
        line = MANIFEST.replace(old, new).splitlines()[found.line - 1]
        assert new in line


def test_streams_belong_to_nats_alone(tmp_path: Path) -> None:
    (found,) = problems(tmp_path, "      - name: nats", "      - name: writer")
    assert found.key == "groups.work.needs.0.streams"
    assert found.message == "streams is for nats only"


TOKENS = st.lists(st.sampled_from(["a", "b", "*"]), min_size=1, max_size=4)
PATTERNS = st.builds(lambda tokens, rest: ".".join([*tokens, *rest]), TOKENS, st.sampled_from([[], [">"]]))
SUBJECTS = st.lists(st.sampled_from(["a", "b", "c"]), min_size=1, max_size=6).map(".".join)


def matches(pattern: str, subject: str) -> bool:
    """The rule of the documentation, written another way."""
    words, body = subject.split("."), pattern.removesuffix(".>").split(".")
    fits = all(token in ("*", word) for token, word in zip(body, words, strict=False))
    return fits and (len(words) > len(body) if pattern.endswith(">") else len(words) == len(body))


@given(PATTERNS, PATTERNS, SUBJECTS)
def test_patterns_say_what_single_subjects_show(one: str, other: str, subject: str) -> None:
    both: Any = (matches(one, subject), matches(other, subject))
    if all(both):
        assert overlap(one, other)
    if both == (False, True):
        assert not covers(one, other)
    if covers(one, other):
        assert overlap(one, other)
    assert overlap(one, other) == overlap(other, one)
    assert covers(one, subject) == overlap(one, subject) == both[0]
