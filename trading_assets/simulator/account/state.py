"""The account's state in memory, and which records have changed since they were last stored. No decisions."""

from __future__ import annotations

import hashlib
import uuid
from copy import copy
from dataclasses import dataclass, field
from decimal import Decimal

from trading_assets.simulator.account.models import (
    Balance,
    ClosedPnl,
    Execution,
    Header,
    Order,
    Position,
)

Record = Order | Position | Execution | ClosedPnl | Balance


@dataclass(frozen=True)
class Batch:
    """Records that changed together at one moment, as they were then: what a private stream tells."""

    time_ms: int
    records: tuple[Record, ...]


@dataclass
class AccountState:
    """Everything an account is. Change a record only together with `touch`, or it is not stored.

    `orders`, `executions` and `closed` are in the order they happened.
    """

    header: Header
    orders: dict[str, Order] = field(default_factory=dict)
    positions: dict[str, Position] = field(default_factory=dict)
    balances: dict[str, Balance] = field(default_factory=dict)
    executions: list[Execution] = field(default_factory=list)
    closed: list[ClosedPnl] = field(default_factory=list)
    links: dict[str, str] = field(default_factory=dict)
    """order_link_id -> order_id, of every order there ever was"""
    changed: dict[int, Record] = field(default_factory=dict)
    """by identity; emptied by the store"""
    journal: list[Batch] | None = None
    """what has happened since it was last read; None while nobody listens"""
    _fresh: dict[int, Record] = field(default_factory=dict)

    @classmethod
    def opened(cls, account_id: str, time_ms: int, deposits: dict[str, Decimal]) -> AccountState:
        """A new account with `deposits` by coin."""
        state = cls(Header(account_id=account_id, created_ms=time_ms, settled_ms=time_ms))
        for coin, amount in deposits.items():
            state.balances[coin] = Balance(coin, amount)
            state.touch(state.balances[coin])
        return state

    def touch(self, record: Record) -> None:
        self.changed[id(record)] = record
        if self.journal is not None:
            self._fresh[id(record)] = record

    def close_batch(self, time_ms: int) -> None:
        """What was touched since the last batch belongs together and happened at `time_ms`."""
        if self.journal is not None and self._fresh:
            self.journal.append(Batch(time_ms, tuple(copy(record) for record in self._fresh.values())))
            self._fresh.clear()

    def next_sequence(self) -> int:
        self.header.sequence += 1
        return self.header.sequence

    def new_id(self, kind: str) -> str:
        """A UUID that follows from the account and its history: the same steps give the same identifiers."""
        seed = f"{self.header.account_id}/{kind}/{self.next_sequence()}".encode()
        return str(uuid.UUID(bytes=hashlib.sha256(seed).digest()[:16], version=4))

    def add_order(self, order: Order) -> None:
        self.orders[order.order_id] = order
        if order.order_link_id:
            self.links[order.order_link_id] = order.order_id
        self.touch(order)

    def position(self, symbol: str) -> Position:
        """The position of a symbol, made flat where there was none."""
        if symbol not in self.positions:
            self.positions[symbol] = Position(symbol)
        return self.positions[symbol]

    def balance(self, coin: str) -> Balance:
        if coin not in self.balances:
            self.balances[coin] = Balance(coin)
        return self.balances[coin]

    def open_positions(self) -> list[Position]:
        return [position for position in self.positions.values() if position.size]

    def order_by(self, order_id: str, order_link_id: str) -> Order | None:
        """`order_id` wins over `order_link_id`."""
        return self.orders.get(order_id or self.links.get(order_link_id, ""))
