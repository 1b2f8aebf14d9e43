"""What the public topics say, feed by feed, on markets without a server."""

from __future__ import annotations

import json
from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import pytest

from trading_assets.simulator.clock import ClockMode, ClockSpec
from trading_assets.simulator.codec import Params, Raw
from trading_assets.simulator.market.base import Market
from trading_assets.simulator.market.calendar import INTERVALS
from trading_assets.simulator.market.seeded import SeededMarket
from trading_assets.simulator.market.trades import trades_of_minute
from trading_assets.simulator.rest import market as rest
from trading_assets.simulator.stream.book import REPEAT_S, BookFeed
from trading_assets.simulator.stream.feeds import CANDLE_EVERY_S, CLOSED_KEPT, CandleFeed, TickerFeed, TradeFeed
from trading_assets.simulator.venue import ServeConfig, Venue
from trading_assets_tests.simulator.fake_market import ALT, BTC, DAY, FUTURE, HOUR, MINUTE, T0, FakeMarket

ROOM = 600


@pytest.fixture(scope="module")
def seeded() -> Market:
    return SeededMarket(7, 5)


def venue_of(market: Market) -> Venue:
    return Venue(ServeConfig(clock=ClockSpec(ClockMode.MANUAL, T0)), market, "any")


def read(messages: Sequence[str]) -> list[dict[str, Any]]:
    return [json.loads(text) for text in messages]


def candles(messages: Sequence[str]) -> list[dict[str, Any]]:
    return [row for message in read(messages) for row in message["data"]]


def rest_candle(venue: Venue, symbol: str, interval: str, start_ms: int, now_ms: int) -> list[str]:
    params = Params({"symbol": symbol, "interval": interval, "start": start_ms, "end": start_ms})
    answer = rest.kline(venue, params, now_ms)
    assert isinstance(answer, Raw)
    return [str(value) for value in json.loads(answer.text)["list"][0]]


@pytest.mark.parametrize("interval", INTERVALS)
def test_a_closed_candle_of_every_interval_is_told_once_as_rest_has_it(seeded: Market, interval: str) -> None:
    venue, contract = venue_of(seeded), seeded.contracts["BTCUSDT"]
    feed = CandleFeed(venue, contract, interval, T0 + 90_000)
    (opened,) = candles(feed.snapshot())
    assert not opened["confirm"] and opened["interval"] == interval
    assert opened["start"] <= T0 + 90_000 <= opened["end"]
    last_moment, after = opened["end"], opened["end"] + 1
    told = candles(feed.advance(last_moment, 10.0, ROOM)) + candles(feed.advance(after + 5000, 20.0, ROOM))
    assert [candle["confirm"] for candle in told] == [False, True, False]
    closed = told[1]
    assert (closed["start"], closed["end"]) == (opened["start"], opened["end"])
    assert told[2]["start"] == after
    names = ("start", "open", "high", "low", "close", "volume", "turnover")
    assert [str(closed[name]) for name in names] == rest_candle(venue, "BTCUSDT", interval, closed["start"], after)


def test_a_leap_of_the_clock_tells_every_candle_in_order_within_the_room_of_a_pass() -> None:
    feed = CandleFeed(venue_of(FakeMarket()), BTC, "1", T0)
    now = T0 + 100 * MINUTE + 30_000
    passes = [candles(feed.advance(now, 0.0, 40)) for _ in range(4)]
    assert [len(told) for told in passes] == [40, 40, 21, 0]
    told = [candle for of in passes for candle in of]
    assert [candle["start"] for candle in told] == [T0 + index * MINUTE for index in range(101)]
    assert [candle["confirm"] for candle in told] == [True] * 100 + [False]
    assert {candle["timestamp"] for candle in told[:1]} == {T0 + MINUTE - 1}
    assert feed.advance(now + 1, 0.0, 0) == ()


def test_of_a_leap_over_days_the_newest_candles_are_told() -> None:
    feed = CandleFeed(venue_of(FakeMarket()), BTC, "1", T0)
    told = candles(feed.advance(T0 + 3 * DAY, 0.0, 2 * CLOSED_KEPT))
    assert len(told) == CLOSED_KEPT + 1
    assert told[0]["start"] == T0 + 3 * DAY - CLOSED_KEPT * MINUTE
    assert [candle["confirm"] for candle in told[-2:]] == [True, False]


def test_an_open_candle_is_told_about_once_a_second_and_only_when_it_changed() -> None:
    feed = CandleFeed(venue_of(FakeMarket()), BTC, "60", T0)
    first = feed.advance(T0 + 20_000, CANDLE_EVERY_S, ROOM)
    assert len(first) == 1
    assert feed.advance(T0 + 21_000, 1.5 * CANDLE_EVERY_S, ROOM) == ()
    assert len(feed.advance(T0 + 22_000, 2 * CANDLE_EVERY_S, ROOM)) == 1
    assert feed.advance(T0 + 22_000, 4 * CANDLE_EVERY_S, ROOM) == ()


def test_a_contract_that_is_not_launched_has_no_candles() -> None:
    feed = CandleFeed(venue_of(FakeMarket()), ALT, "1", ALT.launch_ms - 2 * MINUTE)
    assert feed.snapshot() == ()
    told = candles(feed.advance(ALT.launch_ms + MINUTE, 5.0, ROOM))
    assert [candle["start"] for candle in told] == [ALT.launch_ms, ALT.launch_ms + MINUTE]


def test_ticker_deltas_put_together_are_the_ticker_of_rest(seeded: Market) -> None:
    venue, contract = venue_of(seeded), seeded.contracts["BTCUSDT"]
    feed = TickerFeed(venue, contract, T0)
    (first,) = read(feed.snapshot())
    merged, sizes = dict(first["data"]), []
    for step in range(1, 40):
        for message in read(feed.advance(T0 + step * 700, 0.0, ROOM)):
            assert message["type"] == "delta" and message["ts"] == T0 + step * 700
            assert message["data"].pop("symbol") == "BTCUSDT"
            assert all(merged[name] != value for name, value in message["data"].items())
            merged |= message["data"]
            sizes.append(len(message["data"]))
    theirs = rest.ticker_row(venue, contract, T0 + 39 * 700)
    assert merged.pop("tickDirection").endswith("Tick")
    assert merged == {name: theirs[name] for name in merged}
    assert max(sizes) < len(merged) and min(sizes) > 0
    assert feed.advance(T0 + 39 * 700, 9.0, ROOM) == ()


def test_a_dated_future_has_the_fields_of_one() -> None:
    (message,) = read(TickerFeed(venue_of(FakeMarket()), FUTURE, T0).snapshot())
    assert message["data"]["deliveryTime"] == "2026-01-30T08:00:00Z"
    assert "fundingCap" not in message["data"] and float(message["data"]["basis"]) == 0


@pytest.mark.parametrize("symbol", ["BTCUSDT", "SOLUSDT"])
@pytest.mark.parametrize("depth", [50, 200, 1000])
def test_book_deltas_put_together_are_the_book_of_rest(seeded: Market, symbol: str, depth: int) -> None:
    venue = venue_of(seeded)
    feed = BookFeed(venue, seeded.contracts[symbol], depth, T0, {})
    (message,) = read(feed.snapshot())
    sides = {side: dict(message["data"][side]) for side in "ba"}
    update, gone = message["data"]["u"], 0
    for step in range(1, 30):
        for message in read(feed.advance(T0 + step * 333, 0.0, ROOM)):
            assert message["type"] == "delta" and message["data"]["u"] == update + 1
            update += 1
            for side in "ba":
                levels = message["data"][side]
                prices = [float(price) for price, _ in levels]
                assert prices == sorted(set(prices), reverse=side == "b")
                for price, quantity in levels:
                    if quantity == "0":
                        del sides[side][price]
                        gone += 1
                    else:
                        assert sides[side].get(price) != quantity
                        sides[side][price] = quantity
    params = Params({"category": "linear", "symbol": symbol, "limit": depth})
    answer = rest.orderbook(venue, params, T0 + 29 * 333)
    assert isinstance(answer, dict) and gone > 0
    for side in "ba":
        ours = {float(price): quantity for price, quantity in sides[side].items()}
        assert ours == {float(price): quantity for price, quantity in answer[side]}


def test_the_best_level_is_always_a_snapshot_and_repeated_when_nothing_moves() -> None:
    counts: dict[str, int] = {}
    feed = BookFeed(venue_of(FakeMarket()), BTC, 1, T0, counts)
    (first,) = read(feed.advance(T0 + 5000, 1.0, ROOM))
    assert first["type"] == "snapshot" and len(first["data"]["b"]) == len(first["data"]["a"]) == 1
    assert feed.advance(T0 + 5000, 1.0 + REPEAT_S / 2, ROOM) == ()
    (again,) = read(feed.advance(T0 + 5000, 1.0 + REPEAT_S, ROOM))
    assert again == first
    (reopened,) = read(BookFeed(venue_of(FakeMarket()), BTC, 1, T0 + 5000, counts).snapshot())
    assert reopened["data"]["u"] > first["data"]["u"]


@pytest.mark.parametrize("symbol", ["BTCUSDT", "SOLUSDT"])
def test_the_trades_of_a_minute_make_its_candle(seeded: Market, symbol: str) -> None:
    for minute in range(T0, T0 + HOUR, 7 * MINUTE):
        ((_, opened, high, low, close, volume, _),) = seeded.bars(symbol, "1", minute, minute + 1, minute + MINUTE)
        trades = trades_of_minute(seeded, symbol, minute)
        prices = [trade.price for trade in trades]
        assert sum(trade.qty for trade in trades) == pytest.approx(volume)
        assert all(trade.qty > 0 for trade in trades)
        assert (max(prices), min(prices), prices[-1]) == (high, low, close)
        assert prices[0] == pytest.approx(opened, rel=1e-3)
        assert [trade.time_ms for trade in trades] == sorted({trade.time_ms for trade in trades})
        assert len({trade.trade_id for trade in trades}) == len(trades) > 3
        for before, trade in pairwise(trades):
            rose = trade.price > before.price
            expected = ("Plus" if rose else "Minus") if trade.price != before.price else "Zero"
            assert trade.direction.startswith(expected)
            assert trade.side == ("Buy" if "Plus" in trade.direction else "Sell")


def test_no_trade_is_told_twice_or_left_out(seeded: Market) -> None:
    venue, contract = venue_of(seeded), seeded.contracts["BTCUSDT"]
    feed = TradeFeed(venue, contract, T0)
    assert feed.snapshot() == ()
    told = [
        (row["T"], row["i"])
        for step in range(1, 400)
        for message in read(feed.advance(T0 + step * 311, 0.0, ROOM))
        for row in message["data"]
    ]
    end = T0 + 399 * 311
    every = [t for minute in range(T0, end, MINUTE) for t in trades_of_minute(seeded, contract.symbol, minute)]
    assert told == [(trade.time_ms, trade.trade_id) for trade in every if T0 < trade.time_ms <= end]
    leap = read(feed.advance(end + DAY, 0.0, ROOM))
    assert len(leap) == 1 and all(row["T"] > end + DAY - MINUTE for row in leap[0]["data"])
