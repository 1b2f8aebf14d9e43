"""One backtest: a strategy with one set of parameters on one symbol and timeframe, trade by trade.

Decisions, engine, costs and figures are those of the pipeline's backtests; nothing is computed here a second time.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from trading_assets.backtesting.costs import cost_columns, costs_from
from trading_assets.backtesting.endings import excursions, levels, risk_usd, signal_bars, words
from trading_assets.backtesting.engine import Column, Costs, Trades
from trading_assets.backtesting.kernel.sweep import column_from, shared_indicators
from trading_assets.backtesting.liquidity import both_fills
from trading_assets.backtesting.made_with import costs_told
from trading_assets.backtesting.metrics import equity_curve, mean_r
from trading_assets.backtesting.run import metrics_from, production_engine
from trading_assets.backtesting.significance import MIN_TRADES, trades_p_value
from trading_assets.core.candles import Candles
from trading_assets.core.settings import Settings
from trading_assets.core.timeframes import Timeframe
from trading_assets.research.frames import Moment, candles_frame, times
from trading_assets.research.loading import Loaded, load, source_or_home, to_range
from trading_assets.research.sources import Source
from trading_assets.research.strategy import StrategyLike, configured, telling
from trading_assets.strategies.base import Strategy
from trading_assets.strategies.declared import as_declared
from trading_assets.strategies.registry import canonical_json

if TYPE_CHECKING:
    from trading_assets.reporting.trade_chart import ChartPage

TRADE_COLUMNS = [
    *("signal_time", "entry_time", "exit_time", "side", "size", "entry_price", "exit_price", "stop", "target"),
    *("fees", "funding", "pnl", "r", "mae_r", "mfe_r", "bars", "reason", "confidence"),
]
"""Columns of `Backtest.trades`."""


@dataclass(frozen=True)
class Backtest:
    """What a backtest found.

    Attributes:
        strategy, symbol, timeframe: what was tested.
        parameters: of the strategy, defaults included.
        trades: one row a trade in order of entry, `TRADE_COLUMNS`: times are UTC closes of bars (`signal_time` of the
            signal's, `entry_time` of the fill's, `exit_time` of the last; NaT while open); `size` in base coin; prices
            in USDT, with slippage; `stop` and `target` as they stood at the entry; `fees` of both fills, `funding`
            paid (negative: received) and `pnl`, net of both, in USD; `r` is `pnl` in multiples of what the stop risks;
            `mae_r` (<= 0) and `mfe_r` (>= 0) are the farthest the price went against and for the trade, in the same
            unit; `bars` held; `reason` stop, target, signal, time, roi or open; `confidence` in percent.
        equity: index `time` (UTC closes of bars), `equity` in USD with open trades marked, `drawdown_pct` (<= 0).
        metrics: the figures of the pipeline's table `backtest_results`, by column, besides `mean_r`, `p_value` and
            `break_even`: see docs/reference/metrics.md. `p_value` is of one try: it knows nothing of how many
            configurations were looked at.
        candles: of the range, index `open_time`.
        indicators: what the strategy computed, index `open_time`.
        capital: what equity begins with, USD: the size of a trade.
        made_with: costs and size in words.
        source: where the candles came from.
    """

    strategy: str
    symbol: str
    timeframe: str
    parameters: Mapping[str, object]
    trades: pd.DataFrame
    equity: pd.DataFrame
    metrics: Mapping[str, float]
    candles: pd.DataFrame
    indicators: pd.DataFrame
    capital: float
    made_with: str
    source: str

    @property
    def title(self) -> str:
        return f"{self.strategy} on {self.symbol} {self.timeframe}"

    def plot(self) -> ChartPage:
        """Candles with trades, indicators, equity and drawdown, as one page that needs nothing else.

        In a notebook it is shown; `.save(path)` writes it.
        """
        from trading_assets.research.charts import chart_of_backtest  # noqa: PLC0415

        return chart_of_backtest(self)

    def __repr__(self) -> str:
        m = self.metrics
        range_ = f"{self.candles.index[0]:%Y-%m-%d %H:%M} to {self.equity.index[-1]:%Y-%m-%d %H:%M}"
        if not m["total_trades"]:
            return f"<Backtest {self.title}, {range_}: no closed trade>"
        return (
            f"<Backtest {self.title}, {range_}: {m['total_trades']:.0f} trades, {m['mean_r']:+.2f} R each, "
            f"win rate {m['win_rate']:.0f} %, PnL ${m['total_pnl']:,.2f}, drawdown {m['max_drawdown']:.2f} %, "
            f"p {m['p_value']:.3f}>"
        )


def backtest(
    strategy: StrategyLike,
    symbol: str,
    timeframe: str | Timeframe,
    start: Moment | None = None,
    end: Moment | None = None,
    *,
    parameters: Mapping[str, object] | None = None,
    source: Source | None = None,
) -> Backtest:
    """Test a strategy on the bars from `start` to `end`, as the pipeline tests it on the window of an hour.

    The same decisions, engine, costs, size and figures: with `end` the as-of of an hour and no `start`, it is the row
    of `backtest_results` of that hour. Warm-up is read from before `start`. Entries, stops and exits follow the rules
    of docs/engine.md.

    Args:
        strategy: its name, its class (also one defined in the notebook), or an instance.
        symbol, timeframe: such as `"ETHUSDT"`, `"15m"`.
        start, end: see `candles`.
        parameters: those that are not their defaults.
        source: where candles and settings come from; by default the home of the settings.

    Raises:
        StrategyError: the strategy is unknown, or does not allow a parameter.
        StrategyFailedError: it raises; its own error is the cause, and `failure` has coin, bar and traceback.
        DataError: nothing is known of a part of the range.

    Example:
        ```python
        bt = research.backtest("bollinger_rsi", "ETHUSDT", "15m", parameters={"stop_atr": 2.0}, source=market)
        bt.metrics["total_pnl"], bt.trades.groupby("reason")["r"].describe()
        ```
    """
    read_of = source_or_home(source)
    tested = configured(strategy, parameters)
    settings = as_declared(read_of.settings, type(tested))
    of = to_range(read_of, symbol, timeframe, start, end)
    loaded = load(read_of, of, tested.needs(), settings.out_of_sample_pct)
    return backtest_of(tested, loaded, settings, read_of.name)


def backtest_of(tested: Strategy, loaded: Loaded, settings: Settings, source: str) -> Backtest:
    """The same of data that were loaded, under settings as declared by the strategy."""
    costs, capital = costs_from(settings), settings.backtest_notional
    of, window = loaded.range, loaded.window
    with telling(tested, loaded.data), shared_indicators():
        column = column_from(tested, loaded.data, window)
        signals = tested.signals(loaded.data)
    (trades,) = production_engine().simulate([column], costs)
    found = asdict(metrics_from(trades, column, capital, settings.out_of_sample_pct))
    first = window.first
    return Backtest(
        strategy=tested.name,
        symbol=of.symbol,
        timeframe=of.timeframe.value,
        parameters=json.loads(canonical_json(tested)),
        trades=trades_frame(column, trades, costs),
        equity=equity_frame(trades, window.candles, capital),
        metrics={**found, **_chances(column, trades, costs), "bars": len(window.candles)},
        candles=candles_frame(window.candles),
        indicators=pd.DataFrame(
            {name: np.asarray(values[first:], dtype=np.float64) for name, values in signals.indicators.items()},
            index=times(window.candles.start_ms, "open_time"),
        ),
        capital=capital,
        made_with=costs_told(cost_columns(settings)),
        source=source,
    )


def _chances(column: Column, trades: Trades, costs: Costs) -> dict[str, float]:
    """What the pipeline tells of a chosen set besides its figures: mean R, p-value and break-even win rate."""
    closed = trades.closed
    pnl, risk = trades.pnl[closed], risk_usd(column, trades, costs)[closed]
    p_value = break_even = math.nan
    if len(pnl) >= MIN_TRADES and float(pnl.sum()) > 0:
        p_value, break_even = trades_p_value(pnl, risk, both_fills(costs))
    return {"mean_r": mean_r(pnl, risk), "p_value": p_value, "break_even": break_even}


def trades_frame(column: Column, trades: Trades, costs: Costs) -> pd.DataFrame:
    """One row a trade, see `Backtest.trades`."""
    candles = column.candles
    ends = times(candles.end_ms, "time")
    stands, risk = levels(column, trades), risk_usd(column, trades, costs)
    against, with_it = excursions(column, trades, costs)
    exits = ends[trades.exit].where(trades.closed) if len(trades) else ends[:0]
    return pd.DataFrame(
        {
            "signal_time": ends[signal_bars(trades)],
            "entry_time": ends[trades.entry],
            "exit_time": exits,
            "side": np.where(trades.direction > 0, "LONG", "SHORT"),
            "size": trades.size,
            "entry_price": trades.entry_price,
            "exit_price": trades.exit_price,
            "stop": stands.stop,
            "target": stands.target,
            "fees": trades.fees,
            "funding": trades.funding,
            "pnl": trades.pnl,
            "r": trades.pnl / risk,
            "mae_r": against,
            "mfe_r": with_it,
            "bars": trades.exit - trades.entry,
            "reason": words(column, trades),
            "confidence": trades.confidence,
        },
        columns=TRADE_COLUMNS,
    )


def equity_frame(trades: Trades, candles: Candles, capital: float) -> pd.DataFrame:
    """Equity at each close, see `Backtest.equity`."""
    equity = equity_curve(trades, candles, capital)
    peak = np.maximum.accumulate(np.maximum(equity, capital))
    return pd.DataFrame(
        {"equity": equity, "drawdown_pct": (equity / peak - 1) * 100}, index=times(candles.end_ms, "time")
    )


def signals(
    strategy: StrategyLike,
    symbol: str,
    timeframe: str | Timeframe,
    start: Moment | None = None,
    end: Moment | None = None,
    *,
    parameters: Mapping[str, object] | None = None,
    source: Source | None = None,
) -> pd.DataFrame:
    """What a strategy decides at each close, whether or not a position is open: what live would see.

    Returns:
        One row a bar, index `time` (UTC, its close): close, long, short (bool), confidence (percent, NaN without an
        entry), stop and target (USDT, NaN without an entry), exit_long and exit_short (bool), and every indicator.

    Raises:
        StrategyError, DataError: as `backtest`.

    Example:
        ```python
        decided = research.signals("bollinger_rsi", "ETHUSDT", "15m", source=market)
        decided[decided["long"] | decided["short"]].tail()
        ```
    """
    read_of = source_or_home(source)
    tested = configured(strategy, parameters)
    loaded = load(read_of, to_range(read_of, symbol, timeframe, start, end), tested.needs(), 0.0)
    with telling(tested, loaded.data), shared_indicators():
        found = tested.signals(loaded.data)
    first, window = loaded.window.first, loaded.window.candles
    long, short = found.long[first:], found.short[first:]
    sign = np.where(long, 1.0, np.where(short, -1.0, np.nan))
    distance = found.stop_distance[first:]
    none = np.zeros(len(window), dtype=bool)
    columns = {
        "close": window.close,
        "long": long,
        "short": short,
        "confidence": found.confidence[first:],
        "stop": window.close - sign * distance,
        "target": window.close + sign * distance * found.reward_risk,
        "exit_long": none if found.exit_long is None else found.exit_long[first:],
        "exit_short": none if found.exit_short is None else found.exit_short[first:],
    }
    of_strategy = {name: values[first:] for name, values in found.indicators.items()}
    return pd.DataFrame({**columns, **of_strategy}, index=times(window.end_ms, "time"))
