"""Validation of backtests: a second engine must find the same trades and figures, and a profit survive double costs."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from typing import Any

import numpy as np
import pandas as pd

from trading_assets.backtesting.costs import costs_of
from trading_assets.backtesting.day_panels import window_start_ms
from trading_assets.backtesting.engine import Column, Costs, Engine, Trades
from trading_assets.backtesting.kernel.panel import Window
from trading_assets.backtesting.kernel.sweep import column_from
from trading_assets.backtesting.metrics import Metrics
from trading_assets.backtesting.naive_engine import NaiveEngine
from trading_assets.backtesting.run import metrics_from
from trading_assets.backtesting.significance import seed_from
from trading_assets.backtesting.vectorbt_engine import VectorbtEngine, represents
from trading_assets.core.schemas import BACKTEST_RESULTS
from trading_assets.core.settings import Settings
from trading_assets.core.strategy_data import StrategyData
from trading_assets.core.timeframes import Timeframe
from trading_assets.market.loading import Loader
from trading_assets.strategies.base import Strategy
from trading_assets.strategies.registry import make_strategy

TRADE_TOLERANCE = 1e-9
"""Relative, for prices and sizes; money may differ by this fraction of a trade's notional."""

FIGURE_TOLERANCE = 1e-6
"""Relative and absolute: figures are sums over a window, which engines may add up in another order."""

COST_FACTOR = 2.0
"""By so much fee and slippage are raised: an edge that thin does not survive a busy market."""

_MONEY = ("fees", "funding", "pnl")

LoaderByHour = Callable[[int], Loader]


class ReferenceEngine:
    """vectorbt where it can represent a column, else the naive engine."""

    def simulate(self, columns: Sequence[Column], costs: Costs) -> list[Trades]:
        """See `Engine.simulate`."""
        if costs.entry is not None:
            return NaiveEngine().simulate(columns, costs)
        by_vectorbt = [column for column in columns if represents(column)]
        found = iter(VectorbtEngine().simulate(by_vectorbt, costs))
        return [next(found) if represents(one) else NaiveEngine().simulate([one], costs)[0] for one in columns]


@dataclass(frozen=True)
class Difference:
    """One difference of two computations of a backtest. `row` is its key, `what` names the trade or figure."""

    row: Mapping[str, Any]
    what: str
    first: str
    second: str


def sample_backtests(rows: pd.DataFrame, count: int, *, each: str | None = None) -> pd.DataFrame:
    """Draw at most `count` backtests: the same ones for the same rows, other ones every hour.

    Rows that failed are excluded, and those without trades as long as others have some. With `each`, `count` rows of
    every value of that column.
    """
    sound = rows[rows["error"].isna()]
    traded = sound[sound["total_trades"] > 0]
    candidates = traded if len(traded) else sound
    order = [seed_from(key) for key in candidates[list(BACKTEST_RESULTS.key)].itertuples(index=False, name=None)]
    shuffled = candidates.iloc[np.argsort(np.array(order, dtype=np.uint64), kind="stable")]
    return shuffled.head(count) if each is None else shuffled.groupby(each, sort=False).head(count)


def data_by_row(row: Mapping[str, Any], load: LoaderByHour) -> tuple[Strategy, StrategyData]:
    """The strategy of a stored backtest, and its data.

    Raises:
        StrategyError: the strategy is not known any more.
        DataError: its data cannot be put together.
    """
    strategy = make_strategy(str(row["strategy"]), str(row["parameters"]))
    with_costs = replace(strategy.needs(), funding=True)
    hour_ms = int(row["hour_ms"])
    return strategy, load(hour_ms)(str(row["symbol"]), Timeframe(str(row["timeframe"])), with_costs)


def column_from_row(row: Mapping[str, Any], load: LoaderByHour) -> Column:
    """The column of a stored backtest. Raises as `data_by_row`, and whatever the strategy raises."""
    strategy, data = data_by_row(row, load)
    return column_from(strategy, data, Window.from_data(data, window_start_ms(int(row["hour_ms"]), data.timeframe)))


def cross_validate(
    rows: pd.DataFrame, load: LoaderByHour, engine_a: Engine, engine_b: Engine, settings: Settings
) -> list[Difference]:
    """Compute stored backtests again with two engines and compare the trades, and the second's figures with the row.

    Args:
        rows: of `backtest_results`, none with an error.
        load: the loader of an hour.
        settings: of rows that do not tell with what costs they were made: other costs are differences.
    """
    differences: list[Difference] = []
    kept: dict[Costs, list[tuple[dict[str, Any], Column]]] = {}
    for record in rows.to_dict("records"):
        row = {str(name): value for name, value in record.items()}
        try:
            kept.setdefault(costs_of(row, settings), []).append((row, column_from_row(row, load)))
        except Exception as error:  # noqa: BLE001 (a user's strategy may raise anything)
            differences.append(Difference(_key(row), "backtest", "stored", f"{type(error).__name__}: {error}"))
    for costs, some in kept.items():
        columns = [column for _, column in some]
        both = (engine_a.simulate(columns, costs), engine_b.simulate(columns, costs))
        for (row, column), a, b in zip(some, *both, strict=True):
            held_back = row.get("held_back_pct")
            figures = metrics_from(
                b, column, costs.notional, settings.out_of_sample_pct if pd.isna(held_back) else float(held_back)
            )
            found = [*_trades(a, b, costs.notional), *_figures(row, len(column.candles), figures)]
            differences += [Difference(_key(row), *one) for one in found]
    return differences


def _key(row: Mapping[str, Any]) -> dict[str, object]:
    return {name: row[name] for name in BACKTEST_RESULTS.key}


def _trades(a: Trades, b: Trades, notional: float) -> Iterator[tuple[str, str, str]]:
    """The first difference of each field of the trades; of their number alone if that differs."""
    if len(a) != len(b):
        yield "number of trades", str(len(a)), str(len(b))
        return
    for field in fields(Trades):
        x, y = getattr(a, field.name), getattr(b, field.name)
        if field.name == "parts" or x is None or y is None:  # parts are in the price and the money; vectorbt no reasons
            continue
        absolute = TRADE_TOLERANCE * notional if field.name in _MONEY else 0.0
        equal = np.isclose(
            x.astype(np.float64), y.astype(np.float64), rtol=TRADE_TOLERANCE, atol=absolute, equal_nan=True
        )
        if not equal.all():
            trade = int(np.argmin(equal))
            yield f"{field.name} of trade {trade}", str(x[trade]), str(y[trade])


def _figures(row: Mapping[str, Any], bars: int, figures: Metrics) -> Iterator[tuple[str, str, str]]:
    computed = {"bars": bars, **vars(figures)}
    for name, value in computed.items():
        stored = float(row[name])
        if not np.isclose(stored, value, rtol=FIGURE_TOLERANCE, atol=FIGURE_TOLERANCE):
            yield name, f"{stored:.12g}", f"{value:.12g}"


@dataclass(frozen=True)
class CostSensitivity:
    """Closed trades at the costs assumed, and their PnL in USD there and at `COST_FACTOR` times fee and slippage."""

    trades: int
    pnl: float
    pnl_at_double: float

    @property
    def survives(self) -> bool:
        """Whether a profit stays one; what lost money before has nothing to lose."""
        return self.pnl_at_double > 0 or self.pnl <= 0


def at_double_costs(columns: Sequence[Column], costs: Costs, engine: Engine) -> list[CostSensitivity]:
    """Simulate each column at single and double costs. Costs move no exit: stops are measured from the close."""
    double = replace(costs, fee=costs.fee * COST_FACTOR, slippage=costs.slippage * COST_FACTOR)
    if costs.entry is not None:
        double = replace(double, entry=replace(costs.entry, fee=costs.entry.fee * COST_FACTOR))
    return [
        CostSensitivity(int(single.closed.sum()), _closed_pnl(single), _closed_pnl(doubled))
        for single, doubled in zip(engine.simulate(columns, costs), engine.simulate(columns, double), strict=True)
    ]


def _closed_pnl(trades: Trades) -> float:
    return float(trades.pnl[trades.closed].sum())
