"""`/v5/position/...`: positions, leverage, mode, stops, closed profit. Decisions are the engine's."""

from __future__ import annotations

from decimal import Decimal

from trading_assets.simulator.account.margin import AccountFigures, figures_of, liquidation_price, tier_of
from trading_assets.simulator.account.models import (
    LONG_LEG,
    ONE_WAY,
    SHORT_LEG,
    STOP_LOSS,
    TAKE_PROFIT,
    TAKER_FEE,
    TRAILING_STOP,
    ClosedPnl,
    Position,
    StopCommand,
)
from trading_assets.simulator.account.pricing import contract_of, mark_price
from trading_assets.simulator.account.stops import stop_order
from trading_assets.simulator.codec import Params, Refusal, fixed, page, places_of, plain, trimmed
from trading_assets.simulator.faults.codes import message_of
from trading_assets.simulator.market.base import Contract
from trading_assets.simulator.market.risk import tiers
from trading_assets.simulator.rest.common import (
    LINEAR,
    Route,
    category_of,
    marked,
    require_linear,
    symbol_filter,
    time_window,
)
from trading_assets.simulator.rest.orders import position_index, stop_options
from trading_assets.simulator.venue import Venue

ONE_WAY_MODE, HEDGE_MODE = 0, 3


def position_list(venue: Venue, params: Params, now_ms: int) -> object:
    category = category_of(params)
    limit = params.limit(20, 200)
    matches = symbol_filter(venue, params, required=category == LINEAR)
    if category != LINEAR:
        return {"list": [], "nextPageCursor": "", "category": category}
    state, symbol = venue.engine.state, params.text("symbol")
    if symbol:
        contract = contract_of(venue.market, symbol)
        hedged = state.is_hedged(symbol, contract.settle_coin)
        positions = [state.look_up(symbol, index) for index in ((LONG_LEG, SHORT_LEG) if hedged else (ONE_WAY,))]
    else:
        positions = sorted(
            (position for position in state.open_positions() if matches(position.symbol)),
            key=lambda position: (-position.opened_ms, position.symbol),
        )
    account = venue.engine.figures(now_ms)
    rows = marked(positions, lambda position: f"{position.symbol}:{position.created_ms}:{position.position_idx}")
    chosen, cursor = page(rows, limit, params.text("cursor"))
    return {
        "list": [position_row(venue, account, position, now_ms) for position in chosen],
        "nextPageCursor": cursor,
        "category": category,
    }


def position_row(venue: Venue, account: AccountFigures, position: Position, now_ms: int) -> dict[str, object]:
    contract = contract_of(venue.market, position.symbol)
    places = places_of(contract.tick_size)
    mark = mark_price(venue.market, contract, now_ms)
    row = _head(contract, position, fixed(mark, places)) | _stops(venue, position, places)
    if not position.size:
        return row
    valued = figures_of(position, contract, mark, isolated=account.isolated)
    liquidation = liquidation_price(account, valued)
    initial, maintenance = trimmed(valued.initial_margin), trimmed(valued.maintenance_margin)
    return row | {
        "side": position.side,
        "size": plain(abs(position.size)),
        "avgPrice": trimmed(position.entry_price),
        "positionValue": trimmed(position.entry_value),
        "positionBalance": initial,
        "breakEvenPrice": trimmed(break_even_price(position)),
        "liqPrice": "" if liquidation is None else fixed(liquidation, places),
        "positionIM": initial,
        "positionIMByMp": initial,
        "positionMM": maintenance,
        "positionMMByMp": maintenance,
        "unrealisedPnl": trimmed(valued.unrealised),
        "curRealisedPnl": trimmed(position.current_realised),
        "openTime": position.opened_ms,
    }


def break_even_price(position: Position) -> Decimal:
    """Exit price that just earns back what was realised so far (fees, funding) and the closing fee."""
    size = abs(position.size)
    if position.size > 0:
        return (position.entry_value - position.current_realised) / (size * (1 - TAKER_FEE))
    return (position.entry_value + position.current_realised) / (size * (1 + TAKER_FEE))


def _head(contract: Contract, position: Position, mark: str) -> dict[str, object]:
    """A flat position: what depends on a size is empty. `bustPrice` always is."""
    tier = tier_of(contract, position.entry_value) or tiers(contract)[-1]
    return {
        "positionIdx": position.position_idx,
        "riskId": tier.id,
        "riskLimitValue": plain(tier.limit),
        "symbol": position.symbol,
        "side": "",
        "size": "0",
        "avgPrice": "0",  # as recorded; whatever else depends on a size is empty
        "positionValue": "",
        "tradeMode": 0,
        "positionStatus": "Normal",
        "autoAddMargin": int(position.auto_add_margin),
        "adlRankIndicator": 2 if position.size else 0,
        "leverage": plain(position.leverage),
        "breakEvenPrice": "",
        "positionBalance": "",
        "markPrice": mark,
        "liqPrice": "",
        "bustPrice": "",
        "positionMM": "",
        "positionMMByMp": "",
        "positionIM": "",
        "positionIMByMp": "",
        "unrealisedPnl": "",
        "curRealisedPnl": "",
        "cumRealisedPnl": trimmed(position.total_realised),
        "seq": position.sequence,
        "isReduceOnly": False,
        "mmrSysUpdateTime": "",
        "mmrSysUpdatedTime": "",
        "leverageSysUpdatedTime": "",
        "sessionAvgPrice": "",
        "openTime": 0,
        "createdTime": str(position.created_ms),
        "updatedTime": str(position.updated_ms),
    }


def _stops(venue: Venue, position: Position, places: int) -> dict[str, object]:
    stop = venue.engine.stop_price(position, STOP_LOSS)
    target = venue.engine.stop_price(position, TAKE_PROFIT)
    trailing = stop_order(venue.engine.state, position, TRAILING_STOP)
    flat = "0" if position.size else ""
    return {
        "tpslMode": "Full",
        "takeProfit": "" if target is None else fixed(target, places),
        "stopLoss": "" if stop is None else fixed(stop, places),
        "trailingStop": fixed(trailing.trailing, places) if trailing is not None and trailing.trailing else flat,
    }


def set_leverage(venue: Venue, params: Params, now_ms: int) -> object:
    require_linear(params)
    symbol = params.required("symbol")
    buy, sell = params.decimal("buyLeverage"), params.decimal("sellLeverage")
    if buy is None or sell is None:
        raise Refusal(10001, "params error: buyLeverage and sellLeverage are required")
    if buy != sell:
        raise Refusal(10001, "params error: buyLeverage and sellLeverage must be equal")
    venue.engine.set_leverage(symbol, buy, now_ms)
    return {}


def switch_mode(venue: Venue, params: Params, now_ms: int) -> object:
    require_linear(params)
    symbol, coin = params.text("symbol"), params.text("coin")
    if not (symbol or coin):
        raise Refusal(10001, "params error: symbol or coin is required")
    mode = params.integer("mode")
    if mode not in (ONE_WAY_MODE, HEDGE_MODE):
        raise Refusal(10001, "params error: mode must be 0 or 3")
    if not symbol and coin not in {contract.settle_coin for contract in venue.market.contracts.values()}:
        raise Refusal(10001, "params error: coin invalid")
    venue.engine.switch_mode(symbol, coin, hedge=mode == HEDGE_MODE)
    return {}


def switch_isolated(venue: Venue, params: Params, now_ms: int) -> object:
    """Margin mode by symbol: only accounts that are not unified have it."""
    raise Refusal(100028, message_of(100028))


def add_margin(venue: Venue, params: Params, now_ms: int) -> object:
    require_linear(params)
    symbol, index, amount = params.required("symbol"), position_index(params), params.decimal("margin")
    if amount is None or amount != round(amount, 4):
        raise Refusal(10001, "params error: margin must be a number of at most 4 decimals")
    position = venue.engine.add_margin(symbol, index, amount, now_ms)
    return {"category": LINEAR} | position_row(venue, venue.engine.figures(now_ms), position, now_ms)


def set_auto_add_margin(venue: Venue, params: Params, now_ms: int) -> object:
    require_linear(params)
    wanted = params.integer("autoAddMargin")
    if wanted not in (0, 1):
        raise Refusal(10001, "params error: autoAddMargin must be 0 or 1")
    venue.engine.set_auto_add_margin(params.required("symbol"), position_index(params), wanted == 1, now_ms)
    return {}


def trading_stop(venue: Venue, params: Params, now_ms: int) -> object:
    require_linear(params)
    options = stop_options(params)
    sizes = {size for size in (params.decimal("tpSize"), params.decimal("slSize")) if size is not None}
    if len(sizes) > 1:
        raise Refusal(10001, "params error: tpSize and slSize must be equal")
    options["tpsl_mode"] = options["tpsl_mode"] or "Full"
    command = StopCommand(
        symbol=params.required("symbol"),
        size=next(iter(sizes), None),
        trailing_stop=params.decimal("trailingStop"),
        active_price=params.decimal("activePrice") or None,
        **options,
    )
    venue.engine.change_stops(command, now_ms)
    return {}


def closed_pnl(venue: Venue, params: Params, now_ms: int) -> object:
    category = category_of(params)
    limit = params.limit(50, 100)
    start, end = time_window(params, now_ms)
    if category != LINEAR:
        return {"nextPageCursor": "", "category": category, "list": []}
    matches = symbol_filter(venue, params, required=False)
    rows = [
        row for row in reversed(venue.engine.state.closed) if start <= row.created_ms <= end and matches(row.symbol)
    ]
    chosen, cursor = page(marked(rows, lambda row: f"{row.order_id}:{row.created_ms}"), limit, params.text("cursor"))
    return {
        "nextPageCursor": cursor,
        "category": category,
        "list": [closed_row(venue, row) for row in chosen],
    }


def closed_row(venue: Venue, row: ClosedPnl) -> dict[str, str]:
    places = places_of(contract_of(venue.market, row.symbol).tick_size)
    return {
        "symbol": row.symbol,
        "orderType": row.order_type,
        "leverage": plain(row.leverage),
        "updatedTime": str(row.updated_ms),
        "side": row.side,
        "orderId": row.order_id,
        "closedPnl": trimmed(row.pnl),
        "avgEntryPrice": trimmed(row.entry_price),
        "qty": plain(row.qty),
        "cumEntryValue": trimmed(row.entry_value),
        "createdTime": str(row.created_ms),
        "orderPrice": fixed(row.order_price, places),
        "closedSize": plain(row.closed_size),
        "avgExitPrice": trimmed(row.exit_price),
        "execType": row.exec_type,
        "fillCount": str(row.fill_count),
        "cumExitValue": trimmed(row.exit_value),
        "openFee": trimmed(row.open_fee),
        "closeFee": trimmed(row.close_fee),
    }


ROUTES = (
    Route("GET", "/v5/position/list", position_list, True),
    Route("POST", "/v5/position/set-leverage", set_leverage, True),
    Route("POST", "/v5/position/switch-mode", switch_mode, True),
    Route("POST", "/v5/position/switch-isolated", switch_isolated, True),
    Route("POST", "/v5/position/add-margin", add_margin, True),
    Route("POST", "/v5/position/set-auto-add-margin", set_auto_add_margin, True),
    Route("POST", "/v5/position/trading-stop", trading_stop, True),
    Route("GET", "/v5/position/closed-pnl", closed_pnl, True),
)
