"""What happens to an account by itself, in order: funding, stops and targets, delivery. It only looks.

The next event follows from the state and the market alone, never from how far one looks at a time; so one
long step and many short ones give the same events.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum

from trading_assets.market.timeframes import MINUTE_MS, floor_ms
from trading_assets.simulator.account.models import Order, Position
from trading_assets.simulator.account.state import AccountState
from trading_assets.simulator.account.triggers import Levels, Touch, first_touch
from trading_assets.simulator.market.base import Contract, Market


class EventKind(IntEnum):
    """In the order in which events of one millisecond happen."""

    FUNDING = 0
    STOP = 1
    DELIVERY = 2


@dataclass(frozen=True, order=True)
class Event:
    """Something that happens to the position of `symbol`; `order_id` is the triggered stop or target."""

    time_ms: int
    kind: EventKind
    symbol: str
    order_id: str = ""


_Key = tuple[str, str, float | None, float | None]
"""Both order ids and both levels."""


@dataclass(frozen=True)
class _Scan:
    """The path was searched for these levels through `through_ms`."""

    key: _Key
    through_ms: int
    touch: Touch | None


class EventFinder:
    """Finds the next event. It remembers searched stretches of path, so that small steps cost nothing."""

    def __init__(self, market: Market) -> None:
        self._market = market
        self._scans: dict[str, _Scan] = {}

    def next_events(self, state: AccountState, through_ms: int) -> list[Event]:
        """All events of the earliest eventful millisecond in (settled, through_ms], in order; or none."""
        settled = state.header.settled_ms
        events: list[Event] = []
        for position in state.open_positions():
            contract = self._market.contracts[position.symbol]
            events += self._scheduled(contract, settled, through_ms)
            stop = self._stop(state, position, contract, through_ms)
            if stop is not None:
                events.append(stop)
        first = min((event.time_ms for event in events), default=None)
        return sorted(event for event in events if event.time_ms == first)

    def _scheduled(self, contract: Contract, settled_ms: int, through_ms: int) -> list[Event]:
        if contract.contract_type == "LinearPerpetual":
            interval = contract.funding_interval_min * MINUTE_MS
            due = floor_ms(settled_ms, interval) + interval
            return [Event(due, EventKind.FUNDING, contract.symbol)] if due <= through_ms else []
        if settled_ms < contract.delivery_ms <= through_ms:
            return [Event(contract.delivery_ms, EventKind.DELIVERY, contract.symbol)]
        return []

    def _stop(self, state: AccountState, position: Position, contract: Contract, through_ms: int) -> Event | None:
        stop = state.orders.get(position.stop_loss_id)
        target = state.orders.get(position.take_profit_id)
        if stop is None and target is None:
            return None
        below, above = (stop, target) if position.size > 0 else (target, stop)
        levels = Levels(_level(below), _level(above), float(contract.tick_size) / 1000)
        key = (position.stop_loss_id, position.take_profit_id, levels.below, levels.above)
        touch = self._touch(position.symbol, levels, key, state.header.settled_ms, through_ms)
        if touch is None or touch.time_ms > through_ms:
            return None
        order = below if touch.below else above
        return Event(touch.time_ms, EventKind.STOP, position.symbol, order.order_id) if order else None

    def _touch(self, symbol: str, levels: Levels, key: _Key, settled_ms: int, through_ms: int) -> Touch | None:
        known = self._scans.get(symbol)
        after = settled_ms
        if known is not None and known.key == key:
            if known.touch is not None or known.through_ms >= through_ms:
                return known.touch
            after = max(settled_ms, known.through_ms)
        # To the end of the minute, so that steps within a minute search it once.
        through = floor_ms(through_ms, MINUTE_MS) + MINUTE_MS - 1
        touch = first_touch(self._market, symbol, levels, after, through)
        self._scans[symbol] = _Scan(key, through, touch)
        return touch


def _level(order: Order | None) -> float | None:
    return float(order.trigger_price) if order is not None and order.trigger_price is not None else None
