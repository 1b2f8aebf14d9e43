"""What a backtest engine receives and returns, and the rules that every engine obeys. No simulation here.

Rules: an entry fills at the close of its signal bar, with slippage; its stop and target are measured from that close,
the price of the signal, whatever the fill; they work from the next bar; the stop counts before the target inside one
bar, even where the bar opened beyond the target; a bar that opens beyond a stop or target fills at the open; slippage
and taker fee on both fills; one order per bar, so no entry on the bar of an exit; a signal while a position is open is
ignored; an entry whose stop is as far as the liquidation is none, and so is one whose quantity would lie below the
coin's smallest; every trade has the size `notional` / close of its signal bar. A trade still open at the end is marked
at the last close and is not closed. A missing bar is no bar: what it would have touched is seen at the open of the next
one.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Protocol

import numpy as np

from trading_assets.core.candles import BoolArray, Candles, FloatArray, Funding, IntArray


@dataclass(frozen=True)
class Costs:
    """Costs of a fill and the size of a trade.

    Attributes:
        fee, slippage: fractions of price.
        notional: USD.
        liquidation: distance at which a position is taken away, a fraction of price.
        liquidity: slippage is that of the fill's bar (`liquidity.slippage_by_bar`), not the same everywhere.
        stop_overshoot: with `liquidity`, a stop slips besides by this part of the way to the worst price of its bar.
    """

    fee: float
    slippage: float
    notional: float
    liquidation: float = math.inf
    liquidity: bool = False
    stop_overshoot: float = 0.0

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
    """

    candles: Candles
    long: BoolArray
    short: BoolArray
    stop_fraction: FloatArray
    reward_risk: float
    confidence: FloatArray
    funding: Funding
    max_price: float = math.inf

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
    ) -> Column:
        """A column that decides once: at the bar that closes at `close_ms`, with confidence 100."""
        first = candles.end_ms == close_ms
        return cls(
            candles=candles,
            long=first & long,
            short=first & (not long),
            stop_fraction=np.full(len(candles), stop_fraction),
            reward_risk=reward_risk,
            confidence=np.full(len(candles), 100.0),
            funding=funding,
        )

    def entries(self, costs: Costs) -> tuple[BoolArray, BoolArray]:
        """Long and short entries that can be ordered, with a stop that comes before the liquidation."""
        possible = (self.stop_fraction < costs.liquidation) & (self.candles.close <= self.max_price)
        return self.long & possible, self.short & possible


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

    def __len__(self) -> int:
        return len(self.entry)


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
