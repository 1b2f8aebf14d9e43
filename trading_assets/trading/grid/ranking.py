"""What grids would have come to on a coin by the end of an hour: rows of the shape of `backtest_results`. Pure.

A trade is one life of a grid: it is laid flat, with bounds from the candles that had closed by then, as `grid start`
lays one, runs for `LIFE_MS` by `simulation`, and what it then holds is closed at the market. Lives follow each other
without meeting, so the statistics of trades hold for them: what a grid earns in steps and loses in inventory is one
result, and no inventory is left out of it. A life that the checks before a start would refuse is not begun.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import astuple, dataclass, fields, replace
from decimal import Decimal
from functools import cached_property
from types import MappingProxyType

import numpy as np
import pandas as pd

from trading_assets.backtesting import metrics
from trading_assets.backtesting.metrics import Metrics
from trading_assets.backtesting.parameter_choice import choose_parameters, trials_from
from trading_assets.backtesting.selection import Preset, Selection, SignificanceLimits, select_best
from trading_assets.backtesting.significance import MIN_TRADES, trades_p_value
from trading_assets.core.candles import BoolArray, Candles, FloatArray, Funding
from trading_assets.core.models import Instrument, Side
from trading_assets.core.schemas import GRID_RESULTS, GRID_SELECTIONS
from trading_assets.core.settings import Settings
from trading_assets.core.timeframes import HOUR_MS, Timeframe, as_of_ms, floor_ms
from trading_assets.trading.grid.bars import bars_of
from trading_assets.trading.grid.checks import Surroundings, loss_at_stop, problems
from trading_assets.trading.grid.levels import ZERO, GridError, build, stop_prices, worst_value
from trading_assets.trading.grid.shapes import GridShape
from trading_assets.trading.grid.simulation import GridCosts, simulate

GRID = "grid"
"""Stands in the column `strategy`. No strategy has that name."""

BARS = Timeframe.M15
"""Candles that fill orders; the window is theirs."""

BOUNDS, BOUNDS_BARS = Timeframe.M60, 200
"""Candles that the bounds come from, as `grid start` takes them."""

LIFE_MS = 12 * HOUR_MS
_BEGINS_MS = HOUR_MS
"""Lives begin at 01:00 and 13:00 UTC: beside the payments of funding, which are made on even hours."""

LIVES = BARS.window_bars * BARS.ms // LIFE_MS
REACH_MS = LIVES * LIFE_MS + LIFE_MS + BOUNDS_BARS * BOUNDS.ms
"""From the as-of back to the first candle that is read."""


@dataclass(frozen=True)
class CoinData:
    """What the lives of a coin are run on: `BARS` candles, `BOUNDS` candles and payments, ascending."""

    instrument: Instrument
    bars: Candles
    bounds: Candles
    funding: Funding


@dataclass(frozen=True, eq=False)
class Life:
    """One life of a grid.

    Attributes:
        equity: at the end of each bar, its end closed at the market, USD.
        risk: what is lost at the stop with every level of the worse side open, before costs, USD.
        costs: of opening and closing that side once, USD.
        fees, funding: paid, USD.
        held: share of the bars with an inventory.
        refused: why a start would have been refused; nothing of it was run then.
    """

    equity: FloatArray
    risk: float = 0.0
    costs: float = 0.0
    fees: float = 0.0
    funding: float = 0.0
    held: float = 0.0
    refused: str | None = None

    @property
    def pnl(self) -> float:
        return float(self.equity[-1])


def life_starts(hour_ms: int) -> list[int]:
    """When the lives of an hour's window begin, ascending, UTC ms: the newest that had ended by the as-of."""
    last = floor_ms(as_of_ms(hour_ms) - _BEGINS_MS, LIFE_MS) + _BEGINS_MS - LIFE_MS
    return [last - back * LIFE_MS for back in reversed(range(LIVES))]


class GridResearch:
    """Runs declared grids on coins. A life that several hours see is run once: it reads its own candles alone.

    Args:
        settings: fees, slippage, capital and the limits of a start.
        shapes: the settings that are tried.
    """

    def __init__(self, settings: Settings, shapes: Sequence[GridShape]) -> None:
        self._settings, self._shapes = settings, tuple(shapes)
        self._texts = [shape.as_json() for shape in self._shapes]
        self._capital = Decimal(repr(float(settings.grid_research_capital)))
        share = [settings.maker_fee, settings.taker_fee, settings.slippage_bps / 10_000]
        self._costs = GridCosts(*(Decimal(repr(float(one))) for one in share))
        self._lives: dict[tuple[str, int, int], Life | None] = {}

    def rows(
        self,
        scans: Mapping[int, Mapping[str, str]],
        read: Callable[[str, int, int], CoinData],
        left_out: Mapping[tuple[int, str], str] = MappingProxyType({}),
    ) -> pd.DataFrame:
        """Backtest every setting on each scanned coin of each hour.

        Args:
            scans: for each hour (UTC ms) the scan of each symbol.
            read: gives a coin's data from one time to another, the latter excluded (UTC ms); a LookupError says why it
                has none.
            left_out: why a coin takes no part, by hour and symbol.

        Returns:
            Rows of `grid_results`, sorted by key: of each coin the setting that was chosen in sample, or why none could
            be used, in `error`.
        """
        hours_of: dict[str, list[int]] = {}
        for hour in sorted(scans):
            for symbol in scans[hour]:
                hours_of.setdefault(symbol, []).append(hour)
        rows = []
        for symbol, hours in hours_of.items():
            data: CoinData | str
            try:
                data = read(symbol, as_of_ms(hours[0]) - REACH_MS, as_of_ms(hours[-1]))
            except LookupError as error:
                data = str(error.args[0])
            rows += [self._row(hour, symbol, scans[hour][symbol], left_out.get((hour, symbol), data)) for hour in hours]
            self._lives.clear()
        return GRID_RESULTS.conform(pd.DataFrame(rows)) if rows else GRID_RESULTS.empty()

    def _row(self, hour_ms: int, symbol: str, scan: str, data: CoinData | str) -> dict[str, object]:
        starts = life_starts(hour_ms)
        sets = [_Set([]) for _ in self._shapes]
        if not isinstance(data, str):
            sets = [_Set([self._life(symbol, number, start, data) for start in starts]) for number in range(len(sets))]
        split_ms = starts[-1] + LIFE_MS - int(LIVES * LIFE_MS * self._settings.out_of_sample_pct / 100)
        in_sample = np.array([start + LIFE_MS <= split_ms for start in starts])
        capital = float(self._capital)
        figures = np.array([[astuple(one.metrics(capital, in_sample)) for one in sets]], dtype=np.float64)
        usable = np.array([[bool(one.traded) for one in sets]])
        chosen = int(choose_parameters(figures, self._texts, usable)[0])
        trials = trials_from(figures, usable)
        reason = None
        if chosen < 0:
            chosen = 0
            reason = data if isinstance(data, str) else sets[0].why_not
        one = sets[chosen]
        p_value, break_even, mean_r = one.chances()
        return {
            "hour_ms": hour_ms,
            "timeframe": BARS.value,
            "symbol": symbol,
            "strategy": GRID,
            "parameters": self._texts[chosen],
            "scan_id": scan,
            "bars": 0 if reason else one.bars,
            "configurations": len(sets),
            **{name: values[0] for name, values in vars(trials).items()},
            **dict(zip((field.name for field in fields(Metrics)), figures[0, chosen], strict=True)),
            "p_value": p_value,
            "break_even": break_even,
            "mean_r": mean_r,
            "error": reason,
            "taker_fee": self._settings.taker_fee,
            "maker_fee": self._settings.maker_fee,
            "slippage_bps": self._settings.slippage_bps,
            "cost_model": "flat",
            "notional": capital,
            "held_back_pct": self._settings.out_of_sample_pct,
        }

    def _life(self, symbol: str, number: int, start_ms: int, data: CoinData) -> Life | None:
        key = (symbol, number, start_ms)
        if key not in self._lives:
            self._lives[key] = run_life(
                self._shapes[number], symbol, data, start_ms, self._capital, self._costs, self._settings
            )
        return self._lives[key]


def run_life(
    shape: GridShape,
    symbol: str,
    data: CoinData,
    start_ms: int,
    capital: Decimal,
    costs: GridCosts,
    settings: Settings,
) -> Life | None:
    """One life from `start_ms` on; None where its candles are not whole. Nothing after its end is looked at."""
    end_ms = start_ms + LIFE_MS
    bars = data.bars.between(start_ms - BARS.ms, end_ms).closed_by(end_ms)
    known = data.bounds.between(start_ms - BOUNDS_BARS * BOUNDS.ms, start_ms).closed_by(start_ms)
    if len(bars) != LIFE_MS // BARS.ms + 1:
        return None
    flat = np.zeros(len(bars) - 1)
    rules, price = data.instrument, Decimal(repr(float(bars.close[0])))
    try:
        plan = shape.plan(symbol, known, capital, Decimal(1))
        levels = build(plan, price, rules)
        around = Surroundings(rules, price, capital, capital, costs.maker, costs.taker)
        found = problems(plan, levels, around, settings)
        if found:
            return Life(flat, refused=found[0])
        result = simulate(plan, bars_of(bars), rules, costs, data.funding.between(start_ms, end_ms))
    except GridError as error:
        return Life(flat, refused=str(error))
    equity = result.equity[1:].copy()
    left = abs(float(result.inventory[-1])) * float(bars.close[-1])
    closing = left * float(costs.taker + costs.slippage)
    equity[-1] -= closing
    stops = zip((Side.BUY, Side.SELL), stop_prices(plan, rules.tick_size), strict=True)
    return Life(
        equity,
        risk=float(max(loss_at_stop(levels, side, stop, ZERO) for side, stop in stops if stop is not None)),
        costs=float(worst_value(levels) * (costs.maker + costs.taker + costs.slippage)),
        fees=float(result.figures.fees) + left * float(costs.taker),
        funding=float(result.figures.funding),
        held=float(np.mean(result.inventory[1:] != 0)),
    )


def select_grids(results: pd.DataFrame, settings: Settings) -> Selection:
    """The coins whose grid passes the filters of selection: `select_best` over rows of `grid_results`, the PnL that a
    preset asks for in proportion to the capital of grids.

    Returns:
        `rows` are of `grid_selections`. Every setting that was tried on the coin counts in its significance.
    """
    sized = settings.model_copy(update={"backtest_capital": settings.grid_research_capital})
    found = select_best(results, Preset.from_settings(sized), SignificanceLimits.from_settings(settings))
    return replace(found, rows=GRID_SELECTIONS.conform(found.rows))


class _Set:
    """The lives of one setting on a coin, by the order of their starts; None where candles are missing."""

    def __init__(self, lives: Sequence[Life | None]) -> None:
        self._lives = lives

    @cached_property
    def traded(self) -> list[Life]:
        """Those that were begun."""
        return [life for life in self._lives if life is not None and life.refused is None]

    @property
    def bars(self) -> int:
        return sum(len(life.equity) for life in self._lives if life is not None)

    @property
    def why_not(self) -> str:
        """Why no life was begun."""
        refused = [life.refused for life in self._lives if life is not None and life.refused is not None]
        return f"a start would have been refused: {refused[-1]}" if refused else "candles of no life are whole"

    def metrics(self, capital: float, in_sample: BoolArray) -> Metrics:
        """Figures of the lives as trades."""
        lives = self.traded
        if not lives:
            return metrics.NO_TRADES
        curve, total = [], 0.0
        for life in self._lives:
            if life is not None:
                curve.append(total + life.equity)
                total += life.pnl
        equity = capital + np.concatenate(curve)
        changes = np.diff(equity, prepend=capital) / capital
        spread, skewness, kurtosis = metrics.moments(changes)
        pnl = np.array([life.pnl for life in lives])
        was_seen = in_sample[[life is not None and life.refused is None for life in self._lives]]
        seen, held_back = pnl[was_seen], pnl[~was_seen]
        peak = np.maximum.accumulate(np.maximum(equity, capital))
        rate, factor = metrics.win_rate(pnl), metrics.profit_factor(pnl)
        return Metrics(
            total_trades=len(lives),
            win_rate=rate,
            profit_factor=factor,
            total_return=float(pnl.sum()) / capital * 100,
            max_drawdown=min(float((equity / peak - 1).min() * 100), 0.0),
            sharpe_ratio=float(changes.mean()) / spread * math.sqrt(BARS.bars_per_year) if spread > 0 else 0.0,
            total_pnl=float(pnl.sum()),
            confidence_avg=0.0,
            fees_paid=sum(life.fees for life in lives),
            funding_paid=sum(life.funding for life in lives),
            exposure_pct=100 * sum(life.held * len(life.equity) for life in lives) / self.bars,
            skewness=skewness,
            kurtosis=kurtosis,
            in_sample_trades=len(seen),
            in_sample_score=float(metrics.score(metrics.win_rate(seen), metrics.profit_factor(seen), len(seen))),
            in_sample_pnl=float(seen.sum()),
            out_of_sample_trades=len(held_back),
            out_of_sample_pnl=float(held_back.sum()),
        )

    def chances(self) -> tuple[float, float, float]:
        """p-value and break-even win rate of the lives, NaN where they are few or earned nothing; their mean result in
        multiples of the risk, NaN without any."""
        lives = self.traded
        pnl, risk = np.array([life.pnl for life in lives]), np.array([life.risk for life in lives])
        in_r = metrics.mean_r(pnl, risk)
        if len(lives) < MIN_TRADES or pnl.sum() <= 0:
            return math.nan, math.nan, in_r
        return (*trades_p_value(pnl, risk, max(life.costs for life in lives)), in_r)
