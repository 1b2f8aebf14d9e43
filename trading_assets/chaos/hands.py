"""What a person does on the account beside the system: adds, reduces, closes, reverses, moves stops, and trades other
contracts in another position mode."""

from __future__ import annotations

import random
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from decimal import ROUND_DOWN, Decimal

from trading_assets.chaos.manual_trader import ManualTrader
from trading_assets.chaos.truth import Truth
from trading_assets.core.models import Instrument, Order, Position, Side
from trading_assets.core.ports import Exchange

ADDS = (Decimal("0.5"), Decimal(1), Decimal(3))
REDUCES = (Decimal("0.3"), Decimal("0.5"), Decimal("0.8"))


@dataclass
class Hands:
    """A person with the same account.

    Attributes:
        traded: contracts of the traders.
        others: contracts that only the person trades.
        hedged: the one of them that is in hedge mode.
        moved: stop and target that the person has set on a position of ours, by symbol.
        acts: how often each thing was done.
    """

    manual: ManualTrader
    exchange: Exchange
    listed: Mapping[str, Instrument]
    traded: Collection[str]
    others: Sequence[str]
    hedged: str
    chance: random.Random
    moved: dict[str, tuple[Decimal | None, Decimal | None]] = field(default_factory=dict)
    acts: dict[str, int] = field(default_factory=dict)

    def begin(self) -> None:
        """Open both legs of a contract."""
        self.manual.set_hedge_mode(self.hedged, hedge=True)
        for leg, side in ((1, Side.BUY), (2, Side.SELL)):
            self.manual.trade(self.hedged, side, self._qty(self.hedged), leg=leg)

    def act(self, held: Sequence[Position], truth: Truth) -> None:
        """Do one thing."""
        waiting = [
            order
            for order in self.exchange.open_orders()
            if self.exchange.order_ids.is_entry(order.order_link_id) and order.price is not None
        ]
        if waiting and self.chance.random() < 0.5:
            self._on_waiting(self.chance.choice(waiting))
            return
        ours = [each for each in held if truth.left(each.symbol)]
        if ours and self.chance.random() < 0.7:
            self._on_ours(self.chance.choice(ours), truth)
        else:
            self._on_others(held)

    def _on_waiting(self, order: Order) -> None:
        """Cancel an entry of ours that waits, or change it; never to more than it was."""
        one = self.listed[order.symbol]
        what = self.chance.choice(("cancel entry", "move entry", "shrink entry"))
        if what == "cancel entry":
            self.manual.cancel(order)
        elif what == "move entry" and order.price is not None:
            by = one.tick_size * self.chance.choice((1, 10))
            self.manual.amend(order, price=order.price - by if order.side is Side.BUY else order.price + by)
        else:
            qty = order.filled_qty + (order.qty - order.filled_qty) / 2 // one.qty_step * one.qty_step
            if not max(order.filled_qty, one.min_qty) < qty < order.qty:
                return
            self.manual.amend(order, qty=qty)
        self._count(what)

    def tidy(self, held: Sequence[Position], truth: Truth) -> None:
        """Close what is left of the person's in contracts that are to be traded again."""
        for each in held:
            if each.symbol in self.traded and not truth.left(each.symbol) and self.chance.random() < 0.4:
                self.manual.close(each)
                self._count("tidied")

    def forget(self, held: Sequence[Position], truth: Truth) -> None:
        """Forget the stops of positions that are gone."""
        there = {each.symbol for each in held if truth.left(each.symbol)}
        for symbol in self.moved.keys() - there:
            del self.moved[symbol]

    def _on_ours(self, position: Position, truth: Truth) -> None:
        symbol, side = position.symbol, position.side
        what = self.chance.choice(("add", "reduce", "reduce", "close", "reverse", "tighten", "loosen", "untarget"))
        match what:
            case "add":
                self.manual.trade(symbol, side, self._part(position, self.chance.choice(ADDS)))
            case "reduce":
                qty = self._part(position, self.chance.choice(REDUCES))
                self.manual.trade(symbol, side.opposite, min(qty, position.size), reduce_only=True)
            case "close":
                self.manual.close(position)
            case "reverse":
                qty = position.size + self._part(position, Decimal("0.5"))
                self.manual.trade(symbol, side.opposite, qty)
            case _ if position.stop_loss is None or position.take_profit is None:
                return
            case "untarget":
                self._set_levels(symbol, position.stop_loss, None)
            case _:
                self._move_stop(position, tighter=what == "tighten")
        self._count(what)

    def _move_stop(self, position: Position, *, tighter: bool) -> None:
        stop = position.stop_loss
        if stop is None:
            return
        tick = self.listed[position.symbol].tick_size
        by = abs(position.mark_price - stop) * Decimal("0.2") // tick * tick
        up = (position.side is Side.BUY) == tighter
        moved = stop + by if up else stop - by
        if not by or moved <= 0:
            return
        self._set_levels(position.symbol, moved, position.take_profit)

    def _set_levels(self, symbol: str, stop: Decimal, target: Decimal | None) -> None:
        """Both at once, as in a form: the position may have been seen before the last change of one of them."""
        self.manual.set_levels(symbol, stop=f"{stop:f}", target="0" if target is None else f"{target:f}")
        self.moved[symbol] = (stop, target)

    def _on_others(self, held: Sequence[Position]) -> None:
        legs = [each for each in held if each.symbol in self.others]
        if legs and self.chance.random() < 0.5:
            self.manual.close(self.chance.choice(legs))
            self._count("closed another")
            return
        symbol = self.chance.choice(list(self.others))
        side = self.chance.choice((Side.BUY, Side.SELL))
        if symbol != self.hedged:
            self.manual.trade(symbol, side, self._qty(symbol))
        elif not any(each.symbol == symbol for each in legs):
            # The mode can be switched while nothing is open.
            self.manual.set_hedge_mode(symbol, hedge=False)
            self.manual.set_hedge_mode(symbol, hedge=True)
            self._count("switched mode")
            self.begin()
        else:
            self.manual.trade(symbol, side, self._qty(symbol), leg=1 if side is Side.BUY else 2)
        self._count("traded another")

    def _qty(self, symbol: str) -> Decimal:
        one = self.listed[symbol]
        qty = Decimal(100) / self.exchange.ticker(symbol).last
        return max((qty / one.qty_step).to_integral_value(ROUND_DOWN) * one.qty_step, one.min_qty)

    def _part(self, position: Position, factor: Decimal) -> Decimal:
        step = self.listed[position.symbol].qty_step
        return max((position.size * factor / step).to_integral_value(ROUND_DOWN) * step, step)

    def _count(self, what: str) -> None:
        self.acts[what] = self.acts.get(what, 0) + 1
