"""The newest failure of each strategy and timeframe is kept as long as it lasts."""

from __future__ import annotations

from dataclasses import replace

from trading_assets.core.timeframes import HOUR_MS, Timeframe
from trading_assets.ledger import strategy_failures
from trading_assets.ledger.database import Database
from trading_assets.strategies.failures import StrategyFailure

FIRST = StrategyFailure("mine", "ETHUSDT", "15m", "{}", 900_000, "KeyError: 'x'", "Traceback\n  ...")
LATER = replace(FIRST, symbol="SOLUSDT", bar_ms=None)


def test_a_failure_stays_until_a_newer_hour_replaces_or_mends_it(database: Database) -> None:
    m15, m60 = Timeframe.M15, Timeframe.M60

    def held() -> list[tuple[int, StrategyFailure]]:
        return strategy_failures.by_strategy(database).get("mine", [])

    strategy_failures.record(database, m15, 5 * HOUR_MS, {"mine", "other"}, {"mine": (5 * HOUR_MS, FIRST)})
    of_hours = replace(FIRST, timeframe="60m")
    strategy_failures.record(database, m60, 4 * HOUR_MS, set(), {"mine": (4 * HOUR_MS, of_hours)})
    assert held() == [(5 * HOUR_MS, FIRST), (4 * HOUR_MS, of_hours)]
    # An older hour that is backfilled later neither replaces nor mends it.
    strategy_failures.record(database, m15, 3 * HOUR_MS, {"mine"}, {"mine": (3 * HOUR_MS, LATER)})
    strategy_failures.record(database, m15, 3 * HOUR_MS, {"mine"}, {})
    assert held()[0] == (5 * HOUR_MS, FIRST)
    strategy_failures.record(database, m15, 6 * HOUR_MS, {"mine"}, {"mine": (6 * HOUR_MS, LATER)})
    assert held()[0] == (6 * HOUR_MS, LATER)
    strategy_failures.record(database, m15, 7 * HOUR_MS, {"other"}, {})
    assert held()[0] == (6 * HOUR_MS, LATER)
    strategy_failures.record(database, m15, 8 * HOUR_MS, {"mine"}, {})
    assert held() == [(4 * HOUR_MS, of_hours)]
