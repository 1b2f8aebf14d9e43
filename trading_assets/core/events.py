"""Trade events: what became of an order, in words that need no code of the exchange. Pure.

The steps of an order make them from the connector's answers and errors; `trading.context` passes them on.
"""

from __future__ import annotations

from dataclasses import dataclass, fields
from decimal import Decimal
from enum import StrEnum
from typing import ClassVar

from trading_assets.core.errors import (
    AmbiguousOutcomeError,
    ClockSkewError,
    ExchangeError,
    ExchangeFatalError,
    ExchangeUnavailableError,
    InsufficientBalanceError,
    NotSentError,
    OrderRejectedError,
    RateLimitedError,
    SymbolUnavailableError,
)
from trading_assets.core.models import Side


class Failure(StrEnum):
    """Why an order failed, or is not known to have succeeded."""

    BALANCE = "insufficient balance"
    SYMBOL = "symbol unavailable"
    REJECTED = "rejected"
    NOT_FILLED = "not filled"
    RATE_LIMIT = "rate limit"
    CLOCK = "clock differs"
    NOT_SENT = "not sent"
    ACCOUNT = "key or account refused"
    UNKNOWN = "outcome unknown"


_FAILURES: tuple[tuple[type[ExchangeError], Failure], ...] = (
    (InsufficientBalanceError, Failure.BALANCE),
    (SymbolUnavailableError, Failure.SYMBOL),
    (OrderRejectedError, Failure.REJECTED),
    (RateLimitedError, Failure.RATE_LIMIT),
    (ClockSkewError, Failure.CLOCK),
    (NotSentError, Failure.NOT_SENT),
    (ExchangeFatalError, Failure.ACCOUNT),
    (AmbiguousOutcomeError, Failure.UNKNOWN),
    (ExchangeUnavailableError, Failure.UNKNOWN),
)
"""The narrower error comes first."""


def failure_of(error: ExchangeError) -> Failure:
    """What an error of the connector means for an order."""
    return next((failure for kind, failure in _FAILURES if isinstance(error, kind)), Failure.UNKNOWN)


@dataclass(frozen=True)
class TradeExecuted:
    """An order was filled and its position has its stop, or was closed for want of one."""

    name: ClassVar[str] = "trade_executed"

    account: str
    symbol: str
    side: Side
    signal_id: str
    order_link_id: str
    order_id: str | None
    qty: Decimal
    price: Decimal | None
    stop_loss: Decimal
    take_profit: Decimal
    time_ms: int


@dataclass(frozen=True)
class TradeFailed:
    """An order failed. With `Failure.UNKNOWN` it may still be filled, and is looked up again."""

    name: ClassVar[str] = "trade_failed"

    account: str
    symbol: str
    side: Side
    signal_id: str
    order_link_id: str
    qty: Decimal
    failure: Failure
    detail: str
    time_ms: int


TradeEvent = TradeExecuted | TradeFailed


def record_of(event: TradeEvent) -> dict[str, str | int | None]:
    """An event as a flat record for logs and tables: its name first, money as text."""
    values = {field.name: getattr(event, field.name) for field in fields(event)}
    return {
        "event": event.name,
        **{name: value if value is None or isinstance(value, int) else str(value) for name, value in values.items()},
    }
