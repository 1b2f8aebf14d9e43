"""Bybit's words and JSON into the project's models: the only place that knows them. No I/O here.

An empty string is "no value"; money is `Decimal`.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Hashable, Mapping, Sequence
from datetime import datetime
from decimal import Decimal, InvalidOperation
from functools import wraps
from typing import Any, ParamSpec, TypeVar

import numpy as np

from trading_assets.core.candles import Candles, Funding
from trading_assets.core.errors import ExchangeUnavailableError, UnreadableAnswerError
from trading_assets.core.foreign_text import plain
from trading_assets.core.models import (
    AccountShape,
    ApiKeyInfo,
    ClosedPnl,
    ContractKind,
    ContractStatus,
    Execution,
    FillKind,
    Instrument,
    MarginMode,
    Order,
    OrderBook,
    OrderPurpose,
    OrderStatus,
    Position,
    PositionMode,
    RejectReason,
    Rows,
    Side,
    Ticker,
    Transaction,
    TransactionKind,
    UnreadableRow,
    Wallet,
)
from trading_assets.core.timeframes import Timeframe, to_ms
from trading_assets.exchange import SETTLE_COIN

INTERVALS = {timeframe: "D" if timeframe is Timeframe.D1 else str(timeframe.minutes) for timeframe in Timeframe}
"""A candle length as Bybit's parameter `interval`."""

FILL_KINDS = {
    "Trade": FillKind.TRADE,
    "BlockTrade": FillKind.TRADE,
    "FutureSpread": FillKind.TRADE,
    "MovePosition": FillKind.TRADE,
    "Funding": FillKind.FUNDING,
    "SessionSettlePnL": FillKind.SESSION,
    "BustTrade": FillKind.LIQUIDATION,
    "AdlTrade": FillKind.ADL,
    "Settle": FillKind.SETTLEMENT,
    "Delivery": FillKind.SETTLEMENT,
}
"""`execType`. A person's block trade, spread and move to another account change a position as a trade does. Another
word is `FillKind.OTHER`: it is told, and moves nothing."""

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
"""`orderStatus`. An unknown word is `OrderStatus.OTHER`: whether the order can still fill is not known."""

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

_LONGEST_NUMBER = 64
_LARGEST_EXPONENT = 20
"""Of a number: more than Bybit's own ever have, and little enough to reckon with."""

_LONGEST_TEXT = 64
"""Of an id, a symbol or a word: more than Bybit's own ever have, and no more than the ledger takes."""

_SYMBOL = re.compile(r"[0-9A-Za-z][0-9A-Za-z._-]*")

_LONGEST_WORD = 24
"""Of a word that the ledger keeps for a person."""

_LATEST_MS = 10**14

Row = Mapping[str, Any]

_Given = ParamSpec("_Given")
_Model = TypeVar("_Model")


def _venue_errors(parse: Callable[_Given, _Model]) -> Callable[_Given, _Model]:
    """A missing key, an unknown word and a text in place of a number become errors of the venue."""

    @wraps(parse)
    def checked(*args: _Given.args, **kwargs: _Given.kwargs) -> _Model:
        try:
            return parse(*args, **kwargs)
        except (ArithmeticError, AttributeError, LookupError, RecursionError, TypeError, ValueError) as error:
            raise UnreadableAnswerError(
                f"the exchange sent {parse.__name__.replace('_', ' ')} data that cannot be read "
                f"({type(error).__name__}: {plain(error)[:200]}); is it a newer interface than Bybit v5?"
            ) from error

    return checked


def decimal(row: Row, key: str) -> Decimal:
    """The number at `key`; 0 where there is no value. For what is 0 when it is not there: fees, times, results.

    Raises:
        UnreadableAnswerError: the text is not a number.
    """
    value = known(row, key)
    return Decimal(0) if value is None else value


def required(row: Row, key: str) -> Decimal:
    """The number at `key`, without which the row means nothing.

    Raises:
        UnreadableAnswerError: there is none, or the text is not a number.
    """
    value = known(row, key)
    if value is None:
        raise UnreadableAnswerError(f"the exchange sent {key} = {_shown(row.get(key))}, expected a number")
    return value


def above_zero(row: Row, key: str) -> Decimal:
    """The number at `key`, by which something is divided or rounded: a step, a price.

    Raises:
        UnreadableAnswerError: there is none, or it is not above 0.
    """
    value = required(row, key)
    if value <= 0:
        raise UnreadableAnswerError(f"the exchange sent {key} = {_shown(row.get(key))}, expected a number above 0")
    return value


def known(row: Row, key: str) -> Decimal | None:
    """The number at `key`, None where there is no value.

    Raises:
        UnreadableAnswerError: the text is not a number.
    """
    given = row.get(key)
    if given is None or given == "":
        return None
    try:
        written = str(given)
        value = Decimal(written if len(written) <= _LONGEST_NUMBER else "NaN")
    except (InvalidOperation, RecursionError, ValueError):
        value = Decimal("NaN")
    if not value.is_finite() or abs(value.adjusted()) > _LARGEST_EXPONENT:
        raise UnreadableAnswerError(f"the exchange sent {key} = {_shown(given)}, expected a number")
    return value


def _shown(value: object) -> str:
    """A value as a message shows it: cut short, as it may be of any length."""
    try:
        return repr(value)[:_LONGEST_NUMBER]
    except (RecursionError, ValueError):
        return type(value).__name__


def positive(row: Row, key: str) -> Decimal | None:
    """The number at `key`, None where it is absent or 0: Bybit writes both for "not set"."""
    value = decimal(row, key)
    return value if value > 0 else None


def milliseconds(row: Row, key: str) -> int:
    """The time at `key`, 0 where there is none.

    Raises:
        UnreadableAnswerError: it is no time.
    """
    value = decimal(row, key)
    if not 0 <= value < _LATEST_MS:
        raise UnreadableAnswerError(f"the exchange sent {key} = {_shown(row.get(key))}, expected milliseconds")
    return int(value)


def moment(row: Row, key: str) -> int:
    """The time at `key`, without which the row has no place.

    Raises:
        UnreadableAnswerError: there is none, or it is no time.
    """
    value = milliseconds(row, key)
    if not value:
        raise UnreadableAnswerError(f"the exchange sent {key} = {_shown(row.get(key))}, expected milliseconds")
    return value


def text(row: Row, key: str, longest: int = _LONGEST_TEXT) -> str:
    """The text at `key`; Bybit's UNKNOWN is no text.

    Raises:
        UnreadableAnswerError: it is no text, longer than any of Bybit's, or has a character that cannot be printed.
    """
    value = row.get(key)
    if value is None or value == "UNKNOWN":
        return ""
    if not isinstance(value, str | int) or isinstance(value, bool):
        raise UnreadableAnswerError(f"the exchange sent {key} = {_shown(value)}, expected a text")
    written = str(value)
    if len(written) > longest or not written.isprintable():
        raise UnreadableAnswerError(f"the exchange sent {key} = {_shown(value)}, expected a text")
    return written


def named(row: Row, key: str, longest: int = _LONGEST_TEXT) -> str:
    """The text at `key`, without which the row is of no use: a symbol or an id.

    Raises:
        UnreadableAnswerError: there is none.
    """
    value = text(row, key, longest)
    if not value:
        raise UnreadableAnswerError(f"the exchange sent a row without {key}")
    return value


def symbol_of(row: Row) -> str:
    """The symbol of a row. It names folders and rows too, so it is made of letters, digits, dots and dashes.

    Raises:
        UnreadableAnswerError: there is none, or it is none.
    """
    symbol = named(row, "symbol")
    if not _SYMBOL.fullmatch(symbol):
        raise UnreadableAnswerError(f"the exchange sent symbol = {_shown(symbol)}, expected letters and digits")
    return symbol


def leg(row: Row) -> int:
    """The number of a position's leg: 0 in one-way mode, 1 (long) or 2 (short) in hedge mode.

    Raises:
        UnreadableAnswerError: the row tells none of them.
    """
    number = required(row, "positionIdx")
    if number not in (0, 1, 2):
        raise UnreadableAnswerError(f"the exchange sent positionIdx = {_shown(row.get('positionIdx'))}")
    return int(number)


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


@_venue_errors
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


@_venue_errors
def order_book(result: Row) -> OrderBook:
    def side(key: str) -> tuple[tuple[Decimal, Decimal], ...]:
        levels = ({"price": price, "quantity": quantity} for price, quantity in result[key])
        return tuple((decimal(level, "price"), decimal(level, "quantity")) for level in levels)

    return OrderBook(text(result, "s"), side("b"), side("a"), moment(result, "ts"))


@_venue_errors
def candles(timeframe: Timeframe, rows: Sequence[Sequence[str]]) -> Candles:
    """Rows of seven strings, newest first, as ascending arrays."""
    if not rows:
        return Candles.empty(timeframe)
    table = np.array(rows[::-1], dtype=np.float64)
    if not np.isfinite(table).all():
        raise ValueError("a candle has a field that is not a finite number")
    if not (table[:, 0] < _LATEST_MS).all():
        raise ValueError("a candle begins at no time")
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
        at, told = moment(row, "start"), moment(message, "ts")
        found.append((str(message["topic"]), at, values, told))  # type: ignore[arg-type]
    return found


@_venue_errors
def funding(rows: Sequence[Row]) -> Funding:
    """Rows, newest first, as ascending arrays."""
    times = np.array([moment(row, "fundingRateTimestamp") for row in reversed(rows)], dtype=np.int64)
    rates = np.array([float(required(row, "fundingRate")) for row in reversed(rows)], dtype=np.float64)
    return Funding(times, rates)


@_venue_errors
def wallet(row: Row) -> Wallet:
    """Of the whole account. Under isolated margin Bybit leaves the figures of margin empty, and tells them by coin."""
    margin = {name: known(row, name) for name in ("totalMarginBalance", "totalInitialMargin", "totalAvailableBalance")}
    available = margin["totalAvailableBalance"]
    if all(value is None for value in margin.values()):
        available = _free_of_settle_coin(row)
    return Wallet(
        equity=required(row, "totalEquity"),
        wallet_balance=required(row, "totalWalletBalance"),
        available=available,
        initial_margin=margin["totalInitialMargin"],
        maintenance_margin=known(row, "totalMaintenanceMargin"),
        unrealised_pnl=decimal(row, "totalPerpUPL"),
        balances=_balances(row),
    )


def _balances(row: Row) -> dict[str, Decimal]:
    """Balance of each coin; nothing of any where one cannot be read: a part of the sum would look like a loss."""
    try:
        held = {str(coin.get("coin")): known(coin, "walletBalance") for coin in row.get("coin") or []}
    except UnreadableAnswerError:
        return {}
    return {coin: balance for coin, balance in held.items() if balance is not None} if None not in held.values() else {}


def _free_of_settle_coin(row: Row) -> Decimal | None:
    """Free margin under isolated margin, as Bybit documents it for a coin; None where it cannot be read.

    Source: Bybit's page on the wallet balance, walletBalance - totalPositionIM - totalOrderIM - locked - bonus.
    """
    for coin in row["coin"]:
        if coin["coin"] == SETTLE_COIN:
            balance, positions, orders = (
                known(coin, key) for key in ("walletBalance", "totalPositionIM", "totalOrderIM")
            )
            if balance is None or positions is None or orders is None:
                return None
            return max(balance - positions - orders - decimal(coin, "locked") - decimal(coin, "bonus"), Decimal(0))
    return Decimal(0)  # coins of which there is nothing are left out


def is_flat(row: Row) -> bool:
    """Whether a row of the position list says that nothing is open: its size is 0, or size and side are both empty.

    Raises:
        UnreadableAnswerError: the row tells no size.
    """
    size = known(row, "size")
    if size is None and (row.get("size") is None or row.get("side") not in ("", "None")):
        raise UnreadableAnswerError("the exchange sent a position without its size")
    return not size


@_venue_errors
def position(row: Row) -> Position:
    return Position(
        symbol=symbol_of(row),
        side=Side(text(row, "side")),
        size=required(row, "size"),
        entry_price=required(row, "avgPrice"),
        mark_price=required(row, "markPrice"),
        leverage=decimal(row, "leverage"),
        unrealised_pnl=decimal(row, "unrealisedPnl"),
        realised_pnl=decimal(row, "curRealisedPnl"),
        liquidation_price=positive(row, "liqPrice"),
        stop_loss=positive(row, "stopLoss"),
        take_profit=positive(row, "takeProfit"),
        position_idx=leg(row),
        opened_ms=milliseconds(row, "createdTime"),
        updated_ms=milliseconds(row, "updatedTime"),
    )


@_venue_errors
def order(row: Row) -> Order:
    word = text(row, "orderStatus")
    status = _ORDER_STATUS.get(word, OrderStatus.OTHER)
    refused = text(row, "rejectReason")
    refused = "" if refused in _NOT_REJECTED else refused
    return Order(
        symbol=symbol_of(row),
        order_id=named(row, "orderId"),
        order_link_id=text(row, "orderLinkId"),
        side=Side(text(row, "side")),
        status=status,
        purpose=purpose(row),
        qty=required(row, "qty"),
        filled_qty=required(row, "cumExecQty"),
        average_price=positive(row, "avgPrice"),
        fee=_fee(row),
        reduce_only=bool(row.get("reduceOnly")),
        stop_loss=positive(row, "stopLoss"),
        take_profit=positive(row, "takeProfit"),
        trigger_price=positive(row, "triggerPrice"),
        reject_reason=_REJECTED.get(refused, RejectReason.OTHER) if refused else None,
        venue_reason=", ".join(word for word in (refused, text(row, "cancelType")) if word),
        created_ms=milliseconds(row, "createdTime"),
        updated_ms=milliseconds(row, "updatedTime"),
        venue_status=word if status is OrderStatus.OTHER else "",
    )


@_venue_errors
def execution(row: Row) -> Execution:
    kind = FILL_KINDS.get(text(row, "execType"), FillKind.OTHER)
    return Execution(
        exec_id=named(row, "execId"),
        symbol=symbol_of(row),
        order_id=text(row, "orderId"),
        order_link_id=text(row, "orderLinkId"),
        side=Side(text(row, "side")),
        kind=kind,
        exec_type=text(row, "execType")[:_LONGEST_WORD],
        price=required(row, "execPrice"),
        qty=required(row, "execQty"),
        value=decimal(row, "execValue"),
        fee=(required if row.get("execType") in ("Trade", "Funding") else decimal)(row, "execFee"),
        fee_rate=decimal(row, "feeRate"),
        is_maker=bool(row.get("isMaker")),
        closed_size=decimal(row, "closedSize"),
        purpose=purpose(row),
        time_ms=moment(row, "execTime"),
    )


@_venue_errors
def closed_pnl(row: Row) -> ClosedPnl:
    kind, symbol = FILL_KINDS.get(text(row, "execType"), FillKind.OTHER), symbol_of(row)
    # What the venue settles has no order. A session that is settled closes nothing.
    is_settled = kind in (FillKind.SETTLEMENT, FillKind.SESSION) and not text(row, "orderId")
    return ClosedPnl(
        symbol=symbol,
        order_id=f"{symbol[:40]}-{moment(row, 'updatedTime')}" if is_settled else named(row, "orderId"),
        side=Side(text(row, "side")),
        qty=required(row, "closedSize") if kind is not FillKind.SESSION else Decimal(0),
        entry_price=decimal(row, "avgEntryPrice"),
        exit_price=decimal(row, "avgExitPrice"),
        pnl=required(row, "closedPnl"),
        open_fee=decimal(row, "openFee"),
        close_fee=decimal(row, "closeFee"),
        kind=kind,
        created_ms=milliseconds(row, "createdTime"),
        updated_ms=moment(row, "updatedTime"),
    )


def _fee(row: Row) -> Decimal:
    """An order's fees so far. `cumExecFee` has given way to `cumFeeDetail`, which tells them by coin."""
    detail = row.get("cumFeeDetail")
    if isinstance(detail, Mapping) and detail:
        return sum((decimal(detail, coin) for coin in detail), Decimal(0))
    return decimal(row, "cumExecFee")


_TRANSACTIONS = {
    "TRADE": TransactionKind.TRADE,
    "SETTLEMENT": TransactionKind.FUNDING,
    "DELIVERY": TransactionKind.SETTLEMENT,
    "LIQUIDATION": TransactionKind.LIQUIDATION,
    "ADL": TransactionKind.ADL,
}
"""`type` of the transaction log of what trading does."""

_PAID_IN_OR_OUT = (
    *("TRANSFER", "WITHDRAW", "DEPOSIT", "AIRDROP", "BONUS", "LOAN", "PLEDGE", "CUSTODY", "STAKING", "EARN"),
    *("SUBSCRIPTION", "REDEMPTION", "INVESTMENT", "MINING", "WEALTH", "PWM"),
)
"""Parts of the words of `type` (55 in 2026, and more each year) that move money into the account or out of it, with no
gain or loss of trading. Another word is `TransactionKind.OTHER`: it counts as gain or loss."""


def _transaction_kind(word: str) -> TransactionKind:
    if word in _TRANSACTIONS:
        return _TRANSACTIONS[word]
    moves = any(part in word.upper() for part in _PAID_IN_OR_OUT)
    return TransactionKind.TRANSFER if moves else TransactionKind.OTHER


@_venue_errors
def transaction(row: Row) -> Transaction:
    word = text(row, "type")
    return Transaction(
        transaction_id=named(row, "id", longest=96),
        # A spot trade changes one coin into another: it is none of the trades of contracts.
        kind=TransactionKind.OTHER if row.get("category") == "spot" else _transaction_kind(word),
        word=word,
        coin=named(row, "currency", longest=16),
        symbol=text(row, "symbol"),
        change=required(row, "change"),
        balance=required(row, "cashBalance"),
        fee=decimal(row, "fee"),
        funding=decimal(row, "funding"),
        order_id=text(row, "orderId"),
        time_ms=moment(row, "transactionTime"),
    )


_MARGIN_MODES = {
    "REGULAR_MARGIN": MarginMode.CROSS,
    "ISOLATED_MARGIN": MarginMode.ISOLATED,
    "PORTFOLIO_MARGIN": MarginMode.PORTFOLIO,
}
_UNIFIED = (3, 4, 5, 6)
"""`unifiedMarginStatus` of unified accounts; 1 is a classic one."""


@_venue_errors
def account_shape(info: Row, user_id: str | None, legs: Sequence[Row]) -> AccountShape:
    """From the account's settings, and the rows of the position list of one symbol."""
    return AccountShape(
        user_id=user_id,
        unified=int(info["unifiedMarginStatus"]) in _UNIFIED,
        margin_mode=_MARGIN_MODES.get(text(info, "marginMode"), MarginMode.OTHER),
        position_mode=position_mode(legs),
    )


def position_mode(legs: Sequence[Row]) -> PositionMode:
    """The mode that the rows of one symbol show: legs have numbers, a one-way position has 0."""
    return PositionMode.HEDGE if {leg(row) for row in legs} - {0} else PositionMode.ONE_WAY


@_venue_errors
def user_id(result: Row) -> str | None:
    """The number of the account whose key is in use."""
    return text(result, "userID") or None


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
    nanoseconds = int(result["timeNano"])
    if not 0 < nanoseconds < _LATEST_MS * 1_000_000:
        raise ValueError("no time")
    return nanoseconds // 1_000_000


def rows(
    raw: Sequence[object],
    parse: Callable[[Row], _Model],
    identity: Callable[[_Model], Hashable],
    age: Callable[[_Model], Any] = lambda _: 0,
) -> Rows[_Model]:
    """The rows of a list, each once; one that cannot be read is left out alone, with its symbol.

    Args:
        identity: what two rows share that are the same one, in one answer or over pages.
        age: of two such rows the one with the greatest is kept, the last of equal ones.
    """
    found: dict[Hashable, _Model] = {}
    unreadable: list[UnreadableRow] = []
    for row in raw:
        try:
            if not isinstance(row, Mapping):
                raise UnreadableAnswerError(f"the exchange sent {type(row).__name__} in place of a row")
            model = parse(row)
        except ExchangeUnavailableError as error:
            symbol = row.get("symbol") if isinstance(row, Mapping) else None
            named_so = plain(symbol)[:_LONGEST_TEXT] if isinstance(symbol, str) else ""
            unreadable.append(UnreadableRow(named_so or None, str(error)))
            continue
        key = identity(model)
        if key not in found or age(model) >= age(found[key]):
            found[key] = model
    return Rows(found.values(), unreadable)


def number(value: Decimal) -> str:
    """A number as Bybit wants it: plain digits, never an exponent."""
    return f"{value.normalize():f}"
