"""`/v5/market/...` that states rules: risk tiers, price limits, delivery prices, insurance. No account."""

from __future__ import annotations

from decimal import Decimal

from trading_assets.core.models import Side
from trading_assets.core.timeframes import DAY_MS, MINUTE_MS, floor_ms
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


INSURANCE = Decimal(100_000_000)
"""Of each settle coin; it never changes, since no position of others is liquidated here."""


def adl_alert(venue: Venue, params: Params, now_ms: int) -> object:
    """How near auto-deleveraging is: never near."""
    symbol = params.text("symbol")
    contracts = [contract_of(venue.market, symbol)] if symbol else sorted_live(venue, now_ms)
    rows = [
        {
            "coin": contract.settle_coin,
            "symbol": contract.symbol,
            "balance": plain(INSURANCE),
            "maxBalance": plain(INSURANCE),
            "insurancePnlRatio": "-0.3",
            "pnlRatio": "0",
            "adlTriggerThreshold": "10000",
            "adlStopRatio": "-0.25",
        }
        for contract in contracts
    ]
    return {"updatedTime": str(floor_ms(now_ms, MINUTE_MS)), "list": rows}


def insurance(venue: Venue, params: Params, now_ms: int) -> object:
    """The insurance pool of each settle coin, told once a day."""
    wanted = params.text("coin")
    coins = sorted({contract.settle_coin for contract in venue.market.contracts.values()})
    rows = [
        {"coin": coin, "balance": plain(INSURANCE), "value": plain(INSURANCE)} for coin in coins if wanted in ("", coin)
    ]
    return {"updatedTime": str(floor_ms(now_ms, DAY_MS)), "list": rows}


ROUTES = (
    Route("GET", "/v5/market/risk-limit", risk_limit, False),
    Route("GET", "/v5/market/price-limit", price_limit, False),
    Route("GET", "/v5/market/adlAlert", adl_alert, False),
    Route("GET", "/v5/market/insurance", insurance, False),
    Route("GET", "/v5/market/delivery-price", delivery_price, False),
)
