"""What becomes of a waiting signal: an order of a certain size, or a refusal. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from decimal import Decimal
from typing import Any

from trading_assets.core.models import Instrument, Ticker
from trading_assets.core.settings import Settings
from trading_assets.ledger.orders import Intent
from trading_assets.trading.decide.sizing import Size, Unsizable, size_position
from trading_assets.trading.risk.gates import refusals
from trading_assets.trading.risk.pre_trade import Account, Candidate, Refusal

Row = dict[str, Any]
"""A waiting signal: a row of `entry_signals`."""


@dataclass(frozen=True)
class Market:
    """What is read once for all waiting signals.

    Attributes:
        foreign: number of symbols with a position of others. Each takes one of the account's places.
        blocked: why checks block a signal, by id.
        unknown: why the contract or the ticker of a symbol cannot be had now.
    """

    instruments: Mapping[str, Instrument]
    tickers: Mapping[str, Ticker]
    foreign: int
    blocked: Mapping[str, str]
    unknown: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Entry:
    """The order of a signal: its size, and the price that the size was computed from."""

    size: Size
    price: Decimal


@dataclass(frozen=True)
class Refused:
    """Why a signal gets no order. `final`: it can get none during its life."""

    reason: str
    final: bool


@dataclass(frozen=True)
class Plan:
    """What becomes of a signal. `refusals`: the gates that failed; None where there is no market to ask them about."""

    outcome: Entry | Refused
    refusals: tuple[Refusal, ...] | None = None


def plan_entry(row: Row, market: Market, account: Account, settings: Settings, now_ms: int) -> Plan:
    """Ask every gate about a signal, and compute the size of its order."""
    signal_id, symbol = str(row["signal_id"]), str(row["symbol"])
    instrument, ticker = market.instruments.get(symbol), market.tickers.get(symbol)
    if instrument is None:
        why = market.unknown.get(symbol)
        return Plan(Refused(why or f"{symbol} is not listed", final=why is None))
    if ticker is None:
        return Plan(Refused(market.unknown.get(symbol, f"the exchange has no ticker of {symbol}"), final=False))
    candidate = Candidate(
        symbol=symbol,
        strategy=str(row["strategy"]),
        confidence=float(row["confidence"]),
        entry_price=Decimal(str(row["entry_price"])),
        hour_ms=int(row["hour_ms"]),
        ttl_ms=int(row["ttl_ms"]),
        blocked=market.blocked.get(signal_id),
        status=instrument.status,
        delivery_ms=instrument.delivery_ms,
    )
    failed = tuple(refusals(candidate, ticker, account, settings, now_ms))
    if failed:
        reason = "; ".join(map(str, failed))
        return Plan(Refused(reason, final=any(refusal.final for refusal in failed)), failed)
    size = size_position(instrument, ticker.last, settings)
    if isinstance(size, Unsizable):
        return Plan(Refused(size.reason, final=True), failed)
    return Plan(Entry(size, ticker.last), failed)


def account_after(account: Account, intent: Intent, price: Decimal) -> Account:
    """Return the account once the intent is a position: the gates are asked about the next signal with it."""
    margin = intent.qty * price / intent.leverage
    free = account.wallet.available
    wallet = replace(account.wallet, available=None if free is None else free - margin)
    return replace(account, wallet=wallet, occupied=account.occupied | {intent.symbol})
