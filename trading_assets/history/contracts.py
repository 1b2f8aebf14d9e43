"""Lists of contracts: rows of a table, or of Bybit's answer, into what they say of each contract."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Iterator, Mapping
from decimal import Decimal, InvalidOperation
from typing import Any

import numpy as np

from trading_assets.history.rows import ContractRow, FileFault, milliseconds, symbol_of

_NAMES: Mapping[str, tuple[str, ...]] = {
    "tick_size": ("ticksize", "minimumpricevariation", "tick", "pricetick"),
    "qty_step": ("qtystep", "lotsize", "stepsize", "step"),
    "min_qty": ("minorderqty", "minimumordersize", "minqty"),
    "max_market_qty": ("maxmktorderqty", "maxmarketqty"),
    "min_notional": ("minnotionalvalue", "minnotional"),
    "max_leverage": ("maxleverage",),
    "funding_interval_min": ("fundinginterval", "fundingintervalmin"),
    "listed_ms": ("launchtime", "listedms", "listed", "onboarddate", "firsttrade"),
    "delivery_ms": ("deliverytime", "deliveryms", "delisted", "deliverydate", "lasttrade"),
    "delivery_price": ("deliveryprice", "settlementprice"),
    "status": ("status",),
    "symbol_type": ("symboltype",),
    "seen_ms": ("seenms",),
    "announced_ms": ("announcedms", "announced", "announcedat", "announcementtime"),
}
_TRADING = frozenset({"trading", "delivering", "settling", "prelaunch", "pre-launch"})
_COINS = frozenset({"", "innovation"})
_FAR_MS = 4_000_000_000_000
"""Some lists say 2100 of a contract that has no end."""


def from_rows(rows: Iterable[Mapping[str, Any]]) -> list[ContractRow]:
    """What each row says. Contracts that are not linear are left out.

    Raises:
        FileFault: no row says anything of a linear contract.
    """
    found: dict[str, ContractRow] = {}
    for row in rows:
        told = dict(_flat(row))
        name = told.get("symbol")
        if not isinstance(name, str) or not _is_linear(told):
            continue
        try:
            symbol = symbol_of(name)
        except FileFault:
            continue
        found[symbol] = _contract(symbol, told)
    if not found or not any(_says_something(one) for one in found.values()):
        raise FileFault(
            "no contract with a tick, a lot or a time in it; expected columns such as symbol, tick_size, qty_step, "
            "listed_ms, delivery_ms, or Bybit's answer to instruments-info"
        )
    return list(found.values())


def _is_linear(told: Mapping[str, Any]) -> bool:
    kind = str(told.get("contracttype", "LinearPerpetual"))
    return kind in ("", "LinearPerpetual", "PERPETUAL")


def _says_something(one: ContractRow) -> bool:
    return any(value is not None for value in (one.tick_size, one.qty_step, one.listed_ms, one.delivery_ms))


def _flat(row: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    """Pairs of a row, filters in it included, by their names in small letters without marks."""
    for name, value in row.items():
        if isinstance(value, Mapping):
            yield from _flat(value)
        else:
            yield re.sub(r"[^a-z0-9]", "", str(name).lower()), value


def _contract(symbol: str, told: Mapping[str, Any]) -> ContractRow:
    value = {name: next((told[one] for one in names if one in told), None) for name, names in _NAMES.items()}
    interval = _decimal(value["funding_interval_min"])
    status = value["status"]
    return ContractRow(
        symbol,
        tick_size=_decimal(value["tick_size"]),
        qty_step=_decimal(value["qty_step"]),
        min_qty=_decimal(value["min_qty"]),
        max_market_qty=_decimal(value["max_market_qty"]),
        min_notional=_decimal(value["min_notional"]),
        max_leverage=_decimal(value["max_leverage"]),
        funding_interval_min=None if interval is None else int(interval),
        listed_ms=_time(value["listed_ms"]),
        delivery_ms=_time(value["delivery_ms"]),
        delivery_price=_price(value["delivery_price"]),
        trading=None if status in (None, "") else str(status).lower() in _TRADING,
        is_coin=str(value["symbol_type"] or "").lower() in _COINS,
        seen_ms=_time(value["seen_ms"]),
        announced_ms=_time(value["announced_ms"]),
    )


def _decimal(value: Any) -> Decimal | None:
    if value is None or value == "":
        return None
    try:
        number = Decimal(str(value))
    except InvalidOperation:
        return None
    return number if number.is_finite() and number > 0 else None


def _price(value: Any) -> float | None:
    number = _decimal(value)
    return None if number is None or not math.isfinite(float(number)) else float(number)


def _time(value: Any) -> int | None:
    """UTC ms of a number since 1970 or of a day such as 2022-05-13; None where it says nothing, or 2100."""
    import pandas as pd  # noqa: PLC0415 (dates alone need it)

    if value is None or value in ("", 0, "0"):
        return None
    try:
        number = float(value)
    except (TypeError, ValueError):
        moment = pd.to_datetime(str(value), utc=True, errors="coerce")
        return int(moment.timestamp() * 1000) if isinstance(moment, pd.Timestamp) else None
    if not math.isfinite(number):
        return None
    found = int(milliseconds(np.array([number]))[0])
    return found if 0 < found < _FAR_MS else None
