"""Laws of schedules and books: whoever looks, and however often, finds the same times and the same money."""

from __future__ import annotations

from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trading_assets.core.models import Side
from trading_assets.core.timeframes import DAY_MS, HOUR_MS, MINUTE_MS, to_datetime
from trading_assets.trading.dca.books import Books, Whose, plan_books
from trading_assets.trading.dca.schedule import DcaError, Schedule, schedule_of
from trading_assets.trading.grid.books import Fill

D = Decimal
START = 1_767_225_600_000  # 2026-01-01, a Thursday

SCHEDULES = st.sampled_from(
    [
        "every 1m",
        "every 45m",
        "every 4h",
        "every 1d",
        "every 2w",
        "0 9 * * 1",
        "*/5 * * * *",
        "30 0 1 * *",
        "0 12 * * 1-5",
    ]
)
MOMENTS = st.integers(START - 40 * DAY_MS, START + 400 * DAY_MS)


@given(SCHEDULES, st.lists(st.integers(0, 3 * DAY_MS), min_size=1, max_size=6), st.integers(0, DAY_MS))
def test_looks_at_whatever_moments_find_each_time_once(text: str, pauses: list[int], anchor: int) -> None:
    schedule = Schedule(text, START + anchor)
    found, moment = list[int](), START
    for pause in pauses:
        found += schedule.between(moment, moment + pause, 10**6)
        moment += pause
    assert found == schedule.between(START, moment, 10**6)
    assert found == sorted(set(found))
    assert all(time_ms >= START + anchor for time_ms in found), "nothing is due before its first time"


@given(SCHEDULES, MOMENTS, MOMENTS)
def test_a_clock_that_jumps_back_makes_nothing_due_again(text: str, decided: int, now: int) -> None:
    due = Schedule(text, START).between(decided, now, 100)
    assert all(decided < one <= now for one in due)
    if now <= decided:
        assert due == []


@given(SCHEDULES, MOMENTS)
def test_the_next_time_is_the_first_that_is_between(text: str, moment: int) -> None:
    schedule = Schedule(text, START)
    following = schedule.next_after(moment)
    assert following is not None
    assert schedule.between(moment, following, 10) == [following]


def test_cron_is_utc_whatever_the_clocks_of_a_country_do() -> None:
    schedule = Schedule("30 2 * * *", START)
    march = START + 80 * DAY_MS
    times = schedule.between(march, march + 20 * DAY_MS, 100)
    assert len(times) == 20
    assert {(to_datetime(one).hour, to_datetime(one).minute) for one in times} == {(2, 30)}


@pytest.mark.parametrize(
    ("text", "spelled"),
    [("4h", "every 4h"), ("Every  4 H", "every 4h"), (" 0  9 * * 1 ", "0 9 * * 1"), ("every 007m", "every 7m")],
)
def test_a_schedule_has_one_spelling(text: str, spelled: str) -> None:
    assert schedule_of(text, START).text == spelled


@pytest.mark.parametrize("text", ["", "hourly", "every 0m", "every 3 years", "* * * *", "61 * * * *", "0 0 30 2 *"])
def test_what_is_no_schedule_is_refused(text: str) -> None:
    with pytest.raises(DcaError):
        schedule_of(text, START)


def test_an_interval_begins_at_its_first_time() -> None:
    times = Schedule("every 2h", START + 5 * MINUTE_MS).between(START - 1, START + 5 * HOUR_MS, 9)
    assert times == [START + 5 * MINUTE_MS + number * 2 * HOUR_MS for number in range(3)]


FILLS = st.lists(
    st.tuples(
        st.sampled_from(list(Whose)),
        st.sampled_from(list(Side)),
        st.integers(1, 50),
        st.integers(900, 1100),
        st.integers(-5, 20),
    ),
    max_size=25,
)


@given(st.sampled_from(list(Side)), FILLS)
def test_books_keep_every_coin_and_every_cent(side: Side, rows: list[tuple[Whose, Side, int, int, int]]) -> None:
    """What the plan and others hold is the sum of all fills; the plan's money is that of its own parts."""
    sign = 1 if side is Side.BUY else -1
    fills = [
        (whose, Fill(of, D(qty) / 1000, D(qty) / 1000 * price, D(fee) / 10_000, number))
        for number, (whose, of, qty, price, fee) in enumerate(rows)
    ]
    books = plan_books(side, fills)
    assert sign * books.held + books.foreign == sum((fill.signed_qty for _, fill in fills), D(0))
    assert books.held >= 0
    assert (books.average is None) == (books.held == 0) == (books.base is None)
    if all(fill.side is side for whose, fill in fills if whose is Whose.OWN) and not books.foreign:
        beside = any(fill.side is side for whose, fill in fills if whose is not Whose.OWN)
        if not beside:  # nobody else has opened: all money is the plan's
            cash = sum((fill.cash for _, fill in fills), D(0))
            mark = D(1000)
            assert abs(books.profit + books.unrealised(side, mark) - cash - sign * books.held * mark) < D("1e-6")


def test_what_others_have_added_is_closed_before_what_is_the_plans() -> None:
    def fill(side: Side, qty: int, at: int) -> Fill:
        return Fill(side, D(qty), D(qty) * 100, D(0), at)

    mine = (Whose.OWN, fill(Side.BUY, 2, 0))
    added = (Whose.OTHER, fill(Side.BUY, 1, 1))
    taken = (Whose.OTHER, fill(Side.SELL, 1, 2))
    assert plan_books(Side.BUY, [mine, added]).foreign == 1
    books = plan_books(Side.BUY, [mine, added, taken])
    assert (books.held, books.foreign, books.hands) == (2, 0, 0)
    books = plan_books(Side.BUY, [mine, added, taken, (Whose.VENUE, fill(Side.SELL, 3, 3))])
    assert (books.held, books.foreign, books.rounds, books.last_closed_by) == (0, -1, 1, Whose.VENUE)
    assert plan_books(Side.BUY, []) == Books()
