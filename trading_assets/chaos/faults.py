"""Random faults of the embedded exchange for the calls of an order's saga, put in force and lifted over HTTP."""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from typing import Any

import requests

from trading_assets.core.errors import ExchangeUnavailableError

CREATE = "POST /v5/order/create"
LEVERAGE = "POST /v5/position/set-leverage"
STOPS = "POST /v5/position/trading-stop"
OPEN_ORDERS = "GET /v5/order/realtime"
HISTORY = "GET /v5/order/history"
POSITIONS = "GET /v5/position/list"
WALLET = "GET /v5/account/wallet-balance"
CALLS = (CREATE, LEVERAGE, STOPS, OPEN_ORDERS, HISTORY, POSITIONS, WALLET)

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

REFUSED_STOPS: Mapping[str, Any] = {"where": STOPS, "ret_code": 10001}


def some_faults(chance: random.Random) -> list[dict[str, Any]]:
    """None, one or a few rules that soon wear off; half of them on the call that opens a position."""
    rules = []
    for _ in range(chance.choice((0, 1, 1, 2, 3))):
        where = chance.choice((CREATE, *CALLS)) if chance.random() < 0.5 else CREATE
        rules.append({"where": where, "times": chance.choice((1, 1, 2, 5)), **chance.choice(KINDS)})
    return rules


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
    """The fault rules of one running exchange."""

    def __init__(self, url: str) -> None:
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

    def _ask(self, method: str, body: object = None) -> dict[str, Any]:
        answer = self._session.request(method, self._url, json=body, timeout=10)
        if answer.status_code != requests.codes.ok:
            raise ExchangeUnavailableError(f"the embedded exchange refused {method} {self._url}: {answer.text}")
        found: dict[str, Any] = answer.json()
        return found
