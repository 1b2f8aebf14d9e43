"""A second, naive grid: one price after the other, one level after the other, no code in common with the project's."""

from __future__ import annotations

from dataclasses import dataclass, field
from decimal import Decimal

D = Decimal
ZERO = D(0)


@dataclass
class NaiveLevel:
    """`opens` is 1 where it buys first, -1 where it sells first; `waits` is the price of its order."""

    low: Decimal
    high: Decimal
    opens: int
    takes_first: bool = False
    is_held: bool = False
    waits: Decimal | None = None
    trips: int = 0


@dataclass
class NaiveGrid:
    """Every level has the same quantity. `stops` are those of what is long and of what is short."""

    levels: list[NaiveLevel]
    qty: Decimal
    tick: Decimal
    maker: Decimal
    taker: Decimal
    stops: tuple[Decimal | None, Decimal | None] = (None, None)
    cash: Decimal = ZERO
    coins: Decimal = ZERO
    is_over: bool = False
    fills: list[tuple[int, int, Decimal]] = field(default_factory=list)
    """(level, direction, price)"""

    def start(self, price: Decimal) -> None:
        for number, level in enumerate(self.levels):
            if level.takes_first:
                self._trade(number, level.opens, price, self.taker)
                level.is_held = True
        self._lay(price)

    def tick_to(self, price: Decimal) -> None:
        """The price goes straight from the last one to this."""
        if self.is_over:
            return
        for number, level in enumerate(self.levels):
            direction = self._direction(level)
            if level.waits is None or direction * price >= direction * level.waits:
                continue
            self._trade(number, direction, level.waits, self.maker)
            level.trips += level.is_held
            level.is_held, level.waits = not level.is_held, None
        below, above = self.stops
        if below is not None and price <= below:
            self._end(min(below, self._came_from))
        elif above is not None and price >= above:
            self._end(max(above, self._came_from))
        else:
            self._lay(price)

    def total(self, price: Decimal) -> Decimal:
        return self.cash + self.coins * price

    def _direction(self, level: NaiveLevel) -> int:
        return -level.opens if level.is_held else level.opens

    def _lay(self, price: Decimal) -> None:
        self._came_from = price
        for level in self.levels:
            if level.waits is not None:
                continue
            direction = self._direction(level)
            at = level.low if direction == 1 else level.high
            is_passed = direction * (at - price) > 0
            if not is_passed:
                level.waits = at
            elif level.is_held:  # what is closed only earns more
                level.waits = price

    def _end(self, price: Decimal) -> None:
        if self.coins:
            self._trade(-1, -1 if self.coins > 0 else 1, price, self.taker, abs(self.coins))
        self.is_over = True

    def _trade(self, number: int, direction: int, price: Decimal, rate: Decimal, qty: Decimal | None = None) -> None:
        coins = self.qty if qty is None else qty
        self.coins += direction * coins
        self.cash -= direction * coins * price + coins * price * rate
        self.fills.append((number, direction, price))
