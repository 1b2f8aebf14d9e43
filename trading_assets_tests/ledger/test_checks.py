"""Verdicts of blocking checks and faults of candles, as selections and orders ask for them."""

from __future__ import annotations

import json
from typing import NamedTuple

import pandas as pd
import pytest

from trading_assets.core.schemas import CANDLE_COVERAGE
from trading_assets.core.strategy_data import DataNeeds
from trading_assets.core.timeframes import HOUR_MS, Timeframe
from trading_assets.ledger import checks
from trading_assets.ledger.checks import Verdict
from trading_assets.ledger.database import Database
from trading_assets.ledger.partitions import replace_partitions
from trading_assets.market.lookback import own_reach_ms

BTC = "BTCUSDT"


def put_fault(
    database: Database,
    symbol: str,
    timeframe: str,
    fault: str | None,
    hour_ms: int = 0,
    deep: dict[int, str | None] | None = None,
) -> None:
    """One coin's candles in an hour."""
    row = dict.fromkeys(CANDLE_COVERAGE.columns, 0) | {"content_hash": "0" * 16, "expected_bars": 1}
    row |= {"hour_ms": hour_ms, "symbol": symbol, "timeframe": timeframe, "fault": fault}
    row |= {"deep_faults": json.dumps(deep) if deep else None}
    replace_partitions(database, CANDLE_COVERAGE, pd.DataFrame([row]), [hour_ms], {"timeframe": timeframe})


def test_only_the_hours_of_a_failed_check_are_shut_until_it_passes_again(database: Database) -> None:
    failed, passed = Verdict("candles/5m", "SCHEMA", False, "3 values"), Verdict("candles/5m", "SCHEMA", True)
    hours = [hour * HOUR_MS for hour in range(3)]
    checks.record(database, [passed, Verdict("market_scan", "SCHEMA", True)], hours, "one")
    checks.record(database, [failed], hours[1:2], "two")
    assert checks.failed(database, hours) == {HOUR_MS: "SCHEMA of candles/5m failed: 3 values"}
    assert checks.failed(database, hours, but="candles/5m") == {}
    checks.record(database, [passed], hours[1:2], "three")
    assert checks.failed(database, hours) == {}


def test_a_month_of_verdicts_is_replaced_as_a_whole(database: Database) -> None:
    hours = [hour * HOUR_MS for hour in range(720)]
    for passed in (False, True):
        checks.record(database, [Verdict("candles/5m", "SCHEMA", passed)], hours, "run")
        assert len(checks.failed(database, hours)) == (0 if passed else 720)


def test_a_signal_is_blocked_by_its_hours_checks_and_by_its_own_candles_alone(database: Database) -> None:
    put_fault(database, "BADUSDT", "5m", "jump: 1 candles")
    put_fault(database, "BADUSDT", "15m", None)
    row = {"hour_ms": 0, "timeframe": "5m", "strategy": "deleted since", "parameters": "{}"}
    signals = [
        {**row, "signal_id": "good", "symbol": "GOODUSDT"},
        {**row, "signal_id": "bad", "symbol": "BADUSDT"},
        {**row, "signal_id": "other timeframe", "symbol": "BADUSDT", "timeframe": "15m"},
        {**row, "signal_id": "other hour", "symbol": "BADUSDT", "hour_ms": HOUR_MS},
    ]
    assert checks.blocked(database, signals, BTC) == {
        "bad": "5m candles of BADUSDT: jump: 1 candles (hour of 1970-01-01T00:00:00Z)"
    }
    checks.record(database, [Verdict("backtest_results/1m", "no_look_ahead", False, "looks ahead")], [HOUR_MS], "run")
    assert checks.blocked(database, signals, BTC)["other hour"].startswith(
        "no_look_ahead of backtest_results/1m failed: looks ahead"
    )


class Reads(NamedTuple):
    """A strategy, as far as blocking asks it."""

    declared: DataNeeds

    def needs(self) -> DataNeeds:
        return self.declared


@pytest.mark.parametrize("needed", ["nothing more", "older bars", "another timeframe", "BTC"])
def test_a_signal_is_blocked_by_what_its_strategy_alone_reads(
    database: Database, needed: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    needs = {
        "nothing more": DataNeeds(),
        "older bars": DataNeeds(warm_up={Timeframe.M15: 1000}),
        "another timeframe": DataNeeds(candles={Timeframe.M60: 50}),
        "BTC": DataNeeds(btc={Timeframe.M30: 50}),
    }
    read = {"older bars": ("AUSDT", "15m"), "another timeframe": ("AUSDT", "60m"), "BTC": (BTC, "30m")}
    hours = {name: at * HOUR_MS for at, name in enumerate(read)}
    reach = own_reach_ms(Timeframe.M15, needs["older bars"])
    for name, (symbol, timeframe) in read.items():
        deep: dict[int, str | None] | None = {reach: "jump: 1 candles"} if name == "older bars" else None
        put_fault(database, symbol, timeframe, None if deep else "jump: 1 candles", hours[name], deep)
    monkeypatch.setattr(checks, "make_strategy", lambda _name, _parameters: Reads(needs[needed]))
    row = {"timeframe": "15m", "symbol": "AUSDT", "strategy": "reads", "parameters": "{}"}
    signals = [{**row, "signal_id": name, "hour_ms": hour} for name, hour in hours.items()]
    found = checks.blocked(database, signals, BTC)
    assert set(found) == set(read) & {needed}
    assert all("jump: 1 candles" in why for why in found.values())
