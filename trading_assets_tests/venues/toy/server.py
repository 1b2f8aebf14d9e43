"""A made-up exchange in memory, with words, ids, steps and codes of its own: what a venue's service is elsewhere.

`call` answers as a service does: `{"ok": ...}` or `{"err": CODE}`. Prices stand until a test moves them.
"""

from __future__ import annotations

import re
import threading
from collections.abc import Iterator
from decimal import Decimal
from functools import cache
from itertools import count
from typing import Any

Row = dict[str, Any]

FEE = Decimal("0.0004")


class ToyServer:
    """One account with perpetuals in USDC. The clock stands still unless a test moves it."""

    def __init__(self) -> None:
        self.now_ms = 500_000 * 3_600_000 + 5_000
        self.cash = Decimal(20_000)
        self.last = {"BTC-USDC-SWAP": Decimal(50_000), "ETH-USDC-SWAP": Decimal(2_000), "SOL-USDC-SWAP": Decimal(150)}
        self.orders: list[Row] = []
        self.deals: list[Row] = []
        self.rounds: list[Row] = []
        self.held: dict[str, Row] = {}
        self._numbers: Iterator[int] = count(1)
        self._lock = threading.RLock()

    def call(self, path: str, **given: str) -> Row:
        with self._lock:
            return getattr(self, "_" + path.replace("/", "_"))(**given)  # type: ignore[no-any-return]

    def move(self, inst: str, price: str) -> None:
        """The price goes there; a stop or target on the way is hit."""
        with self._lock:
            self.last[inst] = Decimal(price)
            held = self.held.get(inst)
            if held is None:
                return
            sign = 1 if held["dir"] == "long" else -1
            for why in ("sl", "tp"):
                level = held[why]
                away = sign * (self.last[inst] - Decimal(level or 0)) * (1 if why == "tp" else -1)
                if level is not None and away >= 0:
                    self._deal(inst, "sell" if sign > 0 else "buy", held["lots"], Decimal(level), why, "")
                    return

    def force_out(self, inst: str, why: str) -> None:
        """The exchange ends a position itself: `liq` or `adl`."""
        held = self.held[inst]
        self._deal(inst, "sell" if held["dir"] == "long" else "buy", held["lots"], self.last[inst], why, "")

    def _time(self) -> Row:
        return {"ok": {"t": self.now_ms}}

    def _key(self) -> Row:
        return {"ok": {"rights": ["read", "trade"], "ip": "192.0.2.7"}}

    def _contracts(self) -> Row:
        rows = [
            {"inst": inst, "base": inst.split("-", maxsplit=1)[0], "settle": "USDC", "sort": "swap", "state": "live"}
            for inst in self.last
        ]
        return {
            "ok": [*rows, {"inst": "BTC-USDC-27MAR", "base": "BTC", "settle": "USDC", "sort": "fut", "state": "live"}]
        }

    def _quotes(self) -> Row:
        return {"ok": [{"inst": inst, "px": str(price)} for inst, price in self.last.items()]}

    def _account(self) -> Row:
        margin = sum((held["lots"] * held["px"] / 10 for held in self.held.values()), Decimal(0))
        return {"ok": {"cash": str(self.cash), "margin": str(margin)}}

    def _positions(self) -> Row:
        rows = [{**held, "lots": str(held["lots"]), "px": str(held["px"])} for held in self.held.values()]
        return {"ok": rows}

    def _orders(self) -> Row:
        return {"ok": self.orders}

    def _deals(self) -> Row:
        return {"ok": self.deals}

    def _rounds(self) -> Row:
        return {"ok": self.rounds}

    def _order_new(
        self, inst: str, side: str, lots: str, cl: str, sl: str = "", tp: str = "", shrink: str = "no"
    ) -> Row:
        if not re.fullmatch(r"[A-Za-z0-9]{1,32}", cl):
            return {"err": "BAD_ID"}
        if any(order["cl"] == cl for order in self.orders):
            return {"err": "DUP_ID"}
        if Decimal(lots) % Decimal("0.01") or (sl and Decimal(sl) % Decimal("0.5")):
            return {"err": "BAD_STEP"}
        if shrink == "yes" and inst not in self.held:
            return {"err": "NO_POSITION"}
        number = self._deal(inst, side, Decimal(lots), self.last[inst], "user", cl)
        if shrink == "no":
            self.held[inst] |= {"sl": sl or None, "tp": tp or None}
        return {"ok": {"no": number}}

    def _stops(self, inst: str, sl: str = "", tp: str = "") -> Row:
        if inst not in self.held:
            return {"err": "NO_POSITION"}
        self.held[inst] |= {"sl": sl or None, "tp": tp or None}
        return {"ok": {}}

    def _gear(self, inst: str, x: str) -> Row:
        return {"ok": {}}

    def _deal(self, inst: str, side: str, lots: Decimal, price: Decimal, why: str, cl: str) -> str:
        number = str(next(self._numbers))
        held, fee = self.held.get(inst), lots * price * FEE
        self.cash -= fee
        row = {"inst": inst, "side": side, "lots": str(lots), "px": str(price), "why": why, "t": self.now_ms}
        self.orders.append({**row, "no": number, "cl": cl, "state": "done"})
        self.deals.append({**row, "no": number, "cl": cl, "deal": f"d{number}", "fee": str(fee)})
        if held is None:
            self.held[inst] = {
                **{"inst": inst, "dir": "long" if side == "buy" else "short", "lots": lots, "px": price},
                **{"sl": None, "tp": None, "t": self.now_ms},
            }
            return number
        gross = (price - held["px"]) * lots * (1 if held["dir"] == "long" else -1)
        self.cash += gross
        self.rounds.append({**row, "no": number, "in": str(held["px"]), "pnl": str(gross - 2 * fee), "fee": str(fee)})
        del self.held[inst]
        return number


@cache
def server() -> ToyServer:
    """The process's own exchange."""
    return ToyServer()
