"""Somebody else with the same account: trades, bids, closes, moves stops and switches modes by hand."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

from pybit.unified_trading import HTTP

from trading_assets.core.models import Instrument, Order, Position, Side, Ticker
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

    def trade(self, symbol: str, side: Side, qty: Decimal, *, leg: int = 0, reduce_only: bool = False) -> None:
        """A market order without a stop; in hedge mode `leg` says whose."""
        more: dict[str, object] = {"positionIdx": leg} if leg else {}
        self._place(symbol, side.value, qty, **more, **({"reduceOnly": True} if reduce_only else {}))

    def close(self, position: Position) -> None:
        """Close a position, or a leg, at market."""
        self.trade(position.symbol, position.side.opposite, position.size, leg=position.position_idx, reduce_only=True)

    def cancel(self, order: Order) -> None:
        """Cancel an order that waits, whoever placed it."""
        self._http.cancel_order(category="linear", symbol=order.symbol, orderId=order.order_id)

    def amend(self, order: Order, *, qty: Decimal | None = None, price: Decimal | None = None) -> None:
        """Change an order that waits, whoever placed it."""
        changes = {"qty": qty, "price": price}
        told = {name: f"{value:f}" for name, value in changes.items() if value is not None}
        self._http.amend_order(category="linear", symbol=order.symbol, orderId=order.order_id, **told)

    def take_stops(self, symbol: str) -> None:
        """Take stop and target off a position."""
        self.set_levels(symbol, "0", "0")

    def set_levels(self, symbol: str, stop: str | None = None, target: str | None = None) -> None:
        """Move stop and target of a position; "0" takes one off, None leaves it."""
        levels = {"stopLoss": stop, "takeProfit": target}
        self._http.set_trading_stop(
            category="linear",
            symbol=symbol,
            positionIdx=0,
            tpslMode="Full",
            **{name: value for name, value in levels.items() if value is not None},
        )

    def set_hedge_mode(self, symbol: str, *, hedge: bool) -> None:
        """Switch the position mode of a contract in which nothing is open."""
        self._http.switch_position_mode(category="linear", symbol=symbol, mode=3 if hedge else 0)

    def orders_of(self, order_link_id: str) -> list[dict[str, Any]]:
        """Return an order as it was sent, as Bybit's rows show it."""
        answer = self._http.get_order_history(category="linear", orderLinkId=order_link_id)
        found: list[dict[str, Any]] = answer["result"]["list"]
        return found

    def _place(self, symbol: str, side: str, qty: Decimal, **more: object) -> str:
        order = {"orderType": "Market", **more}
        answer = self._http.place_order(category="linear", symbol=symbol, side=side, qty=f"{qty:f}", **order)
        return str(answer["result"]["orderId"])


def _qty(instrument: Instrument, price: Decimal) -> Decimal:
    step = instrument.qty_step
    return max((_WORTH / price) // step * step, instrument.min_qty)
