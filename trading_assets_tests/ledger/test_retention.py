"""Old rows go, those an order came from stay, and a fresh backfill of old hours is kept as long as a live hour."""

from __future__ import annotations

import pandas as pd
import pytest
import sqlalchemy as sa

from trading_assets.core.schemas import HOURLY_TABLES, STRATEGY_SELECTIONS, Table
from trading_assets.core.timeframes import DAY_MS, HOUR_MS
from trading_assets.ledger import checks, evaluations
from trading_assets.ledger.checks import Verdict
from trading_assets.ledger.database import Database
from trading_assets.ledger.evaluations import Evaluation
from trading_assets.ledger.partitions import Write, replace_partitions
from trading_assets.ledger.retention import Ages, delete_old, runs_of_open_orders
from trading_assets.ledger.tables import entry_signals, metadata, sql_table
from trading_assets_tests.trading.fixtures import add_signal

OLD, YOUNG = 400_000 * HOUR_MS, 400_000 * HOUR_MS + 30 * DAY_MS
NOW = YOUNG + HOUR_MS
WEEK = Ages(rows=NOW - 7 * DAY_MS, written_wall=7 * DAY_MS, selections=None, evaluations=NOW - 7 * DAY_MS)


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


@pytest.mark.parametrize("table", HOURLY_TABLES[:-1], ids=lambda table: table.name)
def test_old_rows_go_but_those_an_order_came_from(database: Database, table: Table) -> None:
    put(database, table, [OLD, YOUNG], "AUSDT", "BUSDT")
    ordered = add_signal(database, "AUSDT", hour_ms=OLD, order_link_id="ours")
    assert ordered
    add_signal(database, "BUSDT", hour_ms=OLD)
    assert delete_old(database, WEEK, btc="BTCUSDT")[table.name] == 1
    assert held(database, table.name) == {(OLD, "AUSDT"), (YOUNG, "AUSDT"), (YOUNG, "BUSDT")}


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
    delete_old(database, Ages(None, 0, selections=NOW - DAY_MS, evaluations=None), btc="BTCUSDT")
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
