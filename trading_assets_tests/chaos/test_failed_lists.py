"""A list that cannot be read is not an empty one: every list read of the connector raises."""

from collections.abc import Callable, Iterator

import pytest

from trading_assets.core.errors import ExchangeError
from trading_assets.core.ports import Exchange
from trading_assets.simulator.embedded import RunningExchange, serve_in_thread
from trading_assets.simulator.faults.rules import FaultRule
from trading_assets.simulator.venue import ServeConfig
from trading_assets.venues import open_exchange
from trading_assets_tests.trading.fixtures import settings

LISTS: dict[str, Callable[[Exchange, int], object]] = {
    "GET /v5/position/list": lambda exchange, _now: exchange.positions(),
    "GET /v5/order/realtime": lambda exchange, _now: exchange.open_orders(),
    "GET /v5/execution/list": lambda exchange, now: exchange.executions(now - 1000, now),
    "GET /v5/position/closed-pnl": lambda exchange, now: exchange.closed_pnl(now - 1000, now),
    "GET /v5/account/transaction-log": lambda exchange, now: exchange.transactions(now - 1000, now),
    "GET /v5/account/wallet-balance": lambda exchange, _now: exchange.wallet(),
    "GET /v5/market/instruments-info": lambda exchange, _now: exchange.instruments(),
    "GET /v5/market/tickers": lambda exchange, _now: exchange.tickers(),
}


@pytest.fixture(scope="module")
def venue() -> Iterator[RunningExchange]:
    with serve_in_thread(ServeConfig(symbols=4)) as running:
        yield running


@pytest.mark.parametrize("where", LISTS)
def test_a_list_that_fails_is_not_an_empty_one(venue: RunningExchange, where: str) -> None:
    exchange = open_exchange(settings(simulator_url=venue.url))
    LISTS[where](exchange, exchange.now_ms())
    venue.faults.add([FaultRule(where=where, ret_code=10005)], venue.now_ms())
    try:
        with pytest.raises(ExchangeError):
            LISTS[where](exchange, exchange.now_ms())
    finally:
        venue.faults.remove()
        exchange.close()
