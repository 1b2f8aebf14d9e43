"""`/v5/order/...` that change something: create, amend, cancel, batches, pre-check. Decisions are the engine's."""

from __future__ import annotations

from collections.abc import Callable
from decimal import Decimal
from typing import Any

from trading_assets.core.models import Side
from trading_assets.simulator.account.margin import AccountFigures
from trading_assets.simulator.account.models import (
    INDEX_PRICE,
    LAST_PRICE,
    MARK_PRICE,
    ONE_WAY,
    SHORT_LEG,
    Amendment,
    Order,
    OrderCommand,
)
from trading_assets.simulator.account.pricing import contract_of
from trading_assets.simulator.codec import Extended, Params, Refusal
from trading_assets.simulator.faults.codes import message_of
from trading_assets.simulator.rest.common import Route, require_linear, symbol_filter
from trading_assets.simulator.rest.trade import order_filter
from trading_assets.simulator.venue import Venue

PRICES = (LAST_PRICE, MARK_PRICE, INDEX_PRICE)
SMP_TYPES = ("None", "CancelMaker", "CancelTaker", "CancelBoth")
TIMES_IN_FORCE = ("GTC", "IOC", "FOK", "PostOnly")
MAX_BATCH = 20


def create(venue: Venue, params: Params, now_ms: int) -> object:
    return _ids(venue.engine.place_order(order_command(params), now_ms))


def order_command(params: Params) -> OrderCommand:
    """The order that a client asks for.

    Raises:
        Refusal: malformed.
    """
    require_linear(params)
    symbol, side = params.required("symbol"), params.required("side")
    if side not in ("Buy", "Sell"):
        raise Refusal(10001, "params error: side invalid")
    order_type = params.required("orderType")
    if order_type not in ("Market", "Limit"):
        raise Refusal(10001, "params error: orderType invalid")
    qty = params.decimal("qty")
    if qty is None:
        raise Refusal(10001, "params error: qty is required")
    stops = stop_options(params)
    return OrderCommand(
        symbol=symbol,
        side=Side(side),
        qty=qty,
        order_link_id=params.text("orderLinkId"),
        reduce_only=params.flag("reduceOnly"),
        close_on_trigger=params.flag("closeOnTrigger"),
        slippage_type=params.text("slippageToleranceType"),
        slippage=params.decimal("slippageTolerance"),
        order_type=order_type,
        price=params.decimal("price"),
        time_in_force=_one_of(params, "timeInForce", TIMES_IN_FORCE, "GTC"),
        trigger_price=params.decimal("triggerPrice") or None,
        trigger_direction=params.integer("triggerDirection", 0) or 0,
        trigger_by=_one_of(params, "triggerBy", PRICES, LAST_PRICE),
        smp_type=_one_of(params, "smpType", SMP_TYPES, "None").replace("None", ""),
        **{**stops, "take_profit": stops["take_profit"] or None, "stop_loss": stops["stop_loss"] or None},
    )


def stop_options(params: Params) -> dict[str, Any]:
    """What `order/create` and `trading-stop` say alike of stop, target and position.

    Raises:
        Refusal: malformed, or limit stops asked for a whole position.
    """
    mode = _one_of(params, "tpslMode", ("Full", "Partial"), "")
    limits: dict[str, Decimal | None] = {}
    for short in ("tp", "sl"):
        limit = params.decimal(f"{short}LimitPrice") or None
        kind = _one_of(params, f"{short}OrderType", ("Market", "Limit"), "Market")
        if kind == "Limit" and mode != "Partial":
            raise Refusal(10001, f"params error: {short}OrderType must be Market in Full mode")
        if kind == "Limit" and limit is None:
            raise Refusal(10001, f"params error: {short}LimitPrice is required for a limit order")
        limits[short] = limit if kind == "Limit" else None
    return {
        "position_idx": position_index(params),
        "tpsl_mode": mode,
        "take_profit": params.decimal("takeProfit"),
        "stop_loss": params.decimal("stopLoss"),
        "tp_trigger_by": _one_of(params, "tpTriggerBy", PRICES, LAST_PRICE),
        "sl_trigger_by": _one_of(params, "slTriggerBy", PRICES, LAST_PRICE),
        "tp_limit_price": limits["tp"],
        "sl_limit_price": limits["sl"],
    }


def position_index(params: Params) -> int:
    """0 in one-way mode, 1 or 2 in hedge mode."""
    index = params.integer("positionIdx", ONE_WAY)
    if index is None or not ONE_WAY <= index <= SHORT_LEG:
        raise Refusal(10001, "params error: positionIdx invalid")
    return index


def amend(venue: Venue, params: Params, now_ms: int) -> object:
    require_linear(params)
    order_id, link = _named(params)
    change = Amendment(
        qty=params.decimal("qty"),
        price=params.decimal("price"),
        trigger_price=params.decimal("triggerPrice"),
        take_profit=params.decimal("takeProfit"),
        stop_loss=params.decimal("stopLoss"),
    )
    return _ids(venue.engine.amend(params.required("symbol"), order_id, link, change, now_ms))


def cancel(venue: Venue, params: Params, now_ms: int) -> object:
    require_linear(params)
    order_id, link = _named(params)
    return _ids(venue.engine.cancel(params.required("symbol"), order_id, link, now_ms))


def cancel_all(venue: Venue, params: Params, now_ms: int) -> object:
    require_linear(params)
    matches, kind = symbol_filter(venue, params, required=True), order_filter(params)
    if params.text("symbol"):
        contract_of(venue.market, params.text("symbol"))
    chosen = [order for order in venue.engine.open_orders() if matches(order.symbol) and kind(order)]
    venue.engine.cancel_all(chosen, now_ms)
    return {"list": [_ids(order) for order in chosen], "success": "1"}


def pre_check(venue: Venue, params: Params, now_ms: int) -> object:
    """Margin rates before and after an order that is not placed, in units of 0.01 %."""
    before, after = venue.engine.preview(order_command(params), now_ms)
    return {
        "orderId": "",
        "orderLinkId": params.text("orderLinkId"),
        "preImrE4": _rate(before, before.initial_margin),
        "preMmrE4": _rate(before, before.maintenance_margin),
        "postImrE4": _rate(after, after.initial_margin),
        "postMmrE4": _rate(after, after.maintenance_margin),
    }


def _rate(account: AccountFigures, margin: Decimal) -> int:
    return int(margin / account.margin_balance * 10_000) if account.margin_balance > 0 else 0


def create_batch(venue: Venue, params: Params, now_ms: int) -> object:
    def answer(one: Params) -> dict[str, object]:
        order = venue.engine.place_order(order_command(one), now_ms)
        return {**_ids(order), "createAt": str(order.created_ms)}

    return _batch(params, answer, {"orderId": "", "orderLinkId": "", "createAt": ""})


def amend_batch(venue: Venue, params: Params, now_ms: int) -> object:
    return _batch(params, lambda one: amend(venue, one, now_ms), {"orderId": "", "orderLinkId": ""})


def cancel_batch(venue: Venue, params: Params, now_ms: int) -> object:
    return _batch(params, lambda one: cancel(venue, one, now_ms), {"orderId": "", "orderLinkId": ""})


def _batch(params: Params, action: Callable[[Params], Any], nothing: dict[str, object]) -> Extended:
    """Each order by itself: one that is refused does not stop the others. Those beyond the limits are refused."""
    require_linear(params)
    requests = params.objects("request")
    if not 1 <= len(requests) <= MAX_BATCH:
        raise Refusal(10001, f"params error: request must have 1 to {MAX_BATCH} orders")
    rows, outcomes = [], []
    for number, values in enumerate(requests):
        one = Params({**values, "category": "linear"})
        try:
            if params.let_through is not None and number >= params.let_through:
                raise Refusal(10006, message_of(10006))
            row, code, message = action(one), 0, "OK"
        except Refusal as refusal:
            row = {**nothing, "orderId": _text(values, "orderId"), "orderLinkId": _text(values, "orderLinkId")}
            code, message = refusal.ret_code, str(refusal)
        rows.append({"category": "linear", "symbol": _text(values, "symbol"), **row})
        outcomes.append({"code": code, "msg": message})
    return Extended({"list": rows}, {"list": outcomes})


def _text(values: dict[str, Any], name: str) -> str:
    value = values.get(name)
    return value if isinstance(value, str) else ""


def _ids(order: Order) -> dict[str, object]:
    return {"orderId": order.order_id, "orderLinkId": order.order_link_id}


def _named(params: Params) -> tuple[str, str]:
    order_id, link = params.text("orderId"), params.text("orderLinkId")
    if not (order_id or link):
        raise Refusal(10001, "params error: orderId or orderLinkId is required")
    return order_id, link


def _one_of(params: Params, name: str, allowed: tuple[str, ...], default: str) -> str:
    value = params.text(name) or default
    if value not in allowed and value != default:
        raise Refusal(10001, f"params error: {name} invalid")
    return value


def set_dcp(venue: Venue, params: Params, now_ms: int) -> object:
    """The window of protection against disconnection: the topic `dcp.future` of the private stream is watched."""
    product, window = params.text("product", "OPTIONS"), params.integer("timeWindow")
    if product not in ("OPTIONS", "DERIVATIVES", "SPOT"):
        raise Refusal(10001, "params error: product invalid")
    if window is None or not 3 <= window <= 300:
        raise Refusal(10001, "params error: timeWindow must be in 3..300")
    header = venue.engine.state.header
    header.dcp_windows = {**header.dcp_windows, product: window}
    venue.engine.state.touch(header)
    return {}


ROUTES = (
    Route("POST", "/v5/order/create", create, True),
    Route("POST", "/v5/order/amend", amend, True),
    Route("POST", "/v5/order/cancel", cancel, True),
    Route("POST", "/v5/order/cancel-all", cancel_all, True),
    Route("POST", "/v5/order/create-batch", create_batch, True),
    Route("POST", "/v5/order/amend-batch", amend_batch, True),
    Route("POST", "/v5/order/cancel-batch", cancel_batch, True),
    Route("POST", "/v5/order/disconnected-cancel-all", set_dcp, True),
    Route("POST", "/v5/order/pre-check", pre_check, True),
)
