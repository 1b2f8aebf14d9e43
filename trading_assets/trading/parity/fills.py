"""Compares the filled orders of a grid or a DCA plan with those of its backtest, and gives the reason of each
difference. Pure.

A candle does not show the way of the price within it. The backtest counts what the candles prove, live what happened:
live may be filled earlier, and more often, but nowhere outside of the candles.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from trading_assets.core.candles import Candles
from trading_assets.core.timeframes import iso
from trading_assets.trading.parity.compare import SAME, SETTLE_MS, Outcome, Verdict, behind_bps


@dataclass(frozen=True)
class PlanFill:
    """An order that was filled.

    Attributes:
        key: what it was for: fills of the same key are held against each other.
        time_ms: of the first fill; in the backtest the end of the candle that shows it.
        price: on average, USDT.
        link: of live's order; `since_ms` when it was reserved.
    """

    key: str
    is_buy: bool
    time_ms: int
    price: float
    is_maker: bool
    link: str = ""
    since_ms: int = 0


@dataclass(frozen=True)
class Pair:
    """A filled order of the backtest, of live, or of both, and what is said of it."""

    expected: PlanFill | None
    live: PlanFill | None
    verdict: Verdict

    @property
    def one(self) -> PlanFill:
        found = self.live or self.expected
        assert found is not None
        return found


def compare_fills(
    live: Sequence[PlanFill],
    expected: Sequence[PlanFill],
    candles: Candles,
    tolerance_bps: float,
    why_not: Callable[[PlanFill], Verdict],
    *,
    follows: bool = False,
) -> list[Pair]:
    """Every filled order of either side once, ascending by time.

    Args:
        live, expected: ascending by time.
        candles: of the whole time.
        why_not: why live has not filled an order that the backtest has.
        follows: prices and times depend on what was filled before, so a difference has the verdict of the first one.
    """
    of_key: dict[str, list[PlanFill]] = defaultdict(list)
    for one in live:
        of_key[one.key].append(one)
    pairs = []
    for one in expected:
        found = _match(one, of_key[one.key], candles.timeframe.ms)
        pairs.append(Pair(one, found, _judge(one, found, candles, tolerance_bps) if found else why_not(one)))
    pairs += [
        Pair(None, one, _judge(None, one, candles, tolerance_bps)) for left in of_key.values() for one in left if one
    ]
    pairs.sort(key=lambda pair: pair.one.time_ms)
    return _following(pairs) if follows else pairs


def _match(expected: PlanFill, live: list[PlanFill], bar_ms: int) -> PlanFill | None:
    """Live's fill of the same candle, else the last one before it, else the next one. It is taken from `live`."""
    start_ms = expected.time_ms - bar_ms
    same = [one for one in live if start_ms <= one.time_ms <= expected.time_ms + SETTLE_MS]
    before = [one for one in live if one.time_ms < start_ms]
    found = next(iter([*same, *before[-1:], *live[:1]]), None)
    if found is not None:
        live.remove(found)
    return found


def _judge(expected: PlanFill | None, live: PlanFill, candles: Candles, tolerance_bps: float) -> Verdict:
    at = f"{live.price:g}"
    near = (candles.end_ms >= live.time_ms - SETTLE_MS) & (candles.start_ms <= live.time_ms)
    if not near.any():
        return Verdict(Outcome.FILL, f"filled at {at}, and there is no candle of it")
    low, high = float(np.min(candles.low[near])), float(np.max(candles.high[near]))
    away = 0.0 if live.is_maker else tolerance_bps / 10_000
    if not low * (1 - away - SAME) <= live.price <= high * (1 + away + SAME):
        return Verdict(Outcome.FILL, f"filled at {at}, the candle has {low:g} to {high:g}")
    if expected is None:
        if live.is_maker:
            return Verdict(Outcome.WITHIN, f"the candle reaches {at}, and does not prove it")
        return Verdict(Outcome.FILL, f"filled at {at} at the market, which the backtest does not do")
    behind, start_ms = behind_bps(live.price, expected.price, long=live.is_buy), expected.time_ms - candles.timeframe.ms
    told = f"filled at {at}, {behind:+.1f} bps behind {expected.price:g}"
    if start_ms <= live.time_ms <= expected.time_ms + SETTLE_MS:
        return Verdict(Outcome.AGREES) if abs(behind) <= tolerance_bps else Verdict(Outcome.ENTRY, told)
    apart_s = (live.time_ms - expected.time_ms) / 1000
    if live.time_ms < start_ms:
        outcome = Outcome.WITHIN if low <= expected.price <= high else Outcome.LEVELS
        return Verdict(outcome, f"{told}, {-apart_s:.0f} s before the candle that proves it")
    if live.since_ms > start_ms:
        return Verdict(Outcome.IDLE, f"{told}: its order was laid at {iso(live.since_ms)}, in or after that candle")
    between = candles.select((candles.start_ms >= start_ms) & (candles.end_ms <= live.time_ms))
    if abs(behind) <= tolerance_bps and not passes(between, live.price, is_buy=live.is_buy):
        return Verdict(Outcome.LEVELS, f"{told}: a candle passed the backtest's price, and not live's")
    return Verdict(Outcome.NOT_FILLED, f"{told}, {apart_s:.0f} s after the candle that passed its price")


def passes(candles: Candles, price: float, *, is_buy: bool) -> bool:
    """Whether a candle goes beyond the price of an order that waits."""
    return bool(np.any(candles.low < price) if is_buy else np.any(candles.high > price))


def _following(pairs: Sequence[Pair]) -> list[Pair]:
    """Differences after the first one have its verdict; a fill outside of the candles keeps its own."""
    root: Verdict | None = None
    found = []
    for pair in pairs:
        verdict = pair.verdict
        if verdict.outcome not in (Outcome.AGREES, Outcome.FILL):
            if root is not None:
                verdict = Verdict(root.outcome, f"after a difference before: {root.reason}")
            root = root or pair.verdict
        found.append(Pair(pair.expected, pair.live, verdict))
    return found
