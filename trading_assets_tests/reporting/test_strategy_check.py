"""The report of `check strategy`: what it looks at, and what it says of a biased strategy and of one that is not."""

from __future__ import annotations

import io
import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from rich.console import Console

from trading_assets.cli.strategies import print_reports
from trading_assets.core.candles import FloatArray
from trading_assets.core.errors import DataError, StrategyError
from trading_assets.core.schemas import MARKET_SCAN
from trading_assets.core.settings import load_settings
from trading_assets.core.strategy_data import DataNeeds, StrategyData
from trading_assets.core.timeframes import HOUR_MS, WARM_UP_BARS, Timeframe
from trading_assets.ledger.database import Database
from trading_assets.ledger.partitions import replace_partitions
from trading_assets.market.loading import load_strategy_data
from trading_assets.market.store import CandleStore
from trading_assets.reporting.strategy_check import AS_OF_MS, SIGNALS, CheckTarget, check_strategy, check_targets
from trading_assets.simulator.market.reader import MarketReader
from trading_assets.simulator.market.seeded import SeededMarket
from trading_assets.strategies.base import Strategy
from trading_assets.strategies.bias_checks import sufficient_warm_up
from trading_assets.strategies.fibonacci_bollinger import FibonacciBollinger
from trading_assets_tests.backtesting.test_validation import Loop
from trading_assets_tests.backtesting.test_window import Often
from trading_assets_tests.strategies import biased_strategies
from trading_assets_tests.strategies.biased_strategies import BarCounter, LongAverage, Momentum, NextClose

SEEDED = CheckTarget("seeded", MarketReader(SeededMarket(7, 5)), "ETHUSDT", AS_OF_MS)
SETTINGS = load_settings()


def output(console: Console) -> str:
    return console.file.getvalue()  # type: ignore[attr-defined]


def said(strategy: Strategy, bars: int = 300) -> tuple[str, list[bool]]:
    console = Console(width=160, file=io.StringIO())
    reports = list(check_strategy(strategy, [SEEDED], [Timeframe.M15, Timeframe.M60], bars, SETTINGS, Loop()))
    print_reports(strategy.name, reports, console)
    return output(console), [report.passed for report in reports]


@pytest.mark.parametrize("kind", [Momentum, FibonacciBollinger])
def test_an_honest_strategy_is_called_honest_with_the_signals_that_prove_it(kind: type[Strategy]) -> None:
    text, unbiased = said(kind())
    assert unbiased == [True, True]
    assert f"{kind.name} has no look-ahead" in text and "0 signals decided" not in text
    assert text.count("ETHUSDT") == 2


def test_a_strategy_that_looks_ahead_is_named_with_the_bar() -> None:
    text, passed = said(NextClose())
    assert passed == [False, False]
    assert "next_close looks ahead on 2 of 2" in text
    assert "ETHUSDT 60m look-ahead: bar closed 2026-02-" in text


@pytest.mark.slow
def test_a_strategy_that_needs_more_warm_up_is_told_how_much_and_not_called_biased() -> None:
    text, passed = said(LongAverage())
    assert passed == [False, False]
    assert "long_average has no look-ahead" in text
    assert "ETHUSDT 60m warm-up: bar closed 2026-02-" in text
    said_of_it = " ".join(text.split())
    assert "long_average needs more warm-up than it declares on 2 of 2" in said_of_it
    bars = int(re.search(r"DataNeeds\(warm_up=(\d+)\)", said_of_it).group(1))  # type: ignore[union-attr]
    assert 1000 <= bars <= 2400

    class Declared(LongAverage):
        def needs(self) -> DataNeeds:
            return DataNeeds(warm_up=bars)

    text, passed = said(Declared())
    assert passed == [True, True]
    assert f"of {bars}" in text


@pytest.mark.slow
def test_no_number_of_bars_does_for_a_strategy_that_counts_them() -> None:
    text, _ = said(biased_strategies.BarCounter())
    assert "not even 2400 bars do" in " ".join(text.split())


def test_without_a_signal_nothing_is_called_checked() -> None:
    class Silent(Momentum):
        name = "silent"

        def line(self, data: StrategyData) -> FloatArray:
            return np.ones(len(data.candles))

    text, passed = said(Silent())
    assert passed == [True, True]
    assert "silent had no signal in what was looked at: nothing could be checked" in text
    assert "no signal (" in text and "has no look-ahead" not in text


@pytest.mark.slow
def test_profits_that_die_at_double_costs_are_told_and_are_no_violation() -> None:
    text, unbiased = said(Momentum(), 1500)
    reports = list(check_strategy(Momentum(), [SEEDED], [Timeframe.M15, Timeframe.M60], 1500, SETTINGS, Loop()))
    thin = [report for report in reports if not report.costs.survives]
    assert thin and f"{len(thin)} of 2 profits are lost" in text and unbiased == [True, True]
    assert all(report.costs.pnl_at_double < report.costs.pnl for report in reports)


def test_too_few_candles_are_not_called_honest() -> None:
    class Young(MarketReader):
        def read(self, symbol: str, timeframe: Timeframe, start_ms: int, end_ms: int) -> object:
            return super().read(symbol, timeframe, max(start_ms, end_ms - 40 * timeframe.ms), end_ms)

    young = replace(SEEDED, reader=Young(SeededMarket(7, 5)))
    reports = list(check_strategy(Momentum(), [young], [Timeframe.M15], 300, SETTINGS, Loop()))
    console = Console(width=160, file=io.StringIO())
    print_reports("momentum", reports, console)
    assert "momentum was not checked" in output(console)


def test_a_strategy_that_fails_outright_is_an_error_that_names_the_place() -> None:
    with pytest.raises(StrategyError, match=r"needs_much.*ETHUSDT 15m.*too few bars"):
        list(check_strategy(biased_strategies.NeedsMuch(), [SEEDED], [Timeframe.M15], 300, SETTINGS, Loop()))


def test_stored_candles_are_looked_at_where_an_hour_was_scanned(tmp_path: Path) -> None:
    database = Database(f"sqlite:///{tmp_path / 'ledger.db'}")
    alone = check_targets(SETTINGS, database, None)
    assert [(target.market, target.as_of_ms) for target in alone] == [("seeded", AS_OF_MS)] * 3
    row = {"hour_ms": AS_OF_MS, "scan_id": "scan-20260301-010000", "price": 1.0, "volume_24h": 1e7}
    row |= {
        "price_change_24h": 1.0,
        "volatility_24h": 3.0,
        "size_error_pct": 0.0,
        "max_price": 1e9,
        "timestamp_ms": AS_OF_MS + HOUR_MS,
    }
    coins = [{**row, "symbol": symbol, "rank": rank} for symbol, rank in (("LOWUSDT", 2), ("ETHUSDT", 1))]
    replace_partitions(database, MARKET_SCAN, pd.DataFrame(coins), [AS_OF_MS])
    both = check_targets(SETTINGS, database, None)[3:]
    assert [(target.market, target.symbol) for target in both] == [("stored", "ETHUSDT"), ("stored", "LOWUSDT")]
    assert isinstance(both[0].reader, CandleStore) and both[0].as_of_ms == AS_OF_MS + HOUR_MS
    assert [target.market for target in check_targets(SETTINGS, database, "ETHUSDT")] == ["seeded", "stored"]
    assert [target.market for target in check_targets(SETTINGS, database, "LOWUSDT")] == ["stored"]
    with pytest.raises(DataError, match="no candles of NONEUSDT"):
        check_targets(SETTINGS, database, "NONEUSDT")


def test_the_bars_asked_for_are_decided_besides_the_warm_up() -> None:
    data: list[int] = []

    class Counting(Momentum):
        def line(self, of: object) -> object:
            data.append(len(of.candles))  # type: ignore[attr-defined]
            return super().line(of)  # type: ignore[arg-type]

    list(check_strategy(Counting(), [SEEDED], [Timeframe.M60], 123, SETTINGS, Loop()))
    assert max(data) == 123 + WARM_UP_BARS


def test_so_many_signals_are_decided_again_as_were_asked_for_or_all_and_by_default_not_more_than_some() -> None:
    def of(signals: int | None) -> int:
        (report,) = check_strategy(Often(), [SEEDED], [Timeframe.M15], 300, SETTINGS, Loop(), signals)
        return report.look_ahead.signals

    every = of(None)
    assert every > SIGNALS and of(SIGNALS) == SIGNALS and of(7) == 7


def test_of_a_warm_up_that_does_not_do_one_start_is_enough_to_tell() -> None:
    class Costly(BarCounter):
        decided = 0

        def indicators(self, data: StrategyData) -> dict[str, FloatArray]:
            type(self).decided += 1
            return super().indicators(data)

    strategy = Costly()
    data = load_strategy_data(
        SEEDED.reader, "ETHUSDT", Timeframe.M15, DataNeeds(warm_up=2200), AS_OF_MS - 50 * Timeframe.M15.ms, AS_OF_MS
    )
    found = sufficient_warm_up(strategy, data)
    assert found.bars is None and found.most == 1_000
    # Once on all data, and once for each number of bars but a few at whose first start nothing differs.
    assert Costly.decided <= 20
