"""Requests that a broken or hostile client sends: a seeded generator. It sends nothing."""

from __future__ import annotations

import hashlib
import hmac
import json
import random
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import quote

from trading_assets.simulator.auth import Credentials
from trading_assets.simulator.rest.common import Route

ODD_TEXTS = (
    *("", " ", "0", "-0", "-1", "1", "00", "1.0", "1.5", "-1.5", "1e3", "1e-05", "1E+400", "-1e400", "0.0000000000001"),
    *("NaN", "nan", "sNaN", "inf", "-Infinity", "null", "None", "true", "false", "True", "[]", "{}", "0x10", "1_000"),
    *("99999999999999999999", "9" * 400, "-" + "9" * 30, "9223372036854775808", "1767225600000", "4102444800000"),
    *(
        "١٢٣",
        "½",
        "²",
        "１",
        "\x00",
        "\n",
        "\ud800",
        "é",
        "💥",
        "a" * 5000,
        "%",
        "%2",
        "%25",
        "%00",
        "+",
        "&",
        "=",
        ";",
    ),
    *(
        "'",
        '"',
        "\\",
        "<script>",
        "../../etc/passwd",
        "'; DROP TABLE orders; --",
        "{0}",
        "%s%n",
        "BTCUSDT\n",
        "btcusdt",
    ),
    *(",", ":", "a,b", "%2C", "%252C", "%25252C", "a%3A1%2Cb%3A2", "LTCUSDT%2C1%2C0", "," * 50, "x,y,z", "1:2,1:2"),
)
ODD_JSON: tuple[object, ...] = (
    *(None, True, False, 0, -1, 1, 10**30, -(10**30), 1.5, -0.0, 1e308, 5e-324, [], {}, [1], ["BTCUSDT"]),
    *({"a": 1}, [[]], {"$ne": None}, [None], [[[[[[]]]]]], "\ud800", 9007199254740993),
)
WORDS = (
    *("linear", "spot", "inverse", "option", "BTCUSDT", "ETHUSDT", "NOSUCHUSDT", "USDT", "USDC", "BTC", "UNIFIED"),
    *("Buy", "Sell", "Market", "Limit", "GTC", "IOC", "FOK", "PostOnly", "Full", "Partial", "Order", "StopOrder"),
    *("tpslOrder", "LastPrice", "MarkPrice", "IndexPrice", "Percent", "TickSize", "D", "W", "M", "60", "Trading"),
    *("Closed", "PreLaunch", "New", "Filled", "Cancelled", "Trade", "Funding", "REGULAR_MARGIN", "ISOLATED_MARGIN"),
)
FIELDS = (
    *("category", "symbol", "baseCoin", "settleCoin", "coin", "interval", "start", "end", "startTime", "endTime"),
    *("limit", "cursor", "status", "accountType", "orderId", "orderLinkId", "openOnly", "orderFilter", "orderStatus"),
    *("execType", "side", "orderType", "qty", "price", "timeInForce", "triggerPrice", "triggerDirection", "triggerBy"),
    *("takeProfit", "stopLoss", "tpTriggerBy", "slTriggerBy", "tpslMode", "tpOrderType", "slOrderType", "tpLimitPrice"),
    *("slLimitPrice", "tpSize", "slSize", "trailingStop", "activePrice", "reduceOnly", "closeOnTrigger", "positionIdx"),
    *(
        "mode",
        "buyLeverage",
        "sellLeverage",
        "slippageTolerance",
        "slippageToleranceType",
        "setMarginMode",
        "isLeverage",
    ),
)
USUAL: dict[str, tuple[object, ...]] = {
    "category": ("linear",),
    "symbol": ("BTCUSDT", "ETHUSDT", "BTCUSDT"),
    "settleCoin": ("USDT",),
    "accountType": ("UNIFIED",),
    "interval": ("1", "5", "60", "D", "W", "M"),
    "side": ("Buy", "Sell"),
    "orderType": ("Market", "Market", "Limit"),
    "qty": ("0.001", "0.01", "1", 0.01),
    "price": ("1000", "50000", "200000"),
    "buyLeverage": ("2", "10", 5),
    "sellLeverage": ("2", "10", 5),
    "mode": (0, 3),
    "positionIdx": (0, 0, 1, 2),
    "tpslMode": ("Full", "Partial"),
    "takeProfit": ("0", "300000", "1000"),
    "stopLoss": ("0", "300000", "1000"),
    "reduceOnly": (True, False),
    "limit": ("1", "50"),
}
NEEDED = {
    "/v5/order/create": ("category", "symbol", "side", "orderType", "qty"),
    "/v5/order/amend": ("category", "symbol", "orderId", "qty", "price"),
    "/v5/order/cancel": ("category", "symbol", "orderId"),
    "/v5/position/set-leverage": ("category", "symbol", "buyLeverage", "sellLeverage"),
    "/v5/position/switch-mode": ("category", "symbol", "mode"),
    "/v5/position/trading-stop": ("category", "symbol", "tpslMode", "positionIdx", "takeProfit", "stopLoss"),
    "/v5/account/wallet-balance": ("accountType",),
    "/v5/market/kline": ("category", "symbol", "interval"),
}
USUAL_NEEDED = ("category", "symbol")
"""What a well-formed request carries; mutations begin with one, so that they get past the first check."""


@dataclass(frozen=True)
class FuzzedRequest:
    """One request as it goes over the line."""

    method: str
    path: str
    query: bytes = b""
    body: bytes = b""
    headers: tuple[tuple[bytes, bytes], ...] = ()

    def __str__(self) -> str:
        return (
            f"{self.method} {self.path}?{self.query[:300].decode('latin-1')} {self.body[:300]!r} {self.headers!r:.400}"
        )


@dataclass
class RequestMaker:
    """Requests in a sequence that depends on `seed` only. `seen` are identifiers and cursors of earlier answers."""

    routes: Sequence[Route]
    seed: int
    credentials: Credentials = field(default_factory=Credentials)
    seen: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self._random = random.Random(self.seed)

    def remember(self, text: str) -> None:
        """Use `text` as a parameter now and then."""
        if text:
            self.seen = [*self.seen[-49:], text]

    def request(self, now_ms: int) -> FuzzedRequest:
        """The next request, signed for `now_ms` unless its flaw is the signature."""
        chance = self._random
        route = chance.choice(self.routes)
        values = self._values(route)
        query, body = b"", b""
        if route.method == "GET":
            query = self._query(values)
            body = b"{}" if chance.random() < 0.01 else b""
        else:
            body = self._body(values)
            query = self._query(values) if chance.random() < 0.02 else b""
        path = self._path(route.path) if chance.random() < 0.03 else route.path
        method = chance.choice(("GET", "POST", "PUT", "DELETE", "HEAD")) if chance.random() < 0.02 else route.method
        return FuzzedRequest(method, path, query, body, self._headers(query if method == "GET" else body, now_ms))

    def _values(self, route: Route) -> dict[str, object]:
        chance = self._random
        values: dict[str, object] = {}
        if chance.random() < 0.9:
            for name in NEEDED.get(route.path, USUAL_NEEDED):
                values[name] = self._usual(name)
        for _ in range(chance.choice((0, 0, 1, 1, 2, 3, 6))):
            name = chance.choice(FIELDS)
            values[name] = self._usual(name) if chance.random() < 0.4 else self._odd(route.method)
        if values and chance.random() < 0.1:
            del values[chance.choice(list(values))]
        return values

    def _usual(self, name: str) -> object:
        if name in ("orderId", "orderLinkId", "cursor"):
            return self._random.choice(self.seen) if self.seen else "none"
        return self._random.choice(USUAL.get(name, WORDS))

    def _odd(self, method: str) -> object:
        chance = self._random
        kind = chance.random()
        if kind < 0.4:
            return chance.choice(ODD_TEXTS)
        if kind < 0.6:
            return chance.choice(WORDS)
        if kind < 0.7 and self.seen:
            return chance.choice(self.seen)
        if kind < 0.85:
            return str(chance.randint(-(10 ** chance.randint(1, 18)), 10 ** chance.randint(1, 18)))
        if kind < 0.95 and method == "POST":
            return chance.choice(ODD_JSON)
        return "".join(chr(chance.randint(0, 0x2FF)) for _ in range(chance.randint(1, 20)))

    def _query(self, values: dict[str, object]) -> bytes:
        chance = self._random
        pairs = []
        for name, value in values.items():
            text = str(value).encode("utf-8", "surrogatepass")
            raw = chance.random() < 0.15
            pairs.append(name.encode() + b"=" + (text if raw else quote(text, safe="").encode()))
        if pairs and chance.random() < 0.05:
            pairs.append(chance.choice(pairs))
        query = chance.choice((b"&",) * 20 + (b"&&", b";")).join(pairs)
        return self._damaged(query) if chance.random() < 0.05 else query

    def _body(self, values: dict[str, object]) -> bytes:
        chance = self._random
        if chance.random() < 0.02:
            return json.dumps(chance.choice(ODD_JSON)).encode()
        if chance.random() < 0.01:
            return b'{"category":' + b"[" * 50_000
        kept: dict[str, Any] = {name: value for name, value in values.items() if value != 1.5e308}
        body = json.dumps(kept, ensure_ascii=chance.random() < 0.5).encode("utf-8", "surrogatepass")
        return self._damaged(body) if chance.random() < 0.05 else body

    def _damaged(self, text: bytes) -> bytes:
        """Cut, with a byte changed, or with a piece twice."""
        chance = self._random
        at = chance.randrange(len(text) + 1)
        kind = chance.random()
        if kind < 0.4:
            return text[:at]
        if kind < 0.8:
            return text[:at] + bytes([chance.randrange(256)]) + text[at + 1 :]
        return text[:at] + text

    def _path(self, path: str) -> str:
        chance = self._random
        return chance.choice(
            (
                path + "/",
                path.upper(),
                path + "%00",
                "//" + path,
                path + "/..",
                "/v5/" + chance.choice(WORDS),
                path[:-1],
            )
        )

    def _headers(self, payload: bytes, now_ms: int) -> tuple[tuple[bytes, bytes], ...]:
        chance = self._random
        key, stamp, window = self.credentials.key, str(now_ms), chance.choice(("5000", "5000", "", "20000"))
        flaw = chance.random()
        if flaw < 0.02:
            stamp = str(chance.choice((*ODD_TEXTS, now_ms + 60_000, now_ms - 60_000)))
        elif flaw < 0.04:
            window = str(chance.choice(ODD_TEXTS))
        elif flaw < 0.05:
            key = str(chance.choice(ODD_TEXTS))
        origin = f"{stamp}{key}{window}".encode("utf-8", "surrogatepass") + payload
        sign = hmac.new(self.credentials.secret.encode(), origin, hashlib.sha256).hexdigest()
        if 0.05 <= flaw < 0.07:
            sign = str(chance.choice(ODD_TEXTS))
        texts = {"x-bapi-api-key": key, "x-bapi-timestamp": stamp, "x-bapi-sign": sign, "x-bapi-recv-window": window}
        if 0.07 <= flaw < 0.09:
            del texts[chance.choice(list(texts))]
        return tuple((name.encode(), text.encode("utf-8", "surrogatepass")) for name, text in texts.items())
