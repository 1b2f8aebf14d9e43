"""Hours of live trading explain themselves by the backtest; what is broken afterwards is named."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from decimal import Decimal
from pathlib import Path

import pandas as pd
import pytest
import sqlalchemy as sa

from trading_assets.core.errors import DataError
from trading_assets.core.schemas import LIVE_PARITY, STRATEGY_SELECTIONS
from trading_assets.core.timeframes import DAY_MS, HOUR_MS, as_of_ms
from trading_assets.exchange.bybit import BybitExchange
from trading_assets.exchange.connection import Connection
from trading_assets.exchange.transport import Transport
from trading_assets.ledger import checks
from trading_assets.ledger import executions as execution_ledger
from trading_assets.ledger.checks import Verdict
from trading_assets.ledger.database import Database
from trading_assets.ledger.partitions import latest_hour_ms
from trading_assets.ledger.strategies import seed_registry
from trading_assets.ledger.tables import entry_signals, order_intents, partition_writes, signal_evaluations, sql_table
from trading_assets.market.store import CandleStore
from trading_assets.reporting.build import Sources, make_performance
from trading_assets.reporting.trades import OPEN
from trading_assets.simulator.clock import ClockMode, ClockSpec
from trading_assets.simulator.embedded import serve_in_thread
from trading_assets.simulator.venue import ServeConfig
from trading_assets.trading.parity import load as reading
from trading_assets.trading.parity.compare import Outcome
from trading_assets.trading.reconcile.reconciler import reconcile
from trading_assets_tests.exchange.stub import keys_of
from trading_assets_tests.trading.fixtures import NO_PAUSES, settings
from trading_assets_tests.trading.parity.fixtures import AFTER_CLOSE_MS, DAY_MS_ZERO, LiveTrading

START_MS = DAY_MS_ZERO + 2 * HOUR_MS + AFTER_CLOSE_MS
COINS = ["1000PEPEUSDT", "BTCUSDT", "LTCUSDT", "SOLUSDT", "TRXUSDT"]
HOURS = 5


@pytest.fixture(scope="module")
def traded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LiveTrading]:
    """A day of which some hours were traded, seen from the day after."""
    home = tmp_path_factory.mktemp("traded")
    config = ServeConfig(symbols=14, clock=ClockSpec(ClockMode.MANUAL, start_ms=START_MS))
    with serve_in_thread(config) as venue:
        connection = Connection(url=venue.url, keys=keys_of(venue.key, venue.secret))
        context = LiveTrading(
            venue,
            Database(f"sqlite:///{home / 'ledger.db'}"),
            CandleStore(home / "candles"),
            BybitExchange(Transport(connection, limited=False), virtual_clock=True),
            settings(home=home, max_positions=3, **NO_PAUSES),
            COINS,
        )
        seed_registry(context.database)
        context.select(DAY_MS_ZERO + HOUR_MS, "15m")
        context.trade(HOURS)
        venue.set_clock(DAY_MS_ZERO + DAY_MS + 400_000)
        reconcile(context.context)
        yield context
        context.database.close()


@pytest.fixture
def broken(traded: LiveTrading, tmp_path: Path) -> Iterator[Callable[[sa.Executable], LiveTrading]]:
    """The same day with one statement run on its ledger."""
    opened: list[Database] = []

    def break_it(statement: sa.Executable) -> LiveTrading:
        source = Path(str(traded.database.url.database))
        with traded.database.read() as connection:
            connection.exec_driver_sql("SELECT 1")
        for path in source.parent.glob(f"{source.name}*"):
            shutil.copy(path, tmp_path / path.name)
        database = Database(f"sqlite:///{tmp_path / source.name}")
        opened.append(database)
        with database.write() as connection:
            # What is append-only is kept so by triggers.
            for (name,) in connection.exec_driver_sql("SELECT name FROM sqlite_master WHERE type = 'trigger'").all():
                connection.exec_driver_sql(f"DROP TRIGGER {name}")
            assert connection.execute(statement).rowcount > 0  # type: ignore[attr-defined]
        return LiveTrading(traded.venue, database, traded.store, traded.exchange, traded.settings, traded.symbols)

    yield break_it
    for database in opened:
        database.close()


def unexplained(rows: pd.DataFrame) -> dict[str, str]:
    """Signal to outcome of what the ledger does not tell."""
    found = rows[rows["explained"] == 0]
    return dict(zip(found["signal_id"], found["outcome"], strict=True))


def a_trade(rows: pd.DataFrame) -> str:
    """The first signal that live and backtest traded alike."""
    return str(rows.loc[rows["outcome"] == Outcome.AGREES, "signal_id"].iloc[0])


@pytest.mark.slow
def test_all_of_a_day_is_explained(traded: LiveTrading) -> None:
    rows = traded.parity()
    LIVE_PARITY.model.validate(rows, lazy=True)
    assert unexplained(rows) == {}
    outcomes = set(rows["outcome"])
    assert Outcome.AGREES in outcomes
    assert Outcome.GATE in outcomes, "three positions at once are fewer than the market offers"
    agreed = rows[rows["outcome"] == Outcome.AGREES]
    assert (agreed["expected"] == 1).all() and (agreed["live"] == 1).all()
    assert (agreed["exit_reason"] == agreed["live_exit_reason"]).all()
    assert agreed["slippage_bps"].abs().max() < traded.settings.parity_tolerance_bps
    executed = int((rows["live_entry_price"].notna()).sum())
    assert executed >= 5


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["limit", "post-only", "chase"])
def test_a_day_of_entries_that_wait_is_explained(kind: str, tmp_path: Path) -> None:
    config = ServeConfig(symbols=14, clock=ClockSpec(ClockMode.MANUAL, start_ms=START_MS))
    with serve_in_thread(config) as venue:
        connection = Connection(url=venue.url, keys=keys_of(venue.key, venue.secret))
        waiting = {"entry_order": kind, "entry_offset_pct": "0.15", "entry_bars": 2}
        context = LiveTrading(
            venue,
            Database(f"sqlite:///{tmp_path / 'ledger.db'}"),
            CandleStore(tmp_path / "candles"),
            BybitExchange(Transport(connection, limited=False), virtual_clock=True),
            settings(home=tmp_path, max_positions=5, **waiting, **NO_PAUSES),
            COINS,
        )
        seed_registry(context.database)
        context.select(DAY_MS_ZERO + HOUR_MS, "15m")
        context.trade(HOURS + 3)
        venue.set_clock(DAY_MS_ZERO + DAY_MS + 400_000)
        reconcile(context.context)
        rows = context.parity()
        context.database.close()
    told = rows[["signal_id", "outcome", "reason", "entry_price", "live_entry_price"]].to_string()
    assert unexplained(rows) == {}, told
    outcomes = list(rows["outcome"])
    assert outcomes.count(Outcome.AGREES) >= 3, told
    assert (Outcome.DROPPED in outcomes) == (kind != "chase"), told


@pytest.mark.slow
def test_after_the_last_evaluation_nothing_ran(traded: LiveTrading) -> None:
    rows = traded.parity()
    last_look_ms = START_MS + HOURS * HOUR_MS
    after = rows[rows["bar_close_ms"] > last_look_ms]
    assert len(after) and set(after["outcome"]) <= {Outcome.NOT_RUNNING, Outcome.SELECTION}
    assert (after["live"] == 0).all()


@pytest.mark.slow
@pytest.mark.parametrize(("is_blocked", "last_hours"), [(False, 1), (True, 2)])
def test_an_hour_that_chose_no_coin_ends_what_is_followed_and_a_blocked_one_does_not(
    traded: LiveTrading, broken: Callable[[sa.Executable], LiveTrading], is_blocked: bool, last_hours: int
) -> None:
    newest = latest_hour_ms(traded.database, STRATEGY_SELECTIONS)
    assert newest is not None
    after = newest + HOUR_MS
    write = {"asset": "strategy_selections", "hour_ms": after, "run_id": "run", "code_version": "5"}
    written = broken(sa.insert(partition_writes).values(**write, written_wall_ms=0))
    if is_blocked:
        checks.record(written.database, [Verdict("market_scan", "SCHEMA", False, "3 values")], [after], "run")
    day = reading.read_live_day(written.database, written.settings, DAY_MS_ZERO)
    assert day.empty_hours == ([] if is_blocked else [after])
    rows, before = written.parity(), traded.parity()
    until_ms = as_of_ms(newest) + last_hours * HOUR_MS
    before = before[before["bar_close_ms"] < until_ms].reset_index(drop=True)
    pd.testing.assert_frame_equal(rows, before)
    assert (rows["bar_close_ms"] >= as_of_ms(newest)).any()


@pytest.mark.slow
def test_a_day_without_selections_or_signals_has_no_rows(traded: LiveTrading) -> None:
    assert traded.parity(DAY_MS_ZERO - DAY_MS).empty


def test_a_lost_order_is_named(traded: LiveTrading, broken: Callable[[sa.Executable], LiveTrading]) -> None:
    signal = a_trade(traded.parity())
    rows = broken(sa.delete(order_intents).where(order_intents.c.signal_id == signal)).parity()
    assert unexplained(rows) == {signal: Outcome.NO_ORDER}


def test_a_shifted_fill_is_named(traded: LiveTrading, broken: Callable[[sa.Executable], LiveTrading]) -> None:
    before = traded.parity()
    signal = a_trade(before)
    price = Decimal(str(before.set_index("signal_id").loc[signal, "live_entry_price"])) * Decimal("1.02")
    rows = broken(
        sa.update(order_intents).where(order_intents.c.signal_id == signal).values(average_price=price)
    ).parity()
    assert unexplained(rows) == {signal: Outcome.ENTRY}


@pytest.mark.slow
@pytest.mark.parametrize(
    ("column", "value", "outcome"),
    [
        ("stop_loss", entry_signals.c.stop_loss * 1.001, Outcome.DIFFERENT),
        ("entry_price", entry_signals.c.entry_price * 1.0001, Outcome.DIFFERENT),
        ("position_type", sa.case((entry_signals.c.position_type == "LONG", "SHORT"), else_="LONG"), Outcome.DIFFERENT),
        ("status", "executing", Outcome.UNSETTLED),
    ],
)
def test_a_changed_signal_is_named(
    traded: LiveTrading, broken: Callable[[sa.Executable], LiveTrading], column: str, value: object, outcome: Outcome
) -> None:
    signal = a_trade(traded.parity())
    rows = broken(sa.update(entry_signals).where(entry_signals.c.signal_id == signal).values({column: value})).parity()
    assert unexplained(rows)[signal] == outcome


def test_a_signal_that_the_backtest_has_not_is_named(
    traded: LiveTrading, broken: Callable[[sa.Executable], LiveTrading]
) -> None:
    signal = a_trade(traded.parity())
    moved = sa.update(entry_signals).where(entry_signals.c.signal_id == signal)
    rows = broken(moved.values(signal_id=f"{signal}-of-another-bar")).parity()
    found = unexplained(rows)
    assert found[f"{signal}-of-another-bar"] == Outcome.UNEXPECTED
    assert found[signal] == Outcome.MISSING


@pytest.mark.slow
@pytest.mark.parametrize("other", [{"parameters": '{"band":0.9}'}, {"timeframe": "60m", "strategy": "hyperrsi"}])
def test_an_hour_that_is_selected_again_changes_no_verdict_on_an_order(
    traded: LiveTrading, broken: Callable[[sa.Executable], LiveTrading], other: dict[str, object]
) -> None:
    """The order is judged by its snapshot: a backfill of the last day writes every hour again."""
    before = traded.parity()
    live = before[before["live"] == 1].set_index("signal_id")
    assert len(live) > 5
    again = broken(sa.update(sql_table(STRATEGY_SELECTIONS)).values(other)).parity()
    after = again[again["live"] == 1].set_index("signal_id")
    pd.testing.assert_frame_equal(after.loc[live.index], live)
    assert unexplained(again) == {}
    gone = broken(sa.delete(sql_table(STRATEGY_SELECTIONS))).parity()
    pd.testing.assert_frame_equal(gone[gone["live"] == 1].set_index("signal_id").loc[live.index], live)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("values", "outcome"),
    [
        ({"closed_ms": sa.literal_column("closed_ms") + 5 * HOUR_MS}, Outcome.EXIT),
        ({"reason": "liquidation"}, Outcome.EXIT),
        ({"exit_price": "1"}, Outcome.EXIT_PRICE),
    ],
)
def test_another_exit_is_named(
    traded: LiveTrading, broken: Callable[[sa.Executable], LiveTrading], values: dict[str, object], outcome: Outcome
) -> None:
    signal = a_trade(traded.parity())
    table = sa.table("closings", *(sa.column(name) for name in ("signal_id", "closed_ms", "reason", "exit_price")))
    rows = broken(sa.update(table).where(table.c.signal_id == signal).values(values)).parity()
    assert unexplained(rows)[signal] == outcome


def test_without_its_evaluations_live_was_not_running(
    traded: LiveTrading, broken: Callable[[sa.Executable], LiveTrading]
) -> None:
    rows = broken(sa.delete(signal_evaluations)).parity()
    silent = rows[rows["live"] == 0]
    assert set(silent["outcome"]) == {Outcome.NOT_RUNNING}


def test_the_performance_report_has_the_account_s_own_numbers_beside_the_walk_forward(traded: LiveTrading) -> None:
    made = make_performance(Sources(traded.settings, traded.database, traded.store, traded.exchange))
    closed = execution_ledger.closing_rows(traded.database, traded.settings.account)
    trades, wallet = made.main.trades, traded.exchange.wallet()
    ended = trades[trades["reason"] != OPEN]
    assert len(ended) == len(closed) > 2
    assert ended["pnl"].sum() == pytest.approx(closed["pnl"].sum() - ended["funding"].sum())
    # From the deposit to what the venue tells in the end, some minutes after the last whole hour.
    assert made.main.curve.equity[0] == 10_000
    assert made.main.curve.equity[-1] == pytest.approx(10_000 + trades["pnl"].sum())
    booked = made.main.curve.equity[-1] - float(wallet.unrealised_pnl)
    still_open = trades[trades["reason"] == OPEN]
    assert booked == pytest.approx(float(wallet.wallet_balance), abs=0.05 * len(still_open) + 1e-6)
    walked = made.beside[0]
    assert (walked.curve.name, walked.curve.equity[0]) == ("Walk-forward", 10_000)
    # What both traded began on the same bar, at nearly the same price.
    both = trades.assign(bar=trades["entry_ms"] // 900_000).merge(
        walked.trades.assign(bar=walked.trades["entry_ms"] // 900_000), on=["symbol", "bar", "side"]
    )
    assert len(both)
    assert (both["entry_price_x"] / both["entry_price_y"] - 1).abs().max() < 0.005


def test_an_account_without_trades_has_no_performance_report(traded: LiveTrading) -> None:
    nobody = traded.settings.model_copy(update={"account": "nobody"})
    with pytest.raises(DataError, match="account nobody has not traded"):
        make_performance(Sources(nobody, traded.database, traded.store, traded.exchange))
