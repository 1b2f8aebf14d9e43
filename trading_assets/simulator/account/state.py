"""The account's state in memory, and which records have changed since they were last stored. No decisions."""

from __future__ import annotations

import hashlib
import uuid
from copy import copy
from dataclasses import dataclass, field
from decimal import Decimal

from trading_assets.simulator.account.models import (
    DEFAULT_LEVERAGE,
    LONG_LEG,
    ONE_WAY,
    SHORT_LEG,
    Balance,
    ClosedPnl,
    Execution,
    Header,
    Order,
    Position,
    Transfer,
    position_key,
)

Record = Header | Order | Position | Execution | ClosedPnl | Balance | Transfer


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
    closed_by: dict[str, ClosedPnl] = field(default_factory=dict)
    """the same, by the closing order"""
    transfers: list[Transfer] = field(default_factory=list)
    links: dict[str, str] = field(default_factory=dict)
    """order_link_id -> order_id, of every order there ever was"""
    open_orders: dict[str, Order] = field(default_factory=dict)
    """by id, oldest first; kept by `touch`"""
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
            state.header.deposited += amount
            state.touch(state.balances[coin])
        return state

    def touch(self, record: Record) -> None:
        """Note a change. An order that was never added, as that of a delivery, leaves no trace."""
        if isinstance(record, Order) and record.order_id not in self.orders:
            return
        self.changed[id(record)] = record
        if isinstance(record, Order):
            if record.is_open:
                self.open_orders[record.order_id] = record
            else:
                self.open_orders.pop(record.order_id, None)
        if self.journal is not None:
            self._fresh[id(record)] = record

    def copied(self) -> AccountState:
        """The same account, to be changed apart from this one."""
        state = AccountState(copy(self.header))
        records: tuple[Record, ...] = (
            *self.orders.values(),
            *self.positions.values(),
            *self.balances.values(),
            *self.closed,
        )
        for record in records:
            state.take_over(copy(record))
        state.executions, state.transfers = list(self.executions), list(self.transfers)
        return state

    def take_over(self, record: Record) -> None:
        """Put in a record, or its newer version, of another state of the same account."""
        match record:
            case Order():
                self.orders[record.order_id] = record
                if record.order_link_id:
                    self.links[record.order_link_id] = record.order_id
                if record.is_open:
                    self.open_orders[record.order_id] = record
                else:
                    self.open_orders.pop(record.order_id, None)
            case Position():
                self.positions[record.key] = record
            case Balance():
                self.balances[record.coin] = record
            case Execution():
                self.executions.append(record)
            case Transfer():
                self.transfers.append(record)
            case ClosedPnl():
                known = self.closed_by.get(record.order_id)
                if known is None:
                    self.closed.append(record)
                else:
                    self.closed[self.closed.index(known)] = record
                self.closed_by[record.order_id] = record
            case Header():
                self.header = record

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

    def add_closed(self, row: ClosedPnl) -> None:
        self.closed.append(row)
        self.closed_by[row.order_id] = row
        self.touch(row)

    def position(self, symbol: str, position_idx: int = 0) -> Position:
        """A position of a symbol, made flat where there was none."""
        position = self.look_up(symbol, position_idx)
        return self.positions.setdefault(position.key, position)

    def look_up(self, symbol: str, position_idx: int = 0) -> Position:
        """The position for looking at; asking leaves no trace. A new one has the leverage of the symbol's others."""
        known = self.positions.get(position_key(symbol, position_idx))
        if known is not None:
            return known
        leverage = next((other.leverage for other in self.legs(symbol)), DEFAULT_LEVERAGE)
        return Position(symbol, leverage, position_idx)

    def legs(self, symbol: str) -> list[Position]:
        """Every position that the symbol has or had."""
        keys = (position_key(symbol, index) for index in (ONE_WAY, LONG_LEG, SHORT_LEG))
        return [self.positions[key] for key in keys if key in self.positions]

    def is_hedged(self, symbol: str, coin: str) -> bool:
        """Whether a symbol is in hedge mode."""
        header = self.header
        return symbol in header.hedged or (coin in header.hedged and symbol not in header.one_way)

    def orders_of(self, position: Position) -> list[Order]:
        """Open orders of a position, oldest first."""
        return [
            order
            for order in self.open_orders.values()
            if order.symbol == position.symbol and order.position_idx == position.position_idx
        ]

    def balance(self, coin: str) -> Balance:
        if coin not in self.balances:
            self.balances[coin] = Balance(coin)
        return self.balances[coin]

    def look_up_balance(self, coin: str) -> Balance:
        """The balance for looking at; asking leaves no trace."""
        return self.balances.get(coin) or Balance(coin)

    def open_positions(self) -> list[Position]:
        return [position for position in self.positions.values() if position.size]

    def order_by(self, order_id: str, order_link_id: str) -> Order | None:
        """`order_id` wins over `order_link_id`."""
        return self.orders.get(order_id or self.links.get(order_link_id, ""))
