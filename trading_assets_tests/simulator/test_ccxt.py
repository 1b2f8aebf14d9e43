"""ccxt's bybit, unchanged but for its addresses, on the embedded exchange: what bots built on it call."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import ccxt
import pytest

from trading_assets.core.timeframes import HOUR_MS, MINUTE_MS
from trading_assets.simulator.clock import ClockMode, ClockSpec
from trading_assets.simulator.embedded import RunningExchange, serve_in_thread
from trading_assets.simulator.server import ServeConfig

NOW = 1_790_000_040_000
SYMBOL = "BTC/USDT:USDT"


@pytest.fixture(scope="module")
def running() -> Iterator[RunningExchange]:
    with serve_in_thread(ServeConfig(symbols=30, clock=ClockSpec(ClockMode.MANUAL, NOW))) as running:
        yield running


def client_of(running: RunningExchange, **keys: str) -> Any:
    client = ccxt.bybit({**keys, "enableRateLimit": False, "options": {"defaultType": "swap"}})
    client.urls["api"] = dict.fromkeys(client.urls["api"], running.url)
    client.session.trust_env = False
    return client


@pytest.fixture(scope="module")
def client(running: RunningExchange) -> Any:
    client = client_of(running)
    client.load_markets()
    return client


def test_markets_load_with_and_without_keys(running: RunningExchange, client: Any) -> None:
    market = client.market(SYMBOL)
    assert market["swap"] and market["linear"] and market["settle"] == "USDT"
    assert (market["precision"]["price"], market["precision"]["amount"]) == (0.1, 0.001)
    assert client.market("BTC/USDT:USDT-270326")["future"]
    assert len(client.markets) == len(running.venue.market.contracts)
    signed = client_of(running, apiKey=running.key, secret=running.secret)
    assert signed.load_markets().keys() == client.markets.keys()


@pytest.mark.parametrize("timeframe", ["1m", "5m", "1h", "1d", "1w"])
def test_candles(client: Any, running: RunningExchange, timeframe: str) -> None:
    rows = client.fetch_ohlcv(SYMBOL, timeframe, limit=7)
    assert len(rows) == 7
    assert rows[-1][4] == running.venue.market.last_price("BTCUSDT", NOW)
    # ccxt itself moves a start up to whole weeks since 1970, which began on a Thursday.
    expected = 3 if timeframe == "1w" else 2
    assert client.fetch_ohlcv(SYMBOL, timeframe, since=rows[2][0], limit=2) == rows[expected : expected + 2]


@pytest.mark.parametrize("price", ["mark", "index", "premiumIndex"])
def test_candles_of_mark_index_and_premium(client: Any, price: str) -> None:
    rows = client.fetch_ohlcv(SYMBOL, "1h", since=NOW - 10 * HOUR_MS, limit=5, params={"price": price})
    assert len(rows) == 5
    assert all(low <= min(begin, end) <= max(begin, end) <= high for _, begin, high, low, end, _ in rows)


def test_tickers(client: Any, running: RunningExchange) -> None:
    ticker, tickers = client.fetch_ticker(SYMBOL), client.fetch_tickers()
    assert ticker["bid"] <= ticker["last"] <= ticker["ask"]
    assert len(tickers) == len(client.markets)
    assert tickers[SYMBOL]["last"] == ticker["last"] == running.venue.market.last_price("BTCUSDT", NOW)


def test_order_book(client: Any) -> None:
    book = client.fetch_order_book(SYMBOL, limit=50)
    assert len(book["bids"]) == len(book["asks"]) == 50
    assert book["bids"][0][0] < book["asks"][0][0]


def test_funding(client: Any) -> None:
    rows = client.fetch_funding_rate_history(SYMBOL, since=NOW - 100 * HOUR_MS, limit=5)
    assert [row["timestamp"] - rows[0]["timestamp"] for row in rows] == [number * 8 * HOUR_MS for number in range(5)]
    assert abs(client.fetch_funding_rate(SYMBOL)["fundingRate"]) < 0.00375


def test_trades(client: Any, running: RunningExchange) -> None:
    trades = client.fetch_trades(SYMBOL, limit=200)
    assert len(trades) == 200
    assert NOW - 20 * MINUTE_MS < trades[0]["timestamp"] <= trades[-1]["timestamp"] <= NOW
    assert trades[-1]["price"] == running.venue.market.last_price("BTCUSDT", NOW)


def test_leverage_tiers_of_all_symbols_over_many_pages(client: Any) -> None:
    tiers = client.fetch_leverage_tiers()
    assert tiers.keys() == client.markets.keys()
    assert tiers[SYMBOL][0]["maxLeverage"] == 100
    assert tiers[SYMBOL][0]["maintenanceMarginRate"] == 0.005
    assert tiers[SYMBOL][1]["minNotional"] == tiers[SYMBOL][0]["maxNotional"] == 2_000_000


def test_open_interest_and_the_share_of_longs(client: Any) -> None:
    rows = client.fetch_open_interest_history(SYMBOL, "1h", limit=4)
    assert len(rows) == 4 and rows[-1]["openInterestAmount"] > 0
    [*_, ratio] = client.fetch_long_short_ratio_history(SYMBOL, "1h", limit=3)
    assert 0.4 < ratio["longShortRatio"] < 4
