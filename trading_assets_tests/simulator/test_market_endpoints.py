"""Public endpoints by Bybit's rules: windows, limits, pages, refusals."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from trading_assets.core.timeframes import DAY_MS, HOUR_MS, MINUTE_MS
from trading_assets.simulator.clock import ClockMode, ClockSpec
from trading_assets.simulator.embedded import RunningExchange, serve_in_thread
from trading_assets.simulator.market.base import CLOSE, HIGH, LOW, OPEN, TURNOVER, VOLUME
from trading_assets.simulator.market.trades import trades_of_minute
from trading_assets.simulator.server import ServeConfig
from trading_assets_tests.simulator.clients import get

NOW = 1_790_000_040_000
HOUR = NOW // HOUR_MS * HOUR_MS
PRICES = ("mark-price-kline", "index-price-kline", "premium-index-price-kline")


@pytest.fixture(scope="module")
def running() -> Iterator[RunningExchange]:
    with serve_in_thread(ServeConfig(symbols=40, clock=ClockSpec(ClockMode.MANUAL, NOW))) as running:
        yield running


def ask(running: RunningExchange, path: str, code: int = 0) -> Any:
    answer = get(running.url, f"/v5/market/{path}").json()
    assert answer["retCode"] == code, answer
    return answer["result"]


def starts(rows: list[list[str]]) -> list[int]:
    return [int(row[0]) for row in rows]


@pytest.mark.parametrize("endpoint", ["kline", *PRICES])
@pytest.mark.parametrize(
    ("window", "expected"),
    [
        (f"start={HOUR - 5 * HOUR_MS}&end={HOUR - 3 * HOUR_MS}", [3, 4, 5]),
        (f"start={HOUR - 5 * HOUR_MS}&limit=2", [4, 5]),
        (f"start={HOUR - 5 * HOUR_MS + 1}&limit=2", [3, 4]),
        (f"start={HOUR - 50 * HOUR_MS}&end={HOUR}&limit=2", [0, 1]),
        (f"end={HOUR - 2 * HOUR_MS}&limit=2", [2, 3]),
        ("limit=3", [0, 1, 2]),
    ],
)
def test_windows_of_candles(running: RunningExchange, endpoint: str, window: str, expected: list[int]) -> None:
    result = ask(running, f"{endpoint}?category=linear&symbol=ETHUSDT&interval=60&{window}")
    assert starts(result["list"]) == [HOUR - ago * HOUR_MS for ago in expected]
    assert {len(row) for row in result["list"]} == {7 if endpoint == "kline" else 5}
    assert all(isinstance(value, str) for row in result["list"] for value in row)


@pytest.mark.parametrize("endpoint", ["kline", *PRICES])
def test_limits_of_candles(running: RunningExchange, endpoint: str) -> None:
    query = f"{endpoint}?symbol=ETHUSDT&interval=1"
    assert len(ask(running, query)["list"]) == 200
    assert len(ask(running, f"{query}&limit=5000")["list"]) == 1000
    ask(running, f"{query}&limit=0", 10001)
    ask(running, f"{endpoint}?symbol=ETHUSDT&interval=7", 10001)
    ask(running, f"{endpoint}?symbol=NOUSDT&interval=1", 10001)
    ask(running, f"{query}&start=5&end=4", 10001)


@pytest.mark.parametrize("interval", ["60", "D", "W", "M"])
@pytest.mark.parametrize("endpoint", ["kline", *PRICES])
def test_the_earliest_candle_is_found_from_any_earlier_start(
    running: RunningExchange, endpoint: str, interval: str
) -> None:
    launch = running.venue.market.contracts["ETHUSDT"].launch_ms
    result = ask(running, f"{endpoint}?category=linear&symbol=ETHUSDT&interval={interval}&start=9999&limit=1")
    [start] = starts(result["list"])
    assert launch - 31 * DAY_MS < start <= launch


def test_trades_make_up_the_minutes_candle(running: RunningExchange) -> None:
    market = running.venue.market
    for symbol in ("BTCUSDT", "BNTUSDT" if "BNTUSDT" in market.contracts else "USDCUSDT", "1000PEPEUSDT"):
        for minute in range(HOUR - 20 * MINUTE_MS, HOUR, MINUTE_MS):
            [bar] = market.bars(symbol, "1", minute, minute + 1, NOW)
            trades = trades_of_minute(market, symbol, minute)
            assert sum(trade.qty for trade in trades) == pytest.approx(bar[VOLUME])
            prices = [trade.price for trade in trades]
            assert bar[LOW] <= min(prices) <= max(prices) <= bar[HIGH]
            assert prices[0] == bar[OPEN]
            if len(trades) >= 4:
                assert (max(prices), min(prices), prices[-1]) == (bar[HIGH], bar[LOW], bar[CLOSE])
                value = sum(trade.qty * trade.price for trade in trades)
                assert value == pytest.approx(bar[TURNOVER], rel=0.02)


def test_recent_trades_are_the_newest_and_never_of_the_future(running: RunningExchange) -> None:
    rows = ask(running, "recent-trade?category=linear&symbol=ETHUSDT")["list"]
    times = [int(row["time"]) for row in rows]
    assert len(rows) == 500 and times == sorted(times, reverse=True) and times[0] <= NOW
    assert len({row["execId"] for row in rows}) == 500
    assert ask(running, "recent-trade?category=linear&symbol=ETHUSDT&limit=7")["list"] == rows[:7]
    assert {row["side"] for row in rows} == {"Buy", "Sell"}


def test_risk_tiers_come_fifteen_symbols_a_page(running: RunningExchange) -> None:
    symbols: list[str] = []
    cursor = ""
    pages = 0
    while pages == 0 or cursor:
        result = ask(running, f"risk-limit?category=linear&cursor={cursor}")
        page = list(dict.fromkeys(row["symbol"] for row in result["list"]))
        assert 1 <= len(page) <= 15
        symbols += page
        cursor, pages = result["nextPageCursor"], pages + 1
    assert symbols == sorted(running.venue.market.contracts)
    assert pages == -(-len(symbols) // 15)
    rows = ask(running, "risk-limit?category=linear&symbol=BTCUSDT")["list"]
    assert {row["symbol"] for row in rows} == {"BTCUSDT"}
    assert [row["isLowestRisk"] for row in rows] == [1] + [0] * (len(rows) - 1)
    assert rows[1] == {
        "id": 2,
        "symbol": "BTCUSDT",
        "riskLimitValue": "4000000",
        "maintenanceMargin": "0.01",
        "initialMargin": "0.015",
        "isLowestRisk": 0,
        "maxLeverage": "66.66",
        "mmDeduction": "10000",
    }


def test_price_limits_surround_the_mark(running: RunningExchange) -> None:
    market = running.venue.market
    for symbol in ("BTCUSDT", "SOLUSDT", "AAVEUSDT", "BTCUSDT-26MAR27"):
        contract, mark = market.contracts[symbol], market.mark_price(symbol, NOW)
        limits = ask(running, f"price-limit?symbol={symbol}")
        near, far, tick = (float(x) for x in (contract.price_limit_x, contract.price_limit_y, contract.tick_size))
        assert mark * (1 + near) - tick <= float(limits["buyLmt"]) <= mark * (1 + far)
        assert mark * (1 - far) <= float(limits["sellLmt"]) <= mark * (1 - near) + tick


@pytest.mark.parametrize(("endpoint", "name"), [("open-interest", "intervalTime"), ("account-ratio", "period")])
def test_series_come_newest_first_over_pages(running: RunningExchange, endpoint: str, name: str) -> None:
    query = f"{endpoint}?category=linear&symbol=ETHUSDT&{name}=1h&limit=5"
    first = ask(running, query)
    second = ask(running, f"{query}&cursor={first['nextPageCursor']}")
    times = [int(row["timestamp"]) for row in first["list"] + second["list"]]
    assert times == [HOUR - ago * HOUR_MS for ago in range(10)]
    window = f"{query}&startTime={HOUR - 3 * HOUR_MS}&endTime={HOUR - HOUR_MS}"
    assert [int(row["timestamp"]) for row in ask(running, window)["list"]] == [HOUR - n * HOUR_MS for n in (1, 2, 3)]
    ask(running, f"{endpoint}?category=linear&symbol=ETHUSDT&{name}=2h", 10001)
    ask(running, f"{query}&cursor=nonsense", 10001)
    if endpoint == "account-ratio":
        assert all(float(row["buyRatio"]) + float(row["sellRatio"]) == pytest.approx(1) for row in first["list"])


def test_instruments_by_status_coin_and_page(running: RunningExchange) -> None:
    bitcoin = ask(running, "instruments-info?category=linear&baseCoin=BTC")["list"]
    assert sorted(row["symbol"] for row in bitcoin) == ["BTCPERP", "BTCUSDT", "BTCUSDT-25JUN27", "BTCUSDT-26MAR27"]
    for status in ("PreLaunch", "Closed"):
        assert ask(running, f"instruments-info?category=linear&status={status}")["list"] == []
    symbols: list[str] = []
    cursor = ""
    while len(symbols) < len(running.venue.market.contracts):
        result = ask(running, f"instruments-info?category=linear&limit=20&cursor={cursor}")
        assert result["list"]
        symbols += [row["symbol"] for row in result["list"]]
        cursor = result["nextPageCursor"]
    assert symbols == sorted(running.venue.market.contracts)


def test_tickers_by_coin(running: RunningExchange) -> None:
    rows = ask(running, "tickers?category=linear&baseCoin=ETH")["list"]
    assert sorted(row["symbol"] for row in rows) == ["ETHPERP", "ETHUSDT", "ETHUSDT-26MAR27"]


def test_before_launch_and_after_delivery() -> None:
    early = ClockSpec(ClockMode.MANUAL, 1_764_547_200_000)  # 2025-12-01, before any dated contract
    with serve_in_thread(ServeConfig(symbols=3, clock=early)) as running:
        waiting = ask(running, "instruments-info?category=linear&status=PreLaunch")["list"]
        dated = [row["symbol"] for row in waiting]
        assert dated == ["BTCUSDT-25JUN27", "BTCUSDT-26MAR27", "ETHUSDT-26MAR27"]
        assert ask(running, "delivery-price?category=linear")["list"] == []
        delivery = running.venue.market.contracts["BTCUSDT-26MAR27"].delivery_ms
        running.set_clock(delivery + MINUTE_MS)
        closed = ask(running, "instruments-info?category=linear&status=Closed")["list"]
        assert [row["symbol"] for row in closed] == ["BTCUSDT-26MAR27", "ETHUSDT-26MAR27"]
        prices = ask(running, "delivery-price?category=linear&baseCoin=BTC")["list"]
        assert [row["symbol"] for row in prices] == ["BTCUSDT-26MAR27"]
        last = running.venue.market.last_price("BTCUSDT-26MAR27", delivery)
        assert float(prices[0]["deliveryPrice"]) == pytest.approx(last, rel=0.003)


def test_what_clients_add_to_public_requests_is_ignored(running: RunningExchange) -> None:
    rows = ask(running, "risk-limit?category=linear&symbol=BTCUSDT&api_key=x&recvWindow=5000&paginate=true")["list"]
    assert len(rows) > 5
    assert ask(running, "instruments-info?category=spot&limit=1000&foo=bar")["list"] == []
