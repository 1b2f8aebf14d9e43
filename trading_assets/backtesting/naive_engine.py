"""A slow engine that reads like the table in docs/engine.md, for every kind of exit. It shares no code with the kernel.

It is the reference where vectorbt cannot represent a kind of exit, and tells the reason of each end.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from trading_assets.backtesting.engine import Column, Costs, PartFills, Trades, no_trades
from trading_assets.backtesting.liquidity import slippage_by_bar
from trading_assets.core.exits import ExitReason, Standing
from trading_assets.core.models import EntryOrder


class NaiveEngine:
    """See `Engine`. Columns are simulated bar by bar."""

    def simulate(self, columns: Sequence[Column], costs: Costs) -> list[Trades]:
        """See `Engine.simulate`."""
        return [_trades(column, costs) for column in columns]


@dataclass
class _Fill:
    bar: int
    share: float
    price: float


@dataclass
class _Position:
    """A position; `stop` and `target` are prices, `waiting` its targets with a part, as (price, share).

    `signal` and `entry` are bar and close of its signal; it was entered in `bar`, which it holds to its end where it
    was not entered at its close.
    """

    bar: int
    sign: int
    entry: float
    price: float
    size: float
    fee: float
    signal: int
    stop: float
    target: float
    waiting: list[tuple[float, float]]
    at_close: bool = True
    left: float = 1.0
    fills: list[_Fill] = field(default_factory=list)
    reason: ExitReason = ExitReason.OPEN


@dataclass
class _Order:
    """An entry that waits, from the bar after its signal's to the one that closes at `until_ms`."""

    signal: int
    sign: int
    price: float
    until_ms: int


def _trades(column: Column, costs: Costs) -> Trades:
    long, short = column.entries(costs)
    if not (long.any() or short.any()):
        return no_trades()
    candles, slips = column.candles, slippage_by_bar(column.candles, costs)
    slip_of = slips.tolist() if len(slips) else [costs.slippage] * len(candles)
    done: list[_Position] = []
    position: _Position | None = None
    order: _Order | None = None

    def enter(made: _Position | None) -> None:
        nonlocal position
        if made is not None:
            position = made
            done.append(made)

    for bar in range(len(candles)):
        if order is not None and candles.end_ms[bar] > order.until_ms:  # its end fell into missing bars
            enter(_at_its_end(column, costs, order, bar - 1, slip_of[bar - 1]))
            order = None
        is_free = position is None and order is None
        if order is not None:
            refused = _is_refused(column, costs, order, bar)
            found = None if refused else _wait(column, costs, order, bar, slip_of[bar])
            if found is not None or refused:
                enter(found)
                order, is_free = None, refused
            elif candles.end_ms[bar] == order.until_ms:
                enter(_at_its_end(column, costs, order, bar, slip_of[bar]))
                order = None
                continue
        if position is not None:
            _pass_bar(column, costs, position, bar, slip_of[bar])
            if position.reason is not ExitReason.OPEN:
                position = None
        elif is_free and (long[bar] or short[bar]):
            sign = 1 if long[bar] else -1
            if costs.entry is None:
                price = float(candles.close[bar]) * (1 + sign * slip_of[bar])
                enter(_position(column, bar, sign, bar, price, costs.notional / float(candles.close[bar]), costs.fee))
            else:
                waits_at = float(candles.close[bar]) * (1 - sign * costs.entry.offset)
                life = costs.entry.bars * candles.timeframe.ms
                order = _Order(bar, sign, waits_at, int(candles.end_ms[bar]) + life)
    return _booked(column, costs, done)


def _is_refused(column: Column, costs: Costs, order: _Order, bar: int) -> bool:
    """Whether an order that must not take liquidity would, as it arrives."""
    assert costs.entry is not None
    return costs.entry.kind is EntryOrder.POST_ONLY and _would_take(column, order, bar)


def _would_take(column: Column, order: _Order, bar: int) -> bool:
    candles = column.candles
    arrives = int(candles.start_ms[bar]) == int(candles.end_ms[order.signal])
    return arrives and _is_through(float(candles.open[bar]), order.price, order.sign)


def _is_through(price: float, level: float, sign: int) -> bool:
    """Whether a price is beyond that of an entry that waits, and by more than its last digits."""
    return sign * (level - price) > 1e-9 * level


def _wait(column: Column, costs: Costs, order: _Order, bar: int, slip: float) -> _Position | None:
    """The position that a bar makes of an order that waits."""
    assert costs.entry is not None
    candles, sign = column.candles, order.sign
    size = costs.notional / order.price
    opened = float(candles.open[bar])
    if _would_take(column, order, bar):
        price = opened * (1 + sign * slip)
        price = min(price, order.price) if sign > 0 else max(price, order.price)
        taken = _position(column, order.signal, sign, bar, price, size, costs.fee)
        taken.at_close = False
        return taken
    if not _is_through(float(candles.low[bar] if sign > 0 else candles.high[bar]), order.price, sign):
        return None
    made = _position(column, order.signal, sign, bar, order.price, size, costs.entry.fee)
    made.at_close = False
    return made


def _at_its_end(column: Column, costs: Costs, order: _Order, bar: int, slip: float) -> _Position | None:
    """A chase takes what the market gives at the close of its last bar, up to its farthest price."""
    assert costs.entry is not None
    close, signal_close = float(column.candles.close[bar]), float(column.candles.close[order.signal])
    farthest = signal_close * (1 + order.sign * costs.entry.deviation)
    if costs.entry.kind is not EntryOrder.CHASE or order.sign * close > order.sign * farthest:
        return None
    price = close * (1 + order.sign * slip)
    price = min(price, farthest) if order.sign > 0 else max(price, farthest)
    return _position(column, order.signal, order.sign, bar, price, costs.notional / order.price, costs.fee)


def _position(
    column: Column, signal: int, sign: int, bar: int, price: float, size: float, fee_rate: float
) -> _Position:
    close = float(column.candles.close[signal])
    distance = close * float(column.stop_fraction[signal])
    return _Position(
        bar=bar,
        sign=sign,
        entry=close,
        price=price,
        size=size,
        fee=size * price * fee_rate,
        signal=signal,
        stop=close - sign * distance,
        target=close + sign * distance * column.reward_risk,
        waiting=[(close + sign * distance * away, share) for away, share in column.exits.parts],
    )


def _pass_bar(column: Column, costs: Costs, held: _Position, bar: int, slip: float) -> None:
    """What a bar does to a position: one after the entry's, or the entry's own where it came before its close."""
    candles, sign, plan = column.candles, held.sign, column.exits
    opened, close = float(candles.open[bar]), float(candles.close[bar])
    worst, best = float(candles.low[bar]), float(candles.high[bar])
    if sign < 0:
        worst, best = best, worst
    if bar == held.bar and costs.entry is not None:
        waited_at = held.entry * (1 - sign * costs.entry.offset)
        if not _is_through(opened, waited_at, sign):
            # It was filled on the way: the best price may have come before, the close has not. What it touched since,
            # it touched from there.
            opened, best = waited_at, close

    def beyond(price: float, level: float) -> bool:
        """Whether a price is at a level or better than it."""
        return sign * price >= sign * level

    def leave(reason: ExitReason, price: float, slips: float = slip) -> None:
        held.fills.append(_Fill(bar, held.left, price * (1 - sign * slips)))
        held.left, held.reason = 0.0, reason

    # 1. The stop takes everything, at the open where the bar opens beyond it.
    if not beyond(worst, held.stop) or worst == held.stop:
        price = held.stop if beyond(opened, held.stop) else opened
        overshoot = costs.stop_overshoot * abs(price - worst) / price if costs.liquidity else 0.0
        return leave(ExitReason.STOP, price, slip + overshoot)
    # 2. Targets with a part, the nearest first, as long as they stand before the last one; then that.
    while held.waiting and beyond(best, held.waiting[0][0]) and not beyond(held.waiting[0][0], held.target):
        level, share = held.waiting.pop(0)
        price = opened if beyond(opened, level) else level
        held.fills.append(_Fill(bar, share, price * (1 - sign * slip)))
        held.left -= share
    if beyond(best, held.target):
        return leave(ExitReason.TARGET, opened if beyond(opened, held.target) else held.target)
    # 3. At the close, as live asks too: an exit signal, the time, and what moves from the next bar on.
    signal = column.exit_long if sign > 0 else column.exit_short
    age = int(candles.start_ms[bar] - candles.start_ms[held.signal]) // candles.timeframe.ms
    left = signal is not None and bool(signal[bar])
    after = plan.after_close(held.entry, sign, close, age, Standing(held.stop, held.target), left=left)
    if after.reason is not ExitReason.OPEN:
        return leave(after.reason, close)
    held.stop, held.target = after.standing
    return None


def _booked(column: Column, costs: Costs, positions: list[_Position]) -> Trades:
    candles, last = column.candles, len(column.candles) - 1
    rows: list[tuple[float, ...]] = []
    parts: list[tuple[int, int, float, float]] = []
    for index, held in enumerate(positions):
        closed = held.reason is not ExitReason.OPEN
        size = held.size
        ends = held.fills if closed else [*held.fills, _Fill(last, held.left, float(candles.close[last]))]
        sold = held.fills if closed else ends[:-1]
        fees = held.fee + costs.fee * size * sum(fill.share * fill.price for fill in sold)
        funding = sum(_funding(column, held, size * fill.share, fill.bar, closed=fill in sold) for fill in ends)
        mean = sum(fill.share * fill.price for fill in ends)
        pnl = held.sign * size * (mean - held.price) - fees - funding
        told = (held.bar, ends[-1].bar, held.sign, size, held.price, mean, fees, funding, pnl, closed, held.reason)
        rows.append((*told, held.signal, held.fee))
        taken = held.fills[:-1] if closed else held.fills
        parts += [(index, fill.bar, fill.share, fill.price) for fill in taken]
    values = np.array(rows, dtype=np.float64).reshape(len(rows), 13).T
    entry, exit_, direction = (one.astype(np.int64) for one in values[:3])
    signal = values[11].astype(np.int64)
    of_parts = np.array(parts, dtype=np.float64).reshape(len(parts), 4).T
    return Trades(
        entry=entry,
        exit=exit_,
        direction=direction,
        size=values[3],
        entry_price=values[4],
        exit_price=values[5],
        fees=values[6],
        funding=values[7],
        pnl=values[8],
        confidence=column.confidence[signal],
        closed=values[9].astype(bool),
        reason=values[10].astype(np.int64),
        parts=PartFills(of_parts[0].astype(np.int64), of_parts[1].astype(np.int64), of_parts[2], of_parts[3])
        if column.exits.parts
        else None,
        signal=None if costs.entry is None else signal,
        entry_fee=None if costs.entry is None else values[12],
    )


def _funding(column: Column, held: _Position, size: float, bar: int, *, closed: bool) -> float:
    """Funding that a part of a position pays until its fill's bar opens, or to the end of that bar where it is open."""
    candles, paid = column.candles, 0.0
    # Of the bar in which it was filled on the way it pays what falls due at its end.
    begins = int(candles.end_ms[held.bar] if held.at_close else candles.start_ms[held.bar])
    ends = int(candles.start_ms[bar] if closed else candles.end_ms[bar])
    for time_ms, rate in zip(column.funding.time_ms.tolist(), column.funding.rate.tolist(), strict=True):
        if begins < time_ms <= ends:
            known = int(np.searchsorted(candles.end_ms, time_ms, side="right")) - 1
            paid += held.sign * size * float(candles.close[known]) * rate
    return paid
