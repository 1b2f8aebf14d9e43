"""`trading-assets check strategy`: look-ahead and warm-up checks on the seeded market and on stored candles.

The checks themselves are in `strategies.bias_checks` and `backtesting.validation`; here they are run and reported.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from rich.console import Console
from rich.table import Table
from rich.text import Text

from trading_assets.backtesting.engine import Engine
from trading_assets.backtesting.kernel.panel import Window
from trading_assets.backtesting.kernel.sweep import column_from
from trading_assets.backtesting.run import costs_from
from trading_assets.backtesting.validation import CostSensitivity, at_double_costs
from trading_assets.cli.console import line
from trading_assets.core.errors import DataError, StrategyError
from trading_assets.core.foreign_text import plain
from trading_assets.core.schemas import MARKET_SCAN
from trading_assets.core.settings import Settings
from trading_assets.core.strategy_data import DataNeeds
from trading_assets.core.timeframes import Timeframe, as_of_ms, floor_ms, iso
from trading_assets.ledger.database import Database
from trading_assets.ledger.partitions import latest_hour_ms, read_partitions
from trading_assets.market.loading import CandleReader, load_strategy_data
from trading_assets.market.store import CandleStore
from trading_assets.simulator.market.reader import MarketReader
from trading_assets.simulator.market.seeded import SeededMarket
from trading_assets.strategies import bias_checks
from trading_assets.strategies.base import Strategy
from trading_assets.strategies.bias_checks import MIN_COMPARED, Verdict, Violation

AS_OF_MS = 1_772_323_200_000
"""2026-03-01 00:00 UTC: the seeded market is looked at as of this moment, so that a report can be repeated."""

SYMBOLS = 3
"""Symbols of each market that are looked at unless one is named."""

_SHOWN = 3


@dataclass(frozen=True)
class CheckTarget:
    """Candles to check on: where they are read, of which symbol, until when."""

    market: str
    reader: CandleReader
    symbol: str
    as_of_ms: int


@dataclass(frozen=True)
class Report:
    """What was found on one symbol and timeframe."""

    target: CheckTarget
    timeframe: Timeframe
    look_ahead: Verdict
    warm_up: Verdict
    costs: CostSensitivity

    @property
    def unbiased(self) -> bool:
        return self.look_ahead.unbiased and self.warm_up.unbiased


def check_targets(settings: Settings, database: Database, symbol: str | None) -> list[CheckTarget]:
    """The seeded market, and the candle store where an hour was scanned; of each `symbol`, or the first few.

    Raises:
        DataError: no market knows the symbol.
    """
    market = SeededMarket(settings.simulator_seed, settings.simulator_symbols)
    seeded = [name for name in market.contracts if symbol in (None, name)][:SYMBOLS]
    found = [CheckTarget("seeded", MarketReader(market), name, AS_OF_MS) for name in seeded]
    hour = latest_hour_ms(database, MARKET_SCAN)
    if hour is not None:
        store = CandleStore(settings.candle_store, btc=settings.symbols.btc)
        scanned = read_partitions(database, MARKET_SCAN, [hour]).sort_values("rank")["symbol"].tolist()
        stored = [name for name in scanned if symbol in (None, name)][:SYMBOLS]
        found += [CheckTarget("stored", store, name, as_of_ms(hour)) for name in stored]
    if not found:
        raise DataError(
            f"no candles of {symbol}: the seeded market lists {', '.join(list(market.contracts)[:5])} and "
            f"{len(market.contracts) - 5} more, and the newest scanned hour does not have it"
        )
    return found


def check_strategy(
    strategy: Strategy,
    where: Sequence[CheckTarget],
    timeframes: Sequence[Timeframe],
    bars: int,
    settings: Settings,
    engine: Engine,
) -> Iterator[Report]:
    """Check on `bars` bars (besides the warm-up) of each target and timeframe; a report as soon as it is known.

    Raises:
        StrategyError: the strategy fails on the whole data.
    """
    needs = strategy.needs()
    for target in where:
        for timeframe in timeframes:
            end_ms = floor_ms(target.as_of_ms, timeframe.ms)
            start_ms = end_ms - bars * timeframe.ms
            wanted = DataNeeds(needs.candles, needs.btc, funding=True)
            data = load_strategy_data(target.reader, target.symbol, timeframe, wanted, start_ms, end_ms)
            if len(data.candles) < MIN_COMPARED:
                continue
            try:
                column = column_from(strategy, data, Window.from_data(data, start_ms))
                (costs,) = at_double_costs([column], costs_from(settings), engine)
                ahead, early = bias_checks.look_ahead(strategy, data), bias_checks.warm_up(strategy, data)
            except StrategyError:
                raise
            except Exception as error:
                raise StrategyError(
                    f"strategy {strategy.name!r} fails on {target.symbol} {timeframe.value}: "
                    f"{type(error).__name__}: {error}"
                ) from error
            yield Report(target, timeframe, ahead, early, costs)


def print_reports(name: str, reports: Sequence[Report], console: Console) -> None:
    """A table with a line for each report, the violations in words, and the result in one sentence."""
    table = Table(
        *("market", "symbol", "timeframe", "look-ahead", "warm-up", "trades", "PnL, USD", "at double costs"),
        title=plain(name),
    )
    for report in reports:
        table.add_row(
            report.target.market,
            report.target.symbol,
            report.timeframe.value,
            _verdict(report.look_ahead),
            _verdict(report.warm_up),
            str(report.costs.trades),
            f"{report.costs.pnl:,.2f}",
            f"{report.costs.pnl_at_double:,.2f}",
        )
    console.print(table)
    for report in reports:
        for check, verdict in (("look-ahead", report.look_ahead), ("warm-up", report.warm_up)):
            for violation in verdict.violations[:_SHOWN]:
                console.print(line(f"{report.target.symbol} {report.timeframe.value} {check}: {_words(violation)}"))
    biased = sum(not report.unbiased for report in reports)
    signals = sum(report.look_ahead.signals for report in reports)
    if biased:
        console.print(
            line((f"{name} is biased", "red"), f" on {biased} of {len(reports)}: its backtests cannot be repeated.")
        )
    elif not reports:
        console.print(f"{name} was not checked: there are too few candles.")
    else:
        console.print(line((f"{name} has no look-ahead", "green"), f": {signals} signals decided again, all the same."))
    thin = sum(not report.costs.survives for report in reports)
    if thin:
        console.print(f"{thin} of {len(reports)} profits are lost at double costs (no violation).", highlight=False)


def _verdict(verdict: Verdict) -> Text:
    if not verdict.unbiased:
        return line((f"{len(verdict.violations)} differ", "red"))
    if not verdict.bars:
        return line("too few bars")
    return line(("ok", "green"), f" ({verdict.bars} bars, {verdict.signals} signals)")


def _words(violation: Violation) -> str:
    return (
        f"bar closed {iso(violation.time_ms)}, {violation.what} is {violation.whole} with all data and "
        f"{violation.cut} with the data cut"
    )
