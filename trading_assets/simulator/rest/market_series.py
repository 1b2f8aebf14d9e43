"""`/v5/market/...` beside candles of trades: candles of mark, index and premium, trades, open interest, account ratio.

No account.
"""

from __future__ import annotations

import math
from collections.abc import Callable

from trading_assets.core.timeframes import DAY_MS, HOUR_MS, MINUTE_MS, floor_ms
from trading_assets.simulator.account.pricing import contract_of
from trading_assets.simulator.codec import (
    Params,
    Raw,
    Refusal,
    cursor_last,
    cursor_of,
    fixed,
    places_of,
    price_rows,
    short,
)
from trading_assets.simulator.market.base import Bars, Contract, Reference
from trading_assets.simulator.market.noise import drift_at, stream
from trading_assets.simulator.market.trades import recent_trades
from trading_assets.simulator.rest.common import LINEAR, Handler, Route, category_of
from trading_assets.simulator.rest.market import candles, kline_request, next_funding_ms
from trading_assets.simulator.venue import Venue

PERIODS_MS = {
    "5min": 5 * MINUTE_MS,
    "15min": 15 * MINUTE_MS,
    "30min": 30 * MINUTE_MS,
    "1h": HOUR_MS,
    "4h": 4 * HOUR_MS,
    "1d": DAY_MS,
}
PREMIUM_PLACES = 6
CROWD_PACE_MS = 6 * HOUR_MS


def reference_kline(kind: Reference) -> Handler:
    """The endpoint of the candles of `kind`: five columns."""

    def answer(venue: Venue, params: Params, now_ms: int) -> object:
        asked = kline_request(venue, params)
        contract = asked.contract

        def bars(symbol: str, interval: str, start_ms: int, end_ms: int, now_ms: int) -> Bars:
            return venue.market.reference_bars(symbol, kind, interval, start_ms, end_ms, now_ms)

        table = candles(bars, contract, asked.interval, asked.window, limit=asked.limit, now_ms=now_ms)
        places = PREMIUM_PLACES if kind is Reference.PREMIUM else places_of(contract.tick_size)
        return Raw(f'{{"symbol":"{contract.symbol}","category":"{LINEAR}","list":{price_rows(table, places)}}}')

    return answer


def recent_trade(venue: Venue, params: Params, now_ms: int) -> object:
    category = category_of(params)
    if category != LINEAR:
        raise Refusal(10001, "params error: symbol invalid")
    contract = contract_of(venue.market, params.required("symbol"))
    limit = params.limit(500, 1000)
    places, qty_places = places_of(contract.tick_size), places_of(contract.qty_step)
    rows = [
        {
            "execId": trade.trade_id,
            "symbol": contract.symbol,
            "price": fixed(trade.price, places),
            "size": short(trade.qty, qty_places),
            "side": trade.side,
            "time": str(trade.time_ms),
            "isBlockTrade": False,
            "isRPITrade": False,
            "seq": str(trade.time_ms),
        }
        for trade in recent_trades(venue.market, contract.symbol, now_ms, limit)
    ]
    return {"category": category, "list": rows}


def open_interest(venue: Venue, params: Params, now_ms: int) -> object:
    def row(contract: Contract, time_ms: int) -> dict[str, str]:
        interest = venue.market.open_interest(contract.symbol, time_ms)
        return {"openInterest": short(interest, places_of(contract.qty_step)), "timestamp": str(time_ms)}

    contract, rows, cursor = _series(venue, params, now_ms, "intervalTime", 200, row)
    return {"symbol": contract.symbol, "category": LINEAR, "list": rows, "nextPageCursor": cursor}


def account_ratio(venue: Venue, params: Params, now_ms: int) -> object:
    """The share of accounts that are long: more where funding is high, and drifting."""

    def row(contract: Contract, time_ms: int) -> dict[str, str]:
        crowd = drift_at(stream(0, "crowd", contract.symbol), time_ms / CROWD_PACE_MS)
        if contract.contract_type == "LinearPerpetual":
            crowd += 3000.0 * venue.market.funding_rate(contract.symbol, next_funding_ms(contract, time_ms))
        long = round(0.55 + 0.15 * math.tanh(0.5 * crowd), 4)
        return {
            "symbol": contract.symbol,
            "buyRatio": short(long, 4),
            "sellRatio": short(1.0 - long, 4),
            "timestamp": str(time_ms),
        }

    _, rows, cursor = _series(venue, params, now_ms, "period", 500, row)
    return {"list": rows, "nextPageCursor": cursor}


def _series(
    venue: Venue,
    params: Params,
    now_ms: int,
    period_name: str,
    most: int,
    row: Callable[[Contract, int], dict[str, str]],
) -> tuple[Contract, list[dict[str, str]], str]:
    """Contract, one row for each whole period of the window, newest first, and the cursor to the next page."""
    if category_of(params) != LINEAR:
        raise Refusal(10001, "params error: symbol invalid")
    contract = contract_of(venue.market, params.required("symbol"))
    period = PERIODS_MS.get(params.required(period_name))
    if period is None:
        raise Refusal(10001, f"params error: {period_name} must be one of {', '.join(PERIODS_MS)}")
    limit = params.limit(50, most)
    start, end = params.integer("startTime"), params.integer("endTime")
    if start is not None and end is not None and start > end:
        raise Refusal(10001, "params error: startTime must not be later than endTime")
    last = floor_ms(min(now_ms, now_ms if end is None else end), period)
    cursor = params.text("cursor")
    if cursor:
        mark = cursor_last(cursor)
        if not mark.isascii() or not mark.isdigit():
            raise Refusal(10001, f"params error: cursor is invalid: {cursor[:80]!r}")
        last = min(last, int(mark) - period)
    times = range(last, max(start or 0, contract.launch_ms) - 1, -period)[:limit]
    following = cursor_of(str(times[0]), str(times[-1])) if times else ""
    return contract, [row(contract, time) for time in times], following


ROUTES = (
    Route("GET", "/v5/market/mark-price-kline", reference_kline(Reference.MARK), False),
    Route("GET", "/v5/market/index-price-kline", reference_kline(Reference.INDEX), False),
    Route("GET", "/v5/market/premium-index-price-kline", reference_kline(Reference.PREMIUM), False),
    Route("GET", "/v5/market/recent-trade", recent_trade, False),
    Route("GET", "/v5/market/open-interest", open_interest, False),
    Route("GET", "/v5/market/account-ratio", account_ratio, False),
)
