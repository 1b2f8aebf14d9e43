"""Laws of schedules and books: whoever looks, and however often, finds the same times and the same money."""

from __future__ import annotations

from dataclasses import replace
from decimal import Decimal
from types import SimpleNamespace
from typing import Any, cast

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from trading_assets.core.models import Position, Side
from trading_assets.core.timeframes import DAY_MS, HOUR_MS, MINUTE_MS, to_datetime
from trading_assets.ledger import dca
from trading_assets.ledger.dca import PlanOrder, PlanRow
from trading_assets.trading.dca.booking import plan_order_row
from trading_assets.trading.dca.books import Books, Whose, plan_books
from trading_assets.trading.dca.planning import View, decide
from trading_assets.trading.dca.plans import Plan, columns_of
from trading_assets.trading.dca.schedule import DcaError, Schedule, schedule_of
from trading_assets.trading.grid.books import Fill
from trading_assets.trading.grid.levels import on_step
from trading_assets.trading.grid.planning import Market
from trading_assets_tests.fakes import an_instrument

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


RULES = an_instrument("BTCUSDT", tick_size=D("0.1"), qty_step=D("0.001"), min_qty=D("0.001"), min_notional=D(5))
MOST = D(950)
LIVED = Plan(
    symbol="BTCUSDT",
    side=Side.BUY,
    schedule="every 1m",
    anchor_ms=START,
    amount=D(150),
    max_deployed=MOST,
    leverage=D(5),
    stop_pct=D(20),
    target_pct=D(3),
    safety_orders=4,
    safety_step_pct=D(1),
    safety_scale=D("1.2"),
    grace_s=30,
)


class PlannedLife:
    """A plan on an exchange of numbers: orders fill in parts and in any order, are lost, and end whenever."""

    def __init__(self, plan: Plan) -> None:
        self.plan, self.now_ms, self.price = plan, START, D(100_000)
        self.row = PlanRow(
            plan_id="p",
            account="main",
            **columns_of(plan),
            state=dca.RUNNING,
            reason=None,
            closes=True,
            decided_ms=START - 1,
            hands_seen=0,
            resumed_ms=START,
            differs_since_wall_ms=None,
            bare_since_wall_ms=None,
            told=None,
            read_ms=START,
            mark_price=None,
            created_ms=START,
            updated_ms=START,
        )
        self.orders: list[PlanOrder] = []
        self.fills: list[tuple[Whose, Fill]] = []
        self.outcomes: dict[int, str] = {}
        self.stops: tuple[Decimal | None, Decimal | None] = (None, None)

    @property
    def books(self) -> Books:
        return plan_books(self.plan.side, self.fills)

    def view(self) -> View:
        books, sign = self.books, self.plan.sign
        position = SimpleNamespace(
            side=self.plan.side, size=books.held, entry_price=books.average, stop_loss=self.stops[0],
            take_profit=self.stops[1],
        )  # fmt: skip
        return View(
            row=self.row,
            plan=self.plan,
            books=books,
            orders=self.orders,
            due=self.plan.times.between(self.row.decided_ms, self.now_ms, 1000),
            more=False,
            market=Market(self.price - sign, self.price + sign, self.price, D("0.1"), D("0.001"), D(5)),
            instrument=RULES,
            position=cast("Position", position) if books.held else None,
            is_settled=True,
            now_ms=self.now_ms,
        )

    def decide(self) -> None:
        """Do what is decided, and look at the laws."""
        decision = decide(self.view())
        if decision.state is not None:
            self.row = replace(self.row, state=decision.state[0], closes=bool(decision.closes))
        for due in decision.skipped:
            self.settle(due, dca.SKIPPED)
        for link in decision.cancels:
            self.change(link, cancel="asked for")
        if decision.levels is not None:
            self.stops = decision.levels
        for wish in decision.places if decision.state is None else []:
            if wish.purpose in (dca.TARGET, dca.FLATTEN):
                self.fill(wish.qty, self.price, self.plan.side.opposite, Whose.TARGET)
                continue
            if wish.purpose == dca.BUY:
                self.settle(wish.due_ms or 0, dca.ORDERED)
            link = f"{wish.purpose}:{len(self.orders)}"
            order = plan_order_row(self.row, link, wish.purpose, wish.side, wish.qty, self.now_ms, 0)
            named = {"due_ms": wish.due_ms, "round": self.books.rounds, "step": wish.step, "price": wish.price}
            self.orders.append(replace(order, worth=wish.worth, **named))

    def settle(self, due: int, outcome: str) -> None:
        assert due not in self.outcomes, "R14: a scheduled time has one outcome"
        assert due > self.row.decided_ms, "R14: what was decided stays so"
        self.outcomes[due] = outcome
        self.row = replace(self.row, decided_ms=due)

    def change(self, link: str, **values: object) -> None:
        self.orders = [replace(one, **values) if one.order_link_id == link else one for one in self.orders]

    def fill(self, qty: Decimal, price: Decimal, side: Side, whose: Whose = Whose.OWN) -> None:
        self.fills.append((whose, Fill(side, qty, qty * price, D(0), len(self.fills))))

    def trade(self, number: int, share: int, cheaper: int, *, ends: bool) -> None:
        """Fill a share of a working order at its price, a scheduled one at a better one; it may end with that."""
        working = [one for one in self.orders if one.status != dca.DONE]
        if not working:
            return
        order = working[number % len(working)]
        assert order.price is not None
        left = order.qty - order.filled_qty
        qty = min(left, max(D("0.001"), on_step(left * share / 4, D("0.001")))) if share else D(0)
        if qty:
            better = D(cheaper) / 1000 if order.purpose == dca.BUY else D(0)
            self.fill(qty, order.price * (1 - self.plan.sign * better), order.side)
        status = dca.DONE if ends or qty == left or order.purpose == dca.BUY else dca.RESTING
        self.change(order.order_link_id, filled_qty=order.filled_qty + qty, status=status)


MOVES = st.one_of(
    st.tuples(st.just("time"), st.sampled_from([-90, -5, 1, 10, 31, 60, 61, 600])),
    st.tuples(st.just("price"), st.integers(85_000, 115_000)),
    st.tuples(st.just("trade"), st.tuples(st.integers(0, 9), st.integers(0, 4), st.integers(0, 4), st.booleans())),
    st.tuples(st.just("hands"), st.sampled_from(["pause", "resume", "less", "more"])),
    st.tuples(st.just("most"), st.sampled_from([MOST, D(500), D(300)])),
)


@pytest.mark.slow
@given(st.sampled_from(list(Side)), st.lists(MOVES, min_size=10, max_size=60))
@example(Side.BUY, [("trade", (0, 4, 0, False)), ("time", 61), ("trade", (4, 4, 0, False))])
def test_never_more_than_may_be_deployed_and_one_outcome_a_time_in_whatever_order_orders_fill(
    side: Side, moves: list[tuple[str, Any]]
) -> None:
    """R14, R15."""
    life = PlannedLife(replace(LIVED, side=side))
    life.decide()
    for what, value in moves:
        match what:
            case "time":
                life.now_ms += value * 1000
            case "price":
                life.price = D(value)
            case "trade":
                number, share, cheaper, ends = value
                life.trade(number, share, cheaper, ends=ends)
            case "most":
                life.plan = replace(life.plan, max_deployed=value)
            case _ if value in ("pause", "resume"):
                life.row = replace(life.row, state=dca.PAUSED if value == "pause" else dca.RUNNING)
            case _:
                life.plan = replace(life.plan, amount=D(100) if value == "less" else D(300))
        life.decide()
        books = life.books
        waiting = sum((one.price or D(0)) * (one.qty - one.filled_qty) for one in life.orders if one.status != dca.DONE)
        assert books.value + waiting <= MOST, "R15"
        kept = [one for one in life.orders if one.status != dca.DONE and one.purpose == dca.SAFETY and not one.cancel]
        room = life.plan.max_deployed - books.value
        assert not kept or sum(one.worth - (one.price or 0) * one.filled_qty for one in kept) <= room, "R15, lowered"
    times = set(life.plan.times.between(START - 1, max(life.now_ms, life.row.decided_ms), 100_000))
    assert set(life.outcomes) <= times, "no other times than those of the schedule"
