"""Bybit's words and JSON about an account into the project's models: orders, fills, positions, wallet, key.

No I/O here.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from decimal import Decimal

from trading_assets.core.errors import UnreadableAnswerError
from trading_assets.core.models import (
    AccountShape,
    ApiKeyInfo,
    CancelledBy,
    ClosedPnl,
    Execution,
    FeeRate,
    FillKind,
    MarginMode,
    Order,
    OrderPurpose,
    OrderStatus,
    Position,
    PositionMode,
    RejectReason,
    Side,
    Transaction,
    TransactionKind,
    Wallet,
)
from trading_assets.core.timeframes import to_ms
from trading_assets.exchange import SETTLE_COIN
from trading_assets.exchange.fields import (
    Row,
    decimal,
    known,
    milliseconds,
    moment,
    named,
    positive,
    required,
    shown,
    symbol_of,
    text,
    venue_errors,
)

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
_CANCELLED_BY = {
    "CancelByUser": CancelledBy.REQUEST,
    "CancelByDCP": CancelledBy.DISCONNECTION,
    "CancelBySmp": CancelledBy.SELF_MATCH,
    "CancelByReduceOnly": CancelledBy.REDUCE_ONLY,
    "CancelByPrepareLiq": CancelledBy.LIQUIDATION,
    "CancelAllBeforeLiq": CancelledBy.LIQUIDATION,
    "CancelByPrepareAdl": CancelledBy.ADL,
    "CancelAllBeforeAdl": CancelledBy.ADL,
    "CancelBySettle": CancelledBy.SETTLEMENT,
    "CancelByAdmin": CancelledBy.ADMIN,
}
"""`cancelType`; another word is `CancelledBy.OTHER`."""
_NOT_CANCELLED = frozenset({"", "UNKNOWN"})
_NOT_REJECTED = frozenset({"", "EC_NoError"})

_TRADES = (frozenset({"ContractTrade.Order", "ContractTrade.Position"}), frozenset({"Derivatives.DerivativesTrade"}))
"""Permissions of a key, each set of which lets it trade contracts."""
_WITHDRAWS = "Wallet.Withdraw"

_LONGEST_WORD = 24
"""Of a word that the ledger keeps for a person."""


def leg(row: Row) -> int:
    """The number of a position's leg: 0 in one-way mode, 1 (long) or 2 (short) in hedge mode.

    Raises:
        UnreadableAnswerError: the row tells none of them.
    """
    number = required(row, "positionIdx")
    if number not in (0, 1, 2):
        raise UnreadableAnswerError(f"the exchange sent positionIdx = {shown(row.get('positionIdx'))}")
    return int(number)


def purpose(row: Row) -> OrderPurpose:
    """Why an order exists. `stopOrderType` may be empty once the order was triggered; `createType` stays."""
    waits_as = text(row, "stopOrderType")
    made_as = text(row, "createType").removeprefix("CreateBy")
    if waits_as in _EXITS or made_as in _EXITS:
        return _EXITS.get(waits_as) or _EXITS[made_as]
    return OrderPurpose.CONDITIONAL if waits_as else OrderPurpose.ORDINARY


@venue_errors
def fee_rate(row: Row) -> FeeRate:
    """Of one contract."""
    return FeeRate(symbol_of(row), required(row, "takerFeeRate"), required(row, "makerFeeRate"))


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


@venue_errors
def leverage(row: Row) -> Decimal | None:
    """What a row of the position list says, also a flat one."""
    return positive(row, "leverage")


@venue_errors
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
        trailing=positive(row, "trailingStop"),
    )


@venue_errors
def order(row: Row) -> Order:
    word = text(row, "orderStatus")
    status = _ORDER_STATUS.get(word, OrderStatus.OTHER)
    refused = text(row, "rejectReason")
    refused = "" if refused in _NOT_REJECTED else refused
    cancelled = text(row, "cancelType")
    is_limit = text(row, "orderType") == "Limit"
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
        price=positive(row, "price") if is_limit else None,
        post_only=is_limit and text(row, "timeInForce") == "PostOnly",
        cancelled_by=None if cancelled in _NOT_CANCELLED else _CANCELLED_BY.get(cancelled, CancelledBy.OTHER),
    )


@venue_errors
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


@venue_errors
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


@venue_errors
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


@venue_errors
def account_shape(info: Row, user_id: str | None, legs: Sequence[Row]) -> AccountShape:
    """From the account's settings, and the rows of the position list of one symbol."""
    return AccountShape(
        user_id=user_id,
        unified=int(info["unifiedMarginStatus"]) in _UNIFIED,
        margin_mode=_MARGIN_MODES.get(text(info, "marginMode"), MarginMode.OTHER),
        position_mode=position_mode(legs),
    )


def position_mode(legs: Sequence[Row]) -> PositionMode:
    """The mode that the rows of one symbol show: legs have numbers, a one-way position has 0. No row tells nothing."""
    if not legs:
        return PositionMode.UNKNOWN
    return PositionMode.HEDGE if {leg(row) for row in legs} - {0} else PositionMode.ONE_WAY


@venue_errors
def user_id(result: Row) -> str | None:
    """The number of the account whose key is in use."""
    return text(result, "userID") or None


@venue_errors
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
