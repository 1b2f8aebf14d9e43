"""`/v5/market/...`: public data, straight from the market. No account."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from trading_assets.core.timeframes import DAY_MS, MINUTE_MS, floor_ms, to_datetime, to_ms
from trading_assets.simulator.account.pricing import contract_of, status_of
from trading_assets.simulator.codec import Params, Raw, Refusal, candle_rows, fixed, page, places_of, plain, short
from trading_assets.simulator.market.base import Bars, Contract
from trading_assets.simulator.market.calendar import start_of
from trading_assets.simulator.rest.common import LINEAR, Route, category_of
from trading_assets.simulator.venue import Venue

MINUTES = {name: int(name) for name in ("1", "3", "5", "15", "30", "60", "120", "240", "360", "720")}
MONTH_MS = 31 * DAY_MS
WEEK_MS = 7 * DAY_MS
MONDAY_MS = 4 * DAY_MS
"""1970-01-05, the first Monday: weeks start on it plus multiples of seven days."""
STATUSES = frozenset({"PreLaunch", "Trading", "Settling", "Delivering", "Closed"})


def server_time(venue: Venue, params: Params, now_ms: int) -> object:
    return {"timeSecond": str(now_ms // 1000), "timeNano": str(now_ms * 1_000_000)}


@dataclass(frozen=True)
class KlineRequest:
    """What a request for candles asks; `window` is start and end, UTC ms, both inclusive."""

    contract: Contract
    interval: str
    window: tuple[int | None, int | None]
    limit: int


def kline_request(venue: Venue, params: Params) -> KlineRequest:
    """The parameters of every kind of kline.

    Raises:
        Refusal: one is missing or wrong.
    """
    category = category_of(params, LINEAR)
    symbol, interval = params.required("symbol"), params.required("interval")
    if interval not in MINUTES and interval not in ("D", "W", "M"):
        raise Refusal(10001, "params error: Invalid interval")
    if category != LINEAR:
        raise Refusal(10001, "params error: symbol invalid")
    contract = contract_of(venue.market, symbol)
    limit = params.limit(200, 1000)
    start, end = params.integer("start"), params.integer("end")
    if start is not None and end is not None and start > end:
        raise Refusal(10001, "params error: start must not be later than end")
    return KlineRequest(contract, interval, (start, end), limit)


def kline(venue: Venue, params: Params, now_ms: int) -> object:
    asked = kline_request(venue, params)
    contract = asked.contract
    bars = candles(venue.market.candles, contract, asked.interval, asked.window, limit=asked.limit, now_ms=now_ms)
    rows = candle_rows(bars, places_of(contract.tick_size), places_of(contract.qty_step))
    return Raw(f'{{"symbol":"{contract.symbol}","category":"{LINEAR}","list":{rows}}}')


def candles(
    bars_of: Callable[[str, str, int, int, int], Bars],
    contract: Contract,
    interval: str,
    window: tuple[int | None, int | None],
    *,
    limit: int,
    now_ms: int,
) -> Bars:
    """Candles of a kline request: `start` and `end` count the candle's start, both inclusive.

    From `start` alone forward; otherwise the newest `limit` up to `end` or now.
    """
    start, end = window
    last = now_ms if end is None else min(end, now_ms)
    first = max(start_of(interval, contract.launch_ms), start or 0)
    if start is not None and end is None:
        last = min(last, _later(first, interval, limit) - 1)
    else:
        first = max(first, candle_start(last, interval, limit))
    if first > last:
        return bars_of(contract.symbol, interval, first, first, now_ms)
    bars = bars_of(contract.symbol, interval, first, last + 1, now_ms)
    return bars[:limit] if start is not None and end is None else bars[-limit:]


def candle_start(time_ms: int, interval: str, count: int) -> int:
    """Start of the candle `count - 1` before the one that holds `time_ms`."""
    if interval == "M":
        month = to_datetime(max(time_ms, 0)).year * 12 + to_datetime(max(time_ms, 0)).month - 1 - (count - 1)
        return to_ms(datetime(month // 12, month % 12 + 1, 1, tzinfo=UTC)) if month >= 1970 * 12 else 0
    step = _step(interval)
    anchor = MONDAY_MS if interval == "W" else 0
    return floor_ms(time_ms - anchor, step) + anchor - (count - 1) * step


def _later(time_ms: int, interval: str, count: int) -> int:
    """Start of the candle `count` after the first one that starts at or after `time_ms`."""
    if interval == "M":
        return time_ms + count * MONTH_MS
    step = _step(interval)
    anchor = MONDAY_MS if interval == "W" else 0
    return floor_ms(time_ms - anchor + step - 1, step) + anchor + count * step


def _step(interval: str) -> int:
    return MINUTES[interval] * MINUTE_MS if interval in MINUTES else {"D": DAY_MS, "W": WEEK_MS}[interval]


def instruments_info(venue: Venue, params: Params, now_ms: int) -> dict[str, Any]:
    category = category_of(params)
    symbol, base = params.text("symbol"), params.text("baseCoin")
    wanted = params.text("status", "Trading")
    if wanted not in STATUSES:
        raise Refusal(10001, "params error: status invalid")
    limit = params.limit(500, 1000)
    if category != LINEAR:
        return {"category": category, "list": [], "nextPageCursor": ""}
    if symbol:
        contract = contract_of(venue.market, symbol)
        return {"category": category, "list": [instrument_row(contract, now_ms)], "nextPageCursor": ""}
    contracts = [
        contract
        for name, contract in sorted(venue.market.contracts.items())
        if status_of(contract, now_ms) == wanted and (not base or contract.base_coin == base)
    ]
    chosen, cursor = page([(c.symbol, c) for c in contracts], limit, params.text("cursor"))
    return {
        "category": category,
        "list": [instrument_row(contract, now_ms) for contract in chosen],
        "nextPageCursor": cursor,
    }


def instrument_row(contract: Contract, now_ms: int) -> dict[str, object]:
    qty_places = places_of(contract.qty_step)
    price_places = places_of(contract.tick_size)
    perpetual = contract.contract_type == "LinearPerpetual"
    return {
        "symbol": contract.symbol,
        "symbolId": contract.symbol_id,
        "contractType": contract.contract_type,
        "status": status_of(contract, now_ms),
        "baseCoin": contract.base_coin,
        "quoteCoin": contract.quote_coin,
        "launchTime": str(contract.launch_ms),
        "deliveryTime": str(contract.told_delivery_ms(now_ms)),
        "deliveryFeeRate": "" if perpetual else "0",
        "priceScale": str(contract.price_scale),
        "leverageFilter": {
            "minLeverage": "1",
            "maxLeverage": fixed(contract.max_leverage, 2),
            "leverageStep": plain(contract.leverage_step),
        },
        "priceFilter": {
            "minPrice": fixed(contract.min_price, price_places),
            "maxPrice": fixed(contract.max_price, price_places),
            "tickSize": fixed(contract.tick_size, price_places),
        },
        "lotSizeFilter": {
            "maxOrderQty": fixed(contract.max_qty, qty_places),
            "minOrderQty": fixed(contract.min_qty, qty_places),
            "qtyStep": fixed(contract.qty_step, qty_places),
            "postOnlyMaxOrderQty": fixed(contract.max_qty, qty_places),
            "maxMktOrderQty": fixed(contract.max_market_qty, qty_places),
            "minNotionalValue": plain(contract.min_notional),
        },
        "unifiedMarginTrade": True,
        "fundingInterval": contract.funding_interval_min,
        "settleCoin": contract.settle_coin,
        "copyTrading": "none",
        "upperFundingRate": plain(contract.funding_cap),
        "lowerFundingRate": plain(-contract.funding_cap),
        "isPreListing": False,
        "preListingInfo": None,
        "riskParameters": {
            "priceLimitRatioX": plain(contract.price_limit_x),
            "priceLimitRatioY": plain(contract.price_limit_y),
        },
        "displayName": "",
        "symbolType": contract.symbol_type,
    }


def tickers(venue: Venue, params: Params, now_ms: int) -> object:
    category = category_of(params)
    symbol, base = params.text("symbol"), params.text("baseCoin")
    if category != LINEAR:
        return {"category": category, "list": []}
    contracts = [contract_of(venue.market, symbol)] if symbol else _traded(venue, now_ms)
    if symbol:
        venue.market.attend(symbol)
    if base:
        contracts = [contract for contract in contracts if contract.base_coin == base]
    return {"category": category, "list": [ticker_row(venue, contract, now_ms) for contract in contracts]}


def sorted_live(venue: Venue, now_ms: int) -> list[Contract]:
    return [
        contract for _, contract in sorted(venue.market.contracts.items()) if status_of(contract, now_ms) == "Trading"
    ]


def _traded(venue: Venue, now_ms: int) -> list[Contract]:
    """Contracts with a ticker: those that can be entered or left."""
    listed = (contract for _, contract in sorted(venue.market.contracts.items()))
    return [contract for contract in listed if status_of(contract, now_ms) not in ("PreLaunch", "Closed")]


def ticker_row(venue: Venue, contract: Contract, now_ms: int) -> dict[str, str]:
    """All fields of a ticker; those of dated futures are empty for perpetuals and the other way round."""
    market, symbol, places = venue.market, contract.symbol, places_of(contract.tick_size)
    last = market.last_price(symbol, now_ms)
    mark, index = market.mark_price(symbol, now_ms), market.index_price(symbol, now_ms)
    day = market.stats_24h(symbol, now_ms)
    bids, asks = market.book(symbol, now_ms, 1)
    interest = market.open_interest(symbol, now_ms)
    qty_places = places_of(contract.qty_step)
    bid_price, bid_size = _best(bids, places, qty_places)
    ask_price, ask_size = _best(asks, places, qty_places)
    row = {
        "symbol": symbol,
        "lastPrice": fixed(last, places),
        "indexPrice": fixed(index, places),
        "markPrice": fixed(mark, places),
        "prevPrice24h": fixed(day.prev_price_24h, places),
        "price24hPcnt": fixed(last / day.prev_price_24h - 1 if day.prev_price_24h > 0 else 0.0, 6),
        "highPrice24h": fixed(day.high, places),
        "lowPrice24h": fixed(day.low, places),
        "prevPrice1h": fixed(day.prev_price_1h, places),
        "openInterest": short(interest, qty_places),
        "openInterestValue": fixed(interest * mark, 2),
        "singleOpenInterest": short(interest / 2, qty_places),
        "turnover24h": fixed(day.turnover, 4),
        "volume24h": fixed(day.volume, 4),
        "bid1Price": bid_price,
        "bid1Size": bid_size,
        "ask1Price": ask_price,
        "ask1Size": ask_size,
        "preOpenPrice": "",
        "preQty": "",
        "curPreListingPhase": "",
    }
    if contract.contract_type == "LinearPerpetual":
        return row | _perpetual_fields(venue, contract, now_ms)
    return row | _future_fields(contract, last, index, now_ms)


def _best(levels: Bars, places: int, qty_places: int) -> tuple[str, str]:
    if not len(levels):
        return "", ""
    return fixed(float(levels[0, 0]), places), short(float(levels[0, 1]), qty_places)


def _perpetual_fields(venue: Venue, contract: Contract, now_ms: int) -> dict[str, str]:
    due = next_funding_ms(contract, now_ms)
    return {
        "fundingRate": short(venue.market.funding_rate(contract.symbol, due), 8),
        "nextFundingTime": str(due),
        "fundingIntervalHour": str(contract.funding_interval_min // 60),
        "fundingCap": plain(contract.funding_cap),
        "predictedDeliveryPrice": "",
        "basisRate": "",
        "deliveryFeeRate": "",
        "deliveryTime": str(contract.told_delivery_ms(now_ms)),
        "basis": "",
        "basisRateYear": "",
    }


def next_funding_ms(contract: Contract, time_ms: int) -> int:
    """The first payment after `time_ms`."""
    interval = contract.funding_interval_min * MINUTE_MS
    return floor_ms(time_ms, interval) + interval


def _future_fields(contract: Contract, last: float, index: float, now_ms: int) -> dict[str, str]:
    days = max(contract.delivery_ms - now_ms, DAY_MS) / DAY_MS
    rate = last / index - 1 if index > 0 else 0.0
    return {
        "fundingRate": "",
        "nextFundingTime": "",
        "fundingIntervalHour": "",
        "fundingCap": "",
        "predictedDeliveryPrice": "0.00",
        "basisRate": fixed(rate, 8),
        "deliveryFeeRate": "0",
        "deliveryTime": str(contract.delivery_ms),
        "basis": fixed(last - index, places_of(contract.tick_size)),
        "basisRateYear": fixed(rate * 365 / days, 8),
    }


def orderbook(venue: Venue, params: Params, now_ms: int) -> object:
    if category_of(params) != LINEAR:
        raise Refusal(10001, "params error: symbol invalid")
    contract = contract_of(venue.market, params.required("symbol"))
    limit = params.limit(25, 1000)
    bids, asks = venue.market.book(contract.symbol, now_ms, limit)
    places, qty_places = places_of(contract.tick_size), places_of(contract.qty_step)

    def pairs(levels: Bars) -> list[list[str]]:
        return [[short(price, places), short(qty, qty_places)] for price, qty in levels.tolist()]

    return {
        "s": contract.symbol,
        "b": pairs(bids),
        "a": pairs(asks),
        "ts": now_ms,
        "u": now_ms // 100,
        "seq": now_ms,
        "cts": now_ms,
    }


def funding_history(venue: Venue, params: Params, now_ms: int) -> object:
    if category_of(params) != LINEAR:
        raise Refusal(10001, "params error: symbol invalid")
    contract = contract_of(venue.market, params.required("symbol"))
    limit = params.limit(200, 200)
    start, end = params.integer("startTime"), params.integer("endTime")
    if start is not None and end is None:
        raise Refusal(10001, "params error: endTime is required when startTime is given")
    if start is not None and end is not None and start > end:
        raise Refusal(10001, "params error: startTime must not be later than endTime")
    rows: list[dict[str, str]] = []
    if contract.contract_type == "LinearPerpetual":
        interval = contract.funding_interval_min * MINUTE_MS
        due = floor_ms(min(now_ms, now_ms if end is None else end), interval)
        earliest = max(start or 0, contract.launch_ms + 1)
        while due >= earliest and len(rows) < limit:
            rate = short(venue.market.funding_rate(contract.symbol, due), 8)
            rows.append({"symbol": contract.symbol, "fundingRate": rate, "fundingRateTimestamp": str(due)})
            due -= interval
    return {"category": LINEAR, "list": rows}


ROUTES = (
    Route("GET", "/v5/market/time", server_time, False),
    Route("GET", "/v5/market/kline", kline, False),
    Route("GET", "/v5/market/instruments-info", instruments_info, False),
    Route("GET", "/v5/market/tickers", tickers, False),
    Route("GET", "/v5/market/orderbook", orderbook, False),
    Route("GET", "/v5/market/funding/history", funding_history, False),
)
