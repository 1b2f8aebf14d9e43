"""Public data that is wrong: stale, with holes, or standing still. Reads the market; changes nothing in it."""

from __future__ import annotations

import json

from trading_assets.simulator.codec import Params, Raw
from trading_assets.simulator.faults.injector import RequestFault
from trading_assets.simulator.rest.common import Route
from trading_assets.simulator.rest.market import MINUTES, candle_start, server_time
from trading_assets.simulator.venue import Venue


def disturbed_result(route: Route, venue: Venue, params: Params, now_ms: int, fault: RequestFault) -> object:
    """The `result` of a public route under `fault`.

    Raises:
        Refusal: as the route itself does.
    """
    if route.handler is server_time:
        return route.handler(venue, params, now_ms + fault.skew_ms)
    shown_ms = now_ms if fault.still_ms is None else fault.still_ms
    if not (fault.stale_candles or fault.missing) or not route.path.endswith("kline"):
        return route.handler(venue, params, shown_ms)
    interval, end = params.text("interval"), params.integer("end")
    before = None
    if fault.stale_candles and (interval in MINUTES or interval in ("D", "W", "M")):
        before = candle_start(shown_ms, interval, fault.stale_candles)
        if params.integer("start") is None:  # a full page still, of older candles
            params = params.replaced(end=str(before - 1 if end is None else min(end, before - 1)))
    result = route.handler(venue, params, shown_ms)
    if not isinstance(result, Raw):
        return result
    answer = json.loads(result.text)
    answer["list"] = [
        row for row in answer["list"] if int(row[0]) not in fault.missing and (before is None or int(row[0]) < before)
    ]
    return answer
