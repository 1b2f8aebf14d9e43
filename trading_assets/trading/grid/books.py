"""What a grid's fills come to: inventory and profit of each level and of the whole, from executions alone. Pure.

The profit of a level is what its matched pairs have earned, less the fees of both sides. What is open has a value at
the market, apart from it. Both together are the change of the account's money by the grid, exactly.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from decimal import Decimal

from trading_assets.core.models import Side
from trading_assets.trading.grid.levels import ZERO, GridError

_EIGHT = Decimal("1e-8")


@dataclass(frozen=True)
class Fill:
    """A part of an order that was filled. `fee` above 0 was paid."""

    side: Side
    qty: Decimal
    value: Decimal
    fee: Decimal
    time_ms: int

    @property
    def signed_qty(self) -> Decimal:
        return self.qty if self.side is Side.BUY else -self.qty

    @property
    def cash(self) -> Decimal:
        """What it has brought, USD; below 0 where it was paid."""
        return (self.value if self.side is Side.SELL else -self.value) - self.fee

    def part(self, qty: Decimal) -> Fill:
        """So much of it, with its share of value and fee."""
        if qty == self.qty:
            return self
        value, fee = ((one * qty / self.qty).quantize(_EIGHT) for one in (self.value, self.fee))
        return replace(self, qty=qty, value=value, fee=fee)

    def less(self, part: Fill) -> Fill:
        """What is left of it without a part."""
        return replace(self, qty=self.qty - part.qty, value=self.value - part.value, fee=self.fee - part.fee)


@dataclass
class Whole:
    """Follows what a grid holds as a whole, and what others trade beside it, in the order of time.

    One-way mode nets both. So what others sell of a long position closes first what they have added, then of what the
    grid holds; what they buy then gives that back first.

    Attributes:
        inventory: what the grid's own fills come to, in coins, below 0 where it is short.
        beside: what others hold beside it, in coins, below 0 where it is short.
        hands: what others have closed of what the grid holds, and have not given back: parts of their fills.
    """

    inventory: Decimal = ZERO
    beside: Decimal = ZERO
    hands: list[Fill] = field(default_factory=list)

    @property
    def closed(self) -> Decimal:
        """The quantity of `hands`."""
        return sum((one.qty for one in self.hands), ZERO)

    @property
    def foreign(self) -> Decimal:
        """What others have traded, in coins."""
        return self.beside + sum((one.signed_qty for one in self.hands), ZERO)

    def own(self, fill: Fill) -> None:
        """A fill of the grid's own."""
        inventory = self.inventory + fill.signed_qty
        left = abs(inventory) if inventory * self.inventory > 0 else ZERO
        self.inventory = inventory
        self.beside += self._take_off(max(self.closed - left, ZERO))

    def exit(self, fill: Fill) -> Fill:
        """An order that closes the position as a whole: the grid's is what it holds, the rest is of others. Return its
        part."""
        closes = fill.signed_qty * self.inventory < 0
        part = fill.part(min(fill.qty, abs(self.inventory) - self.closed) if closes else ZERO)
        self.own(part)
        self.other(fill.less(part))
        return part

    def other(self, fill: Fill) -> None:
        """A fill of somebody else."""
        if fill.signed_qty * self.beside < 0:
            of_beside = fill.part(min(fill.qty, abs(self.beside)))
            self.beside += of_beside.signed_qty
            fill = fill.less(of_beside)
        if fill.signed_qty * self.inventory < 0:
            part = fill.part(min(fill.qty, abs(self.inventory) - self.closed))
            if part.qty:
                self.hands.append(part)
        else:
            part = fill.part(min(fill.qty, self.closed))
            self._take_off(part.qty)
        if fill.qty > part.qty:
            self.beside += fill.less(part).signed_qty

    def _take_off(self, qty: Decimal) -> Decimal:
        """Take so much off `hands`, the newest first. Return it as it was traded, in coins."""
        taken = ZERO
        while qty > 0:
            last = self.hands.pop()
            part = last.part(min(qty, last.qty))
            if part.qty < last.qty:
                self.hands.append(last.less(part))
            qty, taken = qty - part.qty, taken + part.signed_qty
        return taken


@dataclass(frozen=True)
class Carried:
    """Inventory that came over from an earlier generation: quantity, value at its entry, and fees paid for it."""

    qty: Decimal = ZERO
    value: Decimal = ZERO
    fees: Decimal = ZERO


@dataclass(frozen=True)
class LevelBooks:
    """What a level has done.

    Attributes:
        held: what it holds now, in coins, on its side; `value` and `fees` are what was paid for it.
        profit: of what it has closed, less the fees of both sides, USD.
        fees_paid: all fees of its fills.
        round_trips: how often it has closed all that it held.
    """

    held: Decimal = ZERO
    value: Decimal = ZERO
    fees: Decimal = ZERO
    profit: Decimal = ZERO
    fees_paid: Decimal = ZERO
    round_trips: int = 0

    def unrealised(self, side: Side, mark: Decimal) -> Decimal:
        """What is open at a price, less the fees that were paid for it."""
        sign = 1 if side is Side.BUY else -1
        return sign * (self.held * mark - self.value) - self.fees


def level_books(side: Side, fills: Iterable[Fill], carried: Carried = Carried()) -> LevelBooks:
    """Follow the fills of a level's orders in the order of time.

    Raises:
        GridError: more was closed than was opened.
    """
    held, value, fees = carried.qty, carried.value, carried.fees
    profit, paid, trips = ZERO, ZERO, 0
    sign = 1 if side is Side.BUY else -1
    for fill in sorted(fills, key=lambda one: (one.time_ms, one.side is not side)):
        paid += fill.fee
        if fill.side is side:
            held, value, fees = held + fill.qty, value + fill.value, fees + fill.fee
            continue
        if fill.qty > held:
            raise GridError(f"a level has closed {fill.qty} of the {held} that it held")
        is_all = fill.qty == held
        part_value = value if is_all else (value * fill.qty / held).quantize(_EIGHT)
        part_fees = fees if is_all else (fees * fill.qty / held).quantize(_EIGHT)
        profit += sign * (fill.value - part_value) - part_fees - fill.fee
        held, value, fees = held - fill.qty, value - part_value, fees - part_fees
        trips += is_all
    return LevelBooks(held, value, fees, profit, paid, trips)


@dataclass(frozen=True)
class Sums:
    """What a grid has come to.

    Attributes:
        inventory: in coins, below 0 where it is short.
        grid_profit: of matched pairs, less their fees, USD.
        inventory_pnl: of all else, at the mark price, less the fees paid for it, USD: what levels hold, and what was
            closed by a stop or with the grid.
        fees: all that were paid; funding: above 0 was paid. Funding is in `total` alone.
    """

    inventory: Decimal
    grid_profit: Decimal
    inventory_pnl: Decimal
    fees: Decimal
    funding: Decimal
    total: Decimal
    round_trips: int


def sums(
    fills: Sequence[Fill], levels: Iterable[LevelBooks], mark: Decimal, *, profit_before: Decimal, funding: Decimal
) -> Sums:
    """Add up a grid.

    Args:
        fills: every execution of the grid, of whatever order, from its start on.
        profit_before: of matched pairs of earlier generations.
    """
    inventory = sum((one.signed_qty for one in fills), ZERO)
    money = sum((one.cash for one in fills), ZERO) + inventory * mark
    held = list(levels)
    profit = profit_before + sum((one.profit for one in held), ZERO)
    return Sums(
        inventory=inventory,
        grid_profit=profit,
        inventory_pnl=money - profit,
        fees=sum((one.fee for one in fills), ZERO),
        funding=funding,
        total=money - funding,
        round_trips=sum(one.round_trips for one in held),
    )
