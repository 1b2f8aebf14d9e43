"""Prices of the seeded market look like those of a crypto exchange, and a scan finds what it should."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest

from trading_assets.core.timeframes import DAY_MS, HOUR_MS
from trading_assets.simulator.market.base import CLOSE, HIGH, LOW, TURNOVER, VOLUME, Bars
from trading_assets.simulator.market.coins import CALM, QUIET, STABLE
from trading_assets.simulator.market.seeded import SeededMarket

T0 = 1_767_225_600_000  # 2026-01-01T00:00:00Z
LATER = T0 + 400 * DAY_MS
DAYS = 15
MARKET = SeededMarket(7, 80)
SPECIAL = CALM | QUIET | set(STABLE)
ORDINARY = [
    symbol
    for symbol, contract in list(MARKET.contracts.items())[:80]
    if contract.base_coin not in SPECIAL and contract.launch_ms < T0
]
SAMPLE = ["BTCUSDT", *ORDINARY[1:40:2]]


@pytest.fixture(scope="module")
def minutes() -> dict[str, Bars]:
    return {symbol: MARKET.bars(symbol, "1", T0, T0 + DAYS * DAY_MS, LATER) for symbol in SAMPLE}


@pytest.fixture(scope="module")
def returns(minutes: dict[str, Bars]) -> dict[str, np.ndarray]:
    return {symbol: np.diff(np.log(bars[:, CLOSE])) for symbol, bars in minutes.items()}


def correlation(one: np.ndarray, other: np.ndarray) -> float:
    return float(np.corrcoef(one, other)[0, 1])


def test_minute_returns_have_heavy_tails(returns: dict[str, np.ndarray]) -> None:
    kurtosis = [((r - r.mean()) ** 4).mean() / r.var() ** 2 for r in returns.values()]
    assert min(kurtosis) > 4
    assert 6 < np.median(kurtosis) < 60


def test_large_moves_follow_large_moves_for_hours(returns: dict[str, np.ndarray]) -> None:
    for lag, least in ((1, 0.1), (30, 0.06), (240, 0.005)):
        found = [correlation(np.abs(r[lag:]), np.abs(r[:-lag])) for r in returns.values()]
        assert np.median(found) > least, lag


@pytest.mark.slow
def test_coins_move_with_bitcoin_in_the_minute_and_in_the_day(returns: dict[str, np.ndarray]) -> None:
    by_minute = [correlation(r, returns["BTCUSDT"]) for symbol, r in returns.items() if symbol != "BTCUSDT"]
    assert 0.25 < np.mean(by_minute) < 0.8

    def daily(symbol: str) -> np.ndarray:
        return np.diff(np.log(MARKET.bars(symbol, "D", T0 - 200 * DAY_MS, T0 + 60 * DAY_MS, LATER)[:, CLOSE]))

    bitcoin = daily("BTCUSDT")
    long_listed = [s for s in SAMPLE[1:] if MARKET.contracts[s].launch_ms < T0 - 200 * DAY_MS]
    by_day = [correlation(daily(symbol), bitcoin) for symbol in long_listed[:6]]
    assert 0.35 < np.mean(by_day) < 0.9


@pytest.mark.slow
def test_coins_overshoot_or_trend_each_in_its_own_way() -> None:
    """Variance ratio of two hours to five minutes: below 1 where moves are taken back, above where they go on."""

    def ratio(symbol: str) -> float:
        log_price = np.log(MARKET.bars(symbol, "5", T0 - 120 * DAY_MS, T0, LATER)[:, CLOSE])
        short, long = np.diff(log_price), log_price[24:] - log_price[:-24]
        return float(long.var() / (24 * short.var()))

    tempers = {symbol: MARKET._profiles[symbol] for symbol in ORDINARY}
    long_listed = [s for s in ORDINARY if MARKET.contracts[s].launch_ms < T0 - 130 * DAY_MS]
    reverting = [s for s in long_listed if tempers[s].reversion > 0.2 and tempers[s].half_life_min <= 90][:4]
    trending = [s for s in long_listed if tempers[s].momentum > 0.25 and tempers[s].half_life_min <= 90][:4]
    assert reverting
    assert trending
    assert np.mean([ratio(s) for s in reverting]) < 0.93
    assert np.mean([ratio(s) for s in trending]) > 1.05


@pytest.mark.slow
def test_midnight_is_a_minute_like_others() -> None:
    shares = []
    for symbol in ("BTCUSDT", "XRPUSDT", "SUIUSDT", "ARBUSDT", "GALAUSDT"):
        bars = MARKET.bars(symbol, "1", T0 - 150 * DAY_MS - 12 * HOUR_MS, T0 - 12 * HOUR_MS, LATER)
        moves = np.diff(np.log(bars[:, CLOSE]), prepend=np.log(bars[0, CLOSE])).reshape(-1, 1440)
        shares.append(np.abs(moves) / np.sqrt((moves**2).mean(axis=1, keepdims=True)))
    by_minute = np.concatenate(shares).mean(axis=0)
    around = by_minute[690:750]
    for minute in (719, 720, 721):
        assert abs(by_minute[minute] - around.mean()) < 4 * around.std(), minute


def test_volume_grows_with_the_move(minutes: dict[str, Bars], returns: dict[str, np.ndarray]) -> None:
    for symbol in SAMPLE[:8]:
        volume = np.log(minutes[symbol][1:, VOLUME])
        assert correlation(volume, np.abs(returns[symbol])) > 0.3, symbol
        typical = minutes[symbol][:, TURNOVER] / minutes[symbol][:, VOLUME]
        assert np.all((typical > minutes[symbol][:, LOW] * 0.9999) & (typical < minutes[symbol][:, HIGH] * 1.0001))


def test_bitcoin_has_trends_both_ways_and_a_price_of_its_own_level() -> None:
    bars = MARKET.bars("BTCUSDT", "240", T0 - 300 * DAY_MS, T0 + 300 * DAY_MS, LATER)
    change = bars[20:, CLOSE] / bars[:-20, CLOSE] - 1
    assert (change > 0.02).mean() > 0.1
    assert (change < -0.02).mean() > 0.1
    assert 30_000 < bars[:, LOW].min() < bars[:, HIGH].max() < 200_000


@pytest.mark.slow
def test_a_day_of_an_ordinary_coin_ranges_over_some_percent() -> None:
    ranges = []
    for symbol in ORDINARY[1::4]:
        bars = MARKET.bars(symbol, "D", T0, T0 + 60 * DAY_MS, LATER)
        ranges += (bars[:, HIGH] / bars[:, LOW] - 1).tolist()
    assert 0.04 < np.median(ranges) < 0.12


@pytest.mark.slow
@pytest.mark.parametrize("seed", [3, 7])
def test_a_scan_of_sixty_days_finds_enough_coins_and_drops_the_rest(seed: int) -> None:
    market = SeededMarket(seed, 80)
    passing, special = [], Counter[str]()
    for day in range(0, 60, 3):
        now = T0 + (60 + day) * DAY_MS + 7 * HOUR_MS
        count = 0
        for symbol, contract in market.contracts.items():
            if contract.settle_coin != "USDT" or contract.delivery_ms or contract.launch_ms > now - DAY_MS:
                continue
            stats = market.stats_24h(symbol, now)
            if stats.turnover > 1e6 and stats.high / stats.low - 1 > 0.02:
                special[contract.base_coin] += contract.base_coin in SPECIAL
                count += contract.base_coin not in SPECIAL
        passing.append(count)
    assert min(passing) >= 25
    assert sum(special[base] for base in (*QUIET, *STABLE)) == 0
    assert max(special[base] for base in CALM) <= 2


def test_the_universe_has_quiet_calm_and_young_coins_and_most_are_old() -> None:
    contracts = list(MARKET.contracts.values())[:80]
    assert [c.symbol for c in contracts[:4]] == ["BTCUSDT", "ETHUSDT", "SOLUSDT", "XRPUSDT"]
    assert len([c for c in contracts if c.base_coin not in SPECIAL]) >= 60
    assert len([c for c in contracts if c.base_coin in QUIET]) >= 3
    assert len([c for c in contracts if c.base_coin in CALM]) >= 3
    assert len([c for c in contracts if c.launch_ms > T0]) >= 2
    assert len([c for c in contracts if c.launch_ms < T0 - 730 * DAY_MS]) >= 60
    assert len({c.tick_size for c in contracts}) >= 6
    assert len({c.qty_step for c in contracts}) >= 5


def test_six_hundred_symbols_have_launches_in_the_past_and_lots_for_a_hundred_dollars() -> None:
    market = SeededMarket(7, 600)
    names = [contract.base_coin for contract in list(market.contracts.values())[:600]]
    assert len(set(names)) == 600
    assert all(4 <= len(name) <= 6 and name.isalpha() and name.isupper() for name in names[150:])
    assert [contract.base_coin for contract in list(SeededMarket(8, 300).contracts.values())[:300]] == names[:300]
    for symbol, contract in list(market.contracts.items())[:600]:
        assert contract.launch_ms < T0 + 200 * DAY_MS
        value = float(contract.qty_step) * market._profiles[symbol].price
        assert value <= (90 if symbol in ("BTCUSDT", "ETHUSDT") else 20), symbol
        assert contract.max_market_qty < contract.max_qty
        assert 0.04 < float(contract.tick_size) / market._profiles[symbol].price * 1e4 + 0.05 < 8, symbol


def test_some_tradable_coins_have_a_spread_above_a_tenth_of_a_percent_at_times() -> None:
    wide: set[str] = set()
    always_narrow = True
    for hour in range(40):
        for symbol in ORDINARY:
            bids, asks = MARKET.book(symbol, T0 + hour * HOUR_MS, 1)
            if asks[0, 0] / bids[0, 0] - 1 > 0.001:
                wide.add(symbol)
                always_narrow = always_narrow and symbol != "BTCUSDT"
    assert always_narrow
    assert 2 <= len(wide) <= 20


def test_a_busier_coin_has_a_deeper_book() -> None:
    def depth(symbol: str) -> float:
        bids, _ = MARKET.book(symbol, T0 + 1, 100)
        return float((bids[:, 0] * bids[:, 1]).sum())

    assert depth("BTCUSDT") > depth("SUIUSDT") > depth("CHZUSDT") > depth("BNTUSDT") > 100


@pytest.mark.slow
def test_funding_follows_the_crowd_and_changes_its_sign() -> None:
    changes, rates = [], []
    for symbol in ORDINARY[:25]:
        contract = MARKET.contracts[symbol]
        closes = MARKET.bars(symbol, "D", T0, T0 + 80 * DAY_MS, LATER)[:, CLOSE]
        per_8_hours = 480 / contract.funding_interval_min
        found = [MARKET.funding_rate(symbol, T0 + day * DAY_MS) * per_8_hours for day in range(80)]
        assert np.mean(np.array(found) < 0) < 0.6
        rates += found[5:]
        changes += np.log(closes[3:-2] / closes[1:-4]).tolist()
    assert correlation(np.array(changes), np.array(rates)) > 0.2
    assert 0.02 < np.mean(np.array(rates) < 0) < 0.5
    assert 0.5e-4 < np.median(rates) < 1.5e-4
    assert correlation(np.array(rates[1:]), np.array(rates[:-1])) > 0.3


def test_what_is_delivered_pays_no_funding() -> None:
    assert MARKET.funding_rate("BTCUSDT-26MAR27", T0) == 0.0
