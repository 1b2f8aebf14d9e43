"""`/v5/asset/...`: only what clients ask before they trade. There are no wallets to move coins between here."""

from __future__ import annotations

from trading_assets.simulator.codec import Params
from trading_assets.simulator.rest.common import Route
from trading_assets.simulator.venue import Venue


def coin_info(venue: Venue, params: Params, now_ms: int) -> object:
    """Deposit and withdrawal chains: none. ccxt asks for them in load_markets as soon as it has keys."""
    return {"rows": []}


ROUTES = (Route("GET", "/v5/asset/coin/query-info", coin_info, True),)
