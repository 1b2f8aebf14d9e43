"""Random faults of the embedded exchange for the calls of an order's saga, put in force and lifted over HTTP."""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import requests

from trading_assets.core.errors import ExchangeUnavailableError

CREATE = "POST /v5/order/create"
CREATE_TOGETHER = "POST /v5/order/create-batch"
LEVERAGE = "POST /v5/position/set-leverage"
STOPS = "POST /v5/position/trading-stop"
OPEN_ORDERS = "GET /v5/order/realtime"
HISTORY = "GET /v5/order/history"
POSITIONS = "GET /v5/position/list"
WALLET = "GET /v5/account/wallet-balance"
AMEND = "POST /v5/order/amend"
CANCEL = "POST /v5/order/cancel"
CALLS = (CREATE, LEVERAGE, STOPS, OPEN_ORDERS, HISTORY, POSITIONS, WALLET, AMEND, CANCEL)

TIMEOUT_MS = 250
"""The workers' patience with one request."""

KINDS: tuple[Mapping[str, Any], ...] = (
    {"lost_request": True},
    {"lost_answer": True},
    {"truncated": True},
    {"http_status": 502},
    {"http_status": 504, "processed": True},
    {"html": True},
    {"html": True, "processed": True},
    {"ret_code": 10000},
    {"ret_code": 10000, "processed": True},
    {"ret_code": 10016, "processed": True},
    {"ret_code": 10006},
    {"ret_code": 10006, "processed": True},
    {"ret_code": 110007},
    {"latency_ms": TIMEOUT_MS + 100, "processed": True},
)

REFUSED_STOPS: Mapping[str, Any] = {
    "where": STOPS,
    "ret_code": 10001,
    "ret_msg": "StopLoss:1 set for Buy position should lower than base_price:1",
}
"""A refusal because of the price: the position is to be closed."""

ODD_REFUSALS = (10001, 10404, 10018, 110009, 170001)
"""Codes that say nothing of a lost stop; the position is not to be closed because of them."""


def some_faults(chance: random.Random) -> list[dict[str, Any]]:
    """None, one or a few rules that soon wear off; half of them on the call that opens a position."""
    rules = []
    for _ in range(chance.choice((0, 1, 1, 2, 3))):
        where = chance.choice((CREATE, *CALLS)) if chance.random() < 0.5 else CREATE
        rules.append({"where": where, "times": chance.choice((1, 1, 2, 5)), **chance.choice(KINDS)})
    return rules + [{**rule, "where": CREATE_TOGETHER} for rule in rules if rule["where"] == CREATE]


def some_late_commands(chance: random.Random) -> list[dict[str, Any]]:
    """Changes and cancellations of orders that wait are accepted, and take effect later, if the order is open then."""
    return [
        {"where": where, "act_after_ms": chance.choice((500, 5_000, 20_000)), "times": chance.choice((1, 3))}
        for where in (AMEND, CANCEL)
        if chance.random() < 0.3
    ]


CLOSINGS = "GET /v5/position/closed-pnl"
EXECUTIONS = "GET /v5/execution/list"
TRANSACTIONS = "GET /v5/account/transaction-log"
LISTS = (OPEN_ORDERS, HISTORY, POSITIONS, WALLET, CLOSINGS, EXECUTIONS, TRANSACTIONS)


def some_lags(chance: random.Random) -> list[dict[str, Any]]:
    """Lists of the account that show what was some seconds ago, of the exchange's clock."""
    return [{"where": where, "lag_ms": chance.choice((500, 3_000, 30_000))} for where in LISTS if chance.random() < 0.4]


ODD_ROWS: tuple[Mapping[str, Any], ...] = (
    {"where": POSITIONS, "set": {"side": "Sideways"}},
    {"where": POSITIONS, "without": ["positionIdx", "size"]},
    {"where": POSITIONS, "set": {"symbol": ""}},
    {"where": POSITIONS, "leave_out": True},
    {"where": POSITIONS, "repeat_rows": True},
    {"where": OPEN_ORDERS, "set": {"orderStatus": "Active"}},
    {"where": OPEN_ORDERS, "set": {"orderType": "Odd", "stopOrderType": "Odd"}},
    {"where": OPEN_ORDERS, "leave_out": True},
    {"where": OPEN_ORDERS, "repeat_rows": True},
    {"where": HISTORY, "leave_out": True},
    {"where": HISTORY, "set": {"qty": "many"}},
    {"where": EXECUTIONS, "leave_out": True},
    {"where": EXECUTIONS, "repeat_rows": True},
    {"where": EXECUTIONS, "without": ["execFee"]},
    {"where": EXECUTIONS, "overlap_rows": 3},
    {"where": CLOSINGS, "leave_out": True},
    {"where": CLOSINGS, "repeat_rows": True},
    {"where": CLOSINGS, "overlap_rows": 3},
    {"where": CLOSINGS, "set": {"closedPnl": ""}},
    {"where": TRANSACTIONS, "repeat_rows": True},
    {"where": TRANSACTIONS, "leave_out": True},
    {"where": WALLET, "set": {"totalEquity": "", "coin.equity": ""}},
    {"where": WALLET, "set": {"totalAvailableBalance": ""}},
    {"where": "GET /v5/market/tickers", "set": {"lastPrice": "", "fundingRate": "odd"}},
    {"where": "GET /v5/market/instruments-info", "without": ["fundingInterval"]},
    {"where": "GET /v5/market/instruments-info", "set": {"status": "Odd", "contractType": "Odd"}},
)


def some_odd_rows(chance: random.Random, symbols: Sequence[str]) -> list[dict[str, Any]]:
    """Rows that are missing, malformed, unknown or there twice; most of them of one contract alone."""
    rules = []
    for _ in range(chance.choice((0, 1, 2, 3))):
        rule: dict[str, Any] = {**chance.choice(ODD_ROWS), "times": chance.choice((1, 2, 5))}
        takes_rows = "overlap_rows" not in rule and not rule["where"].endswith("wallet-balance")
        if takes_rows and chance.random() < 0.7:
            rule["rows"] = {"symbol": chance.choice(list(symbols))}
        rules.append(rule)
    if chance.random() < 0.3:
        rules.append({"where": CREATE, "times": 1, "reject_reason": "EC_NoEnoughQtyToFill"})
    if chance.random() < 0.2:
        rules.append({"where": STOPS, "times": 1, "ret_code": chance.choice(ODD_REFUSALS)})
    return rules


@dataclass(frozen=True)
class Wildness:
    """What is switched on besides deaths and failing calls.

    Attributes:
        hands: a person trades the same and other contracts, moves stops and switches modes.
        lag: lists of the account show what was a while ago; closings grow.
        odd_rows: rows are missing, malformed, unknown or there twice, and orders are rejected after their answer.
        traders: 2 starts a second one while the first one sleeps.
    """

    hands: bool = True
    lag: bool = True
    odd_rows: bool = True
    traders: int = 2


WILD = Wildness()
TAME = Wildness(hands=False, lag=False, odd_rows=False, traders=1)
PROFILES: Mapping[str, Wildness] = {"wild": WILD, "tame": TAME}

GROWING: Mapping[str, Any] = {"where": CREATE, "match": {"reduceOnly": True}, "fill_parts": 3, "times": 1}
"""A closing that fills over minutes, in one row that grows."""


MARKET_KINDS: tuple[Mapping[str, Any], ...] = (
    {"where": "GET /v5/market/kline", "http_status": 502},
    {"where": "GET /v5/market/kline", "lost_answer": True},
    {"where": "GET /v5/market/kline", "truncated": True},
    {"where": "GET /v5/market/kline", "ret_code": 10006},
    {"where": "GET /v5/market/kline", "ret_code": 10016},
    {"where": "GET /v5/market/kline", "latency_ms": 800},
    {"where": "GET /v5/market/kline", "stale_candle": 1},
    {"where": "GET /v5/market/*", "html": True},
    {"where": "GET /v5/market/time", "lost_request": True},
    {"where": "ws:kline.*", "silence": True},
    {"where": "ws:kline.*", "drop": True},
    {"where": "ws:kline.*", "duplicate": True},
    {"where": "ws:kline.*", "reorder": True},
    {"where": "ws:kline.*", "delay_ms": 900},
)


def some_market_faults(chance: random.Random) -> list[dict[str, Any]]:
    """None, one or two rules for candles, by REST and by stream, that strike by chance and soon wear off."""
    rules = []
    for _ in range(chance.choice((0, 1, 1, 2))):
        odds = {"probability": chance.choice((0.1, 0.3, 1.0)), "seed": chance.randrange(1000)}
        rules.append({"times": chance.choice((2, 5, 20)), **odds, **chance.choice(MARKET_KINDS)})
    return rules


class FaultInjector:
    """The fault rules of one running exchange, and what it does by itself."""

    def __init__(self, url: str) -> None:
        self._orders_url = f"{url}/admin/orders"
        self._url = f"{url}/admin/faults"
        self._session = requests.Session()
        self._session.trust_env = False
        self.fired = 0

    def arm(self, rules: Sequence[Mapping[str, Any]]) -> None:
        """Put rules in force behind those there are."""
        if rules:
            self._ask("POST", {"faults": list(rules)})

    def lift(self) -> None:
        """Lift all rules, and count how often they fired."""
        self.fired += sum(int(row["hits"]) for row in self._ask("GET")["faults"])
        self._ask("DELETE")

    def cancel(self, symbol: str, link: str, cancel_type: str) -> None:
        """Have the exchange cancel an order that waits, with its word for why."""
        self._ask("POST", {"symbol": symbol, "link": link, "cancel_type": cancel_type}, self._orders_url)

    def _ask(self, method: str, body: object = None, url: str = "") -> dict[str, Any]:
        answer = self._session.request(method, url or self._url, json=body, timeout=10)
        if answer.status_code != requests.codes.ok:
            raise ExchangeUnavailableError(f"the embedded exchange refused {method} {answer.url}: {answer.text}")
        found: dict[str, Any] = answer.json()
        return found
