"""Grids under kills, lost answers, lags, late commands and a second maintainer, on the real embedded exchange."""

from __future__ import annotations

import random
from collections import Counter
from contextlib import suppress
from dataclasses import replace
from decimal import Decimal

import pytest

from trading_assets.core.errors import ExchangeError
from trading_assets.ledger import grids, leases
from trading_assets.ledger.database import Database
from trading_assets.trading.context import ContractCache
from trading_assets.trading.grid.control import start, stop
from trading_assets.trading.grid.levels import Kind
from trading_assets.trading.grid.maintain import grid_lease, maintain
from trading_assets.trading.grid.steps import GridStep
from trading_assets_tests.simulator.fake_market import MINUTE, T0
from trading_assets_tests.trading.grid.stage import A_PLAN, SYMBOL, Stage, stage_on

D = Decimal
PATH = (100_000, 97_500, 102_500, 99_500, 99_500)
POINTS = [
    f"{when} grid {what}" for what in ("observe", "reserve", "create", "cancel", "stop") for when in ("before", "after")
]


class KilledError(BaseException):
    """The process ends here."""


def kill_at(stage: Stage, point: str, number: int) -> Counter[str]:
    """Let the process end when it comes to a point for the nth time, once."""
    seen: Counter[str] = Counter()

    def at(now: str) -> None:
        seen[now] += 1
        if (now, seen[now]) == (point, number):
            raise KilledError(point)

    stage.at = at
    return seen


def live(stage: Stage, minutes: float, steps: int) -> int:
    """Time passes; what is killed, or meets a fault, is followed by another process. Return how often it was killed."""
    kills = 0
    for _ in range(steps):
        stage.advance(minutes / steps)
        try:
            maintain(stage.context)
        except KilledError:
            kills += 1
        except ExchangeError:
            continue
    return kills


def require_settled(stage: Stage) -> None:
    """After some undisturbed passes everything is as it should be, and another pass does nothing."""
    for _ in range(3):
        stage.advance(0.75)
        stage.maintain()
    assert not stage.maintain().acted
    stage.require_lawful()
    accounts = stage.accounts()
    sent = Counter(row.order_link_id for row in stage.exchange.executions(T0, stage.running.now_ms() + 1))
    assert set(sent) <= {order.order_link_id for order in accounts.orders} | {""}
    for order in accounts.orders:
        filled = sum((row.qty for row in accounts.rows if row.order_link_id == order.order_link_id), D(0))
        assert filled <= order.qty, "never more than was wished"
    assert accounts.inventory == sum((one.signed_qty for one in accounts.fills), D(0)) == stage.held()


@pytest.mark.slow
@pytest.mark.parametrize("point", POINTS)
def test_whatever_is_killed_the_next_process_goes_on_and_no_order_is_sent_twice(sqlite: Database, point: str) -> None:
    with stage_on(sqlite, *PATH) as stage:
        kill_at(stage, point, 2 if point.endswith(("observe", "reserve", "create")) else 1)
        try:
            stage.start()
            kills = 0
        except KilledError:
            kills = 1
        if point.endswith("cancel"):
            stage.after(1)
            stop(sqlite, "main", SYMBOL, "enough", stage.running.now_ms(), closes=True)
        kills += live(stage, 3.5, 10)
        assert kills == 1, "the point was reached"
        require_settled(stage)
        assert stage.grid().state == (grids.ENDED if point.endswith("cancel") else grids.RUNNING)


@pytest.mark.slow
@pytest.mark.parametrize("number", [1, 3, 4, 6])
@pytest.mark.parametrize("point", POINTS[:6])
def test_killed_anywhere_in_a_busy_life(sqlite: Database, point: str, number: int) -> None:
    with stage_on(sqlite, *PATH) as stage:
        kill_at(stage, point, number)
        with suppress(KilledError):
            stage.start()
        live(stage, 3.5, 14)
        require_settled(stage)


@pytest.mark.slow
@pytest.mark.parametrize("fault", [{"lost_answer": True}, {"lost_request": True}, {"ret_code": 10016}])
@pytest.mark.parametrize(
    "where", ["POST /v5/order/create-batch", "POST /v5/order/cancel-batch", "GET /v5/execution/list"]
)
def test_a_fault_at_a_call_is_made_up_for(sqlite: Database, where: str, fault: dict[str, object]) -> None:
    with stage_on(sqlite, *PATH) as stage:
        stage.arm(where, times=1, **fault)
        with suppress(ExchangeError):
            maintain_started(stage)
        live(stage, 3.5, 10)
        require_settled(stage)
        assert len(stage.ladder()) >= 9


def maintain_started(stage: Stage) -> None:
    """Start a grid, and look after it once: what fails then is made up for later."""
    start(stage.context, A_PLAN)
    maintain(stage.context)


@pytest.mark.slow
@pytest.mark.parametrize("lag_ms", [500, 20_000])
def test_lists_that_lag_lead_to_no_second_order_and_no_alarm(sqlite: Database, lag_ms: int) -> None:
    with stage_on(sqlite, *PATH) as stage:
        for where in ("order/realtime", "order/history", "position/list", "execution/list"):
            stage.arm(f"GET /v5/{where}", lag_ms=lag_ms)
        stage.start()
        live(stage, 3.5, 14)
        stage.running.faults.remove()
        require_settled(stage)
        assert stage.grid().state == grids.RUNNING
        assert [title for title, _ in stage.told if "needs a person" in title] == []


@pytest.mark.slow
def test_a_cancellation_that_comes_late_loses_and_its_fill_is_closed_with_the_rest(sqlite: Database) -> None:
    with stage_on(sqlite, 100_000, 100_000, 97_500, 97_500) as stage:
        stage.start()
        stage.advance(0.9)
        stage.arm("POST /v5/order/cancel-batch", act_after_ms=2 * MINUTE)
        stop(sqlite, "main", SYMBOL, "enough", stage.running.now_ms(), closes=True)
        live(stage, 6, 12)
        require_settled(stage)
        accounts = stage.accounts()
        assert accounts.fills, "some of them were filled before"
        assert (stage.grid().state, stage.held(), stage.exchange.open_orders()) == (grids.ENDED, 0, ())


@pytest.mark.slow
def test_a_stop_that_is_refused_for_its_tick_is_set_on_the_tick_of_now(sqlite: Database) -> None:
    """The rules that a process keeps are of before the change: a refusal has them read again, within the pass."""
    with stage_on(sqlite, 100_000, 100_000) as stage:
        stage.start(replace(A_PLAN, kind=Kind.LONG, stop_high=None))
        cached = ContractCache()
        cached.get(stage.exchange, {SYMBOL}, stage.wall)
        venue = stage.running.venue
        venue.revise(replace(venue.market.contracts[SYMBOL], tick_size=D(7)))
        stage.exchange.set_stops(SYMBOL, None, None)
        for _ in range(5):
            stage.advance(0.1)
            maintain(replace(stage.context, contracts=cached))
        position = stage.position()
        assert position is not None and position.stop_loss is not None
        assert not position.stop_loss % 7 and abs(position.stop_loss - 93_000) < 7
        assert not maintain(replace(stage.context, contracts=cached)).acted


@pytest.mark.slow
def test_a_stop_is_not_set_on_what_was_seen_long_ago(sqlite: Database) -> None:
    """A process that sleeps before it sets the stop looks again: by then it may be a person's position."""
    with stage_on(sqlite, 100_000, 100_000) as stage:
        stage.start(replace(A_PLAN, kind=Kind.LONG, stop_high=None))
        stage.exchange.set_stops(SYMBOL, None, None)
        seen: list[Decimal | None] = []

        def sleeps(point: str) -> None:
            if point == f"before {GridStep.STOP}":
                held = stage.position()
                assert held is not None
                seen.append(held.stop_loss)
                stage.wall += 35_000 if len(seen) == 1 else 0

        stage.at = sleeps
        report = maintain(stage.context)
        assert "too long" in report.failed[SYMBOL]
        assert seen == [None, None], "the late one set nothing, the next look did"
        stage.require_lawful()


def test_one_process_at_a_time_looks_after_them(sqlite: Database) -> None:
    with stage_on(sqlite, 100_000, 100_000) as stage:
        maintain_started(stage)
        held = leases.acquire(sqlite, grid_lease("main"), "another", ttl_ms=60_000, wall_ms=stage.wall)
        assert held is not None
        stage.exchange.cancel_order(SYMBOL, grids.working_orders(sqlite, "main")[3].order_link_id)
        report = maintain(stage.context)
        assert (report.busy, report.acted) == ("another", False)
        assert "kept by another" in str(report)
        stage.wall += 60_001
        assert maintain(stage.context).busy == ""


def test_who_lost_the_lease_while_it_was_away_writes_and_sends_nothing(sqlite: Database) -> None:
    with stage_on(sqlite, 100_000, 100_000) as stage:
        taken: list[object] = []

        def away(point: str) -> None:
            if point == "before grid reserve" and not taken:
                stage.wall += 61_000
                taken.append(leases.acquire(sqlite, grid_lease("main"), "other", ttl_ms=60_000, wall_ms=stage.wall))

        stage.at = away
        with pytest.raises(Exception, match="no longer holds"):
            maintain_started(stage)
        assert taken[0] is not None
        assert stage.exchange.open_orders() == ()


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(8))
def test_random_paths_kills_and_faults_leave_equal_books(sqlite: Database, seed: int) -> None:
    """Any kind of grid, a random way within its stops, kills, lost answers and late cancellations."""
    draw = random.Random(seed)
    prices = [100_000.0, *(draw.uniform(94_000, 106_000) for _ in range(10))]
    with stage_on(sqlite, *prices, prices[-1], prices[-1]) as stage:
        kind = draw.choice(list(Kind))
        stops = {"stop_high": None} if kind is Kind.LONG else {"stop_low": None} if kind is Kind.SHORT else {}
        stage.start(kind=kind, **stops)
        kills = 0
        for _ in range(20):
            fate = draw.random()
            if fate < 0.3:
                kill_at(stage, draw.choice(POINTS), draw.randint(1, 2))
            elif fate < 0.5:
                where = draw.choice(["create-batch", "cancel-batch"])
                stage.arm(
                    f"POST /v5/order/{where}", times=1, **draw.choice([{"lost_answer": True}, {"lost_request": True}])
                )
            kills += live(stage, 0.5, 2)
            stage.at = lambda _point: None
        stage.running.faults.remove()
        assert kills > 0
        require_settled(stage)
        assert [title for title, _ in stage.told if "needs a person" in title] == []
