"""A whole life through ccxt, unchanged but for the address, on the seeded market."""

from __future__ import annotations

from collections.abc import Iterator
from decimal import Decimal
from typing import Any

import ccxt
import pytest

from trading_assets.simulator.clock import ClockMode, ClockSpec
from trading_assets.simulator.embedded import RunningExchange, serve_in_thread
from trading_assets.simulator.server import ServeConfig
from trading_assets_tests.simulator.fake_market import HOUR

D = Decimal
START = 1_772_323_200_000  # 2026-03-01T00:00:00Z
SYMBOL = "BTC/USDT:USDT"
ALL_CLOSED = {"acknowledged": True}
"""ccxt asks for this word before it looks an order up among the last 500."""


@pytest.fixture(scope="module")
def markets() -> list[dict[str, Any]]:
    """What ccxt makes of the contracts: asked once, as it takes the longest."""
    with serve_in_thread(ServeConfig(clock=ClockSpec(ClockMode.MANUAL, START), symbols=20)) as running:
        return list(client_of(running).load_markets().values())


def client_of(running: RunningExchange) -> Any:
    client = ccxt.bybit({"apiKey": running.key, "secret": running.secret, "enableRateLimit": False})
    client.urls["api"] = dict.fromkeys(client.urls["api"], running.url)
    client.session.trust_env = False
    return client


@pytest.fixture
def exchange() -> Iterator[RunningExchange]:
    with serve_in_thread(ServeConfig(clock=ClockSpec(ClockMode.MANUAL, START), symbols=20)) as running:
        yield running


@pytest.fixture
def client(exchange: RunningExchange, markets: list[dict[str, Any]]) -> Any:
    client = client_of(exchange)
    client.set_markets(markets)
    return client


def last_price(client: Any) -> float:
    return float(client.fetch_ticker(SYMBOL)["last"])


def found(client: Any, order: dict[str, Any]) -> Any:
    return client.fetch_order(order["id"], SYMBOL, ALL_CLOSED)


def test_the_contracts_are_understood(markets: list[dict[str, Any]]) -> None:
    (market,) = [market for market in markets if market["symbol"] == SYMBOL]
    assert (market["swap"], market["linear"], market["active"], market["settle"]) == (True, True, True, "USDT")
    assert (market["precision"]["price"], market["precision"]["amount"]) == (0.1, 0.001)
    assert market["limits"]["leverage"]["max"] == 100
    assert len([market for market in markets if market["swap"]]) >= 20


def test_a_market_order_with_stops_from_entry_to_the_closed_profit(exchange: RunningExchange, client: Any) -> None:
    assert client.fetch_balance()["USDT"]["free"] == 10_000
    client.set_leverage(20, SYMBOL)
    with pytest.raises(ccxt.BadRequest, match="110043"):
        client.set_leverage(20, SYMBOL)
    last = last_price(client)
    stops = {"stopLoss": {"triggerPrice": last * 0.9}, "takeProfit": {"triggerPrice": last * 1.1}}
    order = found(client, client.create_order(SYMBOL, "market", "buy", 0.05, None, stops))
    assert (order["status"], order["filled"], order["remaining"], order["type"]) == ("closed", 0.05, 0, "market")
    assert order["average"] == pytest.approx(last, rel=0.001) and order["fee"]["cost"] > 0
    children = client.fetch_open_orders(SYMBOL)
    assert sorted(child["side"] for child in children) == ["sell", "sell"]
    assert sorted(child["triggerPrice"] for child in children) == pytest.approx([last * 0.9, last * 1.1], rel=1e-5)
    (position,) = client.fetch_positions([SYMBOL])
    assert (position["side"], position["contracts"], position["leverage"]) == ("long", 0.05, 20)
    assert position["entryPrice"] == order["average"] and position["hedged"] is False
    assert position["stopLossPrice"] == pytest.approx(last * 0.9, rel=1e-5)
    balance = client.fetch_balance()["USDT"]
    assert balance["used"] == pytest.approx(position["initialMargin"]) and balance["free"] < 10_000

    exchange.advance(9 * HOUR)
    client.create_order(SYMBOL, "market", "sell", 0.05, None, {"reduceOnly": True})
    assert client.fetch_positions() == [] and client.fetch_open_orders(SYMBOL) == []
    assert [order["status"] for order in client.fetch_closed_orders(SYMBOL)] == ["closed", "closed"]
    opened, closed = client.fetch_my_trades(SYMBOL)
    assert (opened["side"], closed["side"], opened["takerOrMaker"]) == ("buy", "sell", "taker")
    assert opened["order"] == order["id"] and opened["fee"]["currency"] == "USDT"
    (past,) = client.fetch_positions_history([SYMBOL])
    gross = (closed["price"] - opened["price"]) * 0.05
    fees = opened["fee"]["cost"] + closed["fee"]["cost"]
    assert past["realizedPnl"] == pytest.approx(gross - fees, abs=1e-8)
    (funding,) = client.fetch_funding_history(SYMBOL)
    total = client.fetch_balance()["USDT"]["total"]
    assert total == pytest.approx(10_000 + gross - fees - float(funding["info"]["execFee"]), abs=1e-8)
    ledger = client.fetch_ledger("USDT")
    assert [row["info"]["type"] for row in ledger] == ["TRADE", "SETTLEMENT", "TRADE"]
    assert sum(D(row["info"]["change"]) for row in ledger) == pytest.approx(D(str(total)) - 10_000, abs=D("1e-8"))


def test_a_limit_order_is_edited_found_and_cancelled(client: Any) -> None:
    last = last_price(client)
    order = client.create_order(SYMBOL, "limit", "buy", 0.01, last * 0.98)
    waiting = client.fetch_open_order(order["id"], SYMBOL)
    assert (waiting["status"], waiting["amount"], waiting["timeInForce"]) == ("open", 0.01, "GTC")
    assert client.fetch_balance()["USDT"]["used"] == pytest.approx(last * 0.98 * 0.01 * 0.1, rel=0.01)
    client.edit_order(order["id"], SYMBOL, "limit", "buy", 0.02, last * 0.97)
    (edited,) = client.fetch_open_orders(SYMBOL)
    assert (edited["id"], edited["amount"]) == (order["id"], 0.02)
    assert edited["price"] == pytest.approx(last * 0.97, rel=1e-5)
    client.cancel_order(order["id"], SYMBOL)
    assert client.fetch_open_orders(SYMBOL) == [] and found(client, order)["status"] == "canceled"
    assert [row["id"] for row in client.fetch_canceled_orders(SYMBOL)] == [order["id"]]
    with pytest.raises(ccxt.OrderNotFound):
        client.cancel_order("nobody", SYMBOL)
    with pytest.raises(ccxt.ExchangeError):
        client.cancel_order(order["id"], SYMBOL)
    assert client.fetch_balance()["USDT"]["free"] == 10_000


def test_a_post_only_order_that_would_take_is_cancelled(client: Any) -> None:
    order = client.create_order(SYMBOL, "limit", "buy", 0.01, last_price(client) * 1.005, {"postOnly": True})
    assert (found(client, order)["status"], found(client, order)["filled"]) == ("canceled", 0)


def test_a_trigger_order_waits_and_is_cancelled(client: Any) -> None:
    last = last_price(client)
    params = {"triggerPrice": last * 0.95, "triggerDirection": "descending"}
    order = client.create_order(SYMBOL, "market", "buy", 0.01, None, params)
    (waiting,) = client.fetch_open_orders(SYMBOL)
    assert (waiting["id"], waiting["status"], waiting["filled"]) == (order["id"], "open", 0)
    assert waiting["triggerPrice"] == pytest.approx(last * 0.95, rel=1e-5)
    client.cancel_order(order["id"], SYMBOL, {"trigger": True})
    assert found(client, order)["status"] == "canceled"


def test_several_orders_at_once(client: Any) -> None:
    last = last_price(client)
    wanted = [
        {"symbol": SYMBOL, "type": "limit", "side": "buy", "amount": 0.01, "price": last * factor}
        for factor in (0.97, 0.96)
    ]
    made = client.create_orders(wanted)
    assert {order["id"] for order in client.fetch_open_orders(SYMBOL)} == {order["id"] for order in made}
    client.cancel_orders([made[0]["id"]], SYMBOL)
    assert [order["id"] for order in client.fetch_open_orders(SYMBOL)] == [made[1]["id"]]
    client.cancel_all_orders(SYMBOL)
    assert client.fetch_open_orders(SYMBOL) == []


def test_both_legs_in_hedge_mode(client: Any) -> None:
    client.set_position_mode(True, SYMBOL)
    with pytest.raises(ccxt.ExchangeError, match="110025"):
        client.set_position_mode(True, SYMBOL)
    with pytest.raises(ccxt.BadRequest, match="position idx not match position mode"):
        client.create_order(SYMBOL, "market", "buy", 0.01)
    client.create_order(SYMBOL, "market", "buy", 0.03, None, {"hedged": True})
    client.create_order(SYMBOL, "market", "sell", 0.02, None, {"hedged": True})
    legs = {row["side"]: (row["contracts"], row["hedged"]) for row in client.fetch_positions([SYMBOL])}
    assert legs == {"long": (0.03, True), "short": (0.02, True)}
    client.create_order(SYMBOL, "market", "sell", 0.03, None, {"hedged": True, "reduceOnly": True})
    assert [(row["side"], row["contracts"]) for row in client.fetch_positions()] == [("short", 0.02)]
    with pytest.raises(ccxt.ExchangeError, match="110024"):
        client.set_position_mode(False, SYMBOL)


def test_what_is_refused_is_an_error_of_its_kind(client: Any) -> None:
    with pytest.raises(ccxt.InsufficientFunds):
        client.create_order(SYMBOL, "market", "buy", 5)
    with pytest.raises(ccxt.InvalidOrder):
        client.create_order(SYMBOL, "market", "sell", 0.01, None, {"reduceOnly": True})
    client.apiKey = "nobody"
    with pytest.raises(ccxt.AuthenticationError):
        client.fetch_balance()
