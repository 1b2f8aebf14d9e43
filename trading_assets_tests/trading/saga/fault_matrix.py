"""The matrix of the saga: every fault of the exchange at every call of an order, before and after it was processed.

Each cell is one order on the embedded exchange, over HTTP: what its run made of it, how many requests that took and how
many of them were orders, and what the next run found where the first left it open.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, replace
from decimal import Decimal
from typing import Any, ClassVar

from trading_assets.core.errors import TradingAssetsError
from trading_assets.core.models import AccountShape, OrderAck, OrderRequest, Side
from trading_assets.core.streams import Up
from trading_assets.exchange.bybit import BybitExchange
from trading_assets.exchange.connection import Connection
from trading_assets.exchange.transport import Transport
from trading_assets.ledger import account as account_ledger
from trading_assets.ledger import signals
from trading_assets.ledger.database import Database
from trading_assets.simulator.embedded import RunningExchange
from trading_assets.simulator.faults.parsing import parse_rules
from trading_assets.simulator.server import ENDPOINTS
from trading_assets.trading.context import ExecutionContext
from trading_assets.trading.execute.submit import submit_orders
from trading_assets.trading.keeper import Keeper
from trading_assets.trading.reconcile.reconciler import reconcile
from trading_assets.trading.session.ahead import ReadAhead
from trading_assets_tests.exchange.stub import keys_of
from trading_assets_tests.fakes import order_link_id
from trading_assets_tests.simulator.fake_market import BTC, T0, FakeMarket
from trading_assets_tests.trading.fixtures import add_signal_at_100_000, settings

SYMBOL = "BTCUSDT"
TOO_LATE = "too late"
LATE_MS, _IMPATIENT_S, _PAUSE_S = 2000, 0.8, 2.4
"""What is too late is not there at the first look, and is at the second; far enough apart for a busy machine."""

_PATIENT_S = 60.0
_BAN_S = 0.01

WRITES = {
    "leverage": "POST /v5/position/set-leverage",
    "create": "POST /v5/order/create",
    "attach": "POST /v5/position/trading-stop",
}
READS = {
    "wallet": "GET /v5/account/wallet-balance",
    "look-up": "GET /v5/order/realtime",
    "history": "GET /v5/order/history",
    "position": "GET /v5/position/list",
}

_LOST = {
    "request lost": {"lost_request": True},
    "answer lost": {"lost_answer": True},
    "answer cut off": {"truncated": True},
}
_EITHER: Mapping[str, dict[str, Any]] = {
    TOO_LATE: {"latency_ms": LATE_MS},
    "a page, status 502": {"http_status": 502},
    "a page, status 200": {"html": True},
    "status 401": {"http_status": 401},
    "10000 timeout": {"ret_code": 10000},
    "10016 server error": {"ret_code": 10016},
    "10002 clock": {"ret_code": 10002},
    "10003 key": {"ret_code": 10003},
    "10006 too many": {"ret_code": 10006},
    "110007 no margin": {"ret_code": 110007},
    "110072 id is used": {"ret_code": 110072},
}
FAULTS: Mapping[str, dict[str, Any]] = {
    **_LOST,
    **{f"{name}, before": fault for name, fault in _EITHER.items()},
    **{f"{name}, after": {**fault, "processed": True} for name, fault in _EITHER.items()},
    "address banned": {"ban_s": _BAN_S},
}
"""Bybit processes a request or not before its answer goes wrong; what is lost or cut off says so itself."""


def for_read(fault: str) -> bool:
    """A read has no effect, so that it is the same whether its fault comes before or after."""
    return not fault.endswith(", after")


@dataclass(frozen=True)
class Cell:
    """One order. `then` is what the next run made of one that was left open."""

    outcome: str
    creates: int
    then: str = ""

    def __str__(self) -> str:
        return f"{self.outcome}, then {self.then}" if self.then else self.outcome


class _Connector(BybitExchange):
    """Counts requests, and has the exchange forget the stops of entries where it is told to.

    Its user has the number `user`: a ledger takes each account of a venue once.
    """

    def __init__(
        self, running: RunningExchange, user: str, *, loses_stops: bool = False, timeout_s: float = _PATIENT_S
    ) -> None:
        keys = keys_of(running.key, running.secret)
        connection = Connection(running.url, keys=keys, timeout_s=timeout_s, recv_window_ms=60_000)
        transport = Transport(connection, limited=False, sleep=lambda _s: None)
        super().__init__(transport, virtual_clock=True)
        self.requests: Counter[str] = Counter()
        self._user, self._loses_stops = user, loses_stops
        once = transport._once

        def counted(method: str, *args: Any, **given: Any) -> tuple[dict[str, Any], int]:
            self.requests[method] += 1
            return once(method, *args, **given)

        transport._once = counted  # type: ignore[method-assign]

    def account_shape(self, symbol: str) -> AccountShape:
        return replace(super().account_shape(symbol), user_id=self._user)

    def place_order(self, request: OrderRequest) -> OrderAck:
        unprotected = replace(request, stop_loss=None, take_profit=None) if self._loses_stops else request
        return super().place_order(unprotected)


def run_cell(running: RunningExchange, database: Database, account: str, call: str, fault: str) -> Cell:
    """One order in an account of the ledger of its own, its call `call` meeting the fault.

    Raises:
        AssertionError: an invariant of the saga is broken after the next run.
    """
    now_ms = running.now_ms()
    rules = settings(account=account)
    late = fault.startswith(TOO_LATE)
    pause_s = _PAUSE_S if late and call == "create" else 0.0
    timeout_s = _IMPATIENT_S if late else _PATIENT_S
    exchange = _Connector(running, account, loses_stops=call == "attach", timeout_s=timeout_s)
    wall_ms = 1_000_000
    context = ExecutionContext(database, exchange, rules, sleep=lambda _s: time.sleep(pause_s), wall_ms=lambda: wall_ms)
    context.require_bound()  # what asks whose account it is does not meet the fault
    identity = _waiting(database, account, now_ms)
    where = {**WRITES, **READS}[call]
    match = {"symbol": SYMBOL} if call == "position" else {}
    faults = [{"where": where, "match": match, "times": 1, **FAULTS[fault]}]
    if call == "history":  # asked only for an order that is not among the open and recent ones
        faults.append({"where": WRITES["create"], "lost_request": True})
    running.faults.add(parse_rules({"faults": faults}, ENDPOINTS), now_ms)
    _run(context)
    first, creates = _status(database, identity), exchange.requests["place_order"]
    running.faults.remove()
    if "ban_s" in FAULTS[fault]:
        time.sleep(_BAN_S)
    if late and call in WRITES:
        time.sleep(LATE_MS / 1000)  # it must not come into the next cell
    after, last = _Connector(running, account), first
    if first in ("active", "executing"):
        context = ExecutionContext(database, after, rules, sleep=lambda _s: None, wall_ms=lambda: wall_ms + 35_000)
        reconcile(context)
        _run(context)
        last = _status(database, identity)
    closed = _end_of_position(after, last, identity)
    names = {"executing": "unknown", "active": "waits", "executed": "closed" if closed else "executed"}
    outcome = names.get(first, first)
    return Cell(outcome, creates, last if last != first else "")


SYMBOLS = (SYMBOL, "ETHUSDT")


class TwoCoins(FakeMarket):
    """Two coins that differ in nothing but their names, at a price that stands."""

    base: ClassVar = {**FakeMarket.base, **dict.fromkeys(SYMBOLS, 100_000.0)}

    def __init__(self) -> None:
        super().__init__({symbol: {T0: (100_000.0,) * 4} for symbol in SYMBOLS})
        self.contracts = {**self.contracts, "ETHUSDT": replace(BTC, symbol="ETHUSDT", symbol_id=6, base_coin="ETH")}


@dataclass(frozen=True)
class Together:
    """Orders that went by one request, which met a fault: what became of each, and how many requests that took."""

    outcomes: tuple[str, ...]
    batches: int
    creates: int


def run_together(running: RunningExchange, database: Database, account: str, fault: str) -> Together:
    """Orders of two coins by one request, whose leverages were set ahead, in an account of the ledger of its own.

    Raises:
        AssertionError: an invariant of the saga is broken after the next run.
    """
    now_ms, rules, late = running.now_ms(), settings(account=account), fault.startswith(TOO_LATE)
    pause_s = _PAUSE_S if late else 0.0
    exchange = _Connector(running, account, timeout_s=_IMPATIENT_S if late else _PATIENT_S)
    wall_ms, keeper = 1_000_000, Keeper(time.monotonic)
    context = ExecutionContext(database, exchange, rules, sleep=lambda _s: time.sleep(pause_s), wall_ms=lambda: wall_ms)
    context = replace(context, keeper=keeper)
    context.require_bound()
    keeper.hear(Up(()))
    ReadAhead(keeper, lambda: context, lambda: SYMBOLS).set_leverages()
    identities = [_waiting(database, account, now_ms, symbol) for symbol in SYMBOLS]
    exchange.requests.clear()
    where = "POST /v5/order/create-batch"
    running.faults.add(parse_rules({"faults": [{"where": where, "times": 1, **FAULTS[fault]}]}, ENDPOINTS), now_ms)
    _run(context)
    first = [_status(database, identity) for identity in identities]
    batches, creates = exchange.requests["place_batch_order"], exchange.requests["place_order"]
    running.faults.remove()
    time.sleep(_BAN_S if "ban_s" in FAULTS[fault] else LATE_MS / 1000 if late else 0.0)
    after = _Connector(running, account)
    if {"active", "executing"} & set(first):
        context = ExecutionContext(database, after, rules, sleep=lambda _s: None, wall_ms=lambda: wall_ms + 35_000)
        reconcile(context)
        _run(context)
    outcomes = []
    for identity, symbol, before in zip(identities, SYMBOLS, first, strict=True):
        last = _status(database, identity)
        assert not _end_of_position(after, last, identity, symbol), "nothing was to be closed"
        outcome = {"executing": "unknown", "active": "waits"}.get(before, before)
        outcomes.append(str(Cell(outcome, 0, last if last != before else "")))
    return Together(tuple(outcomes), batches, creates)


def _waiting(database: Database, account: str, now_ms: int, symbol: str = SYMBOL) -> str:
    with database.write() as connection:
        account_ledger.add_reconciliation(
            connection, account, new_fills=0, new_closings=0, open_positions=0, differences=0, until_ms=now_ms
        )
    return add_signal_at_100_000(database, symbol, now_ms, account=account)


def _run(context: ExecutionContext) -> None:
    try:
        submit_orders(context)
    except TradingAssetsError:
        return  # a run that fails; the next one comes


def _status(database: Database, identity: str) -> str:
    return str(signals.by_ids(database, [identity]).iloc[0]["status"])


def _end_of_position(exchange: _Connector, status: str, identity: str, symbol: str = SYMBOL) -> bool:
    """Executed is one position with its stop, or one that was closed; anything else is none. Whether it was closed.

    The position is closed then, for the next cell.
    """
    position = exchange.position(symbol)
    assert status in ("executed", "rejected", "failed"), status
    entry = exchange.find_order(symbol, order_link_id(identity))
    assert (entry is not None) == (status == "executed"), f"{identity}: {status}, {entry}"
    if position is None:
        return entry is not None
    assert entry is not None
    assert (position.side, position.size, position.stop_loss) == (Side.BUY, Decimal("0.001"), Decimal(98_000))
    exchange.place_order(OrderRequest(symbol, Side.SELL, position.size, order_link_id(identity, "c"), reduce_only=True))
    return False


def told_by(page: str) -> dict[tuple[str, str], str]:
    """The outcomes in the page's table: faults down, calls across; a read has them in the rows "before"."""
    calls = [*WRITES, *READS]
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in page.splitlines() if line[:1] == "|"]
    start = rows.index(["fault", *(f"`{call}`" for call in calls)])
    table = rows[start : start + 2 + len(FAULTS)]
    found = {row[0]: row[1:] for row in table if row[0] in FAULTS}
    return {(call, fault): cell for fault, row in found.items() for call, cell in zip(calls, row, strict=True)}
