"""What a backtest engine receives and returns, and the rules that every engine obeys. No simulation here.

Rules: an entry fills at the close of its signal bar, with slippage; its stop and target are measured from that close,
the price of the signal, whatever the fill; they work from the next bar; the stop counts before the target inside one
bar, even where the bar opened beyond the target; a bar that opens beyond a stop or target fills at the open; slippage
and taker fee on both fills; one order per bar, so no entry on the bar of an exit; a signal while a position is open is
ignored; an entry whose stop is as far as the liquidation is none, and so is one whose quantity would lie below the
coin's smallest; every trade has the size `notional` / close of its signal bar. A trade still open at the end is marked
at the last close and is not closed. A missing bar is no bar: what it would have touched is seen at the open of the next
one.

Exits besides stop and target (`core.exits`) are decided at closes. Within a bar the stop counts first, then the targets
from the nearest on; at its close an exit signal, then the end of the time, then what the close moves: docs/engine.md
has the table. A bar with an entry and an exit of one side is no entry.

An entry may wait at a price instead (`LimitEntry`): only a price beyond it fills it, at its price.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Protocol

import numpy as np

from trading_assets.core.candles import BoolArray, Candles, FloatArray, Funding, IntArray
from trading_assets.core.exits import NO_PLAN, ExitPlan
from trading_assets.core.models import EntryOrder


@dataclass(frozen=True)
class LimitEntry:
    """An entry that waits at a price, as live sends it: docs/engine.md has its rules.

    Attributes:
        kind: any `EntryOrder` but `MARKET`.
        offset: below the signal's close for a long entry, above it for a short one, a fraction of it.
        bars: so many it waits; counted by time, so a missing bar counts.
        fee: of a fill that was waited for (the maker's), a fraction of price.
        deviation: how far from the signal's close a `CHASE` follows the market, a fraction of it.
    """

    kind: EntryOrder
    offset: float
    bars: int
    fee: float
    deviation: float

    @property
    def numbers(self) -> tuple[float, ...]:
        """What the compiled loops read; of the kind its number there."""
        return float(_KINDS.index(self.kind)), self.offset, float(self.bars), self.fee, self.deviation


_KINDS = (EntryOrder.LIMIT, EntryOrder.POST_ONLY, EntryOrder.CHASE)


@dataclass(frozen=True)
class Costs:
    """Costs of a fill, the size of a trade, and how it is entered.

    Attributes:
        fee, slippage: fractions of price.
        notional: USD.
        liquidation: distance at which a position is taken away, a fraction of price.
        liquidity: slippage is that of the fill's bar (`liquidity.slippage_by_bar`), not the same everywhere.
        stop_overshoot: with `liquidity`, a stop slips besides by this part of the way to the worst price of its bar.
        entry: where an entry waits; None where it fills at the close of its signal's bar.
    """

    fee: float
    slippage: float
    notional: float
    liquidation: float = math.inf
    liquidity: bool = False
    stop_overshoot: float = 0.0
    entry: LimitEntry | None = None

    def under(self, model: str) -> Costs:
        """The same under one of `COST_MODELS`."""
        liquidity, overshoot = COST_MODELS[model]
        return replace(self, liquidity=liquidity, stop_overshoot=overshoot)


FLAT, LIQUIDITY, STRESS = "flat", "liquidity", "stress"

COST_MODELS: Mapping[str, tuple[bool, float]] = {FLAT: (False, 0.0), LIQUIDITY: (True, 0.0), STRESS: (True, 0.5)}
"""By name `liquidity` and `stop_overshoot`: the same slippage everywhere; by the liquidity of the bar; and besides each
stop filled halfway between its level and the worst price of its bar, which costs most in violent bars."""


@dataclass(frozen=True)
class Column:
    """One backtest: candles of the window and the decisions at each close, all of shape (n,).

    Attributes:
        stop_fraction: distance of the stop as a fraction of the close, where there is an entry.
        reward_risk: the target stands so many stop distances away.
        confidence: percent, where there is an entry.
        funding: payments of the symbol; those outside the window are ignored.
        max_price: the highest close at which an order of a live position's size is accepted, USDT.
        exit_long, exit_short: an open position of that side is closed at this close; None where none ever is so.
        exits: what else ends a position.
    """

    candles: Candles
    long: BoolArray
    short: BoolArray
    stop_fraction: FloatArray
    reward_risk: float
    confidence: FloatArray
    funding: Funding
    max_price: float = math.inf
    exit_long: BoolArray | None = None
    exit_short: BoolArray | None = None
    exits: ExitPlan = NO_PLAN

    @property
    def has_exits(self) -> bool:
        """Whether anything but stop and target may end a trade."""
        return self.exit_long is not None or self.exit_short is not None or bool(self.exits)

    @classmethod
    def from_entry(
        cls,
        candles: Candles,
        close_ms: int,
        *,
        long: bool,
        stop_fraction: float,
        reward_risk: float,
        funding: Funding,
        exit_long: BoolArray | None = None,
        exit_short: BoolArray | None = None,
        exits: ExitPlan = NO_PLAN,
    ) -> Column:
        """A column that decides once: at the bar that closes at `close_ms`, with confidence 100.

        Exit conditions of shape (n,) count after that bar.
        """
        first = candles.end_ms == close_ms
        return cls(
            candles=candles,
            long=first & long,
            short=first & (not long),
            stop_fraction=np.full(len(candles), stop_fraction),
            reward_risk=reward_risk,
            confidence=np.full(len(candles), 100.0),
            funding=funding,
            exit_long=None if exit_long is None else exit_long & ~first,
            exit_short=None if exit_short is None else exit_short & ~first,
            exits=exits,
        )

    def entries(self, costs: Costs) -> tuple[BoolArray, BoolArray]:
        """Long and short entries that can be ordered, with a stop that comes before the liquidation."""
        possible = self.stop_fraction < costs.liquidation
        close = self.candles.close
        if costs.entry is None:
            possible &= close <= self.max_price
            long, short = self.long & possible, self.short & possible
        else:
            away = costs.entry.offset
            possible &= away < self.stop_fraction
            long = self.long & possible & (close * (1 - away) <= self.max_price)
            short = self.short & possible & (close * (1 + away) <= self.max_price)
        return (
            long if self.exit_long is None else long & ~self.exit_long,
            short if self.exit_short is None else short & ~self.exit_short,
        )


@dataclass(frozen=True)
class PartFills:
    """Targets that took a part of a trade before its end, arrays of shape (p,), by trade and in time.

    Attributes:
        trade: index of the trade.
        bar: of the fill.
        share: of the trade's size.
        price: of the fill.
    """

    trade: IntArray
    bar: IntArray
    share: FloatArray
    price: FloatArray


@dataclass(frozen=True)
class Trades:
    """Trades of one column in order of entry, arrays of shape (k,).

    Attributes:
        entry, exit: indices of bars; the last bar where a trade is still open.
        direction: 1 long, -1 short.
        size: base coin.
        fees: USD, of both fills (of the entry alone while open).
        funding: USD paid, negative is received.
        pnl: USD, net of fees and funding.
        closed: False for a trade still open at the end.
        reason: `ExitReason` of each; None from an engine that does not tell.
        parts: what targets took before the end: `exit` is then the bar of the last fill, `exit_price` the mean of all
            fills, and of what is left marked at the last close where the trade is open.
        signal: bar of the signal where an entry waited for its fill; None where the two are one bar.
        entry_fee: USD, of the entry alone; None where it has the rate of the exit's.
    """

    entry: IntArray
    exit: IntArray
    direction: IntArray
    size: FloatArray
    entry_price: FloatArray
    exit_price: FloatArray
    fees: FloatArray
    funding: FloatArray
    pnl: FloatArray
    confidence: FloatArray
    closed: BoolArray
    reason: IntArray | None = None
    parts: PartFills | None = None
    signal: IntArray | None = None
    entry_fee: FloatArray | None = None

    def __len__(self) -> int:
        return len(self.entry)


def takes_at_once(candles: Candles, bar: int, sign: int, costs: Costs) -> bool:
    """Whether an entry that waits from the close of a bar on comes to a market that is beyond its price already."""
    if costs.entry is None or bar + 1 >= len(candles) or candles.start_ms[bar + 1] != candles.end_ms[bar]:
        return False
    level = float(candles.close[bar]) * (1 - sign * costs.entry.offset)
    return sign * (level - float(candles.open[bar + 1])) > 1e-9 * level


def risked(column: Column, trades: Trades, costs: Costs) -> FloatArray:
    """What each trade loses at its stop before costs, a fraction of `Costs.notional`, shape (k,)."""
    if costs.entry is None or trades.signal is None:
        return column.stop_fraction[trades.entry]
    close, sign = column.candles.close[trades.signal], trades.direction
    level = close * (1 - sign * costs.entry.offset)
    stop = close * (1 - sign * column.stop_fraction[trades.signal])
    # One that took a better price than it asked for risks what it asked for.
    return (np.maximum(sign * trades.entry_price, sign * level) - sign * stop) / level


class Engine(Protocol):
    """A simulator. Two engines given the same columns return the same trades."""

    def simulate(self, columns: Sequence[Column], costs: Costs) -> list[Trades]:
        """Trades of each column."""
        ...


def no_trades() -> Trades:
    """The trades of a column that has none."""
    whole, real = np.empty(0, dtype=np.int64), np.empty(0)
    return Trades(whole, whole, whole, real, real, real, real, real, real, real, np.empty(0, dtype=bool))


def funding_paid(
    candles: Candles,
    funding: Funding,
    entry: IntArray,
    exit_: IntArray,
    direction: IntArray,
    size: FloatArray,
    closed: BoolArray,
) -> FloatArray:
    """Funding of each trade in USD, paid by it if positive.

    A trade pays at funding times after the close of its entry bar and up to the open of its exit bar: a payment inside
    the exit bar may come before or after the exit, so it is not counted. A trade still open pays up to the last close.
    The price of a payment is the last close at or before it.
    """
    if not len(funding) or not len(entry):
        return np.zeros(len(entry))
    last = np.searchsorted(candles.end_ms, funding.time_ms, side="right") - 1
    per_unit = np.where(last >= 0, funding.rate * candles.close[np.maximum(last, 0)], 0.0)
    cumulative = np.concatenate([[0.0], np.cumsum(per_unit)])
    held_until = np.where(closed, candles.start_ms[exit_], candles.end_ms[exit_])
    after = np.searchsorted(funding.time_ms, candles.end_ms[entry], side="right")
    until = np.searchsorted(funding.time_ms, held_until, side="right")
    return direction * size * (cumulative[np.maximum(until, after)] - cumulative[after])
