"""Bybit's words and JSON about its market into the project's models: contracts, prices, candles, funding.

No I/O here.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from decimal import Decimal

import numpy as np

from trading_assets.core.candles import Candles, Funding
from trading_assets.core.models import ContractKind, ContractStatus, Instrument, OrderBook, Ticker
from trading_assets.core.timeframes import Timeframe
from trading_assets.exchange.fields import (
    LATEST_MS,
    Row,
    above_zero,
    decimal,
    known,
    milliseconds,
    moment,
    required,
    symbol_of,
    text,
    venue_errors,
)

INTERVALS = {timeframe: "D" if timeframe is Timeframe.D1 else str(timeframe.minutes) for timeframe in Timeframe}
"""A candle length as Bybit's parameter `interval`."""

_CONTRACT_KINDS = {
    "LinearPerpetual": ContractKind.PERPETUAL,
    "LinearFutures": ContractKind.DATED,
    "InversePerpetual": ContractKind.INVERSE,
    "InverseFutures": ContractKind.INVERSE,
}

_CONTRACT_STATUS = {
    "PreLaunch": ContractStatus.PRE_LAUNCH,
    "Trading": ContractStatus.TRADING,
    "Delivering": ContractStatus.SETTLING,
    "Closed": ContractStatus.CLOSED,
}

_COINS = frozenset({"", "innovation"})
"""`symbolType`; others are shares, currencies and commodities."""


@venue_errors
def instrument(row: Row) -> Instrument:
    lot, price, leverage = row["lotSizeFilter"], row["priceFilter"], row["leverageFilter"]
    kind = _CONTRACT_KINDS.get(text(row, "contractType"), ContractKind.OTHER)
    # Only a perpetual has funding; without its interval it cannot be backtested or held.
    funding_minutes = (above_zero if kind is ContractKind.PERPETUAL else decimal)(row, "fundingInterval")
    return Instrument(
        symbol=symbol_of(row),
        base_coin=text(row, "baseCoin"),
        quote_coin=text(row, "quoteCoin"),
        settle_coin=text(row, "settleCoin"),
        kind=kind,
        status=_CONTRACT_STATUS.get(text(row, "status"), ContractStatus.OTHER),
        is_coin=text(row, "symbolType") in _COINS,
        listed_ms=milliseconds(row, "launchTime"),
        tick_size=above_zero(price, "tickSize"),
        qty_step=above_zero(lot, "qtyStep"),
        min_qty=above_zero(lot, "minOrderQty"),
        max_market_qty=above_zero(lot, "maxMktOrderQty"),
        min_notional=decimal(lot, "minNotionalValue"),
        max_leverage=above_zero(leverage, "maxLeverage"),
        leverage_step=above_zero(leverage, "leverageStep"),
        funding_interval_min=int(funding_minutes),
        delivery_ms=milliseconds(row, "deliveryTime") or None,
    )


@venue_errors
def ticker(row: Row) -> Ticker:
    return Ticker(
        symbol=symbol_of(row),
        last=above_zero(row, "lastPrice"),
        mark=required(row, "markPrice"),
        bid=decimal(row, "bid1Price"),
        ask=decimal(row, "ask1Price"),
        turnover_24h=decimal(row, "turnover24h"),
        volume_24h=decimal(row, "volume24h"),
        change_24h_pct=decimal(row, "price24hPcnt") * 100,
        funding_rate=known(row, "fundingRate"),
        next_funding_ms=milliseconds(row, "nextFundingTime"),
    )


@venue_errors
def order_book(result: Row) -> OrderBook:
    def side(key: str) -> tuple[tuple[Decimal, Decimal], ...]:
        levels = ({"price": price, "quantity": quantity} for price, quantity in result[key])
        return tuple((decimal(level, "price"), decimal(level, "quantity")) for level in levels)

    return OrderBook(text(result, "s"), side("b"), side("a"), moment(result, "ts"))


@venue_errors
def candles(timeframe: Timeframe, rows: Sequence[Sequence[str]]) -> Candles:
    """Rows of seven strings, newest first, as ascending arrays."""
    if not rows:
        return Candles.empty(timeframe)
    table = np.array(rows[::-1], dtype=np.float64)
    if not np.isfinite(table).all():
        raise ValueError("a candle has a field that is not a finite number")
    if not (table[:, 0] < LATEST_MS).all():
        raise ValueError("a candle begins at no time")
    starts = table[:, 0].astype(np.int64)
    return Candles(timeframe, starts, *(np.ascontiguousarray(table[:, column]) for column in range(1, 7)))


StreamedCandle = tuple[str, int, tuple[float, float, float, float, float, float], int]
"""Topic, start, (open, high, low, close, volume, turnover), and the venue's time; times in UTC ms."""


@venue_errors
def stream_candles(message: Row) -> list[StreamedCandle]:
    """The closed candles of a message of a `kline` topic; it may hold unfinished ones as well."""
    found: list[StreamedCandle] = []
    for row in message["data"]:
        if row["confirm"] is not True:
            continue
        values = tuple(float(row[name]) for name in ("open", "high", "low", "close", "volume", "turnover"))
        if not all(map(math.isfinite, values)):
            raise ValueError("a candle has a field that is not a finite number")
        at, told = moment(row, "start"), moment(message, "ts")
        found.append((str(message["topic"]), at, values, told))  # type: ignore[arg-type]
    return found


@venue_errors
def funding(rows: Sequence[Row]) -> Funding:
    """Rows, newest first, as ascending arrays."""
    times = np.array([moment(row, "fundingRateTimestamp") for row in reversed(rows)], dtype=np.int64)
    rates = np.array([float(required(row, "fundingRate")) for row in reversed(rows)], dtype=np.float64)
    return Funding(times, rates)


@venue_errors
def server_ms(result: Row) -> int:
    """The answer of `/v5/market/time`, UTC ms."""
    nanoseconds = int(result["timeNano"])
    if not 0 < nanoseconds < LATEST_MS * 1_000_000:
        raise ValueError("no time")
    return nanoseconds // 1_000_000
