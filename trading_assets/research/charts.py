"""Charts of what research found: a backtest's page, heat maps of sweeps, curves side by side. Nothing is computed here
that is a result."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from trading_assets.core.candles import Candles
from trading_assets.core.timeframes import Timeframe
from trading_assets.reporting.trade_chart import ChartPage, ChartSeries, ChartTrade, chart_page

if TYPE_CHECKING:
    from trading_assets.research.backtests import Backtest


def chart_of_backtest(found: Backtest, title: str = "") -> ChartPage:
    """The page of a backtest: candles, trades, indicators, equity and drawdown."""
    frame, equity = found.candles, found.equity["equity"].to_numpy(dtype=np.float64)
    candles = candles_of(frame, Timeframe(found.timeframe))
    m = found.metrics
    series = ChartSeries(
        f"{found.symbol} {found.timeframe}",
        candles,
        {str(name): found.indicators[name].to_numpy(dtype=np.float64) for name in found.indicators.columns},
        equity,
        found.capital,
    )
    facts = [
        ("", f"{frame.index[0]:%Y-%m-%d %H:%M} to {found.equity.index[-1]:%Y-%m-%d %H:%M}"),
        ("closed trades", f"{m['total_trades']:,.0f}"),
        ("a trade", _told(m["mean_r"], "+.3f", " R")),
        ("won", f"{m['win_rate']:.1f} %"),
        ("PnL", f"{m['total_pnl']:+,.2f} $"),
        ("largest drawdown", f"{m['max_drawdown']:.2f} %"),
        ("profit factor", f"{m['profit_factor']:.2f}"),
        ("p, one try", _told(m["p_value"], ".3f", "")),
        (found.made_with, ""),
        (found.source, ""),
        (", ".join(f"{name} {value}" for name, value in found.parameters.items()), ""),
    ]
    return chart_page(title or found.title, facts, [series], chart_trades(found.trades))


def _told(value: float, form: str, unit: str) -> str:
    return "–" if math.isnan(value) else f"{value:{form}}{unit}"


def candles_of(frame: pd.DataFrame, timeframe: Timeframe) -> Candles:
    """The arrays of a frame that `frames.candles_frame` made."""
    columns = {
        name: frame[name].to_numpy(dtype=np.float64) for name in ("open", "high", "low", "close", "volume", "turnover")
    }
    return Candles(timeframe, pd.DatetimeIndex(frame.index).as_unit("ms").asi8.astype(np.int64), **columns)


def chart_trades(trades: pd.DataFrame, series: int = 0) -> list[ChartTrade]:
    """Trades of a frame like `Backtest.trades`."""
    rows = trades.to_dict("records")
    return [
        ChartTrade(
            series=series,
            side=1 if row["side"] == "LONG" else -1,
            signal_ms=_ms(row["signal_time"]),
            entry_ms=_ms(row["entry_time"]),
            exit_ms=None if pd.isna(row["exit_time"]) else _ms(row["exit_time"]),
            reason=str(row["reason"]),
            bars=int(row["bars"]),
            notes=[("confidence", f"{row['confidence']:.0f} %")],
            **{
                name: float(row[name])
                for name in (
                    *("entry_price", "exit_price", "stop", "target"),
                    *("pnl", "r", "mae_r", "mfe_r", "fees", "funding"),
                )
            },
        )
        for row in rows
    ]


def _ms(moment: pd.Timestamp) -> int:
    return round(moment.timestamp() * 1000)
