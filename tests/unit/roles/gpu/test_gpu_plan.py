"""The planner: shares to placements with reasons, and what it refuses with what would do instead."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from groundwork.gpu.products import find_product
from groundwork.problems import ProblemError
from roles.gpu.cards import MPS_CLIENTS, Card
from roles.gpu.instances import FormerPlace
from roles.gpu.plan import Former, place
from roles.gpu.shares import Ask, Placement

A100, RTX_4090 = "NVIDIA A100-SXM4-40GB", "NVIDIA GeForce RTX 4090"


def card(name: str, index: int = 0, sharing: str = "auto") -> Card:
    product = find_product(name)
    return Card(
        index=index,
        name=name,
        uuid=f"GPU-{index}",
        memory_mib=24_564 if product is None else 40_960,
        mig=product is not None,
        compute_slices=product.compute_slices if product else 0,
        profiles=product.profiles if product else (),
        sharing=sharing,
    )


def ask(number: int, sharing: Any, **measure: Any) -> Ask:
    return Ask(f"group{number}", (f"unit{number}@1.service",), sharing, **measure)


def solve(asks: list[Ask], *cards: Card, former: Former | None = None) -> list[Placement]:
    return place(asks, cards, former or Former(), "main-pc")


def refusal(asks: list[Ask], *cards: Card) -> str:
    with pytest.raises(ProblemError) as caught:
        solve(asks, *cards)
    return str(caught.value)


def test_four_quarters_are_four_instances_on_one_a100() -> None:
    placements = solve([ask(i, "mig", fraction=0.25) for i in range(4)], card(A100))
    assert [p.profile for p in placements] == ["1g.10gb"] * 4
    assert sorted(p.start for p in placements) == [0, 2, 4, 6]
    assert placements[0].reason.startswith("0.25 of a card: 1g.10gb in slots 0 to 1 of card 0")


def test_equal_shares_get_equal_instances_the_largest_that_fit() -> None:
    asks = [ask(i, "mig", fraction=0.25) for i in range(3)]
    assert [p.profile for p in solve(asks, card(A100))] == ["2g.10gb"] * 3


def test_four_quarters_are_four_clients_on_a_geforce_card() -> None:
    placements = solve([ask(i, "mps", fraction=0.25) for i in range(4)], card(RTX_4090))
    assert {(p.thread_percentage, p.memory_mib, p.daemon) for p in placements} == {(25, 6141, "0")}


def test_mig_on_a_geforce_card_is_refused_with_the_same_as_clients() -> None:
    text = refusal([ask(i, "mig", fraction=0.25) for i in range(4)], card(RTX_4090))
    assert "the NVIDIA GeForce RTX 4090 of host main-pc has no MIG" in text
    assert "the same 4 as MPS clients are 25 % of the threads and 6141 MiB each" in text


@pytest.mark.parametrize(
    ("asks", "cards", "expected"),
    [
        ([ask(i, "mig", profile="3g.20gb") for i in range(3)], [card(A100)], "would fit: 2 x 3g.20gb; or one more"),
        ([ask(0, "mig", profile="9g.1gb")], [card(A100)], "no card of host main-pc has this MIG profile"),
        ([ask(0, "mig", fraction=0.5), ask(1, "mps", fraction=0.5)], [card(A100)], "a card is shared in one way"),
        ([ask(0, "mps", thread_percentage=50, memory_mib=30_000)], [card(RTX_4090)], "more memory than any card"),
        (
            [ask(i, "mps", thread_percentage=50, memory_mib=13_000) for i in range(2)],
            [card(RTX_4090)],
            "the shares of host main-pc are more than its cards",
        ),
        ([ask(i, "mps", thread_percentage=1) for i in range(49)], [card(RTX_4090)], f"{MPS_CLIENTS} MPS clients"),
        ([ask(i, "mps", fraction=0.3) for i in range(4)], [card(RTX_4090)], "fractions up to 1 a card"),
        ([ask(0, "mig", fraction=0.5, card=3)], [card(A100)], "of that index"),
        ([ask(0, "mps", fraction=0.5, card=3)], [card(RTX_4090)], "of that index"),
        ([ask(0, "mig", thread_percentage=20)], [card(A100)], "a share of threads is for MPS"),
        ([ask(0, "time_slicing", profile="1g.5gb")], [card(A100)], "a MIG profile is no share of time"),
        ([ask(0, "mps", fraction=0.5)], [card(A100, sharing="mig")], "may be shared that way"),
        ([ask(i, "time_slicing", fraction=0.5) for i in range(2)], [card(RTX_4090, 0, "none")], "one process a card"),
        ([ask(0, "mps", fraction=0.5)], [], "has no card"),
    ],
)  # fmt: skip
def test_it_refuses_what_cannot_be(asks: list[Ask], cards: list[Card], expected: str) -> None:
    assert expected in refusal(asks, *cards)


def test_two_modes_take_a_card_each() -> None:
    asks = [ask(0, "mps", fraction=0.5), ask(1, "mig", profile="4g.20gb"), ask(2, "mig", profile="4g.20gb")]
    placements = solve(asks, card(A100), card(A100, 1), card(A100, 2))
    assert len({p.card.index for p in placements}) == 3


def test_clients_share_an_instance_by_mps() -> None:
    shared = Ask("g", ("a@1.service", "a@2.service"), "mps", profile="2g.10gb")
    placements = solve([shared], card(A100))
    assert {(p.start, p.daemon, p.thread_percentage, p.memory_mib) for p in placements} == {(4, "0-4", 50, 4925)}
    many = Ask("g", tuple(f"a@{i}.service" for i in range(14)), "mps", profile="2g.10gb")
    assert "at most 13 clients there" in refusal([many], card(A100))


def test_what_can_stay_stays() -> None:
    first = solve([ask(i, "mig", profile="1g.5gb") for i in range(3)], card(A100))
    former = Former({p.unit: FormerPlace(p.card.uuid, p.profile_id, p.start) for p in first[1:]})
    asks = [ask(1, "mig", profile="1g.5gb"), ask(2, "mig", profile="1g.5gb"), ask(9, "mig", profile="2g.10gb")]
    after = {p.unit: p.start for p in solve(asks, card(A100), former=former)}
    assert {unit: after[unit] for unit in former.instances} == {p.unit: p.start for p in first[1:]}


def test_what_is_in_the_way_moves() -> None:
    small = ask(0, "mig", profile="1g.5gb")
    former = Former({small.units[0]: FormerPlace("GPU-0", 19, 2)})
    placements = solve([small, ask(1, "mig", profile="4g.20gb")], card(A100), former=former)
    assert [p.profile for p in placements] == ["1g.5gb", "4g.20gb"]
    assert placements[0].start != 2


@given(st.lists(st.sampled_from([0.1, 0.2, 0.25, 0.3, 0.5, 0.7]), min_size=1, max_size=7), st.integers(1, 3))
def test_clients_are_packed_exactly_when_it_is_possible(fractions: list[float], count: int) -> None:
    def fits(rest: list[float], room: tuple[float, ...]) -> bool:
        if not rest:
            return True
        options = {r for r in room if rest[0] <= r + 1e-9}
        return any(
            fits(rest[1:], (*room[: room.index(r)], round(r - rest[0], 9), *room[room.index(r) + 1 :])) for r in options
        )

    asks = [ask(i, "mps", fraction=fraction) for i, fraction in enumerate(fractions)]
    cards = [card(RTX_4090, i) for i in range(count)]
    if fits(sorted(fractions, reverse=True), (1.0,) * count):
        placements = solve(asks, *cards)
        for one in cards:
            shares = [fractions[i] for i, p in enumerate(placements) if p.card is one]
            assert sum(shares) <= 1 + 1e-6
    else:
        refusal(asks, *cards)
