"""Which hour is the newest selected one: with coins, without, blocked, or never selected."""

from __future__ import annotations

import pandas as pd
import pytest

from trading_assets.chaos.signal_source import selection_row
from trading_assets.core.schemas import STRATEGY_SELECTIONS
from trading_assets.core.timeframes import HOUR_MS
from trading_assets.ledger import checks, selections
from trading_assets.ledger.checks import Verdict
from trading_assets.ledger.database import Database
from trading_assets.ledger.partitions import Write, replace_partitions
from trading_assets.trading.session.watchlist import newest_selection

EMPTY, BLOCKED, MISSING = "empty", "blocked", "missing"
FIRST = 500_000 * HOUR_MS


def select(database: Database, hour_ms: int, *symbols: str, asset: str = selections.ASSET) -> None:
    """Write an hour as the asset does."""
    rows = pd.DataFrame([selection_row(hour_ms, symbol) for symbol in symbols])
    rows = rows if symbols else STRATEGY_SELECTIONS.empty()
    replace_partitions(database, STRATEGY_SELECTIONS, rows, [hour_ms], written=Write(asset, "run", "5", 0))


def block(database: Database, hour_ms: int, *, passed: bool = False) -> None:
    checks.record(database, [Verdict("market_scan", "SCHEMA", passed, "3 values")], [hour_ms], "run")


@pytest.mark.slow
@pytest.mark.parametrize(
    ("hours", "newest", "coins"),
    [
        ([], None, 0),
        ([1], 0, 1),
        ([0], 0, 0),
        ([1, 0], 1, 0),
        ([1, 0, 2], 2, 2),
        ([0, 0], 1, 0),
        ([1, BLOCKED], 0, 1),
        ([1, MISSING], 0, 1),
        ([1, 0, BLOCKED], 1, 0),
        ([1, BLOCKED, 0], 2, 0),
        ([0, BLOCKED, MISSING, BLOCKED], 0, 0),
        ([BLOCKED], None, 0),
    ],
)
def test_the_newest_selected_hour_is_followed_whether_it_chose_a_coin_or_not(
    database: Database, hours: list[int | str], newest: int | None, coins: int
) -> None:
    for at, what in enumerate(hours):
        hour = FIRST + at * HOUR_MS
        if what == MISSING:  # another asset of the hour was written
            select(database, hour, asset="market_scan")
            continue
        select(database, hour, *[f"C{number}USDT" for number in range(what if isinstance(what, int) else 0)])
        if what == BLOCKED:
            block(database, hour)
    found = newest_selection(database)
    assert (found and found.hour_ms) == (None if newest is None else FIRST + newest * HOUR_MS)
    assert found is None or (len(found.rows), found.is_empty) == (coins, not coins)
    empty = [FIRST + at * HOUR_MS for at, what in enumerate(hours) if what == 0]
    assert selections.empty_hours(database) == empty
    assert selections.empty_hours(database, FIRST + HOUR_MS) == [hour for hour in empty if hour > FIRST]


def test_an_hour_that_is_written_again_or_unblocked_is_what_it_is_now(database: Database) -> None:
    select(database, FIRST, "AUSDT")
    select(database, FIRST + HOUR_MS)
    block(database, FIRST + HOUR_MS)
    assert selections.newest_hour_ms(database) == FIRST
    block(database, FIRST + HOUR_MS, passed=True)
    assert selections.newest_hour_ms(database) == FIRST + HOUR_MS
    select(database, FIRST + HOUR_MS, "AUSDT")
    assert selections.empty_hours(database) == []
    keys = [newest_selection(database)]
    select(database, FIRST + HOUR_MS)
    keys.append(newest_selection(database))
    assert keys[0] is not None and keys[1] is not None and keys[0].key != keys[1].key
