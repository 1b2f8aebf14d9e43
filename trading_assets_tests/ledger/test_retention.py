"""Old rows go, those an order came from stay, and a fresh backfill of old hours is kept as long as a live hour."""

from __future__ import annotations

import json
from decimal import Decimal

import pandas as pd
import pytest
import sqlalchemy as sa

from trading_assets.core.schemas import GRID_SELECTIONS, GRID_TABLES, HOURLY_TABLES, STRATEGY_SELECTIONS, Table
from trading_assets.core.timeframes import DAY_MS, HOUR_MS, hour_key
from trading_assets.ledger import checks, evaluations, grids
from trading_assets.ledger.checks import Verdict
from trading_assets.ledger.database import Database
from trading_assets.ledger.evaluations import Evaluation
from trading_assets.ledger.grids import Grid
from trading_assets.ledger.partitions import Write, replace_partitions
from trading_assets.ledger.retention import Ages, delete_old, runs_of_open_orders
from trading_assets.ledger.tables import entry_signals, metadata, sql_table
from trading_assets.trading.grid import selected
from trading_assets.trading.grid.laying import columns_of, rows_of
from trading_assets.trading.grid.levels import Kind, Spacing, build
from trading_assets.trading.grid.shapes import Bounds, GridShape
from trading_assets_tests.fakes import an_instrument
from trading_assets_tests.trading.fixtures import add_signal
from trading_assets_tests.trading.grid.stage import A_PLAN

OLD, YOUNG = 400_000 * HOUR_MS, 400_000 * HOUR_MS + 30 * DAY_MS
NOW = YOUNG + HOUR_MS
WEEK = Ages(
    rows=NOW - 7 * DAY_MS,
    backtests=NOW - 7 * DAY_MS,
    written_wall=7 * DAY_MS,
    sealed=None,
    sealed_wall=0,
    selections=None,
    evaluations=NOW - 7 * DAY_MS,
)


def put(database: Database, table: Table, hours: list[int], *symbols: str, wall_ms: int = 0) -> None:
    """A row of each symbol in each hour, written at a local time."""
    numbers = {name: 0 if pd.api.types.is_numeric_dtype(dtype) else "1m" for name, dtype in table.dtypes.items()}
    rows = pd.DataFrame([{**numbers, "hour_ms": hour, "symbol": symbol} for hour in hours for symbol in symbols])
    replace_partitions(database, table, rows, hours, written=Write(table.name, "run", "v1", wall_ms))


def held(database: Database, name: str) -> set[tuple[object, ...]]:
    """Hour and symbol of each row."""
    table = metadata.tables[name]
    with database.read() as connection:
        return {tuple(row) for row in connection.execute(sa.select(table.c.hour_ms, table.c.symbol))}


@pytest.mark.slow
@pytest.mark.parametrize("table", HOURLY_TABLES[:-1], ids=lambda table: table.name)
def test_old_rows_go_but_those_an_order_came_from(database: Database, table: Table) -> None:
    put(database, table, [OLD, YOUNG], "AUSDT", "BUSDT")
    ordered = add_signal(database, "AUSDT", hour_ms=OLD, order_link_id="ours")
    assert ordered
    add_signal(database, "BUSDT", hour_ms=OLD)
    assert delete_old(database, WEEK, btc="BTCUSDT")[table.name] == 1
    assert held(database, table.name) == {(OLD, "AUSDT"), (YOUNG, "AUSDT"), (YOUNG, "BUSDT")}


@pytest.mark.parametrize("table", GRID_TABLES, ids=lambda table: table.name)
def test_old_rows_of_grid_research_go_whatever_was_ordered_in_their_coin(database: Database, table: Table) -> None:
    put(database, table, [OLD, YOUNG], "AUSDT", "BUSDT")
    add_signal(database, "AUSDT", hour_ms=OLD, order_link_id="ours")
    assert delete_old(database, WEEK, btc="BTCUSDT")[table.name] == 2
    assert held(database, table.name) == {(YOUNG, "AUSDT"), (YOUNG, "BUSDT")}


def test_a_grid_keeps_the_selection_that_it_was_started_from(database: Database) -> None:
    put(database, GRID_SELECTIONS, [OLD], A_PLAN.symbol)
    row = selected.newest(database).to_dict("records")[0]
    shape = GridShape(Kind.LONG, Spacing.GEOMETRIC, Bounds.ATR, 4.0, 10)
    chosen = selected.SelectedGrid(A_PLAN.symbol, OLD, shape, {str(name): value for name, value in row.items()})
    grid = Grid(
        grid_id="main:BTCUSDT:1",
        account="main",
        symbol=A_PLAN.symbol,
        **columns_of(A_PLAN),
        state=grids.RUNNING,
        reason=None,
        closes=True,
        wanted=None,
        generation=1,
        worst_value=A_PLAN.capital,
        profit_before=Decimal(0),
        differs_since_wall_ms=None,
        told=None,
        read_ms=OLD,
        mark_price=None,
        created_ms=OLD,
        updated_ms=OLD,
        evidence=chosen.evidence(),
    )
    with database.write() as connection:
        grids.add(
            connection,
            grid,
            rows_of(grid, build(A_PLAN, Decimal(100_000), an_instrument(A_PLAN.symbol, tick_size=Decimal("0.1")))),
        )
    assert delete_old(database, WEEK, btc="BTCUSDT")[GRID_SELECTIONS.name] == 1
    assert selected.newest(database).empty
    (kept,) = grids.newest(database, "main")
    assert kept.evidence is not None
    assert json.loads(kept.evidence) == row
    assert selected.told(kept.evidence).startswith(f"started from the selection of {hour_key(OLD)}: 0 lives")


def test_a_backfill_of_old_hours_is_kept_for_as_long_as_a_live_hour(database: Database) -> None:
    table = HOURLY_TABLES[0]
    put(database, table, [OLD], "AUSDT", wall_ms=7 * DAY_MS)
    assert delete_old(database, WEEK, btc="BTCUSDT")[table.name] == 0
    put(database, table, [OLD], "AUSDT", wall_ms=7 * DAY_MS - 1)
    assert delete_old(database, WEEK, btc="BTCUSDT")[table.name] == 1


def test_a_dry_run_counts_and_deletes_nothing(database: Database) -> None:
    table = HOURLY_TABLES[0]
    put(database, table, [OLD + hour * HOUR_MS for hour in range(48)], "AUSDT")
    checks.record(database, [Verdict("market_scan", "SCHEMA", True)], [OLD], "run")
    evaluations.add(database, "main", Evaluation(OLD, OLD, {"AUSDT": ""}))
    counted = delete_old(database, WEEK, dry_run=True, btc="BTCUSDT")
    assert counted[table.name] == 48
    assert len(held(database, table.name)) == 48
    assert delete_old(database, WEEK, btc="BTCUSDT") == counted
    assert held(database, table.name) == set()
    assert set(delete_old(database, WEEK, btc="BTCUSDT").values()) == {0}


def test_selections_and_signals_stay_unless_the_settings_say_otherwise(database: Database) -> None:
    put(database, STRATEGY_SELECTIONS, [OLD], "AUSDT", "BUSDT")
    add_signal(database, "AUSDT", hour_ms=OLD, order_link_id="ours")
    delete_old(database, WEEK, btc="BTCUSDT")
    assert len(held(database, STRATEGY_SELECTIONS.name)) == 2
    delete_old(database, Ages(None, None, 0, None, 0, selections=NOW - DAY_MS, evaluations=None), btc="BTCUSDT")
    assert held(database, STRATEGY_SELECTIONS.name) == {(OLD, "AUSDT")}
    assert held(database, "entry_signals") == {(OLD, "AUSDT")}


def test_history_is_never_a_candidate(database: Database) -> None:
    touched = delete_old(database, WEEK, btc="BTCUSDT")
    assert touched.keys().isdisjoint(
        {
            "order_intents",
            "order_events",
            "fills",
            "closings",
            "equity",
            "reconciliations",
            "risk_events",
            "risk_states",
        }
    )
    assert runs_of_open_orders(database) == set()
    assert entry_signals.name not in touched
    assert sql_table(STRATEGY_SELECTIONS).name not in touched
