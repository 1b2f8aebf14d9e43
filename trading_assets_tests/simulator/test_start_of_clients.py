"""What clients that nobody here wrote ask before they trade, as they ask it."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from pybit.exceptions import InvalidRequestError
from pybit.unified_trading import HTTP

from trading_assets.simulator.clock import ClockMode, ClockSpec
from trading_assets.simulator.embedded import RunningExchange, serve_in_thread
from trading_assets.simulator.server import ServeConfig
from trading_assets_tests.simulator.clients import pybit_session

NOW = 1_790_000_040_000
BTC, ETH = "BTCUSDT", "ETHUSDT"


@pytest.fixture
def running() -> Iterator[RunningExchange]:
    with serve_in_thread(ServeConfig(symbols=10, clock=ClockSpec(ClockMode.MANUAL, NOW))) as running:
        yield running


@pytest.fixture
def session(running: RunningExchange) -> HTTP:
    return pybit_session(running.url)


def legs(session: HTTP, symbol: str) -> list[int]:
    return [row["positionIdx"] for row in session.get_positions(category="linear", symbol=symbol)["result"]["list"]]


def test_a_mode_asked_for_by_coin_is_never_refused(session: HTTP) -> None:
    """freqtrade asks so at every start, and gives up if it is refused; also with positions open."""
    session.switch_position_mode(category="linear", coin="USDT", mode=0)
    session.place_order(category="linear", symbol=BTC, side="Buy", orderType="Market", qty="0.01")
    session.switch_position_mode(category="linear", coin="USDT", mode=0)
    assert legs(session, BTC) == [0]


def test_by_coin_what_is_in_use_keeps_its_mode(session: HTTP) -> None:
    session.place_order(category="linear", symbol=BTC, side="Buy", orderType="Market", qty="0.01")
    session.switch_position_mode(category="linear", coin="USDT", mode=3)
    assert (legs(session, BTC), legs(session, ETH)) == ([0], [1, 2])
    session.place_order(category="linear", symbol=ETH, side="Buy", orderType="Limit", qty="1", price="9", positionIdx=1)
    session.switch_position_mode(category="linear", coin="USDT", mode=0)
    assert (legs(session, BTC), legs(session, ETH), legs(session, "SOLUSDT")) == ([0], [1, 2], [0])
    session.cancel_all_orders(category="linear", symbol=ETH)
    session.switch_position_mode(category="linear", coin="USDT", mode=0)
    assert legs(session, ETH) == [0]
    with pytest.raises(InvalidRequestError) as caught:
        session.switch_position_mode(category="linear", symbol=BTC, mode=3)
    assert caught.value.status_code == 110024


def test_executions_name_the_coin_of_their_fee(session: HTTP) -> None:
    """NautilusTrader ends itself on an empty one."""
    session.place_order(category="linear", symbol=BTC, side="Buy", orderType="Market", qty="0.01")
    (row,) = session.get_executions(category="linear", symbol=BTC)["result"]["list"]
    assert row["feeCurrency"] == "USDT"


def test_fees_of_all_symbols_are_told_without_a_category(session: HTTP) -> None:
    """As ccxt asks for them."""
    assert {row["symbol"] for row in session.get_fee_rates()["result"]["list"]} >= {BTC, ETH}


def test_margin_mode_by_symbol_is_refused_as_to_every_unified_account(session: HTTP) -> None:
    """Bots from the time of other accounts ask so, and go on after this code."""
    with pytest.raises(InvalidRequestError) as caught:
        session.switch_margin_mode(category="linear", symbol=BTC, tradeMode=1, buyLeverage="5", sellLeverage="5")
    assert caught.value.status_code == 100028
