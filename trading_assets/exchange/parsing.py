"""Bybit's JSON into the connector's models. An empty string is "no value"; money is `Decimal`. No I/O here."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from decimal import Decimal, InvalidOperation
from functools import wraps
from typing import Any, ParamSpec, TypeVar

import numpy as np

from trading_assets.core.candles import Candles, Funding
from trading_assets.core.errors import ExchangeUnavailableError
from trading_assets.core.models import (
    ApiKeyInfo,
    ClosedPnl,
    Execution,
    Instrument,
    Order,
    OrderBook,
    OrderStatus,
    Position,
    Side,
    Ticker,
    Wallet,
)
from trading_assets.core.timeframes import Timeframe, to_ms

Row = Mapping[str, Any]

_Given = ParamSpec("_Given")
_Model = TypeVar("_Model")


def _of_the_venue(parse: Callable[_Given, _Model]) -> Callable[_Given, _Model]:
    """A missing key, an unknown word or a text in place of a number is the venue's, so it is an error of the venue."""

    @wraps(parse)
    def checked(*args: _Given.args, **kwargs: _Given.kwargs) -> _Model:
        try:
            return parse(*args, **kwargs)
        except (ArithmeticError, LookupError, TypeError, ValueError) as error:
            raise ExchangeUnavailableError(
                f"the exchange sent {parse.__name__.replace('_', ' ')} data that cannot be read "
                f"({type(error).__name__}: {error}); is it a newer interface than Bybit v5?"
            ) from error

    return checked


def decimal(row: Row, key: str) -> Decimal:
    """The number at `key`; 0 where there is no value.

    Raises:
        ExchangeUnavailableError: the text is not a number.
    """
    text = row.get(key)
    if text is None or text == "":
        return Decimal(0)
    try:
        value = Decimal(str(text))
    except InvalidOperation:
        value = Decimal("NaN")
    if not value.is_finite():
        raise ExchangeUnavailableError(f"the exchange sent {key} = {text!r}, expected a number")
    return value


def positive(row: Row, key: str) -> Decimal | None:
    """The number at `key`, None where it is absent or 0: Bybit writes both for "not set"."""
    value = decimal(row, key)
    return value if value > 0 else None


def milliseconds(row: Row, key: str) -> int:
    """The time at `key`, 0 where there is none."""
    return int(decimal(row, key))


def text(row: Row, key: str) -> str:
    """The text at `key`; Bybit's UNKNOWN is no text."""
    value = row.get(key)
    return "" if value is None or value == "UNKNOWN" else str(value)


@_of_the_venue
def instrument(row: Row) -> Instrument:
    lot, price, leverage = row["lotSizeFilter"], row["priceFilter"], row["leverageFilter"]
    return Instrument(
        symbol=text(row, "symbol"),
        base_coin=text(row, "baseCoin"),
        quote_coin=text(row, "quoteCoin"),
        settle_coin=text(row, "settleCoin"),
        contract_type=text(row, "contractType"),
        status=text(row, "status"),
        symbol_type=text(row, "symbolType"),
        listed_ms=milliseconds(row, "launchTime"),
        tick_size=decimal(price, "tickSize"),
        qty_step=decimal(lot, "qtyStep"),
        min_qty=decimal(lot, "minOrderQty"),
        max_market_qty=decimal(lot, "maxMktOrderQty"),
        min_notional=decimal(lot, "minNotionalValue"),
        max_leverage=decimal(leverage, "maxLeverage"),
        leverage_step=decimal(leverage, "leverageStep"),
        funding_interval_min=int(row["fundingInterval"]),
    )


@_of_the_venue
def ticker(row: Row) -> Ticker:
    return Ticker(
        symbol=text(row, "symbol"),
        last=decimal(row, "lastPrice"),
        mark=decimal(row, "markPrice"),
        bid=decimal(row, "bid1Price"),
        ask=decimal(row, "ask1Price"),
        turnover_24h=decimal(row, "turnover24h"),
        volume_24h=decimal(row, "volume24h"),
        change_24h_pct=decimal(row, "price24hPcnt") * 100,
        funding_rate=decimal(row, "fundingRate") if row.get("fundingRate") else None,
        next_funding_ms=milliseconds(row, "nextFundingTime"),
    )


@_of_the_venue
def order_book(result: Row) -> OrderBook:
    def side(key: str) -> tuple[tuple[Decimal, Decimal], ...]:
        levels = ({"price": price, "quantity": quantity} for price, quantity in result[key])
        return tuple((decimal(level, "price"), decimal(level, "quantity")) for level in levels)

    return OrderBook(text(result, "s"), side("b"), side("a"), int(result["ts"]))


@_of_the_venue
def candles(timeframe: Timeframe, rows: Sequence[Sequence[str]]) -> Candles:
    """Rows of seven strings, newest first, as ascending arrays."""
    if not rows:
        return Candles.empty(timeframe)
    table = np.array(rows[::-1], dtype=np.float64)
    if not np.isfinite(table).all():
        raise ValueError("a candle has a field that is not a finite number")
    starts = table[:, 0].astype(np.int64)
    return Candles(timeframe, starts, *(np.ascontiguousarray(table[:, column]) for column in range(1, 7)))


StreamedCandle = tuple[str, int, tuple[float, float, float, float, float, float], int]
"""Topic, start, (open, high, low, close, volume, turnover), and the venue's time; times in UTC ms."""


@_of_the_venue
def stream_candles(message: Row) -> list[StreamedCandle]:
    """The closed candles of a message of a `kline` topic; it may hold unfinished ones as well."""
    found: list[StreamedCandle] = []
    for row in message["data"]:
        if row["confirm"] is not True:
            continue
        values = tuple(float(row[name]) for name in ("open", "high", "low", "close", "volume", "turnover"))
        if not all(map(math.isfinite, values)):
            raise ValueError("a candle has a field that is not a finite number")
        found.append((str(message["topic"]), int(row["start"]), values, int(message["ts"])))  # type: ignore[arg-type]
    return found


@_of_the_venue
def funding(rows: Sequence[Row]) -> Funding:
    """Rows, newest first, as ascending arrays."""
    times = np.array([int(row["fundingRateTimestamp"]) for row in reversed(rows)], dtype=np.int64)
    rates = np.array([float(decimal(row, "fundingRate")) for row in reversed(rows)], dtype=np.float64)
    return Funding(times, rates)


@_of_the_venue
def wallet(row: Row) -> Wallet:
    return Wallet(
        equity=decimal(row, "totalEquity"),
        wallet_balance=decimal(row, "totalWalletBalance"),
        available=decimal(row, "totalAvailableBalance"),
        initial_margin=decimal(row, "totalInitialMargin"),
        maintenance_margin=decimal(row, "totalMaintenanceMargin"),
        unrealised_pnl=decimal(row, "totalPerpUPL"),
    )


@_of_the_venue
def position(row: Row) -> Position:
    return Position(
        symbol=text(row, "symbol"),
        side=Side(text(row, "side")),
        size=decimal(row, "size"),
        entry_price=decimal(row, "avgPrice"),
        mark_price=decimal(row, "markPrice"),
        leverage=decimal(row, "leverage"),
        unrealised_pnl=decimal(row, "unrealisedPnl"),
        realised_pnl=decimal(row, "curRealisedPnl"),
        liquidation_price=positive(row, "liqPrice"),
        stop_loss=positive(row, "stopLoss"),
        take_profit=positive(row, "takeProfit"),
        position_idx=int(row["positionIdx"]),
        opened_ms=milliseconds(row, "createdTime"),
        updated_ms=milliseconds(row, "updatedTime"),
    )


@_of_the_venue
def order(row: Row) -> Order:
    return Order(
        symbol=text(row, "symbol"),
        order_id=text(row, "orderId"),
        order_link_id=text(row, "orderLinkId"),
        side=Side(text(row, "side")),
        status=OrderStatus(text(row, "orderStatus")),
        order_type=text(row, "orderType"),
        stop_order_type=text(row, "stopOrderType"),
        create_type=text(row, "createType"),
        qty=decimal(row, "qty"),
        filled_qty=decimal(row, "cumExecQty"),
        average_price=positive(row, "avgPrice"),
        fee=_fee(row),
        reduce_only=bool(row.get("reduceOnly")),
        stop_loss=positive(row, "stopLoss"),
        take_profit=positive(row, "takeProfit"),
        trigger_price=positive(row, "triggerPrice"),
        reject_reason=text(row, "rejectReason"),
        cancel_type=text(row, "cancelType"),
        created_ms=milliseconds(row, "createdTime"),
        updated_ms=milliseconds(row, "updatedTime"),
    )


def _fee(row: Row) -> Decimal:
    """Fees of an order so far: the sum of `cumFeeDetail`, or the older `cumExecFee` where there is none."""
    detail = row.get("cumFeeDetail")
    if isinstance(detail, dict) and detail:
        return sum((decimal(detail, coin) for coin in detail), Decimal(0))
    return decimal(row, "cumExecFee")


@_of_the_venue
def execution(row: Row) -> Execution:
    return Execution(
        exec_id=text(row, "execId"),
        symbol=text(row, "symbol"),
        order_id=text(row, "orderId"),
        order_link_id=text(row, "orderLinkId"),
        side=Side(text(row, "side")),
        exec_type=text(row, "execType"),
        price=decimal(row, "execPrice"),
        qty=decimal(row, "execQty"),
        value=decimal(row, "execValue"),
        fee=decimal(row, "execFee"),
        fee_rate=decimal(row, "feeRate"),
        is_maker=bool(row.get("isMaker")),
        closed_size=decimal(row, "closedSize"),
        create_type=text(row, "createType"),
        stop_order_type=text(row, "stopOrderType"),
        time_ms=milliseconds(row, "execTime"),
    )


@_of_the_venue
def closed_pnl(row: Row) -> ClosedPnl:
    return ClosedPnl(
        symbol=text(row, "symbol"),
        order_id=text(row, "orderId"),
        side=Side(text(row, "side")),
        qty=decimal(row, "closedSize"),
        entry_price=decimal(row, "avgEntryPrice"),
        exit_price=decimal(row, "avgExitPrice"),
        pnl=decimal(row, "closedPnl"),
        open_fee=decimal(row, "openFee"),
        close_fee=decimal(row, "closeFee"),
        exec_type=text(row, "execType"),
        created_ms=milliseconds(row, "createdTime"),
        updated_ms=milliseconds(row, "updatedTime"),
    )


@_of_the_venue
def api_key(result: Row) -> ApiKeyInfo:
    expires_ms = to_ms(datetime.fromisoformat(result["expiredAt"])) if result.get("expiredAt") else 0
    return ApiKeyInfo(
        read_only=int(result["readOnly"]) == 1,
        permissions=frozenset(f"{group}.{name}" for group, names in result["permissions"].items() for name in names),
        addresses=tuple(ip for ip in result.get("ips") or () if ip and ip != "*"),
        expires_ms=expires_ms or None,
        unified=int(result.get("uta") or 0) == 1 or int(result.get("unified") or 0) == 1,
    )


@_of_the_venue
def server_ms(result: Row) -> int:
    """The answer of `/v5/market/time`, UTC ms."""
    return int(result["timeNano"]) // 1_000_000


def number(value: Decimal) -> str:
    """A number as Bybit wants it: plain digits, never an exponent."""
    return f"{value.normalize():f}"
