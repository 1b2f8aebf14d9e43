"""Parameters searched by Optuna, hour by hour: each hour's search sees what was known at its end, and nothing later.

Backtests, choice and corrections are those of the pipeline. Optuna says only which set is tried next.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields
from typing import Any

import numpy as np
import pandas as pd

from trading_assets.backtesting.costs import costs_from
from trading_assets.backtesting.kernel.sweep_result import SweepResult
from trading_assets.backtesting.metrics import Metrics
from trading_assets.backtesting.parameter_choice import choose_parameters, trials_from
from trading_assets.backtesting.searching import SCORE, TRADES, search_window
from trading_assets.backtesting.selection import with_significance
from trading_assets.core.errors import DataError, StrategyError
from trading_assets.core.settings import Settings
from trading_assets.core.timeframes import HOUR_MS, Timeframe, as_of_ms, floor_ms
from trading_assets.research.forward import ForwardTest, forward_test
from trading_assets.research.frames import Moment, times, to_moment_ms, to_symbols, to_timeframe
from trading_assets.research.loading import source_or_home, to_range
from trading_assets.research.sources import Source
from trading_assets.research.strategy import StrategyLike, choices_of, configured, known, values_of
from trading_assets.research.sweeps import OfRange, rows_of
from trading_assets.strategies.base import Strategy
from trading_assets.strategies.declared import as_declared
from trading_assets.strategies.grids import TRIALS, SearchSpace, Span
from trading_assets.strategies.registry import canonical_json

Choices = tuple[float, float] | Sequence[object]
"""From the least to the largest value of a number, as a tuple of two; or a list of values."""

_METRICS = [one.name for one in fields(Metrics)]
_OF_LUCK = ["configurations_tried", "deflated_sharpe", "p_value_corrected", "p_value_hour", "least_trades"]


@dataclass(frozen=True)
class Search:
    """What a search found, hour by hour.

    Attributes:
        strategy, timeframe: what was searched.
        space: the values that were searched, by parameter.
        best: one row for each hour and symbol: `selected_hour` (UTC), symbol, timeframe, strategy, `parameters` (JSON),
            `tries` (distinct sets that were tried there), the figures of `backtest_results`, and what luck could have
            done with so many tries: every set counts as one (`configurations_tried`, `deflated_sharpe`,
            `p_value_corrected` for those on the symbol, `p_value_hour` for those on all symbols, `least_trades`). The
            set was chosen by the older part of the window alone: `out_of_sample_pnl` tells of a time that did not
            choose.
        trials: every distinct set that was tried: selected_hour, symbol, parameters, in_sample_trades, in_sample_score,
            error.
    """

    strategy: str
    timeframe: str
    space: Mapping[str, Choices]
    best: pd.DataFrame
    trials: pd.DataFrame
    _kind: type[Strategy] = field(repr=False)
    _source: Source = field(repr=False)

    @property
    def tries(self) -> int:
        """Sets that were tried, over all hours and symbols."""
        return len(self.trials)

    def forward_test(self, which: pd.Series | None = None, end: Moment | None = None) -> ForwardTest:
        """Trade what each hour has found in the hour after it, see `research.forward_test`.

        Args:
            which: mask over `best`; by default all of it is followed.

        Example:
            ```python
            found.forward_test(found.best["p_value_corrected"] <= 0.05).trades["r"].mean()
            ```
        """
        followed = self.best if which is None else self.best[which]
        with known(self._kind):
            return forward_test(followed, end, source=self._source)


def search(
    strategy: StrategyLike,
    symbols: str | Sequence[str],
    timeframe: str | Timeframe,
    first: Moment,
    last: Moment | None = None,
    *,
    space: Mapping[str, Choices],
    trials: int = TRIALS,
    seed: int = 1,
    parameters: Mapping[str, object] | None = None,
    source: Source | None = None,
) -> Search:
    """Search parameters beyond a grid, in each hour on the pipeline's backtest window that ends with it.

    Optuna (`pip install 'trading-assets[optuna]'`) proposes sets, by the tree-structured Parzen estimator. What it
    improves is what the pipeline chooses by: the score of the in-sample part. A search of one hour and symbol begins
    anew and knows nothing of other hours. The same seed gives the same sets.

    Args:
        symbols: one, or several.
        first, last: the first and the last hour that searches; one hour without `last`.
        space: by parameter a tuple of the least and the largest value (whole numbers where the parameter is one), or a
            list of values.
        trials: sets that are proposed for each hour and symbol. One that was tried already is not tried again, and one
            that the strategy does not allow never; neither counts as a try.
        parameters: values that all sets have.
        timeframe, source: see `backtest`.

    Raises:
        ConfigurationError: Optuna is not installed.
        StrategyError: the strategy is unknown, or has no such parameter; or no hour has a set that could be tried.
        DataError: nothing is known of a part of a window.

    Example:
        ```python
        space = {"stop_atr": (1.0, 4.0), "rsi_low": (20, 40), "reward_risk": [1.5, 2.0, 3.0]}
        found = research.search("bollinger_rsi", "ETHUSDT", "15m", "2026-02-01 05:00", space=space, source=market)
        found.best[["parameters", "out_of_sample_pnl", "p_value_corrected"]]
        found.forward_test().trades
        ```
    """
    read_of, of_timeframe = source_or_home(source), to_timeframe(timeframe)
    pinned = configured(strategy, parameters)
    kind = type(pinned)
    given = pinned.parameters.model_dump() if isinstance(strategy, Strategy) else values_of(parameters)
    space = values_of(space)  # type: ignore[assignment]
    unknown = sorted(space.keys() - kind.Parameters.model_fields.keys())
    if unknown or not space:
        raise StrategyError(
            f"{kind.name} has no parameter {', '.join(unknown)}; expected some of "
            f"{', '.join(kind.Parameters.model_fields)}"
        )
    searched_space = SearchSpace(tuple((name, _choices(of, name)) for name, of in space.items()), trials, seed)
    settings = as_declared(read_of.settings, kind)
    first_ms = floor_ms(to_moment_ms(first), HOUR_MS)
    last_ms = first_ms if last is None else floor_ms(to_moment_ms(last), HOUR_MS)
    names = to_symbols(symbols)
    if last_ms < first_ms:
        raise DataError(f"the range of hours is empty: {first} lies after {last}")
    best: list[dict[str, object]] = []
    tried: list[pd.DataFrame] = []
    for hour_ms in range(first_ms, last_ms + 1, HOUR_MS):
        for name in names:
            of = to_range(read_of, name, of_timeframe, None, as_of_ms(hour_ms))
            window = OfRange(read_of, of, settings)
            found = search_window(kind, searched_space, given, (hour_ms, of.symbol), window.outcome)
            if found is None:
                continue
            about: dict[str, Any] = {"selected_hour": hour_ms, "symbol": of.symbol}
            tried.append(_trials_frame(found.sets, found.outcome).assign(**about))
            row = _best(found.sets, found.outcome, window.bars, settings)
            if row is not None:
                best.append({**about, "timeframe": of.timeframe.value, "strategy": kind.name, **row})
    if not best:
        raise StrategyError(f"{kind.name} allows no set of the space {dict(space)}, or all of them failed")
    table = pd.DataFrame(best).assign(hour_ms=lambda rows: rows["selected_hour"])
    table = with_significance(table, table)
    all_trials = pd.concat(tried, ignore_index=True)
    front = ["selected_hour", "symbol"]
    columns = [*front, "timeframe", "strategy", "parameters", "tries", *_METRICS]
    columns += ["bars", "mean_r", "p_value", "break_even", *_OF_LUCK]
    return Search(
        kind.name,
        of_timeframe.value,
        dict(space),
        _timed(table)[columns],
        _timed(all_trials)[[*front, *(name for name in all_trials if name not in front)]],
        kind,
        read_of,
    )


def _choices(values: object, name: str) -> Span | tuple[object, ...]:
    if isinstance(values, tuple) and len(values) == 2:
        low, high = values
        if not all(isinstance(end, int | float) for end in values):
            raise StrategyError(f"{name}: found {low!r} and {high!r}, expected two numbers, or a list of values")
        return Span(float(low), float(high))
    return tuple(choices_of(values, name))


def _best(sets: Sequence[Strategy], outcome: SweepResult, bars: int, settings: Settings) -> dict[str, object] | None:
    """The row of the set that the pipeline would choose of those that were tried."""
    texts = [canonical_json(one) for one in sets]
    (index,) = choose_parameters(outcome.figures, texts, outcome.usable)
    if index < 0:
        return None
    row = rows_of(sets, outcome, costs_from(settings), bars)[index]
    trials = {name: values[0] for name, values in vars(trials_from(outcome.figures, outcome.usable)).items()}
    counts = dict.fromkeys(("tries", "configurations", "searched"), len(sets))
    return {**row, **trials, "parameters": texts[index], **counts}


def _trials_frame(sets: Sequence[Strategy], outcome: SweepResult) -> pd.DataFrame:
    failed = {index: f"{type(error).__name__}: {error}" for (_, index), error in outcome.failures.items()}
    return pd.DataFrame(
        {
            "parameters": [canonical_json(one) for one in sets],
            "in_sample_trades": outcome.figures[0, :, TRADES].astype(np.int64),
            "in_sample_score": outcome.figures[0, :, SCORE],
            "error": [failed.get(index) for index in range(len(sets))],
        }
    )


def _timed(frame: pd.DataFrame) -> pd.DataFrame:
    hours: Any = frame["selected_hour"].to_numpy(dtype=np.int64)
    return frame.assign(selected_hour=times(hours, "selected_hour"))
