"""Random lives of a grid: a price path, misfortunes, a person, restarts; and what is looked at after each pass.

A life is made of steps that hypothesis draws. What a law says of every moment is looked at after every pass, what it
says of rest at the end.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field, replace
from decimal import Decimal
from typing import Any

from hypothesis import strategies as st

from trading_assets.chaos.findings import Findings
from trading_assets.chaos.grid_invariants import compare_grid, left_of_ended, traded_with_itself
from trading_assets.core.errors import ExchangeError, TradingAssetsError
from trading_assets.core.models import OrderChange, OrderRequest, Side
from trading_assets.ledger import grids
from trading_assets.ledger.grids import Grid, GridOrder
from trading_assets.trading.grid import control
from trading_assets.trading.grid.levels import Kind, OutOfRange, Plan, Spacing
from trading_assets.trading.grid.maintain import maintain
from trading_assets.trading.grid.steps import GridStep
from trading_assets_tests.trading.grid.stage import A_PLAN, SYMBOL, Stage

D = Decimal
POINTS = [f"{edge} {step}" for step in GridStep for edge in ("before", "after")]
CALLS = ("POST /v5/order/create-batch", "POST /v5/order/cancel-batch", "POST /v5/position/trading-stop")
LISTS = tuple(f"GET /v5/{where}" for where in ("order/realtime", "order/history", "position/list", "execution/list"))
CANCEL_TYPES = ("CancelByDCP", "CancelBySmp", "CancelByAdmin", "CancelByPrepareLiq", "CancelByReduceOnly")

FOREIGN = "by-hand-far-below"


class KilledError(BaseException):
    """The process ends here."""


FAULTS: Mapping[str, dict[str, Any]] = {
    "answer lost": {"lost_answer": True},
    "request lost": {"lost_request": True},
    "cut off": {"truncated": True},
    "502": {"http_status": 502},
    "10006": {"ret_code": 10006},
    "10016, after": {"ret_code": 10016, "processed": True},
}

Step = tuple[str, object]

nothing = st.just(("nothing", None))
killed = st.tuples(st.just("kill"), st.tuples(st.sampled_from(POINTS), st.integers(1, 2)))
fault = st.tuples(st.just("fault"), st.tuples(st.sampled_from(CALLS), st.sampled_from(sorted(FAULTS))))
lag = st.tuples(st.just("lag"), st.tuples(st.sampled_from(LISTS), st.sampled_from([500, 20_000])))
late = st.tuples(st.just("late"), st.sampled_from([5_000, 60_000]))
venue = st.tuples(st.just("venue"), st.sampled_from(CANCEL_TYPES))
hand = st.tuples(st.just("hand"), st.sampled_from(["cancel", "move", "shrink", "unstop", "unguard"]))
command = st.tuples(st.just("command"), st.sampled_from(["pause", "resume", "recentre", "adjust", "stop"]))
clock = st.tuples(st.just("clock"), st.sampled_from([-3_600_000, -5_000, 40_000, 3_600_000]))
second = st.just(("second", None))

steps = st.lists(
    st.one_of(nothing, nothing, killed, killed, fault, fault, lag, late, venue, hand, command, clock, second),
    min_size=6,
    max_size=18,
)
paths = st.lists(st.integers(92_500, 107_500), min_size=4, max_size=9)
plans = st.fixed_dictionaries(
    {
        "kind": st.sampled_from(list(Kind)),
        "spacing": st.sampled_from(list(Spacing)),
        "levels": st.sampled_from([4, 7, 10]),
        "out_of_range": st.sampled_from(list(OutOfRange)),
    }
)


def plan_of(drawn: Mapping[str, Any]) -> dict[str, Any]:
    """The changes to `A_PLAN`, with the stops that the kind has."""
    kind = drawn["kind"]
    stops = {"stop_high": None} if kind is Kind.LONG else {"stop_low": None} if kind is Kind.SHORT else {}
    return {**drawn, **stops}


@dataclass
class Life:
    """One grid through the steps of a life.

    Attributes:
        seen: state and filled quantity of each order at the last look.
        had: how often each kind of step came.
    """

    stage: Stage
    seen: dict[str, GridOrder] = field(default_factory=dict)
    kills: int = 0
    had: Counter[str] = field(default_factory=Counter)

    def live(self, drawn: list[Step], minutes: float = 0.5) -> None:
        for step in drawn:
            self.meet(step)
            self.stage.advance(minutes)
            self.a_pass()
            self.stage.running.faults.remove()
            self.stage.at = lambda _point: None
            self.look()

    def meet(self, step: Step) -> None:
        """What happens before the next pass."""
        stage, (what, how) = self.stage, step
        self.had[what] += 1
        match what, how:
            case "kill", (str(point), int(number)):
                self._kill_at(point, number)
            case "fault", (str(where), str(name)):
                stage.arm(where, times=1, **FAULTS[name])
            case "lag", (str(where), int(lag_ms)):
                stage.arm(where, lag_ms=lag_ms)
            case "late", int(by_ms):
                stage.arm("POST /v5/order/cancel-batch", act_after_ms=by_ms)
            case "venue", str(cancel_type):
                engine = stage.running.venue.engine
                some = [one for one in engine.open_orders() if _is_ours(one.order_link_id) and not one.trigger_price][
                    :2
                ]
                stage.running.venue.transact(lambda now: engine.cancel_by_venue(some, cancel_type, now))
            case "hand", str(act):
                with suppress(ExchangeError):
                    self._by_hand(act)
            case "command", str(act):
                with suppress(TradingAssetsError):
                    self._command(act)
            case "clock", int(by_ms):
                stage.wall += by_ms
            case "second", _:
                with suppress(ExchangeError):
                    maintain(stage.context)

    def a_pass(self) -> None:
        try:
            maintain(self.stage.context)
        except KilledError:
            self.kills += 1
        except TradingAssetsError:
            return

    def grid(self) -> Grid:
        return self.stage.grid()

    def orders(self) -> list[GridOrder]:
        with self.stage.database.read() as connection:
            return grids.orders_of(connection, self.grid().grid_id)

    def look(self) -> None:
        """What holds at every moment: R1, R2, R6, R7, R9, R10, R13."""
        found, grid = Findings(), self.grid()
        compare_grid(found, self.stage.database, self.stage.exchange, grid, rests=False)
        assert found.grid_duplicates == [], "R1, R2, R13"
        assert found.self_trades == [], "R10"
        assert found.beyond_bounds == [], "R9"
        assert found.grid_profit == [], "R18"
        rows = self.orders()
        for row in rows:
            before = self.seen.get(row.order_link_id)
            if before is None:
                continue
            assert row.filled_qty >= before.filled_qty, f"R6: {before} became {row}"
            if before.status == grids.DONE and row.status != grids.DONE:
                assert row.cancel == "it had been given up, and came after all", f"R6: {before} became {row}"
        self.seen = {row.order_link_id: row for row in rows}
        working = Counter(
            (row.generation, row.level_index)
            for row in rows
            if row.level_index is not None and row.status != grids.DONE and row.cancel is None
        )
        assert max(working.values(), default=0) <= 1, f"R7: {working}"
        waiting = self.stage.exchange.open_orders(SYMBOL)
        assert len([row for row in waiting if row.trigger_price is not None and not row.purpose.is_protective]) <= 4
        assert len(waiting) <= grid.levels + 10, "R9"
        worst = max(grid.worst_value, A_PLAN.capital * A_PLAN.leverage)
        for side in Side:
            held = max(self.stage.held() if side is Side.BUY else -self.stage.held(), D(0)) * 100_000
            opens = sum(
                (
                    (row.qty - row.filled_qty) * row.price
                    for row in waiting
                    if row.side is side and row.price and not row.reduce_only
                ),
                D(0),
            )
            if grid.kind != Kind.NEUTRAL:  # what closes a level of a neutral grid may open on the other side
                assert held + opens <= worst * D("1.1"), f"R9: {side} {held} and {opens} of {worst}"

    def settle(self) -> Grid:
        """Undisturbed passes until nothing is left to be done; then what holds at rest."""
        stage = self.stage
        stage.running.faults.remove()
        for _ in range(5):
            stage.advance(0.75)
            self.a_pass()
            self.look()
        if self.grid().state == grids.BLOCKED:  # a person looks at it, and ends it
            control.stop(stage.database, "main", SYMBOL, "blocked", stage.running.now_ms(), closes=True)
            for _ in range(5):
                stage.advance(0.75)
                self.a_pass()
        control_passes = [maintain(stage.context) for _ in range(3)]
        last = control_passes[-1]
        assert not last.failed, last.failed
        assert not last.busy, last.busy
        assert not last.acted, f"a second pass did something: {control_passes}"
        self.look()
        grid, found = self.grid(), Findings()
        compare_grid(found, stage.database, stage.exchange, grid)
        rows = stage.exchange.executions(grid.created_ms, stage.running.now_ms() + 1)
        found.self_trades += traded_with_itself(rows)
        if grid.state == grids.ENDED:
            with stage.database.read() as connection:
                found.grid_duplicates += left_of_ended(connection, stage.exchange, grid)
            assert stage.held() == 0, "R12"
        assert not found.broken, f"{grid.state}, {grid.reason}: {found.broken}"
        return grid

    def _kill_at(self, point: str, number: int) -> None:
        seen: Counter[str] = Counter()

        def at(now: str) -> None:
            seen[now] += 1
            if (now, seen[now]) == (point, number):
                raise KilledError(point)

        self.stage.at = at

    def _by_hand(self, act: str) -> None:
        exchange = self.stage.exchange
        waiting = [row for row in exchange.open_orders(SYMBOL) if _is_ours(row.order_link_id)]
        levels = [row for row in waiting if row.price is not None and row.trigger_price is None]
        guards = [row for row in waiting if row.trigger_price is not None]
        if act == "cancel" and levels:
            exchange.cancel_order(SYMBOL, levels[0].order_link_id)
        elif act == "unguard" and guards:
            exchange.cancel_order(SYMBOL, guards[0].order_link_id)
        elif act == "move" and levels and levels[-1].price is not None:
            row = levels[-1]
            by = D(-5) if row.side is Side.BUY else D(5)
            exchange.amend_order(OrderChange(SYMBOL, row.order_link_id, price=levels[-1].price + by))
        elif act == "shrink" and levels and levels[0].qty > levels[0].filled_qty + D("0.001"):
            exchange.amend_order(OrderChange(SYMBOL, levels[0].order_link_id, qty=levels[0].filled_qty + D("0.001")))
        elif act == "unstop" and exchange.position(SYMBOL) is not None:
            exchange.set_stops(SYMBOL, None, None)

    def _command(self, act: str) -> None:
        stage, now_ms = self.stage, self.stage.running.now_ms()
        where = (stage.database, "main", SYMBOL)
        match act:
            case "pause":
                control.pause(*where, "lunch", now_ms)
            case "resume":
                control.resume(*where, now_ms)
            case "stop":
                control.stop(*where, "enough", now_ms, closes=True)
            case _:
                plan = control.current_plan(*where)
                last = stage.exchange.ticker(SYMBOL).last
                half = (plan.high - plan.low) / 2
                by = D(1) if act == "recentre" else D("0.8")
                control.adjust(stage.context, _around(plan, last, half * by))


def _is_ours(link: str) -> bool:
    return bool(link) and link != FOREIGN


def _around(plan: Plan, last: Decimal, half: Decimal) -> Plan:
    return replace(plan, low=last - half, high=last + half)


def foreign_order(stage: Stage) -> str:
    """A person's order far away in the grid's contract; its exchange id."""
    request = OrderRequest(SYMBOL, Side.BUY, D("0.001"), FOREIGN, price=D(50_000))
    return stage.exchange.place_order(request).order_id or ""
