"""The engines that the kernel is measured against: vectorbt at three heights, and backtesting.py where it is installed.

Each does all parameter sets on one coin and timeframe. Nothing heavy is imported before an engine runs.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from dataclasses import astuple, dataclass, fields
from importlib.util import find_spec
from typing import Any

import numpy as np
import pandas as pd

from trading_assets.backtesting.engine import Column, Costs
from trading_assets.backtesting.kernel.kernel_engine import KernelEngine
from trading_assets.backtesting.kernel.panel import Window
from trading_assets.backtesting.kernel.sweep import column_from
from trading_assets.backtesting.metrics import PROFIT_FACTOR_CAP, Metrics, metrics
from trading_assets.backtesting.vectorbt_engine import PLENTY_OF_CASH, RULES, VectorbtEngine
from trading_assets.core.candles import FloatArray
from trading_assets.core.strategy_data import StrategyData
from trading_assets.strategies.base import Strategy
from trading_assets.strategies.indicator_cache import sharing

_METRICS = [field.name for field in fields(Metrics)]
_TRADES, _PNL = _METRICS.index("total_trades"), _METRICS.index("total_pnl")
_BY_RUST = (
    "total_trades",
    "win_rate",
    "profit_factor",
    "total_return",
    "max_drawdown",
    "sharpe_ratio",
    "total_pnl",
    "confidence_avg",
    "fees_paid",
    "exposure_pct",
)
"""The figures that `_figures` makes: those of a backtest without skewness, kurtosis, funding and the held-back part."""


@dataclass(frozen=True)
class BenchCase:
    """One coin and timeframe, and what the kernel found there: figures of each parameter set, shape (sets, fields)."""

    data: StrategyData
    window: Window
    figures: FloatArray


@dataclass(frozen=True)
class BenchEngine:
    """One way to do the work.

    Attributes:
        run: the work on coins of one timeframe; its results, one a coin, are looked at once, outside of the measured
            time.
        equal: whether a result is the kernel's; None where the rules differ.
        every: does each so manieth coin only: some engines take minutes. Times are per bar and set, so they compare.
    """

    name: str
    run: Callable[[Sequence[BenchCase]], Sequence[object]]
    equal: Callable[[BenchCase, Any], bool] | None
    every: int = 1
    threads: int = 1


def engines(sets: Sequence[Strategy], costs: Costs, capital: float, slow: int) -> list[BenchEngine]:
    """Every engine that is installed; the slowest do each `slow`th coin."""

    def each(work: Callable[[BenchCase], object]) -> Callable[[Sequence[BenchCase]], Sequence[object]]:
        return lambda part: [work(one) for one in part]

    def columns_of(one: BenchCase) -> list[Column]:
        with sharing({}):
            return [column_from(strategy, one.data, one.window) for strategy in sets]

    def orders(engine: str) -> Callable[[BenchCase], np.ndarray]:
        return lambda one: _orders(columns_of(one), costs, engine)

    def orders_equal(one: BenchCase, found: np.ndarray) -> bool:
        return _same_orders(found, columns_of(one), costs)

    def by_rust(one: BenchCase) -> FloatArray:
        return _figures(columns_of(one), costs, capital)

    def these_equal(one: BenchCase, found: FloatArray) -> bool:
        expected = one.figures[:, [_METRICS.index(name) for name in _BY_RUST]]
        return bool(np.allclose(found, expected, rtol=1e-9, atol=1e-9))

    def portfolio(one: BenchCase) -> FloatArray:
        columns = columns_of(one)
        found = VectorbtEngine().simulate(columns, costs)
        return np.array([astuple(metrics(trades, one.window.candles, capital, one.window.split)) for trades in found])

    def notebook(one: BenchCase) -> FloatArray:
        found = []
        for strategy in sets:
            (trades,) = VectorbtEngine().simulate([column_from(strategy, one.data, one.window)], costs)
            found.append(astuple(metrics(trades, one.window.candles, capital, one.window.split)))
        return np.array(found)

    def by_pandas(one: BenchCase) -> pd.DataFrame:
        return _with_pandas(columns_of(one), costs)

    def profits_equal(one: BenchCase, found: pd.DataFrame) -> bool:
        # Its figures count an open trade at the last close; the kernel's PnL is of closed ones.
        return bool(
            np.array_equal(found["closed"], one.figures[:, _TRADES])
            and np.allclose(found["pnl"], one.figures[:, _PNL], rtol=1e-9, atol=1e-9)
        )

    def figures_equal(one: BenchCase, found: FloatArray) -> bool:
        return bool(np.allclose(found, one.figures, rtol=1e-9, atol=1e-9))

    listed = [
        BenchEngine("vectorbt Rust, low level", each(by_rust), these_equal),
        BenchEngine("vectorbt Rust, orders alone", each(orders("rust")), orders_equal),
        BenchEngine("vectorbt numba, orders alone", each(orders("numba")), orders_equal),
        BenchEngine("vectorbt Portfolio, all sets at once", each(portfolio), figures_equal),
        BenchEngine("vectorbt Portfolio, set by set", each(notebook), figures_equal, slow),
        BenchEngine("vectorbt Portfolio, pandas and its own figures", each(by_pandas), profits_equal, slow),
    ]
    if find_spec("vectorbt_rust") is None:
        del listed[:2]
    if find_spec("backtesting") is not None:
        listed.append(
            BenchEngine("backtesting.py", each(lambda one: _backtesting_py(columns_of(one), costs)), None, slow)
        )
    return listed


def _orders(columns: Sequence[Column], costs: Costs, engine: str) -> np.ndarray:
    """Order records of the compiled simulation alone, without `Portfolio` and pandas around it."""
    from vectorbt.portfolio import dispatch, enums

    candles, count = columns[0].candles, len(columns)
    shape = (len(candles), count)
    stop = np.column_stack([column.stop_fraction for column in columns])
    alone = {name: np.ascontiguousarray(getattr(candles, name)[:, None]) for name in ("open", "high", "low", "close")}
    records, _ = dispatch.simulate_from_signals(
        shape,
        np.ones(count, dtype=np.int64),
        np.full(count, PLENTY_OF_CASH),
        np.zeros(shape, dtype=np.int64),
        long_entries=np.column_stack([column.long for column in columns]),
        short_entries=np.column_stack([column.short for column in columns]),
        size=np.asarray(costs.notional),
        size_type=np.asarray(enums.SizeType.Value),
        fees=np.asarray(costs.fee),
        slippage=np.asarray(costs.slippage),
        upon_opposite_entry=np.asarray(enums.OppositeEntryMode.Ignore),
        sl_stop=stop,
        tp_stop=stop * np.array([column.reward_risk for column in columns]),
        stop_entry_price=np.asarray(enums.StopEntryPrice.Close),
        stop_exit_price=np.asarray(enums.StopExitPrice.StopMarket),
        engine=engine,
        **alone,
    )
    return np.asarray(records)


def _figures(columns: Sequence[Column], costs: Costs, capital: float) -> FloatArray:
    """The figures of `_BY_RUST`, shape (columns, figures), by vectorbt's Rust functions as far as they go."""
    from vectorbt.portfolio import dispatch as portfolio
    from vectorbt.records.dispatch import col_map
    from vectorbt.returns import dispatch as returns

    candles, count = columns[0].candles, len(columns)
    shape, rust = (len(candles), count), "rust"
    orders = _orders(columns, costs, rust)
    of_column = col_map(orders["col"], count, engine=rust)
    close = np.repeat(candles.close[:, None], count, axis=1)
    # Cash begins with the capital here: beside the cash that the orders had, a trade's cents would be rounded away.
    cash = portfolio.cash(
        portfolio.cash_flow(shape, orders, of_column, False, engine=rust), np.full(count, capital), engine=rust
    )
    held = portfolio.assets(portfolio.asset_flow(shape, orders, of_column, 2, engine=rust), engine=rust)
    # vectorbt's own drawdown begins after the first bar and multiplies returns: wrong once more than all is lost.
    value = portfolio.value(cash, portfolio.asset_value(close, held, engine=rust), engine=rust)
    equity = np.concatenate([np.full((1, count), capital), value])
    changes = np.diff(equity, axis=0) / capital
    trades = portfolio.get_exit_trades(orders, close, of_column, engine=rust)
    lengths = np.bincount(trades["col"], trades["exit_idx"] - trades["entry_idx"], count)
    trades = trades[trades["status"] == 1]
    column, pnl = trades["col"], trades["pnl"]
    closed, wins = np.bincount(column, minlength=count), np.bincount(column, pnl > 0, count)
    profit, loss = np.bincount(column, np.maximum(pnl, 0), count), np.bincount(column, np.maximum(-pnl, 0), count)
    confidence = np.column_stack([one.confidence for one in columns])[trades["entry_idx"], column]
    some, total = np.maximum(closed, 1), np.bincount(column, pnl, count)
    return np.column_stack(
        [
            closed,
            wins / some * 100,
            np.minimum(profit / np.maximum(loss, profit / PROFIT_FACTOR_CAP + (profit <= 0)), PROFIT_FACTOR_CAP),
            total / capital * 100,
            (equity / np.maximum.accumulate(equity, axis=0) - 1).min(axis=0) * 100,
            np.nan_to_num(returns.sharpe_ratio(changes, candles.timeframe.bars_per_year, 0.0, 0, engine=rust)),
            total,
            np.bincount(column, confidence, count) / some,
            np.bincount(column, trades["entry_fees"] + trades["exit_fees"], count),
            lengths / len(candles) * 100,
        ]
    )


def _with_pandas(columns: Sequence[Column], costs: Costs) -> pd.DataFrame:
    """`Portfolio.from_signals` on frames, and the figures that it offers itself: what its documentation shows."""
    import vectorbt as vbt

    candles, count = columns[0].candles, len(columns)
    index = pd.to_datetime(candles.start_ms, unit="ms")

    def frame(arrays: Sequence[np.ndarray]) -> pd.DataFrame:
        return pd.DataFrame(np.column_stack(arrays), index=index)

    stop = frame([column.stop_fraction for column in columns])
    portfolio = vbt.Portfolio.from_signals(
        frame([candles.close] * count),
        open=frame([candles.open] * count),
        high=frame([candles.high] * count),
        low=frame([candles.low] * count),
        entries=frame([column.long for column in columns]),
        short_entries=frame([column.short for column in columns]),
        size=costs.notional,
        fees=costs.fee,
        slippage=costs.slippage,
        sl_stop=stop,
        tp_stop=stop * np.array([column.reward_risk for column in columns]),
        freq=pd.Timedelta(milliseconds=candles.timeframe.ms),
        **RULES,
    )
    closed = portfolio.trades.closed
    return pd.DataFrame(
        {
            "closed": closed.count(),
            "pnl": closed.pnl.sum(),
            "win_rate": closed.win_rate(),
            "profit_factor": closed.profit_factor(),
            "total_return": portfolio.total_return(),
            "max_drawdown": portfolio.max_drawdown(),
            "sharpe_ratio": portfolio.sharpe_ratio(),
        }
    )


def _same_orders(records: np.ndarray, columns: Sequence[Column], costs: Costs) -> bool:
    """Whether order records are the entries and exits of the kernel's trades, bar by bar and price by price."""
    bars, prices, owners = [], [], []
    for at, trades in enumerate(KernelEngine().simulate(columns, costs)):
        closed = trades.closed
        bars.append(np.concatenate([trades.entry, trades.exit[closed] + 0.5]))
        prices.append(np.concatenate([trades.entry_price, trades.exit_price[closed]]))
        owners.append(np.full(len(bars[-1]), at))
        order = np.argsort(bars[-1], kind="stable")
        bars[-1], prices[-1] = np.floor(bars[-1][order]), prices[-1][order]
    records = records[np.lexsort((records["id"], records["idx"], records["col"]))]
    return bool(
        np.array_equal(records["col"], np.concatenate(owners))
        and np.array_equal(records["idx"], np.concatenate(bars))
        and np.allclose(records["price"], np.concatenate(prices), rtol=1e-9)
    )


def _backtesting_py(columns: Sequence[Column], costs: Costs) -> list[Any]:
    """backtesting.py on the same decisions. It fills in whole units and has its own order of events: other rules."""
    os.environ.setdefault("TQDM_DISABLE", "1")  # its progress bars
    from backtesting import Backtest, Strategy  # noqa: PLC0415 (seconds)

    class Given(Strategy):
        """Enters where the column says."""

        column: Column | None = None

        def init(self) -> None:
            pass

        def next(self) -> None:
            bar, column = len(self.data) - 1, self.column
            assert column is not None
            if self.position or not (column.long[bar] or column.short[bar]):
                return
            price = float(self.data.Close[-1])
            away = price * column.stop_fraction[bar]
            if column.long[bar]:
                self.buy(size=1, sl=price - away, tp=price + away * column.reward_risk)
            else:
                self.sell(size=1, sl=price + away, tp=price - away * column.reward_risk)

    candles = columns[0].candles
    frame = pd.DataFrame(
        {"Open": candles.open, "High": candles.high, "Low": candles.low, "Close": candles.close},
        index=pd.to_datetime(candles.start_ms, unit="ms"),
    )
    return [
        Backtest(
            frame,
            Given,
            cash=1e9,
            commission=costs.fee,
            spread=costs.slippage,
            trade_on_close=True,
            finalize_trades=True,
        ).run(column=column)
        for column in columns
    ]
