"""DCA plans under kills, lost answers, lags, clock jumps and a second maintainer, on the real embedded exchange."""

from __future__ import annotations

import random
from collections import Counter
from contextlib import suppress
from dataclasses import replace
from decimal import Decimal
from typing import Any

import pytest

from trading_assets.core.errors import ExchangeError, TradingAssetsError
from trading_assets.ledger import dca, leases
from trading_assets.ledger.database import Database
from trading_assets.trading.dca.control import start, stop
from trading_assets.trading.dca.maintain import dca_lease, maintain
from trading_assets.trading.dca.plans import Missed
from trading_assets.trading.dca.steps import DcaStep
from trading_assets_tests.simulator.fake_market import DAY, HOUR, MINUTE
from trading_assets_tests.trading.dca.stage import A_PLAN, SYMBOL, Stage, stage_on

D = Decimal
PATH = (100_000, 97_500, 102_500, 99_500, 99_500)
BUSY = replace(A_PLAN, safety_orders=3, safety_step_pct=D("0.7"), target_pct=D("1.5"))
POINTS = [
    f"{when} {step}"
    for step in (
        DcaStep.OBSERVE,
        DcaStep.RESERVE,
        DcaStep.CREATE,
        DcaStep.ACKNOWLEDGE,
        DcaStep.CANCEL,
        DcaStep.CHANGE,
        DcaStep.STOP,
    )
    for when in ("before", "after")
]
ENDS = tuple(f"{when} {step}" for step in (DcaStep.CANCEL, DcaStep.CHANGE) for when in ("before", "after"))
"""Points that come where a plan is stopped."""


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
    for _ in range(4):
        stage.advance(0.7)
        stage.maintain()
    assert not stage.maintain().acted
    stage.require_lawful()
    assert dca.ORDERED not in stage.outcomes(), "every scheduled time has its outcome"


def begin(stage: Stage) -> None:
    """Start a plan, and look after it once: what fails then is made up for later."""
    start(stage.context, BUSY)
    maintain(stage.context)


@pytest.mark.slow
def test_an_answer_that_comes_late_brings_no_order_back(sqlite: Database) -> None:
    """Another process has followed the order to its end; who sent it then writes what the answer said."""
    with stage_on(sqlite, *PATH) as stage:
        ended: set[str] = set()

        def sleeps(now: str) -> None:
            if now == "after dca create" and not ended:
                stage.at = lambda _point: None
                stage.wall += 65_000
                stage.after(2, steps=2)
                ended.update(one.order_link_id for one in stage.accounts().orders if one.status == dca.DONE)

        stage.at = sleeps
        with suppress(TradingAssetsError):
            begin(stage)
        assert ended
        assert ended <= {one.order_link_id for one in stage.accounts().orders if one.status == dca.DONE}
        require_settled(stage)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("point", "number"), [(one, times) for one in POINTS for times in (1, 3) if times == 1 or one not in ENDS]
)
def test_whatever_is_killed_the_next_process_goes_on_and_no_time_is_bought_twice(
    sqlite: Database, point: str, number: int
) -> None:
    with stage_on(sqlite, *PATH) as stage:
        seen = kill_at(stage, point, number)
        with suppress(KilledError):
            begin(stage)
        if point in ENDS:
            stop(sqlite, "main", SYMBOL, "enough", stage.running.now_ms(), closes=True)
        for _ in range(14):
            if point.endswith("stop") and stage.position() is not None:
                stage.exchange.set_stops(SYMBOL, None, None)
            live(stage, 0.25, 1)
        assert seen[point] >= number, "the point was reached"
        require_settled(stage)
        assert stage.row().state == (dca.ENDED if point in ENDS else dca.RUNNING)


@pytest.mark.slow
@pytest.mark.parametrize("fault", [{"lost_answer": True}, {"lost_request": True}, {"ret_code": 10016}])
@pytest.mark.parametrize(
    "where",
    [
        "POST /v5/order/create-batch",
        "POST /v5/order/cancel-batch",
        "POST /v5/position/trading-stop",
        "GET /v5/execution/list",
    ],
)
def test_a_fault_at_a_call_is_made_up_for(sqlite: Database, where: str, fault: dict[str, object]) -> None:
    with stage_on(sqlite, *PATH) as stage:
        stage.arm(where, times=1, **fault)
        with suppress(ExchangeError):
            begin(stage)
        live(stage, 3.5, 14)
        require_settled(stage)
        assert stage.outcomes()[dca.FILLED] >= 4


@pytest.mark.slow
def test_an_order_that_never_arrived_is_sent_again_under_its_own_id_while_it_is_in_time(sqlite: Database) -> None:
    with stage_on(sqlite, 100_000, 100_000) as stage:
        stage.arm("POST /v5/order/create-batch", times=1, lost_request=True)
        stage.start(schedule="every 10m", grace_s=120)
        assert stage.outcomes() == {dca.ORDERED: 1}
        stage.after(1, steps=2)
        assert stage.outcomes() == {dca.FILLED: 1}
        assert len([one for one in stage.accounts().orders if one.purpose == dca.BUY]) == 1
        stage.require_lawful()


@pytest.mark.slow
@pytest.mark.parametrize("lag_ms", [500, 20_000])
def test_lists_that_lag_lead_to_no_second_order_and_no_alarm(sqlite: Database, lag_ms: int) -> None:
    with stage_on(sqlite, *PATH) as stage:
        for where in ("order/realtime", "order/history", "position/list", "execution/list"):
            stage.arm(f"GET /v5/{where}", lag_ms=lag_ms)
        start(stage.context, replace(BUSY, schedule="every 2m"))
        live(stage, 3.5, 14)
        stage.running.faults.remove()
        require_settled(stage)
        assert stage.row().state == dca.RUNNING
        assert [title for title, _ in stage.told if "needs a person" in title] == []


def test_one_process_at_a_time_looks_after_them(sqlite: Database) -> None:
    with stage_on(sqlite, 100_000, 100_000) as stage:
        begin(stage)
        held = leases.acquire(sqlite, dca_lease("main"), "another", ttl_ms=60_000, wall_ms=stage.wall)
        assert held is not None
        stage.running.advance(MINUTE)
        report = maintain(stage.context)
        assert (report.busy, report.acted) == ("another", False)
        stage.wall += 60_001
        assert maintain(stage.context).placed == 1


def test_who_lost_the_lease_while_it_was_away_writes_and_sends_nothing(sqlite: Database) -> None:
    with stage_on(sqlite, 100_000, 100_000) as stage:
        taken: list[object] = []

        def away(point: str) -> None:
            if point == "before dca reserve" and not taken:
                stage.wall += 61_000
                taken.append(leases.acquire(sqlite, dca_lease("main"), "other", ttl_ms=60_000, wall_ms=stage.wall))

        stage.at = away
        with pytest.raises(Exception, match="no longer holds"):
            begin(stage)
        assert taken[0] is not None
        assert (stage.held(), stage.accounts().buys) == (0, [])


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(6))
def test_random_paths_kills_and_faults_leave_equal_books(sqlite: Database, seed: int) -> None:
    """Any side, a random way within the stop, kills, lost answers and late cancellations."""
    draw = random.Random(seed)
    prices = [100_000.0, *(draw.uniform(96_000, 104_000) for _ in range(10))]
    with stage_on(sqlite, *prices, prices[-1], prices[-1]) as stage:
        stage.start(replace(BUSY, side=draw.choice(list(type(BUSY.side))), missed=draw.choice(list(Missed))))
        kills = rounds = 0
        while rounds < 20 or (kills == 0 and rounds < 100):  # its point may not come
            rounds += 1
            fate = draw.random()
            if fate < 0.3:
                kill_at(stage, draw.choice(POINTS), draw.randint(1, 2))
            elif fate < 0.5:
                where = draw.choice(["order/create-batch", "order/cancel-batch", "position/trading-stop"])
                stage.arm(f"POST /v5/{where}", times=1, **draw.choice([{"lost_answer": True}, {"lost_request": True}]))
            kills += live(stage, 0.5, 2)
            stage.at = lambda _point: None
        stage.running.faults.remove()
        assert kills > 0
        require_settled(stage)
        assert [title for title, _ in stage.told if "needs a person" in title] == []


class JumpingExchange:
    """The exchange with a clock that a test moves."""

    def __init__(self, inner: Any) -> None:
        self.inner, self.offset_ms = inner, 0

    def now_ms(self) -> int:
        return int(self.inner.now_ms()) + self.offset_ms

    def __getattr__(self, name: str) -> Any:
        return getattr(self.inner, name)


@pytest.mark.slow
@pytest.mark.parametrize(("schedule", "days", "killed"), [("every 6h", 31, 30), ("0 1,7,13,22 * * *", 9, 8)])
def test_a_month_with_restarts_and_clock_jumps_has_each_scheduled_time_exactly_once(
    sqlite: Database, schedule: str, days: int, killed: int
) -> None:
    """Processes are killed, the clock of the venue jumps to and fro, the local one too."""
    draw = random.Random(schedule)
    prices = [100_000.0, *(draw.uniform(97_000, 103_000) for _ in range(60))]
    with stage_on(sqlite, *prices) as stage:
        jumping = JumpingExchange(stage.exchange)
        stage.exchange = jumping  # type: ignore[assignment]
        plan = replace(A_PLAN, schedule=schedule, grace_s=3600, max_deployed=D(40_000), leverage=D(10), stop_pct=D(8))
        begun = stage.running.now_ms()
        start(stage.context, replace(plan, missed=draw.choice(list(Missed))))
        kills = jumps = 0
        while stage.running.now_ms() < begun + days * DAY:
            minutes = draw.choice([1, 30, 120, 240, 420])
            stage.advance(minutes)
            if kills < killed and draw.random() < 0.4:
                kill_at(stage, draw.choice(POINTS[:6]), 1)
            if draw.random() < 0.1:
                jumping.offset_ms = draw.choice([-30, -7, -1, 1, 7, 30]) * HOUR
                stage.wall += draw.choice([-1, 1]) * HOUR
                jumps += 1
            try:
                maintain(stage.context)
            except KilledError:
                kills += 1
            jumping.offset_ms, stage.at = 0, lambda _point: None
            with suppress(KilledError):
                maintain(stage.context)
        assert (kills, jumps > days // 6) == (killed, True)
        stage.advance(2)
        require_settled(stage)
        row, buys = stage.row(), stage.accounts().buys
        expected = plan.times if schedule.startswith("every") else replace(plan, schedule=schedule).times
        times = replace(expected, text=row.schedule, anchor_ms=row.anchor_ms).between(begun - 1, row.decided_ms, 10_000)
        assert [buy.due_ms for buy in buys] == times, "each scheduled time once, none more"
        outcomes = stage.outcomes()
        assert set(outcomes) <= {dca.FILLED, dca.SKIPPED, dca.REFUSED}
        assert all(buy.reason for buy in buys if buy.outcome != dca.FILLED), "whatever was skipped says why"
        links = [order.order_link_id for order in stage.accounts().orders if order.purpose == dca.BUY]
        assert len(links) == len(set(links)) == outcomes[dca.FILLED] + outcomes[dca.REFUSED]
        assert outcomes[dca.FILLED] > days // 2, (
            "looks are hours apart: where missed times are skipped most of them are"
        )
