"""Laws R1 to R19 of docs/grid.md over random paths, faults, persons and restarts, on the real embedded exchange."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from decimal import Decimal
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from hypothesis import Phase, example, given, settings
from hypothesis import strategies as st

from trading_assets.core.errors import TradingAssetsError
from trading_assets.core.models import CancelledBy, Side
from trading_assets.ledger import grids
from trading_assets.ledger.database import Database
from trading_assets.trading.grid.control import stop
from trading_assets.trading.grid.levels import Kind, OutOfRange, Spacing
from trading_assets.trading.grid.maintain import maintain
from trading_assets.trading.grid.one_pass import MOST_TRIES
from trading_assets_tests.trading.grid import lives
from trading_assets_tests.trading.grid.lives import Life, Step, foreign_order
from trading_assets_tests.trading.grid.stage import SYMBOL, stage_on

D = Decimal
NEUTRAL: dict[str, Any] = {
    "kind": Kind.NEUTRAL,
    "spacing": Spacing.ARITHMETIC,
    "levels": 10,
    "out_of_range": OutOfRange.WAIT,
}
QUIET = settings(max_examples=8, derandomize=True, phases=(Phase.explicit, Phase.generate))


@contextmanager
def life_on(template: Path, path: list[int], plan: dict[str, Any]) -> Iterator[Life]:
    """A grid on a ledger of its own; the price begins in the middle, and rests at the end of the path."""
    with tempfile.TemporaryDirectory() as folder:
        file = shutil.copy(template, Path(folder) / "ledger.db")
        with (
            closing(Database(f"sqlite:///{file}", busy_timeout_s=60.0)) as database,
            stage_on(database, 100_000, *path, path[-1]) as stage,
        ):
            stage.wall = 100_000_000  # clocks are set back, and stay above 0
            stage.start(**lives.plan_of(plan))
            yield Life(stage)


@pytest.mark.slow
@QUIET
@given(path=lives.paths, plan=lives.plans, drawn=lives.steps)
@example(path=[97_500, 102_500, 99_500], plan=NEUTRAL, drawn=[("kill", ("after grid create", 1)), ("second", None)] * 3)
@example(path=[97_500, 97_500], plan=NEUTRAL, drawn=[("nothing", None)] * 3 + [("late", 60_000), ("command", "adjust")])
def test_every_law_holds_after_each_pass_and_at_rest(
    sqlite_template: Path, path: list[int], plan: dict[str, Any], drawn: list[Step]
) -> None:
    """R1 to R7, R9 to R13, R17, R18; what is looked at is in `lives.Life`."""
    with life_on(sqlite_template, path, plan) as life:
        foreign = foreign_order(life.stage)
        life.live(drawn)
        life.settle()
        waiting = {row.order_id: (row.qty, row.price) for row in life.stage.exchange.open_orders(SYMBOL)}
        assert waiting.get(foreign) == (D("0.001"), D(50_000)), "R17: what is foreign is untouched"


@pytest.mark.slow
@QUIET
@given(
    path=lives.paths,
    plan=lives.plans,
    point=st.sampled_from(lives.POINTS),
    number=st.integers(1, 2),
    at=st.integers(0, 3),
)
def test_a_restart_is_invisible(
    sqlite_template: Path, path: list[int], plan: dict[str, Any], point: str, number: int, at: int
) -> None:
    """R16: what is wished for after a kill and a restart is what a twin wishes for that was not killed."""
    results = []
    for is_killed in (True, False):
        with life_on(sqlite_template, path, plan) as life:
            for turn in range(5):
                life.stage.advance(0.5)
                if is_killed and turn == at:
                    life.meet(("kill", (point, number)))
                life.a_pass()
                life.stage.at = lambda _point: None
                for _ in range(3):  # the clock of the market stands; that of the machine goes on
                    life.stage.wall += 31_000
                    life.a_pass()
            grid = life.settle()
            waiting = [(row.price, row.side, row.qty) for row in life.stage.exchange.open_orders(SYMBOL)]
            results.append((grid.state, life.stage.held(), sorted(waiting, key=str)))
    assert results[0] == results[1]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("cancel_type", "by", "state"),
    [
        ("CancelByPrepareLiq", CancelledBy.LIQUIDATION, grids.BLOCKED),
        ("CancelAllBeforeLiq", CancelledBy.LIQUIDATION, grids.BLOCKED),
        ("CancelByPrepareAdl", CancelledBy.ADL, grids.BLOCKED),
        ("CancelBySettle", CancelledBy.SETTLEMENT, grids.BLOCKED),
        ("CancelByAdmin", CancelledBy.ADMIN, grids.BLOCKED),
        ("CancelByDCP", CancelledBy.DISCONNECTION, grids.RUNNING),
        ("CancelBySmp", CancelledBy.SELF_MATCH, grids.RUNNING),
    ],
)
def test_a_cancellation_by_the_venue_halts_by_its_kind(
    sqlite: Database, cancel_type: str, by: CancelledBy, state: str
) -> None:
    """R8."""
    with stage_on(sqlite, 100_000, 100_000) as stage:
        stage.start()
        engine = stage.running.venue.engine
        some = [order for order in engine.open_orders() if order.price == D(97_000)]
        link = some[0].order_link_id
        stage.running.venue.transact(lambda now: engine.cancel_by_venue(some, cancel_type, now))
        looked = stage.exchange.find_order(SYMBOL, link)
        assert looked is not None
        assert looked.cancelled_by is by
        stage.after(2, steps=4)
        assert stage.grid().state == state
        assert (D(97_000) in [price for price, _ in stage.ladder()]) == (state == grids.RUNNING)
        assert bool(stage.ladder()) == (state == grids.RUNNING)


@pytest.mark.slow
def test_the_same_refusal_is_not_asked_for_again_and_again(sqlite: Database) -> None:
    """R19: tries of a level wait longer each time, and end with a person, who is told once."""
    with stage_on(sqlite, 100_000, 100_000) as stage:
        stage.arm("POST /v5/order/create-batch", reject_reason="EC_NoEnoughQtyToFill")
        with suppress(TradingAssetsError):
            stage.start()
        for _ in range(40):
            stage.advance(0.25)
            maintain(stage.context)
        with sqlite.read() as connection:
            rows = grids.orders_of(connection, stage.grid().grid_id)
        of_level = [row for row in rows if row.level_index == 3]
        assert len(of_level) <= MOST_TRIES
        sent = sorted(row.created_ms for row in of_level)
        assert all(later - sooner >= 2_000 for sooner, later in pairwise(sent))


@pytest.mark.slow
@pytest.mark.parametrize("away_ms", [0, 2_000, 30_000])
def test_stop_means_stop(sqlite: Database, away_ms: int) -> None:
    """R12: however late cancellations take effect, nothing of it is open, and nothing is held, soon after."""
    with stage_on(sqlite, 100_000, 98_500, 101_000, 97_500, 99_000) as stage:
        stage.start()
        stage.after(1.5, steps=3)
        if away_ms:
            stage.arm("POST /v5/order/cancel-batch", act_after_ms=away_ms)
        stop(sqlite, "main", SYMBOL, "enough", stage.running.now_ms(), closes=True)
        life = Life(stage)
        for _ in range(12):
            stage.advance(0.25)
            life.a_pass()
        assert stage.grid().state == grids.ENDED
        assert (stage.held(), stage.exchange.open_orders(SYMBOL)) == (0, ())
        life.settle()


@pytest.mark.slow
def test_who_woke_late_sends_nothing_that_another_one_may_have_given_up(sqlite: Database) -> None:
    """R1, R7: between the ledger and the wire a process slept for longer than orders are waited for."""
    with stage_on(sqlite, 100_000, 100_000) as stage:

        def sleeps(point: str) -> None:
            if point == "before grid create":
                stage.wall += 65_000

        stage.at = sleeps
        with pytest.raises(AssertionError, match="too long to be sent"):
            stage.start()
        assert stage.exchange.open_orders() == ()
        stage.at = lambda _point: None
        stage.after(1, steps=3)
        stage.require_lawful()
        assert len(stage.ladder()) >= 9


@pytest.mark.slow
def test_an_answer_that_comes_late_brings_no_order_back(sqlite: Database) -> None:
    """R6: another process has followed the order to its end; who sent it then writes what the answer said."""
    with stage_on(sqlite, 100_000, 98_500, 98_500) as stage:
        states: list[dict[str, str]] = []

        def sleeps(point: str) -> None:
            is_of_levels = any(row.level_index is not None for row in stage.accounts().orders)
            if point == "before grid acknowledge" and is_of_levels and not states:
                states.append({})
                stage.wall += 65_000
                stage.running.advance(90_000)
                stage.maintain()
                states[0] |= {row.order_link_id: row.status for row in stage.accounts().orders}

        stage.at = sleeps
        with suppress(TradingAssetsError):
            stage.start()
        ended = {link for link, status in states[0].items() if status == grids.DONE}
        now = {row.order_link_id: row.status for row in stage.accounts().orders}
        assert ended
        assert {now[link] for link in ended} == {grids.DONE}
        stage.at = lambda _point: None
        stage.after(2, steps=4)
        stage.require_lawful()
        assert {row.side for row in stage.accounts().fills} == {Side.BUY}
