"""The matrix of calls of orders that wait: every fault of the exchange at each, before and after it was processed.

Each cell is one call on the embedded exchange, over HTTP: what the connector says of it, what is at the exchange then,
and how many requests it took. There is no call that cancels all orders.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from decimal import Decimal

from trading_assets.core.errors import (
    AmbiguousOutcomeError,
    ExchangeError,
    ExchangeFatalError,
    NotSentError,
    OrderRejectedError,
)
from trading_assets.core.models import Order, OrderAck, OrderChange, OrderRequest, Side
from trading_assets.simulator.embedded import RunningExchange
from trading_assets.simulator.faults.parsing import parse_rules
from trading_assets.simulator.server import ENDPOINTS
from trading_assets_tests.trading.saga.fault_matrix import (
    _BAN_S,
    _IMPATIENT_S,
    _PATIENT_S,
    FAULTS,
    LATE_MS,
    SYMBOL,
    TOO_LATE,
    _Connector,
)

D = Decimal
QTY, PRICE, MOVED = D("0.001"), D(90_000), D(91_000)

CALLS = {
    "create limit": ("POST /v5/order/create", "place_order"),
    "amend": ("POST /v5/order/amend", "amend_order"),
    "cancel": ("POST /v5/order/cancel", "cancel_order"),
    "create batch": ("POST /v5/order/create-batch", "place_batch_order"),
    "cancel batch": ("POST /v5/order/cancel-batch", "cancel_batch_order"),
}


@dataclass(frozen=True)
class Cell:
    """One call: its answer, whether what it asks for was done, and its requests."""

    answer: str
    done: bool
    requests: int

    def __str__(self) -> str:
        told = self.answer
        if self.answer == "unknown" or (self.done and self.answer != "done"):
            told += ", was done" if self.done else ", was not done"
        return told if self.requests == 1 else f"{told}, {self.requests} requests"


def run_cell(running: RunningExchange, name: str, call: str, fault: str) -> Cell:
    """One call of orders of its own that meets the fault; what it leaves is cancelled then.

    Raises:
        AssertionError: an order is there twice, or an answer says what is not so.
    """
    where, method = CALLS[call]
    exchange = _Connector(running, name, timeout_s=_IMPATIENT_S if fault.startswith(TOO_LATE) else _PATIENT_S)
    calm = _Connector(running, name)
    links = [f"{name}-{number}" for number in range(2 if call.endswith("batch") else 1)]
    if not call.startswith("create"):
        for link in links:
            calm.place_order(_limit(link))
    exchange.now_ms()  # its clock is known: the fault meets the call alone
    running.faults.add(parse_rules({"where": where, "times": 1, **FAULTS[fault]}, ENDPOINTS), running.now_ms())
    answers = {_word(one) for one in _call(exchange, call, links)}
    running.faults.remove()
    if fault.startswith(TOO_LATE):
        time.sleep(LATE_MS / 1000)  # what is late is there by then
    time.sleep(_BAN_S)
    waiting = [one for one in calm.open_orders(SYMBOL) if one.order_link_id in links]
    assert len({one.order_link_id for one in waiting}) == len(waiting), waiting
    done = {_is_done(call, link, waiting) for link in links}
    for one in waiting:
        calm.cancel_order(SYMBOL, one.order_link_id)
    (answer,), (is_done,) = answers, done  # of a batch all items have the same
    assert answer != "done" or is_done, f"{call}, {fault}: the answer says that it is done"
    assert answer not in ("refused", "not sent") or not is_done or FAULTS[fault].get("processed"), (call, fault)
    return Cell(answer, is_done, exchange.requests[method])


def _limit(link: str) -> OrderRequest:
    return OrderRequest(SYMBOL, Side.BUY, QTY, link, price=PRICE, post_only=True)


def _call(exchange: _Connector, call: str, links: Sequence[str]) -> Sequence[object]:
    match call:
        case "create limit":
            return [_tried(lambda: exchange.place_order(_limit(links[0])))]
        case "amend":
            return [_tried(lambda: exchange.amend_order(OrderChange(SYMBOL, links[0], price=MOVED)))]
        case "cancel":
            return [_tried(lambda: exchange.cancel_order(SYMBOL, links[0]))]
        case "create batch":
            return exchange.place_orders([_limit(link) for link in links])
    return exchange.cancel_orders([(SYMBOL, link) for link in links])


def _tried(act: Callable[[], OrderAck | None]) -> object:
    try:
        return act()
    except ExchangeError as error:
        return error


def _word(answer: object) -> str:
    match answer:
        case OrderRejectedError():
            return "refused"
        case NotSentError():
            return "not sent"
        case AmbiguousOutcomeError():
            return "unknown"
        case ExchangeFatalError():
            return "account refused"
        case ExchangeError():
            return type(answer).__name__
    return "done"


def _is_done(call: str, link: str, waiting: Sequence[Order]) -> bool:
    found = [one for one in waiting if one.order_link_id == link]
    if call.startswith("create"):
        return bool(found)
    return found[0].price == MOVED if call == "amend" else not found


def told_by(page: str) -> dict[tuple[str, str], str]:
    """The outcomes in the page's table: faults down, calls across."""
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in page.splitlines() if line[:1] == "|"]
    head = ["fault", *(f"`{call}`" for call in CALLS)]
    assert head in rows
    found = {row[0]: row[1:] for row in rows[rows.index(head) :] if row[0] in FAULTS}
    return {(call, fault): cell for fault, row in found.items() for call, cell in zip(CALLS, row, strict=True)}
