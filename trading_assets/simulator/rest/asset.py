"""`/v5/asset/...`, `/v5/system/...` and `/v5/announcements/...`: deliveries, and what clients ask beside trading.

There are no wallets to move coins between, no options and no maintenance here.
"""

from __future__ import annotations

from trading_assets.core.timeframes import DAY_MS
from trading_assets.simulator.account.models import Execution
from trading_assets.simulator.codec import Params, Refusal, page, plain, trimmed
from trading_assets.simulator.rest.common import LINEAR, Route, category_of, marked
from trading_assets.simulator.venue import Venue

RECORD_WINDOW_MS = 30 * DAY_MS
ANNOUNCED_MS = 7 * DAY_MS
"""A delisting is announced so long before the delivery; a listing is news for as long."""


def coin_info(venue: Venue, params: Params, now_ms: int) -> object:
    """Deposit and withdrawal chains: none. ccxt asks for them in load_markets as soon as it has keys."""
    return {"rows": []}


def no_rows(venue: Venue, params: Params, now_ms: int) -> object:
    """Deposits and withdrawals: none."""
    return {"rows": [], "nextPageCursor": ""}


def no_list(venue: Venue, params: Params, now_ms: int) -> object:
    """Transfers between wallets: none, since there is one."""
    return {"list": [], "nextPageCursor": ""}


def coin_greeks(venue: Venue, params: Params, now_ms: int) -> object:
    """Greeks of option positions, of which there are none."""
    return {"list": []}


def delivery_record(venue: Venue, params: Params, now_ms: int) -> object:
    """Positions that the venue closed because their contract ended, newest first."""
    category, symbol = category_of(params), params.text("symbol")
    limit, expiry = params.limit(20, 50), params.text("expDate")
    start, end = _window(params, now_ms)
    if category != LINEAR:
        return {"category": category, "list": [], "nextPageCursor": ""}
    rows = [
        row
        for row in reversed(venue.engine.state.executions)
        if row.exec_type == "Delivery"
        and start <= row.time_ms <= end
        and symbol in ("", row.symbol)
        and row.symbol.endswith(expiry)
    ]
    chosen, cursor = page(marked(rows, lambda row: f"{row.sequence}:0"), limit, params.text("cursor"))
    return {"category": category, "list": [_delivery_row(row) for row in chosen], "nextPageCursor": cursor}


def _delivery_row(row: Execution) -> dict[str, object]:
    return {
        "deliveryTime": row.time_ms,
        "symbol": row.symbol,
        "side": row.side.opposite,  # that of the position
        "position": plain(row.qty),
        "deliveryPrice": plain(row.price),
        "strike": "",
        "fee": trimmed(row.fee),
        "deliveryRpl": trimmed(row.pnl),
    }


def settlement_record(venue: Venue, params: Params, now_ms: int) -> object:
    """Session settlements of USDC contracts: none, since positions here are not settled day by day."""
    category = category_of(params)
    params.limit(20, 50)
    _window(params, now_ms)
    return {"category": category, "list": [], "nextPageCursor": ""}


def _window(params: Params, now_ms: int) -> tuple[int, int]:
    start, end = params.integer("startTime"), params.integer("endTime")
    if start is None:
        end = now_ms if end is None else end
        return end - RECORD_WINDOW_MS, end
    end = start + RECORD_WINDOW_MS if end is None else end
    if not 0 <= end - start <= RECORD_WINDOW_MS:
        raise Refusal(10001, "The time range between startTime and endTime cannot exceed 30 days")
    return start, end


def system_status(venue: Venue, params: Params, now_ms: int) -> object:
    """Maintenance: none."""
    return {"list": []}


def announcements(venue: Venue, params: Params, now_ms: int) -> object:
    """Listings of the last week, and delistings from a week ahead on, newest first."""
    params.required("locale")
    kind, limit, number = params.text("type"), params.limit(20, 50), params.integer("page", 1) or 1
    news: list[tuple[int, str, str, str]] = []
    for name, contract in venue.market.contracts.items():
        if 0 <= now_ms - contract.launch_ms <= ANNOUNCED_MS:
            news.append((contract.launch_ms, name, "new_crypto", "New Listings"))
        announced_ms = min(contract.announced_ms or contract.delivery_ms - ANNOUNCED_MS, now_ms)
        if contract.contract_type == "LinearPerpetual" and contract.told_delivery_ms(now_ms):
            news.append((announced_ms, name, "delistings", "Delistings"))
    rows = [
        {
            "title": f"{title}: {name}",
            "description": f"{name} {'is delisted' if key == 'delistings' else 'is listed'}",
            "type": {"title": title, "key": key},
            "tags": ["Derivatives"],
            "url": "",
            "dateTimestamp": time_ms,
            "startDateTimestamp": time_ms,
            "endDateTimestamp": time_ms,
        }
        for time_ms, name, key, title in sorted(news, reverse=True)
        if kind in ("", key)
    ]
    return {"total": len(rows), "list": rows[(number - 1) * limit : number * limit]}


ROUTES = (
    Route("GET", "/v5/asset/coin/query-info", coin_info, True),
    Route("GET", "/v5/asset/deposit/query-record", no_rows, True),
    Route("GET", "/v5/asset/withdraw/query-record", no_rows, True),
    Route("GET", "/v5/asset/transfer/query-inter-transfer-list", no_list, True),
    Route("GET", "/v5/asset/coin-greeks", coin_greeks, True),
    Route("GET", "/v5/asset/delivery-record", delivery_record, True),
    Route("GET", "/v5/asset/settlement-record", settlement_record, True),
    Route("GET", "/v5/system/status", system_status, False),
    Route("GET", "/v5/announcements/index", announcements, False),
)
