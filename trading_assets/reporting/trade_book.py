"""Every trade of a report on its candles, as one page. Trades are drawn here, not made."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import pandas as pd

from trading_assets.core.candles import Candles
from trading_assets.core.errors import StrategyError
from trading_assets.core.timeframes import Timeframe, floor_ms, iso
from trading_assets.market.loading import CandleReader
from trading_assets.market.spans import union
from trading_assets.reporting.trade_chart import ChartPage, ChartSeries, ChartTrade, chart_page
from trading_assets.reporting.trades import OPEN
from trading_assets.strategies.registry import make_strategy

BEFORE, AFTER = 80, 30
"""Bars that are shown before a trade's entry and after its exit."""

MOST_TRADES = 2_000
"""No more are drawn: with them a page has about 6 MB, which a browser still opens at once."""


def trade_book(title: str, trades: pd.DataFrame, reader: CandleReader) -> ChartPage:
    """One page with each trade (`figures.TRADE_COLUMNS`) on the candles around it; of very many the newest.

    The drawn ones are numbered as they stand: the address `#t1` opens the first. Candles are those that the reader has.
    """
    every, trades = trades, trades.tail(MOST_TRADES)
    places = {
        key: place for place, key in enumerate(dict.fromkeys(zip(trades["symbol"], trades["timeframe"], strict=True)))
    }
    series: list[ChartSeries] = []
    for (symbol, name), _ in sorted(places.items(), key=lambda one: one[1]):
        rows = trades[(trades["symbol"] == symbol) & (trades["timeframe"] == name)]
        series.append(ChartSeries(f"{symbol} {name}", _around(rows, str(symbol), Timeframe(str(name)), reader)))
    drawn = [_drawn(row, places, series) for row in trades.to_dict("records")]
    closed = every[every["reason"] != OPEN]
    mean = float(closed["r"].mean()) if len(closed) else math.nan
    facts = [
        ("trades", f"{len(every):,}" + (f", the newest {MOST_TRADES:,} are here" if len(every) > MOST_TRADES else "")),
        ("coins", f"{every['symbol'].nunique():,}"),
        ("a closed trade", f"{mean:+.3f} R" if math.isfinite(mean) else "–"),
        ("PnL", f"{float(every['pnl'].sum()):+,.2f} $"),
        ("only the candles around trades are here; n and p go from one to the next", ""),
    ]
    return chart_page(title, facts, series, drawn)


def _around(rows: pd.DataFrame, symbol: str, timeframe: Timeframe, reader: CandleReader) -> Candles:
    """Candles around trades of one coin and timeframe, each once, in time."""
    step = timeframe.ms
    spans = union(
        [
            (floor_ms(int(entry), step) - (BEFORE + 1) * step, floor_ms(int(leave), step) + AFTER * step)
            for entry, leave in zip(rows["entry_ms"], rows["exit_ms"], strict=True)
        ]
    )
    parts = [reader.read(symbol, timeframe, low, high) for low, high in spans]
    columns = ("open", "high", "low", "close", "volume", "turnover")
    return Candles(
        timeframe,
        np.concatenate([part.start_ms for part in parts]),
        *(np.concatenate([getattr(part, name) for part in parts]) for name in columns),
    )


def _drawn(row: dict, places: dict[tuple[str, str], int], series: Sequence[ChartSeries]) -> ChartTrade:
    place = places[row["symbol"], row["timeframe"]]
    candles, side, is_open = series[place].candles, 1 if row["side"] == "LONG" else -1, row["reason"] == OPEN
    entry_ms = int(row["entry_ms"])
    stop, target = _levels(row, candles, side)
    held = (int(row["exit_ms"]) - entry_ms) / candles.timeframe.ms
    return ChartTrade(
        series=place,
        side=side,
        signal_ms=entry_ms,
        entry_ms=entry_ms,
        exit_ms=None if is_open else int(row["exit_ms"]),
        entry_price=float(row["entry_price"]),
        exit_price=float(row["exit_price"]),
        stop=stop,
        target=target,
        reason=str(row["reason"]),
        pnl=float(row["pnl"]),
        r=float(row["r"]),
        fees=float(row["fees"]),
        funding=float(row["funding"]),
        bars=round(held),
        notes=[
            ("strategy", str(row["strategy"])),
            ("parameters", str(row["parameters"])),
            ("selected in the hour", iso(int(row["hour_ms"]))[:16]),
            ("basis points", f"{float(row['bps']):+.1f}"),
            ("slippage", f"{float(row['slippage']):.4f} $"),
            ("confidence", f"{float(row['confidence']):.0f} %"),
        ],
    )


def _levels(row: dict, candles: Candles, side: int) -> tuple[float | None, float | None]:
    """Stop and target as they stood at the entry: from the close of the signal's bar, and what the stop risked."""
    bar = int(np.searchsorted(candles.end_ms, int(row["entry_ms"])))
    if bar >= len(candles) or int(candles.end_ms[bar]) != int(row["entry_ms"]) or not row["r"]:
        return None, None
    distance = float(row["pnl"]) / float(row["r"]) / float(row["size"])
    close = float(candles.close[bar])
    try:
        reward = float(make_strategy(str(row["strategy"]), str(row["parameters"])).parameters.reward_risk)
    except StrategyError:  # it is not there any more
        return close - side * distance, None
    return close - side * distance, close + side * distance * reward
