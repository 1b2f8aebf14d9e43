"""Many parameter sets of one strategy at once, by the kernel that the pipeline sweeps with, as one frame."""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from trading_assets.backtesting.costs import costs_from
from trading_assets.backtesting.engine import Costs
from trading_assets.backtesting.kernel.panel import Panel
from trading_assets.backtesting.kernel.sweep import StrategySweep, shared_indicators
from trading_assets.backtesting.kernel.sweep_result import SweepResult, merged_sets
from trading_assets.backtesting.liquidity import both_fills
from trading_assets.backtesting.metrics import Metrics, mean_r
from trading_assets.backtesting.overfitting import Overfitting, overfitting
from trading_assets.backtesting.parameter_choice import choose_parameters, trials_from
from trading_assets.backtesting.selection import with_significance
from trading_assets.backtesting.significance import trades_p_value
from trading_assets.core.errors import ConfigurationError, StrategyError
from trading_assets.core.settings import Settings
from trading_assets.core.strategy_data import DataNeeds
from trading_assets.core.timeframes import Timeframe
from trading_assets.research.backtests import backtest_of
from trading_assets.research.frames import Moment, to_symbols, to_timeframe
from trading_assets.research.loading import Loaded, Range, load, source_or_home, to_range
from trading_assets.research.sources import Source
from trading_assets.research.strategy import StrategyLike, choices_of, configured, values_of
from trading_assets.strategies.base import Strategy
from trading_assets.strategies.declared import as_declared
from trading_assets.strategies.failures import StrategyFailedError, StrategyFailure, failure_of
from trading_assets.strategies.registry import canonical_json

if TYPE_CHECKING:
    import plotly.graph_objects as go

_METRICS = [field.name for field in fields(Metrics)]
_COLUMNS = [*_METRICS, "bars", "mean_r", "p_value", "break_even", "error"]
_LUCK = ["configurations_effective", "deflated_sharpe", "p_value_corrected", "least_trades"]


@dataclass(frozen=True)
class Sweep:
    """The figures of every parameter set on every symbol.

    Attributes:
        strategy, timeframe: what was tried.
        varied: names of the parameters that differ between sets.
        table: one row for each symbol and set. Index: `symbol` and the varied parameters. Columns: the figures of
            `backtest_results`, `bars`, `mean_r` (multiples of the risk), `p_value` and `break_even` of the set alone
            (NaN without profit, or with too few trades) and `error` (None, or why the set failed there).
        best: of each symbol the row that the pipeline would choose: by the older part of the range alone, so that
            `out_of_sample_pnl` tells of a time that did not choose. Besides, what luck could have done with so many
            tries on the symbol: `configurations_effective` (how many independent ones the sets are worth),
            `deflated_sharpe` and `p_value_corrected`, both NaN with too few trades: see docs/statistics.md.
        failures: of each symbol on which a set failed, the first such set: traceback, and the bar that made it fail.
    """

    strategy: str
    timeframe: str
    varied: tuple[str, ...]
    table: pd.DataFrame
    best: pd.DataFrame
    failures: tuple[StrategyFailure, ...]
    _sets: tuple[Strategy, ...] = field(repr=False)
    _loaded: tuple[tuple[Loaded, ...], ...] = field(repr=False)
    _settings: Settings = field(repr=False)

    @property
    def tries(self) -> int:
        """Parameter sets that were tried on each symbol."""
        return self.table.groupby(level=list(self.varied)).ngroups if self.varied else 1

    def surface(self, x: str, y: str, value: str = "mean_r") -> pd.DataFrame:
        """A figure by two parameters: the mean over symbols and all other parameters. Rows are `y`, columns `x`.

        Raises:
            ConfigurationError: one of them was not varied, or there is no such figure.
        """
        unknown = [name for name in (x, y) if name not in self.varied]
        if unknown or x == y:
            raise ConfigurationError(
                f"expected two of the varied parameters ({', '.join(self.varied) or 'none'}), found {x!r} and {y!r}"
            )
        if value not in self.table.columns:
            raise ConfigurationError(f"no figure is called {value!r}; there are {', '.join(self.table.columns)}")
        sound = self.table[self.table["error"].isna()]
        return sound.groupby(level=[y, x])[value].mean().unstack(x)

    def plateau(self, value: str = "mean_r") -> float:
        """What the neighbours of the best set have, as a share of what it has: near 1 is a plateau, near 0 a needle.

        A neighbour differs in one parameter, by one step of what was tried. The median of them, means over symbols; NaN
        without neighbours, or where the best is not above zero.
        """
        if not self.varied:
            return float("nan")
        sets = self.table[self.table["error"].isna()].groupby(level=list(self.varied))[value].mean()
        grid = {name: sorted(sets.index.get_level_values(name).unique()) for name in self.varied}
        best = sets.idxmax()
        key = best if isinstance(best, tuple) else (best,)
        beside = []
        for at, name in enumerate(self.varied):
            place = grid[name].index(key[at])
            for other in (place - 1, place + 1):
                if 0 <= other < len(grid[name]):
                    near = (*key[:at], grid[name][other], *key[at + 1 :])
                    near = near if len(near) > 1 else near[0]
                    if near in sets.index:
                        beside.append(float(sets[near]))
        top = float(sets.max())
        return float(np.median(beside)) / top if beside and top > 0 else float("nan")

    def results(self, period: str = "1D") -> pd.DataFrame:
        """What each set earned in each period, all symbols together, open trades marked: USD.

        Args:
            period: such as `"4h"` or `"1D"`; longer than positions are held.

        Returns:
            Index `time` (UTC, begin of the period), one column a set in the order of the sets.
        """
        found: dict[int, pd.Series] = {}
        for place, strategy in enumerate(self._sets):
            total: pd.Series | None = None
            for loaded in self._loaded[place]:
                equity = backtest_of(strategy, loaded, self._settings, "").equity["equity"]
                change = equity.diff().fillna(equity.iloc[0] - self._settings.backtest_notional)
                # A close belongs to the time before it.
                change.index = pd.DatetimeIndex(change.index).shift(-1, "ms")
                by_period = change.resample(period).sum()
                total = by_period if total is None else total.add(by_period, fill_value=0.0)
            assert total is not None
            found[place] = total
        return pd.DataFrame(found).fillna(0.0)

    def overfitting(self, period: str = "1D") -> Overfitting:
        """How often the best set of one half of the time is below the middle in the other half: about a half where
        ranks are luck. It has no verdict (`reason`) with fewer than 40 periods or 5 sets that traded.

        Example:
            ```python
            found = sw.overfitting("4h")
            found.probability, found.interval, found.loss, found.reason
            ```
        """
        return overfitting(self.results(period).to_numpy(dtype=np.float64))

    def heatmap(self, x: str, y: str, value: str = "mean_r") -> go.Figure:
        """`surface` as a picture: blue is above zero, red below."""
        from trading_assets.research.figures import heatmap  # noqa: PLC0415 (plotly)

        return heatmap(self.surface(x, y, value), value, f"{self.strategy} {self.timeframe}: {value}")


def sweep(
    strategy: StrategyLike,
    symbols: str | Sequence[str],
    timeframe: str | Timeframe,
    start: Moment | None = None,
    end: Moment | None = None,
    *,
    grid: Mapping[str, Sequence[object]] | None = None,
    parameters: Mapping[str, object] | None = None,
    source: Source | None = None,
) -> Sweep:
    """Try parameter sets of a strategy, each on each symbol, as the pipeline tries those of its grid.

    Args:
        symbols: one, or several.
        timeframe, start, end, source: see `backtest`.
        grid: values to try by parameter: every combination; by default the sets that the strategy's `grid()` declares.
            A combination that the strategy does not allow is left out.
        parameters: values that all sets have.

    Raises:
        StrategyError: the strategy is unknown, or allows none of the sets.
        StrategyFailedError: every set failed.
        DataError: nothing is known of a part of the range.

    Example:
        ```python
        grid = {"stop_atr": [1.5, 2.0, 3.0], "band": [0.7, 0.9, 1.1]}
        sw = research.sweep("bollinger_rsi", ["ETHUSDT", "SOLUSDT"], "15m", grid=grid, source=market)
        sw.best[["out_of_sample_pnl", "p_value_corrected"]]
        sw.heatmap("stop_atr", "band")
        sw.plateau()
        ```
    """
    read_of = source_or_home(source)
    sets = parameter_sets(strategy, grid, parameters)
    names = to_symbols(symbols)
    settings = as_declared(read_of.settings, type(sets[0]))
    costs = costs_from(settings)
    varied = tuple(
        name
        for name in type(sets[0].parameters).model_fields
        if len({getattr(one.parameters, name) for one in sets}) > 1
    )
    texts = [canonical_json(one) for one in sets]
    keys: list[tuple[object, ...]] = []
    rows: list[dict[str, object]] = []
    chosen: list[tuple[tuple[object, ...], dict[str, object]]] = []
    held: list[list[Loaded]] = [[] for _ in sets]
    failures: list[StrategyFailure] = []
    for symbol in names:
        of = to_range(read_of, symbol, timeframe, start, end)
        window = OfRange(read_of, of, settings)
        outcome, data = window.run(sets)
        for place, loaded in enumerate(data):
            held[place].append(loaded)
        if outcome.failures:
            _, first = min(outcome.failures)
            error = outcome.failures[0, first]
            failures.append(failure_of(sets[first], of.symbol, of.timeframe, data[first].data, error))
        of_symbol = rows_of(sets, outcome, costs, window.bars)
        rows += of_symbol
        keys_of = [(of.symbol, *(getattr(one.parameters, name) for name in varied)) for one in sets]
        keys += keys_of
        # As the pipeline does: what it chooses, and what luck could have done with so many tries.
        (index,) = choose_parameters(outcome.figures, texts, outcome.usable)
        if index >= 0:
            trials = {name: values[0] for name, values in vars(trials_from(outcome.figures, outcome.usable)).items()}
            besides = {"hour_ms": 0, "symbol": of.symbol, "timeframe": of.timeframe.value, "configurations": len(sets)}
            chosen.append((keys_of[index], {**of_symbol[index], **trials, **besides}))
    index_names = ["symbol", *varied]
    table = _indexed(pd.DataFrame(rows), keys, index_names).sort_index(kind="stable")
    if not chosen:
        raise StrategyFailedError(failures[0])
    picked = pd.DataFrame([row for _, row in chosen])
    picked = _indexed(with_significance(picked, picked), [key for key, _ in chosen], index_names).sort_index()
    return Sweep(
        sets[0].name,
        to_timeframe(timeframe).value,
        varied,
        table[_COLUMNS],
        picked[[*_COLUMNS, *_LUCK]],
        tuple(failures),
        tuple(sets),
        tuple(map(tuple, held)),
        settings,
    )


class OfRange:
    """Backtests of parameter sets on a range of one symbol, by the pipeline's sweep. What they declare is read once.

    Attributes:
        bars: of the window that was last run.
    """

    def __init__(self, source: Source, of: Range, settings: Settings) -> None:
        self._source, self._of, self._settings = source, of, settings
        self._held: list[tuple[DataNeeds, Loaded, Panel]] = []
        self.bars = 0

    def run(self, sets: Sequence[Strategy]) -> tuple[SweepResult, list[Loaded]]:
        """The outcome of the sets, and the data of each set.

        Raises:
            DataError: nothing is known of a part of the range.
        """
        parts, outcomes, data = _by_needs(sets), list[SweepResult](), dict[int, Loaded]()
        costs = costs_from(self._settings)
        for needs, places in parts:
            loaded, panel = self._panel(needs)
            self.bars = panel.bars
            data |= dict.fromkeys(places, loaded)
            with shared_indicators():
                some = [sets[place] for place in places]
                outcomes.append(StrategySweep(some).run(panel, costs, self._settings.backtest_notional))
        outcome = merged_sets(outcomes, [places for _, places in parts])
        return outcome, [data[place] for place in range(len(sets))]

    def outcome(self, sets: Sequence[Strategy]) -> SweepResult:
        """See `run`."""
        return self.run(sets)[0]

    def _panel(self, needs: DataNeeds) -> tuple[Loaded, Panel]:
        for known, loaded, panel in self._held:
            if known == needs:
                return loaded, panel
        of, held_back = self._of, self._settings.out_of_sample_pct
        loaded = load(self._source, of, needs, held_back)
        panel = Panel.from_members([loaded.data], of.start_ms, held_back, of.decided_ms).seeing(needs)
        self._held.append((needs, loaded, panel))
        return loaded, panel


def parameter_sets(
    strategy: StrategyLike, grid: Mapping[str, Sequence[object]] | None, parameters: Mapping[str, object] | None
) -> list[Strategy]:
    """The sets that are meant, each once.

    Raises:
        StrategyError: there is none that the strategy allows.
    """
    pinned = configured(strategy, parameters)
    kind, given = (
        type(pinned),
        pinned.parameters.model_dump() if isinstance(strategy, Strategy) else values_of(parameters),
    )
    if grid is None:
        wanted = [one.model_dump() | values_of(parameters) for one in kind.grid()]
    else:
        grid = {name: choices_of(values, name) for name, values in values_of(grid).items()}
        wanted = [given | dict(zip(grid, values, strict=True)) for values in itertools.product(*grid.values())]
    found: dict[object, Strategy] = {}
    refused: list[str] = []
    for one in wanted:
        try:
            made = kind(one)
        except StrategyError as error:
            refused.append(str(error))
            continue
        found.setdefault(made.parameters, made)
    if not found:
        raise StrategyError(refused[0] if refused else f"the grid of {kind.name} is empty")
    return list(found.values())


def _by_needs(sets: Sequence[Strategy]) -> list[tuple[DataNeeds, list[int]]]:
    """Sets that declare the same data together: each is computed behind its own warm-up, as in the pipeline."""
    found: list[tuple[DataNeeds, list[int]]] = []
    for place, one in enumerate(sets):
        needs = one.needs()
        same = next((places for held, places in found if held == needs), None)
        if same is None:
            found.append((needs, [place]))
        else:
            same.append(place)
    return found


def _indexed(frame: pd.DataFrame, keys: Sequence[tuple[object, ...]], names: list[str]) -> pd.DataFrame:
    """A parameter may have the name of a figure, so it is never a column."""
    frame.index = pd.MultiIndex.from_tuples(keys, names=names)
    return frame


def rows_of(sets: Sequence[Strategy], outcome: SweepResult, costs: Costs, bars: int) -> list[dict[str, object]]:
    """One row for each set, on one symbol."""
    rows = []
    for index in range(len(sets)):
        pnl, risk = outcome.pnl(0, index), outcome.risk(0, index) * costs.notional
        error = outcome.failures.get((0, index))
        figures = dict(zip(_METRICS, outcome.figures[0, index].tolist(), strict=True))
        p_value, break_even = trades_p_value(pnl, risk, both_fills(costs)) if pnl.sum() > 0 else (math.nan, math.nan)
        rows.append(
            {
                **figures,
                "bars": bars,
                "total_trades": int(figures["total_trades"]),
                "mean_r": mean_r(pnl, risk),
                "p_value": p_value,
                "break_even": break_even,
                "error": None if error is None else f"{type(error).__name__}: {error}",
            }
        )
    return rows
