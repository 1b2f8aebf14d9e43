"""`/v5/order/realtime`, `/v5/order/history` and `/v5/execution/list`: what has become of orders. Read only."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from trading_assets.core.timeframes import DAY_MS
from trading_assets.simulator.account.models import ZERO, Execution, Order
from trading_assets.simulator.account.pricing import contract_of
from trading_assets.simulator.account.words import OrderStatus
from trading_assets.simulator.codec import Params, Refusal, fixed, page, places_of, plain, trimmed
from trading_assets.simulator.rest.common import (
    LINEAR,
    Route,
    category_of,
    marked,
    symbol_filter,
    time_window,
)
from trading_assets.simulator.venue import Venue

RECENT_CLOSED = 500
"""Closed orders that `order/realtime` still knows."""

UNFILLED_KEPT_MS = DAY_MS
"""How long an order that ended without a fill stays in `order/history`."""


def realtime(venue: Venue, params: Params, now_ms: int) -> object:
    """Open orders; with `openOnly=1` or an id also the newest closed ones."""
    category = category_of(params)
    limit = params.limit(20, 50)
    matches = symbol_filter(venue, params, required=category == LINEAR)
    order_id, link = params.text("orderId"), params.text("orderLinkId")
    open_only = params.integer("openOnly", 0)
    if category != LINEAR:
        return {"list": [], "nextPageCursor": "", "category": category}
    if order_id or link:
        found = venue.engine.state.order_by(order_id, link)
        orders = [found] if found is not None and is_recent(venue, found) else []
    else:
        orders = venue.engine.open_orders() if open_only == 0 else recent_closed(venue)
    kind = order_filter(params)
    return _order_page(venue, params, limit, [order for order in orders if matches(order.symbol) and kind(order)])


def order_filter(params: Params) -> Callable[[Order], bool]:
    """Which orders `orderFilter` means; all of them where it is not given.

    Raises:
        Refusal: unknown.
    """
    wanted = params.text("orderFilter")
    if wanted == "Order":
        return lambda order: not order.stop_order_type
    if wanted == "StopOrder":
        return lambda order: bool(order.stop_order_type)
    if wanted == "tpslOrder":
        return lambda order: order.is_exit
    if wanted:
        raise Refusal(10001, "params error: orderFilter invalid")
    return lambda order: True


def recent_closed(venue: Venue) -> list[Order]:
    """The newest closed orders, newest first."""
    closed = [order for order in venue.engine.state.orders.values() if not order.is_open]
    return sorted(closed, key=_closing_order, reverse=True)[:RECENT_CLOSED]


def is_recent(venue: Venue, order: Order) -> bool:
    """Open, or among the newest closed ones."""
    if order.is_open or len(venue.engine.state.orders) <= RECENT_CLOSED:
        return True
    mark = _closing_order(order)
    newer = (
        other for other in venue.engine.state.orders.values() if not other.is_open and _closing_order(other) > mark
    )
    return sum(1 for _ in newer) < RECENT_CLOSED


def _closing_order(order: Order) -> tuple[int, int]:
    return order.updated_ms, order.sequence


def _is_kept(venue: Venue, order: Order, now_ms: int) -> bool:
    kept_ms = venue.config.behaviour.orders_kept_ms
    return kept_ms is None or now_ms - order.updated_ms <= kept_ms


def history(venue: Venue, params: Params, now_ms: int) -> object:
    """Closed orders by creation time; with an id and no times, of any age."""
    category = category_of(params)
    limit = params.limit(20, 50)
    matches = symbol_filter(venue, params, required=False)
    order_id, link = params.text("orderId"), params.text("orderLinkId")
    start, end = time_window(params, now_ms)
    if category != LINEAR:
        return {"list": [], "nextPageCursor": "", "category": category}
    orders: Iterable[Order]
    if order_id or link:
        found = venue.engine.state.order_by(order_id, link)
        orders = [found] if found is not None else []
    else:
        orders = (order for order in reversed(venue.engine.state.orders.values()) if start <= order.created_ms <= end)
    status = params.text("orderStatus")
    kept = [
        order
        for order in orders
        if matches(order.symbol)
        and not order.is_open
        and (order.filled_qty or now_ms - order.updated_ms <= UNFILLED_KEPT_MS)
        and _is_kept(venue, order, now_ms)
        and (not status or order.status == status)
    ]
    kept.sort(key=lambda order: (order.created_ms, order.sequence), reverse=True)
    return _order_page(venue, params, limit, kept)


def _order_page(venue: Venue, params: Params, limit: int, orders: list[Order]) -> dict[str, object]:
    rows = marked(orders, lambda order: f"{order.order_id}:{order.created_ms}")
    chosen, cursor = page(rows, limit, params.text("cursor"))
    return {
        "list": [order_row(venue, order) for order in chosen],
        "nextPageCursor": cursor,
        "category": LINEAR,
    }


def order_row(venue: Venue, order: Order) -> dict[str, object]:
    contract = contract_of(venue.market, order.symbol)
    places, qty_places = places_of(contract.tick_size), places_of(contract.qty_step)
    average = trimmed(order.filled_value / order.filled_qty) if order.filled_qty else ""
    unpriced = order.order_type == "Market" and (order.status is OrderStatus.UNTRIGGERED or not order.price)
    return {
        "orderId": order.order_id,
        "orderLinkId": order.order_link_id,
        "parentOrderLinkId": order.parent_order_link_id,
        "blockTradeId": "",
        "symbol": order.symbol,
        "price": "0" if unpriced else fixed(order.price, places),
        "qty": fixed(order.qty, qty_places),
        "side": order.side,
        "isLeverage": "",
        "positionIdx": order.position_idx,
        "orderStatus": order.status,
        "createType": order.create_type,
        "cancelType": order.cancel_type,
        "rejectReason": order.reject_reason,
        "avgPrice": average,
        "leavesQty": fixed(order.left_qty, qty_places),
        "leavesValue": trimmed(order.left_qty * (order.price or order.trigger_price or ZERO)),
        "cumExecQty": fixed(order.filled_qty, qty_places),
        "cumExecValue": trimmed(order.filled_value),
        "cumExecFee": "",  # gave way to cumFeeDetail
        "closedPnl": trimmed(order.closed_pnl),
        "timeInForce": order.time_in_force,
        "orderType": order.order_type,
        "stopOrderType": order.stop_order_type,
        "orderIv": "",
        "triggerPrice": "" if order.trigger_price is None else fixed(order.trigger_price, places),
        "takeProfit": "" if order.take_profit is None else fixed(order.take_profit, places),
        "stopLoss": "" if order.stop_loss is None else fixed(order.stop_loss, places),
        "tpTriggerBy": "" if order.take_profit is None else order.tp_trigger_by,
        "slTriggerBy": "" if order.stop_loss is None else order.sl_trigger_by,
        "triggerDirection": order.trigger_direction,
        "triggerBy": order.trigger_by if order.stop_order_type else "",
        "lastPriceOnCreated": fixed(order.last_price_on_created, places) if order.last_price_on_created else "",
        "reduceOnly": order.reduce_only,
        "closeOnTrigger": order.close_on_trigger,
        "smpType": order.smp_type or "None",
        "smpGroup": 0,
        "smpOrderId": "",
        "tpslMode": order.tpsl_mode,
        "tpLimitPrice": fixed(order.tp_limit_price, places) if order.tp_limit_price else "0",
        "slLimitPrice": fixed(order.sl_limit_price, places) if order.sl_limit_price else "0",
        "placeType": "",
        "slippageToleranceType": "UNKNOWN",
        "slippageTolerance": "",
        "createdTime": str(order.created_ms),
        "updatedTime": str(order.updated_ms),
        "extraFees": "",
        "cumFeeDetail": {contract.settle_coin: trimmed(order.fee)} if order.filled_qty else {},
        "rpiTakerAccess": False,
        "rpiMatchedQty": "0",
    }


def executions(venue: Venue, params: Params, now_ms: int) -> object:
    category = category_of(params)
    limit = params.limit(50, 100)
    start, end = time_window(params, now_ms)
    if category != LINEAR:
        return {"nextPageCursor": "", "category": category, "list": []}
    matches = symbol_filter(venue, params, required=False)
    exec_type, order_id, link = params.text("execType"), params.text("orderId"), params.text("orderLinkId")
    rows = [
        row
        for row in reversed(venue.engine.state.executions)
        if start <= row.time_ms <= end
        and matches(row.symbol)
        and (not exec_type or row.exec_type == exec_type)
        and (not order_id or row.order_id == order_id)
        and (not link or order_id or row.order_link_id == link)
    ]
    chosen, cursor = page(marked(rows, lambda row: f"{row.sequence}:2"), limit, params.text("cursor"))
    return {
        "nextPageCursor": cursor,
        "category": category,
        "list": [execution_row(venue, row) for row in chosen],
    }


def execution_row(venue: Venue, row: Execution) -> dict[str, object]:
    contract = contract_of(venue.market, row.symbol)
    places = places_of(contract.tick_size)
    is_order = row.order_type != "UNKNOWN"
    return {
        "symbol": row.symbol,
        "orderType": row.order_type,
        "underlyingPrice": "",
        "orderLinkId": row.order_link_id,
        "side": row.side,
        "indexPrice": "",
        "orderId": row.order_id,
        "stopOrderType": row.stop_order_type or "UNKNOWN",
        "createType": row.create_type,
        "leavesQty": plain(row.left_qty),
        "execTime": str(row.time_ms),
        "feeCurrency": contract.settle_coin,
        "isMaker": row.is_maker,
        "execFee": trimmed(row.fee),
        "feeRate": trimmed(row.fee_rate),
        "execId": row.exec_id,
        "tradeIv": "",
        "blockTradeId": "",
        "markPrice": fixed(row.mark_price, places),
        "execPrice": plain(row.price),
        "markIv": "",
        "orderQty": plain(row.order_qty),
        "orderPrice": fixed(row.order_price, places) if is_order else "0",
        "execValue": trimmed(row.value),
        "execType": row.exec_type,
        "execQty": plain(row.qty),
        "closedSize": plain(row.closed_size),
        "extraFees": "",
        "seq": row.sequence,
    }


ROUTES = (
    Route("GET", "/v5/order/realtime", realtime, True),
    Route("GET", "/v5/order/history", history, True),
    Route("GET", "/v5/execution/list", executions, True),
)
