"""`trading-assets bench score`: whether figures of selections predict, over a market that is at hand as a whole.

Every coin of the market is backtested in every hour, selected from by each preset, and followed for an hour, by the
functions of the pipeline. There is no scan, no store and no Dagster. On the seeded market the right answer is that
nothing predicts: its prices are noise.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from trading_assets.backtesting.costs import costs_from, declared_entries
from trading_assets.backtesting.run import BacktestRunner
from trading_assets.backtesting.selection import PRESETS, Preset, score, select_best
from trading_assets.core.candles import Candles, Funding
from trading_assets.core.errors import ConfigurationError
from trading_assets.core.settings import Settings
from trading_assets.core.timeframes import DAY_MS, HOUR_MS, MINUTE_MS, TRADED_TIMEFRAMES, Timeframe, as_of_ms, iso
from trading_assets.market import lookback
from trading_assets.market.loading import CandleReader, open_strategy_data
from trading_assets.reporting import score_study
from trading_assets.reporting.forward_test import run_forward_tests
from trading_assets.reporting.matched import MatchedBenchmark, matched_benchmark
from trading_assets.reporting.portfolio_simulation import simulate_portfolio
from trading_assets.reporting.score_study import Cell, Earned
from trading_assets.reporting.trades import SelectedStrategy
from trading_assets.simulator.market.reader import MarketReader
from trading_assets.simulator.market.replay import ReplayMarket
from trading_assets.simulator.market.seeded import SeededMarket
from trading_assets.strategies.registry import ConfiguredStrategy, parameter_sets, strategy_classes

SEED = 7
SEEDED_END_MS = 1_774_915_200_000
"""2026-03-31 00:00 UTC."""

_HOURS_AT_ONCE = 48

Score = Callable[[pd.DataFrame], pd.Series]

SCORES: Mapping[str, Score] = {
    "score": score,
    "profit factor capped at 10": lambda rows: score_study.capped_score(rows, 10.0),
    "profit factor capped at 3": lambda rows: score_study.capped_score(rows, 3.0),
    "no profit factor": lambda rows: score_study.capped_score(rows.assign(profit_factor=1.0), 1.0),
    "score with one more loss": score_study.robust_score,
}
"""By what a coin's backtests can be ranked, the formula of the source documents first."""


@dataclass(frozen=True)
class Trial:
    """A market and a range of hours.

    Attributes:
        first_ms, last_ms: starts of hours, both included.
        timeframes: those that are backtested.
    """

    name: str
    reader: CandleReader
    symbols: Sequence[str]
    timeframes: Sequence[Timeframe]
    first_ms: int
    last_ms: int

    @property
    def hours(self) -> range:
        return range(self.first_ms, self.last_ms + 1, HOUR_MS)


@dataclass(frozen=True)
class ScoreReport:
    """What was found.

    Attributes:
        by_preset: of each preset its cells, and what its groups earned.
        matched: the trades that an account would have taken of each preset's signals, held against random entries in
            their place; None without a trade.
        by_score: what the best of each coin earned when it was found by another score, and the preset is `strict`.
    """

    trial: str
    backtests: int
    by_preset: Mapping[str, tuple[Sequence[Cell], Sequence[Earned]]]
    matched: Mapping[str, MatchedBenchmark | None]
    by_score: Sequence[Earned]


def seeded(days: int, symbols: int) -> Trial:
    """So many days of the seeded market."""
    market = SeededMarket(SEED, symbols)
    coins = sorted(list(market.contracts)[:symbols])  # the first ones are the USDT perpetuals
    last = SEEDED_END_MS - 2 * HOUR_MS
    return Trial(
        f"{days} days of the seeded market", _HeldReader(MarketReader(market), last), coins, TRADED_TIMEFRAMES,
        last - days * DAY_MS + HOUR_MS, last,
    )  # fmt: skip


def recorded(paths: Sequence[Path], least_history: Timeframe, symbols: int | None = None) -> Trial:
    """Recorded candles: all hours from when the window of `least_history` is whole, no timeframe finer than the files.

    With `symbols` so many coins, spread over the alphabet.

    Raises:
        ConfigurationError: the files cannot be read, or are too short.
    """
    market = ReplayMarket(paths)
    finest = market.finest_minutes * MINUTE_MS
    frames = [timeframe for timeframe in TRADED_TIMEFRAMES if timeframe.ms >= finest]
    first = -(-(market.first_ms + lookback.window_ms(least_history)) // HOUR_MS) * HOUR_MS
    last = market.end_ms // HOUR_MS * HOUR_MS - 2 * HOUR_MS
    if first > last:
        raise ConfigurationError(
            f"the recording ends at {iso(market.end_ms)}, before the window of {least_history.value} is whole at "
            f"{iso(first)}: take a shorter one with --history"
        )
    reader = _HeldReader(MarketReader(market), last, finest)
    coins = sorted(market.contracts)
    if symbols is not None and symbols < len(coins):
        coins = [coins[round(place)] for place in np.linspace(0, len(coins) - 1, symbols)]
    return Trial(", ".join(path.stem for path in paths), reader, coins, frames, first, last)


class _HeldReader:
    """A market's candles read once for the whole trial; none that are shorter than those it was made of."""

    def __init__(self, market: MarketReader, last_ms: int, finest_ms: int = 0) -> None:
        self._finest_ms = finest_ms
        self._market, self._end_ms, self.btc = market, as_of_ms(last_ms) + HOUR_MS, market.btc
        self._candles: dict[tuple[str, Timeframe], tuple[int, Candles]] = {}
        self._funding: dict[str, tuple[int, Funding]] = {}

    def read(self, symbol: str, timeframe: Timeframe, start_ms: int, end_ms: int) -> Candles:
        if timeframe.ms < self._finest_ms:
            return Candles.empty(timeframe)
        since, held = self._candles.get((symbol, timeframe), (start_ms + 1, None))
        if held is None or start_ms < since:
            held = self._market.read(symbol, timeframe, start_ms, self._end_ms).closed_by(self._end_ms)
            self._candles[symbol, timeframe] = start_ms, held
        return held.between(start_ms, end_ms)

    def read_funding(self, symbol: str, start_ms: int, end_ms: int) -> Funding:
        since, held = self._funding.get(symbol, (start_ms + 1, None))
        if held is None or start_ms < since:
            held = self._market.read_funding(symbol, start_ms, self._end_ms + 1)
            self._funding[symbol] = start_ms, held
        return held.between(start_ms, end_ms)


def run(trial: Trial, settings: Settings, tell: Callable[[str], None]) -> ScoreReport:
    """Research every hour of a trial, and hold its figures against what following them earned."""
    strategies = [
        ConfiguredStrategy(name, parameter_sets(name), frozenset(), frozenset(trial.timeframes))
        for name, kind in sorted(strategy_classes().items())
        if kind.active_by_default
    ]
    chosen: dict[tuple[str, str], list[pd.DataFrame]] = {}
    backtests = 0
    with BacktestRunner(strategies, settings) as runner:
        for number, rows in enumerate(_backtests(trial, runner)):
            backtests += len(rows)
            for key, (preset, by) in _selections(settings).items():
                chosen.setdefault(key, []).append(select_best(rows, preset, score_of=by).rows)
            tell(f"{min((number + 1) * _HOURS_AT_ONCE, len(trial.hours)):,} of {len(trial.hours):,} hours")
    selections = {key: pd.concat(parts, ignore_index=True) for key, parts in chosen.items()}
    every = {
        SelectedStrategy(*key)
        for rows in selections.values()
        for key in rows[list(SelectedStrategy._fields[:5])].itertuples(index=False)
    }
    tell(f"following {len(every):,} selections")
    tested = run_forward_tests(
        trial.reader, every, end_ms=as_of_ms(trial.last_ms) + HOUR_MS, min_confidence=settings.min_confidence,
        costs=costs_from(settings),
        entered_by=declared_entries(settings), together=True,
    )  # fmt: skip
    start_ms, end_ms = as_of_ms(trial.first_ms), as_of_ms(trial.last_ms) + HOUR_MS
    matched: dict[str, MatchedBenchmark | None] = {}
    for (name, ranking), rows in selections.items():
        if ranking == "score":
            keys = rows[list(SelectedStrategy._fields[:5])].itertuples(index=False)
            of_preset = [SelectedStrategy(*key) for key in keys]
            capital = float(settings.report_capital)
            account = simulate_portfolio(tested.of(of_preset), settings, capital, start_ms, end_ms)
            costs = costs_from(settings)
            matched[name] = matched_benchmark(trial.reader, account.taken, of_preset, costs, start_ms, end_ms)
            tell(f"{name}: {len(account.taken):,} trades against random entries in their place")
    done = {key: score_study.with_figures(score_study.followed(rows, tested)) for key, rows in selections.items()}
    return ScoreReport(
        trial=f"{trial.name}: {len(trial.symbols)} coins, {len(trial.hours):,} hours from {iso(trial.first_ms)}, "
        f"{trial.timeframes[0].value} to {trial.timeframes[-1].value}",
        backtests=backtests,
        by_preset={
            preset: (score_study.study(rows), score_study.earned(rows))
            for (preset, by), rows in done.items()
            if by == "score"
        },
        matched=matched,
        by_score=[
            score_study.mean_result(rows, "ranked by", by) for (preset, by), rows in done.items() if preset == "strict"
        ],
    )


def _selections(settings: Settings) -> Mapping[tuple[str, str], tuple[Preset, Score]]:
    """Every preset by the usual score, and `strict` by every score."""
    presets = {name: Preset.from_settings(settings.model_copy(update={"selection_preset": name})) for name in PRESETS}
    return {
        **{(name, "score"): (preset, score) for name, preset in presets.items()},
        **{("strict", name): (presets["strict"], by) for name, by in SCORES.items()},
    }


def _backtests(trial: Trial, runner: BacktestRunner) -> Iterator[pd.DataFrame]:
    """Rows of `backtest_results` of some hours after others."""
    hours = list(trial.hours)
    for at in range(0, len(hours), _HOURS_AT_ONCE):
        some = hours[at : at + _HOURS_AT_ONCE]
        scans = {
            hour: dict.fromkeys(trial.symbols, f"scan-{pd.Timestamp(hour, unit='ms'):%Y%m%d-%H%M%S}") for hour in some
        }
        yield pd.concat(
            [
                runner.rows(timeframe, scans, lambda *asked: open_strategy_data(trial.reader, *asked))
                for timeframe in trial.timeframes
            ],
            ignore_index=True,
        )
