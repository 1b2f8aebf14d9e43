"""What a home decided, on its candles: a selection as the backtest that chose it, a signal with what became of it."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from decimal import Decimal
from typing import Any

import numpy as np
import pandas as pd

from trading_assets.backtesting.kernel.sweep import shared_indicators
from trading_assets.core.candles import FloatArray
from trading_assets.core.errors import DataError, StrategyError
from trading_assets.core.schemas import STRATEGY_SELECTIONS
from trading_assets.core.timeframes import (
    HOUR_KEY_FORMAT,
    HOUR_MS,
    Timeframe,
    as_of_ms,
    first_hour_ms,
    floor_ms,
    hour_key,
    iso,
)
from trading_assets.ledger import tracing
from trading_assets.ledger.partitions import latest_hour_ms, read_partitions
from trading_assets.market.loading import load_strategy_data
from trading_assets.reporting.trade_chart import ChartPage, ChartSeries, ChartTrade, chart_page
from trading_assets.research.backtests import Backtest, backtest
from trading_assets.research.charts import chart_of_backtest
from trading_assets.research.loading import source_or_home
from trading_assets.research.sources import Home, Source
from trading_assets.strategies.registry import make_strategy
from trading_assets.trading import explain as explaining

BEFORE, AFTER = 150, 40
"""Bars that are shown before a signal and after its end."""

_MOST_BARS = 20_000

_SELECTION = re.compile(r"(?:(\d{4}-\d\d-\d\d-\d\d:\d\d)/)?([A-Za-z0-9.-]+)")


def _home(source: Source | None) -> Home:
    home = source_or_home(source)
    if not isinstance(home, Home):
        raise DataError(f"{home.name} has no ledger; expected a home: research.open_home(path)")
    return home


def selections(hour: str | int | None = None, *, source: Source | None = None) -> pd.DataFrame:
    """What a home selected in an hour, the best first.

    Args:
        hour: its key (`2026-03-02-05:00`) or start (UTC ms); by default the newest one that selected anything.

    Returns:
        Rows of `strategy_selections`, see docs/reference/tables.md; none where the hour chose no coin.

    Raises:
        DataError: the source is no home, or it has no selections at all.

    Example:
        ```python
        best = research.selections().head(3)[["symbol", "timeframe", "strategy", "score"]]
        ```
    """
    home = _home(source)
    hour_ms = first_hour_ms(hour) if isinstance(hour, str) else hour
    if hour_ms is None:
        hour_ms = latest_hour_ms(home.database, STRATEGY_SELECTIONS)
    if hour_ms is None:
        raise DataError(f"{home.name} has no selections yet: run make demo, or trading-assets backfill")
    rows = read_partitions(home.database, STRATEGY_SELECTIONS, [floor_ms(hour_ms, HOUR_MS)])
    return rows.sort_values("score", ascending=False, ignore_index=True)


def backtest_of_selection(row: Mapping[Any, Any], *, source: Source | None = None) -> Backtest:
    """The backtest that a selection was chosen by, trade by trade: the same window, parameters and rules.

    Args:
        row: of `selections`.

    Example:
        ```python
        chosen = research.selections().iloc[0]
        research.backtest_of_selection(chosen).plot()
        ```
    """
    return backtest(
        str(row["strategy"]),
        str(row["symbol"]),
        str(row["timeframe"]),
        end=as_of_ms(int(row["hour_ms"])),
        parameters=json.loads(str(row["parameters"])),
        source=_home(source),
    )


def chart(what: str, *, source: Source | None = None) -> ChartPage:
    """A decision of a home on its candles.

    Args:
        what: an order or a signal by its id (a unique beginning is enough), or a selection: `ETHUSDT` for that of the
            newest hour, `2026-03-02-05:00/ETHUSDT` for that of another one.

    Raises:
        DataError: there is no such order, signal or selection; or several begin so.

    Example:
        ```python
        research.chart("2026-03-02-05:00/ETHUSDT").save("eth.html")
        ```
    """
    home = _home(source)
    named = _SELECTION.fullmatch(what)
    if named is not None:
        hour, symbol = named.groups()
        chosen = _selected(home, hour, symbol.upper())
        if chosen is not None:
            found = backtest_of_selection(chosen, source=home)
            of_hour = hour_key(int(str(chosen["hour_ms"])))
            return chart_of_backtest(found, f"{found.title}, selected in the hour {of_hour}")
        if hour is not None:
            raise DataError(f"{symbol} was not selected in the hour {hour} (its format is {HOUR_KEY_FORMAT})")
    return chart_of_signal(home, tracing.find_signal(home.database, what))


def _selected(home: Home, hour: str | None, symbol: str) -> Mapping[Any, Any] | None:
    if hour is None and latest_hour_ms(home.database, STRATEGY_SELECTIONS) is None:
        return None
    rows = selections(hour, source=home)
    of_symbol = rows[rows["symbol"] == symbol].to_dict("records")
    return of_symbol[0] if of_symbol else None


def chart_of_signal(home: Home, signal_id: str) -> ChartPage:
    """A signal and what became of it, with what its strategy saw, and the explanation of each step."""
    with home.database.read() as connection:
        outcome = tracing.outcome(connection, signal_id)
    signal, closings = outcome.signal, outcome.closings
    timeframe, signal_ms = Timeframe(str(signal["timeframe"])), int(signal["signal_timestamp_ms"])
    filled = _number(signal["executed_price"])
    entry_ms = int(signal["executed_at_ms"]) if filled is not None and signal["executed_at_ms"] else signal_ms
    exit_ms = max((int(row["closed_ms"]) for row in closings), default=None)
    newest = home.newest_ms(str(signal["symbol"]), timeframe)
    end_ms = max(exit_ms or (newest if filled is not None else signal_ms), signal_ms) + AFTER * timeframe.ms
    start_ms = max(signal_ms - BEFORE * timeframe.ms, end_ms - _MOST_BARS * timeframe.ms)
    series = _series(home, signal, timeframe, floor_ms(start_ms, timeframe.ms), floor_ms(end_ms, timeframe.ms))
    if not len(series.candles):
        raise DataError(
            f"{home.name} holds no {timeframe.value} candles of {signal['symbol']} around {iso(signal_ms)}: open it "
            "with fetch=True (trading-assets chart --fetch)"
        )
    side = 1 if signal["position_type"] == "LONG" else -1
    price = filled if filled is not None else float(signal["entry_price"])
    qty = sum((row["qty"] for row in closings), Decimal(0))
    left = float(sum(row["qty"] * row["exit_price"] for row in closings) / qty) if qty else None
    risk = abs(float(signal["entry_price"]) - float(signal["stop_loss"])) * float(qty)
    pnl = float(outcome.pnl)
    told = explaining.explain(
        home.database, signal_id, explaining.Links(home.settings.ui_url), home.settings.symbols.btc
    )
    trade = ChartTrade(
        series=0,
        side=side,
        signal_ms=signal_ms,
        entry_ms=entry_ms,
        exit_ms=exit_ms if filled is not None else signal_ms,
        entry_price=price,
        exit_price=left if left is not None else (float(series.candles.close[-1]) if filled is not None else price),
        stop=float(signal["stop_loss"]),
        target=float(signal["take_profit"]),
        reason=str(closings[-1]["reason"]) if closings else ("open" if filled is not None else str(signal["status"])),
        pnl=pnl,
        r=pnl / risk if risk else None,
        fees=float(sum((row["fees"] for row in closings), Decimal(0))),
        funding=float(outcome.funding_paid),
        notes=[(step.what, step.found) for step in told.steps],
    )
    facts = [
        ("", told.title),
        ("status", str(signal["status"])),
        ("confidence", f"{float(signal['confidence']):.0f} %"),
        ("PnL", f"{pnl:+,.2f} $"),
        (signal_id, ""),
    ]
    return chart_page(f"{signal['symbol']} {iso(signal_ms)[:16].replace('T', ' ')}", facts, [series], [trade])


def _series(home: Home, signal: Mapping[str, Any], timeframe: Timeframe, start_ms: int, end_ms: int) -> ChartSeries:
    """Candles, and what the signal's strategy computes on them; candles alone where it is gone or fails."""
    symbol, name = str(signal["symbol"]), f"{signal['symbol']} {timeframe.value}"
    plain = home.reader.read(symbol, timeframe, start_ms, end_ms)
    try:
        strategy = make_strategy(str(signal["strategy"]), str(signal["parameters"]))
        data = load_strategy_data(home.reader, symbol, timeframe, strategy.needs(), start_ms, end_ms)
        with shared_indicators():
            found = strategy.signals(data).indicators
    except StrategyError:
        return ChartSeries(name, plain)
    first = int(np.searchsorted(data.candles.start_ms, start_ms))
    candles = data.candles.select(slice(first, None))
    lines: dict[str, FloatArray] = {one: values[first:] for one, values in found.items()}
    return ChartSeries(name, candles, lines)


def _number(value: Any) -> float | None:
    return None if value is None or pd.isna(value) else float(value)
