"""What happens to an account by itself, in order: funding, triggers and fills, liquidation, delivery. It only looks.

The next event follows from the state and the market alone, never from how far one looks at a time; so one
long step and many short ones give the same events.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from enum import IntEnum

from trading_assets.core.models import Side
from trading_assets.core.timeframes import MINUTE_MS, floor_ms
from trading_assets.simulator.account.liquidation import LiquidationWatch
from trading_assets.simulator.account.models import LAST_PRICE, Order
from trading_assets.simulator.account.state import AccountState
from trading_assets.simulator.account.triggers import (
    Levels,
    Touch,
    Trail,
    TrailSearch,
    first_sample_touch,
    first_touch,
)
from trading_assets.simulator.account.words import OrderStatus
from trading_assets.simulator.market.base import Contract, Market


class EventKind(IntEnum):
    """In the order in which events of one millisecond happen."""

    FUNDING = 0
    ORDER = 1
    COMMAND = 2
    """a change or cancellation that was accepted earlier takes effect"""
    DISCONNECTION = 3
    LIQUIDATION = 4
    DELIVERY = 5


@dataclass(frozen=True, order=True)
class Event:
    """Something that happens. `subject` is a symbol, or the id of the order that is triggered or filled.

    `rank` orders what happens to several orders in one millisecond: the older first.
    """

    time_ms: int
    kind: EventKind
    rank: int = 0
    subject: str = ""


@dataclass(frozen=True)
class _Group:
    """Orders that watch one price together."""

    symbol: str
    price: str
    resume_ms: int


@dataclass(frozen=True)
class _Scan:
    """The price was searched for these levels through `through_ms`."""

    levels: Levels
    through_ms: int
    touch: Touch | None


class EventFinder:
    """Finds the next event. It remembers searched stretches of path, so that small steps cost nothing."""

    def __init__(self, market: Market) -> None:
        self._market = market
        self._scans: dict[_Group, _Scan] = {}
        self._trails: dict[str, TrailSearch] = {}
        self._liquidation = LiquidationWatch(market)

    def next_events(self, state: AccountState, through_ms: int) -> list[Event]:
        """All events of the earliest eventful millisecond in (settled, through_ms], in order; or none."""
        settled = state.header.settled_ms
        if settled >= through_ms:
            return []
        symbols = {position.symbol for position in state.open_positions()}
        events = [
            event
            for symbol in symbols | {order.symbol for order in state.open_orders.values()}
            for event in self._scheduled(self._market.contracts[symbol], symbol in symbols, settled, through_ms)
        ]
        events += [
            Event(order.due_ms, EventKind.COMMAND, order.sequence, order.order_id)
            for order in state.open_orders.values()
            if settled < order.due_ms <= through_ms
        ]
        if settled < state.header.dcp_due_ms <= through_ms:
            events.append(Event(state.header.dcp_due_ms, EventKind.DISCONNECTION))
        events += self._touches(state, through_ms)
        events += self._trailing(state, through_ms)
        first = min((event.time_ms for event in events), default=through_ms)
        liquidation = self._liquidation.next_ms(state, first)
        if liquidation is not None:
            events.append(Event(liquidation, EventKind.LIQUIDATION))
            first = min(first, liquidation)
        return sorted(event for event in events if event.time_ms == first)

    def _scheduled(self, contract: Contract, held: bool, settled_ms: int, through_ms: int) -> Iterable[Event]:
        if held and contract.contract_type == "LinearPerpetual":
            interval = contract.funding_interval_min * MINUTE_MS
            due = floor_ms(settled_ms, interval) + interval
            if due <= through_ms:
                yield Event(due, EventKind.FUNDING, subject=contract.symbol)
        if settled_ms < contract.delivery_ms <= through_ms:
            yield Event(contract.delivery_ms, EventKind.DELIVERY, subject=contract.symbol)

    def _touches(self, state: AccountState, through_ms: int) -> list[Event]:
        settled = state.header.settled_ms
        groups: dict[_Group, list[tuple[Order, float, bool]]] = {}
        for order in state.open_orders.values():
            watched = _level(order)
            if watched is not None:
                price = LAST_PRICE if order.is_active else order.trigger_by
                group = _Group(order.symbol, price, order.resume_ms if order.resume_ms > settled else 0)
                groups.setdefault(group, []).append((order, *watched))
        self._scans = {group: scan for group, scan in self._scans.items() if group in groups}
        events = []
        for group, watchers in groups.items():
            below = max((level for _, level, is_below in watchers if is_below), default=None)
            above = min((level for _, level, is_below in watchers if not is_below), default=None)
            levels = Levels(below, above, float(self._market.contracts[group.symbol].tick_size) / 1000)
            touch = self._touch(group, levels, settled, through_ms)
            if touch is None or touch.time_ms > through_ms:
                continue
            touched = below if touch.below else above
            events += [
                Event(touch.time_ms, EventKind.ORDER, order.sequence, order.order_id)
                for order, level, is_below in watchers
                if is_below is touch.below and level == touched
            ]
        return events

    def _trailing(self, state: AccountState, through_ms: int) -> list[Event]:
        trailing = [order for order in state.open_orders.values() if order.trailing and order.active_price is None]
        self._trails = {order.order_id: self._search(order) for order in trailing}
        events = []
        for order in trailing:
            touch = self._trails[order.order_id].run(self._market, order.symbol, through_ms)
            if touch is not None:
                events.append(Event(touch.time_ms, EventKind.ORDER, order.sequence, order.order_id))
        return events

    def _search(self, order: Order) -> TrailSearch:
        trail = Trail(
            long=order.side is Side.SELL,
            distance=float(order.trailing or 0),
            from_ms=order.trail_ms,
            from_price=float(order.trail_price),
            slack=float(self._market.contracts[order.symbol].tick_size) / 1000,
        )
        known = self._trails.get(order.order_id)
        return known if known is not None and known.trail == trail else TrailSearch(trail)

    def _touch(self, group: _Group, levels: Levels, settled_ms: int, through_ms: int) -> Touch | None:
        known = self._scans.get(group)
        after = max(settled_ms, group.resume_ms - 1)
        if known is not None and known.levels == levels:
            if known.touch is not None and known.touch.time_ms > after:
                return known.touch
            if known.touch is None:
                if known.through_ms >= through_ms:
                    return None
                after = max(after, known.through_ms)
        through = self._market.fixed_through(through_ms)
        search = first_touch if group.price == LAST_PRICE else first_sample_touch(group.price)
        touch = search(self._market, group.symbol, levels, after, through)
        self._scans[group] = _Scan(levels, through, touch)
        return touch


def _level(order: Order) -> tuple[float, bool] | None:
    """Price at which something happens to the order, and whether it lies below; None if it waits for nothing."""
    if order.trailing is not None:
        return None if order.active_price is None else (float(order.active_price), order.side is Side.BUY)
    if order.status is OrderStatus.UNTRIGGERED and order.trigger_price is not None:
        return float(order.trigger_price), order.trigger_direction == 2
    if order.is_active and order.cross_price is not None:
        return float(order.cross_price), order.side is Side.BUY
    return None
