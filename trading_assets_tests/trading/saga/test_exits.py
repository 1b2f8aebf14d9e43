"""Exit plans carried out: each exit once, the stop nearer only, parts that end with their position; killed anywhere."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from decimal import Decimal
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import sqlalchemy as sa

from trading_assets.core.candles import Candles
from trading_assets.core.errors import ExchangeUnavailableError
from trading_assets.core.exits import NO_PLAN, ExitPlan, ExitReason
from trading_assets.core.models import OrderStatus, Side
from trading_assets.core.timeframes import HOUR_MS, Timeframe, iso
from trading_assets.ledger import exit_decisions, orders, risk
from trading_assets.ledger.database import Database
from trading_assets.ledger.risk import Cause, RiskState, StateChange
from trading_assets.ledger.tables import closings
from trading_assets.market.store import CandleStore
from trading_assets.strategies import registry
from trading_assets.trading.decide.exits import DeclaredExits, Position, decided_exit
from trading_assets.trading.execute.exit_plans import ExitReport, follow_exit_plans
from trading_assets.trading.execute.flatten import flatten
from trading_assets.trading.execute.submit import submit_orders
from trading_assets.trading.explain import Links, explain
from trading_assets.trading.reconcile.reconciler import ReconcileReport, reconcile
from trading_assets.trading.saga.transitions import Step
from trading_assets_tests.fakes import FakeExchange, order_link_id
from trading_assets_tests.trading.fixtures import NOW_MS, Harness, add_signal, settings
from trading_assets_tests.trading.parity.leaving import Leaving

OPENED_MS = NOW_MS - 5_000
BTC = "BTCUSDT"


class CandleExchange(FakeExchange):
    """One that has hourly candles: of calm before the signal's close at 100, and then of these closes."""

    closes: Sequence[float] = ()

    def candles(self, symbol: str, timeframe: Timeframe, start_ms: int, end_ms: int) -> Candles:
        closes = np.array([100.0] * 400 + list(self.closes))
        starts = OPENED_MS - 400 * HOUR_MS + HOUR_MS * np.arange(len(closes), dtype=np.int64)
        opens, ones = np.append(closes[:1], closes[:-1]), np.ones(len(closes))
        rows = (opens, np.maximum(opens, closes), np.minimum(opens, closes), closes, ones, ones)
        return Candles(timeframe, starts, *rows).closed_by(self.time_ms).between(start_ms, end_ms)


@dataclass
class Held:
    """A position of a plan: 1 BTC at 100, its stop at 98 and its target at 104."""

    harness: Harness
    exchange: CandleExchange
    store: CandleStore
    identity: str

    @property
    def intent(self) -> orders.Intent:
        with self.harness.database.read() as connection:
            found = orders.by_name(connection, "main", self.identity)
        assert found is not None
        return found

    @property
    def stop(self) -> Decimal | None:
        return self.exchange.open[BTC].stop_loss

    def link(self, kind: str) -> str:
        return order_link_id(self.identity, kind)

    def close_at(self, *closes: float) -> None:
        """So many hours pass, with these closes; the price stands at the last of them."""
        self.exchange.closes = [*self.exchange.closes, *closes]
        self.harness.later(3600 * len(closes))
        self.exchange.set_price(BTC, str(closes[-1]))

    def follow(self, at: Callable[[str], None] = lambda _point: None) -> ExitReport:
        return follow_exit_plans(replace(self.harness.context, at=at), self.store)

    def look(self, at: Callable[[str], None] = lambda _point: None) -> ReconcileReport:
        """What a run does: exits, then the books."""
        self.follow(at)
        return reconcile(replace(self.harness.context, at=at))

    def decided(self) -> list[str]:
        with self.harness.database.read() as connection:
            found = exit_decisions.of_intents(connection, [self.intent.order_link_id])
        return [one.kind for made in found.values() for one in made]

    def closed(self) -> list[tuple[str, Decimal]]:
        """Reason and quantity of each closing."""
        with self.harness.database.read() as connection:
            rows = connection.execute(sa.select(closings.c.reason, closings.c.qty).order_by(closings.c.closing_id))
            return [(row.reason, row.qty) for row in rows]


@pytest.fixture
def hold(sqlite: Database, tmp_path: Path) -> Callable[..., Held]:
    def made(plan: ExitPlan = NO_PLAN, *, conditions: bool = False, **changes: object) -> Held:
        exchange = CandleExchange(BTC)
        harness = Harness(sqlite, exchange, settings(max_positions=3, **changes))
        text = DeclaredExits(plan, conditions).to_json()
        parameters = registry.canonical_json(Leaving()) if conditions else "{}"
        strategy = Leaving.name if conditions else "bollinger_rsi"
        identity = add_signal(sqlite, exit_plan=text, strategy=strategy, parameters=parameters)
        submit_orders(harness.context)
        held = Held(harness, exchange, CandleStore(tmp_path / "candles"), identity)
        assert held.intent.status == orders.CONFIRMED
        return held

    return made


def test_a_position_leaves_once_at_the_end_of_its_time(hold: Callable[..., Held]) -> None:
    held = hold(ExitPlan(after_bars=3))
    for _ in range(2):
        held.close_at(100.2)
        held.look()
        assert held.decided() == []
    held.close_at(100.5)
    for _ in range(3):
        held.look()
    assert held.decided() == ["time"]
    qty = held.intent.filled_qty
    assert held.closed() == [("time", qty)] and held.intent.status == orders.CLOSED
    assert held.exchange.creates[held.link("c1")] == 1 and held.link("c2") not in held.exchange.creates
    titles = [title for title, _ in held.harness.told]
    assert any("leaves LONG BTCUSDT: at the end of its time" in title for title in titles)
    assert any("closed LONG BTCUSDT at the end of its time" in title for title in titles)


def test_a_condition_of_the_strategy_closes_and_one_that_fails_keeps_the_plan(
    hold: Callable[..., Held], monkeypatch: pytest.MonkeyPatch
) -> None:
    found = registry.discover()
    monkeypatch.setattr(registry, "discover", lambda: registry.Discovery({**found.classes, "leaving": Leaving}, ()))
    held = hold(ExitPlan(trail=0.005), conditions=True)
    monkeypatch.setattr(Leaving, "entries", staticmethod(lambda _v, _p: 1 / 0))
    held.close_at(101)
    report = held.follow()
    assert "the exit condition of leaving cannot be asked: ZeroDivisionError" in report.failed[BTC]
    assert held.stop == Decimal("100.50"), "what the plan says counts all the same"
    monkeypatch.undo()
    monkeypatch.setattr(registry, "discover", lambda: registry.Discovery({**found.classes, "leaving": Leaving}, ()))
    held.close_at(102)
    held.look()
    assert held.decided() == ["levels", "signal"] and held.closed()[0][0] == "signal"


def test_a_moved_stop_is_nearer_only_and_nobody_has_moved_it(hold: Callable[..., Held]) -> None:
    held = hold(ExitPlan(trail=0.01, break_even_from=0.005, break_even_to=0.001))
    stops = []
    for close in (100.3, 100.6, 102.0, 101.5, 103.0):
        held.close_at(close)
        report = held.look()
        assert report.differences == [] and report.repaired == []
        stops.append(held.stop)
        assert held.exchange.open[BTC].take_profit == Decimal(104)
    assert stops == [Decimal(one) for one in ("99.30", "100.10", "100.98", "100.98", "101.97")]
    assert held.intent.stop_loss == Decimal("101.97")
    with held.harness.database.read() as connection:
        told = [one.detail for one in exit_decisions.of_intents(connection, [held.intent.order_link_id]).popitem()[1]]
    assert any("break-even at the close of 100.6" in str(text) for text in told)
    assert any("trailing at the close of 102" in str(text) for text in told)


@pytest.mark.slow
@pytest.mark.parametrize(("rule", "expected"), [("keep", "101.50"), ("restore", "100.98")])
def test_a_persons_nearer_stop_stays_under_keep(hold: Callable[..., Held], rule: str, expected: str) -> None:
    held = hold(ExitPlan(trail=0.01), changed_stops=rule)
    held.close_at(101)
    held.look()
    held.exchange.set_price(BTC, "102")
    held.exchange.set_stops(BTC, Decimal("101.50"), None)
    held.close_at(102)
    held.look()
    assert held.stop == Decimal(expected)
    assert held.exchange.open[BTC].take_profit == (None if rule == "keep" else Decimal(104))
    held.exchange.set_stops(BTC, Decimal("97.5"), Decimal(104))
    report = held.look()
    assert held.stop == Decimal("100.98") and "put back" in report.repaired[0], "farther is never left"


@pytest.mark.parametrize("is_asleep", [False, True], ids=["read late", "set late"])
def test_a_stop_that_is_moved_late_is_not_set_on_a_persons_later_position(
    hold: Callable[..., Held], monkeypatch: pytest.MonkeyPatch, *, is_asleep: bool
) -> None:
    """Ours has ended when the stop is to be moved, or the process sleeps right before that and ours ends meanwhile."""
    held = hold(ExitPlan(trail=0.01))
    exchange, size = held.exchange, held.exchange.open[BTC].size
    done = list[str]()

    def changes_hands() -> None:
        done.append("changed")
        held.harness.later(35)
        exchange.close_position(BTC)
        held.harness.later(1)
        exchange.open_foreign(BTC, Side.BUY, size)
        exchange.open[BTC] = replace(exchange.open[BTC], stop_loss=Decimal(90), take_profit=Decimal(104))

    original = type(exchange).set_stops

    def set_stops(*levels: Any) -> None:
        if is_asleep and not done:
            changes_hands()
        original(exchange, *levels)

    def at(point: str) -> None:
        if not is_asleep and not done and point == f"after {Step.DECIDE}":
            changes_hands()

    monkeypatch.setattr(exchange, "set_stops", set_stops)
    held.close_at(102)
    held.follow(at)
    assert done and held.decided() == ["levels"]
    assert held.stop == Decimal(90), "it is the person's"
    held.look()
    assert held.stop == Decimal(90)


def test_a_target_that_the_table_lowers_is_set_and_a_close_beyond_it_leaves(hold: Callable[..., Held]) -> None:
    held = hold(ExitPlan(roi=((1, 0.02), (3, 0.01))))
    held.close_at(100.5)
    held.look()
    assert held.exchange.open[BTC].take_profit == Decimal("102.00") and held.stop == Decimal(98)
    held.close_at(100.5)
    held.close_at(101.3)
    held.look()
    held.look()
    assert held.decided() == ["levels", "roi"] and held.closed()[0][0] == "roi"


def test_an_order_is_explained_to_each_exit_decision_and_its_candle(hold: Callable[..., Held]) -> None:
    held = hold(ExitPlan(after_bars=2, trail=0.01))
    held.close_at(101)
    held.look()
    held.close_at(101)
    held.look()
    held.look()
    steps = explain(held.harness.database, held.identity, Links("http://127.0.0.1:3000"), BTC).steps
    told = {step.what: step for step in steps if step.what.startswith("exit plan")}
    assert list(told) == ["exit plan: time", "exit plan: levels"]
    moved = told["exit plan: levels"]
    assert "stop 98.0 to 99.99" in moved.found and f"60m candle closed {iso(OPENED_MS + HOUR_MS)}" in moved.found
    assert moved.link is not None and "candles/60m" in moved.link
    assert "its time: " in next(step.found for step in steps if step.what.startswith("closing"))


def test_a_price_beyond_the_new_stop_leaves_at_once(hold: Callable[..., Held]) -> None:
    held = hold(ExitPlan(trail=0.005))
    held.close_at(102)
    held.exchange.set_price(BTC, "101")
    held.look()
    held.look()
    assert held.decided() == ["levels", "stop"]
    assert [reason for reason, _ in held.closed()] == ["stop"] and held.exchange.creates[held.link("c1")] == 1


PLANS = {
    "time": (ExitPlan(after_bars=2), (100.2, 100.4), "time"),
    "trailing": (ExitPlan(trail=0.01), (101.0, 102.0), None),
    "parts": (ExitPlan(parts=((0.5, 0.4), (1.0, 0.3))), (100.2, 100.4), None),
    "all": (ExitPlan(3, 0.01, 0, 0, 0, ((1, 0.03),), ((0.5, 0.4),)), (100.2, 100.4, 100.6), "time"),
}
EDGES = [
    (name, f"{edge} {step}")
    for name, steps in {
        "time": (Step.DECIDE, Step.LEAVE),
        "trailing": (Step.DECIDE, Step.TIGHTEN),
        "parts": (Step.DECIDE, Step.PART, Step.CLEAR),
        "all": (Step.DECIDE, Step.TIGHTEN, Step.PART, Step.LEAVE, Step.CLEAR),
    }.items()
    for step in steps
    for edge in ("before", "after")
]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "point"),
    [pytest.param(*edge, marks=() if edge[0] == "all" else pytest.mark.slow) for edge in EDGES],
)
def test_a_death_at_any_edge_does_everything_once(hold: Callable[..., Held], name: str, point: str) -> None:
    plan, closes, reason = PLANS[name]
    held = hold(plan)
    died: list[str] = []

    def dies(now: str) -> None:
        if now == point:
            died.append(now)
            raise KeyboardInterrupt

    for close in closes:
        held.close_at(close)
        for _ in range(3):  # each run dies, as often as it comes there
            with suppress(KeyboardInterrupt):
                held.look(dies)
        held.look()
    parts = [held.link(f"p{number}") for number in range(1, len(plan.parts) + 1)]
    if reason is None:
        assert plan.trail == 0 or held.stop == Decimal("100.98")
        for link in parts:
            assert held.exchange.creates[link] == 1
        held.exchange.close_position(BTC, "stop")
        for _ in range(2):
            with suppress(KeyboardInterrupt):
                held.look(dies)
    held.look()
    held.look()
    assert died, f"the run never came to {point}"
    assert held.intent.status == orders.CLOSED
    assert max(Counter(held.exchange.accepted).values()) == 1
    assert sum(qty for _, qty in held.closed()) == held.intent.filled_qty
    assert [why for why, _ in held.closed()][-1] == (reason or "stop")
    assert not [one for one in held.exchange.book.values() if one.order_link_id in parts and not one.status.is_final]


@pytest.mark.slow
@pytest.mark.parametrize(
    "processed",
    [pytest.param(False, id="lost request", marks=pytest.mark.slow), pytest.param(True, id="lost answer")],
)
@pytest.mark.parametrize("method", ["place_order", "find_order", "position", "set_stops", "executions"])
def test_a_call_that_fails_is_made_good_and_nothing_is_done_twice(
    hold: Callable[..., Held], method: str, processed: bool
) -> None:
    held = hold(PLANS["all"][0])
    for close in PLANS["all"][1]:
        held.close_at(close)
        for skip in range(3):
            held.exchange.fail(method, ExchangeUnavailableError("no answer"), processed=processed, skip=skip)
            with suppress(ExchangeUnavailableError):
                held.look()
            held.exchange.heal()
        held.look()
    held.look()
    assert held.intent.status == orders.CLOSED and held.closed()[-1][0] == "time"
    assert max(Counter(held.exchange.accepted).values()) == 1
    assert sum(qty for _, qty in held.closed()) == held.intent.filled_qty


def test_exits_go_on_while_trading_is_halted(hold: Callable[..., Held]) -> None:
    held = hold(ExitPlan(after_bars=2, trail=0.01))
    change = StateChange(RiskState.HALTED, Cause.COMMAND, "a person", "a person", held.exchange.time_ms)
    risk.change_state(held.harness.database, "main", change, unless=lambda _state: False)
    held.close_at(101)
    held.look()
    assert held.stop == Decimal("99.99")
    held.close_at(101)
    held.look()
    held.look()
    assert held.closed()[0][0] == "time" and held.intent.status == orders.CLOSED


def test_an_exit_that_meets_an_empty_book_is_followed_by_another(hold: Callable[..., Held]) -> None:
    held = hold(ExitPlan(after_bars=1))
    held.exchange.thin_exits = 2
    held.close_at(100.2)
    for _ in range(4):
        held.look()
    assert held.intent.status == orders.CLOSED
    assert [held.exchange.creates[held.link(f"c{number}")] for number in (1, 2, 3, 4)] == [1, 1, 1, 0]


def test_a_persons_part_of_the_position_stays(hold: Callable[..., Held]) -> None:
    held = hold(ExitPlan(after_bars=1))
    mine = held.intent.filled_qty
    position = held.exchange.open[BTC]
    held.harness.later(1)
    held.exchange.open_foreign(BTC, qty=2)
    held.exchange.open[BTC] = replace(held.exchange.open[BTC], stop_loss=position.stop_loss, take_profit=Decimal(104))
    held.close_at(100.2)
    for _ in range(3):
        held.look()
    assert held.exchange.open[BTC].size == 2 and held.closed() == [("time", mine)]


def test_parts_rest_are_filled_and_end_with_the_position(hold: Callable[..., Held]) -> None:
    held = hold(ExitPlan(parts=((0.5, 0.4), (1.0, 0.3))))
    held.look()
    first, second = (held.exchange._resting(held.link(f"p{number}")) for number in (1, 2))
    assert first is not None and second is not None and first.reduce_only and second.reduce_only
    qty = held.intent.filled_qty or Decimal(0)
    assert (first.price, first.qty) == (Decimal("101.00"), (qty * Decimal("0.4")).quantize(Decimal("0.001")))
    assert second.price == Decimal("102.00")
    held.exchange.fill(held.link("p1"), first.qty)
    assert held.look().differences == []
    assert held.closed() == [("part", first.qty)] and held.intent.status == orders.CONFIRMED
    held.exchange.close_position(BTC, "target")
    held.harness.later(60)
    held.look()
    held.look()
    assert held.intent.status == orders.CLOSED
    assert held.exchange.find_order(BTC, held.link("p2")).status is OrderStatus.CANCELLED  # type: ignore[union-attr]
    assert [reason for reason, _ in held.closed()] == ["part", "target"]


def test_a_symbol_is_free_only_when_its_parts_rest_no_more(hold: Callable[..., Held]) -> None:
    held = hold(ExitPlan(parts=((0.5, 0.4),)))
    held.look()
    held.exchange.close_position(BTC, "stop")
    held.harness.later(60)
    held.exchange.fail("cancel_order", ExchangeUnavailableError("no answer"), times=9)
    report = reconcile(held.harness.context)
    assert held.intent.status == orders.CONFIRMED and orders.occupying(held.harness.database, "main")
    assert any("may rest" in text for _, text in report.differences)
    held.exchange.heal()
    reconcile(held.harness.context)
    reconcile(held.harness.context)
    assert held.intent.status == orders.CLOSED and not orders.occupying(held.harness.database, "main")


@pytest.mark.slow
def test_a_part_that_a_person_cancels_is_not_placed_again(hold: Callable[..., Held]) -> None:
    held = hold(ExitPlan(parts=((0.5, 0.4),)))
    held.look()
    held.exchange.cancel_by(held.link("p1"))
    held.close_at(100.2)
    held.look()
    assert held.exchange.creates[held.link("p1")] == 1


def test_closes_before_the_fill_of_an_entry_that_waited_count_for_nothing() -> None:
    plan = ExitPlan(after_bars=4, trail=0.01)
    closes = np.array([100.0, 105.0, 99.0, 100.0, 101.0])
    starts = OPENED_MS - HOUR_MS + HOUR_MS * np.arange(5, dtype=np.int64)
    candles = Candles(Timeframe.M60, starts, closes, closes, closes, closes, closes, closes)
    at_once = Position(plan, True, OPENED_MS, 100.0, 98.0, 104.0)
    assert decided_exit(at_once, candles, np.zeros(5, dtype=np.bool_)).reason is ExitReason.ROI  # type: ignore[union-attr]
    waited = replace(at_once, since_ms=OPENED_MS + 2 * HOUR_MS)
    found = decided_exit(waited, candles, np.zeros(5, dtype=np.bool_))
    assert found is not None and (found.reason, found.bar_close_ms) == (ExitReason.TIME, OPENED_MS + 4 * HOUR_MS)
    assert found.standing.stop == pytest.approx(99.0), "age counts from the signal, levels from the fill"


def test_flatten_closes_what_a_plan_has_left(hold: Callable[..., Held]) -> None:
    held = hold(ExitPlan(after_bars=5, parts=((0.5, 0.4),)))
    held.look()
    part = held.exchange._resting(held.link("p1"))
    assert part is not None
    held.exchange.fill(held.link("p1"), part.qty)
    held.harness.later(1)
    report = flatten(held.harness.context, reason="enough", actor="a person")
    assert BTC in report.closed and not report.left
    assert sum(qty for _, qty in held.closed()) == held.intent.filled_qty
