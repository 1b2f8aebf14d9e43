"""The rules of `backtesting.engine` as a loop that reads like them: what every engine must equal. Slow on purpose."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from trading_assets.backtesting.engine import Column, Costs, Trades

LONG, SHORT = 1, -1


@dataclass
class _Open:
    bar: int
    direction: int
    size: float
    price: float
    stop: float
    target: float


def simulate(column: Column, costs: Costs) -> Trades:
    """Trades of one column, bar by bar."""
    candles = column.candles
    position: _Open | None = None
    rows: list[tuple[float, ...]] = []
    for bar in range(len(candles)):
        if position is not None:
            touched = _exit(position, candles.open[bar], candles.high[bar], candles.low[bar])
            if touched is not None:
                price = touched * (1 - position.direction * costs.slippage)
                rows.append(_row(column, costs, position, bar, price, closed=True))
                position = None
            continue  # held, or an exit on this bar: in both cases no entry
        direction = LONG if column.long[bar] else SHORT if column.short[bar] else 0
        if direction:
            close = candles.close[bar]
            price = close * (1 + direction * costs.slippage)
            distance = close * column.stop_fraction[bar]
            position = _Open(
                bar,
                direction,
                costs.notional / close,
                price,
                close - direction * distance,
                close + direction * distance * column.reward_risk,
            )
    if position is not None:
        last = len(candles) - 1
        rows.append(_row(column, costs, position, last, candles.close[last], closed=False))
    return _trades(rows)


def _exit(position: _Open, opened: float, high: float, low: float) -> float | None:
    """The price before slippage at which the bar ends the position: the stop first, at the open if it gaps."""
    if position.direction == LONG:
        if low <= position.stop:
            return min(opened, position.stop)
        return max(opened, position.target) if high >= position.target else None
    if high >= position.stop:
        return max(opened, position.stop)
    return min(opened, position.target) if low <= position.target else None


def _row(column: Column, costs: Costs, position: _Open, bar: int, price: float, *, closed: bool) -> tuple[float, ...]:
    candles, funding = column.candles, column.funding
    begins = candles.end_ms[position.bar]
    ends = candles.start_ms[bar] if closed else candles.end_ms[bar]
    paid = 0.0
    for time_ms, rate in zip(funding.time_ms, funding.rate, strict=True):
        if begins < time_ms <= ends:
            known = [close for close, end in zip(candles.close, candles.end_ms, strict=True) if end <= time_ms]
            paid += position.direction * position.size * known[-1] * rate
    fees = costs.fee * position.size * (position.price + (price if closed else 0.0))
    pnl = position.direction * position.size * (price - position.price) - fees - paid
    confidence = column.confidence[position.bar]
    return (
        position.bar,
        bar,
        position.direction,
        position.size,
        position.price,
        price,
        fees,
        paid,
        pnl,
        confidence,
        closed,
    )


def _trades(rows: list[tuple[float, ...]]) -> Trades:
    columns = np.array(rows, dtype=np.float64).reshape(len(rows), 11).T
    whole = [column.astype(np.int64) for column in columns[:3]]
    return Trades(whole[0], whole[1], whole[2], *columns[3:10], columns[10].astype(bool))
