"""The seeded market: a pure function of time, coarse candles of fine ones, and prices that look like prices."""

from __future__ import annotations

import hashlib
import subprocess
import sys
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from trading_assets.simulator.market.base import CLOSE, HIGH, LOW, OPEN, START, TURNOVER, VOLUME, Bars, Contract
from trading_assets.simulator.market.seeded import SeededMarket

REPOSITORY = Path(__file__).resolve().parents[3]
SEED, SYMBOLS = 7, 80
MINUTE_MS, HOUR_MS, DAY_MS = 60_000, 3_600_000, 86_400_000
T0 = 1_772_323_200_000  # 2026-03-01T00:00:00Z
FUTURE = T0 + 3000 * DAY_MS
INTERVALS = {"1": 1, "3": 3, "5": 5, "15": 15, "30": 30, "60": 60, "120": 120, "240": 240, "360": 360, "720": 720}
INTERVALS |= {"D": 1440}
SOME = ("BTCUSDT", "ETHUSDT", "1000PEPEUSDT", "PAXGUSDT", "USDCUSDT", "BTCPERP")


@pytest.fixture(scope="module")
def market() -> SeededMarket:
    return SeededMarket(SEED, SYMBOLS)


MARKET = SeededMarket(SEED, SYMBOLS)
"""For hypothesis, which cannot take fixtures."""

symbols = st.sampled_from(SOME)
moments = st.integers(T0, T0 + 20 * DAY_MS)


def minutes(symbol: str, start_ms: int, end_ms: int, now_ms: int = FUTURE) -> Bars:
    return MARKET.bars(symbol, "1", start_ms, end_ms, now_ms)


def fingerprint(market: SeededMarket, order: int) -> str:
    """A digest of many answers, asked for in this or that order."""
    questions = [
        lambda: market.bars("BTCUSDT", "1", T0, T0 + 3 * HOUR_MS, FUTURE).tobytes(),
        lambda: market.bars("ETHUSDT", "60", T0 - 9 * DAY_MS, T0, FUTURE).tobytes(),
        lambda: market.bars("SOLUSDT", "M", T0 - 90 * DAY_MS, T0, T0 + 12_345).tobytes(),
        lambda: market.bars("BTCPERP", "15", T0, T0 + DAY_MS, T0 + 5 * HOUR_MS + 3).tobytes(),
        lambda: repr(market.path("1000PEPEUSDT", T0 + 7 * MINUTE_MS)).encode(),
        lambda: repr([market.last_price("ETHUSDT", T0 + i * 777) for i in range(50)]).encode(),
        lambda: repr([market.mark_price("ETHUSDT", T0 + i * 7777) for i in range(5)]).encode(),
        lambda: repr([market.funding_rate("SOLUSDT", T0 + i * 8 * HOUR_MS) for i in range(9)]).encode(),
        lambda: b"".join(side.tobytes() for side in market.book("ETHUSDT", T0 + 500, 20)),
        lambda: repr(market.stats_24h("DOGEUSDT", T0 + 12_345_678)).encode(),
        lambda: repr(market.open_interest("DOGEUSDT", T0)).encode(),
        lambda: repr(sorted(market.contracts.items())).encode(),
    ]
    answers = {}
    for i in range(len(questions)):
        at = (i * order) % len(questions)
        answers[at] = questions[at]()
    assert len(answers) == len(questions)
    return hashlib.sha256(b"|".join(answers[i] for i in sorted(answers))).hexdigest()


# Determinism


def test_the_order_of_asking_does_not_matter() -> None:
    assert len({fingerprint(SeededMarket(SEED, 20), order) for order in (1, 5, 7, 11)}) == 1


@pytest.mark.slow
def test_another_process_gives_the_same_market() -> None:
    script = (
        "from trading_assets.simulator.market.seeded import SeededMarket\n"
        "from trading_assets_tests.simulator.market.test_seeded import fingerprint\n"
        f"print(fingerprint(SeededMarket({SEED}, 20), 5))"
    )
    run = subprocess.run(
        [sys.executable, "-c", script], cwd=REPOSITORY, capture_output=True, text=True, timeout=300, check=False
    )
    assert run.returncode == 0, run.stderr
    assert run.stdout.strip() == fingerprint(SeededMarket(SEED, 20), 1)


def test_another_seed_is_another_market() -> None:
    assert fingerprint(SeededMarket(SEED, 20), 1) != fingerprint(SeededMarket(SEED + 1, 20), 1)


def test_more_symbols_do_not_change_the_others() -> None:
    few = SeededMarket(SEED, 5)
    for symbol in ("BTCUSDT", "SOLUSDT"):
        assert np.array_equal(few.bars(symbol, "1", T0, T0 + DAY_MS, FUTURE), minutes(symbol, T0, T0 + DAY_MS))


# Aggregation


def aggregate(rows: Bars, edges: np.ndarray) -> Bars:
    found = []
    for low, high in pairwise(edges):
        inside = rows[(rows[:, START] >= low) & (rows[:, START] < high)]
        if len(inside):
            price = [inside[0, OPEN], inside[:, HIGH].max(), inside[:, LOW].min(), inside[-1, CLOSE]]
            found.append([low, *price, inside[:, VOLUME].sum(), inside[:, TURNOVER].sum()])
    return np.array(found).reshape(-1, 7)


@settings(max_examples=60)
@given(symbols, st.sampled_from(sorted(INTERVALS)), moments, st.integers(1, 4), st.integers(0, 6 * DAY_MS))
def test_every_interval_is_the_aggregation_of_its_minutes(
    symbol: str, interval: str, start: int, count: int, later: int
) -> None:
    step = INTERVALS[interval] * MINUTE_MS
    now = start + later
    bars = MARKET.bars(symbol, interval, start, start + count * step, now)
    first = -(-start // step) * step
    edges = np.arange(first, min(start + count * step - 1, now) // step * step + step + 1, step)
    rows = minutes(symbol, first, int(edges[-1]), now) if len(edges) > 1 else np.empty((0, 7))
    expected = aggregate(rows, edges)
    assert bars.shape == expected.shape
    assert np.array_equal(bars[:, :VOLUME], expected[:, :VOLUME])
    assert bars[:, VOLUME:] == pytest.approx(expected[:, VOLUME:], rel=1e-9, abs=1e-3)


@pytest.mark.parametrize("interval", ["W", "M"])
def test_weeks_start_on_monday_and_months_on_the_first(market: SeededMarket, interval: str) -> None:
    from datetime import UTC, datetime

    bars = market.bars("ETHUSDT", interval, T0 - 100 * DAY_MS, T0 + 20 * DAY_MS, FUTURE)
    assert len(bars) in ((17,) if interval == "W" else (4, 5))
    for row in bars:
        moment = datetime.fromtimestamp(row[START] / 1000, UTC)
        assert (moment.hour, moment.minute) == (0, 0)
        assert moment.weekday() == 0 if interval == "W" else moment.day == 1
    edges = np.append(bars[:, START], FUTURE).astype(np.int64)
    days = market.bars("ETHUSDT", "D", int(edges[0]), int(edges[-2]), FUTURE)
    expected = aggregate(days, edges[:-1])
    assert np.array_equal(bars[:-1, : CLOSE + 1], expected[:, : CLOSE + 1])


@settings(max_examples=60)
@given(symbols, st.sampled_from(["1", "5", "60", "D"]), moments)
def test_a_candle_still_open_agrees_with_its_trades_and_with_what_it_becomes(
    symbol: str, interval: str, now: int
) -> None:
    step = INTERVALS[interval] * MINUTE_MS
    start = now // step * step
    [cut] = MARKET.bars(symbol, interval, start, start + step, now)
    [final] = MARKET.bars(symbol, interval, start, start + step, FUTURE)
    assert cut[OPEN] == final[OPEN]
    assert cut[CLOSE] == MARKET.last_price(symbol, now)
    assert final[LOW] <= cut[LOW] <= min(cut[OPEN], cut[CLOSE])
    assert max(cut[OPEN], cut[CLOSE]) <= cut[HIGH] <= final[HIGH]
    assert cut[VOLUME] <= final[VOLUME] + 1e-9
    assert cut[TURNOVER] <= final[TURNOVER] + 1e-3
    seen = [p.price for p in MARKET.path(symbol, now // MINUTE_MS * MINUTE_MS) if p.time_ms <= now]
    assert all(cut[LOW] <= price <= cut[HIGH] for price in seen)


@settings(max_examples=60)
@given(symbols, moments, st.integers(0, 600_000))
def test_a_candle_only_grows_with_time(symbol: str, now: int, later: int) -> None:
    start = now // HOUR_MS * HOUR_MS
    then = min(now + later, start + HOUR_MS - 1)
    [before] = MARKET.bars(symbol, "60", start, start + HOUR_MS, now)
    [after] = MARKET.bars(symbol, "60", start, start + HOUR_MS, then)
    assert before[HIGH] <= after[HIGH]
    assert before[LOW] >= after[LOW]
    assert before[VOLUME] <= after[VOLUME] + 1e-9


@settings(max_examples=60)
@given(symbols, moments)
def test_the_trades_of_a_minute_are_its_candle(symbol: str, moment: int) -> None:
    minute = moment // MINUTE_MS * MINUTE_MS
    path = MARKET.path(symbol, minute)
    [row] = minutes(symbol, minute, minute + MINUTE_MS)
    prices, times = [p.price for p in path], [p.time_ms for p in path]
    assert times == sorted(set(times))
    assert minute <= times[0]
    assert times[-1] < minute + MINUTE_MS
    assert (prices[0], max(prices), min(prices), prices[-1]) == (row[OPEN], row[HIGH], row[LOW], row[CLOSE])
    assert row[LOW] <= MARKET.last_price(symbol, moment) <= row[HIGH]


@settings(max_examples=25)
@given(symbols, moments)
def test_a_tickers_24_hours_are_those_of_the_minutes(symbol: str, now: int) -> None:
    stats = MARKET.stats_24h(symbol, now)
    rows = minutes(symbol, (now - DAY_MS) // MINUTE_MS * MINUTE_MS, now + 1, now)
    assert (stats.high, stats.low) == (rows[:, HIGH].max(), rows[:, LOW].min())
    assert stats.volume == pytest.approx(rows[:, VOLUME].sum())
    assert stats.turnover == pytest.approx(rows[:, TURNOVER].sum(), rel=1e-6)
    assert stats.prev_price_1h == MARKET.last_price(symbol, now - HOUR_MS)


# Form


@pytest.mark.parametrize("symbol", SOME)
def test_prices_are_on_the_tick_and_volumes_on_the_step(market: SeededMarket, symbol: str) -> None:
    contract = market.contracts[symbol]
    rows = minutes(symbol, T0, T0 + 2 * DAY_MS)
    assert len(rows) == 2880
    assert np.all(np.diff(rows[:, START]) == MINUTE_MS)
    ticks = rows[:, OPEN : CLOSE + 1] / float(contract.tick_size)
    assert np.abs(ticks - np.rint(ticks)).max() < 1e-4
    assert np.array_equal(rows[:, OPEN : CLOSE + 1], np.round(rows[:, OPEN : CLOSE + 1], contract.price_scale))
    steps = rows[:, VOLUME] / float(contract.qty_step)
    assert np.abs(steps - np.rint(steps)).max() < 1e-4
    assert np.all(rows[:, VOLUME] > 0)
    assert np.all(rows[:, LOW] > 0)
    assert np.all(rows[:, LOW] <= rows[:, [OPEN, CLOSE]].min(axis=1))
    assert np.all(rows[:, HIGH] >= rows[:, [OPEN, CLOSE]].max(axis=1))
    between = rows[:, TURNOVER] / rows[:, VOLUME]
    assert np.all((between >= rows[:, LOW] * 0.999) & (between <= rows[:, HIGH] * 1.001))


def test_nothing_exists_before_the_launch(market: SeededMarket) -> None:
    late = [c for c in market.contracts.values() if c.launch_ms > T0 - 60 * DAY_MS]
    assert late, "the universe has young listings"
    for contract in late:
        launch = contract.launch_ms
        for interval in ("1", "60", "D", "W", "M"):
            if launch >= FUTURE:
                continue
            bars = market.bars(contract.symbol, interval, launch - 70 * DAY_MS, launch + 2 * DAY_MS, FUTURE)
            assert len(bars) or interval in ("W", "M"), (contract.symbol, interval)
            if not len(bars):
                continue
            assert bars[0, START] + (31 * DAY_MS if interval in ("W", "M") else 0) >= launch
        first = market.bars(contract.symbol, "1", launch - DAY_MS, launch + HOUR_MS, FUTURE)
        assert first[0, START] == launch
        assert len(market.bars(contract.symbol, "60", launch - DAY_MS, launch, FUTURE)) == 0


def test_nothing_exists_after_now(market: SeededMarket) -> None:
    now = T0 + 5 * HOUR_MS + 1
    assert len(market.bars("BTCUSDT", "60", T0 + 6 * HOUR_MS, T0 + DAY_MS, now)) == 0
    assert market.bars("BTCUSDT", "60", T0, T0 + DAY_MS, now)[-1, START] == T0 + 5 * HOUR_MS


def test_an_unknown_symbol_is_a_key_error(market: SeededMarket) -> None:
    with pytest.raises(KeyError):
        market.bars("NOPEUSDT", "1", T0, T0 + HOUR_MS, FUTURE)


def test_days_join_without_a_seam(market: SeededMarket) -> None:
    for symbol in ("BTCUSDT", "ETHUSDT", "DOGEUSDT", "ADAUSDT"):
        rows = minutes(symbol, T0, T0 + 20 * DAY_MS)
        tick = float(market.contracts[symbol].tick_size)
        assert np.abs(rows[1:, OPEN] - rows[:-1, CLOSE]).max() <= 1.5 * tick
        returns = np.abs(np.diff(np.log(rows[:, CLOSE])))
        midnight = returns[1439::1440]
        assert midnight.mean() < 4 * returns.mean()


# Looks


def hourly_returns(symbol: str, days: int = 240) -> np.ndarray:
    return np.diff(np.log(MARKET.bars(symbol, "60", T0 - days * DAY_MS, T0, FUTURE)[:, CLOSE]))


def autocorrelation(values: np.ndarray, lag: int) -> float:
    return float(np.corrcoef(values[:-lag], values[lag:])[0, 1])


@pytest.fixture(scope="module")
def returns() -> Iterator[dict[str, np.ndarray]]:
    yield {symbol: hourly_returns(symbol) for symbol in ("BTCUSDT", "ETHUSDT", "SOLUSDT", "XRPUSDT", "AVAXUSDT")}


@pytest.mark.slow
def test_returns_have_fat_tails(returns: dict[str, np.ndarray]) -> None:
    for symbol, values in returns.items():
        centred = values - values.mean()
        kurtosis = float((centred**4).mean() / (centred**2).mean() ** 2)
        assert 3.5 < kurtosis < 200, symbol


def test_volatility_clusters_and_direction_does_not(returns: dict[str, np.ndarray]) -> None:
    for symbol, values in returns.items():
        clipped = np.clip(np.abs(values), 0, 6 * values.std())
        assert autocorrelation(clipped, 1) > 0.08, symbol
        assert autocorrelation(clipped, 24) > 0.03, symbol
        assert abs(autocorrelation(values, 1)) < 0.2, symbol


@pytest.mark.slow
def test_coins_follow_bitcoin_but_not_slavishly(market: SeededMarket, returns: dict[str, np.ndarray]) -> None:
    """By the day much, by the hour less: each coin has a short-lived component of its own."""

    def daily(symbol: str) -> np.ndarray:
        return np.diff(np.log(market.bars(symbol, "D", T0 - 240 * DAY_MS, T0, FUTURE)[:, CLOSE]))

    for symbol, values in returns.items():
        if symbol != "BTCUSDT":
            assert 0.1 < np.corrcoef(values, returns["BTCUSDT"])[0, 1] < 0.9, symbol
            assert 0.35 < np.corrcoef(daily(symbol), daily("BTCUSDT"))[0, 1] < 0.95, symbol


def test_the_yearly_volatility_of_bitcoin_is_that_of_bitcoin(returns: dict[str, np.ndarray]) -> None:
    assert 0.25 < returns["BTCUSDT"].std() * np.sqrt(24 * 365) < 1.0


def test_a_twin_follows_its_coin(market: SeededMarket) -> None:
    perpetual, twin = (minutes(symbol, T0, T0 + DAY_MS)[:, CLOSE] for symbol in ("BTCUSDT", "BTCPERP"))
    assert np.abs(twin / perpetual - 1).max() < 0.01


# Universe


@pytest.mark.parametrize("count", [1, 5, 80, 300])
def test_the_universe_has_so_many_perpetuals_and_what_a_scan_must_drop(count: int) -> None:
    contracts = SeededMarket(SEED, count).contracts
    assert next(iter(contracts)) == "BTCUSDT"
    stable = {"USDC", "DAI", "FDUSD", "USDE", "PYUSD"}

    def plain(c: Contract) -> bool:
        return c.contract_type == "LinearPerpetual" and c.settle_coin == "USDT" and c.base_coin not in stable

    assert sum(plain(c) for c in contracts.values()) == count
    assert {c.base_coin for c in contracts.values()} >= stable
    assert any(c.settle_coin == "USDC" for c in contracts.values())
    assert any(c.contract_type == "LinearFutures" and c.delivery_ms > T0 for c in contracts.values())
    assert len({c.symbol_id for c in contracts.values()}) == len(contracts)
    assert all(symbol == c.symbol for symbol, c in contracts.items())
    assert all(c.min_qty == c.qty_step for c in contracts.values())
    assert all(c.max_market_qty % c.qty_step == 0 for c in contracts.values())


def test_the_universe_has_intervals_of_one_four_and_eight_hours(market: SeededMarket) -> None:
    perpetuals = [c for c in market.contracts.values() if c.contract_type == "LinearPerpetual"]
    assert {c.funding_interval_min for c in perpetuals} == {60, 240, 480}


def test_a_lot_is_a_small_part_of_a_hundred_dollars(market: SeededMarket) -> None:
    for symbol, contract in market.contracts.items():
        if contract.launch_ms < T0 and contract.contract_type == "LinearPerpetual":
            assert float(contract.qty_step) * market.last_price(symbol, T0) < 80, symbol


# Book and funding


@settings(max_examples=60)
@given(symbols, moments, st.integers(1, 200))
def test_a_book_is_sane(symbol: str, now: int, depth: int) -> None:
    contract = MARKET.contracts[symbol]
    bids, asks = MARKET.book(symbol, now, depth)
    last = MARKET.last_price(symbol, now)
    assert 1 <= len(bids) <= depth
    assert len(asks) == depth
    assert bids[0, 0] <= last <= asks[0, 0]
    assert bids[0, 0] < asks[0, 0]
    assert np.all(np.diff(bids[:, 0]) < 0)
    assert np.all(np.diff(asks[:, 0]) > 0)
    for side in (bids, asks):
        assert np.all(side[:, 0] > 0)
        assert np.all(side[:, 1] > 0)
        for column, unit in ((0, contract.tick_size), (1, contract.qty_step)):
            units = side[:, column] / float(unit)
            assert np.abs(units - np.rint(units)).max() < 1e-4
    assert (asks[0, 0] - bids[0, 0]) / last < 0.01


@settings(max_examples=40)
@given(symbols, moments, st.integers(1, 199))
def test_a_deeper_book_begins_with_the_shallower_one(symbol: str, now: int, depth: int) -> None:
    shallow, deep = MARKET.book(symbol, now, depth), MARKET.book(symbol, now, 200)
    for few, many in zip(shallow, deep, strict=True):
        assert np.array_equal(few, many[: len(few)])


def test_funding_stays_within_its_cap_and_around_one_basis_point(market: SeededMarket) -> None:
    for symbol in ("BTCUSDT", "ETHUSDT", "SOLUSDT", "XRPUSDT"):
        contract = market.contracts[symbol]
        step = contract.funding_interval_min * MINUTE_MS
        rates = np.array([market.funding_rate(symbol, T0 - i * step) for i in range(300)])
        assert np.abs(rates).max() <= float(contract.funding_cap)
        assert np.array_equal(rates, np.round(rates, 8))
        mean = rates.mean() * 480 / contract.funding_interval_min
        assert -0.0001 < mean < 0.0003, symbol
        assert rates.std() > 0
        assert (rates < 0).any(), symbol


@settings(max_examples=40)
@given(symbols, moments)
def test_the_mark_and_the_index_stay_near_the_last_price(symbol: str, now: int) -> None:
    last = MARKET.last_price(symbol, now)
    tick = float(MARKET.contracts[symbol].tick_size)
    near = minutes(symbol, now // MINUTE_MS * MINUTE_MS - 3 * MINUTE_MS, now + 1)
    low, high = near[:, LOW].min() * 0.998 - tick, near[:, HIGH].max() * 1.002 + tick
    assert low <= MARKET.index_price(symbol, now) <= high
    assert low <= MARKET.mark_price(symbol, now) <= high
    assert abs(MARKET.mark_price(symbol, now) / last - 1) < 0.02


@pytest.mark.parametrize("symbol", SOME)
def test_open_interest_is_positive_and_on_the_step(market: SeededMarket, symbol: str) -> None:
    value = market.open_interest(symbol, T0)
    steps = value / float(market.contracts[symbol].qty_step)
    assert value > 0
    assert abs(steps - round(steps)) < 1e-4
