"""pybit's own WebSocket, unchanged, through a life on both streams."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from decimal import Decimal
from typing import Any

import pybit.unified_trading
import pytest
from pybit.unified_trading import WebSocket

from trading_assets.simulator.auth import DEFAULT_API_KEY, DEFAULT_API_SECRET
from trading_assets.simulator.clock import ClockMode, ClockSpec
from trading_assets.simulator.embedded import RunningExchange, serve_in_thread
from trading_assets.simulator.server import ServeConfig
from trading_assets_tests.polling import until
from trading_assets_tests.simulator.clients import pybit_session
from trading_assets_tests.simulator.fake_market import HOUR, MINUTE
from trading_assets_tests.simulator.stream.conftest import SEEDED_START

D = Decimal
WAIT_S = 60.0
SYMBOL = "BTCUSDT"


class Heard:
    """What callbacks were given; safe to use from pybit's threads."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._messages: list[dict[str, Any]] = []

    def __call__(self, message: dict[str, Any]) -> None:
        with self._changed:
            self._messages.append(message)
            self._changed.notify_all()

    def first(self, wanted: Callable[[dict[str, Any]], Any]) -> dict[str, Any]:
        """The first message that fits, waited for."""

        def found() -> dict[str, Any] | None:
            return next((message for message in self._messages if wanted(message)), None)

        with self._changed:
            message = self._changed.wait_for(found, WAIT_S)
        assert message is not None, "the message did not come"
        return message

    def all(self) -> list[dict[str, Any]]:
        with self._changed:
            return list(self._messages)


def connect(monkeypatch: pytest.MonkeyPatch, exchange: RunningExchange, **more: Any) -> WebSocket:
    base = exchange.url.replace("http://", "ws://")
    monkeypatch.setattr(pybit.unified_trading, "PUBLIC_WSS", base + "/v5/public/{CHANNEL_TYPE}")
    monkeypatch.setattr(pybit.unified_trading, "PRIVATE_WSS", base + "/v5/private")
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    return WebSocket(testnet=False, **more)


@pytest.fixture
def public(monkeypatch: pytest.MonkeyPatch, seeded: RunningExchange) -> Iterator[WebSocket]:
    stream = connect(monkeypatch, seeded, channel_type="linear", ping_interval=2, ping_timeout=1.9)
    yield stream
    stream.exit()


def login(monkeypatch: pytest.MonkeyPatch, exchange: RunningExchange) -> WebSocket:
    keys = {"api_key": DEFAULT_API_KEY, "api_secret": DEFAULT_API_SECRET, "private_auth_expire": 60}
    stream = connect(monkeypatch, exchange, channel_type="private", **keys)
    until(lambda: stream.auth)
    return stream


def test_candles_are_confirmed_and_equal_those_of_rest(seeded: RunningExchange, public: WebSocket) -> None:
    heard = Heard()
    public.kline_stream(5, SYMBOL, heard)
    heard.first(lambda message: not message["data"][0]["confirm"])
    seeded.advance(2 * HOUR)
    heard.first(lambda message: message["data"][0]["start"] == SEEDED_START + 2 * HOUR)
    told = [row for message in heard.all() for row in message["data"] if row["confirm"]]
    assert [row["start"] for row in told] == [SEEDED_START + index * 5 * MINUTE for index in range(24)]
    session = pybit_session(seeded.url)
    answer = session.get_kline(category="linear", symbol=SYMBOL, interval=5, start=SEEDED_START, limit=24)
    names = ("start", "open", "high", "low", "close", "volume", "turnover")
    assert [[str(row[name]) for name in names] for row in told] == answer["result"]["list"][::-1]


def test_merged_ticker_and_book_equal_those_of_rest(seeded: RunningExchange, public: WebSocket) -> None:
    tickers, books = Heard(), Heard()
    public.ticker_stream(SYMBOL, tickers)
    public.orderbook_stream(50, SYMBOL, books)
    for heard in (tickers, books):
        heard.first(lambda message: True)
    for _ in range(3):
        now = seeded.advance(7 * MINUTE + 1234)
        ticker = tickers.first(lambda message, now=now: message["ts"] == now)["data"]
        book = books.first(lambda message, now=now: message["ts"] == now)["data"]
        session = pybit_session(seeded.url)
        (theirs,) = session.get_tickers(category="linear", symbol=SYMBOL)["result"]["list"]
        assert {name: ticker[name] for name in ticker if name in theirs} == {
            name: theirs[name] for name in ticker if name in theirs
        }
        answer = session.get_orderbook(category="linear", symbol=SYMBOL, limit=50)["result"]
        for side in "ba":
            assert {(D(price), D(qty)) for price, qty in book[side]} == {(D(p), D(q)) for p, q in answer[side]}


@pytest.mark.slow
def test_trades_and_pings_and_a_second_subscription(seeded: RunningExchange, public: WebSocket) -> None:
    trades, best = Heard(), Heard()
    public.trade_stream([SYMBOL, "ETHUSDT"], trades)
    public.orderbook_stream(1, SYMBOL, best)
    best.first(lambda message: message["type"] == "snapshot")
    seeded.advance(MINUTE)
    for symbol in (SYMBOL, "ETHUSDT"):
        message = trades.first(lambda message, symbol=symbol: message["topic"] == f"publicTrade.{symbol}")
        assert {row["S"] for row in message["data"]} <= {"Buy", "Sell"}
    time.sleep(2.8)  # past a protocol ping, and the application's own after it
    seeded.advance(MINUTE)
    trades.first(lambda message: message["ts"] == SEEDED_START + 2 * MINUTE)
    assert public.is_connected() and not public.exited


def test_the_life_of_a_trade_on_the_private_stream(seeded: RunningExchange, monkeypatch: pytest.MonkeyPatch) -> None:
    stream = login(monkeypatch, seeded)
    orders, executions, positions, wallets = (Heard() for _ in range(4))
    stream.order_stream(orders)
    stream.execution_stream(executions)
    stream.position_stream(positions)
    stream.wallet_stream(wallets)
    until(lambda: len(seeded._server.streams._private._members) == 4)
    session = pybit_session(seeded.url)
    placed = session.place_order(
        category="linear", symbol=SYMBOL, side="Buy", orderType="Market", qty="0.01", orderLinkId="w-1"
    )["result"]
    filled = orders.first(lambda message: message["data"][0]["orderLinkId"] == "w-1")["data"][0]
    assert (filled["orderId"], filled["orderStatus"]) == (placed["orderId"], "Filled")
    assert executions.first(lambda message: True)["data"][0]["orderId"] == placed["orderId"]
    opened = positions.first(lambda message: True)["data"][0]
    assert (opened["side"], opened["size"]) == ("Buy", "0.01")
    spent = wallets.first(lambda message: True)["data"][0]
    seeded.advance(HOUR)
    session.place_order(category="linear", symbol=SYMBOL, side="Sell", orderType="Market", qty="0.01", reduceOnly=True)
    assert positions.first(lambda message: message["data"][0]["size"] == "0")["data"][0]["side"] == ""
    closing = executions.first(lambda message: message["data"][0]["side"] == "Sell")["data"][0]
    (closed,) = session.get_closed_pnl(category="linear", symbol=SYMBOL)["result"]["list"]
    assert D(closing["execPnl"]) == D(closed["cumExitValue"]) - D(closed["cumEntryValue"])
    (wallet,) = session.get_wallet_balance(accountType="UNIFIED")["result"]["list"]
    last = wallets.first(lambda message: message["data"][0]["totalInitialMargin"] == "0")["data"][0]
    assert last == wallet
    assert D(spent["totalWalletBalance"]) - D(closing["execFee"]) + D(closing["execPnl"]) == D(
        last["totalWalletBalance"]
    )
    stream.exit()


def test_after_a_restart_pybit_connects_again_and_hears_more(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = ClockSpec(ClockMode.MANUAL, SEEDED_START)
    heard = Heard()
    with serve_in_thread(ServeConfig(clock=clock, symbols=5)) as first:
        port = int(first.url.rpartition(":")[2])
        stream = connect(monkeypatch, first, channel_type="linear", retries=0)
        stream.kline_stream(1, SYMBOL, heard)
        heard.first(lambda message: True)
    later = ClockSpec(ClockMode.MANUAL, SEEDED_START + HOUR)
    with serve_in_thread(ServeConfig(clock=later, symbols=5, port=port)):
        heard.first(lambda message: message["data"][0]["start"] == SEEDED_START + HOUR)
        stream.exit()
