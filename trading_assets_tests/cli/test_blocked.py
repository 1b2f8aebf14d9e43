"""An hour that a check blocks is told by `status` and `doctor`: which hour, why, and what to do."""

from __future__ import annotations

import io
from pathlib import Path

import pandas as pd
import pytest
from rich.console import Console

from trading_assets.cli.doctor.ledger import check_research
from trading_assets.cli.status import print_status
from trading_assets.core.errors import DataError
from trading_assets.core.schemas import MARKET_SCAN, STRATEGY_SELECTIONS
from trading_assets.core.settings import load_settings
from trading_assets.core.timeframes import DAY_MS, HOUR_MS, as_of_ms
from trading_assets.ledger import checks
from trading_assets.ledger.checks import Verdict
from trading_assets.ledger.database import Database
from trading_assets.ledger.partitions import Write, replace_partitions
from trading_assets_tests.market.sources import T0


def test_a_blocked_hour_and_an_excluded_strategy_are_told_until_the_cause_is_gone(tmp_path: Path) -> None:
    settings = load_settings(home=tmp_path)
    database = Database(settings.resolved_database_url)
    row = dict.fromkeys(MARKET_SCAN.columns, 1) | {"hour_ms": T0, "symbol": "AUSDT", "timestamp_ms": as_of_ms(T0)}
    replace_partitions(database, MARKET_SCAN, pd.DataFrame([row | {"scan_id": "scan-20260101-010000"}]), [T0])

    def told() -> str:
        text = io.StringIO()
        print_status(database, settings, Console(file=text, width=200))
        return text.getvalue()

    assert "blocked" not in told()
    assert check_research(settings) == "no hour of the last day is blocked"
    for hours in ([T0], [T0 - 2 * DAY_MS]):
        checks.record(database, [Verdict("market_scan", "SCHEMA", False, "3 rows")], hours, "r")
    checks.exclude(database, "15m", "no_look_ahead", {"peeking": "line differs"}, [T0, T0 - HOUR_MS], "r")
    said = told()
    assert said.count("is blocked") == 1
    assert "hour 2026-01-01-00:00 is blocked, nothing of it is traded: SCHEMA of market_scan failed: 3 rows" in said
    assert "trading-assets backfill" in said
    assert "peeking" in said and "no_look_ahead: line differs" in said
    with pytest.raises(DataError, match="2026-01-01-00:00 is blocked"):
        check_research(settings)
    written = Write("strategy_selections", "r", "5", 0)
    replace_partitions(database, STRATEGY_SELECTIONS, STRATEGY_SELECTIONS.empty(), [T0], written=written)
    assert "selected no coin" not in told(), "it was not selected: it is blocked"
    checks.record(database, [Verdict("market_scan", "SCHEMA", True)], [T0], "r")
    assert "hour 2026-01-01-00:00 selected no coin: no new signal before the next selection" in told()
    checks.exclude(database, "15m", "no_look_ahead", {}, [T0], "r")
    assert "blocked" not in told() and "peeking" not in told()
    database.close()
