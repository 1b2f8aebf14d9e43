"""Bybit's words and JSON into the project's models: the only place that knows them. No I/O here.

An empty string is "no value"; money is `Decimal`.
"""

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
    ContractKind,
    ContractStatus,
    Execution,
    FillKind,
    Instrument,
    Order,
    OrderBook,
    OrderPurpose,
    OrderStatus,
    Position,
    RejectReason,
    Side,
    Ticker,
    Wallet,
)
from trading_assets.core.timeframes import Timeframe, to_ms

INTERVALS = {timeframe: "D" if timeframe is Timeframe.D1 else str(timeframe.minutes) for timeframe in Timeframe}
"""A candle length as Bybit's parameter `interval`."""

FILL_KINDS = {
    "Trade": FillKind.TRADE,
    "Funding": FillKind.FUNDING,
    "BustTrade": FillKind.LIQUIDATION,
    "AdlTrade": FillKind.ADL,
    "Settle": FillKind.SETTLEMENT,
    "SessionSettlePnL": FillKind.SETTLEMENT,
    "Delivery": FillKind.SETTLEMENT,
}
"""`execType`; another word is `FillKind.OTHER`."""

_ORDER_STATUS = {
    "New": OrderStatus.NEW,
    "PartiallyFilled": OrderStatus.PARTIALLY_FILLED,
    "Untriggered": OrderStatus.UNTRIGGERED,
    "Triggered": OrderStatus.TRIGGERED,
    "Filled": OrderStatus.FILLED,
    "Cancelled": OrderStatus.CANCELLED,
    "Rejected": OrderStatus.REJECTED,
    "Deactivated": OrderStatus.DEACTIVATED,
}
"""`orderStatus`. An unknown word is an error: whether the order can still fill is not known."""

_EXITS = {
    "StopLoss": OrderPurpose.STOP,
    "PartialStopLoss": OrderPurpose.STOP,
    "TakeProfit": OrderPurpose.TARGET,
    "PartialTakeProfit": OrderPurpose.TARGET,
    "TrailingStop": OrderPurpose.TRAILING_STOP,
}
"""`stopOrderType`, and `createType` after the word CreateBy."""

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

_REJECTED = {
    "EC_NoImmediateQtyToFill": RejectReason.NO_LIQUIDITY,
    "EC_NoEnoughQtyToFill": RejectReason.NO_LIQUIDITY,
    "EC_CancelForNoFullFill": RejectReason.NO_LIQUIDITY,
    "EC_PerCancelRequest": RejectReason.CANCELLED,
    "EC_CancelReplaceOrder": RejectReason.CANCELLED,
    "EC_LimitOrderInvalidPrice": RejectReason.PRICE,
    "EC_MarketOrderPriceIsNotZero": RejectReason.PRICE,
    "EC_InvalidPriceScale": RejectReason.PRICE,
    "EC_QtyCannotBeZero": RejectReason.QUANTITY,
    "EC_PostOnlyWillTakeLiquidity": RejectReason.POST_ONLY,
    "EC_BySelfMatch": RejectReason.SELF_MATCH,
    "EC_InvalidSymbolStatus": RejectReason.SYMBOL,
}
"""`rejectReason`; another word is `RejectReason.OTHER`."""
_NOT_REJECTED = frozenset({"", "EC_NoError"})

_TRADES = (frozenset({"ContractTrade.Order", "ContractTrade.Position"}), frozenset({"Derivatives.DerivativesTrade"}))
"""Permissions of a key, each set of which lets it trade contracts."""
_WITHDRAWS = "Wallet.Withdraw"

Row = Mapping[str, Any]

_Given = ParamSpec("_Given")
_Model = TypeVar("_Model")


def _venue_errors(parse: Callable[_Given, _Model]) -> Callable[_Given, _Model]:
    """A missing key, an unknown word and a text in place of a number become errors of the venue."""

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


def purpose(row: Row) -> OrderPurpose:
    """Why an order exists. `stopOrderType` may be empty once the order was triggered; `createType` stays."""
    waits_as = text(row, "stopOrderType")
    made_as = text(row, "createType").removeprefix("CreateBy")
    if waits_as in _EXITS or made_as in _EXITS:
        return _EXITS.get(waits_as) or _EXITS[made_as]
    return OrderPurpose.CONDITIONAL if waits_as else OrderPurpose.ORDINARY


@_venue_errors
def instrument(row: Row) -> Instrument:
    lot, price, leverage = row["lotSizeFilter"], row["priceFilter"], row["leverageFilter"]
    return Instrument(
        symbol=text(row, "symbol"),
        base_coin=text(row, "baseCoin"),
        quote_coin=text(row, "quoteCoin"),
        settle_coin=text(row, "settleCoin"),
        kind=_CONTRACT_KINDS.get(text(row, "contractType"), ContractKind.OTHER),
        status=_CONTRACT_STATUS.get(text(row, "status"), ContractStatus.OTHER),
        is_coin=text(row, "symbolType") in _COINS,
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


@_venue_errors
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


@_venue_errors
def order_book(result: Row) -> OrderBook:
    def side(key: str) -> tuple[tuple[Decimal, Decimal], ...]:
        levels = ({"price": price, "quantity": quantity} for price, quantity in result[key])
        return tuple((decimal(level, "price"), decimal(level, "quantity")) for level in levels)

    return OrderBook(text(result, "s"), side("b"), side("a"), int(result["ts"]))


@_venue_errors
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


@_venue_errors
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


@_venue_errors
def funding(rows: Sequence[Row]) -> Funding:
    """Rows, newest first, as ascending arrays."""
    times = np.array([int(row["fundingRateTimestamp"]) for row in reversed(rows)], dtype=np.int64)
    rates = np.array([float(decimal(row, "fundingRate")) for row in reversed(rows)], dtype=np.float64)
    return Funding(times, rates)


@_venue_errors
def wallet(row: Row) -> Wallet:
    return Wallet(
        equity=decimal(row, "totalEquity"),
        wallet_balance=decimal(row, "totalWalletBalance"),
        available=decimal(row, "totalAvailableBalance"),
        initial_margin=decimal(row, "totalInitialMargin"),
        maintenance_margin=decimal(row, "totalMaintenanceMargin"),
        unrealised_pnl=decimal(row, "totalPerpUPL"),
    )


@_venue_errors
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


@_venue_errors
def order(row: Row) -> Order:
    refused = text(row, "rejectReason")
    refused = "" if refused in _NOT_REJECTED else refused
    return Order(
        symbol=text(row, "symbol"),
        order_id=text(row, "orderId"),
        order_link_id=text(row, "orderLinkId"),
        side=Side(text(row, "side")),
        status=_ORDER_STATUS[text(row, "orderStatus")],
        purpose=purpose(row),
        qty=decimal(row, "qty"),
        filled_qty=decimal(row, "cumExecQty"),
        average_price=positive(row, "avgPrice"),
        fee=decimal(row, "cumExecFee"),
        reduce_only=bool(row.get("reduceOnly")),
        stop_loss=positive(row, "stopLoss"),
        take_profit=positive(row, "takeProfit"),
        trigger_price=positive(row, "triggerPrice"),
        reject_reason=_REJECTED.get(refused, RejectReason.OTHER) if refused else None,
        venue_reason=", ".join(word for word in (refused, text(row, "cancelType")) if word),
        created_ms=milliseconds(row, "createdTime"),
        updated_ms=milliseconds(row, "updatedTime"),
    )


@_venue_errors
def execution(row: Row) -> Execution:
    return Execution(
        exec_id=text(row, "execId"),
        symbol=text(row, "symbol"),
        order_id=text(row, "orderId"),
        order_link_id=text(row, "orderLinkId"),
        side=Side(text(row, "side")),
        kind=FILL_KINDS.get(text(row, "execType"), FillKind.OTHER),
        exec_type=text(row, "execType"),
        price=decimal(row, "execPrice"),
        qty=decimal(row, "execQty"),
        value=decimal(row, "execValue"),
        fee=decimal(row, "execFee"),
        fee_rate=decimal(row, "feeRate"),
        is_maker=bool(row.get("isMaker")),
        closed_size=decimal(row, "closedSize"),
        purpose=purpose(row),
        time_ms=milliseconds(row, "execTime"),
    )


@_venue_errors
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
        kind=FILL_KINDS.get(text(row, "execType"), FillKind.OTHER),
        created_ms=milliseconds(row, "createdTime"),
        updated_ms=milliseconds(row, "updatedTime"),
    )


@_venue_errors
def api_key(result: Row) -> ApiKeyInfo:
    expires_ms = to_ms(datetime.fromisoformat(result["expiredAt"])) if result.get("expiredAt") else 0
    read_only = int(result["readOnly"]) == 1
    granted = frozenset(f"{group}.{name}" for group, names in result["permissions"].items() for name in names)
    faults = []
    if not read_only and not any(wanted <= granted for wanted in _TRADES):
        faults.append("it may not trade contracts: give it the permission Contract (Orders and Positions)")
    if int(result.get("uta") or 0) != 1 and int(result.get("unified") or 0) != 1:
        faults.append("its account is not a unified account: upgrade the account at Bybit")
    return ApiKeyInfo(
        read_only=read_only,
        may_withdraw=_WITHDRAWS in granted,
        addresses=tuple(ip for ip in result.get("ips") or () if ip and ip != "*"),
        expires_ms=expires_ms or None,
        faults=tuple(faults),
    )


@_venue_errors
def server_ms(result: Row) -> int:
    """The answer of `/v5/market/time`, UTC ms."""
    return int(result["timeNano"]) // 1_000_000


def number(value: Decimal) -> str:
    """A number as Bybit wants it: plain digits, never an exponent."""
    return f"{value.normalize():f}"
