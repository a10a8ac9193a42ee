"""Fair dispatch as arithmetic: shares, weights, turns that go on, ranks, lanes."""

from collections import Counter
from datetime import UTC, datetime, timedelta
from uuid import UUID

from hypothesis import given, settings
from hypothesis import strategies as st

from libs.common.domain.fairness import PROMPT, Backlog, Lane, Standing, Turns, deal, lane_of, rank

NOW = datetime(2026, 1, 1, tzinfo=UTC)
WEIGHTS = st.dictionaries(st.integers(1, 10**6).map(lambda n: UUID(int=n)), st.integers(1, 100), min_size=1, max_size=8)
ROOMS = st.lists(st.integers(0, 300), min_size=1, max_size=30)


def dealt(weights: dict[UUID, int], rooms: list[int], window: int = 10**9) -> Counter[UUID]:
    """What each has got after so many deals; nobody's backlog ever ends."""
    turns, total = Turns(), Counter[UUID]()
    for room in rooms:
        granted, turns = deal(turns, {tenant: Backlog(weight, window) for tenant, weight in weights.items()}, room)
        assert sum(granted.values()) == min(room, window * len(weights)), "no room is left over while somebody waits"
        total.update(granted)
    return total


@given(WEIGHTS, ROOMS)
def test_everybody_has_the_same_number_of_turns(weights: dict[UUID, int], rooms: list[int]) -> None:
    total = dealt(weights, rooms)
    turns = [total[tenant] / weight for tenant, weight in weights.items()]
    assert max(turns) - min(turns) <= 1, "shares follow the weights to within one turn"


@settings(max_examples=5, deadline=None)
@given(st.lists(st.integers(300, 700), min_size=1, max_size=20))
def test_a_thousand_equal_tenants_get_equal_shares(rooms: list[int]) -> None:
    tenants = {UUID(int=number): 1 for number in range(1, 1001)}
    total = dealt(tenants, rooms * (1 + 20_000 // sum(rooms)))
    mean = sum(total.values()) / 1000
    assert all(abs(total[tenant] - mean) <= 0.1 * mean for tenant in tenants)


@given(WEIGHTS, ROOMS, st.integers(1, 20))
def test_nobody_gets_more_than_its_window_has_room_for(weights: dict[UUID, int], rooms: list[int], window: int) -> None:
    turns = Turns()
    for room in rooms:
        granted, turns = deal(turns, {tenant: Backlog(weight, window) for tenant, weight in weights.items()}, room)
        assert all(0 < number <= window for number in granted.values())
        assert sum(granted.values()) == min(room, window * len(weights))
        assert sorted(turns.order) == sorted(weights)


@given(WEIGHTS, st.integers(1, 50))
def test_nobody_starves_however_little_there_is_to_deal(weights: dict[UUID, int], room: int) -> None:
    deals = 2 + sum(weights.values()) // room
    assert set(dealt(weights, [room] * deals)) == set(weights)


@given(WEIGHTS, ROOMS, st.data())
def test_who_comes_and_goes_takes_nothing_from_others(
    weights: dict[UUID, int], rooms: list[int], data: st.DataObject
) -> None:
    """Whoever waits all the time gets at least its share among all who ever waited."""
    constant = min(weights)
    turns, got, room_dealt = Turns(), 0, 0
    for room in rooms:
        present = data.draw(st.sets(st.sampled_from(sorted(weights)))) | {constant}
        granted, turns = deal(turns, {tenant: Backlog(weights[tenant], 10**9) for tenant in present}, room)
        got, room_dealt = got + granted.get(constant, 0), room_dealt + room
    # One turn may be under way for everybody else whenever somebody new stands behind it.
    rounds = room_dealt // (sum(weights.values()) * len(weights))
    assert got >= min(rounds, 1) * weights[constant]


@given(st.integers(-10, 10), st.integers(-10, 10), st.integers(0, 10_000), st.integers(0, 10_000))
def test_priority_goes_first_until_the_other_has_waited_long_enough(a: int, b: int, older: int, newer: int) -> None:
    first, second = rank(NOW - timedelta(seconds=older), a), rank(NOW - timedelta(seconds=newer), b)
    assert (first < second) == (older + 60 * a > newer + 60 * b)


@given(
    st.integers(0, 10**4), st.integers(1, 10**4), st.integers(1, 100), st.integers(-10, 10**4), st.booleans(),
    st.booleans(),
)  # fmt: skip
def test_lanes(outstanding: int, window: int, weight: int, room: int, has_backlog: bool, is_scarce: bool) -> None:
    lane = lane_of(Standing(window, weight), outstanding, room, has_backlog=has_backlog, is_scarce=is_scarce)
    if outstanding >= window:
        assert lane is Lane.HELD
    elif has_backlog and (is_scarce or outstanding >= window / 2):
        assert lane is Lane.HELD, "nobody overtakes those who wait"
    elif outstanding < PROMPT * weight:
        assert lane is Lane.PROMPT, "the few of a tenant go ahead whatever others have under way"
    else:
        assert lane is (Lane.BULK if room > 0 else Lane.HELD)


def test_a_turn_that_is_interrupted_goes_on() -> None:
    a, b = UUID(int=1), UUID(int=2)
    both = {a: Backlog(5, 100), b: Backlog(5, 100)}
    granted, turns = deal(Turns(), both, 3)
    assert (granted, turns) == ({a: 3}, Turns((a, b), 2))
    granted, turns = deal(turns, both, 4)
    assert (granted, turns) == ({a: 2, b: 2}, Turns((b, a), 3))
    assert deal(turns, {b: Backlog(5, 0)}, 4) == ({}, Turns((b,), 0))
    assert deal(turns, {}, 4) == ({}, Turns())
