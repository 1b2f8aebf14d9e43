"""When an account must be liquidated, and at which price a position is then taken over. No state is changed here."""

from __future__ import annotations

from dataclasses import dataclass
from decimal import ROUND_CEILING, ROUND_FLOOR, Decimal

from trading_assets.core.timeframes import MINUTE_MS, floor_ms
from trading_assets.simulator.account.margin import (
    AccountFigures,
    PositionFigures,
    account_figures,
    tier_of,
    tiers,
    total,
)
from trading_assets.simulator.account.margin import valued_account as at_marks
from trading_assets.simulator.account.models import TAKER_FEE
from trading_assets.simulator.account.pricing import on_tick
from trading_assets.simulator.account.state import AccountState
from trading_assets.simulator.account.triggers import SAMPLE_MS
from trading_assets.simulator.market.base import HIGH, LOW, Market

CHUNK_MS = 720 * MINUTE_MS
"""Searched at once: half a day. Where the worst prices of a stretch do no harm, nothing in it is looked at."""

MARK_AWAY = 0.05
"""The mark price of a moment lies within so much of the last prices around it."""


@dataclass(frozen=True)
class _Search:
    sequence: int
    through_ms: int
    found_ms: int | None


class LiquidationWatch:
    """Finds the next moment of liquidation, on a grid of `SAMPLE_MS`; it remembers what was searched."""

    def __init__(self, market: Market) -> None:
        self._market = market
        self._known: _Search | None = None

    def next_ms(self, state: AccountState, through_ms: int) -> int | None:
        """The first moment in (settled, through_ms] at which the account must be liquidated, or None."""
        known, after = self._known, state.header.settled_ms
        if floor_ms(after, SAMPLE_MS) + SAMPLE_MS > through_ms or not state.open_positions():
            return None
        if known is not None and known.sequence == state.header.sequence:
            if known.found_ms is not None and known.found_ms > after:
                return known.found_ms if known.found_ms <= through_ms else None
            if known.through_ms >= through_ms:
                return None
            after = max(after, known.through_ms)
        found = None
        while after < through_ms and found is None:
            end = min(after + CHUNK_MS, through_ms)
            found = self._within(state, after, end)
            after = end
        self._known = _Search(state.header.sequence, through_ms, found)
        return found

    def _within(self, state: AccountState, after_ms: int, through_ms: int) -> int | None:
        """By halves: a stretch that is harmless at its worst prices is left out."""
        if self._harmless(state, after_ms, through_ms):
            return None
        if through_ms - after_ms <= 4 * MINUTE_MS:
            first = floor_ms(after_ms, SAMPLE_MS) + SAMPLE_MS
            return next(
                (
                    moment
                    for moment in range(first, through_ms + 1, SAMPLE_MS)
                    if account_figures(state, self._market, moment).must_be_liquidated
                ),
                None,
            )
        middle = floor_ms((after_ms + through_ms) // 2, SAMPLE_MS)
        early = self._within(state, after_ms, middle)
        return early if early is not None else self._within(state, middle, through_ms)

    def _harmless(self, state: AccountState, after_ms: int, through_ms: int) -> bool:
        start, end = floor_ms(after_ms, MINUTE_MS), floor_ms(through_ms, MINUTE_MS) + MINUTE_MS
        lows: dict[str, Decimal] = {}
        highs: dict[str, Decimal] = {}
        for position in state.open_positions():
            contract = self._market.contracts[position.symbol]
            bars = self._market.bars(position.symbol, "1", start, end, end)
            if not len(bars):
                return False
            lows[position.symbol] = on_tick(contract, float(bars[:, LOW].min()) * (1 - MARK_AWAY))
            highs[position.symbol] = on_tick(contract, float(bars[:, HIGH].max()) * (1 + MARK_AWAY))
        if any(price <= 0 for price in lows.values()):
            return False
        at_lows, at_highs = at_marks(state, self._market, lows), at_marks(state, self._market, highs)
        pairs = [
            (low if low.position.size > 0 else high, high)
            for low, high in zip(at_lows.positions, at_highs.positions, strict=True)
        ]
        if at_lows.isolated:
            return all(worst.isolated_equity > high.maintenance_margin for worst, high in pairs)
        return at_lows.wallet + total(worst.unrealised for worst, _ in pairs) > at_highs.maintenance_margin


def taken_over(account: AccountFigures) -> tuple[PositionFigures, Decimal, Decimal]:
    """What is liquidated first: the position of the largest maintenance margin, how much of it, at which price.

    A position above the lowest risk tier is brought down by one tier, else it is taken over whole. The price leaves
    the account with nothing of the margin that the position stood for: its share of the margin balance, isolated its
    own margin.
    """
    item = max(account.uncovered, key=lambda one: (one.maintenance_margin, one.position.key))
    size = abs(item.position.size)
    qty = size
    ladder = tiers(item.contract)
    tier = tier_of(item.contract, item.value) or ladder[-1]
    if tier.id > 1:
        kept = ladder[tier.id - 2].limit / item.mark
        step = item.contract.qty_step
        qty = min(size, max(size - (kept / step).to_integral_value(ROUND_FLOOR) * step, step))
    share = account.margin_balance * item.maintenance_margin / account.maintenance_margin
    lost = (item.isolated_equity if account.isolated else share) * qty / size
    value = qty * item.mark
    tick = item.contract.tick_size
    if item.position.size > 0:
        price = ((value - lost) / (qty * (1 - TAKER_FEE)) / tick).to_integral_value(ROUND_CEILING) * tick
    else:
        price = ((value + lost) / (qty * (1 + TAKER_FEE)) / tick).to_integral_value(ROUND_FLOOR) * tick
    return item, qty, max(price, tick)
