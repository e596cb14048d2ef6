"""Files of nvidia-mig-parted: taken over whole, their silent traps refused."""

from __future__ import annotations

import pytest

from groundwork.gpu.products import find_product
from groundwork.problems import ProblemError
from roles.gpu.cards import Card
from roles.gpu.mig_parted import (
    Entry,
    describe_layout,
    read_configurations,
    resolve,
    write_configurations,
)

FILE = """\
version: v1
mig-configs:
  all-disabled:
    - devices: all
      mig-enabled: false
  all-enabled:
    - devices: all
      mig-enabled: true
      mig-devices: {}
  all-balanced:
    - device-filter: ["0x20B010DE", "0x20B110DE"]
      devices: all
      mig-enabled: true
      mig-devices:
        "1g.5gb": 2
        "2g.10gb": 1
        "3g.20gb": 1
    - device-filter: "0x233510DE:0x18BE10DE"
      devices: [1]
      mig-enabled: true
      mig-devices: {"1g.18gb": 2, "2g.35gb": 1, "3g.71gb": 1}
"""


def card(name: str, index: int = 0) -> Card:
    product = find_product(name)
    profiles = product.profiles if product else ()
    return Card(index, name, mig=product is not None, compute_slices=product.compute_slices if product else 0,
                profiles=profiles)  # fmt: skip


A100, H200, RTX = card("NVIDIA A100-SXM4-40GB"), card("NVIDIA H200", 1), card("NVIDIA GeForce RTX 4090", 2)


def test_a_file_is_read_resolved_and_written_back() -> None:
    found = read_configurations(FILE, "config.yaml")
    assert list(found) == ["all-disabled", "all-enabled", "all-balanced"]
    assert resolve(found["all-balanced"], [A100, H200], "all-balanced") == {
        0: {"1g.5gb": 2, "2g.10gb": 1, "3g.20gb": 1},
        1: {"1g.18gb": 2, "2g.35gb": 1, "3g.71gb": 1},
    }
    assert resolve(found["all-enabled"], [A100], "all-enabled") == {0: {}}
    assert resolve(found["all-disabled"], [A100, RTX], "all-disabled") == {0: None, 2: None}
    assert read_configurations(write_configurations(found), "again") == found


def entry(change: str, old: str = "      mig-enabled: true\n") -> str:
    whole = "version: v1\nmig-configs:\n  x:\n    - devices: all\n      mig-enabled: true\n"
    whole += '      mig-devices: {"1g.5gb": 7}\n'
    assert old in whole
    return whole.replace(old, change)


@pytest.mark.parametrize(
    ("text", "line", "message"),
    [
        (entry('{"1g.5gb": 7, "2g.10gb": 0}', '{"1g.5gb": 7}'), 6, "a count is at least 1"),
        (entry('{"1g.5gb": -1}', '{"1g.5gb": 7}'), 6, "a count is at least 1"),
        (entry('{"1g5": 1}', '{"1g.5gb": 7}'), 6, "is no MIG profile"),
        (entry('{"1c.3g.20gb": 1}', '{"1g.5gb": 7}'), 6, "cut further into compute instances"),
        (entry('      mig-enabled: true\n      device-filter: "2335"\n'), 6, "is no PCI number of NVIDIA's"),
        (entry("      mig-enabled: 1\n"), 5, "is required: true or false"),
        (entry("      mig-enabled: false\n"), 6, "instances need mig-enabled: true"),
        (entry("      mig-enabled: true\n      mig-device: {}\n"), 6, "unknown key"),
        (entry("devices: []", "devices: all"), 4, "an empty list is about no card"),
        (entry("devices: first", "devices: all"), 4, "allowed: all, or a list of indices"),
        (entry("version: v2", "version: v1"), 1, "is not a version that is known"),
        (entry("      mig-devices:\n", '      mig-devices: {"1g.5gb": 7}\n'), 6, "{} means MIG without instances"),
        ("version: v1\nmig-configs: {}\n", 2, "needs at least one configuration"),
        ("version: v1\nmig-configs: {x: []}\n", 2, "needs at least one entry"),
    ],
)
def test_mistakes_and_traps_have_their_line(text: str, line: int, message: str) -> None:
    with pytest.raises(ProblemError) as caught:
        read_configurations(text, "config.yaml")
    assert len(caught.value.problems) == 1
    assert str(caught.value).startswith(f"config.yaml:{line}: ")
    assert message in str(caught.value)


@pytest.mark.parametrize(
    ("entries", "cards", "message"),
    [
        ([Entry(None, True, {"1g.5gb": 7}, ("ffff",))], [A100], "the entry matches no card"),
        ([Entry((4,), True, {"1g.5gb": 7})], [A100], "the entry matches no card"),
        ([Entry(None, True, {"1g.18gb": 7})], [A100], "has no such profile"),
        ([Entry(None, True, {"3g.20gb": 2, "1g.5gb": 1})], [A100], "does not fit card 0"),
        ([Entry(None, True, {"1g.5gb": 7})], [A100, RTX], "the card has no MIG"),
        ([Entry(None, True, {"1g.5gb": 7}), Entry((0,), False)], [A100], "the card is in another entry, too"),
    ],
)
def test_what_the_cards_cannot_is_refused(entries: list[Entry], cards: list[Card], message: str) -> None:
    with pytest.raises(ProblemError, match=message):
        resolve(entries, cards, "x")


def test_a_layout_is_exported_with_equal_cards_together() -> None:
    a, b = card("NVIDIA A100-SXM4-40GB"), card("NVIDIA A100-SXM4-40GB", 1)
    entries = describe_layout([(a, {"1g.5gb": 7}), (b, {"1g.5gb": 7}), (RTX, None)])
    assert entries == (Entry((0, 1), True, {"1g.5gb": 7}), Entry((2,), False))
