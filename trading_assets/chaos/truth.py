"""What is true of an account on the embedded exchange: whose every fill is, followed apart from the ledger's code.

It has what the reconciler has not: every execution in the order in which it happened, with the part of it that closed a
position, from an exchange that is asked while it is truthful.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, field
from decimal import Decimal

from trading_assets.core.models import Execution, FillKind, Side
from trading_assets.core.ports import ClientOrderIds

ZERO = Decimal(0)


@dataclass
class Truth:
    """Whose quantities are, as executions are fed in.

    Attributes:
        hedged: contracts whose legs are all foreign.
        of_grids: contracts of grids, whose books are compared apart: nothing there is of a signal.
        ours: open quantity of our entry orders, by symbol and link.
        filled: quantity of our entry orders, by link.
        entries: exchange ids of our entry orders, by link.
        foreign: open quantity of others, by symbol, above 0 is long.
        shares: closed quantity of each closing order, by link; None is what was foreign.
        shared: contracts in which an order of ours has closed what was ours, and left what a person has added: the stop
            of both stays on it.
        taken: closings in which an order of ours took more than was ours.
    """

    ids: ClientOrderIds
    hedged: set[str] = field(default_factory=set)
    of_grids: set[str] = field(default_factory=set)
    ours: dict[str, dict[str, Decimal]] = field(default_factory=lambda: defaultdict(dict))
    filled: dict[str, Decimal] = field(default_factory=lambda: defaultdict(Decimal))
    entries: dict[str, set[str]] = field(default_factory=lambda: defaultdict(set))
    foreign: dict[str, Decimal] = field(default_factory=lambda: defaultdict(Decimal))
    shares: dict[str, dict[str | None, Decimal]] = field(default_factory=lambda: defaultdict(dict))
    shared: set[str] = field(default_factory=set)
    taken: list[str] = field(default_factory=list)
    _seen: set[str] = field(default_factory=set)

    def feed(self, executions: Iterable[Execution]) -> list[Execution]:
        """Follow executions that were not fed yet; return them, in the order of time.

        Args:
            executions: those of one millisecond in the order in which they happened. An order that turns a position
                round closes and opens in one: in another order its closing would find less than it has closed.
        """
        new = sorted((row for row in executions if row.exec_id not in self._seen), key=lambda row: row.time_ms)
        for row in new:
            self._seen.add(row.exec_id)
            if row.kind.moves_position:
                self._follow(row)
        return new

    def left(self, symbol: str) -> Decimal:
        """How much of a symbol's position is ours, in coins."""
        return sum(self.ours[symbol].values(), ZERO)

    def _follow(self, row: Execution) -> None:
        order = row.order_id or row.exec_id
        sign = 1 if row.side is Side.BUY else -1
        if row.symbol in self.hedged | self.of_grids:
            if row.closed_size:
                self._share(order, None, row.closed_size)
            return
        entry = self.ids.is_entry(row.order_link_id)
        if row.closed_size:
            self._close(row, order, sign, entry=entry)
        if not self.foreign[row.symbol]:
            self.shared.discard(row.symbol)
        opened = row.qty - row.closed_size
        if entry:
            self.filled[row.order_link_id] += row.qty
            self.entries[row.order_link_id].add(row.order_id)
            held = self.ours[row.symbol]
            held[row.order_link_id] = held.get(row.order_link_id, ZERO) + opened
        elif opened:
            self.foreign[row.symbol] += sign * opened

    def _close(self, row: Execution, order: str, sign: int, *, entry: bool) -> None:
        """A person's order takes the foreign quantity first; every other order takes ours first."""
        left, own = row.closed_size, self.ids.is_ours(row.order_link_id)
        by_person = not own and not row.purpose.is_protective and row.kind is FillKind.TRADE
        foreign = max(-sign * self.foreign[row.symbol], ZERO)

        def take_foreign(left: Decimal) -> Decimal:
            part = min(left, foreign)
            self.foreign[row.symbol] += sign * part
            self._share(order, None, part)
            return left - part

        if by_person or entry:
            left = take_foreign(left)
        held = self.ours[row.symbol]
        for link in list(held):
            part = min(left, held[link])
            self._share(order, link, part)
            held[link] -= part
            left -= part
        if own and not self.left(row.symbol) and self.foreign[row.symbol]:
            self.shared.add(row.symbol)
        if left and not (by_person or entry):
            if own:
                self.taken.append(f"order {row.order_link_id} of ours closed {left} {row.symbol} that were not ours")
            take_foreign(left)

    def _share(self, order: str, link: str | None, qty: Decimal) -> None:
        if qty:
            self.shares[order][link] = self.shares[order].get(link, ZERO) + qty
