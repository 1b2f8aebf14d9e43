"""What becomes of a waiting signal: an order of a certain size, or a refusal. Pure."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from decimal import Decimal
from typing import Any

from trading_assets.core.models import EntryOrder, Instrument, Ticker
from trading_assets.core.settings import Settings
from trading_assets.core.timeframes import iso
from trading_assets.ledger.orders import Intent
from trading_assets.strategies.declared import as_declared
from trading_assets.trading.decide.sizing import Size, Unsizable, on_tick, planned_notional, size_position
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
class Limit:
    """What an entry that waits has besides.

    Attributes:
        until_ms: so long it waits.
        chase_price: up to here it follows the market then; None: it is dropped.
    """

    price: Decimal
    post_only: bool
    until_ms: int
    chase_price: Decimal | None


@dataclass(frozen=True)
class Entry:
    """The order of a signal: its size, the price that the size was computed from, and its levels.

    Attributes:
        stop_loss, take_profit: the signal's, on the contract's tick of now.
        limit: None for one at the market.
    """

    size: Size
    price: Decimal
    stop_loss: Decimal
    take_profit: Decimal
    limit: Limit | None = None
    why_size: str | None = None
    """how its size came about, where it is not that of each"""

    def is_as(self, other: Entry) -> bool:
        """Whether the exchange would be sent the same."""
        mine, others = (
            (one.size, one.stop_loss, one.take_profit, one.limit and (one.limit.price, one.limit.chase_price))
            for one in (self, other)
        )
        return mine == others


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
        # One list without a coin is no evidence that it has gone: the signal waits as long as it lives.
        return Plan(Refused(market.unknown.get(symbol, f"{symbol} is not listed"), final=False))
    if ticker is None:
        return Plan(Refused(market.unknown.get(symbol, f"the exchange has no ticker of {symbol}"), final=False))
    waits = not math.isnan(float(row.get("limit_price") or math.nan))
    ordered_at = Decimal(str(row["limit_price" if waits else "entry_price"]))
    declared = as_declared(settings, str(row["strategy"]))
    planned = planned_notional(
        declared,
        equity=account.wallet.equity,
        confidence=float(row["confidence"]),
        stop_fraction=abs(ordered_at - Decimal(str(row["stop_loss"]))) / ordered_at,
    )
    candidate = Candidate(
        symbol=symbol,
        notional=planned.notional,
        strategy=str(row["strategy"]),
        confidence=float(row["confidence"]),
        entry_price=Decimal(str(row["entry_price"])),
        hour_ms=int(row["hour_ms"]),
        ttl_ms=int(row["ttl_ms"]),
        side=str(row["position_type"]),
        blocked=market.blocked.get(signal_id),
        status=instrument.status,
        delivery_ms=instrument.delivery_ms,
    )
    failed = tuple(refusals(candidate, ticker, account, settings, now_ms))
    if failed:
        reason = "; ".join(map(str, failed))
        return Plan(Refused(reason, final=any(refusal.final for refusal in failed)), failed)
    limit = _limit(row, instrument, settings)
    if limit is not None and limit.until_ms <= now_ms:
        return Plan(Refused(f"it was to wait until {iso(limit.until_ms)}", final=True), failed)
    price = limit.price if limit is not None else ticker.last
    size = size_position(instrument, price, settings, planned.notional)
    if isinstance(size, Unsizable):
        return Plan(Refused(size.reason, final=True), failed)
    levels = _levels(row, instrument, price)
    if isinstance(levels, Refused):
        return Plan(levels, failed)
    return Plan(Entry(size, price, *levels, limit, None if declared.size_by == "fixed" else planned.why), failed)


def _levels(row: Row, instrument: Instrument, price: Decimal) -> tuple[Decimal, Decimal] | Refused:
    """Stop and target on the contract's tick, which may have changed since the signal."""
    tick, is_long = instrument.tick_size, row["position_type"] == "LONG"
    meant, aim = Decimal(str(row["stop_loss"])), Decimal(str(row["take_profit"]))
    stop, target = on_tick(meant, tick, up=is_long), on_tick(aim, tick, up=not is_long)
    sign = 1 if is_long else -1
    is_moved = (stop, target) != (meant, aim)
    if is_moved and not (sign * stop < sign * price < sign * target):
        text = f"on the contract's new tick {tick} its stop {meant} is {stop} and its target {aim} is {target}"
        return Refused(f"{text}: the price {price} is not between them", final=True)
    return stop, target


def _limit(row: Row, instrument: Instrument, settings: Settings) -> Limit | None:
    """What the signal says of an entry that waits.

    One that follows the market goes as far from the signal's price as one at the market may be.
    """
    kind = row.get("entry_order")
    if kind is None or kind == EntryOrder.MARKET:
        return None
    tick, is_long = instrument.tick_size, row["position_type"] == "LONG"
    away = settings.max_price_deviation_pct / 100 * (1 if is_long else -1)
    farthest = Decimal(str(row["entry_price"])) * (1 + away)
    chase = on_tick(farthest, tick, up=not is_long)
    return Limit(
        price=on_tick(Decimal(str(row["limit_price"])), tick, up=not is_long),
        post_only=kind == EntryOrder.POST_ONLY,
        until_ms=int(row["limit_until_ms"]),
        chase_price=chase if kind == EntryOrder.CHASE else None,
    )


def account_after(account: Account, intent: Intent, price: Decimal) -> Account:
    """Return the account once the intent is a position: the gates are asked about the next signal with it."""
    margin = intent.qty * price / intent.leverage
    free = account.wallet.available
    wallet = replace(account.wallet, available=None if free is None else free - margin)
    return replace(account, wallet=wallet, occupied=account.occupied | {intent.symbol})
