"""Somebody else with the same account: buys, bids, closes and takes stops away by hand."""

from __future__ import annotations

from decimal import Decimal

from pybit.unified_trading import HTTP

from trading_assets.core.models import Instrument, Position, Ticker
from trading_assets.simulator.auth import DEFAULT_API_KEY, DEFAULT_API_SECRET
from trading_assets.trading.decide.sizing import to_tick

_WORTH = Decimal(200)


class ManualTrader:
    """Acts on the embedded exchange at once, and on one that does not fail now."""

    def __init__(self, url: str) -> None:
        self._http = HTTP(api_key=DEFAULT_API_KEY, api_secret=DEFAULT_API_SECRET)
        self._http.endpoint = url
        self._http.client.trust_env = False

    def buy(self, instrument: Instrument, ticker: Ticker) -> Decimal:
        """A position without a stop; its size."""
        qty = _qty(instrument, ticker.last)
        self._place(instrument.symbol, "Buy", qty)
        return qty

    def bid_far_below(self, instrument: Instrument, ticker: Ticker) -> str:
        """A limit order that waits; its id."""
        price = to_tick(ticker.last / 2, instrument.tick_size)
        return self._place(
            instrument.symbol, "Buy", _qty(instrument, price), orderType="Limit", price=f"{price:f}", timeInForce="GTC"
        )

    def close(self, position: Position) -> None:
        """Close a position at market."""
        self._place(position.symbol, position.side.opposite.value, position.size, reduceOnly=True)

    def take_stops(self, symbol: str) -> None:
        """Take stop and target off a position."""
        self._http.set_trading_stop(
            category="linear", symbol=symbol, positionIdx=0, tpslMode="Full", stopLoss="0", takeProfit="0"
        )

    def _place(self, symbol: str, side: str, qty: Decimal, **more: object) -> str:
        order = {"orderType": "Market", **more}
        answer = self._http.place_order(category="linear", symbol=symbol, side=side, qty=f"{qty:f}", **order)
        return str(answer["result"]["orderId"])


def _qty(instrument: Instrument, price: Decimal) -> Decimal:
    step = instrument.qty_step
    return max((_WORTH / price) // step * step, instrument.min_qty)
