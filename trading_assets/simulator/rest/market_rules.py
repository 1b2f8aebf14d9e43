"""`/v5/market/...` that states rules: risk tiers, price limits, delivery prices. No account."""

from __future__ import annotations

from decimal import Decimal

from trading_assets.core.models import Side
from trading_assets.simulator.account.pricing import contract_of, on_tick, snapped
from trading_assets.simulator.codec import Params, Refusal, fixed, page, places_of, plain, trimmed
from trading_assets.simulator.market.base import Contract
from trading_assets.simulator.market.risk import tiers
from trading_assets.simulator.rest.common import LINEAR, Route, category_of
from trading_assets.simulator.rest.market import sorted_live
from trading_assets.simulator.venue import Venue

RISK_SYMBOLS_PER_PAGE = 15


def risk_limit(venue: Venue, params: Params, now_ms: int) -> object:
    """All tiers of a symbol, or of fifteen symbols a page."""
    category, symbol = category_of(params), params.text("symbol")
    if category != LINEAR:
        return {"category": category, "list": [], "nextPageCursor": ""}
    if symbol:
        return {"category": category, "list": tier_rows(contract_of(venue.market, symbol)), "nextPageCursor": ""}
    contracts = sorted_live(venue, now_ms)
    chosen, cursor = page([(c.symbol, c) for c in contracts], RISK_SYMBOLS_PER_PAGE, params.text("cursor"))
    rows = [row for contract in chosen for row in tier_rows(contract)]
    # ccxt asks until the cursor is empty and fails on an empty list: here the last page has none.
    is_last = not chosen or chosen[-1] is contracts[-1]
    return {"category": category, "list": rows, "nextPageCursor": "" if is_last else cursor}


def tier_rows(contract: Contract) -> list[dict[str, object]]:
    return [
        {
            "id": tier.id,
            "symbol": contract.symbol,
            "riskLimitValue": plain(tier.limit),
            "maintenanceMargin": trimmed(tier.maintenance_rate),
            "initialMargin": trimmed(tier.initial_rate),
            "isLowestRisk": int(tier.id == 1),
            "maxLeverage": fixed(tier.max_leverage, 2),
            "mmDeduction": trimmed(tier.deduction),
        }
        for tier in tiers(contract)
    ]


def price_limit(venue: Venue, params: Params, now_ms: int) -> object:
    """The highest price of a buy and the lowest of a sale."""
    if category_of(params, LINEAR) != LINEAR:
        raise Refusal(10001, "params error: symbol invalid")
    contract = contract_of(venue.market, params.required("symbol"))
    highest, lowest = price_band(venue, contract, now_ms)
    places = places_of(contract.tick_size)
    return {
        "symbol": contract.symbol,
        "buyLmt": fixed(highest, places),
        "sellLmt": fixed(lowest, places),
        "ts": str(now_ms),
    }


def price_band(venue: Venue, contract: Contract, now_ms: int) -> tuple[Decimal, Decimal]:
    """Highest buy and lowest sale: X around the mark, wider where the index lies beyond, but never beyond Y."""
    mark = on_tick(contract, venue.market.mark_price(contract.symbol, now_ms))
    index = on_tick(contract, venue.market.index_price(contract.symbol, now_ms))
    near, far = contract.price_limit_x, contract.price_limit_y
    highest = min(mark * (1 + far), max(index, mark * (1 + near)))
    lowest = max(mark * (1 - far), min(index, mark * (1 - near)))
    return snapped(contract, Side.BUY, highest), snapped(contract, Side.SELL, lowest)


def delivery_price(venue: Venue, params: Params, now_ms: int) -> object:
    """Of dated contracts that have been delivered, the latest first."""
    category, symbol, base = category_of(params), params.text("symbol"), params.text("baseCoin")
    limit = params.limit(50, 200)
    if category != LINEAR:
        return {"category": category, "list": [], "nextPageCursor": ""}
    if symbol:
        contract_of(venue.market, symbol)
    delivered = sorted(
        (
            contract
            for contract in venue.market.contracts.values()
            if 0 < contract.delivery_ms <= now_ms
            and symbol in ("", contract.symbol)
            and base in ("", contract.base_coin)
        ),
        key=lambda contract: (-contract.delivery_ms, contract.symbol),
    )
    chosen, cursor = page([(c.symbol, c) for c in delivered], limit, params.text("cursor"))
    rows = [
        {
            "symbol": contract.symbol,
            "deliveryPrice": fixed(
                venue.market.index_price(contract.symbol, contract.delivery_ms), places_of(contract.tick_size)
            ),
            "deliveryTime": str(contract.delivery_ms),
        }
        for contract in chosen
    ]
    return {"category": category, "list": rows, "nextPageCursor": cursor}


ROUTES = (
    Route("GET", "/v5/market/risk-limit", risk_limit, False),
    Route("GET", "/v5/market/price-limit", price_limit, False),
    Route("GET", "/v5/market/delivery-price", delivery_price, False),
)
