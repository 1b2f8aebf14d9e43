"""Wrong answers: market data that is stale or has holes, and rows that miss, repeat or differ. They only read."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from trading_assets.simulator.codec import Params, Raw, cursor_last
from trading_assets.simulator.faults.injector import RequestFault, RowChange
from trading_assets.simulator.faults.rules import FaultRule
from trading_assets.simulator.rest.common import Route
from trading_assets.simulator.rest.market import MINUTES, candle_start, server_time
from trading_assets.simulator.venue import Venue


def market_data(route: Route, venue: Venue, params: Params, now_ms: int, fault: RequestFault) -> object:
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


def changed_rows(result: object, changes: Sequence[RowChange], params: Params) -> object:
    """The `result` of a route with its rows changed; a result without a list is a row itself."""
    if not changes:
        return result
    if isinstance(result, Raw):
        result = json.loads(result.text)
    if not isinstance(result, dict):
        return result
    for change in changes:
        if not isinstance(result.get("list"), list):
            result = _changed(result, change.rule) if change.rule.means_row(result) else result
            continue
        rows = rows_after(result["list"], change.rule)
        if change.rule.overlap_rows:
            rows = _overlapping(rows, result.get("nextPageCursor", ""), params.text("cursor"), change)
        result = {**result, "list": rows}
    return result


def changed_message(text: str, changes: Sequence[RowChange]) -> str:
    """A message of a stream with its rows changed; empty where none is left."""
    message = json.loads(text)
    data = message["data"]
    for change in changes:
        data = rows_after(data if isinstance(data, list) else [data], change.rule)
    if not data:
        return ""
    message["data"] = data if isinstance(message["data"], list) else data[0]
    return json.dumps(message, separators=(",", ":"))


def rows_after(rows: Sequence[Any], rule: FaultRule) -> list[Any]:
    """The rows with those that `rule` means changed, left out or repeated."""
    left: list[Any] = []
    for row in rows:
        if not isinstance(row, dict) or not rule.changes_rows or not rule.means_row(row):
            left.append(row)
        elif not rule.leave_out:
            left += [_changed(row, rule)] * (2 if rule.repeat_rows else 1)
    return left


def _changed(row: dict[str, Any], rule: FaultRule) -> dict[str, Any]:
    row = json.loads(json.dumps(row))
    for name, value in rule.set.items():
        _put(row, name.split("."), value)
    for name in rule.without:
        *path, last = name.split(".")
        for holder in _reached(row, path):
            holder.pop(last, None)
    return row


def _put(row: dict[str, Any], path: list[str], value: object) -> None:
    for holder in _reached(row, path[:-1]):
        holder[path[-1]] = value


def _reached(value: object, path: list[str]) -> list[dict[str, Any]]:
    """The objects at `path`; a list on the way stands for all it holds."""
    if isinstance(value, list):
        return [found for item in value for found in _reached(item, path)]
    if not isinstance(value, dict):
        return []
    return _reached(value.get(path[0]), path[1:]) if path else [value]


def _overlapping(rows: list[Any], following: str, cursor: str, change: RowChange) -> list[Any]:
    """The page with the last rows of the one before it in front."""
    if following:
        change.pages[cursor_last(following)] = rows[-change.rule.overlap_rows :]
    return [*(change.pages.get(cursor_last(cursor), []) if cursor else []), *rows]
