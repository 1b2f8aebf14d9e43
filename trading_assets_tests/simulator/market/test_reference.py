"""Mark price, index price and premium: their candles agree with their prices of a moment."""

from __future__ import annotations

import numpy as np
import pytest

from trading_assets.core.timeframes import DAY_MS, HOUR_MS, MINUTE_MS
from trading_assets.simulator.market.base import CLOSE, HIGH, LOW, OPEN, Reference
from trading_assets.simulator.market.seeded import SeededMarket

T0 = 1_790_000_040_000
MARKET = SeededMarket(11, 12)
PRICES = {Reference.MARK: MARKET.mark_price, Reference.INDEX: MARKET.index_price}
SYMBOLS = ("BTCUSDT", "ETHUSDT", "BTCPERP", "BTCUSDT-26MAR27", "1000PEPEUSDT")


@pytest.mark.parametrize("symbol", SYMBOLS)
@pytest.mark.parametrize("kind", [Reference.MARK, Reference.INDEX])
def test_candles_open_and_close_at_the_price_of_their_first_and_last_moment(kind: Reference, symbol: str) -> None:
    tick = float(MARKET.contracts[symbol].tick_size)
    rows = MARKET.reference_bars(symbol, kind, "15", T0 - DAY_MS, T0, T0 + HOUR_MS)
    assert len(rows) == 96
    for row in rows[::7]:
        start = int(row[0])
        assert row[OPEN] == pytest.approx(PRICES[kind](symbol, start), abs=1.01 * tick)
        assert row[CLOSE] == pytest.approx(PRICES[kind](symbol, start + 15 * MINUTE_MS - 1), abs=1.01 * tick)
        assert row[LOW] <= min(row[OPEN], row[CLOSE]) <= max(row[OPEN], row[CLOSE]) <= row[HIGH]


@pytest.mark.parametrize("kind", list(Reference))
def test_coarse_candles_are_made_of_the_fine_ones(kind: Reference) -> None:
    begin = T0 // DAY_MS * DAY_MS - DAY_MS
    fine = MARKET.reference_bars("ETHUSDT", kind, "1", begin, begin + DAY_MS, T0)
    [day] = MARKET.reference_bars("ETHUSDT", kind, "D", begin, begin + DAY_MS, T0)
    assert len(fine) == 1440
    made = [begin, fine[0, OPEN], fine[:, HIGH].max(), fine[:, LOW].min(), fine[-1, CLOSE]]
    assert day.tolist() == pytest.approx(made)


@pytest.mark.parametrize("symbol", SYMBOLS)
def test_the_open_candle_of_the_mark_ends_at_the_price_of_now(symbol: str) -> None:
    now = T0 + 1_234_567
    assert MARKET.reference_bars(symbol, Reference.MARK, "60", now - HOUR_MS, now, now)[-1, CLOSE] == MARKET.mark_price(
        symbol, now
    )


def test_perpetuals_trade_off_their_index_by_some_basis_points_in_both_directions() -> None:
    rows = MARKET.reference_bars("ETHUSDT", Reference.PREMIUM, "60", T0 - 60 * DAY_MS, T0, T0)
    assert 1e-4 < rows[:, CLOSE].std() < 1e-3
    assert abs(rows[:, CLOSE].mean()) < 2e-4
    assert (np.abs(rows[:, CLOSE]) > 1e-5).mean() > 0.9


def test_contracts_of_one_coin_share_the_index() -> None:
    prices = {round(MARKET.index_price(symbol, T0), 2) for symbol in ("BTCUSDT", "BTCPERP", "BTCUSDT-26MAR27")}
    assert len(prices) == 1


@pytest.mark.slow
def test_there_are_no_reference_candles_before_the_launch_or_after_the_delivery() -> None:
    future = MARKET.contracts["BTCUSDT-26MAR27"]
    far = future.delivery_ms + 10 * DAY_MS
    for kind in Reference:
        rows = MARKET.reference_bars(future.symbol, kind, "D", 0, far, far)
        assert rows[0, 0] == future.launch_ms
        assert rows[-1, 0] == future.delivery_ms // DAY_MS * DAY_MS
        assert len(MARKET.reference_bars(future.symbol, kind, "D", 0, far, future.launch_ms - 1)) == 0
