"""A strategy's look-ahead and warm-up checks on the seeded market and on stored candles, on demand and before a start.

The checks themselves are in `strategies.bias_checks` and `backtesting.validation`; here they are run and reported.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

from trading_assets.backtesting.costs import costs_from
from trading_assets.backtesting.engine import Engine
from trading_assets.backtesting.kernel.panel import Window
from trading_assets.backtesting.kernel.sweep import column_from
from trading_assets.backtesting.validation import CostSensitivity, at_double_costs
from trading_assets.core.errors import DataError, StrategyError
from trading_assets.core.schemas import MARKET_SCAN
from trading_assets.core.settings import Settings
from trading_assets.core.timeframes import Timeframe, as_of_ms, floor_ms, iso
from trading_assets.ledger.database import Database
from trading_assets.ledger.partitions import latest_hour_ms, read_partitions
from trading_assets.market.loading import CandleReader, load_strategy_data
from trading_assets.market.opening import open_candle_store
from trading_assets.simulator.market.reader import MarketReader
from trading_assets.simulator.market.seeded import SeededMarket
from trading_assets.strategies import bias_checks
from trading_assets.strategies.base import Strategy
from trading_assets.strategies.bias_checks import MIN_COMPARED, SufficientWarmUp, Verdict, Violation
from trading_assets.strategies.declared import as_declared
from trading_assets.strategies.registry import ConfiguredStrategy

AS_OF_MS = 1_772_323_200_000
"""2026-03-01 00:00 UTC: the seeded market is looked at as of this moment, so that a report can be repeated."""

LONGEST_TRIED = 2_400
"""Bars of warm-up that are tried where the declared one is too short, as far as candles reach."""

BARS_BEFORE_START = 300
"""Bars that a start decides on, besides the warm-up: seconds for all timeframes."""

SIGNALS = 200
"""Bars with an entry that are decided again on each symbol and timeframe, unless a person asks for all: a strategy that
computes much for each decision (a learned one) would take minutes."""

SYMBOLS = 3
"""Symbols of each market that are looked at unless one is named."""


@dataclass(frozen=True)
class CheckTarget:
    """Candles to check on: where they are read, of which symbol, until when."""

    market: str
    reader: CandleReader
    symbol: str
    as_of_ms: int


@dataclass(frozen=True)
class Report:
    """What was found on one symbol and timeframe; `declared` bars of warm-up, and how many would do."""

    target: CheckTarget
    timeframe: Timeframe
    look_ahead: Verdict
    warm_up: Verdict
    costs: CostSensitivity
    declared: int
    sufficient: SufficientWarmUp

    @property
    def passed(self) -> bool:
        """Whether neither a look-ahead nor too short a warm-up was found."""
        return self.look_ahead.passed and self.warm_up.passed


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
        store = open_candle_store(settings)
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
    signals: int | None = SIGNALS,
) -> Iterator[Report]:
    """Check on `bars` bars (besides the warm-up) of each target and timeframe; a report as soon as it is known.

    Args:
        signals: so many bars with an entry are decided again, drawn the same each time; None: all.

    Raises:
        StrategyError: the strategy fails on the whole data.
    """
    wanted = replace(strategy.needs(), funding=True)
    for target in where:
        for timeframe in timeframes:
            end_ms = floor_ms(target.as_of_ms, timeframe.ms)
            start_ms = end_ms - bars * timeframe.ms
            data = load_strategy_data(target.reader, target.symbol, timeframe, wanted, start_ms, end_ms)
            if len(data.candles) < MIN_COMPARED:
                continue
            try:
                column = column_from(strategy, data, Window.from_data(data, start_ms))
                (costs,) = at_double_costs([column], costs_from(as_declared(settings, type(strategy))), engine)
                ahead, early = (
                    bias_checks.look_ahead(strategy, data, signals=signals),
                    bias_checks.warm_up(strategy, data),
                )
                longer = data
                if not early.passed:
                    deeper = replace(wanted, warm_up=2 * LONGEST_TRIED)
                    since_ms = end_ms - MIN_COMPARED * timeframe.ms
                    longer = load_strategy_data(target.reader, target.symbol, timeframe, deeper, since_ms, end_ms)
                sufficient = bias_checks.sufficient_warm_up(strategy, longer)
            except StrategyError:
                raise
            except Exception as error:
                raise StrategyError(
                    f"strategy {strategy.name!r} fails on {target.symbol} {timeframe.value}: "
                    f"{type(error).__name__}: {error}"
                ) from error
            yield Report(target, timeframe, ahead, early, costs, wanted.warm_up_bars(timeframe), sufficient)


@dataclass(frozen=True)
class BeforeStart:
    """What the checks before a start found.

    Attributes:
        refusal: why the strategy is not to be started; None where it may be.
        notes: what a person is to know all the same.
    """

    reports: Sequence[Report]
    refusal: str | None
    notes: Sequence[str] = ()


def before_start(configured: ConfiguredStrategy, settings: Settings, database: Database, engine: Engine) -> BeforeStart:
    """Check the first parameter set of a row on the row's timeframes, on fewer bars than on demand.

    What looks ahead or fails is refused. Too short a warm-up, and a strategy without a signal, are told.
    """
    name, targets = configured.name, check_targets(settings, database, None)
    timeframes = sorted(configured.timeframes, key=lambda timeframe: timeframe.ms)
    try:
        reports = list(check_strategy(configured.sets[0], targets, timeframes, BARS_BEFORE_START, settings, engine))
    except StrategyError as error:
        return BeforeStart((), str(error))
    told = (short_warm_up(name, reports), nothing_checked(name, reports))
    notes = [note for note in told if note is not None]
    return BeforeStart(reports, _looks_ahead(name, reports), notes)


def _looks_ahead(name: str, reports: Sequence[Report]) -> str | None:
    ahead = [report for report in reports if not report.look_ahead.passed]
    if not ahead:
        return None
    first = ahead[0]
    return (
        f"{name} looks ahead on {len(ahead)} of {len(reports)}, first on {first.target.symbol} "
        f"{first.timeframe.value}: {words(first.look_ahead.violations[0])}. Its backtests use what was not known yet, "
        "so live cannot repeat them"
    )


def short_warm_up(name: str, reports: Sequence[Report]) -> str | None:
    """Where the declared warm-up is too short and what to declare; None where it is long enough."""
    short = [report for report in reports if not report.warm_up.passed]
    if not short:
        return None
    most = max(short, key=lambda report: (report.sufficient.bars is None, report.sufficient.bars or 0))
    advice = (
        f"let needs() declare DataNeeds(warm_up={most.sufficient.bars})"
        if most.sufficient.bars is not None
        else f"not even {most.sufficient.most} bars do, so it reads back to where its data begin"
    )
    return (
        f"{name} needs more warm-up than it declares on {len(short)} of {len(reports)}, first on "
        f"{short[0].target.symbol} {short[0].timeframe.value} ({short[0].declared} bars declared). "
        f"It is left out of such timeframes: {advice}"
    )


def nothing_checked(name: str, reports: Sequence[Report]) -> str | None:
    """That there was no signal to decide again; None where there was one."""
    if sum(report.look_ahead.signals for report in reports):
        return None
    return f"{name} had no signal in what was looked at: nothing could be checked"


def words(violation: Violation) -> str:
    """What differs, as one sentence."""
    return (
        f"bar closed {iso(violation.time_ms)}, {violation.what} is {violation.whole} with all data and "
        f"{violation.cut} with the data cut"
    )
