"""What a plan's fills come to: what it holds, its average entry, its profit, from executions alone. Pure.

A plan owns its symbol. So what somebody else closes there is closed of its position, but for what he has opened before.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from decimal import Decimal
from enum import StrEnum

from trading_assets.core.models import Side
from trading_assets.trading.grid.books import Fill
from trading_assets.trading.grid.levels import ZERO

_EIGHT = Decimal("1e-8")


class Whose(StrEnum):
    """Whose an execution is."""

    OWN = "own"
    TARGET = "target"
    """of a target, ours or the exchange's"""
    VENUE = "venue"
    """of the stop, a liquidation, a settlement"""
    OTHER = "other"
    """of somebody else"""


@dataclass(frozen=True)
class Books:
    """What a plan has done.

    Attributes:
        held: what it holds now, in coins; `value` and `fees` are what was paid for it.
        profit: of what it has closed, less the fees of both sides, USD.
        fees_paid: all fees of its fills; `opened` the value of all that it has opened, USD.
        rounds: how often it was flat again.
        base: price of the first entry since it was flat; None while it is flat.
        foreign: what somebody else holds beside it, in coins, below 0 where it is short.
        hands: how many of its closings were somebody else's.
        last_closed_by: who has closed last; None: nothing was closed yet.
        closed: how much of it each fill has closed, in coins, by the place in which the fill was given.
    """

    held: Decimal = ZERO
    value: Decimal = ZERO
    fees: Decimal = ZERO
    profit: Decimal = ZERO
    fees_paid: Decimal = ZERO
    opened: Decimal = ZERO
    rounds: int = 0
    base: Decimal | None = None
    foreign: Decimal = ZERO
    hands: int = 0
    last_closed_by: Whose | None = None
    closed: Mapping[int, Decimal] = field(default_factory=dict)

    @property
    def average(self) -> Decimal | None:
        """The average entry; None while it is flat."""
        return self.value / self.held if self.held else None

    def unrealised(self, side: Side, mark: Decimal) -> Decimal:
        """What is held at a price, less the fees that were paid for it, USD."""
        return (1 if side is Side.BUY else -1) * (self.held * mark - self.value) - self.fees


def plan_books(side: Side, fills: Iterable[tuple[Whose, Fill]]) -> Books:
    """Follow fills in the order of time."""
    sign = 1 if side is Side.BUY else -1
    held, value, fees, profit, paid, opened = ZERO, ZERO, ZERO, ZERO, ZERO, ZERO
    rounds, base, foreign, hands, closed_by, closed = 0, None, ZERO, 0, None, dict[int, Decimal]()
    for place, (whose, fill) in sorted(
        enumerate(fills), key=lambda one: (one[1][1].time_ms, one[1][1].side is not side)
    ):
        if fill.side is side:
            if whose is not Whose.OWN:
                foreign += sign * fill.qty
                continue
            if not held:
                base = fill.value / fill.qty
            held, value, fees = held + fill.qty, value + fill.value, fees + fill.fee
            paid, opened = paid + fill.fee, opened + fill.value
            continue
        beside = min(max(sign * foreign, ZERO), fill.qty) if whose is Whose.OTHER else ZERO
        part = min(fill.qty - beside, held)
        foreign -= sign * (fill.qty - part)
        if not part:
            continue
        is_all, is_whole = part == held, part == fill.qty
        part_value = value if is_all else (value * part / held).quantize(_EIGHT)
        part_fees = fees if is_all else (fees * part / held).quantize(_EIGHT)
        got = fill.value if is_whole else (fill.value * part / fill.qty).quantize(_EIGHT)
        fee = fill.fee if is_whole else (fill.fee * part / fill.qty).quantize(_EIGHT)
        profit += sign * (got - part_value) - part_fees - fee
        held, value, fees, paid = held - part, value - part_value, fees - part_fees, paid + fee
        hands += whose is Whose.OTHER
        closed_by, closed[place] = whose, part
        if is_all:
            rounds, base = rounds + 1, None
    return Books(held, value, fees, profit, paid, opened, rounds, base, foreign, hands, closed_by, closed)
