"""The replay market on small recordings: what is recorded comes back, and every minute adds up to it."""

from __future__ import annotations

import subprocess
import sys
from decimal import Decimal
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from trading_assets.core.errors import ConfigurationError, DataError
from trading_assets.core.timeframes import DAY_MS, HOUR_MS, MINUTE_MS
from trading_assets.simulator.market.base import CLOSE, HIGH, LOW, OPEN, START, TURNOVER, VOLUME, Bars
from trading_assets.simulator.market.replay import ReplayMarket
from trading_assets_tests.conftest import recorded_data
from trading_assets_tests.simulator.market.recordings import T0, coarser, matrix, walk, write

LATER = T0 + 400 * DAY_MS
SYMBOL = "ABCUSDT"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("recordings")


@pytest.fixture(scope="module")
def market(folder: Path) -> ReplayMarket:
    return ReplayMarket([write(folder, "five.parquet", walk("5m", 3000))])


def aggregated(minutes: Bars, size: int) -> Bars:
    groups = minutes.reshape(-1, size, 7)
    return np.column_stack(
        [
            groups[:, 0, START],
            groups[:, 0, OPEN],
            groups[:, :, HIGH].max(axis=1),
            groups[:, :, LOW].min(axis=1),
            groups[:, -1, CLOSE],
            groups[:, :, VOLUME].sum(axis=1),
            groups[:, :, TURNOVER].sum(axis=1),
        ]
    )


@pytest.mark.slow
@pytest.mark.parametrize(
    ("timeframe", "interval"), [("1m", "1"), ("3m", "3"), ("5m", "5"), ("1h", "60"), ("4h", "240"), ("1d", "D")]
)
def test_recorded_candles_come_back_and_their_minutes_add_up_to_them(
    tmp_path: Path, timeframe: str, interval: str
) -> None:
    table = walk(timeframe, 400, jump=0.03)
    market = ReplayMarket([write(tmp_path, "candles.parquet", table)])
    bars = market.bars(SYMBOL, interval, 0, LATER + LATER, LATER + LATER)
    assert bars == pytest.approx(matrix(table), rel=1e-12, abs=6e-5)
    minutes = market.bars(SYMBOL, "1", 0, LATER + LATER, LATER + LATER)
    assert np.array_equal(np.diff(minutes[:, START]), np.full(len(minutes) - 1, MINUTE_MS))
    assert aggregated(minutes, len(minutes) // len(table)) == pytest.approx(bars, rel=1e-9)
    assert (minutes[:, LOW] <= minutes[:, [OPEN, CLOSE]].min(axis=1)).all()
    assert (minutes[:, HIGH] >= minutes[:, [OPEN, CLOSE]].max(axis=1)).all()
    steps = minutes[:, VOLUME] * 10
    assert np.abs(steps - np.rint(steps)).max() < 1e-6
    assert (minutes[:, VOLUME] >= 0).all() and (minutes[:, TURNOVER] >= 0).all()
    assert not (minutes[:, TURNOVER] > 0)[minutes[:, VOLUME] == 0].any()


@pytest.mark.parametrize("interval", ["15", "30", "60", "240", "D", "W", "M"])
def test_coarser_candles_are_made_of_the_recorded_ones(market: ReplayMarket, interval: str) -> None:
    made = market.bars(SYMBOL, interval, 0, LATER, LATER)
    minutes = market.bars(SYMBOL, "1", 0, LATER, LATER)
    assert made[:, VOLUME].sum() == pytest.approx(minutes[:, VOLUME].sum())
    for row in made:
        stop = made[made[:, START] > row[START], START]
        of = minutes[(minutes[:, START] >= row[START]) & (minutes[:, START] < (stop[0] if len(stop) else LATER))]
        expected = [of[0, OPEN], of[:, HIGH].max(), of[:, LOW].min(), of[-1, CLOSE]]
        assert row[OPEN : CLOSE + 1].tolist() == expected


@settings(max_examples=60)
@given(st.integers(0, 3000 * 5 * MINUTE_MS - 1), st.sampled_from(["1", "3", "5", "15", "60", "D"]))
def test_an_open_candle_is_cut_at_now_and_ends_at_the_last_price(
    market: ReplayMarket, elapsed: int, interval: str
) -> None:
    now = T0 + elapsed
    *_, cut = market.bars(SYMBOL, interval, T0, LATER, now)
    final = market.bars(SYMBOL, interval, int(cut[START]), int(cut[START]) + 1, LATER)[0]
    assert cut[OPEN] == final[OPEN] and cut[CLOSE] == market.last_price(SYMBOL, now)
    assert final[LOW] <= cut[LOW] <= cut[CLOSE] <= cut[HIGH] <= final[HIGH]
    assert 0 < cut[VOLUME] <= final[VOLUME] + 1e-9
    assert cut[TURNOVER] <= final[TURNOVER] + 1e-4
    path = market.path(SYMBOL, now // MINUTE_MS * MINUTE_MS)
    assert all(cut[LOW] <= point.price <= cut[HIGH] for point in path if point.time_ms <= now)


def test_the_path_touches_the_recorded_extremes(market: ReplayMarket) -> None:
    for row in market.bars(SYMBOL, "5", T0, T0 + 20 * HOUR_MS, LATER):
        prices = [
            point.price
            for minute in range(int(row[START]), int(row[START]) + 5 * MINUTE_MS, MINUTE_MS)
            for point in market.path(SYMBOL, minute)
        ]
        assert (prices[0], max(prices), min(prices), prices[-1]) == tuple(row[OPEN : CLOSE + 1])


def test_contracts_follow_from_the_numbers(market: ReplayMarket) -> None:
    contract = market.contracts[SYMBOL]
    assert (contract.tick_size, contract.qty_step, contract.launch_ms) == (Decimal("0.0005"), Decimal("0.1"), T0)
    assert (contract.base_coin, contract.quote_coin, contract.funding_interval_min) == ("ABC", "USDT", 480)
    assert market.funding_rate(SYMBOL, T0 + 8 * HOUR_MS) == 0.0001


def test_instruments_and_funding_beside_the_candles_are_used(tmp_path: Path) -> None:
    path = write(tmp_path, "candles.csv", walk("5m", 300))
    (tmp_path / "instruments.csv").write_text(
        "symbol,minimum_price_variation,lot_size,minimum_order_size\nABCUSDT,0.0001,0.1,0.5\nXUSDT,1,1,1\n"
    )
    rows = [(T0 + hour * HOUR_MS, rate) for hour, rate in ((0, 0.0002), (4, -0.0003), (8, 0.0001))]
    funding = walk("1m", 3)[["symbol"]].assign(
        exchange="bybit", funding_ms=[time for time, _ in rows], funding_rate=[rate for _, rate in rows]
    )
    other = funding.assign(exchange="elsewhere", funding_rate=0.5)
    write(tmp_path, "funding.parquet", other, funding)
    market = ReplayMarket([path])
    contract = market.contracts[SYMBOL]
    assert (contract.tick_size, contract.qty_step, contract.min_qty) == (
        Decimal("0.0001"),
        Decimal("0.1"),
        Decimal("0.5"),
    )
    assert contract.funding_interval_min == 240
    assert [market.funding_rate(SYMBOL, time) for time, _ in rows] == [rate for _, rate in rows]
    assert market.funding_rate(SYMBOL, T0 + 12 * HOUR_MS) == 0.00005


def test_instruments_that_the_prices_contradict_are_not_believed(tmp_path: Path) -> None:
    path = write(tmp_path, "candles.parquet", walk("5m", 300))
    (tmp_path / "instruments.csv").write_text(
        "symbol,minimum_price_variation,lot_size,minimum_order_size\nABCUSDT,0.01,1,1\n"
    )
    contract = ReplayMarket([path]).contracts[SYMBOL]
    assert (contract.tick_size, contract.qty_step, contract.min_qty) == (
        Decimal("0.0005"),
        Decimal("0.1"),
        Decimal("0.1"),
    )


def test_minutes_win_over_the_candles_that_hold_them(tmp_path: Path) -> None:
    minutes = walk("1m", 600)
    fives = walk("5m", 240, seed=2)
    fives = fives[fives["start_ms"] >= T0 + 600 * MINUTE_MS]
    agreeing = coarser(minutes, "5m")
    market = ReplayMarket(
        [write(tmp_path, "m.parquet", minutes), write(tmp_path, "f.parquet", agreeing[agreeing["volume"] > 0], fives)]
    )
    assert market.bars(SYMBOL, "1", T0, T0 + 600 * MINUTE_MS, LATER) == pytest.approx(matrix(minutes), abs=6e-5)
    assert market.bars(SYMBOL, "5", T0, LATER, LATER)[120:] == pytest.approx(matrix(fives), abs=6e-5)


def test_a_candle_that_minutes_cover_in_part_stands_as_recorded(tmp_path: Path) -> None:
    minutes = walk("1m", 602)
    fives = walk("5m", 240, seed=2)
    fives = fives[fives["start_ms"] >= T0 + 600 * MINUTE_MS]
    market = ReplayMarket([write(tmp_path, "m.parquet", minutes), write(tmp_path, "f.parquet", fives)])
    assert market.bars(SYMBOL, "5", T0, LATER, LATER)[120:] == pytest.approx(matrix(fives), abs=6e-5)
    assert market.bars(SYMBOL, "1", T0, T0 + 600 * MINUTE_MS, LATER) == pytest.approx(matrix(minutes)[:600], abs=6e-5)


def test_candles_missing_in_a_file_are_flat_and_without_volume(tmp_path: Path) -> None:
    table = walk("5m", 200)
    market = ReplayMarket([write(tmp_path, "holes.parquet", table.drop(index=[50, 51, 120]))])
    bars = market.bars(SYMBOL, "5", T0, LATER, LATER)
    assert len(bars) == 200
    close = table["close"][49]
    assert bars[50:52, OPEN:].tolist() == [[close] * 4 + [0.0, 0.0]] * 2
    minutes = market.bars(SYMBOL, "1", T0 + 250 * MINUTE_MS, T0 + 260 * MINUTE_MS, LATER)
    assert minutes[:, OPEN:].tolist() == [[close] * 4 + [0.0, 0.0]] * 10
    assert market.last_price(SYMBOL, T0 + 255 * MINUTE_MS) == close


def test_a_time_that_no_file_covers_has_no_candles(tmp_path: Path) -> None:
    early, late = walk("5m", 100), walk("5m", 100, seed=3, start_ms=T0 + 40 * HOUR_MS)
    market = ReplayMarket([write(tmp_path, "a.parquet", early), write(tmp_path, "b.parquet", late)])
    for interval, minutes in (("1", 1), ("5", 5), ("60", 60)):
        bars = market.bars(SYMBOL, interval, T0, LATER, LATER)
        assert bars[:, VOLUME].sum() == pytest.approx(early["volume"].sum() + late["volume"].sum())
        gap = bars[(bars[:, START] > T0 + 9 * HOUR_MS) & (bars[:, START] < T0 + 40 * HOUR_MS)]
        assert len(gap) == 0, interval
        assert len(bars) == -(-500 // minutes) * 2
    assert market.last_price(SYMBOL, T0 + 20 * HOUR_MS) == early["close"].iloc[-1]
    assert len(market.bars(SYMBOL, "60", T0, LATER, T0 + 20 * HOUR_MS)) == 9


def test_before_the_first_candle_there_is_no_price_and_after_the_last_it_stands_still(market: ReplayMarket) -> None:
    for ask in (market.last_price, market.mark_price, market.index_price):
        with pytest.raises(DataError, match="recorded from 2025-10-10T00:00:00Z to 2025-10-20T10:00:00Z"):
            ask(SYMBOL, T0 - 1)
    end = T0 + 15_000 * MINUTE_MS
    last = market.bars(SYMBOL, "1", end - MINUTE_MS, end, LATER)[-1, CLOSE]
    assert market.last_price(SYMBOL, end) == market.mark_price(SYMBOL, end + DAY_MS) == last
    assert len(market.bars(SYMBOL, "5", end, LATER, LATER)) == 0
    assert len(market.bars(SYMBOL, "5", 0, T0, LATER)) == 0
    assert market.stats_24h(SYMBOL, T0 + HOUR_MS).prev_price_24h == market.last_price(SYMBOL, T0)


def test_the_24_hours_are_those_of_the_candles(market: ReplayMarket) -> None:
    now = T0 + 5 * DAY_MS + 7 * HOUR_MS
    stats = market.stats_24h(SYMBOL, now)
    day = market.bars(SYMBOL, "5", now - DAY_MS, now, now)
    assert (stats.high, stats.low) == (day[:, HIGH].max(), day[:, LOW].min())
    assert stats.volume == pytest.approx(day[:, VOLUME].sum(), rel=1e-3)


def test_the_book_surrounds_the_price(market: ReplayMarket) -> None:
    bids, asks = market.book(SYMBOL, T0 + HOUR_MS, 50)
    assert len(bids) == len(asks) == 50
    assert bids[0, 0] <= market.last_price(SYMBOL, T0 + HOUR_MS) <= asks[0, 0]


@pytest.mark.slow
def test_the_same_files_give_the_same_market_in_any_process(folder: Path, market: ReplayMarket) -> None:
    path = folder / "five.parquet"
    script = (
        "import sys; from pathlib import Path; from trading_assets.simulator.market.replay import ReplayMarket\n"
        "m = ReplayMarket([Path(sys.argv[1])]); t = int(sys.argv[2])\n"
        "print(m.content, m.bars('ABCUSDT', '1', t, t + 36000000, t + 36000000).tolist(), m.book('ABCUSDT', t, 5))"
    )
    run = subprocess.run(
        [sys.executable, "-c", script, str(path), str(T0 + DAY_MS)],
        capture_output=True,
        text=True,
        timeout=300,
        check=True,
    )
    at = T0 + DAY_MS
    market.bars(SYMBOL, "1", at + 3 * DAY_MS, at + 4 * DAY_MS, LATER)
    rows = market.bars(SYMBOL, "1", at, at + 36_000_000, at + 36_000_000).tolist()
    assert run.stdout.strip() == f"{market.content} {rows} {market.book(SYMBOL, at, 5)}"


def test_the_content_is_that_of_all_files_in_any_order(tmp_path: Path) -> None:
    one, two = write(tmp_path, "1.parquet", walk("5m", 9)), write(tmp_path, "2.parquet", walk("5m", 9, symbol="XUSDT"))
    assert ReplayMarket([one, two]).content == ReplayMarket([two, one, one]).content != ReplayMarket([one]).content


BAD = {
    "contradict each other in 1 candles of 5": [
        walk("5m", 9),
        walk("5m", 9).assign(close=lambda t: t["close"].where(t.index != 4, t["low"])),
    ],
    "contradict each other in": [walk("1m", 60), walk("5m", 12, seed=9)],
    "do not nest": [walk("3m", 3), walk("5m", 1, start_ms=T0 + 5 * MINUTE_MS)],
    "outside their own range": [walk("5m", 9).assign(high=0.5)],
    "price of zero": [walk("5m", 9).assign(low=0.0)],
    "negative volume": [walk("5m", 9).assign(volume=-1.0)],
    "without a number": [walk("5m", 9).assign(turnover=float("nan"))],
    "do not start on their timeframe": [walk("5m", 9, start_ms=T0 + MINUTE_MS)],
    "known are 1m, 3m": [walk("5m", 9).assign(timeframe="7m")],
    "turnover missing": [walk("5m", 9).drop(columns="turnover")],
    "does not end in USDT": [walk("5m", 9, symbol="ABCDEF")],
    "at least one file with candles": [walk("5m", 9).head(0)],
}


@pytest.mark.parametrize("message", sorted(BAD))
def test_recordings_that_cannot_be_played_say_why(tmp_path: Path, message: str) -> None:
    paths = [write(tmp_path, f"{number}.parquet", table) for number, table in enumerate(BAD[message])]
    with pytest.raises(ConfigurationError, match=message):
        ReplayMarket(paths)


def test_what_is_no_recording_is_refused(tmp_path: Path) -> None:
    text = tmp_path / "notes.parquet"
    text.write_text("hello")
    for path, message in ((text, "cannot be read as Parquet"), (tmp_path / "absent.parquet", "cannot be read")):
        with pytest.raises(ConfigurationError, match=message):
            ReplayMarket([path])


@pytest.mark.recorded
def test_the_crash_of_october_2025_replays() -> None:
    path = recorded_data("candles_5m.parquet")
    market = ReplayMarket([path])
    import pandas as pd

    table = pd.read_parquet(path)
    crash = T0 + 21 * HOUR_MS + 15 * MINUTE_MS
    for symbol in ("APEUSDT", "BTCUSDT", "SOLUSDT"):
        recorded = matrix(table[table["symbol"] == symbol])
        assert np.allclose(market.bars(symbol, "5", 0, LATER, LATER), recorded, rtol=1e-12, atol=6e-5)
        day = market.bars(symbol, "1", T0, T0 + DAY_MS, LATER)
        inside = (recorded[:, START] >= T0) & (recorded[:, START] < T0 + DAY_MS)
        assert aggregated(day, 5) == pytest.approx(recorded[inside], rel=1e-9, abs=1e-3)
        lowest = recorded[recorded[:, START] == crash][0]
        touched = [point.price for minute in range(5) for point in market.path(symbol, crash + minute * MINUTE_MS)]
        assert (min(touched), max(touched)) == (lowest[LOW], lowest[HIGH])
    ape = market.bars("APEUSDT", "5", crash, crash + 1, LATER)[0]
    assert ape[CLOSE] / ape[OPEN] < 0.5
    assert market.contracts["BTCUSDT"].tick_size == Decimal("0.1")
    assert market.contracts["APEUSDT"].funding_interval_min == 480
