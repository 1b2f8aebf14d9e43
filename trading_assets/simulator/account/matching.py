"""Orders meet the market: taking from the book, resting in it, being triggered, being filled. It checks no commands.

A market order is a limit order up to a hidden price whose rest is cancelled. A resting order is filled, as maker and
at its own price, when the last price goes beyond it, by no more than a share of what is traded in that minute.
"""

from __future__ import annotations

from decimal import ROUND_FLOOR, Decimal

from trading_assets.core.models import Side
from trading_assets.core.timeframes import MINUTE_MS, floor_ms
from trading_assets.simulator.account import order_rules as rules
from trading_assets.simulator.account import stops
from trading_assets.simulator.account.booking import book_fills
from trading_assets.simulator.account.margin import account_figures
from trading_assets.simulator.account.models import CONDITIONAL, MAKER_FEE, TAKER_FEE, ZERO, Order, Position
from trading_assets.simulator.account.pricing import (
    Fill,
    best_price,
    hidden_limit,
    last_price,
    mark_price,
    walk_book,
)
from trading_assets.simulator.account.state import AccountState
from trading_assets.simulator.account.words import OrderStatus
from trading_assets.simulator.codec import Refusal, places_of
from trading_assets.simulator.market.base import VOLUME, Contract, Market

PARTICIPATION = Decimal("0.25")
"""Share of a minute's volume that one resting order gets."""

WITHOUT_ORDER = frozenset({"Delivery", "Settle"})
"""Execution types of closings by the venue that no order stands for."""

NO_MARGIN = "CancelByCannotAffordOrderCost"
SELF_MATCH = "EC_BySelfMatch"


class Matching:
    """What happens to the orders of one account on one market."""

    def __init__(self, market: Market, state: AccountState) -> None:
        self._market = market
        self._state = state

    def enter(self, order: Order, time_ms: int) -> None:
        """A new, triggered or amended order meets the book: it takes what it may, and rests or ends."""
        contract = self._market.contracts[order.symbol]
        own = self._own_in_the_way(order)
        if order.time_in_force == "PostOnly" and (own or self._would_take(contract, order, time_ms)):
            stops.end(self._state, order, "UNKNOWN", time_ms, reject_reason="EC_PostOnlyWillTakeLiquidity")
            return
        qty = order.left_qty if order.part_qty is None else min(order.left_qty, order.part_qty)
        fills = walk_book(self._market, contract, order.side, qty, limit=order.price, time_ms=time_ms)
        if order.time_in_force == "FOK" and sum((fill.qty for fill in fills), ZERO) < order.left_qty:
            stops.end(self._state, order, "UNKNOWN", time_ms, reject_reason="EC_CancelForNoFullFill")
            return
        if own:
            fills = self._meet_own(contract, order, own, fills, time_ms)
        self._fill(contract, order, fills, time_ms, fee_rate=TAKER_FEE)
        if order.left_qty == 0:
            return
        if order.time_in_force in ("IOC", "FOK"):
            if order.part_qty is not None and fills:
                self._await_next_part(contract, order, time_ms)
                return
            reason = "EC_CancelForNoFullFill" if fills else "EC_NoImmediateQtyToFill"
            stops.end(self._state, order, "UNKNOWN", time_ms, reject_reason=reason)
            return
        self._rest(contract, order, time_ms)

    def happen(self, order: Order, time_ms: int) -> None:
        """The price has reached what the order waits for."""
        if order.trailing is not None and order.active_price is not None:
            stops.begin_trailing(self._market, self._state, order, time_ms)
        elif order.status is OrderStatus.UNTRIGGERED:
            self._trigger(order, time_ms)
        elif order.is_active:
            self._fill_resting(order, time_ms)

    def settle_order(
        self, position: Position, qty: Decimal, price: Decimal, time_ms: int, *, create_type: str, exec_type: str
    ) -> None:
        """The venue closes `qty` of a position at `price`.

        A take-over and auto-deleveraging are orders, with the taker's fee. A delivery is an execution without an order,
        and costs nothing.
        """
        side = position.side
        if side is None:
            return
        contract = self._market.contracts[position.symbol]
        order = Order(
            order_id=self._state.new_id("order"),
            order_link_id="",
            symbol=position.symbol,
            position_idx=position.position_idx,
            side=side.opposite,
            qty=qty,
            created_ms=time_ms,
            updated_ms=time_ms,
            sequence=self._state.header.sequence,
            price=price,
            reduce_only=True,
            close_on_trigger=True,
            create_type=create_type,
        )
        if exec_type in WITHOUT_ORDER:
            order.order_type, fee_rate = "UNKNOWN", ZERO
        else:
            self._state.add_order(order)
            fee_rate = TAKER_FEE
        self._fill(contract, order, [Fill(price, qty)], time_ms, fee_rate=fee_rate, exec_type=exec_type)

    def _would_take(self, contract: Contract, order: Order, time_ms: int) -> bool:
        best = best_price(self._market, contract, order.side, time_ms)
        if best is None:
            return False
        return order.price >= best if order.side is Side.BUY else order.price <= best

    def _own_in_the_way(self, order: Order) -> list[Order]:
        """Resting orders of the account that this one would meet, the best price first."""
        sign = 1 if order.side is Side.BUY else -1
        crossed = [
            other
            for other in self._state.open_orders.values()
            if other.symbol == order.symbol
            and other.side is order.side.opposite
            and other.is_active
            and other.order_type == "Limit"
            and other.cross_price is not None
            and sign * other.price <= sign * order.price
        ]
        return sorted(crossed, key=lambda other: (sign * other.price, other.sequence))

    def _meet_own(
        self, contract: Contract, order: Order, own: list[Order], fills: list[Fill], time_ms: int
    ) -> list[Fill]:
        """Take what is cheaper than own orders, then meet them as `smp_type` says. Return what is left to take."""
        sign = 1 if order.side is Side.BUY else -1
        for other in own:
            before = [fill for fill in fills if sign * fill.price < sign * other.price]
            fills = fills[len(before) :]
            self._fill(contract, order, before, time_ms, fee_rate=TAKER_FEE)
            if not order.left_qty or not other.left_qty:
                continue
            if order.smp_type in ("CancelMaker", "CancelBoth"):
                stops.end(self._state, other, stops.BY_SELF_MATCH, time_ms, reject_reason=SELF_MATCH)
            if order.smp_type in ("CancelTaker", "CancelBoth"):
                stops.end(self._state, order, stops.BY_SELF_MATCH, time_ms, reject_reason=SELF_MATCH)
            if not order.smp_type:
                both = [Fill(other.price, min(order.left_qty, other.left_qty))]
                self._fill(contract, other, both, time_ms, fee_rate=MAKER_FEE)
                self._fill(contract, order, both, time_ms, fee_rate=TAKER_FEE)
                if other.left_qty:
                    other.status = OrderStatus.PARTIALLY_FILLED
                    self._state.touch(other)
            if not order.left_qty:
                return []
        return _no_more_than(fills, order.left_qty)

    def _rest(self, contract: Contract, order: Order, time_ms: int) -> None:
        """Into the book. Inside the spread it waits for the first trade beyond the last one: it is the best price."""
        last = last_price(self._market, contract, time_ms)
        if order.side is Side.BUY:
            order.cross_price = min(order.price, last) - contract.tick_size
        else:
            order.cross_price = max(order.price, last) + contract.tick_size
        order.status = OrderStatus.PARTIALLY_FILLED if order.filled_qty else OrderStatus.NEW
        order.updated_ms = time_ms
        self._state.touch(order)

    def _await_next_part(self, contract: Contract, order: Order, time_ms: int) -> None:
        """The next part comes with the next minute, at whatever price there is."""
        order.cross_price = contract.max_price if order.side is Side.BUY else contract.tick_size
        order.resume_ms = floor_ms(time_ms, MINUTE_MS) + MINUTE_MS
        order.status = OrderStatus.PARTIALLY_FILLED
        order.updated_ms = time_ms
        self._state.touch(order)

    def _fill_resting(self, order: Order, time_ms: int) -> None:
        contract = self._market.contracts[order.symbol]
        if order.part_qty is not None and order.time_in_force in ("IOC", "FOK"):
            if order.order_type == "Market":
                order.price = hidden_limit(contract, order.side, mark_price(self._market, contract, time_ms))
            self.enter(order, time_ms)
            return
        minute = floor_ms(time_ms, MINUTE_MS)
        bars = self._market.bars(order.symbol, "1", minute, minute + MINUTE_MS, minute + MINUTE_MS)
        traded = Decimal(f"{bars[0, VOLUME]:.{places_of(contract.qty_step)}f}") if len(bars) else ZERO
        steps = (traded * PARTICIPATION / contract.qty_step).to_integral_value(ROUND_FLOOR)
        qty = min(order.left_qty, max(steps, Decimal(1)) * contract.qty_step, order.part_qty or order.left_qty)
        order.resume_ms = minute + MINUTE_MS
        self._fill(contract, order, [Fill(order.price, qty)], time_ms, fee_rate=MAKER_FEE)
        if order.left_qty:
            order.status = OrderStatus.PARTIALLY_FILLED
            self._state.touch(order)

    def _command_came_late(self, order: Order, time_ms: int) -> None:
        """A cancellation that was accepted has lost against the fill: a second message says so. A change is void."""
        if order.due_change is None:
            self._state.close_batch(time_ms)
            order.cancel_type, order.reject_reason = stops.BY_USER, "EC_OrigClOrdIDDoesNotExist"
        order.due_ms, order.due_change = 0, None
        self._state.touch(order)

    def _trigger(self, order: Order, time_ms: int) -> None:
        contract = self._market.contracts[order.symbol]
        position = self._state.look_up(order.symbol, order.position_idx)
        order.status = OrderStatus.TRIGGERED
        self._cancel_siblings(position, order, time_ms)
        stops.detach(self._state, order)
        if order.reduce_only:
            closable = rules.closable(position, order.side)
            if closable == 0:
                stops.end(self._state, order, stops.BY_REDUCE_ONLY, time_ms)
                return
            whole = order.is_exit and order.tpsl_mode == "Full"
            order.qty = closable if whole else min(order.qty, closable)
        mark = mark_price(self._market, contract, time_ms)
        if order.stop_order_type == CONDITIONAL and not self._affordable(contract, position, order, mark, time_ms):
            stops.end(self._state, order, NO_MARGIN, time_ms)
            return
        if order.order_type == "Market":
            order.price = hidden_limit(contract, order.side, mark)
        order.status = OrderStatus.NEW
        order.updated_ms = time_ms
        self._state.touch(order)
        self.enter(order, time_ms)

    def _affordable(self, contract: Contract, position: Position, order: Order, mark: Decimal, time_ms: int) -> bool:
        if order.reduce_only:
            return True
        price = order.price if order.order_type == "Limit" else mark
        account = account_figures(self._state, self._market, time_ms)
        try:
            rules.check_margin(self._state, account, contract, position, order.side, order.qty, price, mark)
        except Refusal:
            return False
        return True

    def _cancel_siblings(self, position: Position, order: Order, time_ms: int) -> None:
        if not order.exit_group:
            return
        for other in self._state.orders_of(position):
            if other.exit_group == order.exit_group and other is not order:
                stops.end(self._state, other, stops.BY_SIBLING[other.stop_order_type], time_ms)

    def _fill(
        self,
        contract: Contract,
        order: Order,
        fills: list[Fill],
        time_ms: int,
        *,
        fee_rate: Decimal,
        exec_type: str = "Trade",
    ) -> None:
        """Book fills, bring in the order's stops, and let what only closes follow the position."""
        if not fills:
            return
        state = self._state
        position = state.position(order.symbol, order.position_idx)
        before, size_before = position.side, position.size
        book_fills(
            state,
            contract,
            order,
            fills,
            mark=mark_price(self._market, contract, time_ms),
            time_ms=time_ms,
            exec_type=exec_type,
            fee_rate=fee_rate,
            is_maker=fee_rate == MAKER_FEE,
        )
        if order.filled_qty == order.qty:
            order.status = OrderStatus.FILLED
            order.cross_price = None
            state.touch(order)
            if order.due_ms:
                self._command_came_late(order, time_ms)
        stops.follow(state, position, before, time_ms)
        opened = abs(position.size) - (abs(size_before) if before is position.side else ZERO)
        if position.side is not order.side or opened <= 0:
            return
        levels = stops.levels_of(order)
        if order.tpsl_mode == "Partial":
            stops.attach_part(self._market, state, position, levels, opened, order, time_ms)
        else:
            for level in levels:
                stops.attach(self._market, state, position, level, order.order_link_id, time_ms)


def _no_more_than(fills: list[Fill], qty: Decimal) -> list[Fill]:
    """The first of the fills, up to `qty` together."""
    kept, left = list[Fill](), qty
    for fill in fills:
        if left > 0:
            kept.append(Fill(fill.price, min(fill.qty, left)))
            left -= fill.qty
    return kept
